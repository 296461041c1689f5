//! Runs a script against an engine and holds everything that can be read against what it must be.
//!
//! Every statement must answer what the model says. After every step, tables and `$late` hold what the model
//! holds, every view that the step can have changed what its reference gives, and `$rejected` the rows that fail.
//! At the end no graph has ever failed: one that healed by going back to its checkpoint is found, too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::super::{Answer, Client};
use super::script::{Script, Step};
use super::tables::{Model, Row, Table, Verdict, row_text};
use super::views::View;
use crate::engine::{Engine, EngineConfig};
use crate::session::{CommandTag, Prepared, SqlError};

/// No step needs a hundredth of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What went wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The same for the same fault: a script is made smaller as long as this stays.
    pub what: String,
    pub detail: String,
    /// The queries that show it.
    pub queries: Vec<String>,
}

impl Failure {
    fn new(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { what: what.into(), detail: detail.into(), queries: Vec::new() }
    }
}

/// What a script leaves.
#[derive(Debug)]
pub struct Outcome {
    pub model: Model,
    /// The rows of every view that is there, sorted.
    pub views: BTreeMap<&'static str, (&'static View, Vec<String>)>,
    /// Comparisons that were made.
    pub comparisons: usize,
}

/// Runs a script on an engine of its own; a panic or a hang is a failure like any other.
pub async fn run(script: &Script) -> Result<Outcome, Failure> {
    let script = script.clone();
    match tokio::spawn(run_steps(script)).await {
        Ok(outcome) => outcome,
        Err(panicked) => Err(Failure::new("it panics", panicked.to_string())),
    }
}

async fn run_steps(script: Script) -> Result<Outcome, Failure> {
    let mut world = in_time("the start", World::new(&script)).await?;
    for step in &script.steps {
        in_time(step, world.step(step)).await?;
    }
    in_time("the end", world.end()).await
}

async fn in_time<T>(what: impl Debug, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let ended = tokio::time::timeout(PATIENCE, work).await;
    ended.unwrap_or_else(|_| Err(Failure::new("it hangs", format!("nothing came in {PATIENCE:?} at {what:?}"))))
}

/// A view that is there.
struct Deployed {
    view: &'static View,
    /// What the reference gave when the tables were last changed; the text with which it was asked.
    expected: Option<(String, Vec<String>)>,
    rows: Vec<String>,
}

struct World {
    storage: String,
    hurried: bool,
    engine: Arc<Engine>,
    client: Client,
    /// Queries that the client has planned, by their text: most are asked again and again.
    planned: BTreeMap<String, Prepared>,
    model: Model,
    tables: BTreeSet<Table>,
    views: BTreeMap<&'static str, Deployed>,
    comparisons: usize,
}

async fn open(storage: &str, slots: usize) -> Result<Arc<Engine>, Failure> {
    let config = EngineConfig { slots, parallelism: slots, ..EngineConfig::new(storage) };
    Engine::open(config).await.map_err(|error| Failure::new("it does not start", error.to_string()))
}

/// Runs a step's statement, which must answer with the verdict.
async fn answers(client: &mut Client, step: &Step, verdict: Verdict) -> Result<(), Failure> {
    let sql = step.sql().expect("only restarts have none");
    let counts = matches!(step, Step::Insert { .. } | Step::Copy | Step::Change { .. });
    let answered = client.run(&sql).await;
    let answer = match &answered {
        Ok(Answer { tag: CommandTag::Fixed(tag), .. }) if counts => {
            Ok(tag.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(usize::MAX))
        }
        Ok(_) => Ok(0),
        Err(error) => Err(error.sqlstate),
    };
    match answer == verdict {
        true => Ok(()),
        false => Err(Failure::new(
            format!("a statement answers {answer:?} instead of {verdict:?}"),
            format!("{sql}\n{answered:?}"),
        )),
    }
}

fn texts(rows: &[Row]) -> Vec<String> {
    let mut rows: Vec<String> = rows.iter().map(row_text).collect();
    rows.sort_unstable();
    rows
}

impl World {
    async fn new(script: &Script) -> Result<Self, Failure> {
        static CASES: AtomicU64 = AtomicU64::new(0);
        let storage = format!("memory://oracle_{}", CASES.fetch_add(1, Ordering::Relaxed));
        let engine = open(&storage, script.slots).await?;
        let mut client = Client::new(&engine);
        for statement in script.preamble() {
            client.run(&statement).await.map_err(|error| Failure::new(statement, format!("{error:?}")))?;
        }
        Ok(Self {
            storage,
            hurried: script.hurried,
            engine,
            client,
            planned: BTreeMap::new(),
            model: Model::new(script.lateness),
            tables: script.tables(),
            views: BTreeMap::new(),
            comparisons: 0,
        })
    }

    async fn step(&mut self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::Restart { kill, slots } => {
                self.restart(*kill, *slots).await?;
                for table in self.tables.clone() {
                    self.check_table(table).await?;
                    self.check_late(table).await?;
                }
                return self.check_views(|_| true).await;
            }
            // A script that was made smaller may lack what this needs.
            Step::Create(view) | Step::CreateDuring { view, .. }
                if self.views.contains_key(view.name) || !self.has_inputs(view) =>
            {
                return Ok(());
            }
            Step::Drop(view) if !self.views.contains_key(view.name) => return Ok(()),
            _ => {}
        }
        let late_before = self.model.late_count();
        self.execute(step).await?;
        let mut made = None;
        match step {
            Step::Create(view) | Step::CreateDuring { view, .. } => {
                self.views.insert(view.name, Deployed { view, expected: None, rows: Vec::new() });
                made = Some(view.name);
            }
            Step::Drop(view) => self.forget(view),
            _ => {}
        }
        if matches!(step, Step::Create(_) | Step::CreateDuring { .. } | Step::Drop(_)) {
            // Another relation may have the name now.
            self.planned.clear();
        }
        let written = step.writes();
        for table in &written {
            self.check_table(*table).await?;
            if self.model.late_count() > late_before {
                self.check_late(*table).await?;
            }
        }
        let concerned = |view: &View| written.iter().any(|table| view.reads(*table));
        for deployed in self.views.values_mut().filter(|deployed| concerned(deployed.view)) {
            deployed.expected = None;
        }
        self.check_views(|view| concerned(view) || made == Some(view.name)).await
    }

    /// Runs a step's statements, which must answer what the model says.
    async fn execute(&mut self, step: &Step) -> Result<(), Failure> {
        let Step::CreateDuring { view, writes } = step else {
            let verdict = self.model.apply(step);
            return answers(&mut self.client, step, verdict).await;
        };
        let mut writer = Client::new(&self.engine);
        let verdicts: Vec<_> = writes.iter().map(|write| (write, self.model.apply(write))).collect();
        let writing = async {
            for (write, verdict) in verdicts {
                answers(&mut writer, write, verdict).await?;
            }
            Ok(())
        };
        let create = Step::Create(view);
        let (created, written) = tokio::join!(answers(&mut self.client, &create, Ok(0)), writing);
        created.and(written)
    }

    fn has_inputs(&self, view: &View) -> bool {
        view.views().iter().all(|input| self.views.contains_key(input.name))
    }

    /// Forgets a dropped view, and what CASCADE has taken along.
    fn forget(&mut self, view: &View) {
        self.views.remove(view.name);
        let orphan = self.views.values().map(|other| other.view).find(|other| !self.has_inputs(other));
        if let Some(orphan) = orphan {
            self.forget(orphan);
        }
    }

    /// Opens the storage anew, after the server has stopped or while it still runs.
    async fn restart(&mut self, kill: bool, slots: usize) -> Result<(), Failure> {
        self.check_graphs()?;
        if !kill {
            self.engine.stop().await;
        }
        let engine = open(&self.storage, slots).await?;
        self.client = Client::new(&engine);
        self.planned.clear();
        let old = std::mem::replace(&mut self.engine, engine);
        if kill {
            old.stop().await;
        }
        if self.hurried {
            self.query("a setting", "SET millstream.checkpoint_interval = '20ms'").await?;
        }
        Ok(())
    }

    async fn query(&mut self, what: &str, sql: &str) -> Result<Vec<String>, Failure> {
        let failed = |error: SqlError| Failure {
            queries: vec![sql.to_string()],
            ..Failure::new(format!("{} from {what}", error.sqlstate), format!("{error:?}"))
        };
        let prepared = match self.planned.remove(sql) {
            Some(prepared) => prepared,
            None => {
                let text = self.client.0.split(sql).map_err(failed)?.remove(0);
                self.client.0.prepare(&text, &[]).await.map_err(failed)?
            }
        };
        let mut rows = self.client.run_prepared(&prepared).await.map_err(failed)?.rows;
        self.planned.insert(sql.to_string(), prepared);
        rows.sort_unstable();
        Ok(rows)
    }

    async fn check_table(&mut self, table: Table) -> Result<(), Failure> {
        let expected = texts(self.model.rows_of(table));
        let sql = format!("SELECT * FROM {}", table.name());
        let rows = self.query(table.name(), &sql).await?;
        self.compare(table.name(), &rows, &expected, vec![sql])
    }

    async fn check_late(&mut self, table: Table) -> Result<(), Failure> {
        if table.time().is_none() {
            return Ok(());
        }
        let late = format!("{}$late", table.name());
        let expected = texts(self.model.late_of(table));
        let sql = format!("SELECT * FROM \"{late}\"");
        let rows = self.query(&late, &sql).await?;
        self.compare(&late, &rows, &expected, vec![sql])
    }

    fn compare(&mut self, what: &str, is: &[String], must: &[String], queries: Vec<String>) -> Result<(), Failure> {
        self.comparisons += 1;
        match is == must {
            true => Ok(()),
            false => Err(Failure {
                queries,
                ..Failure::new(format!("{what} differs"), format!("{what} has  {is:?}\nit must be {must:?}"))
            }),
        }
    }

    async fn check_views(&mut self, concerned: impl Fn(&View) -> bool) -> Result<(), Failure> {
        let names: Vec<_> = self.views.values().map(|deployed| deployed.view).filter(|view| concerned(view)).collect();
        for view in names {
            self.check_view(view).await?;
        }
        Ok(())
    }

    async fn check_view(&mut self, view: &'static View) -> Result<(), Failure> {
        let asked = view.expected(&self.model);
        let known = self.views.get_mut(view.name).and_then(|deployed| deployed.expected.take());
        let expected = match known {
            Some((with, expected)) if with == asked => expected,
            _ => self.query(&format!("the reference of {}", view.name), &asked).await?,
        };
        let sql = format!("SELECT * FROM {}", view.name);
        let rows = self.query(view.name, &sql).await?;
        self.compare(view.name, &rows, &expected, vec![sql, asked.clone()])?;
        if view.rejected.is_some() {
            self.check_rejected(view).await?;
        }
        self.views.insert(view.name, Deployed { view, expected: Some((asked, expected)), rows });
        Ok(())
    }

    async fn check_rejected(&mut self, view: &View) -> Result<(), Failure> {
        let what = format!("{}$rejected", view.name);
        let sql = format!("SELECT * FROM \"{what}\"");
        let rows = self.query(&what, &sql).await?;
        let expected = match view.rejected {
            None => vec!["0".to_string()],
            Some(count) => self.query(&what, count).await?,
        };
        let detail = format!("it holds {rows:?}");
        let counted = self.compare(&what, &[rows.len().to_string()], &expected, vec![sql]);
        counted.map_err(|failure| Failure { detail: format!("{}\n{detail}", failure.detail), ..failure })
    }

    fn check_graphs(&self) -> Result<(), Failure> {
        for (id, graph) in &self.engine.state().graphs {
            if graph.failures() > 0 {
                return Err(Failure::new("a graph failed", format!("graph {} is {:?}", id.0, graph.state())));
            }
        }
        Ok(())
    }

    async fn end(mut self) -> Result<Outcome, Failure> {
        for view in self.views.values().map(|deployed| deployed.view).collect::<Vec<_>>() {
            self.check_rejected(view).await?;
        }
        for table in self.tables.clone() {
            self.check_late(table).await?;
        }
        self.check_graphs()?;
        self.engine.stop().await;
        let views = self.views.into_iter().map(|(name, deployed)| (name, (deployed.view, deployed.rows))).collect();
        Ok(Outcome { model: self.model, views, comparisons: self.comparisons })
    }
}
