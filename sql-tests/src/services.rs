//! The services that some tests need, named by environment variables; without them those tests say so and pass.

use std::io::Write;

/// The bootstrap address of a Kafka broker (`MILLSTREAM_TEST_KAFKA`), or a plain line that `test` is skipped.
pub fn kafka(test: &str) -> Option<String> {
    named(test, "MILLSTREAM_TEST_KAFKA", "the address of a Kafka broker")
}

/// A bucket's URL (`MILLSTREAM_TEST_S3`, with the `AWS_*` variables), or a plain line that `test` is skipped.
pub fn s3(test: &str) -> Option<String> {
    named(test, "MILLSTREAM_TEST_S3", "an s3://bucket URL (with the AWS_* variables)")
}

/// A name that no other test and no other run uses.
pub fn fresh(prefix: &str) -> String {
    format!("{prefix}-{:016x}", rand::random::<u64>())
}

fn named(test: &str, variable: &str, what: &str) -> Option<String> {
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        // Past the test harness, which shows nothing of a test that passes.
        writeln!(std::io::stderr(), "{test} is SKIPPED: set {variable} to {what}").expect("stderr takes a line");
    }
    value
}
