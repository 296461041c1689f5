//! SUBSCRIBE: the rows of a relation, or those beside it that did not get through, at one epoch, then what every later epoch changes, for as long as the client
//! stays.
//!
//! A subscription sees what a SELECT sees: the snapshot is that of the epoch pinned for it, in a transaction that of
//! the transaction's first read, and an epoch is given whole before the next one begins. It holds a place in the
//! graph's history and no rows ([`Follower`]), so that a client that does not read costs what is kept for all, and
//! is ended by name when its place is gone. It goes on over restarts of the graph, over graphs that join and over
//! renames; when a relation that it reads is dropped or the right to read one is taken away it ends.
//!
//! A query is followed as a view of its own ([`TemporaryView`]), which goes with the subscription. It stops no DROP:
//! as a dependent it would let whoever may read a relation keep its owner from dropping it, and hold up the promotion
//! of a view for as long as somebody looks on.

mod rows;
mod whole;

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use futures::FutureExt;
use millstream_planner::access::RoleOid;
use millstream_planner::catalog::Catalog;
use millstream_planner::statement::{Read, Statement};
use millstream_planner::subscribe::{Subscribe, Target, Temporary};
use millstream_runtime::Error;
use millstream_runtime::graph::{Followed, Follower, Graph, GraphState, Published, Series, ViewState};
use millstream_runtime::plan::RelationId;
use millstream_runtime::time::Epoch;
use tokio::sync::watch;

use self::rows::Shape;
use self::whole::Whole;
use super::sqlstate::Condition;
use super::{CommandTag, Outcome, RowStream, Session, SqlError};
use crate::engine::Engine;
use crate::engine::access::check::authorize;
use crate::engine::definitions::is_provisional;
use crate::engine::read::{Pinned, graph_failed};
use crate::engine::state::State;
use crate::engine::stop::Stop;
use crate::engine::temporary::TemporaryView;

/// One that runs.
struct Subscription {
    engine: Arc<Engine>,
    /// Asked again whenever the catalog has changed.
    statement: Statement,
    role: RoleOid,
    followed: Followee,
    /// What messages call it now.
    what: String,
    shape: Arc<Shape>,
    follower: Follower,
    place: Place,
    states: watch::Receiver<Arc<State>>,
    /// A difference that was computed in whole and is not all given yet.
    whole: Option<Whole>,
}

/// What is followed.
enum Followee {
    /// What a graph keeps of a relation.
    Relation(Read),
    /// A query, by the view that was made for it.
    Query(TemporaryView),
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
    pub(super) async fn subscribe(
        &mut self,
        subscribe: &Subscribe,
        parameters: Vec<ScalarValue>,
        stop: Stop,
    ) -> Result<Outcome, SqlError> {
        let subscribe = subscribe.with_values(parameters)?;
        let subscription = stop.race(self.subscription(&subscribe)).await?;
        let rows = subscription.rows(stop);
        Ok(Outcome { rows: Some(rows), ..Outcome::tagged(CommandTag::Counted("SUBSCRIBE ")) })
    }

    async fn subscription(&mut self, subscribe: &Subscribe) -> Result<Subscription, SqlError> {
        if subscribe.uses.iter().any(|one| is_provisional(one.relation)) {
            let message = "cannot subscribe to what the same transaction creates";
            return Err(
                SqlError::new(Condition::FeatureNotSupported, message).with_hint("COMMIT first: it runs from then on.")
            );
        }
        if self.transaction.gathered().is_some_and(|gathered| !gathered.is_empty()) {
            let message = "cannot subscribe in a transaction that has written";
            return Err(SqlError::new(Condition::ActiveSqlTransaction, message)
                .with_detail("Its changes have no epoch before COMMIT.")
                .with_hint("COMMIT first."));
        }
        let role = self.actor()?.current;
        let states = self.engine.states();
        let (followed, now) = match &subscribe.target {
            Target::Relation(read) => (Followee::Relation(*read), self.shown_to_follow(*read).await?),
            Target::Query(temporary) => self.begin_query(temporary, subscribe).await?,
            Target::Open(_) => return Err(Error::internal("a query is subscribed to without its parameters").into()),
        };
        let state = self.engine.state();
        let place = Place::of(&state, followed.beside())?;
        let what = followed.called(&state.catalog.view)?;
        let at = subscribe.as_of.unwrap_or(now);
        check_epoch(&place.graph, followed.series(), &what, at, now)?;
        let follower = match subscribe.snapshot {
            true => Follower::with_rows(followed.series(), at),
            false => Follower::after(followed.series(), at),
        };
        followed.needs(&follower);
        Ok(Subscription {
            engine: Arc::clone(&self.engine),
            statement: Statement::Subscribe(Box::new(subscribe.clone())),
            role,
            followed,
            what,
            shape: Arc::new(Shape::of(subscribe)?),
            follower,
            place,
            states,
            whole: None,
        })
    }
}

impl Session {
    /// The epoch at which a relation is followed from.
    async fn shown_to_follow(&mut self, read: Read) -> Result<Epoch, SqlError> {
        // What stands beside a view is there when the view is.
        if let Some(graph) = self.engine.state().graph_of(read.relation)
            && let Some(ViewState::Filling(_) | ViewState::Failed { .. }) = graph.view_state(read.relation)
        {
            let running = graph.wait_running(read.relation).await;
            running.map_err(|error| graph_failed(&self.engine.state(), graph.id(), graph, error))?;
        }
        let pinned = self.pinned_to_follow(&[read]).await?;
        let state = self.engine.state();
        let graph = state.catalog.graph_of(read.relation).and_then(|graph| pinned.graphs.get(&graph));
        let named = || called(&state.catalog.view, read).unwrap_or_else(|_| "relation".to_string());
        graph.map(|published| published.epoch).ok_or_else(|| dropped(&named()))
    }

    /// Makes the view of a query. It begins when it is full, in a transaction, too: what the transaction has read
    /// before is of an earlier epoch, at which there was no such view.
    async fn begin_query(
        &mut self,
        temporary: &Temporary,
        subscribe: &Subscribe,
    ) -> Result<(Followee, Epoch), SqlError> {
        let state = self.engine.state();
        let graphs = self.engine.graphs_read(&state, &subscribe.reads);
        let pinned = self.engine.pin(&state, &subscribe.reads, &graphs, self.seen).await?;
        if let (Some(at), Some(now)) = (subscribe.as_of, pinned.graphs.values().map(|graph| graph.epoch).max())
            && at < now
        {
            return Err(SqlError::new(
                Condition::ObjectNotInPrerequisiteState,
                format!("epoch {at} of the query is not kept"),
            )
            .with_detail("A query is followed from when it is subscribed to: nobody has computed it before.")
            .with_hint("Leave AS OF out; or CREATE MATERIALIZED VIEW for the query, and subscribe to that."));
        }
        let (view, graph) = self.engine.temporary_view(temporary, &self.views).await?;
        let shown = graph.published();
        self.seen = self.seen.max(pinned.log_position()).max(shown.log_position);
        Ok((Followee::Query(view), shown.epoch))
    }

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
            if let Some(whole) = &mut self.whole {
                if let Some(batch) = whole.next().await? {
                    return Ok(batch);
                }
                let epoch = whole.epoch();
                self.whole = None;
                self.follower.gave(epoch);
                if self.shape.progress {
                    return self.shape.progressed(epoch);
                }
            }
            let followed = self.follower.next(&self.place.graph)?;
            self.followed.needs(&self.follower);
            match followed {
                Followed::Whole(difference) => {
                    let memory = self.engine.query_memory("difference of a subscription");
                    self.whole = Some(Whole::of(difference, &self.shape, memory)?);
                }
                Followed::Changes(epoch, change) => return self.shape.changes(epoch, &change),
                Followed::Complete(epoch) if self.shape.progress => return self.shape.progressed(epoch),
                Followed::Complete(_) => {}
                // Dropped, perhaps, or at home in another graph by now.
                Followed::Lost if self.look_around()? => {}
                Followed::Lost => {
                    self.refuse_failed()?;
                    return Err(self
                        .ended(self.place.graph.view_ended(self.followed.series().relation).now_or_never().flatten()));
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
        let graph = state.graph_of(self.followed.beside()).map(Graph::id);
        if Arc::ptr_eq(&state.catalog.view, &self.place.catalog) && graph == Some(self.place.graph.id()) {
            return Ok(false);
        }
        let catalog = &state.catalog.view;
        let Statement::Subscribe(subscribe) = &self.statement else { return Ok(false) };
        let used = subscribe.uses.iter().flat_map(|one| one.through.into_iter().chain([one.relation]));
        if let Some(gone) = used.into_iter().find(|relation| catalog.get(*relation).is_none()) {
            return Err(dropped(&called(&self.place.catalog, Read { relation: gone, auxiliary: None })?));
        }
        authorize(catalog, self.role, &self.statement)?;
        self.what = self.followed.called(catalog)?;
        self.place = Place::of(&state, self.followed.beside())?;
        Ok(true)
    }

    /// Waits until something may have happened.
    async fn wait(&mut self) -> Result<(), SqlError> {
        self.refuse_failed()?;
        let Place { published, health, graph, .. } = &mut self.place;
        let view_ended = async {
            match &self.followed {
                Followee::Query(view) => graph.view_ended(view.id()).await,
                Followee::Relation(_) => std::future::pending().await,
            }
        };
        // A graph that has joined another one shows nothing any more: the catalog says where it is.
        let ended = tokio::select! {
            _ = published.changed() => return Ok(()),
            _ = health.changed() => return Ok(()),
            _ = self.states.changed() => return Ok(()),
            ended = view_ended => ended,
        };
        match self.look_around()? {
            true => Ok(()),
            false => Err(self.ended(ended)),
        }
    }

    /// Why there is nothing more to come.
    fn ended(&self, reason: Option<Error>) -> SqlError {
        reason.map_or_else(|| self.lost(), |reason| reason.context("the query that is subscribed to").into())
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
        let message = format!("can no longer get changes of {} after {at}", self.what);
        too_old(message, &self.place.graph, self.followed.series())
    }
}

impl Followee {
    /// What its graph keeps of it.
    fn series(&self) -> Series {
        match self {
            Self::Relation(read) => read.series(),
            Self::Query(view) => view.id().into(),
        }
    }

    /// A relation of the catalog that runs in the same graph.
    fn beside(&self) -> RelationId {
        match self {
            Self::Relation(read) => read.relation,
            Self::Query(view) => view.beside(),
        }
    }

    /// What messages call it.
    fn called(&self, catalog: &Catalog) -> Result<String, SqlError> {
        match self {
            Self::Relation(read) => called(catalog, *read),
            Self::Query(_) => Ok("the query".to_string()),
        }
    }

    /// A view whose reader has fallen behind for good goes before the reader asks again.
    fn needs(&self, follower: &Follower) {
        if let Self::Query(view) = self
            && let Some(lease) = view.lease()
        {
            lease.needs(follower.needs());
        }
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

/// A relation's name, quoted.
fn called(catalog: &Catalog, read: Read) -> Result<String, SqlError> {
    let named = catalog.resolve_read(read).map(|found| format!("\"{}\"", found.name().name));
    named.ok_or_else(|| Error::internal("a relation that is followed is not in the catalog").into())
}

fn dropped(called: &str) -> SqlError {
    SqlError::new(Condition::UndefinedTable, format!("relation {called} was dropped while it was subscribed to"))
}

/// Refuses epochs from which nothing can be followed.
fn check_epoch(graph: &Graph, series: Series, what: &str, at: Epoch, now: Epoch) -> Result<(), SqlError> {
    if at > now {
        let message = format!("epoch {at} of {what} has not been reached");
        return Err(
            SqlError::new(Condition::InvalidParameterValue, message).with_detail(format!("The newest epoch is {now}."))
        );
    }
    match graph.followed_epochs(series) {
        Some((oldest, _)) if oldest <= at => Ok(()),
        _ => Err(too_old(format!("epoch {at} of {what} is not kept any more"), graph, series)),
    }
}

fn too_old(message: String, graph: &Graph, series: Series) -> SqlError {
    let kept = match graph.followed_epochs(series) {
        Some((oldest, newest)) => format!("Epochs {oldest} to {newest} are kept."),
        None => "No epoch is kept.".to_string(),
    };
    SqlError::new(Condition::ObjectNotInPrerequisiteState, message).with_detail(kept).with_hint(
        "SUBSCRIBE with its snapshot and without AS OF. Superseded rows are kept until there are 64 MiB of them, \
         and not over a restart of the server.",
    )
}
