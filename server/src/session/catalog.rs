//! Queries about the catalog: what they see, and how they are run beside the statements of the engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use futures::{StreamExt, TryStreamExt};
use millstream_planner::error::TextPosition;
use millstream_planner::statement::{CommentTarget, Statement, StatementText};
use millstream_runtime::plan::RelationId;

use super::prepare::Work;
use super::sqlstate::Condition;
use super::{CommandTag, Outcome, Session, SqlError};
use crate::engine::state::State;
use crate::engine::stop::Stop;
use crate::pg_catalog::objects::{DATABASE_OID, primary_key, primary_key_index};
use crate::pg_catalog::{
    CatalogQuery, CatalogView, CommentClass, CommentRow, Effect, MemberRow, RelationSize, RoleRow, Sizes,
};

/// Bytes of users' rows that a query about the catalog may read beside it: they are held at once.
const USER_BYTES: usize = 256 << 20;

/// Tells a run that nobody waits for it any longer.
struct GiveUp(Arc<AtomicBool>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Session {
    /// Runs a query about the catalog, away from the threads that serve clients.
    pub(super) async fn catalog_query(
        &mut self,
        query: &CatalogQuery,
        parameters: Vec<ScalarValue>,
        stop: Stop,
    ) -> Result<Outcome, SqlError> {
        let mut user_rows = Vec::new();
        if query.may_read_users() {
            for (schema, name) in query.reads(self.catalog_view())? {
                user_rows.push(stop.race(self.user_rows(&schema, &name)).await?);
            }
        }
        let (view, query) = (self.catalog_view(), query.clone());
        let given_up = Arc::new(AtomicBool::new(false));
        let guard = GiveUp(Arc::clone(&given_up));
        let running = tokio::task::spawn_blocking(move || query.run(view, &parameters, &user_rows, given_up));
        let answer = stop
            .race(async {
                running
                    .await
                    .unwrap_or_else(|error| {
                        let message = format!("a query about the catalog ended by a bug: {error}");
                        Err(millstream_planner::error::PlanError::internal(message))
                    })
                    .map_err(SqlError::from)
            })
            .await?;
        drop(guard);
        let mut outcome = Outcome::tagged(CommandTag::Counted("SELECT "));
        for effect in answer.effects {
            let Effect::Set { name, value, local } = effect;
            let name = name.to_lowercase();
            self.authorize_setting(&name)?;
            let set = self.set(&name, value.as_deref(), local)?;
            outcome.notices.extend(set.notices);
            outcome.changed_parameters.extend(set.changed_parameters);
        }
        outcome.rows = Some(futures::stream::iter([Ok(answer.rows)]).boxed());
        Ok(outcome)
    }

    /// All rows of a relation of the user.
    async fn user_rows(&mut self, schema: &str, name: &str) -> Result<Vec<RecordBatch>, SqlError> {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let sql = format!("SELECT * FROM {}.{}", quoted(schema), quoted(name));
        let planned = self.plan_now(&StatementText { sql, start: TextPosition(1) }, &[])?;
        let Work::Statement(statement @ Statement::Query(query)) = &planned.inner.work else { return Ok(Vec::new()) };
        self.authorize(statement)?;
        let mut rows = self.batch_plan(query, Vec::new()).await?.stream()?;
        let (mut batches, mut bytes) = (Vec::new(), 0);
        while let Some(batch) = rows.try_next().await? {
            bytes += batch.get_array_memory_size();
            if bytes > USER_BYTES {
                let message =
                    format!("a query about the catalog can read at most {} MiB of rows beside it", USER_BYTES >> 20);
                let hint = format!("Query \"{schema}\".\"{name}\" without functions and relations of the catalog.");
                return Err(SqlError::new(Condition::ProgramLimitExceeded, message).with_hint(hint));
            }
            batches.push(batch);
        }
        Ok(batches)
    }

    /// What a query about the catalog sees.
    pub(super) fn catalog_view(&self) -> CatalogView {
        let state = self.state();
        let facts = self.facts();
        let (user, session_user) = (facts.user.clone(), facts.session_user.clone());
        CatalogView {
            catalog: Arc::clone(&state.catalog.view),
            user,
            session_user,
            database: self.database.clone(),
            search_path: self.plan_settings().search_path,
            settings: self.settings.all(),
            style: self.settings.text_style(),
            process_id: self.place.as_ref().map_or(0, |place| place.seat.process_id()),
            version: facts.version,
            roles: RoleRow::all(state.catalog.view.roles()),
            members: MemberRow::all(state.catalog.view.roles()),
            comments: comments(&state),
            ends: self.place.as_ref().map(|place| place.seat.ends()).unwrap_or_default(),
            sessions: self.place.as_ref().map(|place| place.sessions.rows()).unwrap_or_default(),
            registry: self.place.as_ref().map(|place| Arc::clone(&place.sessions)),
            now_micros: facts.now_micros,
            started_micros: match &self.place {
                Some(place) => place.sessions.started_micros(),
                None => facts.now_micros,
            },
            transaction: i64::try_from(self.seen.0).unwrap_or(i64::MAX),
            sizes: sizes(&state),
            prepared: self.place.iter().flat_map(|place| place.seat.prepared()).chain(self.listed.clone()).collect(),
            locks: self.locks.rows(),
            cursors: self.cursor_rows(),
        }
    }
}

/// Measures the newest versions of relations.
fn sizes(state: &Arc<State>) -> Sizes {
    let state = Arc::clone(state);
    Sizes::new(move |oid| {
        let relation = state.catalog.view.relations().find(|relation| relation.oid == oid)?;
        let published = state.graph_of(relation.id)?.published();
        let version = published.relations.get(&relation.id)?;
        let bytes = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        let orders = version.order_bytes().into_iter().map(|(columns, held)| (columns, bytes(held))).collect();
        Some(RelationSize { rows: bytes(version.row_bytes()), orders })
    })
}

/// What was said of objects, by the numbers that clients know them by.
fn comments(state: &State) -> Vec<CommentRow> {
    let catalog = &state.catalog;
    let oid = |id: &RelationId| catalog.view.get(*id).map(|relation| relation.oid);
    let row = |(target, text): (&CommentTarget, &str)| {
        let (class, oid, column) = match target {
            CommentTarget::Schema { name } => (CommentClass::Schema, *catalog.view.schemas().get(name)?, 0),
            CommentTarget::Relation { relation } => (CommentClass::Relation, oid(relation)?, 0),
            CommentTarget::Column { relation, column } => {
                (CommentClass::Relation, oid(relation)?, i64::try_from(*column).ok()? + 1)
            }
            CommentTarget::PrimaryKey { relation } => (CommentClass::Relation, primary_key_index(oid(relation)?), 0),
            CommentTarget::Constraint { relation } => (CommentClass::Constraint, primary_key(oid(relation)?), 0),
            CommentTarget::Index { oid, .. } => (CommentClass::Relation, *oid, 0),
            CommentTarget::Secret { oid } => (CommentClass::Secret, *oid, 0),
            CommentTarget::Role { role } => (CommentClass::Role, role.0, 0),
            CommentTarget::Database => (CommentClass::Database, DATABASE_OID, 0),
        };
        Some(CommentRow { class, oid, column, text: text.to_owned() })
    };
    catalog.comments().filter_map(row).collect()
}
