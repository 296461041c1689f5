//! The catalog as sessions see it, where the stock one and its engine fall short: stable OIDs, every kind of relation,
//! keys and owners, and the queries of drivers that no general planner takes.

use super::{Client, open};

/// What drivers keep between two looks: OIDs, and what stands under them.
const IDENTITIES: [&str; 6] = [
    "SELECT c.oid, c.relname, c.relkind, c.relowner::regrole FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace ORDER BY c.oid",
    "SELECT indexrelid, indrelid::regclass, indisunique, indisprimary, indkey FROM pg_index WHERE indrelid >= 16384 ORDER BY 1",
    "SELECT oid, conname, contype, conrelid::regclass, conkey FROM pg_constraint WHERE conrelid >= 16384 ORDER BY 1",
    "SELECT oid, adrelid::regclass, adnum FROM pg_attrdef WHERE adrelid >= 16384 ORDER BY 1",
    "SELECT oid, ev_class::regclass FROM pg_rewrite WHERE ev_class >= 16384 ORDER BY 1",
    "SELECT oid, nspname, nspowner::regrole FROM pg_namespace WHERE oid >= 16384 OR nspname = 'public' ORDER BY 1",
];

async fn identities(client: &mut Client) -> Vec<String> {
    let mut all = Vec::new();
    for sql in IDENTITIES {
        let rows = client.rows(sql).await;
        assert!(!rows.is_empty(), "{sql} finds nothing");
        all.extend(rows);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oids_stay_over_restarts_and_are_not_given_twice() {
    let engine = open("oids").await;
    let mut client = Client::new(&engine);
    for sql in [
        "CREATE TABLE dropped (id INT PRIMARY KEY)",
        "CREATE TABLE t (id INT PRIMARY KEY, v TEXT DEFAULT 'x')",
        "CREATE VIEW w AS SELECT id FROM t",
        "CREATE MATERIALIZED VIEW m AS SELECT v, count(*) AS n FROM t GROUP BY v",
        "CREATE INDEX by_v ON t (v)",
        "CREATE SCHEMA s",
    ] {
        client.tag(sql).await;
    }
    let kinds = "SELECT relname, relkind, pg_get_userbyid(relowner) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace ORDER BY 1";
    let expected = ["by_v|i", "dropped|r", "dropped_pkey|i", "m|m", "t|r", "t_pkey|i", "w|v"];
    assert_eq!(client.rows(kinds).await, expected.map(|row| format!("{row}|millstream")));
    let gone = client.rows("SELECT 'dropped'::regclass::oid").await;
    client.tag("DROP TABLE dropped").await;
    let before = identities(&mut client).await;
    engine.stop().await;
    drop((client, engine));

    let engine = open("oids").await;
    let mut client = Client::new(&engine);
    assert_eq!(identities(&mut client).await, before);
    client.tag("CREATE TABLE new (id INT)").await;
    let new = client.rows("SELECT 'new'::regclass::oid").await;
    assert_ne!(new, gone, "an OID that a client may still know stands for another table");
    assert!(!before.iter().any(|row| row.starts_with(&format!("{}|", new[0]))));
    client.tag("CHECKPOINT").await;
    client.tag("ALTER TABLE new RENAME TO renamed").await;
    assert_eq!(client.rows("SELECT 'renamed'::regclass::oid").await, new);
    engine.stop().await;
}

/// Each is of a kind that drivers send and that DataFusion does not plan.
const DRIVERS: [(&str, &[&str]); 11] = [
    // An array of a subquery's rows, in its order.
    (
        "SELECT ARRAY(SELECT a.attname FROM pg_attribute a WHERE a.attrelid = 't'::regclass AND a.attnum > 0 ORDER BY a.attnum DESC)",
        &["[v, id]"],
    ),
    // Correlated scalar subqueries, with and without aggregates, in every clause.
    (
        "SELECT c.relname, (SELECT n.nspname FROM pg_namespace n WHERE n.oid = c.relnamespace) FROM pg_class c WHERE c.oid = 't'::regclass",
        &["t|public"],
    ),
    (
        "SELECT c.relname FROM pg_class c WHERE (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0) = 2 AND c.relnamespace = 'public'::regnamespace ORDER BY 1",
        &["t"],
    ),
    (
        "SELECT a.attname FROM pg_attribute a WHERE a.attrelid = 't'::regclass AND a.attnum > 0 ORDER BY (SELECT -a.attnum)",
        &["v", "id"],
    ),
    // Other escapes of LIKE, and regular expressions with a collation.
    (
        r"SELECT relname FROM pg_class WHERE relname LIKE 't!_%' ESCAPE '!' AND relnamespace = 'public'::regnamespace",
        &["t_pkey"],
    ),
    (r"SELECT relname FROM pg_class WHERE relname LIKE 't\_%' AND relnamespace = 'public'::regnamespace", &["t_pkey"]),
    (
        "SELECT relname FROM pg_catalog.pg_class WHERE relname OPERATOR(pg_catalog.~) '^(t)$' COLLATE pg_catalog.default",
        &["t"],
    ),
    // Sets made of arrays, beside their rows.
    (
        "SELECT i.indrelid::regclass, k.n FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k(attnum, n) WHERE i.indrelid = 't'::regclass",
        &["t|1"],
    ),
    (
        "SELECT a.attname FROM pg_index i CROSS JOIN LATERAL (SELECT attname FROM pg_attribute WHERE attrelid = i.indrelid AND attnum = ANY(i.indkey)) AS a WHERE i.indrelid = 't'::regclass",
        &["id"],
    ),
    // asyncpg's way up and down the types.
    (
        "WITH RECURSIVE up(oid, depth) AS (SELECT 't'::regclass::oid, 1 UNION ALL SELECT oid, depth + 1 FROM up WHERE depth < 3) SELECT max(depth) FROM up",
        &["3"],
    ),
    // The same name twice.
    ("SELECT relname, relname FROM pg_class WHERE oid = 't'::regclass", &["t|t"]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_drivers_ask_needs_no_planner_of_streams() {
    let engine = open("driver_queries").await;
    let mut client = Client::new(&engine);
    client.tag("CREATE TABLE t (id INT PRIMARY KEY, v TEXT)").await;
    for (sql, expected) in DRIVERS {
        assert_eq!(client.rows(sql).await, expected, "{sql}");
    }
    // A mistake has its place in the text as it was sent, whatever the text looks like to a rewriter.
    for (sql, sqlstate, token) in [
        (
            "SELECT c.relname, n.nspnam FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace",
            "42703",
            "n.nspnam",
        ),
        (
            "SELECT pg_catalog.pg_get_userbyid(c.relowner, 1) FROM pg_catalog.pg_class c",
            "42883",
            "pg_catalog.pg_get_userbyid",
        ),
        ("SELECT * FROM pg_catalog.pg_class c WHERE c.oid = 'nowhere'::pg_catalog.regclass", "42P01", "'nowhere'"),
    ] {
        let error = client.error(sql).await;
        let place = error.position.unwrap() - 1;
        assert_eq!(error.sqlstate, sqlstate, "{sql}: {error:?}");
        assert!(sql[place..].starts_with(token), "{sql}: it points at {}", &sql[place..]);
    }
    engine.stop().await;
}
