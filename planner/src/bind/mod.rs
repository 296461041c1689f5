//! Names, types and functions resolved: syntax trees in, DataFusion's analyzed plans out.
//!
//! The life of a query here: [`normalize`] refuses what would be dropped in silence and names the columns;
//! DataFusion's `SqlToRel` resolves names over the catalog through [`context`] and window functions through
//! [`window`] and operators through [`operators`]; [`analyze`] settles types; [`diagnose`] words what went wrong. No `SessionContext` exists: a
//! text can reach nothing but the catalog, the function registry and the types.

mod analyze;
mod change_forms;
mod characters;
mod check_types;
mod clause_places;
mod context;
mod copy;
mod described;
mod diagnose;
mod dml;
mod expression;
mod joined_columns;
mod literal;
mod matching;
mod mistakes;
mod moments;
mod needs;
mod normalize;
mod numbers;
mod operators;
mod own_names;
mod relation;
mod respelled;
mod returning;
mod rewrite;
mod rows;
mod series;
mod sorted_names;
mod subqueries;
mod type_places;
mod varchars;
mod view;
mod whole_row;
mod window;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::datatype::DataTypeExt;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection};
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use millstream_runtime::plan::RelationId;
use sqlparser::ast::{self, Statement as SqlStatement};

use self::context::Context;
pub(crate) use self::context::GENERATE_SERIES;
use crate::batch::LookUp;
use crate::catalog::{Catalog, Relation, Resolved};
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::functions::{self, Registry};
use crate::meant::MeantNames;
use crate::reading::Reading;
use crate::settings::PlanSettings;
use crate::statement::{self, Use};
use crate::values::{Described, Shown, TextStyle, Zone};

pub use analyze::TypedParameters;
pub(crate) use analyze::cast_of_postgres;
pub(crate) use context::planner_options;
pub use context::{DATABASE, resolve, search_schemas, unknown_relation};
pub use described::{returning, with_descriptions};
pub(crate) use diagnose::refuse;
pub(crate) use diagnose::{NO_FUNCTION, at_sign};
pub use diagnose::{nearest, plan_error, span_position};
pub use dml::conflict_schema;
pub use expression::{BoundExpression, Purpose};
pub(crate) use normalize::call;
pub use normalize::visible_name;
pub use relation::{RelationTable, reads};
pub(crate) use rewrite::rewrite_expressions;
pub use series::SeriesNode;
pub use view::{BoundView, view};
pub use window::{WINDOW_END, WINDOW_START, WindowNode, WindowShape, interval_micros};

/// Binds the parts of one statement against one catalog.
#[derive(Clone, Copy, Debug)]
pub struct Binder<'a> {
    catalog: &'a Catalog,
    settings: &'a PlanSettings,
    /// What the names in the text of a view mean; `None` for a statement: what the catalog calls so.
    meant: Option<&'a MeantNames>,
}

/// A query with its names and types settled.
#[derive(Clone, Debug)]
pub struct BoundQuery {
    /// The analyzed plan.
    pub plan: LogicalPlan,
    /// The columns as the client sees them: names may repeat.
    pub schema: SchemaRef,
    /// What else is known of them.
    pub described: Vec<Described>,
    /// The plain views that were put in.
    pub views: Vec<RelationId>,
    /// The types of `$1`, `$2`, ...
    pub parameters: Vec<DataType>,
    /// What it names, itself and through views.
    pub uses: Vec<Use>,
    /// What the names in its own text mean.
    pub names: MeantNames,
}

impl BoundQuery {
    /// What the types of its columns say beyond Arrow's.
    pub fn shown(&self) -> Vec<Shown> {
        self.described.iter().map(|described| described.shown).collect()
    }
}

impl<'a> Binder<'a> {
    /// A binder for a statement.
    pub fn new(catalog: &'a Catalog, settings: &'a PlanSettings) -> Self {
        Self { catalog, settings, meant: None }
    }

    /// A binder for the text of a view: its names mean what they meant, under its own settings.
    fn of_view(catalog: &'a Catalog, view: &'a Relation) -> Self {
        Self { catalog, settings: &view.settings, meant: Some(&view.names) }
    }

    /// The relation that a possibly unqualified name stands for.
    fn resolve(&self, schema: Option<&str>, name: &str) -> Option<Resolved> {
        match self.meant {
            Some(names) => names.find(schema, name, self.catalog),
            None => resolve(self.catalog, self.settings, schema, name),
        }
    }

    /// How the text is read.
    pub(crate) fn reading(&self) -> Reading {
        self.settings.reading
    }

    /// The functions that a text means.
    fn registry(&self) -> &'static Registry {
        functions::registry_of(self.settings.reading)
    }

    /// How casts to text write. A zone of the log that this build does not know is refused: another one would give
    /// other values.
    pub(crate) fn style(&self) -> Result<TextStyle> {
        let name = &self.settings.time_zone;
        let zone = Zone::named(name).ok_or_else(|| {
            PlanError::new(
                PlanErrorKind::InvalidParameterValue,
                format!("time zone \"{name}\" is not known to this server"),
            )
            .with_hint("It stood in the settings of the definition. Start the release of Millstream that made it.")
        })?;
        Ok(TextStyle { zone, forms: self.settings.forms })
    }

    /// Plans a query. `parameter_types` are those that the client named; the others are inferred, as text
    /// where nothing tells.
    pub fn query(&self, query: &ast::Query, parameter_types: &[Option<DataType>]) -> Result<statement::Query> {
        let bound = self.bind_query(query, parameter_types)?;
        crate::functions::check_places(&bound.plan)?;
        let reads = reads(&bound.plan).map_err(plan_error)?;
        let parameters = bound.parameters.into_iter().map(Some).collect();
        let changes_settings = functions::changes_settings(&bound.plan);
        let look_up = LookUp::of(&bound.plan).map(Arc::new);
        let varchars = varchars::of_casts(query);
        Ok(statement::Query {
            plan: bound.plan,
            schema: with_descriptions(&bound.schema, &bound.described, self.catalog),
            reads,
            parameters,
            varchars,
            changes_settings,
            uses: bound.uses,
            look_up,
        })
    }

    /// Plans a query that stands in a definition: it has no parameters, and its columns have names of their own.
    pub fn definition(&self, query: &ast::Query) -> Result<BoundQuery> {
        let bound = self.named_columns(query, &[])?;
        if !bound.parameters.is_empty() {
            return Err(PlanError::new(PlanErrorKind::UndefinedParameter, "there is no parameter $1")
                .with_hint("A definition has no parameters: write the value."));
        }
        Ok(bound)
    }

    /// Plans a query whose columns have names of their own; see [`Self::query`] for its parameters.
    pub(crate) fn named_columns(&self, query: &ast::Query, types: &[Option<DataType>]) -> Result<BoundQuery> {
        let bound = self.bind_query(query, types)?;
        let mut seen = std::collections::HashSet::new();
        match bound.schema.fields().iter().find(|field| !seen.insert(field.name().as_str())) {
            None => Ok(bound),
            Some(twice) => Err(PlanError::new(
                PlanErrorKind::DuplicateColumn,
                format!("column \"{}\" specified more than once", twice.name()),
            )
            .with_hint("Give the columns different names with AS.")),
        }
    }

    /// Plans a query down to the analyzed plan.
    pub fn bind_query(&self, query: &ast::Query, parameter_types: &[Option<DataType>]) -> Result<BoundQuery> {
        self.bind(query, parameter_types).map_err(|error| diagnose::located(error, query))
    }

    fn bind(&self, written: &ast::Query, parameter_types: &[Option<DataType>]) -> Result<BoundQuery> {
        let context = Context::new(self);
        let mut parameters = parameter_types.to_vec();
        let mut query = written.clone();
        whole_row::write_out(&mut query, self);
        joined_columns::write_out(&mut query, &context)?;
        normalize::query(&mut query, &mut parameters, self.settings)?;
        let plan_once = |parameters: &[Option<DataType>]| match context.query_plan(&query, parameters) {
            // Perhaps two aggregates differ in a cast only, which is no part of their names.
            Err(error) if error.kind == PlanErrorKind::DuplicateColumn && !context.names_casts.replace(true) => {
                context.query_plan(&query, parameters)
            }
            planned => planned,
        };
        let TypedParameters { plan, parameters } = analyze::with_parameters(parameters, plan_once)?;
        let uses = relation::uses(&plan, &context.used).map_err(plan_error)?;
        let mut described = described::columns(&plan, &context.planned_views(), self.catalog);
        described::written_casts(written, &mut described);
        let plan = analyze::analyze(plan, self.style()?, self.settings)?;
        let plan = analyze::client_types(plan, self.settings.reading)?;
        let schema = client_schema(&plan);
        let (views, names) = (context.views().into_iter().collect(), context.names());
        Ok(BoundQuery { plan, schema, described, views, parameters, uses, names })
    }
}

/// The columns of a plan as a client sees them.
pub(crate) fn client_schema(plan: &LogicalPlan) -> SchemaRef {
    let fields = plan.schema().fields().iter();
    let shown = fields.map(|field| {
        Field::new(visible_name(field.name()), field.data_type().clone(), field.is_nullable())
            .with_metadata(field.metadata().clone())
    });
    Arc::new(Schema::new(shown.collect::<Vec<_>>()))
}

impl Context<'_> {
    /// The plan of a normalized query, before analysis.
    fn query_plan(&self, query: &ast::Query, parameters: &[Option<DataType>]) -> Result<LogicalPlan> {
        let planner = SqlToRel::new(self);
        let fields = parameters.iter().map(|known| known.clone().map(DataTypeExt::into_nullable_field_ref)).collect();
        let mut planner_context = PlannerContext::new().with_prepare_param_data_types(fields);
        planner
            .sql_statement_to_plan_with_context(SqlStatement::Query(Box::new(query.clone())), &mut planner_context)
            .map_err(plan_error)
    }

    /// The plan of a plain view's text, put in where the view is named.
    fn view_plan(&self, text: &str) -> Result<LogicalPlan> {
        let mut query = crate::parse::parse_query(text)?;
        whole_row::write_out(&mut query, self.binder);
        joined_columns::write_out(&mut query, self)?;
        normalize::query(&mut query, &mut Vec::new(), self.settings())?;
        let plan = self.query_plan(&query, &[])?;
        if plan.schema().fields().iter().all(|field| visible_name(field.name()) == field.name()) {
            return Ok(plan);
        }
        // The queries around know its columns by the names that they show.
        let columns = plan.schema().columns().into_iter().map(|column| {
            let name = visible_name(&column.name).to_string();
            Expr::Column(column).alias(name)
        });
        let columns = columns.collect();
        Projection::try_new(columns, Arc::new(plan)).map(LogicalPlan::Projection).map_err(plan_error)
    }
}

/// A text with column names as the client sees them.
pub(crate) fn visible_text(text: &str) -> String {
    normalize::without_marks(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_zone_that_is_not_known_is_refused_not_guessed() {
        let (catalog, query) = (Catalog::default(), crate::parse::parse_query("SELECT 1").unwrap());
        let of = |time_zone: &str| PlanSettings { time_zone: time_zone.to_string(), ..PlanSettings::default() };
        assert!(Binder::new(&catalog, &of("Europe/Berlin")).query(&query, &[]).is_ok());
        let refused = Binder::new(&catalog, &of("Mars/Olympus")).query(&query, &[]).unwrap_err();
        assert_eq!(refused.message, "time zone \"Mars/Olympus\" is not known to this server");
    }
}
