//! The catalog as DataFusion's planner asks for it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::TableReference;
use datafusion::common::config::ConfigOptions;
use datafusion::common::datatype::DataTypeExt;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner, TypePlanner};
use datafusion::logical_expr::{AggregateUDF, Expr, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};
use millstream_runtime::plan::RelationId;

use super::Binder;
use super::diagnose::{nearest, refuse};
use super::operators::{NamedCasts, Operators};
use super::relation::{RelationTable, UsedViews, ViewTable};
use super::respelled::LIST_OF_SERIES;
use super::series::SeriesPlanner;
use super::window::WindowPlanner;
use crate::catalog::{Catalog, QualifiedName, Relation, RelationKind, Resolved};
use crate::error::{PlanError, PlanErrorKind};
use crate::functions::{ARRAY_OF_ROWS, array_of_rows, json_aggregate, matches_function, registry, written_function};
use crate::meant::MeantNames;
use crate::reading::Reading;
use crate::settings::PlanSettings;
use crate::statement::Read;

/// Views that a view may be nested in: far beyond what people write, well below the stack.
const VIEW_DEPTH_MAX: usize = 64;

/// The name that stands for this database in three-part names.
pub const DATABASE: &str = "millstream";

/// What one statement's planning sees and notes.
pub(super) struct Context<'a> {
    pub binder: &'a Binder<'a>,
    /// The plain views that the plan uses.
    pub used: UsedViews,
    /// The views around the one that is being put in, outermost first.
    path: Vec<RelationId>,
    planned: RefCell<BTreeMap<RelationId, Arc<ViewTable>>>,
    names: RefCell<MeantNames>,
    /// Whether a cast is part of the name of the aggregate over it.
    pub names_casts: Cell<bool>,
}

impl<'a> Context<'a> {
    pub fn new(binder: &'a Binder<'a>) -> Self {
        Self::within(binder, Vec::new())
    }

    fn within(binder: &'a Binder<'a>, path: Vec<RelationId>) -> Self {
        let names = RefCell::default();
        let names_casts = Cell::new(false);
        Self { binder, used: UsedViews::default(), path, planned: RefCell::default(), names, names_casts }
    }

    /// One for a question about what this one plans: what it sees is not noted here.
    pub fn beside(&self) -> Self {
        Self::within(self.binder, self.path.clone())
    }

    /// The settings of the text that is planned.
    pub fn settings(&self) -> &PlanSettings {
        self.binder.settings
    }

    /// The plain views that were put in.
    pub fn views(&self) -> BTreeSet<RelationId> {
        self.used().into_iter().map(|(view, _)| view).collect()
    }

    /// What the names that were looked up mean.
    pub fn names(&self) -> MeantNames {
        self.names.borrow().clone()
    }

    /// The plain views that the statement itself names.
    pub fn planned_views(&self) -> Vec<Arc<ViewTable>> {
        self.planned.borrow().values().cloned().collect()
    }

    fn used(&self) -> BTreeSet<(RelationId, Option<RelationId>)> {
        self.used.lock().expect("no panic while the set of views is locked").clone()
    }

    fn view(&self, relation: &Arc<Relation>, query: &str) -> DataFusionResult<Arc<dyn TableSource>> {
        if let Some(planned) = self.planned.borrow().get(&relation.id) {
            return Ok(Arc::clone(planned) as Arc<dyn TableSource>);
        }
        if self.path.contains(&relation.id) {
            return Err(refuse(
                PlanErrorKind::InvalidDefinition,
                format!("infinite recursion detected in view \"{}\"", relation.name.name),
            ));
        }
        if self.path.len() >= VIEW_DEPTH_MAX {
            return Err(refuse(
                PlanErrorKind::ProgramLimitExceeded,
                format!("views are nested more than {VIEW_DEPTH_MAX} deep"),
            ));
        }
        let mut path = self.path.clone();
        path.push(relation.id);
        // The view's own settings bind its names; positions in its text mean nothing to the statement's author.
        let inner_binder = Binder::of_view(self.binder.catalog, relation);
        let inner = Context::within(&inner_binder, path);
        let plan = inner.view_plan(query).map_err(|mut error| {
            error.position = None;
            error.detail = Some(format!("This is in the text of the view \"{}\".", relation.name.name));
            DataFusionError::External(Box::new(error))
        })?;
        let planned = Arc::new(ViewTable {
            relation: Arc::clone(relation),
            plan,
            used: Arc::clone(&self.used),
            through: self.path.last().copied(),
            uses: inner.used(),
        });
        self.planned.borrow_mut().insert(relation.id, Arc::clone(&planned));
        Ok(planned)
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("path", &self.path).finish()
    }
}

/// The relation that a possibly unqualified name stands for.
pub fn resolve(catalog: &Catalog, settings: &PlanSettings, schema: Option<&str>, name: &str) -> Option<Resolved> {
    let qualified = |schema: &str| QualifiedName { schema: schema.to_string(), name: name.to_string() };
    if let Some(schema) = schema {
        return catalog.resolve(&qualified(schema));
    }
    search_schemas(settings).find_map(|schema| catalog.resolve(&qualified(schema)))
}

/// The schemas that an unqualified name is looked for in: `pg_catalog` first unless the path places it.
pub fn search_schemas(settings: &PlanSettings) -> impl Iterator<Item = &str> {
    let placed = settings.search_path.iter().any(|schema| schema == "pg_catalog");
    let implicit = if placed { None } else { Some("pg_catalog") };
    implicit.into_iter().chain(settings.search_path.iter().map(String::as_str))
}

/// `relation "x" does not exist`, with the nearest name that does: as queries say it, also where there is not even
/// the schema.
pub fn unknown_relation(catalog: &Catalog, schema: Option<&str>, name: &str) -> PlanError {
    let shown = match schema {
        Some(schema) => format!("{schema}.{name}"),
        None => name.to_string(),
    };
    let error = PlanError::new(PlanErrorKind::UndefinedTable, format!("relation \"{shown}\" does not exist"));
    if schema.map_or(name.starts_with("pg_"), |schema| ["pg_catalog", "information_schema"].contains(&schema)) {
        return error.with_hint("The catalog is read by queries only, not by views, changes and subscriptions.");
    }
    let names = catalog.relations().filter(|relation| !matches!(relation.kind, RelationKind::System));
    match nearest(name, names.map(|relation| relation.name.name.as_str())) {
        Some(close) => error.with_hint(format!("Perhaps you meant the relation \"{close}\".")),
        None => error,
    }
}

static OPTIONS: LazyLock<ConfigOptions> = LazyLock::new(|| {
    let mut options = ConfigOptions::default();
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.collect_spans = true;
    options.sql_parser.parse_float_as_decimal = true;
    options.execution.time_zone = Some("+00:00".to_string());
    options
});

/// The one table function beside those of windows.
pub(crate) const GENERATE_SERIES: &str = "generate_series";

type ExprPlanners = Vec<Arc<dyn ExprPlanner>>;

/// The planners of expressions of every reading, without and with [`NamedCasts`].
static EXPRESSION_PLANNERS: LazyLock<Vec<[ExprPlanners; 2]>> = LazyLock::new(|| {
    let of_reading = |reading| {
        [false, true].map(|names_casts| {
            let mut planners: ExprPlanners = vec![Arc::new(Operators { reading })];
            if names_casts {
                planners.push(Arc::new(NamedCasts));
            }
            planners.extend(SessionStateDefaults::default_expr_planners());
            planners
        })
    };
    Reading::all().map(of_reading).collect()
});

static RELATION_PLANNERS: LazyLock<Vec<Arc<dyn RelationPlanner>>> =
    LazyLock::new(|| vec![Arc::new(WindowPlanner) as _, Arc::new(SeriesPlanner) as _]);

/// The options under which every text is planned.
pub(crate) fn planner_options() -> &'static ConfigOptions {
    &OPTIONS
}

impl ContextProvider for Context<'_> {
    fn get_table_source(&self, name: TableReference) -> DataFusionResult<Arc<dyn TableSource>> {
        if let Some(database) = name.catalog()
            && database != DATABASE
        {
            return Err(refuse(
                PlanErrorKind::FeatureNotSupported,
                format!("cross-database references are not implemented: \"{name}\""),
            ));
        }
        let catalog = self.binder.catalog;
        let resolved = self.binder.resolve(name.schema(), name.table()).ok_or_else(|| {
            DataFusionError::External(Box::new(unknown_relation(catalog, name.schema(), name.table())))
        })?;
        self.names.borrow_mut().note(name.schema(), name.table(), &resolved);
        let table = match &resolved {
            Resolved::Relation(relation) => match &relation.kind {
                RelationKind::View { query } => return self.view(relation, query),
                RelationKind::Sink(_) => {
                    return Err(DataFusionError::External(Box::new(
                        PlanError::new(
                            PlanErrorKind::WrongObjectType,
                            format!("\"{}\" is a sink and can't be read", relation.name.name),
                        )
                        .with_hint("Read the materialized view that it takes its rows from."),
                    )));
                }
                RelationKind::Table(_)
                | RelationKind::Source(_)
                | RelationKind::MaterializedView(_)
                | RelationKind::System => RelationTable {
                    relation: Read { relation: relation.id, auxiliary: None },
                    name: relation.name.clone(),
                    schema: Arc::clone(&relation.schema),
                    resolved: resolved.clone(),
                    through: self.path.last().copied(),
                },
            },
            Resolved::Auxiliary { owner, auxiliary, schema } => RelationTable {
                relation: Read { relation: owner.id, auxiliary: Some(*auxiliary) },
                name: QualifiedName {
                    schema: owner.name.schema.clone(),
                    name: format!("{}{}", owner.name.name, auxiliary.suffix()),
                },
                schema: Arc::clone(schema),
                resolved: resolved.clone(),
                through: self.path.last().copied(),
            },
        };
        Ok(Arc::new(table))
    }

    fn get_table_function_source(&self, name: &str, _args: Vec<Expr>) -> DataFusionResult<Arc<dyn TableSource>> {
        let name = name.to_lowercase();
        if name == GENERATE_SERIES {
            let message = "generate_series() is not supported with LATERAL or WITH ORDINALITY";
            return Err(refuse(PlanErrorKind::FeatureNotSupported, message));
        }
        Err(refuse(PlanErrorKind::UndefinedFunction, format!("table function {name} does not exist")))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        let of_settings = &EXPRESSION_PLANNERS[self.settings().reading.index()];
        &of_settings[usize::from(self.names_casts.get())]
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &RELATION_PLANNERS
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(SqlTypes))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        if name == ARRAY_OF_ROWS {
            return Some(array_of_rows());
        }
        if name == LIST_OF_SERIES {
            return registry().scalar(GENERATE_SERIES);
        }
        let made_here = matches_function(name).or_else(|| json_aggregate(name)).or_else(|| written_function(name));
        made_here.or_else(|| self.binder.registry().scalar(name))
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.binder.registry().aggregate(name)
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        registry().window(name)
    }

    fn get_variable_type(&self, _variable_names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        planner_options()
    }

    fn udf_names(&self) -> Vec<String> {
        registry().scalar_names()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        registry().aggregate_names()
    }

    fn udwf_names(&self) -> Vec<String> {
        registry().window_names()
    }
}

/// SQL types as this product stores them.
#[derive(Debug)]
struct SqlTypes;

impl TypePlanner for SqlTypes {
    fn plan_type_field(&self, sql_type: &sqlparser::ast::DataType) -> DataFusionResult<Option<FieldRef>> {
        match crate::types::arrow_type(sql_type) {
            Ok(data_type) => Ok(Some(data_type.into_nullable_field_ref())),
            Err(error) => Err(DataFusionError::External(Box::new(error))),
        }
    }
}
