//! EXPLAIN: dataflows and batch plans as text, and what bounds the state of every operator.

use std::fmt::Write;

use datafusion::logical_expr::LogicalPlan;
use millstream_runtime::plan::{Changes, Dataflow, JoinKind, Operation, PlanNode};
use millstream_runtime::plan_text::Detail;
use serde_json::{Map, Value};

use crate::statement::ExplainMode;

/// Blanks before a line per level, in every text of a plan.
const INDENT: usize = 2;

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

/// The text of a plan as Postgres' EXPLAIN (FORMAT JSON): an array of one object, in which every line of the text is
/// an object with those below it in `Plans`. `run` is what running it gave: rows, milliseconds.
pub fn json(text: &str, run: Option<(usize, f64)>) -> String {
    let mut open: Vec<Map<String, Value>> = vec![Map::new()];
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let depth = (line.len() - line.trim_start().len()) / INDENT;
        // A line stands at most one level below the one before.
        while open.len() > depth + 1 {
            close(&mut open);
        }
        open.push(operator(line.trim()));
    }
    while open.len() > 1 {
        close(&mut open);
    }
    let plans = open.pop().and_then(|mut root| root.remove("Plans"));
    let mut plan = match plans {
        Some(Value::Array(mut roots)) if roots.len() == 1 => roots.remove(0),
        plans => serde_json::json!({ "Node Type": "Result", "Plans": plans.unwrap_or_default() }),
    };
    let mut explained = Map::new();
    if let (Some((rows, millis)), Some(fields)) = (run, plan.as_object_mut()) {
        fields.insert("Actual Rows".to_string(), rows.into());
        explained.insert("Execution Time".to_string(), millis.into());
    }
    explained.insert("Plan".to_string(), plan);
    format!("{:#}", Value::Array(vec![Value::Object(explained)]))
}

/// Puts the innermost open operator below the one around it.
fn close(open: &mut Vec<Map<String, Value>>) {
    let (Some(inner), Some(outer)) = (open.pop(), open.last_mut()) else { return };
    match outer.entry("Plans").or_insert_with(|| Value::Array(Vec::new())) {
        Value::Array(plans) => plans.push(Value::Object(inner)),
        _ => unreachable!("only lists are put there"),
    }
}

/// A line of a plan: what runs, over which relation, and the rest of it.
fn operator(line: &str) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut put = |name: &str, value: &str| fields.insert(name.to_string(), value.into());
    // `Name: detail`, or, of a view's dataflow, `Name detail`.
    let colon = line.split_once(": ").filter(|(name, _)| !name.contains(['=', '[', '(', '.']));
    let (name, detail) = colon.or_else(|| line.split_once(' ')).unwrap_or((line, ""));
    if let Some((index, rest)) = line.strip_prefix("Index Scan using ").and_then(|rest| rest.split_once(" on ")) {
        let (relation, detail) = rest.split_once(' ').unwrap_or((rest, ""));
        put("Node Type", "Index Scan");
        put("Index Name", index);
        put("Relation Name", relation.rsplit('.').next().unwrap_or(relation));
        if !detail.is_empty() {
            put("Detail", detail);
        }
        return fields;
    }
    put("Node Type", name);
    if matches!(name, "TableScan" | "Relation") {
        let relation = detail.split(' ').next().unwrap_or(detail);
        put("Relation Name", relation.rsplit('.').next().unwrap_or(relation));
    }
    if !detail.is_empty() {
        put("Detail", detail);
    }
    fields
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_of_a_plan_is_nested_in_json() {
        let text = "Sort: b\n  Join: a = b\n    TableScan: public.t projection=[a]\n    Filter: b > 1\n      \
                    Index Scan using i on u projection=[b]\n";
        let value: Value = serde_json::from_str(&json(text, Some((3, 1.5)))).expect("it is JSON");
        let plan = &value[0]["Plan"];
        assert_eq!(
            (&plan["Node Type"], &plan["Detail"], &plan["Actual Rows"]),
            (&"Sort".into(), &"b".into(), &3.into())
        );
        assert_eq!(value[0]["Execution Time"], 1.5);
        let join = &plan["Plans"][0];
        assert_eq!(join["Plans"].as_array().map(Vec::len), Some(2));
        assert_eq!((&join["Plans"][0]["Relation Name"]), (&Value::from("t")));
        let scan = &join["Plans"][1]["Plans"][0];
        assert_eq!((&scan["Node Type"], &scan["Index Name"]), (&"Index Scan".into(), &"i".into()));
        let state: Value = serde_json::from_str(&json("a #1: x\nb #2: y\n", None)).expect("it is JSON");
        assert_eq!(state[0]["Plan"]["Plans"][1]["Detail"], "y");
    }
}
