//! The compose file, as far as it can be checked without running it.

use std::fs;
use std::path::Path;

use serde_yaml_ng::Value;

fn compose() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docker-compose.yml");
    serde_yaml_ng::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_sequence().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn the_three_services_are_there() {
    let compose = compose();
    let services = compose["services"].as_mapping().unwrap();
    let names: Vec<&str> = services.keys().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(names, ["kafka", "s3", "millstream"]);
    for (name, service) in services {
        let from = [&service["image"], &service["build"]["dockerfile"]];
        assert!(from.iter().any(|from| from.is_string()), "{name:?} comes from nowhere");
        assert!(
            texts(&service["ports"]).iter().all(|port| port.starts_with("127.0.0.1:")),
            "{name:?} is open to the network"
        );
    }
}

#[test]
fn millstream_waits_for_the_others_and_demands_a_password() {
    let compose = compose();
    let millstream = &compose["services"]["millstream"];
    for needed in ["kafka", "s3"] {
        assert_eq!(millstream["depends_on"][needed]["condition"].as_str(), Some("service_healthy"));
        assert!(compose["services"][needed]["healthcheck"]["test"].is_sequence());
    }
    let environment = &millstream["environment"];
    assert!(environment["MILLSTREAM_PASSWORD"].as_str().unwrap().starts_with("${MILLSTREAM_PASSWORD:?"));
    assert!(environment["MILLSTREAM_STORAGE"].as_str().unwrap().starts_with("s3://millstream/"));
    let dockerfile = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy/Dockerfile");
    let dockerfile = fs::read_to_string(dockerfile).unwrap();
    assert!(dockerfile.contains("--bin millstream") && dockerfile.contains("USER millstream"));
}

#[test]
fn the_store_and_its_client_agree() {
    let compose = compose();
    let store = &compose["services"]["s3"]["environment"];
    let client = &compose["services"]["millstream"]["environment"];
    assert_eq!(store["ROOT_ACCESS_KEY_ID"], client["AWS_ACCESS_KEY_ID"]);
    assert_eq!(store["ROOT_SECRET_ACCESS_KEY"], client["AWS_SECRET_ACCESS_KEY"]);
    assert_eq!(client["AWS_ENDPOINT_URL"].as_str(), Some("http://s3:9000"));
}
