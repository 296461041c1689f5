//! SELECT of a few rows that an index finds: it runs at once, without a plan of DataFusion's.
//!
//! It sees what every query sees, and gives the same rows as the plan would ([`LookUp`]). Where no index serves it, or
//! there are many rows, the plan is made. What the first rows in an index's order decide reads only those, and more of
//! them as long as conditions leave too few.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;
use datafusion::common::ScalarValue;
use millstream_planner::batch::{BoundLookUp, FirstRows, LookUp, LookUpValues};
use millstream_planner::catalog::Relation;
use millstream_planner::functions::SessionFacts;
use millstream_planner::statement::Query;
use millstream_runtime::plan::RelationId;
use millstream_runtime::relation::RelationVersion;

use super::query::Seen;
use super::{Session, SqlError};
use crate::engine::index::indexes_of;
use crate::engine::index_scan::{FirstOrder, Found, IndexColumns, find, find_first};
use crate::engine::limits::{FIRST_ROWS, LOOK_UP_ROWS};
use crate::engine::read::version_of;

/// The rows of a query that was run at once.
pub(super) struct FoundAtOnce {
    /// The indexes that found them and their relations, those of subqueries first.
    pub(super) by: Vec<(String, String)>,
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
        let facts = look_up.asks_facts().then(|| self.facts());
        let mut by = Vec::new();
        let rows = run(look_up, parameters, facts.as_ref(), seen, &mut by).await?;
        Ok(rows.map(|rows| FoundAtOnce { by, rows }))
    }
}

/// The rows of a look-up; nothing where it has to be planned. The indexes that it used go to `by`.
async fn run(
    look_up: &LookUp,
    parameters: &[ScalarValue],
    facts: Option<&SessionFacts>,
    seen: &Seen,
    by: &mut Vec<(String, String)>,
) -> Result<Option<RecordBatch>, SqlError> {
    let mut answers = Vec::with_capacity(look_up.asked().len());
    for asked in look_up.asked() {
        // Whether an error in a subquery is one of the query is for the plan to say.
        let rows = Box::pin(run(&asked.look_up, parameters, facts, seen, by)).await;
        let answer = match rows {
            Ok(Some(rows)) => asked.answer(&rows)?,
            Ok(None) | Err(_) => None,
        };
        let Some(answer) = answer else { return Ok(None) };
        answers.push(answer);
    }
    let Some(bound) = look_up.bind(LookUpValues { parameters, facts, answers: &answers })? else { return Ok(None) };
    let Some(relation) = look_up.relation() else { return after_steps(&bound, one_row()?).map(Some) };
    rows_of(look_up, &bound, relation, seen, by).await
}

/// What the steps make of all rows.
fn after_steps(bound: &BoundLookUp, mut rows: RecordBatch) -> Result<RecordBatch, SqlError> {
    if bound.is_empty() {
        rows = rows.slice(0, 0);
    }
    for step in &bound.steps {
        rows = step.run(rows)?;
    }
    Ok(rows)
}

/// What the steps make of the first rows; nothing where these are too few to tell.
fn after_steps_of_first(bound: &BoundLookUp, first: &FirstRows, mut rows: RecordBatch) -> Option<RecordBatch> {
    for (number, step) in bound.steps.iter().enumerate() {
        if number == first.step && rows.num_rows() < first.rows {
            return None;
        }
        // What fails here is for all of the rows to say.
        rows = step.run(rows).ok()?;
    }
    Some(rows)
}

/// Over the rows that may meet the conditions; nothing where no index serves.
async fn rows_of(
    look_up: &LookUp,
    bound: &BoundLookUp,
    id: RelationId,
    seen: &Seen,
    by: &mut Vec<(String, String)>,
) -> Result<Option<RecordBatch>, SqlError> {
    let catalog = &seen.pinned.state.catalog;
    let Some(relation) = catalog.view.get(id).filter(|relation| catalog.source(relation).is_none()) else {
        return Ok(None);
    };
    let own = seen.versions.get(&id).cloned();
    let Some(version) = own.or_else(|| version_of(&seen.pinned, id)) else { return Ok(None) };
    let indexes = indexes_of(catalog, relation);
    let look_up = Looking { look_up, bound, version: &version, relation, indexes: &indexes };
    let found = look_up.rows().await?;
    Ok(found.map(|(index, rows)| {
        by.push((index, relation.name.name.clone()));
        rows
    }))
}

/// A look-up over one version of its relation.
struct Looking<'a> {
    look_up: &'a LookUp,
    bound: &'a BoundLookUp,
    version: &'a Arc<RelationVersion>,
    relation: &'a Relation,
    indexes: &'a [IndexColumns],
}

impl Looking<'_> {
    /// The index that serves and what the steps make of the rows.
    async fn rows(&self) -> Result<Option<(String, RecordBatch)>, SqlError> {
        let Some(first) = self.bound.first.as_ref().filter(|first| (1..=FIRST_ROWS).contains(&first.rows)) else {
            return self.all(LOOK_UP_ROWS).await;
        };
        // Few rows are sorted faster than they are read in order, and an order that conditions bound is better than
        // many; one that reads in vain what conditions on other columns leave out is the last.
        if let Some(found) = self.all(first.rows.max(64)).await? {
            return Ok(Some(found));
        }
        if let Some(found) = self.first(first, true).await? {
            return Ok(Some(found));
        }
        match self.all(LOOK_UP_ROWS).await? {
            Some(found) => Ok(Some(found)),
            None => self.first(first, false).await,
        }
    }

    /// By all rows that may meet the conditions, if these are no more.
    async fn all(&self, rows_max: usize) -> Result<Option<(String, RecordBatch)>, SqlError> {
        let (schema, conditions) = (&self.relation.schema, &self.bound.conditions);
        let found = find(self.version, schema, self.indexes, conditions, rows_max).await?;
        let Some(found) = found else { return Ok(None) };
        let rows = after_steps(self.bound, self.taken(&found)?)?;
        Ok(Some((found.index.name.clone(), rows)))
    }

    /// By the first rows in an index's order; nothing where none has the order, and where these do not tell.
    async fn first(&self, first: &FirstRows, bounded: bool) -> Result<Option<(String, RecordBatch)>, SqlError> {
        let (schema, conditions) = (&self.relation.schema, &self.bound.conditions);
        let order = FirstOrder { keys: &first.keys, bounded };
        let mut count = first.rows;
        while count <= FIRST_ROWS {
            let found = find_first(self.version, schema, self.indexes, conditions, order, count).await?;
            let Some(found) = found else { return Ok(None) };
            let rows = self.taken(&found)?;
            let rows = match found.complete {
                true => Some(after_steps(self.bound, rows)?),
                false => after_steps_of_first(self.bound, first, rows),
            };
            if let Some(rows) = rows {
                return Ok(Some((found.index.name.clone(), rows)));
            }
            count *= 8;
        }
        Ok(None)
    }

    /// The columns that the steps need, of the rows that were found.
    fn taken(&self, found: &Found<'_>) -> Result<RecordBatch, SqlError> {
        let columns = self.look_up.columns();
        let schema = Arc::new(self.version.schema.project(columns)?);
        let batches = found.batches(columns, &schema)?;
        Ok(match batches.as_slice() {
            [one] => one.clone(),
            several => arrow::compute::concat_batches(&schema, several)?,
        })
    }
}

/// One row without columns.
fn one_row() -> Result<RecordBatch, SqlError> {
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)?)
}
