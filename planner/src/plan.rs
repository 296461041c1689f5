//! The entry point: one statement's text in, its plan out. One function per statement.

use arrow::datatypes::DataType;
use millstream_runtime::plan::RelationId;
use sqlparser::ast::{self as sql, SetExpr, Spanned};

use crate::bind::{Binder, at_sign};
use crate::catalog::{Catalog, Relation, RelationKind};
use crate::copy::{Copy, CopySource};
use crate::ddl;
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::parse::ast::{self, CopyTarget, Name};
use crate::parse::{folded, parse_argument, parse_statement, position_of};
use crate::settings::PlanSettings;
use crate::statement::{Explain, ObjectKind, Query, Statement, StatementText};
use crate::types::arrow_type;

/// Plans a statement against the catalog. `parameter_types` are those that the client named for `$1`, `$2`, …;
/// the others are inferred. An error's position counts in what the client sent.
pub fn plan(
    text: &StatementText,
    catalog: &Catalog,
    settings: &PlanSettings,
    parameter_types: &[Option<DataType>],
) -> Result<Statement> {
    let planner = Planner { catalog, settings, parameter_types };
    planner.statement(parse_statement(text)?).map_err(|error| at_sign(error, text))
}

/// Plans the arguments of an EXECUTE: one row with the types that the parameters of its statement have.
pub fn plan_arguments(
    arguments: &[StatementText],
    types: &[DataType],
    catalog: &Catalog,
    settings: &PlanSettings,
) -> Result<Query> {
    let expressions = arguments.iter().map(parse_argument).collect::<Result<Vec<_>>>()?;
    Binder::new(catalog, settings).arguments(&expressions, types)
}

/// What planning a statement looks at.
struct Planner<'a> {
    catalog: &'a Catalog,
    settings: &'a PlanSettings,
    parameter_types: &'a [Option<DataType>],
}

impl Planner<'_> {
    fn statement(&self, statement: ast::Statement) -> Result<Statement> {
        use ast::Statement as Parsed;
        let (catalog, settings) = (self.catalog, self.settings);
        match statement {
            Parsed::Empty => Ok(Statement::Empty),
            Parsed::Query(query) => self.query(&query),
            Parsed::Insert(insert) => self.insert(&insert),
            Parsed::Update(with, update) => {
                self.binder().update(&update, with.as_ref(), self.parameter_types).map(boxed(Statement::Update))
            }
            Parsed::Delete(with, delete) => {
                self.binder().delete(&delete, with.as_ref(), self.parameter_types).map(boxed(Statement::Delete))
            }
            Parsed::Copy(copy) => self.copy(*copy),
            Parsed::Subscribe(parsed) => crate::subscribe::subscribe(&parsed, catalog, settings, self.parameter_types),
            Parsed::Truncate { names } => self.truncate(&names),
            Parsed::CreateSchema { name, if_not_exists } => ddl::create_schema(name, if_not_exists, catalog),
            Parsed::CreateRelation(mut relation) => {
                relation.under(settings);
                ddl::create_relation(&relation, catalog, settings)
            }
            Parsed::CreateView(view) => ddl::create_view(&view, catalog, settings),
            Parsed::CreateSink(sink) => ddl::create_sink(&sink, catalog, settings),
            Parsed::Drop { object, names, if_exists, cascade } => {
                ddl::drop(object, &names, if_exists, cascade, catalog, settings)
            }
            Parsed::DropSchema { names, if_exists, cascade } => ddl::drop_schemas(names, if_exists, cascade, catalog),
            Parsed::Rename { object, if_exists, name, to } => {
                ddl::rename(object, if_exists, &name, &to, catalog, settings)
            }
            Parsed::RenameSchema { name, new_name } => ddl::rename_schema(&name, &new_name, catalog),
            Parsed::Comment { object, text } => ddl::comment(&object, text, catalog, settings),
            Parsed::Refresh { name } => {
                let relation = self.find(&name)?;
                ddl::must_be(&relation, ObjectKind::MaterializedView, "REFRESH", &name)
                    .map_err(|error| PlanError { hint: None, ..error })?;
                Ok(Statement::Refresh { relation: relation.id })
            }
            Parsed::Maintain(maintenance) => ddl::maintain(&maintenance, catalog, settings).map(Statement::Maintain),
            Parsed::Index(statement) => ddl::index(&statement, catalog, settings),
            Parsed::Explain { mode, format, statement } => {
                let statement = self.statement(*statement)?;
                Ok(Statement::Explain(Box::new(Explain { statement, mode, format })))
            }
            Parsed::ShowCreate { object, name } => self.show_create(object, &name),
            Parsed::Describe { name } => Ok(Statement::Describe { relation: self.find(&name)?.id }),
            Parsed::AdvanceClock { by } => advance_clock(&by),
            Parsed::AdvanceWatermark { name, to } => self.advance_watermark(&name, &to),
            Parsed::Prepare { name, parameter_types, text } => prepare(name, &parameter_types, text),
            Parsed::Declare(declare) => Ok(Statement::Declare(declare)),
            Parsed::Grant(grant) => ddl::grant(*grant, catalog, settings),
            Parsed::OwnerTo { object, if_exists, name, owner } => {
                ddl::owner_to(object, if_exists, &name, owner, catalog, settings)
            }
            Parsed::Secret(statement) => ddl::secret(statement, catalog, settings),
            Parsed::Access(statement) => Ok(Statement::Access(Box::new(statement))),
            Parsed::Command(command) => Ok(Statement::Command(command)),
        }
    }

    fn binder(&self) -> Binder<'_> {
        Binder::new(self.catalog, self.settings)
    }

    fn find(&self, name: &Name) -> Result<std::sync::Arc<Relation>> {
        ddl::find(name, self.catalog, self.settings)
    }

    fn query(&self, query: &sql::Query) -> Result<Statement> {
        self.binder().query(query, self.parameter_types).map(boxed(Statement::Query))
    }

    fn copy(&self, copy: ast::Copy) -> Result<Statement> {
        let options = copy.options;
        if let CopyTarget::Relation { name, .. } = &copy.target
            && let Err(error) = self.find(name)
            && error.kind == PlanErrorKind::UndefinedSchema
        {
            return Err(error);
        }
        let planned = match copy.target {
            CopyTarget::Statement(text) => Copy::Out { source: CopySource::Text(text), options },
            CopyTarget::Relation { name, columns } if copy.from => {
                if let Ok(relation) = self.find(&name)
                    && let Some(definition) = ddl::sink_of_table(&relation)?
                {
                    ddl::check_rows_kept(&definition, name.position)?;
                }
                Copy::In(self.binder().copy_in(&name, &columns, options)?.into())
            }
            CopyTarget::Relation { name, columns } => {
                let query = self.binder().copy_out(&name, &columns)?;
                options.force_quote.among("FORCE_QUOTE", &query.schema)?;
                Copy::Out { source: CopySource::Relation(Box::new(query)), options }
            }
        };
        Ok(Statement::Copy(Box::new(planned)))
    }

    /// An INSERT into a table with a connector is a sink, unless it gives its rows itself.
    fn insert(&self, insert: &sql::Insert) -> Result<Statement> {
        let has_query = insert.source.as_ref().is_some_and(|source| !matches!(*source.body, SetExpr::Values(_)));
        if let Some((table, position)) = self.insert_target(insert)
            && let Some(definition) = ddl::sink_of_table(&table)?
        {
            if has_query {
                return ddl::insert_into_sink(insert, position, &table, &definition, self.catalog, self.settings);
            }
            ddl::check_rows_kept(&definition, position)?;
        }
        self.binder().insert(insert, self.parameter_types).map(boxed(Statement::Insert))
    }

    /// The table that an INSERT names, if there is one: the binder words the error if there is none.
    fn insert_target(&self, insert: &sql::Insert) -> Option<(std::sync::Arc<Relation>, crate::error::TextPosition)> {
        let sql::TableObject::TableName(written) = &insert.table else { return None };
        let parts: Vec<String> = written.0.iter().filter_map(|part| part.as_ident()).map(folded).collect();
        let (schema, name) = match parts.as_slice() {
            [name] => (None, name.clone()),
            [schema, name] => (Some(schema.clone()), name.clone()),
            _ => return None,
        };
        let position = position_of(written.span())?;
        self.find(&Name { schema, name, position }).ok().map(|relation| (relation, position))
    }

    fn truncate(&self, names: &[Name]) -> Result<Statement> {
        let relations = names.iter().map(|name| {
            let relation = self.find(name)?;
            ddl::must_be(&relation, ObjectKind::Table, "DELETE FROM or DROP", name)?;
            if matches!(&relation.kind, RelationKind::Table(table) if table.append_only) {
                let message = format!("table \"{}\" is APPEND ONLY", name.name);
                return Err(PlanError::new(PlanErrorKind::WrongObjectType, message)
                    .with_hint("DROP it and create it anew.")
                    .at(Some(name.position)));
            }
            Ok(relation.id)
        });
        Ok(Statement::Truncate { relations: relations.collect::<Result<Vec<RelationId>>>()? })
    }

    fn show_create(&self, object: ObjectKind, name: &Name) -> Result<Statement> {
        let relation = self.find(name)?;
        ddl::must_be(&relation, object, "SHOW CREATE", name)?;
        Ok(Statement::ShowCreate { relation: relation.id })
    }

    fn advance_watermark(&self, name: &Name, to: &ast::SqlExpression) -> Result<Statement> {
        let relation = self.find(name)?;
        ddl::must_be(&relation, ObjectKind::Table, "ADVANCE WATERMARK FOR", name)?;
        if !matches!(&relation.kind, RelationKind::Table(table) if table.input.watermark.is_some()) {
            let message = format!("table \"{}\" has no WATERMARK", name.name);
            return Err(PlanError::new(PlanErrorKind::WrongObjectType, message).at(Some(name.position)));
        }
        Ok(Statement::AdvanceWatermark { relation: relation.id, micros: ddl::constants::timestamp_of(to)? })
    }
}

fn boxed<T>(variant: impl Fn(Box<T>) -> Statement) -> impl Fn(T) -> Statement {
    move |planned| variant(Box::new(planned))
}

fn advance_clock(by: &ast::SqlExpression) -> Result<Statement> {
    let micros = ddl::constants::interval_of(by)?;
    if micros < 0 {
        let message = "the clock can't go back";
        return Err(PlanError::new(PlanErrorKind::InvalidParameterValue, message).at(Some(by.position)));
    }
    Ok(Statement::AdvanceClock { micros })
}

fn prepare(name: String, parameter_types: &[sql::DataType], text: StatementText) -> Result<Statement> {
    let parameter_types = parameter_types.iter().map(arrow_type).collect::<Result<_>>()?;
    Ok(Statement::Prepare { name, parameter_types, text })
}
