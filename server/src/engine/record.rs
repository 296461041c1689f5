//! What the engine keeps of a DDL statement in the log, and of the catalog in a snapshot.
//!
//! A statement is planned again at every start, in its old place in the order, with its old settings; what
//! planning can't find again stands beside it here: numbers, resolved splits, the graph.

use millstream_planner::access::{BOOTSTRAP, RoleOid};
use millstream_planner::catalog::IndexColumn;
use millstream_planner::settings::PlanSettings;
use millstream_planner::statement::CommentTarget;
use millstream_runtime::graph::GraphId;
use millstream_runtime::plan::RelationId;
use millstream_runtime::source::Split;
use millstream_runtime::storage::{DdlRecord, DdlRelation};
use millstream_runtime::time::LogPosition;
use millstream_runtime::{Error, Result};
use serde::{Deserialize, Serialize};

use super::access::AccessChange;
use super::secrets::keys::{Place, Sealed, SecretKeys};
use super::secrets::mask;

/// What a statement did, beside its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Detail {
    /// `CREATE SCHEMA`.
    CreateSchema {
        /// Its name.
        name: String,
        /// Its OID.
        oid: u32,
        /// Whose it is.
        #[serde(default = "first_superuser")]
        owner: RoleOid,
    },
    /// A relation was made; the record's one relation.
    CreateRelation(Placement),
    /// Relations were dropped, dependents first.
    Drop {
        /// Which ones.
        relations: Vec<RelationId>,
    },
    /// Schemas were dropped, and the relations in them.
    DropSchemas {
        /// Their names.
        names: Vec<String>,
        /// The relations that were in them, dependents first.
        relations: Vec<RelationId>,
    },
    /// `ALTER SCHEMA ... RENAME TO`.
    RenameSchema {
        /// Its OID.
        oid: u32,
        /// Its name from here on.
        new_name: String,
    },
    /// Something was said of an object.
    Comment {
        /// What it is on.
        target: CommentTarget,
        /// What it says; nothing takes it away.
        text: Option<String>,
    },
    /// A relation got another name.
    Rename {
        /// Which one.
        relation: RelationId,
        /// Its name from here on, within its schema.
        new_name: String,
    },
    /// Two relations got each other's name.
    Swap {
        /// Which ones.
        relations: [RelationId; 2],
        /// Their names from here on, within their schema.
        names: [String; 2],
    },
    /// A relation was moved to another schema.
    SetSchema {
        /// Which one.
        relation: RelationId,
        /// The OID of the schema that it was in.
        from: u32,
        /// The name of the one that it is in from here on.
        schema: String,
    },
    /// `CREATE INDEX`.
    CreateIndex {
        /// Its OID.
        oid: u32,
        /// What it stands on.
        relation: RelationId,
        /// Its name, in the relation's schema.
        name: String,
        /// Its columns.
        columns: Vec<IndexColumn>,
        /// Whether it was said to be unique.
        unique: bool,
    },
    /// `DROP INDEX`.
    DropIndexes {
        /// Their OIDs.
        oids: Vec<u32>,
    },
    /// `ALTER INDEX ... RENAME TO`.
    RenameIndex {
        /// Its OID.
        oid: u32,
        /// Its name from here on.
        new_name: String,
    },
    /// `CREATE SECRET`.
    CreateSecret {
        /// Its OID.
        oid: u32,
        /// Its schema.
        schema: String,
        /// Its name.
        name: String,
        /// Whose it is.
        owner: RoleOid,
        /// Its value.
        value: Sealed,
    },
    /// `ALTER SECRET`.
    AlterSecret {
        /// Its OID.
        oid: u32,
        /// Its value from here on.
        value: Sealed,
    },
    /// `DROP SECRET`.
    DropSecrets {
        /// Their OIDs.
        oids: Vec<u32>,
    },
    /// Roles, owners or privileges changed.
    Access {
        /// How, in their order.
        changes: Vec<AccessChange>,
    },
}

/// Whose everything is that a release without roles has made.
fn first_superuser() -> RoleOid {
    BOOTSTRAP
}

/// Where a relation runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Whose it is.
    #[serde(default = "first_superuser")]
    pub owner: RoleOid,
    /// Its graph; none for a plain view.
    pub graph: Option<GraphId>,
    /// The graphs that became part of `graph` with this statement.
    pub joins: Vec<GraphId>,
    /// The splits of a source with their start positions, resolved when it was made.
    pub splits: Vec<Split>,
    /// Microseconds between checkpoints of a graph that is made with the relation.
    pub checkpoint_interval_micros: Option<i64>,
    /// A table's first rows stand in the entry that makes it: both are of one transaction.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rows_follow: bool,
    /// The text of the statement, where a secret stands in it: the log has it masked then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_sql: Option<Sealed>,
    /// What it was called when it was made, where its own text does not say: a start finds other names taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A DDL statement as the engine speaks of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ddl {
    /// The text.
    pub sql: String,
    /// The settings that bear on it.
    pub settings: PlanSettings,
    /// The relation that it makes: number and OID.
    pub relation: Option<DdlRelation>,
    /// The rest.
    pub detail: Detail,
}

impl Ddl {
    /// As the log takes it.
    pub fn to_record(&self) -> DdlRecord {
        // Only what makes a relation is planned again; what can't be encrypted stands as it is, with a warning.
        let readable = match &self.detail {
            Detail::CreateRelation(placement) => placement.sealed_sql.is_none(),
            _ => false,
        };
        DdlRecord {
            sql: if readable { self.sql.clone() } else { mask(&self.sql) },
            settings: serde_json::to_value(&self.settings).expect("settings have a JSON form"),
            relations: self.relation.into_iter().collect(),
            detail: serde_json::to_value(&self.detail).expect("details have a JSON form"),
        }
    }

    /// As the log has it. Text with a secret in it that the log has in the clear is encrypted from here on, once there
    /// is a key; what is under an older key gets the newest one.
    pub fn from_record(record: DdlRecord, keys: &SecretKeys) -> Result<Self> {
        let damaged = |what: &str, error: &serde_json::Error| {
            Error::data(format!("a statement of the log has {what} that cannot be read: {error}"))
                .with_hint("Start the release of Millstream that wrote it, or a newer one.")
        };
        let settings = serde_json::from_value(record.settings).map_err(|error| damaged("settings", &error))?;
        let mut detail = serde_json::from_value(record.detail).map_err(|error| damaged("details", &error))?;
        let relation = record.relations.first().copied();
        let mut sql = record.sql;
        match (&mut detail, relation) {
            (Detail::CreateRelation(placement), Some(made)) => {
                let place = Place::Statement(made.id);
                if let Some(sealed) = &placement.sealed_sql {
                    sql = keys.open(place, sealed, &format!("the statement that made relation {}", made.id))?;
                }
                let seals = match &placement.sealed_sql {
                    Some(sealed) => keys.is_old(sealed),
                    None => !keys.is_empty() && mask(&sql) != sql,
                };
                if seals {
                    placement.sealed_sql = Some(keys.seal(place, &sql)?);
                }
            }
            (Detail::CreateSecret { oid, name, value, .. }, _) => {
                let opened = keys.open(Place::Secret(*oid), value, &format!("secret \"{name}\""))?;
                if keys.is_old(value) {
                    *value = keys.seal(Place::Secret(*oid), &opened)?;
                }
            }
            (Detail::AlterSecret { oid, value }, _) => {
                let opened = keys.open(Place::Secret(*oid), value, &format!("the secret with OID {oid}"))?;
                if keys.is_old(value) {
                    *value = keys.seal(Place::Secret(*oid), &opened)?;
                }
            }
            _ => {}
        }
        Ok(Self { sql, settings, relation, detail })
    }
}

/// The catalog as a snapshot holds it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StoredCatalog {
    /// The number that the next relation gets.
    pub next_relation: u32,
    /// The OID that comes next.
    pub next_oid: u32,
    /// The statements that made what is there, in their order, with their places in the log; those whose
    /// relations are gone are left out.
    pub statements: Vec<(LogPosition, DdlRecord)>,
    /// Roles, owners and privileges: the changes that lead to them, after all statements.
    #[serde(default)]
    pub access: Vec<AccessChange>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use millstream_runtime::source::{Position, SplitId};

    use super::*;

    #[test]
    fn a_statement_reads_back_as_it_was_written() {
        let split = Split { id: SplitId("0".into()), start: Position(7), incarnation: "abc".into() };
        let ddl = Ddl {
            sql: "CREATE SOURCE s (a INT)".into(),
            settings: PlanSettings::default(),
            relation: Some(DdlRelation { id: RelationId(3), oid: 16_390 }),
            detail: Detail::CreateRelation(Placement {
                owner: RoleOid(16_400),
                graph: Some(GraphId(3)),
                joins: vec![GraphId(1)],
                splits: vec![split],
                checkpoint_interval_micros: Some(1),
                rows_follow: true,
                sealed_sql: None,
                name: Some("insert_into_s".into()),
            }),
        };
        assert_eq!(Ddl::from_record(ddl.to_record(), &SecretKeys::default()).unwrap(), ddl);
    }

    #[test]
    fn a_statement_of_a_newer_release_is_refused() {
        let mut record = Ddl {
            sql: String::new(),
            settings: PlanSettings::default(),
            relation: None,
            detail: Detail::Drop { relations: vec![] },
        }
        .to_record();
        let mut unread = record.clone();
        record.detail = serde_json::json!({ "Fold": {} });
        unread.settings["reading"] = serde_json::json!(60_000);
        for (record, reason) in [(record, "Fold"), (unread, "SQL was read in way 60000 when it was written")] {
            let refused = Ddl::from_record(record, &SecretKeys::default()).unwrap_err();
            assert_eq!(refused.kind, millstream_runtime::ErrorKind::Data);
            assert!(refused.message.contains(reason), "{}", refused.message);
        }
    }
}
