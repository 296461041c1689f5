//! Definitions of a transaction: a catalog that only it sees, and at COMMIT the same statements once more over the
//! newest catalog.
//!
//! Relations that a transaction makes have provisional numbers, which no committed relation has. COMMIT plans every
//! statement again, in order, as a start does, and only then are numbers, graphs and joins given out; what the
//! outside world said about a source was asked at the statement and stays. Where another session has changed the
//! catalog so that a statement means something else now, the transaction fails with 40001.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_planner::catalog::RelationKind;
use millstream_planner::error::{PlanError, TextPosition};
use millstream_planner::statement::{Statement, StatementText};
use millstream_runtime::plan::RelationId;
use millstream_runtime::source::Split;

use super::Engine;
use super::access::check::authorize;
use super::catalog::DurableCatalog;
use super::ddl::{DdlRequest, Outside, Planning};
use super::limits::DEFINITIONS;
use super::record::{Ddl, Detail, Placement};
use super::state::State;
use crate::session::SqlError;
use crate::session::sqlstate::Condition;

/// The first number of a relation that is not committed: above every committed one, below the system's.
const PROVISIONAL: u32 = 0x4000_0000;

/// Whether a relation was made by the transaction that asks.
pub fn is_provisional(relation: RelationId) -> bool {
    (PROVISIONAL..0x8000_0000).contains(&relation.0)
}

/// The definitions of a transaction. Cheap to clone, so that a savepoint is a copy.
#[derive(Clone, Default)]
pub struct Definitions {
    /// The catalog that it began with, and as it is with its own definitions.
    states: Option<(Arc<State>, Arc<State>)>,
    defined: Vec<Arc<Defined>>,
}

/// A statement that was planned over the transaction's catalog.
struct Defined {
    request: DdlRequest,
    records: Vec<Arc<Ddl>>,
}

/// What a transaction's definitions are over the newest catalog.
pub(super) struct Replanned {
    /// That catalog with all of them.
    pub catalog: DurableCatalog,
    /// What the log gets.
    pub records: Vec<Arc<Ddl>>,
    /// Numbers of relations: provisional ones, and what they are now.
    pub numbers: BTreeMap<RelationId, RelationId>,
    /// The materialized views that are to be full before the answer.
    pub views: Vec<RelationId>,
}

impl Definitions {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.defined.is_empty()
    }

    /// The catalog as the transaction sees it, once it has defined something.
    pub fn state(&self) -> Option<&Arc<State>> {
        self.states.as_ref().map(|(_, own)| own)
    }

    /// The catalog that the next definition is planned over.
    pub fn next_state(&self, newest: &Arc<State>) -> State {
        match &self.states {
            Some((_, own)) => State::clone(own),
            None => {
                let mut state = State::clone(newest);
                state.catalog.reserve(PROVISIONAL, state.catalog.next_oid());
                state
            }
        }
    }

    /// Takes up a statement that was planned over [`Self::next_state`].
    pub fn add(&mut self, newest: Arc<State>, request: DdlRequest, planned: Planned) -> Result<(), SqlError> {
        if planned.records.is_empty() {
            return Ok(());
        }
        if self.defined.len() == DEFINITIONS {
            let message = format!("a transaction can't define more than {DEFINITIONS} objects");
            return Err(SqlError::new(Condition::ProgramLimitExceeded, message)
                .with_hint("Split the script into several transactions."));
        }
        let base = self.states.take().map_or(newest, |(base, _)| base);
        self.states = Some((base, Arc::new(planned.state)));
        self.defined.push(Arc::new(Defined { request, records: planned.records }));
        Ok(())
    }
}

/// What planning a statement gave, without the statement.
pub struct Planned {
    state: State,
    records: Vec<Arc<Ddl>>,
}

impl From<Planning<'_>> for Planned {
    fn from(planning: Planning<'_>) -> Self {
        Self { state: planning.state, records: planning.records }
    }
}

impl Engine {
    /// Plans the definitions of a transaction over the newest catalog. `with_rows` are the tables, by their
    /// provisional numbers, that the same commit brings rows for.
    pub(super) async fn plan_again(
        &self,
        newest: &Arc<State>,
        definitions: &Definitions,
        with_rows: impl Fn(RelationId) -> bool,
    ) -> Result<Replanned, SqlError> {
        let Some((base, own)) = &definitions.states else {
            return Err(millstream_runtime::Error::internal("a transaction defines nothing").into());
        };
        let unchanged = Arc::ptr_eq(&base.catalog.view, &newest.catalog.view);
        let changed = |error: SqlError| if unchanged { error } else { catalog_changed(&error.message) };
        let (mut state, mut planned) = (State::clone(newest), Vec::new());
        let (mut numbers, mut views) = (BTreeMap::new(), Vec::new());
        for defined in &definitions.defined {
            let statement =
                Arc::new(planned_statement(&defined.request, &state).map_err(|error| changed(error.into()))?);
            // Who ran it may have lost the right meanwhile.
            authorize(&state.catalog.view, defined.request.actor.current, &statement)?;
            let request = DdlRequest { statement: Statement::clone(&statement), ..defined.request.clone() };
            let outside = Outside::Known(splits(&defined.records));
            let planning = self.plan_definition(&state, &request, outside).await.map_err(changed)?;
            for (old, new) in made(&defined.records).zip(made(&planning.records)) {
                numbers.insert(old, new);
                let is_view = matches!(request.statement, Statement::CreateMaterializedView(_));
                if is_view && request.waits {
                    views.push(new);
                }
            }
            check_same(&defined.records, &planning.records, &numbers)?;
            state = planning.state;
            planned.extend(planning.records.into_iter().map(|ddl| (ddl, Arc::clone(&statement))));
        }
        for (old, new) in &numbers {
            check_reads(own, &state, *old, *new, &numbers)?;
        }
        let rows_follow: Vec<RelationId> =
            numbers.iter().filter(|(old, _)| with_rows(**old)).map(|(_, new)| *new).collect();
        let (catalog, records) = settled(&newest.catalog, &state.catalog, planned, &rows_follow)?;
        views.retain(|view| catalog.view.get(*view).is_some());
        Ok(Replanned { catalog, records, numbers, views })
    }
}

fn planned_statement(request: &DdlRequest, state: &State) -> Result<Statement, PlanError> {
    let text = StatementText { sql: request.sql.clone(), start: TextPosition(1) };
    millstream_planner::plan::plan(&text, &state.catalog.view, &request.settings, &[])
}

fn made(records: &[Arc<Ddl>]) -> impl Iterator<Item = RelationId> {
    records.iter().filter_map(|ddl| ddl.relation).map(|made| made.id)
}

/// What the outside world said when the statement was run.
fn splits(records: &[Arc<Ddl>]) -> Vec<Split> {
    let placed = records.iter().find_map(|ddl| match &ddl.detail {
        Detail::CreateRelation(placement) => Some(placement.splits.clone()),
        _ => None,
    });
    placed.unwrap_or_default()
}

/// Existing relations that a statement drops or renames must be those that it meant.
fn check_same(
    before: &[Arc<Ddl>],
    now: &[Arc<Ddl>],
    numbers: &BTreeMap<RelationId, RelationId>,
) -> Result<(), SqlError> {
    let targets = |records: &[Arc<Ddl>]| -> Vec<RelationId> {
        let of = |ddl: &Arc<Ddl>| match &ddl.detail {
            Detail::Drop { relations } | Detail::DropSchemas { relations, .. } => relations.clone(),
            Detail::Rename { relation, .. } | Detail::SetSchema { relation, .. } => vec![*relation],
            Detail::Swap { relations, .. } => relations.to_vec(),
            _ => Vec::new(),
        };
        records.iter().flat_map(of).collect()
    };
    let now = targets(now);
    for target in targets(before) {
        if !now.contains(numbers.get(&target).unwrap_or(&target)) {
            return Err(catalog_changed("a name stands for another relation now"));
        }
    }
    Ok(())
}

/// A new relation must read what it read when it was made.
fn check_reads(
    own: &State,
    now: &State,
    old: RelationId,
    new: RelationId,
    numbers: &BTreeMap<RelationId, RelationId>,
) -> Result<(), SqlError> {
    // One that the transaction has dropped again reads nothing.
    let (Some(before), Some(after)) = (own.catalog.view.get(old), now.catalog.view.get(new)) else { return Ok(()) };
    let before = before.depends_on.iter().map(|id| numbers.get(id).unwrap_or(id));
    if before.eq(after.depends_on.iter()) {
        return Ok(());
    }
    Err(catalog_changed("a name in a query stands for another relation now"))
}

fn catalog_changed(what: &str) -> SqlError {
    SqlError::new(
        Condition::SerializationFailure,
        "could not serialize access: another session has changed the catalog",
    )
    .with_detail(format!("Meanwhile: {what}."))
    .with_hint("Nothing was done. Run the transaction again.")
}

/// The records with the graphs that their relations end up in: what one transaction makes is never joined
/// afterwards, only graphs that run already are.
fn settled(
    newest: &DurableCatalog,
    last: &DurableCatalog,
    planned: Vec<(Arc<Ddl>, Arc<Statement>)>,
    rows_follow: &[RelationId],
) -> Result<(DurableCatalog, Vec<Arc<Ddl>>), SqlError> {
    let (mut catalog, mut records) = (newest.clone(), Vec::with_capacity(planned.len()));
    for (ddl, statement) in planned {
        let mut ddl = Ddl::clone(&ddl);
        if let (Detail::CreateRelation(placement), Some(made)) = (&ddl.detail, ddl.relation) {
            let keeps_rows = last.view.get(made.id).is_some_and(|relation| {
                matches!(relation.kind, RelationKind::Table(_)) && rows_follow.contains(&made.id)
            });
            let runs = |id: &&millstream_runtime::graph::GraphId| !newest.members(**id).is_empty();
            ddl.detail = Detail::CreateRelation(Placement {
                graph: last.graph_of(made.id).or(placement.graph),
                joins: placement.joins.iter().filter(runs).copied().collect(),
                rows_follow: keeps_rows,
                ..placement.clone()
            });
        }
        let ddl = Arc::new(ddl);
        catalog = catalog.applied(&ddl, Some(&statement))?;
        records.push(ddl);
    }
    Ok((catalog, records))
}
