//! Planning: text to a plan that can be run, and again when the catalog or the settings have changed.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream_planner::bind;
use millstream_planner::catalog::Catalog;
use millstream_planner::copy::{Copy, CopySource};
use millstream_planner::cursor::Declare;
use millstream_planner::parse::LiteralsOut;
use millstream_planner::plan::plan;
use millstream_planner::settings::PlanSettings;
use millstream_planner::statement::{Command, Discard, ShowObjects, Statement, StatementText};
use millstream_planner::values::Kind;
use millstream_runtime::plan::RelationId;

use super::execute::locate_literal;
use super::settings::spelling;
use super::sqlstate::Condition;
use super::{CopyShape, CursorCommand, Prepared, Session, SqlError, show};
use crate::engine::returning::returning_schema;
use crate::engine::state::State;
use crate::pg_catalog::{CatalogPlan, CatalogQuery};

/// A statement with its plan, and what the plan rests on.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) text: StatementText,
    pub(super) work: Work,
    /// The types that the client named.
    pub(super) types: Vec<Option<DataType>>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) settings: PlanSettings,
}

impl Planned {
    /// The statement of what defines something.
    pub(super) fn statement(&self) -> &Statement {
        match &self.work {
            Work::Statement(statement) => statement,
            Work::Catalog(_) | Work::CopyOut(_) | Work::Declare(..) => {
                unreachable!("a query over the catalog defines nothing, and its text stays one")
            }
        }
    }
}

impl Prepared {
    /// The text that was prepared.
    pub(super) fn text(&self) -> &str {
        &self.own_text().sql
    }

    /// The text that was prepared, and where it stood.
    pub(super) fn own_text(&self) -> &StatementText {
        self.own.as_ref().map_or(&self.inner.text, |own| &own.text)
    }

    /// The OID of the type of a parameter, where its Arrow type does not tell.
    pub(crate) fn parameter_oid(&self, index: usize) -> Option<u32> {
        match &self.inner.work {
            Work::Catalog(query) => query.parameter_oid(index),
            Work::Statement(Statement::Query(query)) => self.varchar_oid(&query.varchars, index),
            Work::Statement(Statement::Insert(insert)) => self.varchar_oid(&insert.varchars, index),
            Work::Statement(Statement::Update(update)) => self.varchar_oid(&update.varchars, index),
            Work::Statement(_) | Work::CopyOut(_) | Work::Declare(..) => None,
        }
    }

    fn varchar_oid(&self, varchars: &[usize], index: usize) -> Option<u32> {
        let is_array = matches!(self.parameters.get(index), Some(DataType::List(_)));
        let oid = if is_array { Kind::Varchar.array_oid() } else { Kind::Varchar.oid() };
        varchars.contains(&(index + 1)).then_some(oid)
    }

    /// The name in `DEALLOCATE name`: statements that the wire has prepared are named there, too.
    pub(crate) fn deallocates(&self) -> Option<&str> {
        match &self.inner.work {
            Work::Statement(Statement::Command(Command::Discard(Discard::One(name)))) => Some(name),
            Work::Statement(_) | Work::Catalog(_) | Work::CopyOut(_) | Work::Declare(..) => None,
        }
    }
}

impl Prepared {
    /// What it does with a cursor.
    pub(crate) fn cursor_command(&self) -> Option<CursorCommand<'_>> {
        match &self.inner.work {
            Work::Declare(declare, _) => Some(CursorCommand::Declare(&declare.name)),
            Work::Statement(Statement::Command(Command::Fetch(fetch))) if fetch.is_move => {
                Some(CursorCommand::Move(&fetch.name))
            }
            Work::Statement(Statement::Command(Command::Fetch(fetch))) => Some(CursorCommand::Fetch(&fetch.name)),
            Work::Statement(Statement::Command(Command::Close { name: Some(name) })) => {
                Some(CursorCommand::Close(name))
            }
            Work::Statement(_) | Work::Catalog(_) | Work::CopyOut(_) => None,
        }
    }
}

/// Who runs a statement.
#[derive(Debug)]
pub(super) enum Work {
    /// The engine.
    Statement(Statement),
    /// The relations of the catalog, beside the planner: clients ask them in ways that it does not know.
    Catalog(Box<CatalogQuery>),
    /// `COPY (statement) TO STDOUT`: the statement inside.
    CopyOut(Prepared),
    /// `DECLARE name CURSOR FOR query`: the query.
    Declare(Box<Declare>, Prepared),
}

impl Session {
    /// Plans a statement. `types` are the parameter types that the client named (`None`: infer it).
    pub async fn prepare(&mut self, text: &StatementText, types: &[Option<DataType>]) -> Result<Prepared, SqlError> {
        let out = if types.is_empty() { LiteralsOut::of(&text.sql) } else { None };
        if let Some(known) = out.as_ref().and_then(|out| self.known_text(text, out)) {
            return Ok(known);
        }
        let prepared = self.plan_now(text, types);
        if let (Ok(prepared), Some(out)) = (&prepared, out) {
            self.keep_text(text, out, prepared);
        }
        let Err(mut error) = prepared else { return prepared };
        locate_literal(&mut error, text);
        // What could be read is refused in a failed block for that reason, as long as it is no end of it.
        if !error.is(Condition::SyntaxError) {
            self.transaction.check()?;
        }
        self.transaction.fail();
        Err(error)
    }

    pub(super) fn plan_now(&self, text: &StatementText, types: &[Option<DataType>]) -> Result<Prepared, SqlError> {
        let state = self.state();
        let settings = self.plan_settings();
        if let Some(mut query) = CatalogQuery::recognize(text, types) {
            let CatalogPlan { parameters, columns, of_users_only } = query.plan(self.catalog_view())?;
            if !of_users_only {
                let (text, types, catalog) = (text.clone(), types.to_vec(), Arc::clone(&state.catalog.view));
                let planned = Planned { text, work: Work::Catalog(Box::new(query)), types, catalog, settings };
                return Ok(Prepared {
                    parameters,
                    columns: Some(columns),
                    copy: None,
                    inner: Arc::new(planned),
                    own: None,
                });
            }
        }
        let statement = plan(text, &state.catalog.view, &settings, types)?;
        if let Statement::Copy(copy) = &statement
            && let Copy::Out { source: CopySource::Text(inside), options } = copy.as_ref()
        {
            let (inside, shape) = self.plan_copy_of(inside, options)?;
            let (text, types, catalog) = (text.clone(), types.to_vec(), Arc::clone(&state.catalog.view));
            let planned = Planned { text, work: Work::CopyOut(inside), types, catalog, settings };
            return Ok(Prepared {
                parameters: Vec::new(),
                columns: None,
                copy: Some(shape),
                inner: Arc::new(planned),
                own: None,
            });
        }
        if let Statement::Declare(declare) = statement {
            let inside = self.plan_declare(&declare, types)?;
            let parameters = inside.parameters.clone();
            let (text, types, catalog) = (text.clone(), types.to_vec(), Arc::clone(&state.catalog.view));
            let planned = Planned { text, work: Work::Declare(declare, inside), types, catalog, settings };
            return Ok(Prepared { parameters, columns: None, copy: None, inner: Arc::new(planned), own: None });
        }
        self.prepared(text.clone(), statement, types.to_vec(), &state, settings)
    }

    fn prepared(
        &self,
        text: StatementText,
        statement: Statement,
        types: Vec<Option<DataType>>,
        state: &State,
        settings: PlanSettings,
    ) -> Result<Prepared, SqlError> {
        let parameters = parameters(&statement);
        let columns = self.columns(&statement, state)?;
        let copy = CopyShape::of(&statement);
        let catalog = Arc::clone(&state.catalog.view);
        let work = Work::Statement(statement);
        let inner = Arc::new(Planned { text, work, types, catalog, settings });
        Ok(Prepared { parameters, columns, copy, inner, own: None })
    }

    /// The same statement over the newest catalog and settings. The client has been told its columns already:
    /// they can't change.
    pub(super) fn current(&self, prepared: &Prepared) -> Result<Prepared, SqlError> {
        let planned = &prepared.inner;
        let unchanged =
            Arc::ptr_eq(&planned.catalog, &self.state().catalog.view) && planned.settings == self.plan_settings();
        // What a FETCH gives depends on its cursor only, which sees to that itself.
        if unchanged || matches!(&planned.work, Work::Statement(Statement::Command(Command::Fetch(_)))) {
            return Ok(prepared.clone());
        }
        let mut types: Vec<Option<DataType>> = prepared.parameters.iter().cloned().map(Some).collect();
        types.extend(planned.types.iter().skip(types.len()).cloned());
        let again = self.plan_now(prepared.own_text(), &types)?;
        let copied = |prepared: &Prepared| prepared.copy.as_ref().map(|copy| types_of(copy.columns()));
        let changed = again.columns.as_ref().map(types_of) != prepared.columns.as_ref().map(types_of);
        if changed || copied(&again) != copied(prepared) {
            let error = SqlError::new(Condition::FeatureNotSupported, "cached plan must not change result type");
            return Err(error.with_hint("Prepare the statement again."));
        }
        Ok(again)
    }

    /// The columns of a statement's rows.
    fn columns(&self, statement: &Statement, state: &State) -> Result<Option<SchemaRef>, SqlError> {
        let returning = |relation: RelationId, returning: &Option<Vec<datafusion::logical_expr::Expr>>| {
            let Some(returning) = returning else { return Ok(None) };
            let table = state.catalog.view.get(relation);
            let table = table.and_then(|relation| Some((relation, state.catalog.kept_table(relation)?)));
            let (relation, definition) = table
                .ok_or_else(|| SqlError::new(Condition::WrongObjectType, "RETURNING needs a table that keeps rows"))?;
            let described = bind::returning(returning, relation);
            Ok(Some(bind::with_descriptions(
                &returning_schema(returning, definition)?,
                &described,
                &state.catalog.view,
            )))
        };
        match statement {
            Statement::Query(query) => Ok(Some(Arc::clone(&query.schema))),
            Statement::Subscribe(subscribe) => Ok(Some(Arc::clone(&subscribe.shown))),
            Statement::Insert(insert) => returning(insert.relation, &insert.returning),
            Statement::Update(update) => returning(update.relation, &update.returning),
            Statement::Delete(delete) => returning(delete.relation, &delete.returning),
            Statement::Explain(explain) => Ok(Some(super::explain::columns(explain.format))),
            Statement::ShowCreate { .. } => Ok(Some(texts(&["name", "statement"]))),
            Statement::Describe { .. } => Ok(Some(texts(&["column", "type", "nullable", "key", "default"]))),
            Statement::Command(command) => Ok(self.command_columns(command)),
            Statement::CreateSchema { .. }
            | Statement::CreateTable(_)
            | Statement::CreateSource(_)
            | Statement::CreateView(_)
            | Statement::CreateMaterializedView(_)
            | Statement::CreateSink(_)
            | Statement::Drop(_)
            | Statement::DropSchema { .. }
            | Statement::Comment { .. }
            | Statement::Refresh { .. }
            | Statement::Maintain(_)
            | Statement::Rename { .. }
            | Statement::RenameSchema { .. }
            | Statement::Access(_)
            | Statement::Index(_)
            | Statement::Secret(_)
            | Statement::Truncate { .. }
            | Statement::AdvanceClock { .. }
            | Statement::AdvanceWatermark { .. }
            | Statement::Prepare { .. }
            | Statement::Declare(_)
            | Statement::Copy(_)
            | Statement::Empty => Ok(None),
        }
    }

    fn command_columns(&self, command: &Command) -> Option<SchemaRef> {
        match command {
            Command::ShowSetting { name } if name == "all" => Some(texts(&["name", "setting", "description"])),
            Command::ShowSetting { name } => Some(texts(&[spelling(name)])),
            Command::ShowObjects(ShowObjects::Jobs) => Some(show::jobs_schema()),
            Command::ShowObjects(ShowObjects::Schemas) => Some(texts(&["name"])),
            Command::ShowObjects(_) => Some(texts(&["schema", "name"])),
            Command::Fetch(fetch) if !fetch.is_move => self.cursor(&fetch.name).map(|cursor| cursor.columns),
            Command::Execute { name, .. } => self.named.get(name).and_then(|prepared| prepared.columns.clone()),
            Command::Fetch(_)
            | Command::Set { .. }
            | Command::Reset { .. }
            | Command::SetModes { .. }
            | Command::SetConstraints
            | Command::Begin { .. }
            | Command::Commit { .. }
            | Command::Rollback { .. }
            | Command::Savepoint { .. }
            | Command::Release { .. }
            | Command::RollbackTo { .. }
            | Command::Flush
            | Command::Checkpoint
            | Command::Close { .. }
            | Command::Unlisten
            | Command::Discard(_) => None,
        }
    }
}

/// The types of a statement's parameters; one that nothing tells the type of is text.
fn parameters(statement: &Statement) -> Vec<DataType> {
    let inferred = match statement {
        Statement::Query(query) => &query.parameters,
        Statement::Insert(insert) => &insert.parameters,
        Statement::Update(update) => &update.parameters,
        Statement::Delete(delete) => &delete.parameters,
        Statement::Subscribe(subscribe) => &subscribe.parameters,
        Statement::Explain(explain) => return parameters(&explain.statement),
        _ => return Vec::new(),
    };
    inferred.iter().map(|known| known.clone().unwrap_or(DataType::Utf8)).collect()
}

pub(super) fn types_of(schema: &SchemaRef) -> Vec<DataType> {
    schema.fields().iter().map(|field| field.data_type().clone()).collect()
}

/// Text columns.
pub(super) fn texts(names: &[&str]) -> SchemaRef {
    let fields = names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect::<Vec<_>>();
    Arc::new(Schema::new(fields))
}
