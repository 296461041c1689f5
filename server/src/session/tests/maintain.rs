//! What VACUUM, ANALYZE and REINDEX warn of; their errors are in `sql-tests/slt/maintenance.slt`.

use super::{Client, open};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_vacuumed_is_left_out_with_the_words_of_postgres() {
    let engine = open("maintain").await;
    let mut client = Client::new(&engine);
    for sql in [
        "CREATE TABLE mine (id INT PRIMARY KEY)",
        "CREATE TABLE bare (id INT)",
        "CREATE VIEW shown AS SELECT id FROM mine",
        "CREATE ROLE ada",
        "CREATE TABLE hers (id INT PRIMARY KEY)",
        "ALTER TABLE hers OWNER TO ada",
    ] {
        client.tag(sql).await;
    }
    for (sql, expected) in [
        ("VACUUM mine, hers", &[][..]),
        ("VACUUM shown", &["skipping \"shown\" --- cannot vacuum non-tables or special system tables"]),
        ("ANALYZE shown", &["skipping \"shown\" --- cannot analyze non-tables or special system tables"]),
        ("REINDEX TABLE mine", &[]),
        ("REINDEX TABLE bare", &["table \"bare\" has no indexes to reindex"]),
    ] {
        assert_eq!(client.run(sql).await.unwrap().notices, expected, "{sql}");
    }
    client.tag("SET ROLE ada").await;
    for (sql, expected) in [
        ("VACUUM hers", &[][..]),
        ("VACUUM mine, hers", &["skipping \"mine\" --- only table or database owner can vacuum it"]),
        ("ANALYZE mine", &["skipping \"mine\" --- only table or database owner can analyze it"]),
        ("VACUUM pg_class", &["skipping \"pg_class\" --- only superuser or database owner can vacuum it"]),
        (
            "VACUUM",
            &[
                "skipping \"mine\" --- only table or database owner can vacuum it",
                "skipping \"bare\" --- only table or database owner can vacuum it",
            ],
        ),
    ] {
        assert_eq!(client.run(sql).await.unwrap().notices, expected, "{sql}");
    }
    for (sql, message) in [
        ("REINDEX TABLE mine", "must be owner of table mine"),
        ("REINDEX INDEX mine_pkey", "must be owner of index mine_pkey"),
        ("REINDEX SCHEMA public", "must be owner of schema public"),
        ("REINDEX DATABASE millstream", "must be owner of database millstream"),
    ] {
        let error = client.error(sql).await;
        assert_eq!((error.sqlstate, error.message.as_str()), ("42501", message), "{sql}");
    }
    engine.stop().await;
}
