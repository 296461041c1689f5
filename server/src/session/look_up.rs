//! SELECT of a few rows that an index finds: it runs at once, without a plan of DataFusion's.
//!
//! It sees what every query sees, and gives the same rows as the plan would ([`LookUp`]). Where no index serves it, or
//! there are many rows, the plan is made.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use millstream_planner::batch::LookUp;
use millstream_planner::statement::Query;
use millstream_runtime::plan::RelationId;

use super::query::Seen;
use super::{Session, SqlError};
use crate::engine::index::indexes_of;
use crate::engine::index_scan::find;
use crate::engine::limits::LOOK_UP_ROWS;
use crate::engine::read::version_of;

/// The rows of a query that was run at once.
pub(super) struct FoundAtOnce {
    /// The index that found them and its relation; none for a query of no relation.
    pub(super) by: Option<(String, String)>,
    /// The result of the query.
    pub(super) rows: RecordBatch,
}

impl Session {
    /// The rows of a query that is a look-up, if an index finds them.
    pub(super) async fn looked_up(
        &self,
        query: &Query,
        parameters: &[ScalarValue],
        seen: &Seen,
    ) -> Result<Option<FoundAtOnce>, SqlError> {
        let Some(look_up) = &query.look_up else { return Ok(None) };
        let Some(bound) = look_up.bind(parameters)? else { return Ok(None) };
        let (by, mut rows) = match look_up.relation() {
            Some(relation) => match rows_of(look_up, relation, &bound.conditions, seen).await? {
                Some((by, rows)) => (Some(by), rows),
                None => return Ok(None),
            },
            None => (None, one_row()?),
        };
        if bound.is_empty() {
            rows = rows.slice(0, 0);
        }
        for step in &bound.steps {
            rows = step.run(rows)?;
        }
        Ok(Some(FoundAtOnce { by, rows }))
    }
}

/// The rows that may meet the conditions, and the index and the relation; nothing where no index serves.
async fn rows_of(
    look_up: &LookUp,
    id: RelationId,
    conditions: &[Expr],
    seen: &Seen,
) -> Result<Option<((String, String), RecordBatch)>, SqlError> {
    let catalog = &seen.pinned.state.catalog;
    let Some(relation) = catalog.view.get(id).filter(|relation| catalog.source(relation).is_none()) else {
        return Ok(None);
    };
    let own = seen.versions.get(&id).cloned();
    let Some(version) = own.or_else(|| version_of(&seen.pinned, id)) else { return Ok(None) };
    let indexes = indexes_of(catalog, relation);
    let found = find(&version, &relation.schema, &indexes, conditions, LOOK_UP_ROWS).await?;
    let Some(found) = found else { return Ok(None) };
    let schema = Arc::new(version.schema.project(look_up.columns())?);
    let batches = found.batches(look_up.columns(), &schema)?;
    let rows = match batches.as_slice() {
        [one] => one.clone(),
        several => arrow::compute::concat_batches(&schema, several)?,
    };
    Ok(Some(((found.index.name.clone(), relation.name.name.clone()), rows)))
}

/// One row without columns.
fn one_row() -> Result<RecordBatch, SqlError> {
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)?)
}
