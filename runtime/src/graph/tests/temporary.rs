//! Temporary views: what checkpoints know of them, what they outlive, what they end by.

use super::following::Adder;
use super::*;

const TEMPORARY: RelationId = RelationId(RelationId::FIRST_TEMPORARY.0 + 7);

/// Commits a change that no operator over the table can take, and that the log does not hold.
async fn fail(world: &World, graph: &Graph) -> LogPosition {
    let bad = ChangeBatch::weighted(rows(&[(5, 5, 5)]), Int64Array::from(vec![-1]));
    let position = world.log(RelationId(999), &[ChangeBatch::append(rows(&[]))]).await;
    let (version, watermark) = (world.head.version(), Watermark::NONE);
    let change = TableChange { relation: TABLE, changes: vec![bad], late: vec![], version, watermark };
    graph.commit(TableCommit { position, tables: vec![change] });
    position
}

async fn until_gone(graph: &Graph, view: RelationId) {
    let mut shown = graph.watch();
    deadline(shown.wait_for(|shown| !shown.relations.contains_key(&view))).await.unwrap();
    let mut views = graph.shared.views.subscribe();
    deadline(views.wait_for(|views| !views.contains_key(&view))).await.unwrap();
    assert!(graph.followed_epochs(view).is_none());
}

#[test]
fn no_checkpoint_knows_them_and_a_restart_makes_them_anew() {
    for parallelism in [1, 3] {
        multi(async {
            let mut world = World::new(parallelism).await;
            let graph = world.start(vec![table(TABLE)], vec![per_key(VIEW, TABLE, Changes::Retract)]);
            deadline(graph.wait_running(VIEW)).await.unwrap();
            world.commit(&graph, &[((1, 1, 0), 1), ((2, 5, 0), 1)]).await;
            deadline(graph.checkpoint()).await.unwrap();
            let lease = Arc::new(Lease::default());
            let view = || per_key(TEMPORARY, TABLE, Changes::Retract);
            deadline(graph.add_temporary(view(), &lease)).await.unwrap();
            deadline(graph.add_temporary(view(), &lease)).await.expect("the second time it is known");
            deadline(graph.wait_running(TEMPORARY)).await.unwrap();
            let mut adder = Adder::of(TEMPORARY, graph.published().epoch);
            let published = world.commit(&graph, &[((2, 6, 0), 1)]).await;
            assert_eq!(adder.read(&graph), shown(&published.relations[&VIEW]));
            for _ in 0..2 {
                deadline(graph.checkpoint()).await.unwrap();
                let manifest = world.storage.read_manifest(&graph.last_checkpoint().unwrap()).await.unwrap();
                let number = TEMPORARY.0.to_string();
                assert!(manifest.sections.iter().any(|section| section.name == format!("relation/{}", VIEW.0)));
                assert!(manifest.sections.iter().all(|section| !section.name.contains(&number)));
                assert!(!manifest.inputs.to_string().contains(&number), "{}", manifest.inputs);
                world.commit(&graph, &[((3, 6, 0), 1)]).await;
            }
            let position = fail(&world, &graph).await;
            deadline(graph.wait_for(position)).await.unwrap();
            deadline(graph.wait_running(TEMPORARY)).await.unwrap();
            let published = world.commit(&graph, &[((2, 6, 0), -1), ((4, 4, 0), 1)]).await;
            assert_eq!(adder.read(&graph), shown(&published.relations[&VIEW]));
            assert_eq!(graph.failures(), 1);
            drop(lease);
            graph.sweep();
            until_gone(&graph, TEMPORARY).await;
            graph.stop().await;
        });
    }
}

/// One whose lease is dropped is gone, whichever graph was told.
#[test]
fn they_move_with_their_graph_and_go_with_their_lease() {
    multi(async {
        let mut world = World::new(1).await;
        let (graph, other, script) = world.start_two().await;
        let second = RelationId(TEMPORARY.0 + 1);
        let (stays, goes) = (Arc::new(Lease::default()), Arc::new(Lease::default()));
        for (id, lease) in [(TEMPORARY, &stays), (second, &goes)] {
            deadline(other.add_temporary(per_key(id, SOURCE, Changes::Append), lease)).await.unwrap();
            deadline(other.wait_running(id)).await.unwrap();
        }
        let mut adder = Adder::of(TEMPORARY, other.published().epoch);
        adder.read(&other);
        drop(goes);
        deadline(graph.absorb(other.clone())).await.unwrap();
        other.sweep();
        until_gone(&graph, second).await;
        script.push("a", &[(7, 1, 22)]);
        world.commit(&graph, &[((1, 4, 0), 1)]).await;
        let published = deadline(graph.flush()).await.unwrap();
        assert_eq!(adder.read(&graph), shown(&published.relations[&TEMPORARY]));
        // Dropped where it was told to a graph that has ended: the other one is told by whoever joined the two.
        drop(stays);
        other.sweep();
        graph.sweep();
        until_gone(&graph, TEMPORARY).await;
        graph.stop().await;
    });
}

/// A graph that would stand as failed is tried without them first, and what is dropped takes its readers along.
#[test]
fn a_graph_does_without_them() {
    multi(async {
        let mut world = World::new(1).await;
        let graph = world.start(vec![table(TABLE)], vec![]);
        world.commit(&graph, &[((1, 1, 0), 1)]).await;
        let lease = Arc::new(Lease::default());
        deadline(graph.add_temporary(per_key(TEMPORARY, TABLE, Changes::Retract), &lease)).await.unwrap();
        deadline(graph.wait_running(TEMPORARY)).await.unwrap();
        let states = graph.watch_state();
        for failures in 1..=u64::from(crate::limits::RESTARTS_MAX) + 1 {
            let position = fail(&world, &graph).await;
            deadline(graph.wait_for(position)).await.unwrap();
            assert_eq!(graph.failures(), failures);
            assert!(!matches!(*states.borrow(), GraphState::Failed { .. }));
            if failures <= u64::from(crate::limits::RESTARTS_MAX) {
                deadline(graph.wait_running(TEMPORARY)).await.unwrap();
            }
        }
        let reason = deadline(graph.view_ended(TEMPORARY)).await.unwrap();
        assert!(reason.message.contains("taken back"), "{reason}");
        // Without one that can't take it, what comes is nobody's trouble.
        fail(&world, &graph).await;
        let published = world.commit(&graph, &[((2, 2, 0), 1)]).await;
        assert_eq!(published.relations[&TABLE].rows, 2);
        drop(lease);
        graph.sweep();
        until_gone(&graph, TEMPORARY).await;

        let lease = Arc::new(Lease::default());
        deadline(graph.add_temporary(per_key(TEMPORARY, TABLE, Changes::Retract), &lease)).await.unwrap();
        deadline(graph.wait_running(TEMPORARY)).await.unwrap();
        deadline(graph.remove(vec![TABLE])).await.unwrap();
        let reason = deadline(graph.view_ended(TEMPORARY)).await.unwrap();
        assert_eq!(reason.message, "a relation that the query reads was dropped");
        graph.stop().await;
    });
}

/// A reader that starts while its graph waits to go back to a checkpoint would skip what is behind that.
#[test]
fn what_is_dropped_while_a_graph_waits_to_restart_loses_no_rows() {
    multi(async {
        let mut world = World::new(1).await;
        let (of_source, dropped) = (RelationId(11), RelationId(12));
        let script = Script::with(&[("a", &[(1, 1, 3), (1, 1, 12)])], false);
        let views = vec![
            per_key(VIEW, TABLE, Changes::Retract),
            per_key(of_source, SOURCE, Changes::Append),
            per_key(dropped, SOURCE, Changes::Append),
        ];
        let graph = world.start(vec![table(TABLE), source(SOURCE, &script)], views);
        deadline(graph.wait_running(dropped)).await.unwrap();
        deadline(graph.flush()).await.unwrap();
        deadline(graph.checkpoint()).await.unwrap();
        script.push("a", &[(1, 1, 13), (1, 1, 14)]);
        deadline(graph.flush()).await.unwrap();
        let mut states = graph.watch_state();
        let position = fail(&world, &graph).await;
        deadline(states.wait_for(|state| matches!(state, GraphState::Restarting { .. }))).await.unwrap();
        deadline(graph.remove(vec![dropped])).await.unwrap();
        deadline(graph.wait_for(position)).await.unwrap();
        deadline(graph.wait_running(of_source)).await.unwrap();
        world.commit(&graph, &[((1, 4, 0), 1)]).await;
        script.push("a", &[(1, 1, 15)]);
        let published = deadline(graph.flush()).await.unwrap();
        assert_eq!(shown(&published.relations[&of_source]), ["(1, 5, 5)"]);
        graph.stop().await;
    });
}
