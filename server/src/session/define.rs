//! DDL from a session: alone, planned and run under the one lock for definitions; in a block, kept for its COMMIT.

use std::sync::Arc;

use millstream_planner::statement::{IndexChange, ObjectKind, Statement};
use millstream_runtime::Error;

use super::{CommandTag, Notice, Outcome, Prepared, Session, SqlError};
use crate::engine::ddl::{DdlRequest, Outside};
use crate::engine::definitions::Planned;
use crate::engine::stop::Stop;

impl Session {
    pub(super) async fn define(&mut self, prepared: &Prepared, stop: Stop) -> Result<Outcome, SqlError> {
        let tag = define_tag(prepared.inner.statement());
        self.transaction.check_write(&tag, &self.settings)?;
        let notices = match self.transaction.is_open() {
            true => self.define_for_commit(prepared, &stop).await?,
            false => self.define_now(prepared, stop).await?,
        };
        Ok(Outcome { notices, ..Outcome::tagged(CommandTag::Fixed(tag)) })
    }

    /// Alone: planned, logged and made to run, in a task that nobody drops halfway.
    async fn define_now(&mut self, prepared: &Prepared, stop: Stop) -> Result<Vec<Notice>, SqlError> {
        let one_at_a_time = stop.race(async { Ok(self.engine.begin_ddl().await) }).await?;
        // What it was planned over may have changed while it waited.
        let prepared = self.current(prepared)?;
        self.authorize(prepared.inner.statement())?;
        let (engine, request) = (Arc::clone(&self.engine), self.request(&prepared)?);
        let running = tokio::spawn(async move { engine.run_ddl(request, one_at_a_time, &stop).await });
        running.await.map_err(|error| Error::internal(format!("a definition ended early: {error}")))?
    }

    /// In a transaction: planned over its own catalog, and kept until COMMIT.
    async fn define_for_commit(&mut self, prepared: &Prepared, stop: &Stop) -> Result<Vec<Notice>, SqlError> {
        self.authorize(prepared.inner.statement())?;
        let (newest, request) = (self.engine.state(), self.request(prepared)?);
        let gathered = self.transaction.gathered().expect("the block is open");
        let state = gathered.definitions.next_state(&newest);
        let mut planning = self.engine.plan_definition(&state, &request, Outside::Ask(stop)).await?;
        let notices = std::mem::take(&mut planning.notices);
        let planned = Planned::from(planning);
        gathered.definitions.add(newest, request, planned)?;
        Ok(notices)
    }

    fn request(&self, prepared: &Prepared) -> Result<DdlRequest, SqlError> {
        let interval = self.settings.checkpoint_interval();
        Ok(DdlRequest {
            sql: prepared.inner.text.sql.clone(),
            settings: self.plan_settings(),
            statement: prepared.inner.statement().clone(),
            actor: self.actor()?,
            database: self.database.clone(),
            checkpoint_interval_micros: interval
                .map(|interval| i64::try_from(interval.as_micros()).unwrap_or(i64::MAX)),
            waits: self.settings.create_waits(),
        })
    }
}

fn define_tag(statement: &Statement) -> String {
    let kind = |verb: &str, kind: ObjectKind| format!("{verb} {}", kind.sql());
    match statement {
        Statement::CreateSchema { .. } => kind("CREATE", ObjectKind::Schema),
        Statement::CreateTable(_) => kind("CREATE", ObjectKind::Table),
        Statement::CreateSource(_) => kind("CREATE", ObjectKind::Source),
        Statement::CreateView(_) => kind("CREATE", ObjectKind::View),
        Statement::CreateMaterializedView(_) => kind("CREATE", ObjectKind::MaterializedView),
        Statement::CreateSink(_) => kind("CREATE", ObjectKind::Sink),
        Statement::Drop(drop) => kind("DROP", drop.object),
        Statement::DropSchema { .. } => kind("DROP", ObjectKind::Schema),
        Statement::Comment { .. } => "COMMENT".to_string(),
        Statement::Rename { object, .. } => kind("ALTER", *object),
        Statement::RenameSchema { .. } => kind("ALTER", ObjectKind::Schema),
        Statement::Access(statement) => statement.tag(),
        Statement::Secret(change) => change.tag().to_string(),
        Statement::Index(change) => match change.as_ref() {
            IndexChange::Create { .. } => "CREATE INDEX".to_string(),
            IndexChange::Exists { .. } => "CREATE INDEX".to_string(),
            IndexChange::Drop { .. } => "DROP INDEX".to_string(),
            IndexChange::Rename { .. } => "ALTER INDEX".to_string(),
        },
        _ => "DEFINITION".to_string(),
    }
}
