//! `COPY`: the columns that travel, and the plan that makes rows of a table of what comes in.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::logical_expr::LogicalPlanBuilder;
use sqlparser::ast::{self, Ident, ObjectName, ObjectNamePart, SelectItem, TableWithJoins};

use super::diagnose::plan_error;
use super::{Binder, BoundQuery, dml, window};
use crate::access::Privileges;
use crate::catalog::{RelationKind, Resolved};
use crate::copy::{CopyIn, CopyOptions, CopyRows};
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::parse::ast::{Identifier, Name};
use crate::statement::{Insert, Query, Use};

impl Binder<'_> {
    /// `COPY table [(columns)] FROM STDIN`.
    pub fn copy_in(&self, name: &Name, listed: &[Identifier], options: CopyOptions) -> Result<CopyIn> {
        let target = self.target(&object_name(name), None, "copy to").map_err(|error| error.at(Some(name.position)))?;
        let stored = target.schema();
        let physical = target.physical_columns();
        let places = match listed {
            [] => (0..physical).collect(),
            listed => self.copied_columns(&target, listed)?,
        };
        // A NULL is refused where the row is accepted, with everything else that the table asks of it.
        let fields = places.iter().map(|place| stored.field(*place).clone().with_nullable(true));
        let columns = Arc::new(Schema::new(fields.collect::<Vec<Field>>()));
        options.force_not_null.among("FORCE_NOT_NULL", &columns)?;
        options.force_null.among("FORCE_NULL", &columns)?;
        let source = Arc::new(CopyRows { columns: Arc::clone(&columns) });
        let scan = LogicalPlanBuilder::scan("copy", source, None).and_then(LogicalPlanBuilder::build);
        let rows = self.table_rows(&target, scan.map_err(plan_error)?, &places)?;
        let definition = target.definition();
        let insert = Insert {
            relation: target.relation.id,
            rows,
            on_conflict: definition.on_conflict.clone(),
            conflict_assignments: None,
            returning: None,
            returning_rows: None,
            parameters: Vec::new(),
            varchars: Vec::new(),
            uses: vec![Use { relation: target.relation.id, through: None, privileges: Privileges::INSERT }],
        };
        let is_whole_row = places.iter().copied().eq(0..physical);
        Ok(CopyIn { table: target.relation.name.name.clone(), columns, is_whole_row, insert, options })
    }

    fn copied_columns(&self, target: &dml::Target, listed: &[Identifier]) -> Result<Vec<usize>> {
        let mut places = Vec::with_capacity(listed.len());
        for column in listed {
            refuse_generated(target.schema(), target.physical_columns(), column)?;
            let place = target.writable(&column.value, Some(column.position))?;
            if places.contains(&place) {
                let message = format!("column \"{}\" specified more than once", column.value);
                return Err(PlanError::new(PlanErrorKind::DuplicateColumn, message).at(Some(column.position)));
            }
            places.push(place);
        }
        Ok(places)
    }

    /// `SELECT * FROM relation`, for a definition.
    pub(crate) fn all_of(&self, name: &Name) -> Result<BoundQuery> {
        self.definition(&select(name, &[])).map_err(|error| located(error, name, &[]))
    }

    /// The query behind `COPY relation [(columns)] TO STDOUT`: generated columns leave only where they are not
    /// those of a table, so that what left a table can come in again.
    pub fn copy_out(&self, name: &Name, listed: &[Identifier]) -> Result<Query> {
        if let Some(twice) = listed
            .iter()
            .enumerate()
            .find(|(place, column)| listed[..*place].iter().any(|before| before.value == column.value))
        {
            let message = format!("column \"{}\" specified more than once", twice.1.value);
            return Err(PlanError::new(PlanErrorKind::DuplicateColumn, message).at(Some(twice.1.position)));
        }
        let mut columns = listed.to_vec();
        match super::resolve(self.catalog, self.settings, name.schema.as_deref(), &name.name) {
            Some(Resolved::Relation(relation)) => match &relation.kind {
                RelationKind::View { .. } => {
                    let message = format!("cannot copy from view \"{}\"", name.name);
                    return Err(PlanError::new(PlanErrorKind::WrongObjectType, message)
                        .with_hint("Try the COPY (SELECT ...) TO variant.")
                        .at(Some(name.position)));
                }
                RelationKind::Table(table) => {
                    let (schema, physical) = (&table.input.schema, table.input.physical_columns);
                    for column in listed {
                        refuse_generated(schema, physical, column)?;
                    }
                    if listed.is_empty() {
                        let own = schema.fields()[..physical].iter();
                        let named =
                            |field: &Arc<Field>| Identifier { value: field.name().clone(), position: name.position };
                        columns = own.map(named).collect();
                    }
                }
                RelationKind::Source(_)
                | RelationKind::MaterializedView(_)
                | RelationKind::Sink(_)
                | RelationKind::System => {}
            },
            Some(Resolved::Auxiliary { .. }) | None => {}
        }
        let query = select(name, &columns);
        self.query(&query, &[]).map_err(|error| located(error, name, listed))
    }
}

/// The tree was made here and has no places: an unknown column is looked for among the listed ones.
fn located(error: PlanError, name: &Name, listed: &[Identifier]) -> PlanError {
    let of_column = listed.iter().find(|column| {
        error.kind == PlanErrorKind::UndefinedColumn && error.message.contains(&format!("\"{}\"", column.value))
    });
    error.at(Some(of_column.map_or(name.position, |column| column.position)))
}

fn refuse_generated(schema: &Schema, physical: usize, column: &Identifier) -> Result<()> {
    match schema.index_of(&column.value) {
        Ok(place) if place >= physical => {
            let message = format!("column \"{}\" is a generated column", column.value);
            Err(PlanError::new(PlanErrorKind::InvalidColumnReference, message)
                .with_detail("Generated columns cannot be used in COPY.")
                .at(Some(column.position)))
        }
        _ => Ok(()),
    }
}

fn object_name(name: &Name) -> ObjectName {
    let parts = name.schema.iter().chain([&name.name]);
    ObjectName(parts.map(|part| ObjectNamePart::Identifier(Ident::with_quote('"', part))).collect())
}

/// `SELECT columns FROM relation`, all columns where none are listed.
fn select(name: &Name, columns: &[Identifier]) -> ast::Query {
    let items = match columns {
        [] => vec![SelectItem::Wildcard(ast::WildcardAdditionalOptions::default())],
        columns => {
            let item = |column: &Identifier| {
                SelectItem::UnnamedExpr(ast::Expr::Identifier(Ident::with_quote('"', &column.value)))
            };
            columns.iter().map(item).collect()
        }
    };
    let from = TableWithJoins { relation: window::plain_table(object_name(name)), joins: Vec::new() };
    dml::select(items, vec![from], None)
}
