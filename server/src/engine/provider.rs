//! What DataFusion scans: versions of relations, and rows made on the spot.
//!
//! A version is immutable, so a scan holds no lock and blocks nobody. Columns are cut before rows that are
//! marked as deleted are filtered out, batch by batch, as the query asks for them.

use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use millstream_runtime::relation::{Chunk, RelationVersion};

use super::index_scan::{self, IndexColumns};

/// Rows that can be read in parts.
#[async_trait]
pub trait RowSource: fmt::Debug + Send + Sync + 'static {
    /// All columns.
    fn schema(&self) -> SchemaRef;

    /// Streams that together give every row once, at most `partitions`, with the columns at `projection`.
    fn partitions(&self, projection: &[usize], partitions: usize) -> Result<Vec<Arc<dyn PartitionStream>>>;

    /// The rows that may meet the conditions, with the columns at `projection`, where that is less than all; the
    /// conditions are held against them once more. `None`: read everything.
    async fn look_up(&self, _filters: &[Expr], _projection: &[usize]) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        Ok(None)
    }
}

/// A [`RowSource`] as DataFusion's planner takes it.
#[derive(Debug)]
pub struct Scan<S>(pub S);

#[async_trait]
impl<S: RowSource> TableProvider for Scan<S> {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = self.0.schema();
        let columns = projection.cloned().unwrap_or_else(|| (0..schema.fields().len()).collect());
        if let Some(found) = self.0.look_up(filters, &columns).await? {
            return Ok(found);
        }
        let partitions = self.0.partitions(&columns, state.config().target_partitions())?;
        let schema = Arc::new(schema.project(&columns)?);
        Ok(Arc::new(StreamingTableExec::try_new(schema, partitions, None, [], false, limit)?))
    }
}

/// A version of a table or view, with the columns that the catalog declares: a view's dataflow knows less than
/// its plan about which of them are never null.
#[derive(Clone)]
pub struct VersionRows {
    version: Arc<RelationVersion>,
    declared: SchemaRef,
    /// For EXPLAIN.
    name: String,
    indexes: Vec<IndexColumns>,
}

impl VersionRows {
    /// The rows of a version under declared columns of the same types.
    pub fn new(version: Arc<RelationVersion>, declared: SchemaRef) -> Self {
        Self { version, declared, name: String::new(), indexes: Vec::new() }
    }

    /// The same, found by indexes where conditions allow it.
    #[must_use]
    pub fn with_indexes(self, name: &str, indexes: Vec<IndexColumns>) -> Self {
        Self { name: name.to_string(), indexes, ..self }
    }
}

impl fmt::Debug for VersionRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VersionRows({} rows)", self.version.rows)
    }
}

#[async_trait]
impl RowSource for VersionRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.declared)
    }

    async fn look_up(&self, filters: &[Expr], projection: &[usize]) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        index_scan::look_up(&self.version, &self.declared, &self.name, &self.indexes, filters, projection).await
    }

    fn partitions(&self, projection: &[usize], partitions: usize) -> Result<Vec<Arc<dyn PartitionStream>>> {
        let schema = Arc::new(self.declared.project(projection)?);
        let per_partition = self.version.chunks.len().div_ceil(partitions.max(1)).max(1);
        let part = |chunks: &[Arc<Chunk>]| -> Arc<dyn PartitionStream> {
            Arc::new(VersionPart {
                schema: Arc::clone(&schema),
                chunks: chunks.to_vec(),
                projection: projection.to_vec(),
            })
        };
        if self.version.chunks.is_empty() {
            return Ok(vec![part(&[])]);
        }
        Ok(self.version.chunks.chunks(per_partition).map(part).collect())
    }
}

/// Some chunks of a version.
struct VersionPart {
    schema: SchemaRef,
    chunks: Vec<Arc<Chunk>>,
    projection: Vec<usize>,
}

impl fmt::Debug for VersionPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VersionPart({} chunks)", self.chunks.len())
    }
}

impl PartitionStream for VersionPart {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _ctx: Arc<TaskContext>) -> SendableRecordBatchStream {
        let projection = self.projection.clone();
        let schema = Arc::clone(&self.schema);
        let batches = self.chunks.clone().into_iter().map(move |chunk| {
            let columns = chunk.batch.project(&projection)?;
            let rows = match &chunk.live {
                None => columns,
                Some(live) => arrow::compute::filter_record_batch(&columns, live)?,
            };
            let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
            Ok(RecordBatch::try_new_with_options(Arc::clone(&schema), rows.columns().to_vec(), &options)?)
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), futures::stream::iter(batches)))
    }
}

/// Rows that are there as one batch: a system relation, or what a statement brings along.
#[derive(Clone, Debug)]
pub struct BatchRows(pub RecordBatch);

#[async_trait]
impl RowSource for BatchRows {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn partitions(&self, projection: &[usize], _partitions: usize) -> Result<Vec<Arc<dyn PartitionStream>>> {
        let batch = self.0.project(projection)?;
        Ok(vec![Arc::new(BatchPart { schema: batch.schema(), batch })])
    }
}

#[derive(Debug)]
struct BatchPart {
    schema: SchemaRef,
    batch: RecordBatch,
}

impl PartitionStream for BatchPart {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _ctx: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batches = futures::stream::iter([Ok(self.batch.clone())]);
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}
