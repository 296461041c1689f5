//! The frame of plan nodes of ours with one input that make other rows of its rows, batch by batch.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use futures::Stream;

/// What makes the rows. Its `Display` is what EXPLAIN shows of it.
pub(super) trait Expansion: fmt::Debug + fmt::Display + Clone + Send + Sync + 'static {
    /// The node's name in plans.
    const NAME: &'static str;

    /// The rows of `schema` that the rows of `input` make, in batches of about `batch_rows`.
    fn expand(
        &self,
        input: SendableRecordBatchStream,
        schema: SchemaRef,
        batch_rows: usize,
    ) -> impl Stream<Item = Result<RecordBatch>> + Send + 'static;
}

/// What plans the logical nodes of one kind, given the node, its input and the schema of its rows.
pub(super) fn planner<N, F>(plan: F) -> Arc<dyn ExtensionPlanner + Send + Sync>
where
    N: UserDefinedLogicalNode + 'static,
    F: Fn(&N, Arc<dyn ExecutionPlan>, SchemaRef) -> Result<Arc<dyn ExecutionPlan>> + Send + Sync + 'static,
{
    Arc::new(Planner { plan, node: PhantomData })
}

struct Planner<N, F> {
    plan: F,
    node: PhantomData<fn(&N)>,
}

#[async_trait]
impl<N, F> ExtensionPlanner for Planner<N, F>
where
    N: UserDefinedLogicalNode + 'static,
    F: Fn(&N, Arc<dyn ExecutionPlan>, SchemaRef) -> Result<Arc<dyn ExecutionPlan>> + Send + Sync,
{
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        _session: &dyn Session,
        _planning_ctx: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let (Some(known), [input]) = (node.as_any().downcast_ref::<N>(), physical_inputs) else { return Ok(None) };
        let schema = Arc::new(node.schema().as_arrow().clone());
        (self.plan)(known, Arc::clone(input), schema).map(Some)
    }
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct ExpandExec<E> {
    input: Arc<dyn ExecutionPlan>,
    expansion: E,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl<E: Expansion> ExpandExec<E> {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, expansion: E, schema: SchemaRef) -> Self {
        let below = input.properties();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(below.partitioning.partition_count()),
            below.emission_type,
            below.boundedness,
        );
        Self { input, expansion, schema, properties: Arc::new(properties) }
    }
}

impl<E: Expansion> DisplayAs for ExpandExec<E> {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.expansion, f)
    }
}

impl<E: Expansion> ExecutionPlan for ExpandExec<E> {
    fn name(&self) -> &str {
        E::NAME
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [input] = <[Arc<dyn ExecutionPlan>; 1]>::try_from(children)
            .map_err(|_| DataFusionError::Internal(format!("{} has one input", E::NAME)))?;
        Ok(Arc::new(Self::new(input, self.expansion.clone(), Arc::clone(&self.schema))))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let batch_rows = context.session_config().batch_size();
        let input = self.input.execute(partition, context)?;
        let rows = self.expansion.expand(input, Arc::clone(&self.schema), batch_rows);
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows)))
    }
}
