//! DDL from a session: planned and run under the one lock for definitions.

use std::sync::Arc;

use millstream_planner::statement::{ObjectKind, Statement};
use millstream_runtime::Error;

use super::{CommandTag, Outcome, Prepared, Session, SqlError};
use crate::engine::ddl::DdlRequest;
use crate::engine::stop::Stop;

impl Session {
    pub(super) async fn define(&mut self, prepared: &Prepared, stop: Stop) -> Result<Outcome, SqlError> {
        let tag = define_tag(prepared.inner.statement());
        self.transaction.check_write(&tag, &self.settings)?;
        self.transaction.refuse_block(&tag)?;
        let one_at_a_time = stop.race(async { Ok(self.engine.begin_ddl().await) }).await?;
        // What it was planned over may have changed while it waited.
        let prepared = self.current(prepared)?;
        self.authorize(prepared.inner.statement())?;
        let request = DdlRequest {
            sql: prepared.inner.text.sql.clone(),
            settings: self.plan_settings(),
            statement: prepared.inner.statement().clone(),
            actor: self.actor()?,
            database: self.database.clone(),
            checkpoint_interval_micros: self
                .settings
                .checkpoint_interval()
                .map(|interval| i64::try_from(interval.as_micros()).unwrap_or(i64::MAX)),
            waits: self.settings.create_waits(),
        };
        let engine = Arc::clone(&self.engine);
        let running = tokio::spawn(async move { engine.run_ddl(request, one_at_a_time, &stop).await });
        let notices =
            running.await.map_err(|error| Error::internal(format!("a definition ended early: {error}")))??;
        Ok(Outcome { notices, ..Outcome::tagged(CommandTag::Fixed(tag)) })
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
        Statement::Rename { object, .. } => kind("ALTER", *object),
        Statement::Access(statement) => statement.tag(),
        _ => "DEFINITION".to_string(),
    }
}
