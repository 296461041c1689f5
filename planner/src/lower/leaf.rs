//! Leaves: relations and constant rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{EmptyRelation, Expr, TableScan, Values};
use millstream_runtime::plan::{Changes, EventTimeColumn, InputRelation, Operation};

use super::{Lowered, Lowering, column_expressions, nullable_schema};
use crate::bind::{RelationTable, plan_error};
use crate::catalog::{Relation, RelationKind, Resolved};
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::functions;

impl Lowering {
    pub(super) fn scan(&mut self, scan: &TableScan) -> Result<Lowered> {
        let table = scan
            .source
            .downcast_ref::<RelationTable>()
            .ok_or_else(|| super::unsupported(&format!("{} in FROM", scan.table_name), "Put its rows into a table."))?;
        let relation = watched(table)?;
        let whole = self.relation(relation)?;
        if !scan.filters.is_empty() || scan.fetch.is_some() {
            return Err(PlanError::internal("a filter or limit was pushed into a scan"));
        }
        let Some(projection) = &scan.projection else { return Ok(whole) };
        if projection.iter().copied().eq(0..whole.schema.fields().len()) {
            return Ok(whole);
        }
        self.project_physical(&whole, column_expressions(&whole.schema, projection.iter().copied()))
    }

    /// A relation's changes.
    pub(super) fn relation(&mut self, relation: &Relation) -> Result<Lowered> {
        let (changes, event_time, key) = match &relation.kind {
            RelationKind::Table(table) => input_facts(&table.input),
            RelationKind::Source(source) => input_facts(&source.input),
            RelationKind::MaterializedView(view) => (view.changes, view.event_time, view.key.clone()),
            RelationKind::View { .. } | RelationKind::Sink(_) | RelationKind::System => {
                return Err(PlanError::internal(format!("\"{}\" has no changes", relation.name.name)));
            }
        };
        let name = format!("{}.{}", relation.name.schema, relation.name.name);
        let schema = Arc::clone(&relation.schema);
        let operation = Operation::Relation { id: relation.id, name };
        let node = self.add(operation, Vec::new(), Arc::clone(&schema), changes);
        Ok(Lowered {
            node,
            schema,
            changes,
            event_times: event_time.into_iter().collect(),
            key: (!key.is_empty()).then_some(key),
            one_row: false,
        })
    }

    pub(super) fn values(&mut self, values: &Values) -> Result<Lowered> {
        let rows = values.values.iter().map(|row| constants(row)).collect::<Result<Vec<_>>>()?;
        self.constant_rows(nullable_schema(&values.schema), &rows)
    }

    pub(super) fn empty(&mut self, empty: &EmptyRelation) -> Result<Lowered> {
        if empty.produce_one_row {
            // A row without columns; a constant one stands in, as in every projection without columns.
            let schema = Arc::new(Schema::new(vec![Field::new("true", DataType::Boolean, true)]));
            return self.constant_rows(schema, &[vec![ScalarValue::Boolean(Some(true))]]);
        }
        self.constant_rows(nullable_schema(&empty.schema), &[])
    }

    /// The node of rows that are there from the beginning.
    pub(super) fn constant_rows(&mut self, schema: SchemaRef, rows: &[Vec<ScalarValue>]) -> Result<Lowered> {
        let column = |index: usize| -> Result<ArrayRef> {
            let data_type = schema.field(index).data_type();
            let values = rows.iter().map(|row| row[index].cast_to(data_type)).collect::<Result<Vec<_>, _>>();
            let values = values.map_err(plan_error)?;
            if values.is_empty() {
                return Ok(arrow::array::new_empty_array(data_type));
            }
            ScalarValue::iter_to_array(values).map_err(plan_error)
        };
        let columns = (0..schema.fields().len()).map(column).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)
            .map_err(|error| PlanError::internal(error.to_string()))?;
        let operation = Operation::Values { rows: batch };
        let node = self.add(operation, Vec::new(), Arc::clone(&schema), Changes::Append);
        let one_row = rows.len() == 1;
        Ok(Lowered { node, schema, changes: Changes::Append, event_times: Vec::new(), key: None, one_row })
    }
}

/// The values of expressions that need no row.
pub(super) fn constants(expressions: &[Expr]) -> Result<Vec<ScalarValue>> {
    let one_row = RecordBatch::try_new_with_options(
        Arc::new(Schema::empty()),
        Vec::new(),
        &RecordBatchOptions::new().with_row_count(Some(1)),
    )
    .map_err(|error| PlanError::internal(error.to_string()))?;
    let value = |expr: &Expr| {
        let physical = functions::physical_expression(expr, &DFSchema::empty())?;
        let array = physical.evaluate(&one_row).and_then(|value| value.into_array(1)).map_err(plan_error)?;
        ScalarValue::try_from_array(&array, 0).map_err(plan_error)
    };
    expressions.iter().map(value).collect()
}

/// The relation behind a scan, if its changes can be followed.
fn watched(table: &RelationTable) -> Result<&Relation> {
    let refused = |what: &str| {
        Err(PlanError::new(
            PlanErrorKind::WrongObjectType,
            format!("\"{}\" is {what} and can't be read by a materialized view", table.name.name),
        )
        .with_hint("It can be queried."))
    };
    match &table.resolved {
        Resolved::Auxiliary { .. } => refused("a relation of rows that did not get through"),
        Resolved::Relation(relation) => match relation.kind {
            RelationKind::Table(_) | RelationKind::Source(_) | RelationKind::MaterializedView(_) => Ok(relation),
            RelationKind::System => refused("a system relation"),
            RelationKind::View { .. } | RelationKind::Sink(_) => {
                Err(PlanError::internal(format!("a scan of \"{}\"", table.name.name)))
            }
        },
    }
}

fn input_facts(input: &InputRelation) -> (Changes, Option<EventTimeColumn>, Vec<usize>) {
    let event_time = input.watermark.as_ref();
    let event_time = event_time.map(|watermark| EventTimeColumn { column: watermark.column, extent_micros: 1 });
    (input.changes, event_time, input.primary_key.clone())
}
