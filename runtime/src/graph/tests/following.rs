//! Followers of graphs that run: over failures, with a checkpoint and without, and over a join.

use super::*;

/// One who adds up what it is given.
pub(super) struct Adder {
    pub(super) follower: Follower,
    sum: BTreeMap<String, i64>,
}

impl Adder {
    pub(super) fn of(relation: RelationId, at: Epoch) -> Self {
        Self { follower: Follower::with_rows(relation, at), sum: BTreeMap::new() }
    }

    /// Reads until there is nothing new; what was given by then.
    pub(super) fn read(&mut self, graph: &Graph) -> Vec<String> {
        loop {
            match self.follower.next(graph).unwrap() {
                Followed::Nothing => break,
                Followed::Complete(_) => self.sum.retain(|_, weight| *weight != 0),
                Followed::Lost => panic!("what it needs is held"),
                Followed::Changes(_, change) => self.add(&change),
                Followed::Whole(difference) => {
                    self.add(&difference.compute().unwrap());
                    self.follower.gave(difference.epoch);
                    self.sum.retain(|_, weight| *weight != 0);
                }
            }
        }
        assert!(self.sum.values().all(|weight| *weight > 0), "{:?}", self.sum);
        self.sum.iter().flat_map(|(row, weight)| vec![row.clone(); *weight as usize]).collect()
    }

    fn add(&mut self, change: &ChangeBatch) {
        for row in 0..change.len() {
            *self.sum.entry(pump::row_text(&change.rows, row)).or_default() += change.weight(row);
        }
    }
}

#[test]
fn failures_of_the_graph_are_followed_through() {
    for checkpoint in [false, true] {
        multi(async {
            let mut world = World::new(1).await;
            let graph = world.start(vec![table(TABLE)], vec![per_key(VIEW, TABLE, Changes::Retract)]);
            deadline(graph.wait_running(VIEW)).await.unwrap();
            let published = world.commit(&graph, &[((1, 1, 0), 1), ((2, 5, 0), 1)]).await;
            let (mut of_view, mut of_table) = (Adder::of(VIEW, published.epoch), Adder::of(TABLE, published.epoch));
            assert_eq!(of_view.read(&graph), shown(&published.relations[&VIEW]));
            if checkpoint {
                deadline(graph.checkpoint()).await.unwrap();
            }
            world.commit(&graph, &[((1, 1, 0), -1), ((3, 7, 0), 1)]).await;
            // What nothing justifies fails the graph; the log does not hold it.
            let bad = ChangeBatch::weighted(rows(&[(5, 5, 5)]), Int64Array::from(vec![-1]));
            let position = world.log(RelationId(999), &[ChangeBatch::append(rows(&[]))]).await;
            let (version, watermark) = (world.head.version(), Watermark::NONE);
            let change = TableChange { relation: TABLE, changes: vec![bad], late: vec![], version, watermark };
            graph.commit(TableCommit { position, tables: vec![change] });
            let mut states = graph.watch_state();
            deadline(states.wait_for(|state| matches!(state, GraphState::Restarting { .. }))).await.unwrap();
            of_view.read(&graph);
            deadline(graph.wait_for(position)).await.unwrap();
            deadline(graph.wait_running(VIEW)).await.unwrap();
            let published = world.commit(&graph, &[((2, 6, 0), 1), ((3, 7, 0), -1)]).await;
            assert_eq!(of_view.read(&graph), shown(&published.relations[&VIEW]));
            assert_eq!(of_table.read(&graph), shown(&published.relations[&TABLE]));
            assert_eq!(of_view.follower.at(), Some(published.epoch));
            // Dropped, it is held no longer.
            graph.remove(vec![VIEW]).await.unwrap();
            assert!(matches!(of_view.follower.next(&graph).unwrap(), Followed::Lost));
            assert!(graph.followed_epochs(VIEW).is_none());
            graph.stop().await;
        });
    }
}

#[test]
fn a_join_of_graphs_is_followed_through() {
    multi(async {
        let mut world = World::new(1).await;
        let (graph, other, script) = world.start_two().await;
        let first = deadline(other.flush()).await.unwrap().epoch;
        let mut stays = Adder::of(VIEW, world.commit(&graph, &[((1, 1, 0), 1)]).await.epoch);
        let mut moves = Adder::of(WINDOWS, first);
        stays.read(&graph);
        moves.read(&other);
        deadline(graph.absorb(other.clone())).await.unwrap();
        // Until somebody tells where it is now, nothing is new.
        moves.read(&other);
        script.push("a", &[(1, 1, 22), (1, 1, 40)]);
        world.commit(&graph, &[((1, 4, 0), 1)]).await;
        let published = deadline(graph.flush()).await.unwrap();
        assert_eq!(moves.read(&graph), shown(&published.relations[&WINDOWS]));
        assert_eq!(stays.read(&graph), shown(&published.relations[&VIEW]));
        // Whoever stopped before the join can go on behind it.
        let mut resumed = Adder { follower: Follower::with_rows(WINDOWS, first), sum: BTreeMap::new() };
        assert_eq!(resumed.read(&graph), shown(&published.relations[&WINDOWS]));
        graph.stop().await;
    });
}
