//! Batch queries: an analyzed plan over snapshots, run by DataFusion's engine.
//!
//! The server names the tables ([`BatchQuery::physical_plan`] asks it for a provider per scan) and streams the
//! result. The session state that DataFusion wants is made here and holds no catalog, no table
//! factory and no file format: a plan can reach its providers and nothing else. Arithmetic, aggregates and
//! ties at a LIMIT follow the same rules as in views, so that the two can be held against each other.

mod branches;
mod counts;
mod expand_exec;
mod key_look_up;
mod look_up;
mod look_up_steps;
mod row_steps;
mod series_exec;
mod subquery_exec;
mod window_exec;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, SessionState, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::{ExecutionPlan, displayable, execute_stream};
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::SessionConfig;

use crate::bind::{self, RelationTable, client_schema, plan_error};
use crate::error::{PlanError, Result};
use crate::functions::{self, SessionFacts};
use crate::optimize;
use crate::subqueries::{self, SubqueryNode};

pub use look_up::{AskedFirst, BoundLookUp, FirstRows, LookUp, LookUpValues};
pub use row_steps::{Aggregates, RowStep};

/// What the batch queries of a process share: their memory, and all of their surroundings that is no statement's own.
#[derive(Clone, Debug)]
pub struct BatchRuntime {
    /// What every statement's state is a copy of: making one anew takes longer than many statements do.
    state: Arc<SessionState>,
    options: Arc<ConfigOptions>,
}

impl BatchRuntime {
    /// Queries together may hold `memory_bytes` in sorts, joins and aggregates; a query that needs more fails
    /// and nothing is written to disk. Each runs in `partitions` tasks at most.
    pub fn new(memory_bytes: usize, partitions: usize) -> Self {
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(memory_bytes)))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build_arc()
            .expect("an environment without a disk needs nothing of the system");
        let mut options = bind::planner_options().clone();
        options.execution.target_partitions = partitions.max(1);
        options.optimizer.skip_failed_rules = false;
        let config = SessionConfig::from(options.clone()).with_create_default_catalog_and_schema(false);
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(environment)
            .with_analyzer_rules(Vec::new())
            .with_optimizer_rules(optimize::batch_rules())
            .with_aggregate_functions(functions::registry().aggregates())
            .build();
        Self { state: Arc::new(state), options: Arc::new(options) }
    }

    /// Memory of queries that something else than a query holds; nothing yet.
    pub fn reservation(&self, holder: &str) -> MemoryReservation {
        MemoryConsumer::new(holder).register(&self.state.runtime_env().memory_pool)
    }

    /// Gets a statement ready to be run in one task, so that rows keep the order in which they are scanned.
    pub fn query_in_order(&self, facts: SessionFacts) -> BatchQuery {
        let mut options = self.options.as_ref().clone();
        options.execution.target_partitions = 1;
        self.query_with(options, facts)
    }

    /// Gets a statement ready to be run.
    pub fn query(&self, facts: SessionFacts) -> BatchQuery {
        self.query_with(self.options.as_ref().clone(), facts)
    }

    fn query_with(&self, mut options: ConfigOptions, facts: SessionFacts) -> BatchQuery {
        options.extensions.insert(facts);
        let config = SessionConfig::from(options).with_create_default_catalog_and_schema(false);
        let mut state = self.state.as_ref().clone();
        // Functions that are not folded ask for the facts where they run.
        let mut properties = ExecutionProps::new();
        properties.config_options = Some(Arc::clone(config.options()));
        *state.config_mut() = config;
        *state.execution_props_mut() = properties;
        BatchQuery { state }
    }
}

/// One statement's run.
pub struct BatchQuery {
    state: SessionState,
}

/// A plan that is ready to be streamed.
#[derive(Clone, Debug)]
pub struct BatchPlan {
    /// DataFusion's plan.
    pub physical: Arc<dyn ExecutionPlan>,
    /// The columns as the client sees them; batches have the same types in the same order.
    pub schema: SchemaRef,
    task: Arc<TaskContext>,
}

impl BatchQuery {
    /// Optimises an analyzed plan and makes it runnable. `parameters` are the values of `$1`, `$2`, ... in the
    /// types that the statement named; `provider` gives the rows of every relation that the plan scans.
    pub async fn physical_plan(
        &self,
        plan: &LogicalPlan,
        parameters: Vec<ScalarValue>,
        provider: &mut (dyn FnMut(&RelationTable) -> Result<Arc<dyn TableProvider>> + Send),
    ) -> Result<BatchPlan> {
        let schema = client_schema(plan);
        let optimized = match counts::asks_anywhere(plan)? {
            false => self.optimized(plan, parameters)?,
            true => {
                let counted = self.with_counts(with_values(plan, parameters)?, provider).await?;
                self.optimized(&counted, Vec::new())?
            }
        };
        let bound = with_providers(optimized, provider)?;
        let physical = physical_of(bound, &self.state).await.map_err(plan_error)?;
        Ok(BatchPlan { physical, schema, task: self.state.task_ctx() })
    }

    /// The logical plan that would be run.
    pub fn optimized(&self, plan: &LogicalPlan, parameters: Vec<ScalarValue>) -> Result<LogicalPlan> {
        let plan = with_values(plan, parameters)?;
        if key_look_up::is_key_look_up(&plan) {
            return Ok(plan);
        }
        let plan = optimize::settle_ties(plan).map_err(plan_error)?;
        let plan = optimize::name_unions(plan).map_err(plan_error)?;
        let plan = branches::kept_apart(plan).map_err(plan_error)?;
        let plan = subqueries::as_columns(plan)?;
        let plan = optimize::compute_sort_keys(plan).map_err(plan_error)?;
        self.state.optimizer().optimize(plan, &self.state, |_, _| {}).map_err(plan_error)
    }
}

/// An analyzed plan with the values of its parameters, its constants folded.
pub fn with_values(plan: &LogicalPlan, parameters: Vec<ScalarValue>) -> Result<LogicalPlan> {
    let plan = match parameters.is_empty() {
        true => plan.clone(),
        false => plan.clone().replace_params_with_values(&ParamValues::from(parameters)).map_err(plan_error)?,
    };
    branches::decided(plan).and_then(functions::fold_constants).map_err(plan_error)
}

impl BatchPlan {
    /// Starts it. Dropping the stream stops it.
    pub fn stream(&self) -> std::result::Result<SendableRecordBatchStream, DataFusionError> {
        execute_stream(Arc::clone(&self.physical), Arc::clone(&self.task))
    }

    /// The plan as text, one operator a line.
    pub fn display(&self) -> String {
        displayable(self.physical.as_ref()).indent(false).to_string()
    }
}

/// An optimised plan, its relations with their rows, made runnable.
async fn physical_of(
    plan: LogicalPlan,
    state: &SessionState,
) -> std::result::Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    let checked = functions::checked_functions(plan)?;
    refuse_laterals(&checked)?;
    let of_subqueries = state.clone();
    let planner = DefaultPhysicalPlanner::with_extension_planners(vec![
        expand_exec::planner(window_exec::plan),
        expand_exec::planner(series_exec::plan),
        expand_exec::planner(move |node, input, schema| subquery_exec::plan(node, &of_subqueries, input, schema)),
    ]);
    with_yielding_joins(planner.create_physical_plan(&checked, state).await?)
}

/// What is left of LATERAL reads the rows of the other side, which no operator can: DataFusion makes joins of most.
fn refuse_laterals(plan: &LogicalPlan) -> std::result::Result<(), DataFusionError> {
    let mut found = false;
    plan.apply(|node| {
        node.apply_expressions(|expr| {
            found |= expr.exists(|part| Ok(matches!(part, Expr::OuterReferenceColumn(..))))?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    match found {
        true => Err(DataFusionError::External(Box::new(
            PlanError::unsupported("this form of LATERAL is not supported")
                .with_hint("Compute the values in the select list, or join with a grouped subquery."),
        ))),
        false => Ok(()),
    }
}

/// Lets joins give way to other tasks every so many batches. DataFusion's scans do, but a join makes any number
/// of batches out of one: without this a query whose rows multiply could not be cancelled.
fn with_yielding_joins(plan: Arc<dyn ExecutionPlan>) -> std::result::Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    let wrapped = plan.transform_up(|node| {
        let multiplies = node.is::<NestedLoopJoinExec>() || node.is::<CrossJoinExec>() || node.is::<HashJoinExec>();
        Ok(match multiplies {
            true => Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>),
            false => Transformed::no(node),
        })
    });
    wrapped.map(|transformed| transformed.data)
}

/// Tells a scan the condition of the filter above it, which stays: the provider may read less, never decide.
fn tell_filters(node: LogicalPlan) -> Transformed<LogicalPlan> {
    let LogicalPlan::Filter(mut filter) = node else { return Transformed::no(node) };
    let LogicalPlan::TableScan(scan) = filter.input.as_ref() else {
        return Transformed::no(LogicalPlan::Filter(filter));
    };
    let mut scan = scan.clone();
    let conjuncts = split_conjunction(&filter.predicate).into_iter();
    // A scan knows its columns by their bare names.
    let bare = conjuncts.filter(|expr| !expr.is_volatile()).filter_map(|expr| unnormalized(expr.clone()));
    scan.filters = bare.collect();
    filter.input = Arc::new(LogicalPlan::TableScan(scan));
    Transformed::yes(LogicalPlan::Filter(filter))
}

/// The expression over columns without qualifiers; `None` for one that is not about columns alone.
fn unnormalized(expr: Expr) -> Option<Expr> {
    let alone = !expr
        .exists(|node| {
            Ok(matches!(
                node,
                Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::OuterReferenceColumn(..)
            ))
        })
        .unwrap_or(true);
    alone.then(|| datafusion::logical_expr::expr_rewriter::unnormalize_col(expr))
}

/// Puts the providers in the place of the relations.
fn with_providers(
    plan: LogicalPlan,
    provider: &mut (dyn FnMut(&RelationTable) -> Result<Arc<dyn TableProvider>> + Send),
) -> Result<LogicalPlan> {
    let told = plan.transform_down_with_subqueries(|node| Ok(tell_filters(node))).map_err(plan_error)?.data;
    told.transform_up_with_subqueries(|node| match node {
        LogicalPlan::TableScan(mut scan) => {
            let Some(table) = scan.source.downcast_ref::<RelationTable>() else {
                return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
            };
            let provider = provider(table).map_err(|error| DataFusionError::External(Box::new(error)))?;
            scan.source = provider_as_source(provider);
            Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
        }
        LogicalPlan::Extension(extension) => Ok(match SubqueryNode::of(&extension) {
            Some(node) => {
                let subquery = with_providers(node.subquery.as_ref().clone(), provider);
                let subquery = subquery.map_err(|error| DataFusionError::External(Box::new(error)))?;
                Transformed::yes(node.with_subquery(subquery))
            }
            None => Transformed::no(LogicalPlan::Extension(extension)),
        }),
        other => Ok(Transformed::no(other)),
    })
    .map(|transformed| transformed.data)
    .map_err(plan_error)
}
