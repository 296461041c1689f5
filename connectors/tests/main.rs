//! Tests of the connectors against real services.
//!
//! They run when the environment names the service (`MILLSTREAM_TEST_KAFKA=host:port`,
//! `MILLSTREAM_TEST_S3=s3://bucket` with `AWS_...`), and say on stderr that they were skipped when it does not.

#![allow(clippy::unwrap_used, missing_docs)]

mod files;
mod kafka;
