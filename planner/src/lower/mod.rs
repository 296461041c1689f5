//! Optimised plans onto the runtime's dataflow.
//!
//! Every column of a lowered node stands where the logical plan has it, so that expressions bind by position.
//! Beside the node, what is known of its rows is carried along: whether they may be taken back, which columns
//! are unique, which columns bound event time, and whether there is exactly one row. From these come the
//! closing keys of aggregates and joins, and what `EMIT ON WINDOW CLOSE` may promise.
//!
//! What the runtime has no operator for is refused here by name, with the reason and a way to write it.

mod aggregate;
mod join;
mod leaf;
mod project;
mod top_n;

use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::{Distinct, Expr, Filter, LogicalPlan, Union};
use datafusion::physical_expr::PhysicalExpr;
use millstream_runtime::plan::{Changes, Dataflow, EmitOn, EventTimeColumn, NodeIndex, Operation, PlanNode};

use crate::bind::{GENERATE_SERIES, SeriesNode, WINDOW_END, WINDOW_START, WindowNode, visible_name};
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::functions;
use crate::types::sql_name;

/// A lowered plan and what is known of its rows.
#[derive(Clone, Debug)]
pub struct LoweredView {
    /// The dataflow.
    pub dataflow: Dataflow,
    /// Columns that are unique; empty when not known.
    pub key: Vec<usize>,
}

/// Lowers the optimised plan of a view. Its columns get the given names.
pub fn lower_view(plan: &LogicalPlan, names: &[String], emit: EmitOn) -> Result<LoweredView> {
    let mut lowering = Lowering { nodes: Vec::new(), emit, closed_windows: false };
    let root = lowering.plan(plan)?;
    if emit == EmitOn::WindowClose {
        lowering.check_window_close(&root)?;
    }
    let root = lowering.named(root, names)?;
    let key = root.key.clone().unwrap_or_default();
    lowering.set_event_time(&root);
    Ok(LoweredView { dataflow: lowering.finish(&root), key })
}

/// A node of the dataflow under construction, and what is known of its rows.
#[derive(Clone, Debug)]
struct Lowered {
    node: NodeIndex,
    schema: SchemaRef,
    changes: Changes,
    /// Columns from which the watermark bounds what can still come; the one that windows are closed by first.
    event_times: Vec<EventTimeColumn>,
    /// Columns that are unique together.
    key: Option<Vec<usize>>,
    /// There is exactly one row.
    one_row: bool,
}

impl Lowered {
    fn event_time(&self, column: usize) -> Option<EventTimeColumn> {
        self.event_times.iter().copied().find(|bound| bound.column == column)
    }
}

struct Lowering {
    nodes: Vec<PlanNode>,
    emit: EmitOn,
    /// An aggregate emits when the watermark closes its windows.
    closed_windows: bool,
}

impl Lowering {
    fn plan(&mut self, plan: &LogicalPlan) -> Result<Lowered> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::Values(values) => self.values(values),
            LogicalPlan::EmptyRelation(empty) => self.empty(empty),
            LogicalPlan::SubqueryAlias(alias) => self.plan(&alias.input),
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Distinct(Distinct::All(input)) => self.distinct(input),
            LogicalPlan::Distinct(Distinct::On(on)) => self.distinct_on(on),
            // Without a limit the order of a view's rows is nobody's: it is the reader's to ask for.
            LogicalPlan::Sort(sort) => self.plan(&sort.input),
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Extension(extension) => match WindowNode::of(extension) {
                Some(window) => self.window(window),
                None if SeriesNode::of(extension).is_some() => Err(unsupported(
                    "generate_series() in FROM",
                    "Put its values into a table, or use it in a query over the view.",
                )),
                None => Err(PlanError::internal(format!("no lowering for {}", extension.node.name()))),
            },
            LogicalPlan::Window(_) => Err(PlanError::unsupported(
                "window functions (OVER) are not supported in a materialized view",
            )
            .with_hint(
                "Keep the first rows of a partition with: SELECT ... FROM (SELECT *, row_number() OVER (PARTITION BY \
                 k ORDER BY x) AS n FROM t) WHERE n <= 3, without showing n; or use window functions in a query over \
                 the view.",
            )),
            LogicalPlan::Unnest(unnest) => {
                let is_series =
                    |expr: &Expr| matches!(expr, Expr::ScalarFunction(call) if call.name() == GENERATE_SERIES);
                let columns = unnest.input.expressions();
                let series = columns.iter().any(|expr| expr.exists(|part| Ok(is_series(part))).unwrap_or(false));
                let construct = if series { "generate_series()" } else { "unnest()" };
                Err(unsupported(construct, "Use it in a query over the view."))
            }
            LogicalPlan::RecursiveQuery(_) => Err(unsupported("WITH RECURSIVE", "Use it in a query over the view.")),
            LogicalPlan::Subquery(_) => {
                Err(unsupported("a correlated subquery of this form", "Write it as a join with a grouped subquery."))
            }
            LogicalPlan::Repartition(_)
            | LogicalPlan::Statement(_)
            | LogicalPlan::Explain(_)
            | LogicalPlan::Analyze(_)
            | LogicalPlan::Dml(_)
            | LogicalPlan::Ddl(_)
            | LogicalPlan::Copy(_)
            | LogicalPlan::DescribeTable(_) => Err(PlanError::internal(format!("no lowering for {}", plan.display()))),
        }
    }

    /// Adds a node, or finds the same one: a sub-plan that is written twice is computed once.
    fn add(&mut self, operation: Operation, inputs: Vec<NodeIndex>, schema: SchemaRef, changes: Changes) -> NodeIndex {
        let node = PlanNode { operation, inputs, schema, changes, event_time: None };
        if let Some(same) = self.nodes.iter().position(|known| same_node(known, &node)) {
            return NodeIndex(same);
        }
        self.nodes.push(node);
        NodeIndex(self.nodes.len() - 1)
    }

    fn filter(&mut self, filter: &Filter) -> Result<Lowered> {
        if let Some(ranked) = self.ranked_filter(filter, None)? {
            return Ok(ranked);
        }
        let input = self.plan(&filter.input)?;
        self.filtered(input, &filter.predicate, filter.input.schema())
    }

    fn filtered(&mut self, input: Lowered, predicate: &Expr, schema: &DFSchema) -> Result<Lowered> {
        let predicate = functions::physical_expression(predicate, schema)?;
        let schema = Arc::clone(&input.schema);
        let node = self.add(Operation::Filter { predicate }, vec![input.node], schema, input.changes);
        Ok(Lowered { node, one_row: false, ..input })
    }

    fn window(&mut self, window: &WindowNode) -> Result<Lowered> {
        let input = self.plan(&window.input)?;
        let time_column = window.time_index();
        let time_type = input.schema.field(time_column).data_type().clone();
        let mut fields: Vec<FieldRef> = input.schema.fields().iter().cloned().collect();
        for name in [WINDOW_START, WINDOW_END] {
            fields.push(Arc::new(Field::new(name, time_type.clone(), false)));
        }
        let (start, end) = (fields.len() - 2, fields.len() - 1);
        let shape = window.shape;
        let operation = Operation::Window {
            time_column,
            size_micros: shape.size_micros,
            slide_micros: shape.slide_micros,
            offset_micros: shape.offset_micros,
        };
        let schema = Arc::new(Schema::new(fields));
        let node = self.add(operation, vec![input.node], Arc::clone(&schema), input.changes);
        let mut event_times = Vec::new();
        if let Some(bound) = input.event_time(time_column) {
            // The last time in a window is one microsecond before its end.
            let slack = bound.extent_micros - 1;
            event_times.push(EventTimeColumn { column: start, extent_micros: shape.size_micros + slack });
            event_times.push(EventTimeColumn { column: end, extent_micros: slack });
        }
        event_times.extend(&input.event_times);
        let key = input.key.map(|mut key| {
            key.push(start);
            key
        });
        Ok(Lowered { node, schema, changes: input.changes, event_times, key, one_row: false })
    }

    fn union(&mut self, union: &Union) -> Result<Lowered> {
        let inputs = union.inputs.iter().map(|input| self.plan(input)).collect::<Result<Vec<_>>>()?;
        let schema = nullable_schema(&union.schema);
        let mut nodes = Vec::with_capacity(inputs.len());
        for input in &inputs {
            nodes.push(self.with_schema(input, &schema)?.node);
        }
        let retracts = inputs.iter().any(|input| input.changes == Changes::Retract);
        let changes = if retracts { Changes::Retract } else { Changes::Append };
        let node = self.add(Operation::Union, nodes, Arc::clone(&schema), changes);
        // A column bounds event time when it does so in every branch.
        let event_times = inputs[0].event_times.iter().filter_map(|bound| {
            let extents = inputs.iter().map(|input| input.event_time(bound.column).map(|bound| bound.extent_micros));
            let extent_micros = extents.collect::<Option<Vec<i64>>>()?.into_iter().max()?;
            Some(EventTimeColumn { column: bound.column, extent_micros })
        });
        let event_times = event_times.collect();
        Ok(Lowered { node, schema, changes, event_times, key: None, one_row: false })
    }

    fn distinct(&mut self, input: &LogicalPlan) -> Result<Lowered> {
        let input = self.plan(input)?;
        let schema = Arc::clone(&input.schema);
        let node = self.add(Operation::Distinct, vec![input.node], Arc::clone(&schema), input.changes);
        let key = Some((0..schema.fields().len()).collect());
        Ok(Lowered { node, schema, key, ..input })
    }

    /// The same rows under another schema of the same types.
    fn with_schema(&mut self, input: &Lowered, schema: &SchemaRef) -> Result<Lowered> {
        if input.schema == *schema {
            return Ok(input.clone());
        }
        let fields = input.schema.fields().iter().zip(schema.fields());
        if let Some((from, to)) = fields.clone().find(|(from, to)| from.data_type() != to.data_type()) {
            return Err(PlanError::new(
                PlanErrorKind::DatatypeMismatch,
                format!(
                    "column \"{}\" is of type {} in one branch and of type {} in another",
                    to.name(),
                    sql_name(to.data_type()),
                    sql_name(from.data_type())
                ),
            ));
        }
        let expressions = column_expressions(&input.schema, 0..input.schema.fields().len());
        let (below, expressions) = self.merged(input.node, expressions)?;
        let node = self.add(Operation::Project { expressions }, vec![below], Arc::clone(schema), input.changes);
        Ok(Lowered { node, schema: Arc::clone(schema), ..input.clone() })
    }

    /// The root with the names that the view's columns have.
    fn named(&mut self, root: Lowered, names: &[String]) -> Result<Lowered> {
        let fields = root.schema.fields().iter().zip(names);
        let fields: Vec<Field> = fields.map(|(field, name)| field.as_ref().clone().with_name(name)).collect();
        let schema = Arc::new(Schema::new(fields));
        let shared = self.nodes.iter().any(|node| node.inputs.contains(&root.node));
        if shared {
            return self.with_schema(&root, &schema);
        }
        let node = &mut self.nodes[root.node.0];
        match &mut node.operation {
            Operation::Aggregate { keys, aggregates, .. } => {
                for (call, field) in aggregates.iter_mut().zip(schema.fields().iter().skip(keys.len())) {
                    call.output = Arc::clone(field);
                }
            }
            Operation::Project { .. } => {}
            // These hand rows on under the names that they came with.
            Operation::Relation { .. }
            | Operation::Values { .. }
            | Operation::Filter { .. }
            | Operation::Union
            | Operation::Window { .. }
            | Operation::Join { .. }
            | Operation::Distinct
            | Operation::TopN { .. } => return self.with_schema(&root, &schema),
        }
        node.schema = Arc::clone(&schema);
        Ok(Lowered { schema, ..root })
    }

    fn check_window_close(&self, root: &Lowered) -> Result<()> {
        if !self.closed_windows {
            return Err(PlanError::new(
                PlanErrorKind::InvalidDefinition,
                "EMIT ON WINDOW CLOSE needs groups that a watermark closes, and nothing in this query closes",
            )
            .with_hint(
                "Group by window_start or window_end of tumble(...) or hop(...) over a relation that declares a \
                 WATERMARK, or leave EMIT ON WINDOW CLOSE out.",
            ));
        }
        if root.changes == Changes::Retract {
            let culprit = self.nodes.iter().find(|node| {
                node.changes == Changes::Retract
                    && node.inputs.iter().all(|input| self.nodes[input.0].changes == Changes::Append)
            });
            let culprit = culprit.map_or("an input", |node| node.operation.name());
            return Err(PlanError::new(
                PlanErrorKind::InvalidDefinition,
                format!("EMIT ON WINDOW CLOSE gives every row once and final, but {culprit} takes rows back"),
            )
            .with_hint("Leave EMIT ON WINDOW CLOSE out, or group behind that operator by a window."));
        }
        Ok(())
    }

    fn set_event_time(&mut self, root: &Lowered) {
        self.nodes[root.node.0].event_time = root.event_times.first().copied();
    }

    /// The nodes that the root reads, in topological order, the root last.
    fn finish(self, root: &Lowered) -> Dataflow {
        let mut needed = vec![false; self.nodes.len()];
        needed[root.node.0] = true;
        for index in (0..=root.node.0).rev() {
            if needed[index] {
                self.nodes[index].inputs.iter().for_each(|input| needed[input.0] = true);
            }
        }
        let mut places = vec![NodeIndex(0); self.nodes.len()];
        let mut nodes = Vec::new();
        for (index, mut node) in self.nodes.into_iter().enumerate() {
            if needed[index] {
                places[index] = NodeIndex(nodes.len());
                node.inputs.iter_mut().for_each(|input| *input = places[input.0]);
                nodes.push(node);
            }
        }
        Dataflow { nodes }
    }
}

fn unsupported(construct: &str, hint: &str) -> PlanError {
    PlanError::unsupported(format!("{construct} is not supported in a materialized view")).with_hint(hint)
}

/// The columns of a plan as rows of changes carry them. What the planner knows of nulls is not relied on.
fn nullable_schema(schema: &DFSchema) -> SchemaRef {
    let fields = schema.fields().iter();
    let fields = fields.map(|field| Field::new(visible_name(field.name()), field.data_type().clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Expressions for some columns of a schema.
fn column_expressions(schema: &Schema, columns: impl IntoIterator<Item = usize>) -> Vec<Arc<dyn PhysicalExpr>> {
    columns.into_iter().map(|column| column_expression(schema, column)).collect()
}

fn column_expression(schema: &Schema, column: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(datafusion::physical_expr::expressions::Column::new(schema.field(column).name(), column))
}

fn same_node(left: &PlanNode, right: &PlanNode) -> bool {
    left.inputs == right.inputs
        && left.schema == right.schema
        && left.changes == right.changes
        && left.operation.same_as(&right.operation)
}
