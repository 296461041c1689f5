//! Differences that have to be computed in whole: after a restart of a job, or where rows moved between chunks.
//!
//! That takes as long as there are rows, so it is done on a thread where nobody else waits, and as much memory, which is
//! asked for first and counted until the last row was given: also where the client does not wait for the end of it.
//! What comes out is given in batches of the usual size. What is small is computed at once: another thread would take
//! longer to begin.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::memory_pool::MemoryReservation;
use millstream_runtime::Error;
use millstream_runtime::graph::Difference;
use millstream_runtime::limits::CHUNK_ROWS;
use millstream_runtime::time::Epoch;
use tokio::task::JoinHandle;

use super::SqlError;
use super::rows::Shape;
use crate::engine::limits::DIFFERENCE_BYTES_AT_ONCE;

/// Bytes of a row that is compared by its encoded form: the rows themselves, that form, and the net of them.
const COMPARED_TIMES: usize = 3;

/// Bytes that a changed row takes beside that where it is found by its key: its place in a table, and what stands there.
const KEYED_ROW_BYTES: usize = 128;

/// A difference that is computed, or of which not all rows are given yet. A wait for it can be given up and loses nothing.
pub(super) struct Whole {
    epoch: Epoch,
    rows: Rows,
}

enum Rows {
    /// On another thread.
    Computed(JoinHandle<Result<Ready, SqlError>>),
    Ready(Ready),
}

struct Ready {
    rows: RecordBatch,
    given: usize,
    _memory: MemoryReservation,
}

impl Whole {
    /// Begins to compute a difference; a small one is there at once.
    pub(super) fn of(difference: Difference, shape: &Arc<Shape>, memory: MemoryReservation) -> Result<Self, SqlError> {
        let keyed_rows = if shape.is_keyed() { difference.rows() } else { 0 };
        let bytes = difference.bytes().saturating_mul(COMPARED_TIMES) + keyed_rows.saturating_mul(KEYED_ROW_BYTES);
        memory.try_resize(bytes).map_err(|error| {
            Error::exhausted(format!("a difference of {} bytes can't be computed: {error}", difference.bytes()))
                .with_hint("SUBSCRIBE again, or start the server with a higher --query-memory-mib.")
        })?;
        let (shape, epoch, at_once) = (Arc::clone(shape), difference.epoch, bytes <= DIFFERENCE_BYTES_AT_ONCE);
        let compute = move || {
            let rows = shape.changes(epoch, &difference.compute()?)?;
            drop(difference);
            memory.resize(rows.get_array_memory_size());
            Ok(Ready { rows, given: 0, _memory: memory })
        };
        let rows = match at_once {
            true => Rows::Ready(compute()?),
            false => Rows::Computed(tokio::task::spawn_blocking(compute)),
        };
        Ok(Self { epoch, rows })
    }

    /// The epoch that it leads to.
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The next rows; `None` when all were given.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        let ready = match &mut self.rows {
            Rows::Ready(ready) => ready,
            Rows::Computed(handle) => {
                let failed = |error| Error::internal(format!("a difference was not computed: {error}"));
                self.rows = Rows::Ready(handle.await.map_err(failed)??);
                let Rows::Ready(ready) = &mut self.rows else { unreachable!("it was put there") };
                ready
            }
        };
        let count = CHUNK_ROWS.min(ready.rows.num_rows() - ready.given);
        let batch = (count > 0).then(|| ready.rows.slice(ready.given, count));
        ready.given += count;
        Ok(batch)
    }
}
