//! `blackhole`: a sink that takes everything and keeps nothing.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use millstream_runtime::Result;
use millstream_runtime::batch::ChangeBatch;
use millstream_runtime::sink::{EncodedRows, Publisher, Sink, SinkIdentity};
use millstream_runtime::source::ConnectorSpec;

use crate::options::Options;

/// The sink as declared; it has no options.
pub fn sink(spec: &ConnectorSpec) -> Result<Arc<dyn Sink>> {
    Options::of_connector(spec).finish()?;
    Ok(Arc::new(Blackhole))
}

#[derive(Debug)]
struct Blackhole;

#[async_trait]
impl Sink for Blackhole {
    fn encode(&self, _changes: &ChangeBatch) -> Result<EncodedRows> {
        Ok(EncodedRows::default())
    }

    async fn open(&self, _identity: &SinkIdentity) -> Result<Box<dyn Publisher>> {
        Ok(Box::new(Self))
    }
}

#[async_trait]
impl Publisher for Blackhole {
    async fn progress(&mut self) -> Result<Option<u64>> {
        Ok(None)
    }

    async fn publish(&mut self, _sequence: u64, _outbox: &[Bytes]) -> Result<()> {
        Ok(())
    }
}
