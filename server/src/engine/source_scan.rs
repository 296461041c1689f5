//! A source read by a query: what it holds when the query starts, streamed, from the source's start positions.
//!
//! Nothing is kept and nothing is counted: rows that the declared schema refuses are left out here, as they are
//! left out of the relation that views read; those that are late are shown, because lateness is a matter of
//! the views' progress and a query has none.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::{StreamExt, TryStreamExt};
use millstream_runtime::graph::{Acceptor, SplitClock};
use millstream_runtime::plan::InputRelation;
use millstream_runtime::source::{Source, SourceEvent, SourceReader, Split, SplitRange};
use millstream_runtime::time::Watermark;

use super::provider::RowSource;

/// A source as a query reads it.
#[derive(Clone)]
pub struct SourceRows {
    /// How its rows are treated.
    pub input: InputRelation,
    /// Where they come from.
    pub source: Arc<dyn Source>,
    /// The splits with their start positions, as resolved when the source was made.
    pub splits: Vec<Split>,
}

impl fmt::Debug for SourceRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceRows({})", self.input.name)
    }
}

impl RowSource for SourceRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.input.schema)
    }

    fn partitions(&self, projection: &[usize], _partitions: usize) -> Result<Vec<Arc<dyn PartitionStream>>> {
        let schema = Arc::new(self.input.schema.project(projection)?);
        Ok(vec![Arc::new(SourcePart { schema, rows: self.clone(), projection: projection.to_vec() })])
    }
}

#[derive(Debug)]
struct SourcePart {
    schema: SchemaRef,
    rows: SourceRows,
    projection: Vec<usize>,
}

impl PartitionStream for SourcePart {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _ctx: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.rows.clone();
        let projection = self.projection.clone();
        let batches = futures::stream::once(async move { open(&rows).await })
            .map_ok(move |reading| read(reading, projection.clone()))
            .try_flatten();
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}

/// A reader on its way to the ends that were there when it started.
struct Reading {
    reader: Box<dyn SourceReader>,
    acceptor: Acceptor,
}

async fn open(rows: &SourceRows) -> Result<Reading> {
    let ends = rows.source.ends().await.map_err(external)?;
    let mut ranges = Vec::new();
    for split in rows.source.splits().await.map_err(external)? {
        // A split that is known keeps the start that was resolved for it; a new one is read from its own.
        let split = rows.splits.iter().find(|known| known.id == split.id).cloned().unwrap_or(split);
        let Some(until) = ends.get(&split.id).copied() else { continue };
        if split.start < until {
            ranges.push(SplitRange { from: split.start, split, until: Some(until) });
        }
    }
    let columns = (0..rows.input.physical_columns).collect();
    let reader = rows.source.open(ranges, columns).await.map_err(external)?;
    // Without a watermark no row is late, whatever comes first.
    let accepting = InputRelation { watermark: None, ..rows.input.clone() };
    Ok(Reading { reader, acceptor: Acceptor::new(&accepting).map_err(external)? })
}

fn read(reading: Reading, projection: Vec<usize>) -> impl futures::Stream<Item = Result<RecordBatch>> + Send {
    futures::stream::try_unfold((reading, projection), |(mut reading, projection)| async move {
        loop {
            match reading.reader.next().await.map_err(external)? {
                None => return Ok(None),
                Some(SourceEvent::SplitEnded(_)) => {}
                Some(SourceEvent::Batch(batch)) => {
                    let mut clock = SplitClock::starting_at(Watermark::NONE);
                    let accepted = reading.acceptor.accept(&batch.rows, &mut clock).map_err(external)?;
                    let rows = accepted.rows.project(&projection)?;
                    if rows.num_rows() > 0 {
                        return Ok(Some((rows, (reading, projection))));
                    }
                }
            }
        }
    })
    .boxed()
}

fn external(error: millstream_runtime::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
