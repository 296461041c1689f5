//! What CREATE, ALTER and DROP of secrets do to the catalog, and what becomes of secrets in other statements' texts.

use millstream_planner::secret::SecretChange;
use millstream_runtime::plan::RelationId;

use super::keys::{HOW_TO_GIVE, Place, Sealed, SecretKeys};
use super::mask;
use crate::engine::ddl::{DdlRequest, Planning};
use crate::engine::record::Detail;
use crate::session::sqlstate::Condition;
use crate::session::{Notice, SqlError};

impl Planning<'_> {
    /// Plans what happens to secrets.
    pub(in crate::engine) fn secret(&mut self, change: &SecretChange, keys: &SecretKeys) -> Result<(), SqlError> {
        match change {
            SecretChange::Create { name, value } => {
                need_key(keys)?;
                let (oid, owner) = (self.catalog().next_oid(), self.request.actor.current);
                let value = keys.seal(Place::Secret(oid), value.expose())?;
                let (schema, name) = (name.schema.clone(), name.name.clone());
                self.add(None, Detail::CreateSecret { oid, schema, name, owner, value })
            }
            SecretChange::Alter { oid, value } => {
                need_key(keys)?;
                let value = keys.seal(Place::Secret(*oid), value.expose())?;
                self.add(None, Detail::AlterSecret { oid: *oid, value })
            }
            SecretChange::Nothing { notice, .. } => {
                self.skip(Condition::Success, notice);
                Ok(())
            }
            SecretChange::Drop { oids, relations, notices } => {
                self.notices.extend(notices.iter().map(Notice::plain));
                if !relations.is_empty() {
                    self.add(None, Detail::Drop { relations: relations.clone() })?;
                }
                match oids.is_empty() {
                    true => Ok(()),
                    false => self.add(None, Detail::DropSecrets { oids: oids.clone() }),
                }
            }
        }
    }

    /// The text of a statement that makes a relation, encrypted where a secret stands in it. Without a key it goes into
    /// the log as it is, and the client is told so.
    pub(in crate::engine) fn sealed_text(
        &mut self,
        relation: RelationId,
        keys: &SecretKeys,
    ) -> Result<Option<Sealed>, SqlError> {
        if !has_secret(self.request) {
            return Ok(None);
        }
        if keys.is_empty() {
            let message = "the statement is kept in the storage with its secret readable";
            let mut warning = Notice::warning(Condition::Warning, message.to_string());
            warning.hint = Some(format!("{HOW_TO_GIVE}, and name the value by CREATE SECRET."));
            self.notices.push(warning);
            return Ok(None);
        }
        Ok(Some(keys.seal(Place::Statement(relation), &self.request.sql)?))
    }
}

fn has_secret(request: &DdlRequest) -> bool {
    mask(&request.sql) != request.sql
}

fn need_key(keys: &SecretKeys) -> Result<(), SqlError> {
    if !keys.is_empty() {
        return Ok(());
    }
    let message = "this server has no key to keep secrets with";
    Err(SqlError::new(Condition::ObjectNotInPrerequisiteState, message).with_hint(format!("{HOW_TO_GIVE}.")))
}
