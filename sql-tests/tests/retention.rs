//! Offsets that retention removed, and topics that were made anew, under a running view and under a stopped
//! server: an error that names them, readable in SQL, never a silent skip (invariant 12). DROP works on what it
//! has hit, and other graphs go on.

use millstream_sql_tests::kafka::Topic;
use millstream_sql_tests::server::{Launch, PATIENCE, Server, Session};
use millstream_sql_tests::services;
use tempfile::TempDir;

/// What a server reads from a topic, beside a table of another graph.
struct World {
    bootstrap: String,
    topic: Topic,
    launch: Launch,
    server: Server,
    _folder: TempDir,
}

/// Larger than what a consumer has fetched ahead: records of it that nobody has read can be removed.
const FILLER_BYTES: usize = 64 << 10;

impl World {
    /// A view over a topic with ten records, all of them read and in a checkpoint.
    async fn start(bootstrap: String) -> Self {
        let topic = Topic::create(&bootstrap, "retained", 1).await;
        send(&topic, 0..10);
        let folder = tempfile::tempdir().unwrap();
        let launch = Launch::new(folder.path().to_str().unwrap());
        let server = launch.start().await;
        let session = server.connect().await;
        create(&session, &bootstrap, &topic).await;
        session.run("CREATE TABLE other (x INT)").await;
        session.run("CREATE MATERIALIZED VIEW of_other AS SELECT count(*) AS n FROM other").await;
        session.run("FLUSH").await;
        assert_eq!(session.rows("SELECT n, s FROM total").await, [["10", "45"]]);
        session.run("CHECKPOINT").await;
        Self { bootstrap, topic, launch, server, _folder: folder }
    }

    async fn restart(self) -> Self {
        self.server.kill().await;
        Self { server: self.launch.start().await, ..self }
    }

    /// The view has failed and says so with these words; the other graph goes on; a DROP and a new CREATE read what
    /// the topic holds now.
    async fn stands_as_failed(self, named: &[&str], now: [&str; 2]) {
        let session = self.server.connect().await;
        let jobs = "SELECT state, coalesce(reason, '') FROM millstream.jobs WHERE relation = 'total'";
        let job = session.until(jobs, |rows| rows[0][0] == "FAILED").await.remove(0);
        for name in named.iter().chain([&self.topic.name()]) {
            assert!(job[1].contains(name), "the reason does not name {name}: {job:?}");
        }
        // What it had read before the gap is there, and nothing from behind it.
        let n: i64 = session.number("SELECT n FROM total").await;
        assert_eq!(session.number("SELECT s FROM total").await, n * (n - 1) / 2, "the sum of the first {n}");
        assert_eq!(session.number("SELECT count(*) FROM millstream.errors WHERE state = 'FAILED'").await, 1);
        session.run("INSERT INTO other VALUES (1), (2)").await;
        assert_eq!(session.rows("SELECT n FROM of_other").await, [["2"]]);
        session.run("FLUSH").await;

        // The same after another start.
        let world = self.restart().await;
        let session = world.server.connect().await;
        session.until(jobs, |rows| rows[0][0] == "FAILED").await;
        session.run("DROP MATERIALIZED VIEW total").await;
        session.run("DROP SOURCE numbers").await;
        create(&session, &world.bootstrap, &world.topic).await;
        session.run("FLUSH").await;
        assert_eq!(session.rows("SELECT n, s FROM total").await, [now]);
        assert_eq!(session.rows("SELECT n FROM of_other").await, [["2"]]);
    }
}

async fn create(session: &Session, bootstrap: &str, topic: &Topic) {
    let source = format!(
        "CREATE SOURCE numbers (n BIGINT, filler TEXT) WITH (connector = 'kafka', topic = '{}', \
             properties.bootstrap.server = '{bootstrap}', scan.startup.mode = 'earliest') FORMAT PLAIN ENCODE JSON",
        topic.name()
    );
    session.run(&source).await;
    session.run("CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n, sum(n) AS s FROM numbers").await;
}

fn send(topic: &Topic, numbers: std::ops::Range<i64>) {
    numbers.for_each(|n| topic.send(0, [format!(r#"{{"n": {n}}}"#).as_bytes()]));
    topic.flush();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_under_a_running_view_is_named() {
    let Some(bootstrap) = services::kafka("retention_under_a_running_view_is_named") else { return };
    let world = World::start(bootstrap).await;
    // While the server does not run, more comes than it can have asked for, and goes again.
    world.server.pause();
    let filler = "x".repeat(FILLER_BYTES);
    for n in 10..500 {
        world.topic.send(0, [format!(r#"{{"n": {n}, "filler": "{filler}"}}"#).as_bytes()]);
    }
    world.topic.flush();
    world.topic.delete_records(0, 490).await;
    world.server.resume();
    let (left, sum) = (490_i64..500, (490_i64..500).sum::<i64>());
    let now = [left.count().to_string(), sum.to_string()];
    world.stands_as_failed(&["is gone", "partition 0", "holds offsets 490 up to 500"], [&now[0], &now[1]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_under_a_stopped_server_is_named() {
    let Some(bootstrap) = services::kafka("retention_under_a_stopped_server_is_named") else { return };
    let World { bootstrap, topic, launch, server, _folder } = World::start(bootstrap).await;
    server.kill().await;
    send(&topic, 10..20);
    topic.delete_records(0, 15).await;
    let world = World { server: launch.start().await, bootstrap, topic, launch, _folder };
    world.stands_as_failed(&["offset 10 of partition 0", "is gone", "holds offsets 15 up to 20"], ["5", "85"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_anew_under_a_running_view_is_named() {
    let Some(bootstrap) = services::kafka("a_topic_made_anew_under_a_running_view_is_named") else { return };
    let world = World::start(bootstrap).await;
    world.topic.delete().await;
    // Until there is one of this name again, it is waited for.
    let session = world.server.connect().await;
    let jobs = "SELECT state, coalesce(reason, '') FROM millstream.jobs WHERE relation = 'total'";
    let job = session.until(jobs, |rows| rows[0][0] != "RUNNING").await.remove(0);
    assert!(job[0] == "WAITING" && job[1].contains(world.topic.name()), "{job:?}");
    world.topic.create_again().await;
    send(&world.topic, 100..120);
    world.stands_as_failed(&["created again"], ["20", "2190"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_anew_under_a_stopped_server_is_named() {
    let Some(bootstrap) = services::kafka("a_topic_made_anew_under_a_stopped_server_is_named") else { return };
    let World { bootstrap, topic, launch, server, _folder } = World::start(bootstrap).await;
    server.kill().await;
    topic.delete().await;
    topic.create_again().await;
    // As many as before and more, so that the offset alone would not tell.
    send(&topic, 100..120);
    let world = World { server: launch.start().await, bootstrap, topic, launch, _folder };
    world.stands_as_failed(&["created again"], ["20", "2190"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_anew_behind_a_sink_is_named() {
    let Some(bootstrap) = services::kafka("a_topic_made_anew_behind_a_sink_is_named") else { return };
    let topic = Topic::create(&bootstrap, "out", 1).await;
    let folder = tempfile::tempdir().unwrap();
    let launch = Launch::new(folder.path().to_str().unwrap());
    let server = launch.start().await;
    let session = server.connect().await;
    session.run("CREATE TABLE t (n BIGINT) APPEND ONLY").await;
    session.run("CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n FROM t").await;
    let sink = format!(
        "CREATE SINK publish AS SELECT n FROM t WITH (connector = 'kafka', topic = '{}', \
             properties.bootstrap.server = '{bootstrap}') FORMAT PLAIN ENCODE JSON",
        topic.name()
    );
    session.run(&sink).await;
    session.run("INSERT INTO t VALUES (1)").await;
    session.run("CHECKPOINT").await;
    let published = tokio::task::block_in_place(|| topic.committed(PATIENCE, |rows| !rows.is_empty()));
    assert_eq!(published, [r#"{"n":1}"#]);
    server.kill().await;
    topic.delete().await;
    topic.create_again().await;
    let server = launch.start().await;
    let session = server.connect().await;
    session.run("INSERT INTO t VALUES (2)").await;
    let jobs = "SELECT state, coalesce(reason, '') FROM millstream.jobs WHERE relation = 'publish'";
    session.run("CHECKPOINT").await;
    let job = session.until(jobs, |rows| rows[0][0] != "RUNNING").await.remove(0);
    assert_eq!(job[0], "FAILED", "{job:?}");
    assert!(job[1].contains("created again") && job[1].contains(topic.name()), "{job:?}");
    // Nothing was put into the new topic, and without the sink the rest goes on.
    session.run("DROP SINK publish").await;
    session.until("SELECT DISTINCT state FROM millstream.jobs", |rows| rows == [["RUNNING"]]).await;
    session.run("INSERT INTO t VALUES (3)").await;
    assert_eq!(session.rows("SELECT n FROM total").await, [["3"]]);
    assert_eq!(topic.ends(), [0]);
}
