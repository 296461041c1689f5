//! The server, the session and its settings.

use millstream_planner::error::{PlanError, PlanErrorKind, Result};

use super::super::datum::Datum;
use super::Call;
use crate::engine::advisory::LockRow;
use crate::pg_catalog::Effect;
use crate::pg_catalog::objects::visible_schemas;

pub(super) const FUNCTIONS: super::Values = &[
    ("version", |call| Ok(call.context.view.version.as_str().into())),
    ("current_database", |call| Ok(call.context.view.database.as_str().into())),
    ("current_user", |call| Ok(call.context.view.user.as_str().into())),
    ("session_user", |call| Ok(call.context.view.session_user.as_str().into())),
    ("current_schema", |call| Ok(current_schemas(call, false).into_iter().next().into())),
    ("current_schemas", |call| Ok(Datum::texts(current_schemas(call, call.is_true(0))))),
    ("current_setting", current_setting),
    ("set_config", set_config),
    ("pg_backend_pid", |call| Ok(call.context.view.process_id.into())),
    ("pg_cancel_backend", |call| signal(call, false)),
    ("pg_terminate_backend", |call| signal(call, true)),
    ("pg_blocking_pids", |call| Ok(blocking(call))),
    ("pg_safe_snapshot_blocking_pids", |_| Ok(Datum::Array([].into()))),
    ("pg_postmaster_start_time", |call| Ok(Datum::Moment(call.context.view.started_micros))),
    ("pg_conf_load_time", |call| Ok(Datum::Moment(call.context.view.started_micros))),
    ("pg_is_in_recovery", |_| Ok(false.into())),
    ("pg_last_xact_replay_timestamp", |_| Ok(Datum::Null)),
    ("txid_current", |call| Ok(call.context.view.transaction.into())),
    ("txid_current_if_assigned", |_| Ok(Datum::Null)),
    ("pg_current_xact_id", |call| Ok(call.context.view.transaction.into())),
    ("pg_current_xact_id_if_assigned", |_| Ok(Datum::Null)),
    ("age", age),
    ("mxid_age", |_| Ok(0.into())),
    ("inet_server_addr", |call| Ok(call.context.view.ends.server.map(|end| end.ip().to_string()).into())),
    ("inet_server_port", |call| Ok(call.context.view.ends.server.map(|end| i64::from(end.port())).into())),
    ("inet_client_addr", |call| Ok(call.context.view.ends.client.map(|end| end.ip().to_string()).into())),
    ("inet_client_port", |call| Ok(call.context.view.ends.client.map(|end| i64::from(end.port())).into())),
    ("getdatabaseencoding", |_| Ok("UTF8".into())),
    ("pg_client_encoding", |_| Ok("UTF8".into())),
    ("pg_encoding_to_char", |call| Ok(if call.int(0) == 6 { "UTF8" } else { "" }.into())),
    ("pg_char_to_encoding", |call| {
        Ok(if matches!(call.text(0).to_ascii_uppercase().as_str(), "UTF8" | "UTF-8" | "UNICODE") { 6 } else { -1 }
            .into())
    }),
    ("pg_encoding_max_length", |_| Ok(4.into())),
    ("pg_is_other_temp_schema", |_| Ok(false.into())),
    ("pg_my_temp_schema", |_| Ok(0.into())),
    ("pg_tablespace_location", |_| Ok("".into())),
    ("pg_jit_available", |_| Ok(false.into())),
    ("pg_stat_get_numscans", |_| Ok(0.into())),
    ("pg_notification_queue_usage", |_| Ok(Datum::Float(0.0))),
    ("_pg_char_max_length", |call| Ok(char_length(call))),
    ("_pg_numeric_precision", |call| Ok(numeric_digits(call).map(|(precision, _)| precision).into())),
    ("_pg_numeric_scale", |call| Ok(numeric_digits(call).map(|(_, scale)| scale).into())),
    ("_pg_datetime_precision", |call| Ok(datetime_digits(call))),
];

fn current_schemas(call: &Call<'_>, implicit: bool) -> Vec<String> {
    let view = &call.context.view;
    let exists = |schema: &&str| call.context.objects.schemas.iter().any(|(known, _)| known == schema);
    let path: Vec<&str> =
        if implicit { visible_schemas(view) } else { view.search_path.iter().map(String::as_str).collect() };
    path.into_iter().filter(exists).map(str::to_owned).collect()
}

fn current_setting(call: &Call<'_>) -> Result<Datum> {
    let name = call.text(0);
    let found = call.context.view.settings.iter().find(|setting| setting.name.eq_ignore_ascii_case(name));
    match found {
        Some(setting) => Ok(setting.shown.as_str().into()),
        None if call.is_true(1) => Ok(Datum::Null),
        None => {
            let message = format!("unrecognized configuration parameter \"{name}\"");
            Err(PlanError::new(PlanErrorKind::UndefinedObject, message))
        }
    }
}

/// What is to be set is set by the session, when the statement is over.
fn set_config(call: &Call<'_>) -> Result<Datum> {
    let name = call.text(0).to_owned();
    let value = call.given(1).then(|| call.text(1).to_owned());
    call.context.effect(Effect::Set { name, value: value.clone(), local: call.is_true(2) });
    Ok(value.into())
}

/// Another session is told; the answer is whether there is one.
fn signal(call: &Call<'_>, terminate: bool) -> Result<Datum> {
    let process_id = i32::try_from(call.int(0)).unwrap_or_default();
    call.context.signal(process_id, terminate).map(Datum::Bool)
}

fn age(call: &Call<'_>) -> Result<Datum> {
    match call.ty(0).oid() {
        28 => Ok(0.into()),
        _ => super::times::age(call),
    }
}

fn char_length(call: &Call<'_>) -> Datum {
    let (oid, modifier) = (call.oid(0), call.int(1));
    (matches!(oid, 1042 | 1043) && modifier >= 4).then(|| modifier - 4).into()
}

fn numeric_digits(call: &Call<'_>) -> Option<(i64, i64)> {
    let modifier = call.int(1);
    match call.oid(0) {
        21 => Some((16, 0)),
        23 => Some((32, 0)),
        20 => Some((64, 0)),
        700 => Some((24, 0)),
        701 => Some((53, 0)),
        1700 if modifier >= 4 => Some(((modifier - 4) >> 16, (modifier - 4) & 0xffff)),
        _ => None,
    }
}

fn datetime_digits(call: &Call<'_>) -> Datum {
    match call.oid(0) {
        1082 => 0.into(),
        1083 | 1114 | 1184 | 1186 => if call.int(1) >= 0 { call.int(1) } else { 6 }.into(),
        _ => Datum::Null,
    }
}

/// The sessions that hold the lock that one waits for.
fn blocking(call: &Call<'_>) -> Datum {
    let locks = &call.context.view.locks;
    let of = |lock: &LockRow| i64::from(lock.process_id) == call.int(0);
    let Some(waits) = locks.iter().find(|lock| !lock.granted && of(lock)) else { return Datum::Array([].into()) };
    let against =
        |lock: &&LockRow| lock.granted && lock.key == waits.key && !of(lock) && !(lock.shared && waits.shared);
    Datum::Array(locks.iter().filter(against).map(|lock| Datum::from(lock.process_id)).collect())
}
