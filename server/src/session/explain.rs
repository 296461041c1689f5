//! EXPLAIN: how a statement would run, or with ANALYZE how it did.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, LargeBinaryArray, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use futures::TryStreamExt;
use millstream_planner::batch::with_values;
use millstream_planner::explain;
use millstream_planner::statement::{Command, Explain, ExplainFormat, ExplainMode, Query, Statement, StatementText};
use millstream_planner::subscribe::{Subscribe, Target};
use millstream_planner::types::JSON;
use millstream_runtime::Error;

use super::change::one_batch;
use super::prepare::{Work, texts};
use super::query::Run;
use super::sqlstate::Condition;
use super::{CommandTag, Outcome, Session, SqlError};
use crate::engine::stop::Stop;

impl Session {
    pub(super) async fn explain(
        &mut self,
        explain: &Explain,
        parameters: Vec<ScalarValue>,
        stop: Stop,
    ) -> Result<Outcome, SqlError> {
        if let Statement::Command(Command::Execute { name, arguments }) = &explain.statement {
            return Box::pin(self.explain_named(explain, name, arguments, stop)).await;
        }
        let text = match &explain.statement {
            Statement::Query(query) => stop.race(self.explain_query(query, explain.mode, parameters)).await?,
            Statement::CreateMaterializedView(create) => explain::dataflow(&create.dataflow, explain.mode).into(),
            Statement::CreateSink(create) => explain::dataflow(&create.dataflow, explain.mode).into(),
            Statement::Subscribe(subscribe) => self.explain_subscribe(subscribe, explain.mode, parameters)?.into(),
            Statement::Insert(insert) => explain::query(&insert.rows).into(),
            Statement::Update(update) => explain::query(&update.rows).into(),
            Statement::Delete(delete) => explain::query(&delete.rows).into(),
            _ => {
                let message = "EXPLAIN takes a query, SUBSCRIBE, INSERT, UPDATE, DELETE, CREATE MATERIALIZED VIEW or \
                               CREATE SINK";
                return Err(SqlError::new(Condition::FeatureNotSupported, message));
            }
        };
        let lines: ArrayRef = match explain.format {
            ExplainFormat::Text => Arc::new(StringArray::from_iter_values(text.shown().lines().collect::<Vec<_>>())),
            ExplainFormat::Json => Arc::new(LargeBinaryArray::from_iter_values([explain::json(&text.plan, text.run)])),
        };
        let rows = RecordBatch::try_new(columns(explain.format), vec![lines])?;
        Ok(Outcome { rows: Some(one_batch(rows)), ..Outcome::tagged(CommandTag::Fixed("EXPLAIN".to_string())) })
    }

    /// `EXPLAIN EXECUTE`: of the statement that the name stands for, with the values that it would get.
    async fn explain_named(
        &mut self,
        explain: &Explain,
        name: &str,
        arguments: &[StatementText],
        stop: Stop,
    ) -> Result<Outcome, SqlError> {
        let (prepared, values) = stop.race(self.bound(name, arguments)).await?;
        let prepared = self.current(&prepared)?;
        let Work::Statement(statement) = &prepared.inner.work else {
            let message = format!("prepared statement \"{name}\" has no plan to explain");
            return Err(SqlError::new(Condition::FeatureNotSupported, message)
                .with_detail("It asks the catalog, which the server answers by itself."));
        };
        self.authorize(statement)?;
        let explain = Explain { statement: statement.clone(), ..explain.clone() };
        self.explain(&explain, values, stop).await
    }

    /// The dataflow that a subscription to a query would run; what is kept anyway needs none.
    fn explain_subscribe(
        &self,
        subscribe: &Subscribe,
        mode: ExplainMode,
        parameters: Vec<ScalarValue>,
    ) -> Result<String, SqlError> {
        let subscribe = subscribe.with_values(parameters)?;
        match &subscribe.target {
            Target::Query(temporary) => Ok(explain::dataflow(&temporary.dataflow, mode)),
            Target::Relation(read) => {
                let name = self.state().catalog.view.resolve_read(*read).map(|found| found.name());
                let name = name.ok_or_else(|| Error::internal("what is subscribed to is not in the catalog"))?;
                Ok(format!("Follow {}.{}\n", name.schema, name.name))
            }
            Target::Open(_) => Err(Error::internal("a query is explained without its parameters").into()),
        }
    }

    async fn explain_query(
        &mut self,
        query: &Query,
        mode: ExplainMode,
        parameters: Vec<ScalarValue>,
    ) -> Result<Explained, SqlError> {
        if mode == ExplainMode::State {
            return Ok("a query keeps no state between statements\n".to_string().into());
        }
        let started = Instant::now();
        match (self.run_over(query, parameters.clone()).await?, mode) {
            (Run::Found(found), mode) => {
                let millis = millis_since(started);
                let plan = explain::query(&with_values(&query.plan, parameters)?);
                let plan = match found.by.is_empty() {
                    false => {
                        let scans =
                            found.by.iter().map(|(index, relation)| format!("{LOOK_UP}{index} on {relation}\n"));
                        format!("Look-up\n{}", indented(&with_index_scans(&plan, &scans.collect::<String>())))
                    }
                    true => plan,
                };
                let run = (mode == ExplainMode::Analyze).then(|| (found.rows.num_rows(), millis));
                Ok(Explained { plan, run })
            }
            (Run::Planned(plan), ExplainMode::Plan) => {
                let batch = self.engine.batch_query(self.facts());
                let text = explain::query(&batch.optimized(&query.plan, parameters)?);
                Ok(with_index_scans(&text, &plan.display()).into())
            }
            (Run::Planned(plan), ExplainMode::Verbose | ExplainMode::State) => Ok(plan.display().into()),
            (Run::Planned(plan), ExplainMode::Analyze) => {
                let started = Instant::now();
                let rows = plan.stream()?.try_fold(0, async |rows, batch| Ok(rows + batch.num_rows())).await?;
                Ok(Explained { plan: plan.display(), run: Some((rows, millis_since(started))) })
            }
        }
    }
}

/// What EXPLAIN says of a scan that an index serves.
const LOOK_UP: &str = "Index Scan using ";

fn millis_since(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1e3
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

/// What EXPLAIN shows.
struct Explained {
    /// One operator a line.
    plan: String,
    /// Rows and milliseconds, if it was run.
    run: Option<(usize, f64)>,
}

impl From<String> for Explained {
    fn from(plan: String) -> Self {
        Self { plan, run: None }
    }
}

impl Explained {
    /// As text.
    fn shown(&self) -> String {
        match self.run {
            Some((rows, millis)) => format!("{}rows: {rows}\ntime: {millis:.3} ms\n", self.plan),
            None => self.plan.clone(),
        }
    }
}

/// The column of the answer.
pub(super) fn columns(format: ExplainFormat) -> SchemaRef {
    match format {
        ExplainFormat::Text => texts(&["QUERY PLAN"]),
        ExplainFormat::Json => Arc::new(Schema::new(vec![Field::new("QUERY PLAN", JSON, true)])),
    }
}

/// The logical plan with the look-ups by index that the plan to be run makes of its scans.
fn with_index_scans(logical: &str, physical: &str) -> String {
    const SCAN: &str = "TableScan: ";
    // The index and the relation of every look-up, in the order in which both plans list their leaves.
    let look_ups = physical.lines().filter_map(|line| line.trim_start().strip_prefix(LOOK_UP)?.split_once(" on "));
    let mut look_ups: Vec<(&str, &str)> = look_ups.collect();
    let mut shown = String::with_capacity(logical.len());
    for line in logical.lines() {
        let scan = line.trim_start().strip_prefix(SCAN);
        let name = scan.map(|scan| scan.split(' ').next().unwrap_or(scan));
        let relation = name.map(|name| name.rsplit('.').next().unwrap_or(name));
        match look_ups.iter().position(|(_, on)| relation == Some(on)) {
            Some(place) => {
                let (index, _) = look_ups.remove(place);
                shown.push_str(&line.replacen(SCAN, &format!("{LOOK_UP}{index} on "), 1));
            }
            None => shown.push_str(line),
        }
        shown.push('\n');
    }
    shown
}
