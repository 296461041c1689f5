//! Secrets in what connectors say: librdkafka quotes the value of a property that it does not like.

use super::Client;
use crate::engine::{Engine, EngineConfig, SecretKeys};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connector_that_quotes_a_value_is_masked() {
    let keys = SecretKeys::random().unwrap();
    let config = EngineConfig { secret_keys: keys, ..EngineConfig::new("memory://quoted_secrets") };
    let engine = Engine::open(config).await.unwrap();
    let mut client = Client::new(&engine);
    client.tag("CREATE SECRET p AS 'hunter2-x'").await;
    client.tag("CREATE TABLE t (v INT)").await;
    let with = "connector = 'kafka', topic = 't', properties.bootstrap.server = '127.0.0.1:1',
                properties.security.protocol = SECRET p";
    let append = "type = 'append-only', force_append_only = 'true'";
    for sql in [
        format!("CREATE SOURCE s (v INT) WITH ({with}) FORMAT PLAIN ENCODE JSON"),
        format!("CREATE SINK k FROM t WITH ({with}, {append}) FORMAT PLAIN ENCODE JSON"),
    ] {
        let error = client.error(&sql).await;
        let told = format!("{} {:?} {:?}", error.message, error.detail, error.hint);
        assert!(told.contains("security.protocol") && told.contains("********"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
    engine.stop().await;
}
