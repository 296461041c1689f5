//! `print`: a sink that writes changes to the standard output, one a line.
//!
//! `name> + {"a":1}` is a row that came, `name> - {"a":1}` one that was taken back; a row that comes twice has two lines. The
//! output can't be asked what it holds: after a restart changes may be printed again.

use std::io::Write;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use millstream_runtime::batch::ChangeBatch;
use millstream_runtime::sink::{EncodedRows, Publisher, Sink, SinkIdentity};
use millstream_runtime::source::ConnectorSpec;
use millstream_runtime::{Error, Result};

use crate::ConnectorContext;
use crate::formats::JsonRows;
use crate::options::Options;

/// The sink as declared; it has no options.
pub fn sink(spec: &ConnectorSpec, context: &ConnectorContext) -> Result<Arc<dyn Sink>> {
    Options::of_connector(spec).finish()?;
    JsonRows::new(&arrow::array::RecordBatch::new_empty(Arc::clone(&spec.schema)))?;
    Ok(Arc::new(Print { name: spec.relation.clone(), output: Arc::clone(&context.output) }))
}

#[derive(Clone)]
struct Print {
    name: String,
    output: Arc<Mutex<dyn Write + Send>>,
}

#[async_trait]
impl Sink for Print {
    fn encode(&self, changes: &ChangeBatch) -> Result<EncodedRows> {
        let encoder = JsonRows::new(&changes.rows)?;
        let mut out = Vec::new();
        let mut refused = Vec::new();
        let mut line = Vec::new();
        for row in 0..changes.len() {
            let weight = changes.weight(row);
            line.clear();
            let sign = if weight < 0 { '-' } else { '+' };
            line.extend_from_slice(format!("{}> {sign} ", self.name).as_bytes());
            match encoder.write(row, &mut line) {
                Ok(()) => line.push(b'\n'),
                Err(reason) => {
                    refused.push((row, reason));
                    continue;
                }
            }
            (0..weight.unsigned_abs()).for_each(|_| out.extend_from_slice(&line));
        }
        Ok(EncodedRows { payload: out.into(), refused })
    }

    async fn open(&self, _identity: &SinkIdentity) -> Result<Box<dyn Publisher>> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Publisher for Print {
    async fn progress(&mut self) -> Result<Option<u64>> {
        Ok(None)
    }

    async fn publish(&mut self, _sequence: u64, outbox: &[Bytes]) -> Result<()> {
        let output = Arc::clone(&self.output);
        let outbox = outbox.to_vec();
        // A terminal or a pipe that is not read blocks its writer.
        let written = tokio::task::spawn_blocking(move || {
            let mut output = output.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            outbox.iter().try_for_each(|payload| output.write_all(payload))?;
            output.flush()
        });
        let written = written.await.map_err(|error| Error::internal(error.to_string()))?;
        written.map_err(|error| Error::unavailable(format!("the output can't be written: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch};

    use super::*;
    use crate::generator::tests::ManualClock;

    #[tokio::test]
    async fn changes_are_lines() {
        let rows =
            RecordBatch::try_from_iter([("a", Arc::new(Int64Array::from(vec![1, 2])) as arrow::array::ArrayRef)])
                .unwrap();
        let written = Arc::new(Mutex::new(Vec::new()));
        let context = ConnectorContext {
            output: Arc::clone(&written) as Arc<Mutex<dyn Write + Send>>,
            ..ConnectorContext::with_clock(Arc::new(ManualClock::default()))
        };
        let spec = ConnectorSpec {
            relation: "shown".into(),
            connector: "print".into(),
            options: Default::default(),
            format: None,
            schema: rows.schema(),
            origins: Vec::new(),
            primary_key: Vec::new(),
            keeps_raw: false,
        };
        let sink = crate::sink(&spec, &context).unwrap();
        let encoded = sink.encode(&ChangeBatch::weighted(rows, Int64Array::from(vec![2, -1]))).unwrap();
        let identity = SinkIdentity { id: "x".into(), timeline: 0 };
        sink.open(&identity).await.unwrap().publish(1, &[encoded.payload]).await.unwrap();
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "shown> + {\"a\":1}\nshown> + {\"a\":1}\nshown> - {\"a\":2}\n");
    }
}
