//! The end of a transaction: COMMIT, ROLLBACK, savepoints, and the block that nobody wrote.

use millstream_runtime::graph::Clock;
use millstream_runtime::plan::RelationId;

use super::sqlstate::Condition;
use super::transaction::Ended;
use super::{CommandTag, Notice, Outcome, Session, SqlError};
use crate::engine::gathered::Gathered;
use crate::engine::stop::Stop;

impl Session {
    /// `BEGIN`, `START TRANSACTION`.
    pub(super) fn begin(&mut self, verb: &str, isolation: Option<&str>, read_only: Option<bool>) -> Outcome {
        let now = self.engine.clock().now().0;
        let read_only = read_only.unwrap_or_else(|| self.reads_by_default());
        let was_open = self.transaction.is_open();
        let notice = self.transaction.begin(read_only, now);
        if !was_open {
            self.settings.begin();
            let mode = if read_only { "on" } else { "off" };
            let set = self.settings.set("transaction_read_only", Some(mode), true);
            set.expect("the mode of a transaction takes on and off");
            // Shown, and nothing more: reads see one state at every level.
            let default = self.settings.get("default_transaction_isolation");
            if let Some(level) = isolation.or(default.as_deref()) {
                let set = self.settings.set("transaction_isolation", Some(level), true);
                set.expect("the level has been read as one");
            }
        }
        Outcome { notices: notice.into_iter().collect(), ..Outcome::fixed(verb) }
    }

    /// Opens the block that nobody wrote, for a statement behind which others follow.
    pub(super) fn begin_implicit(&mut self) {
        let (now, read_only) = (self.engine.clock().now().0, self.reads_by_default());
        self.transaction.begin_implicit(read_only, now);
        self.settings.begin();
    }

    fn reads_by_default(&self) -> bool {
        self.settings.get("default_transaction_read_only").as_deref() == Some("on")
    }

    /// `COMMIT`. Whatever it fails with, the transaction is over.
    pub(super) async fn commit(&mut self, chain: bool, stop: &Stop) -> Result<Outcome, SqlError> {
        let Some(ended) = self.ended(chain, "COMMIT AND CHAIN")? else { return Ok(no_transaction("COMMIT")) };
        if ended.failed {
            return Ok(self.rolled_back(&ended, chain));
        }
        let mut notices = Vec::new();
        if ended.implicit {
            notices.extend(no_transaction("COMMIT").notices);
        }
        let (implicit, read_only) = (ended.implicit, ended.read_only);
        match self.commit_gathered(ended.gathered, stop).await {
            Ok(told) => notices.extend(told),
            Err(error) => {
                self.settings.end(false);
                self.cursors.end_transaction(false);
                return Err(error);
            }
        }
        let changed_parameters = self.settings.end(true);
        self.cursors.end_transaction(true);
        if chain && !implicit {
            self.begin("BEGIN", None, Some(read_only));
        }
        Ok(Outcome { notices, changed_parameters, ..Outcome::fixed("COMMIT") })
    }

    /// `ROLLBACK`.
    pub(super) fn rollback(&mut self, chain: bool) -> Result<Outcome, SqlError> {
        let Some(ended) = self.ended(chain, "ROLLBACK AND CHAIN")? else { return Ok(no_transaction("ROLLBACK")) };
        let mut outcome = self.rolled_back(&ended, chain);
        if ended.implicit {
            outcome.notices.extend(no_transaction("ROLLBACK").notices);
        }
        Ok(outcome)
    }

    fn ended(&mut self, chain: bool, statement: &str) -> Result<Option<Ended>, SqlError> {
        if chain && (!self.transaction.is_open() || self.transaction.is_implicit()) {
            let message = format!("{statement} can only be used in transaction blocks");
            return Err(SqlError::new(Condition::NoActiveSqlTransaction, message));
        }
        Ok(self.transaction.end())
    }

    fn rolled_back(&mut self, ended: &Ended, chain: bool) -> Outcome {
        let changed_parameters = self.settings.end(false);
        self.cursors.end_transaction(false);
        if chain {
            self.begin("BEGIN", None, Some(ended.read_only));
        }
        Outcome { changed_parameters, ..Outcome::fixed("ROLLBACK") }
    }

    /// Ends the block that nobody wrote, if there is one: called at Sync, and at the end of a text.
    pub(super) async fn end_implicit(&mut self, stop: &Stop) -> Result<Vec<Notice>, SqlError> {
        if !self.transaction.is_implicit() {
            return Ok(Vec::new());
        }
        let Some(ended) = self.transaction.end() else { return Ok(Vec::new()) };
        if ended.failed {
            self.settings.end(false);
            self.cursors.end_transaction(false);
            return Ok(Vec::new());
        }
        let committed = self.commit_gathered(ended.gathered, stop).await;
        self.settings.end(committed.is_ok());
        self.cursors.end_transaction(committed.is_ok());
        committed
    }

    /// Makes what a transaction has gathered durable, then waits until every view shows it.
    async fn commit_gathered(&mut self, gathered: Gathered, stop: &Stop) -> Result<Vec<Notice>, SqlError> {
        self.hold_cursors(stop).await?;
        if gathered.is_empty() {
            return Ok(Vec::new());
        }
        let committed = self.engine.commit(gathered, stop).await?;
        let mut notices = Vec::new();
        for (name, error) in &committed.unstarted {
            let message = format!("\"{name}\" could not be started and was dropped again: {error}");
            notices.push(Notice::warning(Condition::Warning, message));
        }
        notices.extend(self.wait_until_all_full(&committed.views, stop).await);
        if let Some(position) = committed.position
            && self.settings.waits_for_visibility()
        {
            notices.extend(self.wait_until_visible(&committed.tables, position, stop).await);
            self.seen = self.seen.max(position);
        }
        let state = self.engine.state();
        let late = committed.late.into_iter();
        notices.extend(late.map(|(table, rows)| super::change::late_notice(&state, table, rows)));
        Ok(notices)
    }

    /// Waits until the views that were made are full. The transaction is committed: whatever goes wrong with one
    /// of them is told, and SHOW JOBS goes on telling it.
    async fn wait_until_all_full(&self, views: &[RelationId], stop: &Stop) -> Option<Notice> {
        for view in views {
            let Err(error) = self.engine.wait_until_full(*view, stop).await else { continue };
            let state = self.engine.state();
            let name = state.catalog.view.get(*view).map_or("a new view", |view| view.name.name.as_str());
            let message = format!("the transaction is committed, but \"{name}\" is not full: {}", error.message);
            let mut notice = Notice::warning(Condition::Warning, message);
            notice.hint = Some("SHOW JOBS tells how it does; DROP it where it has failed.".to_string());
            return Some(notice);
        }
        None
    }

    /// `SAVEPOINT`, `RELEASE` and `ROLLBACK TO` answer with their tag.
    pub(super) fn savepoint(&mut self, name: &str) -> Result<Outcome, SqlError> {
        self.transaction.check()?;
        self.transaction.savepoint(name, &self.settings, self.cursors.mark())?;
        Ok(Outcome::fixed("SAVEPOINT"))
    }

    /// `RELEASE SAVEPOINT`.
    pub(super) fn release(&mut self, savepoint: &str) -> Result<Outcome, SqlError> {
        self.transaction.check()?;
        self.transaction.release(savepoint)?;
        Ok(Outcome::fixed("RELEASE"))
    }

    /// `ROLLBACK TO SAVEPOINT`: the one statement beside the end that a failed block takes.
    pub(super) fn rollback_to(&mut self, savepoint: &str) -> Result<Outcome, SqlError> {
        let (settings, cursors) = self.transaction.back_to(savepoint)?;
        self.cursors.back_to(cursors);
        let changed_parameters = self.settings.put_back(settings);
        Ok(Outcome { changed_parameters, ..Outcome::tagged(CommandTag::Fixed("ROLLBACK".to_string())) })
    }
}

/// `SET CONSTRAINTS ALL`.
pub(super) fn set_constraints(is_block: bool) -> Outcome {
    let message = "SET CONSTRAINTS can only be used in transaction blocks";
    let warning = Notice::warning(Condition::NoActiveSqlTransaction, message);
    Outcome { notices: if is_block { Vec::new() } else { vec![warning] }, ..Outcome::fixed("SET CONSTRAINTS") }
}

fn no_transaction(tag: &str) -> Outcome {
    let message = "there is no transaction in progress";
    Outcome { notices: vec![Notice::warning(Condition::NoActiveSqlTransaction, message)], ..Outcome::fixed(tag) }
}
