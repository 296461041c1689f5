//! The outside world goes away and comes back: the graph says what it waits for, goes on by itself, and does
//! not run in circles meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::*;
use crate::limits::OUTBOXES_WAITING_MAX;
use crate::sink::{EncodedRows, Publisher, Sink, SinkIdentity};

/// A service that can be away, or wrong.
struct Service {
    away: AtomicBool,
    wrong: AtomicBool,
    /// Everything that was published, in order.
    published: Mutex<Vec<u64>>,
}

impl Service {
    fn away() -> Arc<Self> {
        Arc::new(Self { away: AtomicBool::new(true), wrong: AtomicBool::new(false), published: Mutex::default() })
    }

    fn comes_back(&self) {
        self.away.store(false, Ordering::SeqCst);
    }

    fn ask(&self) -> Result<()> {
        if self.wrong.load(Ordering::SeqCst) {
            return Err(Error::data("the service is another one"));
        }
        if self.away.load(Ordering::SeqCst) { Err(Error::unavailable("the service is away")) } else { Ok(()) }
    }
}

struct ServiceSink(Arc<Service>);

#[async_trait]
impl Sink for ServiceSink {
    fn encode(&self, changes: &ChangeBatch) -> Result<EncodedRows> {
        Ok(EncodedRows { payload: Bytes::from(vec![0; changes.len()]), refused: Vec::new() })
    }

    async fn open(&self, _identity: &SinkIdentity) -> Result<Box<dyn Publisher>> {
        self.0.ask()?;
        Ok(Box::new(ServicePublisher(Arc::clone(&self.0))))
    }
}

struct ServicePublisher(Arc<Service>);

#[async_trait]
impl Publisher for ServicePublisher {
    async fn progress(&mut self) -> Result<Option<u64>> {
        Ok(None)
    }

    async fn publish(&mut self, sequence: u64, _outbox: &[Bytes]) -> Result<()> {
        self.0.ask()?;
        self.0.published.lock().unwrap().push(sequence);
        Ok(())
    }
}

/// A script whose topic is not to be found while its service is away.
struct AwaySource(Arc<Service>, Arc<Script>);

#[async_trait]
impl Source for AwaySource {
    async fn splits(&self) -> Result<Vec<Split>> {
        self.0.ask().map_err(|error| Error::invalid(format!("no such topic, {error}")))?;
        Ok(self.1.described())
    }

    async fn ends(&self) -> Result<BTreeMap<SplitId, Position>> {
        ScriptSource(Arc::clone(&self.1)).ends().await
    }

    async fn open(&self, ranges: Vec<SplitRange>, columns: Vec<usize>) -> Result<Box<dyn SourceReader>> {
        self.0.ask()?;
        ScriptSource(Arc::clone(&self.1)).open(ranges, columns).await
    }

    fn bounded(&self) -> bool {
        false
    }
}

/// Waits until the graph says that it waits; its reason.
async fn waiting(graph: &Graph) -> String {
    let mut states = graph.shared.state.subscribe();
    let state = deadline(states.wait_for(|state| matches!(state, GraphState::Waiting { .. }))).await.unwrap().clone();
    let GraphState::Waiting { reason } = state else { unreachable!("it was waited for") };
    reason
}

async fn running(graph: &Graph) {
    let mut states = graph.shared.state.subscribe();
    deadline(states.wait_for(|state| *state == GraphState::Running)).await.unwrap();
}

fn sink_of(service: &Arc<Service>) -> ViewDeployment {
    let identity = SinkIdentity { id: "s".to_string(), timeline: 0 };
    let sink = SinkDeployment { sink: Arc::new(ServiceSink(Arc::clone(service))), identity };
    ViewDeployment { sink: Some(sink), ..per_key(VIEW, SOURCE, Changes::Append) }
}

#[test]
fn a_sink_that_is_away_is_waited_for_without_running_in_circles() {
    multi(async {
        let world = World::new(1).await;
        let service = Service::away();
        let script = Script::with(&[("a", &[])], false);
        let graph = world.start(vec![source(SOURCE, &script)], vec![sink_of(&service)]);
        deadline(graph.wait_running(VIEW)).await.unwrap();
        for second in 0..OUTBOXES_WAITING_MAX as i64 {
            script.push("a", &[(1, 1, second)]);
            deadline(graph.flush()).await.unwrap();
            deadline(graph.checkpoint()).await.unwrap();
        }
        // Nothing happens in the graph now, and it still says so.
        let reason = waiting(&graph).await;
        assert!(reason.contains("sink \"view_10\"") && reason.contains("the service is away"), "{reason}");

        // Further input waits in the pump; an epoch is run for each checkpoint that is asked for, and for nothing else.
        script.push("a", &[(1, 1, 99)]);
        deadline(graph.checkpoint()).await.unwrap();
        let before = graph.published().epoch.counter;
        for _ in 0..10 {
            deadline(graph.checkpoint()).await.unwrap();
        }
        assert_eq!(graph.published().epoch.counter - before, 10);
        assert_eq!(graph.published().splits[&SOURCE][&SplitId("a".to_string())].read, OUTBOXES_WAITING_MAX);

        service.comes_back();
        running(&graph).await;
        deadline(graph.flush()).await.unwrap();
        deadline(graph.checkpoint()).await.unwrap();
        deadline(graph.wait_published()).await.unwrap();
        assert_eq!(*service.published.lock().unwrap(), (1..=OUTBOXES_WAITING_MAX + 1).collect::<Vec<_>>());
        graph.stop().await;
    });
}

#[test]
fn a_sink_that_can_not_go_on_fails_its_graph_until_it_is_dropped() {
    multi(async {
        let world = World::new(1).await;
        let service = Service::away();
        let script = Script::with(&[("a", &[(1, 1, 0)])], false);
        let view = RelationId(11);
        let graph =
            world.start(vec![source(SOURCE, &script)], vec![sink_of(&service), per_key(view, SOURCE, Changes::Append)]);
        deadline(graph.wait_running(VIEW)).await.unwrap();
        deadline(graph.flush()).await.unwrap();
        deadline(graph.checkpoint()).await.unwrap();
        waiting(&graph).await;
        service.wrong.store(true, Ordering::SeqCst);
        let mut states = graph.shared.state.subscribe();
        let state =
            deadline(states.wait_for(|state| matches!(state, GraphState::Failed { .. }))).await.unwrap().clone();
        let GraphState::Failed { reason } = state else { unreachable!("it was waited for") };
        assert!(reason.contains("sink \"view_10\"") && reason.contains("another one"), "{reason}");
        deadline(graph.remove(vec![VIEW])).await.unwrap();
        running(&graph).await;
        script.push("a", &[(1, 2, 0)]);
        let published = deadline(graph.flush()).await.unwrap();
        assert_eq!(shown(&published.relations[&view]), ["(1, 2, 3)"]);
        graph.stop().await;
    });
}

#[test]
fn a_source_that_is_not_there_for_a_while_is_waited_for() {
    multi(async {
        let world = World::new(1).await;
        let service = Service::away();
        let script = Script::with(&[("a", &[(1, 7, 0)])], false);
        let mut input = source(SOURCE, &script);
        let InputOrigin::Source { source, .. } = &mut input.origin else { unreachable!("it is a source") };
        *source = Arc::new(AwaySource(Arc::clone(&service), Arc::clone(&script)));
        let graph = world.start(vec![input], vec![per_key(VIEW, SOURCE, Changes::Append)]);
        let reason = waiting(&graph).await;
        assert!(reason.contains("source \"input_2\"") && reason.contains("no such topic"), "{reason}");
        service.comes_back();
        running(&graph).await;
        let published = deadline(graph.flush()).await.unwrap();
        assert_eq!(shown(&published.relations[&VIEW]), ["(1, 1, 7)"]);
        graph.stop().await;
    });
}

#[test]
fn a_checkpoint_that_can_not_be_written_is_waited_for_while_rows_are_shown() {
    multi(async {
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::over(folder.path().to_str().unwrap(), 1).await;
        let graph = world.start(vec![table(TABLE)], vec![per_key(VIEW, TABLE, Changes::Retract)]);
        deadline(graph.wait_running(VIEW)).await.unwrap();
        // Where the folder of the checkpoints would be made stands a file.
        let obstacle = folder.path().join("graph");
        std::fs::write(&obstacle, "").unwrap();
        world.commit(&graph, &[((1, 10, 0), 1)]).await;
        let asked = graph.clone();
        let checkpoint = tokio::spawn(async move { asked.checkpoint().await });
        let reason = waiting(&graph).await;
        assert!(reason.starts_with("checkpoint: cannot write \"graph/1/"), "{reason}");
        let published = world.commit(&graph, &[((1, 5, 0), 1)]).await;
        assert_eq!(shown(&published.relations[&VIEW]), ["(1, 2, 15)"]);
        std::fs::remove_file(&obstacle).unwrap();
        deadline(checkpoint).await.unwrap().unwrap();
        running(&graph).await;
        graph.stop().await;
    });
}
