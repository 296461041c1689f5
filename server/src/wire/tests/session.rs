//! The wire over real sessions: drivers as users run them.

use super::served::Served;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_parameters_and_the_catalog() {
    let server = Served::start().await;
    let client = server.client().await;
    client.batch_execute("CREATE TABLE t (id INT PRIMARY KEY, v TEXT, n NUMERIC)").await.unwrap();
    let inserted =
        client.execute("INSERT INTO t VALUES ($1, $2, 1.5), (2, NULL, NULL)", &[&1i32, &"one"]).await.unwrap();
    assert_eq!(inserted, 2);
    let rows = client.query("SELECT id, v FROM t WHERE id >= $1 ORDER BY id", &[&1i32]).await.unwrap();
    let rows: Vec<(i32, Option<&str>)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(rows, [(1, Some("one")), (2, None)]);

    let error = client.query("SELECT * FROM missing", &[]).await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "42P01");
    assert_eq!(error.position(), Some(&tokio_postgres::error::ErrorPosition::Original(15)));

    let row = client.query_one("SELECT version(), pg_backend_pid()", &[]).await.unwrap();
    assert!(row.get::<_, &str>(0).starts_with("PostgreSQL 15."));
    assert!(row.get::<_, i32>(1) > 0);
    let sql = "SELECT a.attname FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1::regclass AND a.attnum > 0 ORDER BY a.attnum";
    // As in Postgres the parameter is a regclass unless the client says that it is a text.
    assert_eq!(client.prepare(sql).await.unwrap().params(), [tokio_postgres::types::Type::REGCLASS]);
    let statement = client.prepare_typed(sql, &[tokio_postgres::types::Type::TEXT]).await.unwrap();
    let names = client.query(&statement, &[&"t"]).await.unwrap();
    let names: Vec<&str> = names.iter().map(|row| row.get(0)).collect();
    assert_eq!(names, ["id", "v", "n"]);

    client.batch_execute("BEGIN; SELECT 1").await.unwrap();
    assert!(client.batch_execute("SELECT 1/0").await.is_err());
    let failed = client.batch_execute("SELECT 1").await.unwrap_err();
    assert_eq!(failed.code().unwrap().code(), "25P02");
    client.batch_execute("ROLLBACK").await.unwrap();
    client.batch_execute("SET TIME ZONE 'Europe/Berlin'").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_whose_rows_multiply_can_be_cancelled() {
    let server = Served::start().await;
    let client = server.client().await;
    let token = client.cancel_token();
    let endless =
        client.query("SELECT count(*) FROM generate_series(1, 1000000) a(x), generate_series(1, 1000000) b(y)", &[]);
    // A cancel that comes before the statement runs is forgotten: they are sent until one has met it.
    let cancelling = async {
        loop {
            token.cancel_query(tokio_postgres::NoTls).await.unwrap();
        }
    };
    let error = tokio::select! {
        result = endless => result.unwrap_err(),
        () = cancelling => unreachable!("cancels are sent for ever"),
    };
    assert_eq!(error.code().unwrap().code(), "57014");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_query_sets_holds_behind_it_and_goes_with_its_transaction() {
    let server = Served::start().await;
    let client = server.client().await;
    let shown = async || client.query_one("SHOW application_name", &[]).await.unwrap().get::<_, String>(0);
    let row = client.query_one("SELECT set_config('application_name', $1, false)", &[&"one"]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "one");
    assert_eq!(shown().await, "one");
    client.batch_execute("BEGIN").await.unwrap();
    client.batch_execute("SELECT set_config('application_name', 'two', true)").await.unwrap();
    assert_eq!(shown().await, "two");
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(shown().await, "one");
    client.batch_execute("BEGIN; SELECT set_config('application_name', 'three', false); ROLLBACK").await.unwrap();
    assert_eq!(shown().await, "one");
    let error = client.batch_execute("SELECT set_config('server_version', '17', false)").await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "55P02");
    // What asyncpg sends at its start.
    let row = client.query_one("SELECT current_setting('jit') AS cur, set_config('jit', 'off', false) AS new", &[]);
    assert_eq!(row.await.unwrap().get::<_, &str>(1), "off");
}

/// The process id of a client's connection.
async fn process_id(client: &tokio_postgres::Client) -> i32 {
    client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_see_and_stop_each_other() {
    let server = Served::start().await;
    let mut config = server.login();
    config.application_name("target");
    let (target, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    let ended = tokio::spawn(connection);
    let (other, connection) = config.application_name("other").connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let pid = process_id(&target).await;
    assert_ne!(pid, process_id(&other).await);

    let asleep = tokio::spawn(async move {
        let slept = target.query("SELECT pg_sleep(3600)", &[]).await;
        (target, slept)
    });
    let activity = "SELECT state, query, usename, datname, application_name, client_addr, client_port > 0,
        backend_start <= query_start, xact_start IS NOT NULL FROM pg_stat_activity WHERE pid = $1";
    let row = loop {
        let row = other.query_one(activity, &[&pid]).await.unwrap();
        if row.get::<_, &str>(0) == "active" && row.get::<_, &str>(1).contains("pg_sleep") {
            break row;
        }
        tokio::task::yield_now().await;
    };
    let seen: Vec<&str> = (2..6).map(|column| row.get(column)).collect();
    assert_eq!(seen, ["millstream", "db", "target", "127.0.0.1"]);
    assert!((6..9).all(|column| row.get(column)));

    let stop = async |sql: &str| other.query_one(sql, &[&pid]).await.unwrap().get::<_, bool>(0);
    assert!(stop("SELECT pg_cancel_backend($1)").await);
    let (target, slept) = asleep.await.unwrap();
    assert_eq!(slept.unwrap_err().code().unwrap().code(), "57014");
    // A simple statement leaves nothing to be answered: what comes next is the end of the connection.
    target.batch_execute("SELECT 1").await.unwrap();

    assert!(stop("SELECT pg_terminate_backend($1)").await);
    let error = ended.await.unwrap().unwrap_err();
    assert_eq!(error.code().unwrap().code(), "57P01");
    assert!(target.query("SELECT 1", &[]).await.is_err());
    assert!(!stop("SELECT pg_terminate_backend($1)").await);
}
