//! `INSERT`, `UPDATE` and `DELETE`: plans that give final rows of a table, in the types in which it stores them.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema, ScalarValue, TableReference};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Projection};
use sqlparser::ast::{
    self, Assignment, AssignmentTarget, ConflictTarget, FromTable, Ident, ObjectName, ObjectNamePart, OnConflictAction,
    OnInsert, SelectItem, SetExpr, Spanned, TableFactor, TableObject, TableWithJoins, VisitMut, VisitorMut,
};

use super::change_forms::{self, bare_name, of_target_only, once_per_key, one_by_one, with_queries};
use super::context::{resolve, unknown_relation};
use super::diagnose::{nearest, plan_error, span_position};
use super::normalize::{folded, note_type, parameter_number};
use super::returning::Returning;
use super::{Binder, BoundQuery, mistakes, needs, varchars};
use crate::access::Privileges;
use crate::catalog::{Relation, RelationKind, Resolved, TableDefinition};
use crate::error::{PlanError, PlanErrorKind, Result, TextPosition};
use crate::statement::{Delete, Insert, OnConflict, Update, Use};

/// The qualifier of the old row in the expressions of `DO UPDATE SET`.
const TARGET: &str = "target";
/// The qualifier of the new row there, as Postgres calls it.
const EXCLUDED: &str = "excluded";

pub(super) type Parameters = Vec<Option<DataType>>;

/// The columns that `DO UPDATE SET` sees: those of the old row, then those of the new one.
pub fn conflict_schema(schema: &SchemaRef) -> Result<DFSchema> {
    let qualified = |name: &str| DFSchema::try_from_qualified_schema(TableReference::bare(name), schema.as_ref());
    qualified(TARGET).and_then(|old| old.join(&qualified(EXCLUDED)?)).map_err(plan_error)
}

/// The table that a statement changes.
pub(super) struct Target {
    pub(super) relation: Arc<Relation>,
    /// How its columns may be qualified.
    pub(super) name: Ident,
}

impl Target {
    pub(super) fn definition(&self) -> &TableDefinition {
        match &self.relation.kind {
            RelationKind::Table(definition) => definition,
            RelationKind::Source(_)
            | RelationKind::View { .. }
            | RelationKind::MaterializedView(_)
            | RelationKind::Sink(_)
            | RelationKind::System => unreachable!("a target is a table"),
        }
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.definition().input.schema
    }

    pub(super) fn physical_columns(&self) -> usize {
        self.definition().input.physical_columns
    }

    /// A column that can be written.
    pub(super) fn writable(&self, name: &str, position: Option<TextPosition>) -> Result<usize> {
        let table = &self.relation.name.name;
        match self.schema().index_of(name) {
            Ok(column) if column < self.physical_columns() => Ok(column),
            Ok(_) => Err(PlanError::new(
                PlanErrorKind::GeneratedAlways,
                format!("cannot insert a non-DEFAULT value into column \"{name}\""),
            )
            .with_detail(format!("Column \"{name}\" is a generated column."))),
            Err(_) => {
                let error = PlanError::new(
                    PlanErrorKind::UndefinedColumn,
                    format!("column \"{name}\" of relation \"{table}\" does not exist"),
                )
                .at(position);
                let names = self.schema().fields().iter().map(|field| field.name().as_str());
                Err(match nearest(name, names) {
                    Some(close) => error.with_hint(format!("Perhaps you meant to reference the column \"{close}\".")),
                    None => error,
                })
            }
        }
    }
}

impl Binder<'_> {
    /// Plans an INSERT into a table.
    pub fn insert(&self, insert: &ast::Insert, parameter_types: &[Option<DataType>]) -> Result<Insert> {
        refuse_insert_clauses(insert)?;
        let TableObject::TableName(name) = &insert.table else {
            return Err(PlanError::unsupported("INSERT into a function or a subquery is not supported"));
        };
        let target = self.target(name, insert.table_alias.as_ref().map(|alias| &alias.alias), "insert into")?;
        let columns = insert_columns(&target, &insert.columns)?;
        let mut parameters = parameter_types.to_vec();
        let mut uses = Vec::new();
        let rows = match &insert.source {
            None => self.default_row(&target)?,
            Some(source) => self.insert_rows(&target, source, &columns, &insert.columns, &mut parameters, &mut uses)?,
        };
        let (on_conflict, conflict_assignments) = match &insert.on {
            None => (target.definition().on_conflict.clone(), None),
            Some(OnInsert::OnConflict(on_conflict)) => self.on_conflict(&target, on_conflict, &mut parameters)?,
            Some(OnInsert::DuplicateKeyUpdate(_)) => {
                return Err(PlanError::unsupported("ON DUPLICATE KEY UPDATE is not supported")
                    .with_hint("Write ON CONFLICT (key) DO UPDATE SET ..."));
            }
            Some(_) => return Err(PlanError::unsupported("this ON clause of INSERT is not supported")),
        };
        let mut returning = self.returning(&target, insert.returning.as_deref(), &mut parameters)?;
        uses.append(&mut returning.uses);
        let relation = target.relation.id;
        let (mut privileges, mut reads) = (Privileges::INSERT, needs::returning_reads(insert.returning.as_deref()));
        if let Some(OnInsert::OnConflict(on_conflict)) = &insert.on {
            reads |= on_conflict.conflict_target.is_some();
            if matches!(on_conflict.action, OnConflictAction::DoUpdate(_)) {
                privileges = privileges.with(Privileges::UPDATE);
            }
        }
        if reads {
            privileges = privileges.with(Privileges::SELECT);
        }
        uses.push(Use { relation, through: None, privileges });
        let parameters = known(parameters);
        let varchars = varchars::of_insert(insert, &target.relation, &columns);
        let Returning { expressions: returning, rows: returning_rows, .. } = returning;
        Ok(Insert {
            relation,
            rows,
            on_conflict,
            conflict_assignments,
            returning,
            returning_rows,
            parameters,
            varchars,
            uses,
        })
    }

    /// Plans an UPDATE of a table: the old row, then the new physical columns.
    pub fn update(
        &self,
        update: &ast::Update,
        with: Option<&ast::With>,
        parameter_types: &[Option<DataType>],
    ) -> Result<Update> {
        let dropped = [
            (update.output.is_some(), "OUTPUT", "Use RETURNING."),
            (update.or.is_some(), "UPDATE OR", "Leave it out."),
            (!update.order_by.is_empty() || update.limit.is_some(), "UPDATE ... LIMIT", "Choose the rows in WHERE."),
        ];
        refuse_clauses(&dropped)?;
        let (name, alias) = single_table(&update.table)?;
        let target = self.target(name, alias, "update")?;
        refuse_append_only(&target, "update")?;
        let update = &ast::Update { assignments: one_by_one(&update.assignments)?, ..update.clone() };
        let others = change_forms::beside(update.from.as_ref());
        if !others.is_empty() {
            change_forms::check_beside(&target, "UPDATE ... FROM", update.returning.as_deref())?;
        }
        let mut parameters = parameter_types.to_vec();
        let mut items = vec![all_columns(name, alias)];
        let mut columns = Vec::with_capacity(update.assignments.len());
        for assignment in &update.assignments {
            let (column, value) = self.assignment(&target, assignment, &mut parameters)?;
            mistakes::check_alone(&value, "UPDATE")?;
            if columns.contains(&column) {
                return Err(PlanError::new(
                    PlanErrorKind::SyntaxError,
                    format!("multiple assignments to same column \"{}\"", target.schema().field(column).name()),
                ));
            }
            columns.push(column);
            items.push(SelectItem::UnnamedExpr(value));
        }
        let tables = std::iter::once(&update.table).chain(others).cloned().collect();
        let query = select(items, tables, update.selection.clone());
        let bound = self.bind_query(&with_queries(query, with), &parameters)?;
        let mut rows = self.updated_rows(&target, &bound, &columns, &update.assignments)?;
        if !others.is_empty() {
            rows = once_per_key(&target, rows)?;
        }
        let reads = update.selection.as_ref().is_some_and(needs::reads)
            || update
                .assignments
                .iter()
                .map(|assignment| &assignment.value)
                .any(|value| !is_default(value) && needs::reads(value))
            || needs::returning_reads(update.returning.as_deref());
        let mut uses = needs::of_change(bound.uses, target.relation.id, Privileges::UPDATE, reads);
        let mut parameters = bound.parameters.into_iter().map(Some).collect();
        let returning = self.returning(&target, update.returning.as_deref(), &mut parameters);
        let returning = match others.is_empty() {
            true => returning?,
            false => returning.map_err(|error| of_target_only(error, "FROM"))?,
        };
        uses.extend(returning.uses);
        let (returning, returning_rows) = (returning.expressions, returning.rows);
        let varchars = varchars::of_update(update, &target.relation, &columns);
        let (relation, parameters) = (target.relation.id, known(parameters));
        Ok(Update { relation, rows, returning, returning_rows, parameters, varchars, uses })
    }

    /// Plans a DELETE from a table: the rows that go.
    pub fn delete(
        &self,
        delete: &ast::Delete,
        with: Option<&ast::With>,
        parameter_types: &[Option<DataType>],
    ) -> Result<Delete> {
        let dropped = [
            (delete.output.is_some(), "OUTPUT", "Use RETURNING."),
            (!delete.tables.is_empty(), "DELETE of several tables", "Write one DELETE per table."),
            (!delete.order_by.is_empty() || delete.limit.is_some(), "DELETE ... LIMIT", "Choose the rows in WHERE."),
        ];
        refuse_clauses(&dropped)?;
        let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
        let [table] = tables.as_slice() else {
            return Err(PlanError::unsupported("DELETE from several tables is not supported"));
        };
        let (name, alias) = single_table(table)?;
        let target = self.target(name, alias, "delete from")?;
        refuse_append_only(&target, "delete from")?;
        let others = delete.using.as_deref().unwrap_or_default();
        if !others.is_empty() {
            change_forms::check_beside(&target, "DELETE ... USING", delete.returning.as_deref())?;
        }
        let tables = std::iter::once(table).chain(others).cloned().collect();
        let query = select(vec![all_columns(name, alias)], tables, delete.selection.clone());
        let bound = self.bind_query(&with_queries(query, with), parameter_types)?;
        let reads =
            delete.selection.as_ref().is_some_and(needs::reads) || needs::returning_reads(delete.returning.as_deref());
        let mut uses = needs::of_change(bound.uses, target.relation.id, Privileges::DELETE, reads);
        let mut parameters = bound.parameters.into_iter().map(Some).collect();
        let returning = self.returning(&target, delete.returning.as_deref(), &mut parameters);
        let (returning, rows) = match others.is_empty() {
            true => (returning?, bound.plan),
            false => {
                let returning = returning.map_err(|error| of_target_only(error, "USING"))?;
                (returning, once_per_key(&target, bound.plan)?)
            }
        };
        uses.extend(returning.uses);
        let (returning, returning_rows) = (returning.expressions, returning.rows);
        let (relation, parameters) = (target.relation.id, known(parameters));
        Ok(Delete { relation, rows, returning, returning_rows, parameters, uses })
    }

    pub(super) fn target(&self, name: &ObjectName, alias: Option<&Ident>, verb: &str) -> Result<Target> {
        let position = span_position(name.span());
        let parts: Vec<String> = name.0.iter().filter_map(ObjectNamePart::as_ident).map(folded).collect();
        let (schema, table) = match parts.as_slice() {
            [table] => (None, table.as_str()),
            [schema, table] | [_, schema, table] => (Some(schema.as_str()), table.as_str()),
            _ => return Err(PlanError::new(PlanErrorKind::SyntaxError, format!("improper name: {name}")).at(position)),
        };
        let kind = match resolve(self.catalog, self.settings, schema, table) {
            None => return Err(unknown_relation(self.catalog, schema, table).at(position)),
            Some(Resolved::Auxiliary { .. }) => "system relation",
            Some(Resolved::Relation(relation)) => match &relation.kind {
                RelationKind::Table(_) => {
                    let name = alias.cloned().unwrap_or_else(|| Ident::with_quote('"', table));
                    return Ok(Target { relation, name });
                }
                RelationKind::Source(_) => "source",
                RelationKind::View { .. } => "view",
                RelationKind::MaterializedView(_) => "materialized view",
                RelationKind::Sink(_) => "sink",
                RelationKind::System => "system relation",
            },
        };
        Err(PlanError::new(PlanErrorKind::WrongObjectType, format!("cannot {verb} {kind} \"{table}\"")).at(position))
    }

    /// The rows of an INSERT's source, all physical columns in order, in the stored types.
    fn insert_rows(
        &self,
        target: &Target,
        source: &ast::Query,
        columns: &[usize],
        listed: &[ObjectName],
        parameters: &mut Parameters,
        uses: &mut Vec<Use>,
    ) -> Result<LogicalPlan> {
        let mut source = source.clone();
        let simple = source.with.is_none() && source.order_by.is_none() && source.limit_clause.is_none();
        if let (SetExpr::Values(values), true) = (source.body.as_mut(), simple) {
            for row in &mut values.rows {
                let place_of = |cell: usize| row.content.get(cell).and_then(|cell| span_position(cell.span()));
                check_arity(columns, listed, row.content.len(), place_of)?;
                for (cell, column) in row.content.iter_mut().zip(columns) {
                    if is_default(cell) {
                        *cell = self.default_of(target, *column)?;
                    }
                    mistakes::check_alone(cell, "VALUES")?;
                    note_parameter(cell, target.schema().field(*column).data_type(), parameters);
                }
            }
            return self.insert_values(target, values, columns, parameters, uses);
        }
        if let SetExpr::Select(select) = source.body.as_ref() {
            // As in Postgres a parameter that is a column of the query is of the type of the column that it goes to.
            for (item, column) in select.projection.iter().zip(columns) {
                if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                    note_parameter(expr, target.schema().field(*column).data_type(), parameters);
                } else {
                    break;
                }
            }
        }
        let selected = source.body.as_select().map_or(&[][..], |select| select.projection.as_slice());
        let bound = self.bind_query(&source, parameters)?;
        let width = bound.plan.schema().fields().len();
        check_arity(columns, listed, width, |column| selected.get(column).and_then(|item| span_position(item.span())))?;
        *parameters = bound.parameters.iter().cloned().map(Some).collect();
        uses.extend(bound.uses);
        self.table_rows(target, bound.plan, &columns[..width])
    }

    /// Rows given as values. Every cell is bound alone, so that each literal takes its own column's type.
    fn insert_values(
        &self,
        target: &Target,
        values: &ast::Values,
        columns: &[usize],
        parameters: &mut Parameters,
        uses: &mut Vec<Use>,
    ) -> Result<LogicalPlan> {
        let width = values.rows.first().map_or(0, |row| row.content.len());
        if let Some(row) = values.rows.iter().find(|row| row.content.len() != width) {
            let place = row.content.first().and_then(|cell| span_position(cell.span()));
            let message = "VALUES lists must all be the same length";
            return Err(PlanError::new(PlanErrorKind::SyntaxError, message).at(place));
        }
        let mut cells = Vec::new();
        let mut positions = Vec::new();
        for row in &values.rows {
            for cell in &row.content {
                positions.push(span_position(cell.span()));
                cells.push(cell.clone());
            }
        }
        let empty = DFSchema::empty();
        let bound = self.logical_expressions(&cells, &empty, parameters, uses)?;
        let mut rows: Vec<Vec<Expr>> = Vec::with_capacity(values.rows.len());
        for (index, (expr, position)) in bound.into_iter().zip(positions).enumerate() {
            let field = target.schema().field(columns[index % width]);
            let assigned =
                self.assign(expr, &empty, field.data_type(), field.name()).map_err(|error| error.at(position))?;
            if index % width == 0 {
                rows.push(Vec::with_capacity(width));
            }
            rows.last_mut().expect("a row was begun").push(assigned);
        }
        let reads = |expr: &Expr| {
            expr.exists(|node| Ok(matches!(node, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_))))
                .unwrap_or(true)
        };
        let plan =
            if rows.iter().flatten().any(reads) { union_of_rows(rows) } else { LogicalPlanBuilder::values(rows) };
        let plan = plan.and_then(LogicalPlanBuilder::build).map_err(plan_error)?;
        self.table_rows(target, plan, &columns[..width])
    }

    fn default_row(&self, target: &Target) -> Result<LogicalPlan> {
        let one_row = LogicalPlanBuilder::empty(true).build().map_err(plan_error)?;
        self.table_rows(target, one_row, &[])
    }

    /// Puts the defaults in, casts to the stored types and names the columns.
    pub(super) fn table_rows(&self, target: &Target, plan: LogicalPlan, columns: &[usize]) -> Result<LogicalPlan> {
        let schema = Arc::clone(plan.schema());
        let mut expressions = Vec::with_capacity(target.physical_columns());
        for index in 0..target.physical_columns() {
            let field = target.schema().field(index);
            let expr = match columns.iter().position(|column| *column == index) {
                Some(place) => self.assign(output(&plan, place), &schema, field.data_type(), field.name())?,
                None => {
                    let default = self.default_of(target, index)?;
                    let default = self.logical_expression(&default, &DFSchema::empty(), &mut Vec::new())?;
                    self.assign(default, &schema, field.data_type(), field.name())?
                }
            };
            expressions.push(expr.alias(field.name()));
        }
        projection(expressions, plan)
    }

    /// The default of a column as a syntax tree; NULL where none is declared.
    fn default_of(&self, target: &Target, column: usize) -> Result<ast::Expr> {
        match target.definition().defaults.get(column) {
            Some(Some(text)) => crate::parse::parse_expression(text),
            Some(None) | None => Ok(ast::Expr::Value(ast::Value::Null.with_empty_span())),
        }
    }

    /// The column and the value of `SET column = value`.
    fn assignment(
        &self,
        target: &Target,
        assignment: &Assignment,
        parameters: &mut Parameters,
    ) -> Result<(usize, ast::Expr)> {
        let AssignmentTarget::ColumnName(name) = &assignment.target else {
            return Err(PlanError::internal("an assignment to several columns was not taken apart"));
        };
        let column = target.writable(&assigned_name(name), span_position(name.span())).map_err(|error| {
            let message = format!("column \"{}\" can only be updated to DEFAULT", assigned_name(name));
            if error.kind == PlanErrorKind::GeneratedAlways { PlanError { message, ..error } } else { error }
        })?;
        let mut value = assignment.value.clone();
        if is_default(&value) {
            value = self.default_of(target, column)?;
        }
        note_parameter(&value, target.schema().field(column).data_type(), parameters);
        Ok((column, value))
    }

    fn on_conflict(
        &self,
        target: &Target,
        on_conflict: &ast::OnConflict,
        parameters: &mut Parameters,
    ) -> Result<(OnConflict, Option<Vec<Expr>>)> {
        check_conflict_target(target, on_conflict.conflict_target.as_ref())?;
        let update = match &on_conflict.action {
            OnConflictAction::DoNothing => return Ok((OnConflict::DoNothing, None)),
            OnConflictAction::DoUpdate(update) => update,
        };
        if on_conflict.conflict_target.is_none() {
            return Err(PlanError::new(
                PlanErrorKind::SyntaxError,
                "ON CONFLICT DO UPDATE requires inference specification or constraint name",
            )
            .with_hint("For example, ON CONFLICT (column_name)."));
        }
        if update.selection.is_some() {
            return Err(PlanError::unsupported("ON CONFLICT DO UPDATE ... WHERE is not supported")
                .with_hint("Put the condition into the values: SET x = CASE WHEN ... THEN excluded.x ELSE t.x END."));
        }
        let schema = conflict_schema(target.schema())?;
        let column = |index: usize| {
            Expr::Column(Column::new(Some(TableReference::bare(TARGET)), target.schema().field(index).name()))
        };
        let mut values: Vec<Expr> = (0..target.physical_columns()).map(column).collect();
        for assignment in &one_by_one(&update.assignments)? {
            let (index, mut value) = self.assignment(target, assignment, parameters)?;
            let position = span_position(value.span());
            mistakes::check_alone(&value, "UPDATE")?;
            let mut qualify = Qualify { table: folded(&target.name) };
            let ControlFlow::Continue(()) = VisitMut::visit(&mut value, &mut qualify);
            let bound = self.logical_expression(&value, &schema, parameters).map_err(|error| error.at(position))?;
            let field = target.schema().field(index);
            values[index] =
                self.assign(bound, &schema, field.data_type(), field.name()).map_err(|error| error.at(position))?;
        }
        Ok((OnConflict::DoUpdate, Some(values)))
    }

    /// The old row, then the new physical columns; `assigned` are the columns of the assignments.
    fn updated_rows(
        &self,
        target: &Target,
        bound: &BoundQuery,
        assigned: &[usize],
        assignments: &[Assignment],
    ) -> Result<LogicalPlan> {
        let plan = &bound.plan;
        let width = target.schema().fields().len();
        let old = |index: usize| Expr::Column(Column::from(plan.schema().qualified_field(index)));
        let mut expressions: Vec<Expr> =
            (0..width).map(|index| old(index).alias(format!("old {}", target.schema().field(index).name()))).collect();
        for index in 0..target.physical_columns() {
            let field = target.schema().field(index);
            let value = match assigned.iter().position(|column| *column == index) {
                Some(place) => {
                    let value = output(plan, width + place);
                    self.assign(value, plan.schema(), field.data_type(), field.name())
                        .map_err(|error| error.at(span_position(assignments[place].value.span())))?
                }
                None => old(index),
            };
            expressions.push(value.alias(format!("new {}", field.name())));
        }
        projection(expressions, plan.clone())
    }
}

/// Names the row that a bare column of `DO UPDATE SET` belongs to: the one in the table.
struct Qualify {
    table: String,
}

impl VisitorMut for Qualify {
    type Break = std::convert::Infallible;

    fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<Self::Break> {
        match expr {
            ast::Expr::Identifier(ident) => {
                *expr = ast::Expr::CompoundIdentifier(vec![Ident::new(TARGET), ident.clone()]);
            }
            ast::Expr::CompoundIdentifier(parts) if parts.len() == 2 && folded(&parts[0]) == self.table => {
                parts[0] = Ident::new(TARGET);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn known(parameters: Parameters) -> Parameters {
    parameters.into_iter().map(|known| Some(known.unwrap_or(DataType::Utf8))).collect()
}

fn refuse_clauses(clauses: &[(bool, &str, &str)]) -> Result<()> {
    match clauses.iter().find(|(present, ..)| *present) {
        None => Ok(()),
        Some((_, construct, hint)) => {
            Err(PlanError::unsupported(format!("{construct} is not supported")).with_hint(*hint))
        }
    }
}

fn refuse_insert_clauses(insert: &ast::Insert) -> Result<()> {
    let conflict = "Write ON CONFLICT (key) DO UPDATE or DO NOTHING.";
    refuse_clauses(&[
        (insert.or.is_some() || insert.ignore || insert.replace_into, "INSERT OR / IGNORE / REPLACE", conflict),
        (insert.overwrite, "INSERT OVERWRITE", "TRUNCATE the table first."),
        (insert.partitioned.is_some() || !insert.after_columns.is_empty(), "PARTITION in INSERT", "Leave it out."),
        (!insert.assignments.is_empty(), "INSERT ... SET", "Write INSERT INTO t (columns) VALUES (...)."),
        (insert.output.is_some(), "OUTPUT", "Use RETURNING."),
        (insert.insert_alias.is_some(), "an alias of the new rows", "Use excluded in ON CONFLICT."),
        (insert.settings.is_some() || insert.format_clause.is_some(), "SETTINGS or FORMAT in INSERT", "Leave it out."),
        (insert.multi_table_insert_type.is_some(), "INSERT into several tables", "Write one INSERT per table."),
    ])
}

fn refuse_append_only(target: &Target, verb: &str) -> Result<()> {
    if target.definition().append_only {
        return Err(PlanError::new(
            PlanErrorKind::WrongObjectType,
            format!("cannot {verb} table \"{}\": it is declared APPEND ONLY", target.relation.name.name),
        ));
    }
    Ok(())
}

/// The columns that an INSERT writes: those listed, or all physical ones.
fn insert_columns(target: &Target, listed: &[ObjectName]) -> Result<Vec<usize>> {
    if listed.is_empty() {
        return Ok((0..target.physical_columns()).collect());
    }
    let mut columns = Vec::with_capacity(listed.len());
    for name in listed {
        let position = span_position(name.span());
        let column_name = assigned_name(name);
        let column = target.writable(&column_name, position)?;
        if columns.contains(&column) {
            return Err(PlanError::new(
                PlanErrorKind::DuplicateColumn,
                format!("column \"{column_name}\" specified more than once"),
            )
            .at(position));
        }
        columns.push(column);
    }
    Ok(columns)
}

/// The column that a name in front of `=` or in a column list is: as in Postgres its table can't stand before it, what
/// does is the column, and the rest a field of it.
fn assigned_name(name: &ObjectName) -> String {
    name.0.first().and_then(ObjectNamePart::as_ident).map(folded).unwrap_or_default()
}

/// Postgres allows fewer expressions than columns only where no columns are listed.
fn check_arity(
    columns: &[usize],
    listed: &[ObjectName],
    given: usize,
    place_of: impl Fn(usize) -> Option<TextPosition>,
) -> Result<()> {
    let (message, position) = if given > columns.len() {
        ("INSERT has more expressions than target columns", place_of(columns.len()))
    } else if let Some(missing) = listed.get(given) {
        ("INSERT has more target columns than expressions", span_position(missing.span()))
    } else {
        return Ok(());
    };
    Err(PlanError::new(PlanErrorKind::SyntaxError, message).at(position))
}

fn is_default(expr: &ast::Expr) -> bool {
    matches!(expr, ast::Expr::Identifier(ident)
        if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
}

/// A bare parameter takes the type of the column that it is assigned to.
fn note_parameter(expr: &ast::Expr, data_type: &DataType, parameters: &mut Parameters) {
    if let Some(number) = parameter_number(expr) {
        note_type(parameters, number, data_type.clone());
    }
}

fn check_conflict_target(target: &Target, conflict: Option<&ConflictTarget>) -> Result<()> {
    let columns = match conflict {
        None => return Ok(()),
        Some(ConflictTarget::Columns(columns)) => columns,
        Some(ConflictTarget::OnConstraint(name)) => {
            let table = &target.relation.name.name;
            let constraint = name.0.last().and_then(ObjectNamePart::as_ident).map(folded).unwrap_or_default();
            if !target.definition().input.primary_key.is_empty() && constraint == format!("{table}_pkey") {
                return Ok(());
            }
            let message = format!("constraint \"{constraint}\" for table \"{table}\" does not exist");
            return Err(PlanError::new(PlanErrorKind::UndefinedObject, message));
        }
    };
    let mut named = Vec::with_capacity(columns.len());
    for column in columns {
        named.push(target.writable(&folded(column), span_position(column.span))?);
    }
    named.sort_unstable();
    let mut key = target.definition().input.primary_key.clone();
    key.sort_unstable();
    if named == key {
        return Ok(());
    }
    Err(PlanError::new(
        PlanErrorKind::InvalidColumnReference,
        "there is no unique or exclusion constraint matching the ON CONFLICT specification",
    ))
}

/// An output column of a plan as an expression over it; a quoted literal stays one, so that it can still take
/// the type of what it is assigned to.
fn output(plan: &LogicalPlan, index: usize) -> Expr {
    if let LogicalPlan::Projection(projection) = plan
        && let literal @ Expr::Literal(ScalarValue::Utf8(_), _) = projection.expr[index].clone().unalias()
    {
        return literal;
    }
    if is_null_literal(plan, index) {
        return Expr::Literal(ScalarValue::Null, None);
    }
    Expr::Column(Column::from(plan.schema().qualified_field(index)))
}

/// Whether a column is NULL as it was written; clients are shown text in its place.
fn is_null_literal(plan: &LogicalPlan, index: usize) -> bool {
    let LogicalPlan::Projection(projection) = plan else { return false };
    match projection.expr[index].clone().unalias() {
        Expr::Literal(ScalarValue::Null, _) => true,
        Expr::Cast(cast) => match cast.expr.as_ref() {
            Expr::Column(column) => {
                let below = projection.input.schema().maybe_index_of_column(column);
                below.is_some_and(|below| is_null_literal(&projection.input, below))
            }
            _ => false,
        },
        _ => false,
    }
}

fn projection(expressions: Vec<Expr>, input: LogicalPlan) -> Result<LogicalPlan> {
    Projection::try_new(expressions, Arc::new(input)).map(LogicalPlan::Projection).map_err(plan_error)
}

fn union_of_rows(rows: Vec<Vec<Expr>>) -> datafusion::error::Result<LogicalPlanBuilder> {
    let row = |cells: Vec<Expr>| {
        let named = cells.into_iter().enumerate().map(|(index, cell)| cell.alias(format!("column{}", index + 1)));
        LogicalPlanBuilder::empty(true).project(named.collect::<Vec<_>>())
    };
    let mut rows = rows.into_iter();
    let first = row(rows.next().unwrap_or_default())?;
    rows.try_fold(first, |plan, cells| plan.union(row(cells)?.build()?))
}

fn single_table(table: &TableWithJoins) -> Result<(&ObjectName, Option<&Ident>)> {
    match &table.relation {
        TableFactor::Table { name, alias, args: None, .. } if table.joins.is_empty() => {
            Ok((name, alias.as_ref().map(|alias| &alias.name)))
        }
        _ => Err(PlanError::unsupported("a statement can change one table only").at(span_position(table.span()))),
    }
}

/// All columns of a table in FROM: under its alias, or under its name as it was written, with its schema.
fn all_columns(name: &ObjectName, alias: Option<&Ident>) -> SelectItem {
    let name = alias.map_or_else(|| name.clone(), bare_name);
    SelectItem::QualifiedWildcard(ast::SelectItemQualifiedWildcardKind::ObjectName(name), Default::default())
}

pub(super) fn table_factor(name: ObjectName, alias: Ident) -> TableFactor {
    let mut factor = super::window::plain_table(name);
    if let TableFactor::Table { alias: slot, .. } = &mut factor {
        *slot = Some(ast::TableAlias { explicit: true, name: alias, columns: Vec::new(), at: None });
    }
    factor
}

/// `SELECT items FROM tables WHERE condition`.
pub(super) fn select(items: Vec<SelectItem>, from: Vec<TableWithJoins>, selection: Option<ast::Expr>) -> ast::Query {
    let select = ast::Select {
        select_token: ast::helpers::attached_token::AttachedToken::empty(),
        optimizer_hints: Vec::new(),
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection: items,
        exclude: None,
        into: None,
        from,
        lateral_views: Vec::new(),
        prewhere: None,
        selection,
        connect_by: Vec::new(),
        group_by: ast::GroupByExpr::Expressions(Vec::new(), Vec::new()),
        cluster_by: Vec::new(),
        distribute_by: Vec::new(),
        sort_by: Vec::new(),
        having: None,
        named_window: Vec::new(),
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: ast::SelectFlavor::Standard,
    };
    ast::Query {
        with: None,
        body: Box::new(SetExpr::Select(Box::new(select))),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    }
}
