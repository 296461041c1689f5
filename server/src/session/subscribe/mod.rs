//! SUBSCRIBE: the rows of a relation at one epoch, then what every later epoch changes, for as long as the client
//! stays.
//!
//! A subscription sees what a SELECT sees: the snapshot is that of the epoch pinned for it, in a transaction that of
//! the transaction's first read, and an epoch is given whole before the next one begins. It holds a place in the
//! graph's history and no rows ([`Follower`]), so that a client that does not read costs what is kept for all, and
//! is ended by name when its place is gone. It goes on over restarts of the graph, over graphs that join and over
//! renames; when the relation is dropped or the right to read it is taken away it ends.

mod rows;

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::memory_pool::MemoryReservation;
use millstream_planner::access::RoleOid;
use millstream_planner::catalog::Catalog;
use millstream_planner::statement::{Read, Statement, Use};
use millstream_planner::subscribe::{Envelope, Subscribe, Target};
use millstream_runtime::Error;
use millstream_runtime::graph::{Followed, Follower, Graph, GraphState, Published};
use millstream_runtime::plan::RelationId;
use millstream_runtime::time::Epoch;
use tokio::sync::watch;

use self::rows::Shape;
use super::sqlstate::Condition;
use super::{CommandTag, Outcome, RowStream, Session, SqlError};
use crate::engine::Engine;
use crate::engine::access::check::authorize;
use crate::engine::read::{Pinned, graph_failed};
use crate::engine::state::State;
use crate::engine::stop::Stop;

/// One that runs.
struct Subscription {
    engine: Arc<Engine>,
    /// Asked again whenever the catalog has changed.
    statement: Statement,
    role: RoleOid,
    relation: RelationId,
    /// As it is called now.
    name: String,
    shape: Shape,
    follower: Follower,
    place: Place,
    states: watch::Receiver<Arc<State>>,
    /// What a difference that is computed in whole takes.
    memory: MemoryReservation,
}

/// Where the relation runs, by a catalog.
struct Place {
    catalog: Arc<Catalog>,
    graph: Graph,
    published: watch::Receiver<Arc<Published>>,
    health: watch::Receiver<GraphState>,
}

impl Session {
    /// Starts a subscription.
    pub(super) async fn subscribe(&mut self, subscribe: &Subscribe, stop: Stop) -> Result<Outcome, SqlError> {
        let subscription = stop.race(self.subscription(subscribe)).await?;
        let rows = subscription.rows(stop);
        Ok(Outcome { rows: Some(rows), ..Outcome::tagged(CommandTag::Counted("SUBSCRIBE ")) })
    }

    async fn subscription(&mut self, subscribe: &Subscribe) -> Result<Subscription, SqlError> {
        self.refuse_unmade(&subscribe.reads)?;
        if self.transaction.gathered().is_some_and(|gathered| !gathered.is_empty()) {
            let message = "cannot subscribe in a transaction that has written";
            return Err(SqlError::new(Condition::ActiveSqlTransaction, message)
                .with_detail("Its changes have no epoch before COMMIT.")
                .with_hint("COMMIT first."));
        }
        let role = self.actor()?.current;
        let Target::Relation(relation) = subscribe.target else {
            let message = "SUBSCRIBE to a query is not supported";
            return Err(SqlError::new(Condition::FeatureNotSupported, message)
                .with_hint("CREATE MATERIALIZED VIEW for the query, and subscribe to that."));
        };
        let states = self.engine.states();
        let pinned = self.pinned_to_follow(&subscribe.reads).await?;
        let state = self.engine.state();
        let place = Place::of(&state, relation)?;
        let name = named(&state.catalog.view, relation)?;
        let graph = state.catalog.graph_of(relation).and_then(|graph| pinned.graphs.get(&graph));
        let now = graph.map(|published| published.epoch).ok_or_else(|| dropped(&name))?;
        let at = subscribe.as_of.unwrap_or(now);
        check_epoch(&place.graph, relation, &name, at, now)?;
        let follower = match subscribe.snapshot {
            true => Follower::with_rows(relation, at),
            false => Follower::after(relation, at),
        };
        let follower = match subscribe.envelope {
            Envelope::Weights => follower,
            Envelope::Upsert { .. } | Envelope::Debezium { .. } => follower.in_whole(),
        };
        Ok(Subscription {
            engine: Arc::clone(&self.engine),
            statement: Statement::Subscribe(Box::new(subscribe.clone())),
            role,
            relation,
            name,
            shape: Shape::of(subscribe)?,
            follower,
            place,
            states,
            memory: self.engine.query_memory("subscription"),
        })
    }
}

impl Session {
    /// What a subscription begins with. It does not pin the transaction: that would keep everything as it was for as
    /// long as somebody follows one relation.
    async fn pinned_to_follow(&mut self, reads: &[Read]) -> Result<Pinned, SqlError> {
        if self.transaction.pinned().is_some() {
            return self.pinned_for(reads).await;
        }
        let state = self.engine.state();
        let graphs = self.engine.graphs_read(&state, reads);
        let pinned = self.engine.pin(&state, reads, &graphs, self.seen).await?;
        self.seen = self.seen.max(pinned.log_position());
        Ok(pinned)
    }
}

impl Subscription {
    /// Its rows; they end with an error only.
    fn rows(self, stop: Stop) -> RowStream {
        Box::pin(futures::stream::unfold(Some((self, stop)), |following| async move {
            let (mut subscription, stop) = following?;
            match stop.race(subscription.next()).await {
                Ok(batch) => Some((Ok(batch), Some((subscription, stop)))),
                Err(error) => Some((Err(error), None)),
            }
        }))
    }

    /// The next rows, as soon as there are some.
    async fn next(&mut self) -> Result<RecordBatch, SqlError> {
        loop {
            self.look_around()?;
            let followed = {
                let memory = &self.memory;
                // The rows themselves, their encoded form, and the net of them.
                let admit = |bytes: usize| {
                    let full = |error: datafusion::error::DataFusionError| {
                        Error::exhausted(format!("a difference of {bytes} bytes can't be computed: {error}"))
                            .with_hint("SUBSCRIBE again, or start the server with a higher --query-memory-mib.")
                    };
                    memory.try_resize(bytes.saturating_mul(3)).map_err(full)
                };
                self.follower.next(&self.place.graph, admit)?
            };
            let held = self.follower.held_bytes();
            if held < self.memory.size() {
                self.memory.resize(held);
            }
            match followed {
                Followed::Changes(epoch, change) => return self.shape.changes(epoch, &change),
                Followed::Complete(epoch) if self.shape.progress => return self.shape.progressed(epoch),
                Followed::Complete(_) => {}
                Followed::Lost => {
                    // Dropped, perhaps, or at home in another graph by now.
                    if !self.look_around()? {
                        self.refuse_failed()?;
                        return Err(self.lost());
                    }
                }
                Followed::Nothing => self.wait().await?,
            }
            // A reader that is always behind lets others run, too.
            tokio::task::consume_budget().await;
        }
    }

    /// Looks at the catalog and the graphs again if they have changed; whether they have.
    fn look_around(&mut self) -> Result<bool, SqlError> {
        let state = self.engine.state();
        let graph = state.graph_of(self.relation).map(Graph::id);
        if Arc::ptr_eq(&state.catalog.view, &self.place.catalog) && graph == Some(self.place.graph.id()) {
            return Ok(false);
        }
        let catalog = &state.catalog.view;
        let Statement::Subscribe(subscribe) = &self.statement else { return Ok(false) };
        let named_there = |one: &Use| {
            catalog.get(one.relation).is_some() && one.through.is_none_or(|view| catalog.get(view).is_some())
        };
        if !subscribe.uses.iter().all(named_there) {
            return Err(dropped(&self.name));
        }
        authorize(catalog, self.role, &self.statement)?;
        self.name = named(catalog, self.relation)?;
        self.place = Place::of(&state, self.relation)?;
        Ok(true)
    }

    /// Waits until something may have happened.
    async fn wait(&mut self) -> Result<(), SqlError> {
        self.refuse_failed()?;
        let Place { published, health, .. } = &mut self.place;
        // A graph that has joined another one shows nothing any more: the catalog says where it is.
        tokio::select! {
            _ = published.changed() => {}
            _ = health.changed() => {}
            _ = self.states.changed() => {}
        }
        Ok(())
    }

    /// Ends with the reason of a job that stands as failed.
    fn refuse_failed(&self) -> Result<(), SqlError> {
        let graph = &self.place.graph;
        match graph.state() {
            GraphState::Failed { reason } => {
                Err(graph_failed(&self.engine.state(), graph.id(), graph, Error::unavailable(reason)))
            }
            GraphState::Running | GraphState::Waiting { .. } | GraphState::Restarting { .. } => Ok(()),
        }
    }

    fn lost(&self) -> SqlError {
        let at = self.follower.at().map_or_else(|| "its snapshot".to_string(), |epoch| format!("epoch {epoch}"));
        let message = format!("can no longer get changes of \"{}\" after {at}", self.name);
        too_old(message, &self.place.graph, self.relation)
    }
}

impl Place {
    fn of(state: &State, relation: RelationId) -> Result<Self, SqlError> {
        let missing = || Error::internal("a relation that is followed runs in no graph");
        let graph = state.graph_of(relation).cloned().ok_or_else(missing)?;
        let (mut published, mut health) = (graph.watch(), graph.watch_state());
        // What was before is looked at anyway.
        published.mark_unchanged();
        health.mark_unchanged();
        Ok(Self { catalog: Arc::clone(&state.catalog.view), graph, published, health })
    }
}

fn named(catalog: &Catalog, relation: RelationId) -> Result<String, SqlError> {
    let named = catalog.get(relation).map(|relation| relation.name.name.clone());
    named.ok_or_else(|| Error::internal("a relation that is followed is not in the catalog").into())
}

fn dropped(name: &str) -> SqlError {
    SqlError::new(Condition::UndefinedTable, format!("relation \"{name}\" was dropped while it was subscribed to"))
}

/// Refuses epochs from which nothing can be followed.
fn check_epoch(graph: &Graph, relation: RelationId, name: &str, at: Epoch, now: Epoch) -> Result<(), SqlError> {
    if at > now {
        let message = format!("epoch {at} of \"{name}\" has not been reached");
        return Err(
            SqlError::new(Condition::InvalidParameterValue, message).with_detail(format!("The newest epoch is {now}."))
        );
    }
    match graph.followed_epochs(relation) {
        Some((oldest, _)) if oldest <= at => Ok(()),
        _ => Err(too_old(format!("epoch {at} of \"{name}\" is not kept any more"), graph, relation)),
    }
}

fn too_old(message: String, graph: &Graph, relation: RelationId) -> SqlError {
    let kept = match graph.followed_epochs(relation) {
        Some((oldest, newest)) => format!("Epochs {oldest} to {newest} are kept."),
        None => "No epoch is kept.".to_string(),
    };
    SqlError::new(Condition::ObjectNotInPrerequisiteState, message).with_detail(kept).with_hint(
        "SUBSCRIBE with its snapshot and without AS OF. Superseded rows are kept until there are 64 MiB of them, \
         and not over a restart of the server.",
    )
}
