//! What is unreachable: at a start, at CREATE, and later. A clear error in time where somebody waits for it; a
//! state that names what is waited for, and going on by itself, where a job runs.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use millstream_sql_tests::kafka::Topic;
use millstream_sql_tests::server::{Launch, PATIENCE, Server, Session};
use millstream_sql_tests::services::{self, OwnService, fresh};

/// What a person waits for an answer about the outside world at most.
const ANSWER: Duration = Duration::from_secs(10);

/// Takes connections, and never answers.
fn silent() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// The environment of a client whose S3 store is at `address`.
fn store_at(address: &str) -> BTreeMap<String, String> {
    let variables = [
        ("AWS_ENDPOINT_URL", format!("http://{address}").as_str()),
        ("AWS_ACCESS_KEY_ID", "somebody"),
        ("AWS_SECRET_ACCESS_KEY", "geheim"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ALLOW_HTTP", "true"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    BTreeMap::from(variables)
}

#[tokio::test]
async fn a_start_on_a_bucket_that_is_away_fails_in_time_and_says_so() {
    let silent = silent();
    // Port 1 is reserved: nobody listens there.
    for address in ["127.0.0.1:1".to_owned(), silent.local_addr().unwrap().to_string()] {
        let launch = Launch::new("s3://nobodys-bucket/prefix").environment(&store_at(&address));
        let asked = Instant::now();
        let (code, log) = launch.spawn().ended().await;
        assert!(asked.elapsed() < ANSWER, "{address}: it took {:?}", asked.elapsed());
        assert_eq!(code, Some(1), "{address}: {log}");
        assert!(log.contains("s3://nobodys-bucket/prefix") && log.contains("endpoint"), "{address}: {log}");
        assert!(!log.contains("geheim"), "{address}: {log}");
    }
}

/// A statement that has to fail in time with something in its message, after which there is only what was
/// there before, and the name is free.
async fn fails_and_leaves_nothing(session: &Session, sql: &str, named: &str) {
    let relations = "SELECT count(*) FROM millstream.relations WHERE schema = 'public'";
    let before = session.number(relations).await;
    let asked = Instant::now();
    let (sqlstate, message) = session.error(sql).await;
    assert!(asked.elapsed() < ANSWER, "{sql}: it took {:?}", asked.elapsed());
    assert!(message.contains(named), "{sql}: the error does not name {named}: {message}");
    assert!(["08006", "22023"].contains(&sqlstate.as_str()), "{sql}: {message}");
    assert_eq!(session.number(relations).await, before, "{sql}: something was created");
    assert_eq!(session.number("SELECT count(*) FROM millstream.jobs").await, 1);
}

fn kafka_source(name: &str, bootstrap: &str, topic: &str) -> String {
    format!(
        "CREATE SOURCE {name} (n BIGINT) WITH (connector = 'kafka', topic = '{topic}', \
             properties.bootstrap.server = '{bootstrap}', scan.startup.mode = 'earliest') FORMAT PLAIN ENCODE JSON"
    )
}

fn kafka_sink(name: &str, from: &str, bootstrap: &str, topic: &str) -> String {
    format!(
        "CREATE SINK {name} AS SELECT n FROM {from} WITH (connector = 'kafka', topic = '{topic}', \
             properties.bootstrap.server = '{bootstrap}') FORMAT PLAIN ENCODE JSON"
    )
}

fn file_source(name: &str, path: &str) -> String {
    format!(
        "CREATE SOURCE {name} (n BIGINT) WITH (connector = 'file', path = '{path}', mode = 'watch') \
         FORMAT PLAIN ENCODE JSON"
    )
}

fn file_sink(name: &str, from: &str, path: &str) -> String {
    format!(
        "CREATE SINK {name} AS SELECT n FROM {from} WITH (connector = 'file', path = '{path}') \
         FORMAT PLAIN ENCODE JSON"
    )
}

#[tokio::test]
async fn create_fails_in_time_when_the_broker_or_the_bucket_is_away() {
    let silent = silent();
    for address in ["127.0.0.1:1".to_owned(), silent.local_addr().unwrap().to_string()] {
        let server = Launch::new("memory://").environment(&store_at(&address)).start().await;
        let session = server.connect().await;
        session.run("CREATE TABLE numbers (n BIGINT) APPEND ONLY").await;
        for (sql, named) in [
            (kafka_source("s", &address, "t"), address.as_str()),
            (kafka_sink("s", "numbers", &address, "t"), address.as_str()),
            (file_source("s", "s3://nobodys-bucket/in"), "s3://nobodys-bucket/in"),
            (file_sink("s", "numbers", "s3://nobodys-bucket/out"), "s3://nobodys-bucket/out"),
        ] {
            fails_and_leaves_nothing(&session, &sql, named).await;
        }
        session.run("CREATE VIEW s AS SELECT 1 AS n").await;
    }
}

#[tokio::test]
async fn create_fails_when_the_topic_or_the_bucket_is_unknown() {
    let test = "create_fails_when_the_topic_or_the_bucket_is_unknown";
    let (Some(bootstrap), Some(_)) = (services::kafka(test), services::s3(test)) else { return };
    let server = Launch::new("memory://").start().await;
    let session = server.connect().await;
    session.run("CREATE TABLE numbers (n BIGINT) APPEND ONLY").await;
    let (topic, bucket) = (fresh("missing"), format!("s3://{}/x", fresh("missing")));
    for (sql, named) in [
        (kafka_source("s", &bootstrap, &topic), topic.as_str()),
        (kafka_sink("s", "numbers", &bootstrap, &topic), topic.as_str()),
        (file_source("s", &bucket), bucket.as_str()),
        (file_sink("s", "numbers", &bucket), bucket.as_str()),
    ] {
        fails_and_leaves_nothing(&session, &sql, named).await;
    }
}

const JOBS: &str = "SELECT state, coalesce(reason, '') FROM millstream.jobs WHERE relation = ";

/// Waits until a relation's job is in a state, and gives back the reason.
async fn until_state(session: &Session, relation: &str, state: &str) -> String {
    let jobs = format!("{JOBS}'{relation}'");
    session.until(&jobs, |rows| rows[0][0] == state).await.remove(0).remove(1)
}

fn send(topic: &Topic, numbers: std::ops::Range<i64>) {
    numbers.for_each(|n| topic.send(0, [format!(r#"{{"n": {n}}}"#).as_bytes()]));
    topic.flush();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_goes_away_is_waited_for_and_the_rest_goes_on() {
    let _turn = services::turn().await;
    let test = "a_broker_that_goes_away_is_waited_for_and_the_rest_goes_on";
    let Some(mut broker) = OwnService::kafka(test).await else { return };
    let bootstrap = broker.bootstrap().to_owned();
    let (input, output) = (Topic::create(&bootstrap, "in", 1).await, Topic::create(&bootstrap, "out", 1).await);
    let server = Launch::new("memory://").start().await;
    let session = server.connect().await;
    session.run("SET millstream.checkpoint_interval = '100ms'").await;
    session.run(&kafka_source("numbers", &bootstrap, input.name())).await;
    session.run("CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n, sum(n) AS s FROM numbers").await;
    session.run("CREATE TABLE mine (n BIGINT) APPEND ONLY").await;
    session.run("CREATE MATERIALIZED VIEW of_mine AS SELECT count(*) AS n FROM mine").await;
    session.run("CREATE TABLE out (n BIGINT) APPEND ONLY").await;
    session.run(&kafka_sink("publish", "out", &bootstrap, output.name())).await;
    send(&input, 0..100);
    session.run("INSERT INTO out VALUES (1)").await;
    session.run("FLUSH").await;
    assert_eq!(session.rows("SELECT n, s FROM total").await, [["100", "4950"]]);

    broker.kill().await;
    session.run("INSERT INTO out VALUES (2)").await;
    for (relation, kind) in [("total", "source"), ("publish", "sink")] {
        let reason = until_state(&session, relation, "WAITING").await;
        assert!(reason.contains(kind) && reason.contains(&bootstrap), "{relation}: {reason}");
    }
    let (_, why) = session.error("CREATE MATERIALIZED VIEW another AS SELECT n FROM numbers").await;
    assert!(why.contains(&bootstrap), "{why}");
    // What was read is shown, and what needs no broker goes on.
    assert_eq!(session.rows("SELECT n, s FROM total").await, [["100", "4950"]]);
    session.run("INSERT INTO mine VALUES (1), (2)").await;
    assert_eq!(session.rows("SELECT n FROM of_mine").await, [["2"]]);
    assert_eq!(until_state(&session, "of_mine", "RUNNING").await, "");

    broker.start().await;
    send(&input, 100..200);
    for relation in ["total", "publish"] {
        until_state(&session, relation, "RUNNING").await;
    }
    session.run("FLUSH").await;
    assert_eq!(session.rows("SELECT n, s FROM total").await, [["200", "19900"]]);
    let published = tokio::task::block_in_place(|| output.committed(PATIENCE, |rows| rows.len() == 2));
    assert_eq!(published, [r#"{"n":1}"#, r#"{"n":2}"#]);
}

/// One INSERT on a connection of its own.
async fn insert(server: &Server, sql: &'static str) -> tokio::task::JoinHandle<()> {
    let session = server.connect().await;
    tokio::spawn(async move { session.run(sql).await })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_wait_for_a_bucket_that_goes_away_and_are_there_when_it_is_back() {
    let _turn = services::turn().await;
    let test = "writes_wait_for_a_bucket_that_goes_away_and_are_there_when_it_is_back";
    let Some(mut store) = OwnService::s3(test).await else { return };
    let launch = Launch::new(format!("{}/{}", store.bucket(), fresh("away"))).environment(store.exports());
    let server = launch.start().await;
    let session = server.connect().await;
    session.run("SET millstream.checkpoint_interval = '100ms'").await;
    session.run("CREATE TABLE t (n BIGINT, filler TEXT)").await;
    session.run("CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n, sum(n) AS s FROM t").await;
    session.run("INSERT INTO t VALUES (1)").await;

    store.kill().await;
    // Rows within a log entry, and rows that need an object of their own.
    let small = insert(&server, "INSERT INTO t VALUES (2)").await;
    let large = "INSERT INTO t SELECT n, md5(n || 'a') || md5(n || 'b') || md5(n || 'c') || md5(n || 'd') \
                 || md5(n || 'e') FROM generate_series(1, 10000) AS g(n)";
    let large = insert(&server, large).await;
    let reason = until_state(&session, "total", "WAITING").await;
    assert!(reason.contains("s3://millstream/away-"), "{reason}");
    assert!(!reason.contains("secret"), "{reason}");
    // What was there is read on; nothing was acknowledged.
    assert_eq!(session.rows("SELECT n, s FROM total").await, [["1", "1"]]);
    let (sqlstate, message) = session.error("SET statement_timeout = '200ms'; INSERT INTO t VALUES (3)").await;
    assert_eq!(sqlstate, "08007", "it may be there or not: {message}");
    assert!(!small.is_finished() && !large.is_finished());

    store.start().await;
    tokio::time::timeout(PATIENCE, small).await.expect("the INSERT is acknowledged").unwrap();
    tokio::time::timeout(PATIENCE, large).await.expect("the INSERT is acknowledged").unwrap();
    until_state(&session, "total", "RUNNING").await;
    session.run("SET statement_timeout = 0; INSERT INTO t VALUES (4)").await;
    session.run("CHECKPOINT").await;
    let all = [["10004".to_owned(), (1 + 2 + 3 + 4 + 10_000 * 10_001 / 2).to_string()]];
    assert_eq!(session.rows("SELECT n, s FROM total").await, all);
    server.kill().await;
    let server = launch.start().await;
    assert_eq!(server.connect().await.rows("SELECT n, s FROM total").await, all);

    // Asked to end while the bucket is away, it ends.
    store.kill().await;
    let waiting = insert_nowhere(&server).await;
    server.terminate();
    let (code, log) = server.ended().await;
    assert_eq!(code, Some(0), "{log}");
    waiting.await.unwrap();
}

/// An INSERT whose server ends before the answer.
async fn insert_nowhere(server: &Server) -> tokio::task::JoinHandle<()> {
    let session = server.connect().await;
    let (sent, begun) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async move {
        sent.send(()).unwrap();
        assert!(session.client().batch_execute("INSERT INTO t VALUES (5)").await.is_err());
    });
    begun.await.unwrap();
    task
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_in_a_bucket_that_goes_away_are_waited_for() {
    let _turn = services::turn().await;
    let Some(mut store) = OwnService::s3("files_in_a_bucket_that_goes_away_are_waited_for").await else { return };
    let (input, output) = (format!("{}/in", store.bucket()), format!("{}/out", store.bucket()));
    let server = Launch::new("memory://").environment(store.exports()).start().await;
    let session = server.connect().await;
    session.run("SET millstream.checkpoint_interval = '100ms'").await;
    session.run(&file_source("numbers", &input)).await;
    session.run("CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n FROM numbers").await;
    session.run("CREATE TABLE out (n BIGINT) APPEND ONLY").await;
    // What one sink writes is what the source watches.
    session.run(&file_sink("publish", "out", &input)).await;
    session.run(&file_sink("again", "out", &output)).await;
    session.run("INSERT INTO out VALUES (1), (2)").await;
    session.until("SELECT n FROM total", |rows| rows == [["2"]]).await;

    store.kill().await;
    session.run("INSERT INTO out VALUES (3)").await;
    for (relation, named) in [("total", "source \"public.numbers\""), ("again", "sink \"public.")] {
        let reason = until_state(&session, relation, "WAITING").await;
        assert!(reason.contains(named) && reason.contains("s3://millstream/"), "{relation}: {reason}");
    }
    store.start().await;
    session.until("SELECT n FROM total", |rows| rows == [["3"]]).await;
    for relation in ["total", "publish"] {
        until_state(&session, relation, "RUNNING").await;
    }
}
