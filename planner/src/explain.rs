//! EXPLAIN: dataflows and batch plans as text, and what bounds the state of every operator.

use std::fmt::Write;

use datafusion::logical_expr::LogicalPlan;
use millstream_runtime::plan::{Changes, Dataflow, JoinKind, Operation, PlanNode};
use millstream_runtime::plan_text::Detail;

use crate::statement::ExplainMode;

/// The text of a view's dataflow.
pub fn dataflow(plan: &Dataflow, mode: ExplainMode) -> String {
    match mode {
        ExplainMode::Plan | ExplainMode::Analyze => plan.display(Detail::Plan),
        ExplainMode::Verbose => plan.display(Detail::Verbose),
        ExplainMode::State => state(plan),
    }
}

/// The text of a batch query's logical plan.
pub fn query(plan: &LogicalPlan) -> String {
    let mut text = crate::bind::visible_text(&plan.display_indent().to_string());
    text.push('\n');
    text
}

/// One line per operator that keeps state: how much of it, and what bounds it.
fn state(plan: &Dataflow) -> String {
    let mut text = String::new();
    for (index, node) in plan.nodes.iter().enumerate() {
        if let Some(bound) = state_of(node, plan) {
            let _ = writeln!(text, "{} #{index}: {bound}", node.operation.name());
        }
    }
    if text.is_empty() {
        text.push_str("no operator keeps state\n");
    }
    text
}

fn state_of(node: &PlanNode, plan: &Dataflow) -> Option<String> {
    let input_name = |column: usize| plan.nodes[node.inputs[0].0].schema.field(column).name().clone();
    let names = |columns: &[usize]| columns.iter().map(|column| input_name(*column)).collect::<Vec<_>>().join(", ");
    match &node.operation {
        Operation::Relation { .. }
        | Operation::Values { .. }
        | Operation::Filter { .. }
        | Operation::Project { .. }
        | Operation::Union
        | Operation::Window { .. } => None,
        Operation::Aggregate { keys, .. } if keys.is_empty() => Some("one group".to_string()),
        Operation::Aggregate { keys, closing: Some(closing), .. } => Some(format!(
            "one group per ({}), forgotten when the watermark passes {}",
            names(keys),
            input_name(keys[closing.key])
        )),
        Operation::Aggregate { keys, closing: None, .. } => {
            Some(format!("one group per ({}), kept for ever: nothing bounds them", names(keys)))
        }
        Operation::Join { kind, on, closing, .. } => {
            let kept = match kind {
                JoinKind::Inner | JoinKind::Left => "the rows of both sides",
                JoinKind::LeftSemi | JoinKind::LeftAnti => "the rows of the left side and the keys of the right one",
            };
            Some(match closing {
                Some(closing) => {
                    format!("{kept}, forgotten when the watermark passes {}", input_name(on[closing.pair].0))
                }
                None => format!("{kept}, kept for ever: nothing bounds them but what the inputs take back"),
            })
        }
        Operation::Distinct => Some("one entry per different row, kept for ever: nothing bounds them".to_string()),
        Operation::TopN { partition, .. } => {
            let rows = match plan.nodes[node.inputs[0].0].changes {
                Changes::Append => "the rows that are kept",
                Changes::Retract => "all rows, as those that are kept may be taken back",
            };
            Some(match partition.is_empty() {
                true => rows.to_string(),
                false => format!("{rows}, per ({})", names(partition)),
            })
        }
    }
}
