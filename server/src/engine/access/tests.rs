//! Who may run which statement: a table of statements and roles. What stands in it was looked up by hand in a Postgres
//! 15 for the statements that it has, too.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use millstream_planner::access::{BOOTSTRAP, Roles};

use super::{AccessChange, stored};
use crate::engine::{Engine, EngineConfig};
use crate::session::{Session, SqlError};

async fn engine(storage: &str) -> Arc<Engine> {
    let config = EngineConfig { slots: 1, parallelism: 1, ..EngineConfig::new(storage) };
    Engine::open(config).await.unwrap()
}

async fn run(session: &mut Session, sql: &str) -> Result<(), SqlError> {
    for text in session.split(sql)? {
        let prepared = session.prepare(&text, &[]).await?;
        let outcome = session.execute(&prepared, Vec::new(), Default::default()).await?;
        if let Some(mut rows) = outcome.rows {
            while let Some(batch) = futures::StreamExt::next(&mut rows).await {
                batch?;
            }
        }
    }
    Ok(())
}

const SET_UP: &str = "
    CREATE ROLE owner LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE writer LOGIN; CREATE ROLE stranger LOGIN;
    CREATE ROLE maker LOGIN CREATEROLE; CREATE ROLE everything LOGIN IN ROLE pg_read_all_data, pg_write_all_data;
    CREATE ROLE deputy LOGIN IN ROLE owner;
    CREATE SCHEMA s; ALTER SCHEMA s OWNER TO owner;
    CREATE TABLE s.t (id INT PRIMARY KEY, v TEXT); ALTER TABLE s.t OWNER TO owner;
    CREATE VIEW s.v AS SELECT id FROM s.t; ALTER VIEW s.v OWNER TO owner;
    CREATE VIEW s.w AS SELECT id FROM s.v; ALTER VIEW s.w OWNER TO stranger;
    GRANT USAGE ON SCHEMA s TO reader, writer;
    GRANT SELECT ON s.t TO reader; GRANT INSERT, UPDATE, DELETE, TRUNCATE ON s.t TO writer;
    GRANT SELECT ON s.v, s.w TO writer";

/// The columns of [`TABLE`].
const ROLES: [&str; 7] = ["owner", "deputy", "reader", "writer", "everything", "maker", "stranger"];

/// A statement and who may run it: `+` may, `-` gets 42501.
const TABLE: &[(&str, &str)] = &[
    ("SELECT * FROM s.t", "+++-+--"),
    ("EXPLAIN SELECT * FROM s.t", "+++-+--"),
    ("SELECT 1 FROM s.t", "+++-+--"),
    ("SELECT 1 WHERE EXISTS (SELECT 1 FROM s.t)", "+++-+--"),
    ("WITH t AS (SELECT 1 AS x) SELECT * FROM t", "+++++++"),
    ("SELECT * FROM s.\"t$rejected\"", "+++-+--"),
    ("SELECT * FROM s.v", "++-++--"),
    // Its owner, stranger, may not read s.v: nobody can through it, not even who may read s.v.
    ("SELECT * FROM s.w", "-------"),
    ("INSERT INTO s.t VALUES (1, 'a') ON CONFLICT DO NOTHING", "++-++--"),
    ("INSERT INTO s.t VALUES (1, 'a') ON CONFLICT (id) DO NOTHING", "++--+--"),
    ("INSERT INTO s.t VALUES (1, 'a') ON CONFLICT (id) DO UPDATE SET v = 'b'", "++--+--"),
    ("INSERT INTO s.t SELECT 2, v FROM s.t WHERE false", "++--+--"),
    ("INSERT INTO s.t VALUES ((SELECT max(id) + 10 FROM s.v), 'a') ON CONFLICT DO NOTHING", "++-++--"),
    ("INSERT INTO s.t VALUES ((SELECT max(id) + 10 FROM s.t), 'a') ON CONFLICT DO NOTHING", "++--+--"),
    ("UPDATE s.t SET v = 'x'", "++-++--"),
    ("UPDATE s.t SET v = DEFAULT", "++-++--"),
    ("UPDATE s.t SET v = v || 'x'", "++--+--"),
    ("UPDATE s.t SET v = 'x' WHERE id = 1", "++--+--"),
    ("UPDATE s.t SET v = 'x' RETURNING id", "++--+--"),
    ("UPDATE s.t SET v = (SELECT 'x' FROM s.t LIMIT 1)", "++--+--"),
    ("DELETE FROM s.t WHERE id = 99", "++--+--"),
    ("DELETE FROM s.t", "++-++--"),
    ("TRUNCATE s.t", "++-+---"),
    ("CREATE TABLE s.made (id INT); DROP TABLE s.made", "++-----"),
    ("CREATE VIEW s.made AS SELECT * FROM s.t; DROP VIEW s.made", "++-----"),
    ("CREATE MATERIALIZED VIEW s.made AS SELECT id FROM s.t; DROP MATERIALIZED VIEW s.made", "++-----"),
    ("CREATE SCHEMA made", "-------"),
    ("CREATE TABLE public.made (id INT)", "-------"),
    ("CREATE SINK s.k FROM s.t WITH (connector = 'blackhole'); DROP SINK s.k", "++-----"),
    ("CREATE SOURCE s.f (a TEXT) WITH (connector = 'file', path = '/nowhere') FORMAT PLAIN ENCODE CSV", "-------"),
    ("CREATE SOURCE s.f (a TEXT) WITH (connector = 'file', path = 's3://b/x') FORMAT PLAIN ENCODE CSV", "-------"),
    (
        "CREATE SOURCE s.f (a TEXT) WITH (connector = 'kafka', topic = 't', properties.bootstrap.server = 'h:1') \
         FORMAT PLAIN ENCODE CSV",
        "-------",
    ),
    ("CREATE SINK s.f FROM s.t WITH (connector = 'file', path = '/nowhere') FORMAT UPSERT ENCODE JSON", "-------"),
    ("ALTER TABLE s.t OWNER TO stranger", "-------"),
    ("ALTER TABLE s.t OWNER TO owner", "++-----"),
    // Who has some privilege but none to give is only warned.
    ("GRANT SELECT ON s.t TO stranger; REVOKE SELECT ON s.t FROM stranger", "+++++--"),
    ("GRANT USAGE ON SCHEMA s TO stranger; REVOKE USAGE ON SCHEMA s FROM stranger", "+++++--"),
    ("CREATE ROLE made; DROP ROLE made", "-----+-"),
    ("CREATE ROLE made SUPERUSER", "-------"),
    ("ALTER ROLE millstream PASSWORD 'x'", "-------"),
    ("ALTER ROLE CURRENT_USER PASSWORD NULL", "+++++++"),
    ("ALTER ROLE stranger NOLOGIN; ALTER ROLE stranger LOGIN", "-----+-"),
    ("GRANT millstream TO CURRENT_USER", "-------"),
    ("GRANT pg_read_server_files TO CURRENT_USER", "-------"),
    ("GRANT owner TO stranger; REVOKE owner FROM stranger", "-----+-"),
    ("SET ROLE owner; RESET ROLE", "++-----"),
    ("SET SESSION AUTHORIZATION millstream", "-------"),
    ("CHECKPOINT", "-------"),
    ("SET millstream.clock = 'manual'", "-------"),
    ("ADVANCE CLOCK BY INTERVAL '1 second'", "-------"),
    ("FLUSH", "+++++++"),
    ("SHOW CREATE TABLE s.t", "+++++--"),
    ("DESCRIBE s.t", "+++++++"),
    ("SELECT relation FROM millstream.jobs", "+++++++"),
    ("DROP TABLE s.t CASCADE", "++-----"),
];

#[tokio::test]
async fn statements_are_allowed_as_in_postgres() {
    let engine = engine("memory://").await;
    run(&mut Session::new(Arc::clone(&engine), "d"), SET_UP).await.unwrap();
    let mut wrong = Vec::new();
    for (sql, allowed) in TABLE {
        for (role, expected) in ROLES.iter().zip(allowed.chars()) {
            // Who drops the table drops it once.
            if sql.starts_with("DROP TABLE") && *role == "deputy" {
                continue;
            }
            let mut session = Session::connect(Arc::clone(&engine), role, "d", None).unwrap();
            let outcome = run(&mut session, sql).await;
            match (outcome, expected) {
                (Ok(()), '+') => {}
                (Err(error), '-') if error.sqlstate == "42501" => {}
                // Gone already: the one who may has dropped it.
                (Err(error), '-') if sql.starts_with("DROP TABLE") && error.sqlstate == "42P01" => {}
                (outcome, expected) => wrong.push(format!("{role}: {sql}: {outcome:?}, expected {expected}")),
            }
        }
    }
    engine.stop().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is granted, owned and made is there again after a start, with and without a snapshot.
#[tokio::test]
async fn roles_and_privileges_survive_a_restart() {
    let storage = format!("memory://{}", uuid::Uuid::new_v4());
    let first = engine(&storage).await;
    run(&mut Session::new(Arc::clone(&first), "d"), SET_UP).await.unwrap();
    run(&mut Session::new(Arc::clone(&first), "d"), "ALTER ROLE owner PASSWORD 'secret'").await.unwrap();
    let view = Arc::clone(&first.state().catalog.view);
    let before = stored(&view);
    let snapshot = first.state().catalog.to_stored();
    assert_eq!(snapshot.access, before);
    first.stop().await;
    drop(first);

    let again = engine(&storage).await;
    assert_eq!(stored(&again.state().catalog.view), before);
    let mut reader = Session::connect(Arc::clone(&again), "reader", "d", None).unwrap();
    run(&mut reader, "SELECT * FROM s.t").await.unwrap();
    assert_eq!(run(&mut reader, "DELETE FROM s.t").await.unwrap_err().sqlstate, "42501");
    // A role that is made now gets a number of its own.
    run(&mut Session::new(Arc::clone(&again), "d"), "CREATE ROLE late").await.unwrap();
    let view = Arc::clone(&again.state().catalog.view);
    let late = view.roles().find("late").unwrap().oid;
    assert!(
        view.relations().all(|relation| relation.oid != late.0) && !view.schemas().values().any(|oid| *oid == late.0)
    );
    again.stop().await;
}

/// What stands in the log of a role is no password, whatever way it was written.
#[test]
fn what_is_kept_of_a_role_holds_no_password() {
    let mut role = millstream_planner::access::Role::clone(Roles::default().get(BOOTSTRAP).unwrap());
    role.verifier = super::password::kept("päss wörd").unwrap();
    let change = serde_json::to_string(&AccessChange::PutRole(role)).unwrap();
    assert!(change.contains("SCRAM-SHA-256$4096:") && !change.contains("wörd"), "{change}");
}
