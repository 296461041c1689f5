//! Sessions and what they do.

use millstream_planner::functions::AdvisoryKey;

use super::{Row, row};
use crate::pg_catalog::CatalogView;
use crate::pg_catalog::objects::{DATABASE_OID, Objects};
use crate::pg_catalog::roles::{self, RoleRow};
use crate::pg_catalog::sql::datum::Datum;
use crate::session::registry::SessionRow;

fn role<'a>(view: &'a CatalogView, name: &str) -> Option<&'a RoleRow> {
    view.roles.iter().find(|role| role.name == name)
}

/// What other roles do is shown to those that are in them only.
fn is_shown(view: &CatalogView, session: &SessionRow) -> bool {
    let owner = role(view, &session.user).map(|role| role.oid);
    let is_mine = |me: &RoleRow| me.superuser || owner.is_some_and(|owner| roles::is_member(view, me.oid, owner));
    session.user == view.user || role(view, &view.user).is_some_and(is_mine)
}

/// `pg_stat_activity`
pub(super) fn activity(view: &CatalogView, _: &Objects) -> Vec<Row> {
    let rows = view.sessions.iter().map(|session| {
        let owner = role(view, &session.user).map(|role| role.oid);
        let shown = is_shown(view, session);
        let mut row = row! {
            "datid": DATABASE_OID,
            "datname": session.database.as_str(),
            "pid": session.process_id,
            "usesysid": owner,
            "usename": session.user.as_str(),
            "application_name": session.application_name.as_str(),
        };
        if !shown {
            row.extend(row! {"query": "<insufficient privilege>"});
            return row;
        }
        let time = |micros: Option<i64>| micros.map_or(Datum::Null, Datum::Moment);
        let waits = session.state != "active";
        row.extend(row! {
            "client_addr": session.client.map(|end| end.ip().to_string()),
            "client_port": session.client.map_or(-1, |end| i64::from(end.port())),
            "backend_start": time(Some(session.started_micros)),
            "xact_start": time(session.transaction_micros),
            "query_start": time(session.query_micros),
            "state_change": time(session.state_micros),
            "wait_event_type": waits.then_some("Client"),
            "wait_event": waits.then_some("ClientRead"),
            "state": session.state,
            "query": session.query.as_str(),
            "backend_type": "client backend",
        });
        row
    });
    rows.collect()
}

/// `pg_stat_progress_copy`: how much there is in all is not known before its end.
pub(super) fn copies(view: &CatalogView, _: &Objects) -> Vec<Row> {
    let rows = view.sessions.iter().filter_map(|session| {
        let copy = session.copy.as_ref()?;
        let mut row = row! {
            "pid": session.process_id,
            "datid": DATABASE_OID,
            "datname": session.database.as_str(),
        };
        if is_shown(view, session) {
            let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
            let relation = copy.relation.and_then(|id| view.catalog.get(id));
            row.extend(row! {
                "relid": relation.map_or(0, |relation| relation.oid),
                "command": copy.command,
                "type": "PIPE",
                "bytes_processed": count(copy.bytes),
                "bytes_total": 0i64,
                "tuples_processed": count(copy.rows),
                "tuples_excluded": 0i64,
            });
        }
        Some(row)
    });
    rows.collect()
}

/// `pg_stat_gssapi`: nobody connects by Kerberos.
pub(super) fn kerberos(view: &CatalogView, _: &Objects) -> Vec<Row> {
    let row = |session: &SessionRow| row! {"pid": session.process_id, "gss_authenticated": false, "encrypted": false};
    view.sessions.iter().map(row).collect()
}

/// `pg_locks`: advisory locks, held and waited for. There are no others: readers wait for nobody, and writers for each
/// other at the log only, in the order in which they come.
pub(super) fn locks(view: &CatalogView, _: &Objects) -> Vec<Row> {
    let rows = view.locks.iter().map(|lock| {
        // As Postgres shows the keys: a bigint as its two halves.
        let (class, object, kind) = match lock.key {
            AdvisoryKey::One(key) => ((key as u64 >> 32) as u32, key as u32, 1),
            AdvisoryKey::Two(first, second) => (first as u32, second as u32, 2),
        };
        row! {
            "locktype": "advisory",
            "database": DATABASE_OID,
            "classid": class,
            "objid": object,
            "objsubid": kind,
            "virtualtransaction": format!("{}/0", lock.process_id),
            "pid": lock.process_id,
            "mode": if lock.shared { "ShareLock" } else { "ExclusiveLock" },
            "granted": lock.granted,
            "fastpath": false,
        }
    });
    rows.collect()
}

/// `pg_prepared_statements`
pub(super) fn prepared_statements(view: &CatalogView, _: &Objects) -> Vec<Row> {
    let rows = view.prepared.iter().map(|(name, prepared)| {
        row! {
            "name": name.as_str(),
            "statement": prepared.statement.as_str(),
            "prepare_time": Datum::Moment(prepared.prepared_micros),
            "parameter_types": Datum::Array(prepared.parameter_oids.iter().map(|oid| Datum::from(*oid)).collect()),
            "from_sql": prepared.from_sql,
            "generic_plans": 0u32,
            "custom_plans": 0u32,
        }
    });
    rows.collect()
}

/// `pg_cursors`
pub(super) fn cursors(view: &CatalogView, _: &Objects) -> Vec<Row> {
    let rows = view.cursors.iter().map(|cursor| {
        row! {
            "name": cursor.name.as_str(),
            "statement": cursor.statement.as_str(),
            "is_holdable": cursor.is_holdable,
            "is_binary": cursor.is_binary,
            "is_scrollable": cursor.is_scrollable,
            "creation_time": Datum::Moment(cursor.created_micros),
        }
    });
    rows.collect()
}
