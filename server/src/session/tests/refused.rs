//! Rows that a source refuses after they were decoded: what is kept of them are the bytes as they came.

use super::{Client, open};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_after_decoding_is_kept_with_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lines.json");
    let lines = [
        r#"{"id": 1, "n": 4}"#,
        r#"{"id": 2,  "n": 0, "more": "is not declared"}"#,
        r#"{"n": 5, "id": 3}"#,
        r#"{"id": 4, "n": null}"#,
    ];
    std::fs::write(&path, lines.join("\n")).unwrap();
    let engine = open("refused").await;
    let mut client = Client::new(&engine);
    let source = format!(
        "CREATE SOURCE s (id BIGINT, n BIGINT, share BIGINT NOT NULL GENERATED ALWAYS AS (100 / n))
         WITH (connector = 'file', path = '{}') FORMAT PLAIN ENCODE JSON",
        path.display()
    );
    client.tag(&source).await;
    client.tag("CREATE MATERIALIZED VIEW v AS SELECT id, share FROM s").await;
    engine.wait_ended().await.unwrap();
    assert_eq!(client.rows("SELECT * FROM v ORDER BY id").await, ["1|25", "3|20"]);
    let kept = client.rows("SELECT reason, encode(raw, 'hex') FROM \"s$rejected\" ORDER BY \"offset\"").await;
    let hex = |line: &str| line.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert!(kept[0].contains("division by zero") && kept[0].ends_with(&hex(lines[1])), "{kept:?}");
    assert!(kept[1].contains("\"share\"") && kept[1].ends_with(&hex(lines[3])), "{kept:?}");
    engine.stop().await;
}
