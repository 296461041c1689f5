//! The settings of a session: what they are called, what they start with, which values they take.
//!
//! Names are lower case. A setting that nobody knows is kept and shown again, with a notice, because drivers
//! send many. Settings changed in a transaction go back when it is rolled back, those of `SET LOCAL` also
//! when it commits. Nothing here acts: the session does what a changed value asks for.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use arrow::array::timezone::Tz;
use millstream_planner::settings::PlanSettings;

use super::sqlstate::Condition;
use super::{Notice, SqlError};

/// A setting that the server knows.
struct Known {
    /// Lower case.
    name: &'static str,
    /// As ParameterStatus and SHOW ALL spell it.
    spelling: &'static str,
    default: &'static str,
    /// Clients are told when it changes.
    reported: bool,
    accepts: Accepts,
    /// For SHOW ALL.
    description: &'static str,
}

/// Which values a setting takes.
enum Accepts {
    /// Any text.
    Text,
    /// One of these, compared without case; the first that begins with the value's canonical form is stored.
    OneOf(&'static [&'static str]),
    /// on, off, true, false, yes, no, 1, 0.
    Bool,
    /// An integer within bounds.
    Integer(i64, i64),
    /// A time: a bare number is in milliseconds.
    Duration,
    /// A time zone's name or offset.
    TimeZone,
    /// `ISO`, with an order of day and month that is read and ignored.
    DateStyle,
    /// UTF8 under one of its names.
    Utf8,
    /// Fixed by the server.
    ReadOnly,
}

const fn known(
    name: &'static str,
    spelling: &'static str,
    default: &'static str,
    reported: bool,
    accepts: Accepts,
    description: &'static str,
) -> Known {
    Known { name, spelling, default, reported, accepts, description }
}

const ISOLATION: Accepts = Accepts::OneOf(&["read committed", "repeatable read", "serializable", "read uncommitted"]);

/// The version of Postgres whose manners we keep; `version()` and drivers look at it.
pub const SERVER_VERSION: &str = "15.6";

/// All known settings, by name.
const KNOWN: &[Known] = &[
    known("application_name", "application_name", "", true, Accepts::Text, "Name of the program that is connected."),
    known("bytea_output", "bytea_output", "hex", false, Accepts::OneOf(&["hex"]), "How bytea is written as text."),
    known("client_encoding", "client_encoding", "UTF8", true, Accepts::Utf8, "Encoding of the client: UTF8."),
    known(
        "client_min_messages",
        "client_min_messages",
        "notice",
        false,
        Accepts::OneOf(&["debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error"]),
        "Which notices are sent.",
    ),
    known("datestyle", "DateStyle", "ISO, MDY", true, Accepts::DateStyle, "How dates are written: ISO."),
    known(
        "default_transaction_isolation",
        "default_transaction_isolation",
        "read committed",
        false,
        ISOLATION,
        "Isolation of new transactions.",
    ),
    known(
        "default_transaction_read_only",
        "default_transaction_read_only",
        "off",
        true,
        Accepts::Bool,
        "Whether new transactions only read.",
    ),
    known(
        "extra_float_digits",
        "extra_float_digits",
        "1",
        false,
        Accepts::Integer(-15, 3),
        "Digits of floats; above 0 the shortest text that reads back.",
    ),
    known(
        "idle_in_transaction_session_timeout",
        "idle_in_transaction_session_timeout",
        "0",
        false,
        Accepts::Duration,
        "Accepted for drivers; has no effect.",
    ),
    known("integer_datetimes", "integer_datetimes", "on", true, Accepts::ReadOnly, "Timestamps are integers."),
    known(
        "intervalstyle",
        "IntervalStyle",
        "postgres",
        true,
        Accepts::OneOf(&["postgres"]),
        "How intervals are written: postgres.",
    ),
    known("is_superuser", "is_superuser", "on", true, Accepts::ReadOnly, "Whether the user may do everything."),
    known("lock_timeout", "lock_timeout", "0", false, Accepts::Duration, "Accepted for drivers; has no effect."),
    known(
        "max_identifier_length",
        "max_identifier_length",
        "63",
        false,
        Accepts::ReadOnly,
        "Longest name that is safe with every client.",
    ),
    known(
        "millstream.checkpoint_interval",
        "millstream.checkpoint_interval",
        "10s",
        false,
        Accepts::Duration,
        "Time between checkpoints of the graphs that this session creates; 0 takes them only on request.",
    ),
    known(
        "millstream.clock",
        "millstream.clock",
        "system",
        false,
        Accepts::OneOf(&["system", "manual"]),
        "Processing time of the whole server: of the system, or moved by ADVANCE CLOCK (for tests).",
    ),
    known(
        "millstream.create_waits",
        "millstream.create_waits",
        "on",
        false,
        Accepts::Bool,
        "Whether CREATE MATERIALIZED VIEW returns only when the view is full.",
    ),
    known(
        "row_security",
        "row_security",
        "on",
        false,
        Accepts::Bool,
        "Accepted for drivers; there are no row policies.",
    ),
    known("search_path", "search_path", "public", true, Accepts::Text, "Schemas searched for unqualified names."),
    known("server_encoding", "server_encoding", "UTF8", true, Accepts::ReadOnly, "Encoding of the server."),
    known("server_version", "server_version", SERVER_VERSION, true, Accepts::ReadOnly, "Version as clients see it."),
    known(
        "server_version_num",
        "server_version_num",
        "150006",
        false,
        Accepts::ReadOnly,
        "Version as clients see it, as a number.",
    ),
    known(
        "session_authorization",
        "session_authorization",
        "millstream",
        true,
        Accepts::ReadOnly,
        "The user of the session.",
    ),
    known(
        "standard_conforming_strings",
        "standard_conforming_strings",
        "on",
        true,
        Accepts::OneOf(&["on"]),
        "Backslashes in plain strings are plain.",
    ),
    known(
        "statement_timeout",
        "statement_timeout",
        "0",
        false,
        Accepts::Duration,
        "Longest time a statement may run; 0 is without end.",
    ),
    known(
        "synchronous_commit",
        "synchronous_commit",
        "on",
        false,
        Accepts::OneOf(&["on", "off", "local", "remote_write", "remote_apply", "true", "false"]),
        "off: DML returns when it is durable, without waiting until the views show it.",
    ),
    known("timezone", "TimeZone", "UTC", true, Accepts::TimeZone, "Time zone in which timestamptz is read and shown."),
    known(
        "transaction_isolation",
        "transaction_isolation",
        "read committed",
        false,
        ISOLATION,
        "Isolation of the current transaction.",
    ),
    known(
        "transaction_read_only",
        "transaction_read_only",
        "off",
        false,
        Accepts::Bool,
        "Whether the current transaction only reads.",
    ),
];

/// The settings of one session.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Those that differ from the default, unknown ones included; by lower-case name.
    values: BTreeMap<String, String>,
    /// What the startup packet asked for: RESET goes back to it.
    at_start: BTreeMap<String, String>,
    /// What ROLLBACK goes back to; set while a transaction block is open.
    before_transaction: Option<BTreeMap<String, String>>,
    /// What COMMIT puts back for settings changed by `SET LOCAL`.
    before_local: BTreeMap<String, Option<String>>,
}

/// What a change of a setting has to tell.
#[derive(Debug, Default)]
pub struct Changed {
    /// For ParameterStatus: (name as clients spell it, new value).
    pub reported: Vec<(String, String)>,
    /// For the client.
    pub notices: Vec<Notice>,
}

impl Settings {
    /// A setting's value; `None` when nobody knows it and nobody has set it.
    pub fn get(&self, name: &str) -> Option<String> {
        let name = canonical(name);
        self.values.get(name.as_str()).cloned().or_else(|| find(&name).map(|known| known.default.to_string()))
    }

    /// Who is connected: no choice of the session.
    pub fn set_user(&mut self, user: &str) {
        self.at_start.insert("session_authorization".to_string(), user.to_string());
        self.values.insert("session_authorization".to_string(), user.to_string());
    }

    /// A setting from the startup packet.
    pub fn set_at_start(&mut self, name: &str, value: &str) -> Result<(), SqlError> {
        let name = canonical(name);
        let value = match find(&name) {
            Some(known) => checked(known, value)?,
            None => value.to_string(),
        };
        self.at_start.insert(name.clone(), value.clone());
        self.values.insert(name, value);
        Ok(())
    }

    /// `SET name = value`, or with `None` back to what it was at the start.
    pub fn set(&mut self, name: &str, value: Option<&str>, local: bool) -> Result<Changed, SqlError> {
        let name = canonical(name);
        if name == "all" && value.is_none() {
            return Ok(self.reset_all());
        }
        let mut changed = Changed::default();
        let known = find(&name);
        let value = match (known, value) {
            (Some(known), Some(value)) => Some(checked(known, value)?),
            (Some(_), None) => self.at_start.get(&name).cloned(),
            (None, Some(value)) => {
                changed.notices.push(Notice::plain(format!(
                    "parameter \"{name}\" is not known here: it is kept and shown, and has no effect"
                )));
                Some(value.to_string())
            }
            (None, None) => None,
        };
        if local {
            if self.before_transaction.is_none() {
                let message = "SET LOCAL can only be used in transaction blocks";
                changed.notices.push(Notice::warning(Condition::NoActiveSqlTransaction, message));
                return Ok(changed);
            }
            self.before_local.entry(name.clone()).or_insert_with(|| self.values.get(&name).cloned());
        } else {
            self.before_local.remove(&name);
        }
        match value {
            Some(value) => self.values.insert(name.clone(), value),
            None => self.values.remove(&name),
        };
        if let Some(known) = known.filter(|known| known.reported) {
            let value = self.get(&name).expect("a known setting has a value");
            changed.reported.push((known.spelling.to_string(), value));
        }
        Ok(changed)
    }

    /// `RESET ALL`.
    pub fn reset_all(&mut self) -> Changed {
        let before = std::mem::replace(&mut self.values, self.at_start.clone());
        Changed { reported: self.differences(&before), notices: Vec::new() }
    }

    /// A transaction block opens.
    pub fn begin(&mut self) {
        self.before_transaction = Some(self.values.clone());
    }

    /// It ends; gives back what clients are told.
    pub fn end(&mut self, committed: bool) -> Vec<(String, String)> {
        let Some(before) = self.before_transaction.take() else { return Vec::new() };
        let shown = self.values.clone();
        let local = std::mem::take(&mut self.before_local);
        if committed {
            for (name, value) in local {
                match value {
                    Some(value) => self.values.insert(name, value),
                    None => self.values.remove(&name),
                };
            }
        } else {
            self.values = before;
        }
        self.differences(&shown)
    }

    /// Goes back to what a savepoint kept; gives back what clients are told.
    pub fn put_back(&mut self, kept: Self) -> Vec<(String, String)> {
        let before = std::mem::replace(self, kept).values;
        self.differences(&before)
    }

    /// Everything for SHOW ALL: name, value, description.
    pub fn all(&self) -> Vec<(String, String, String)> {
        let mut rows: Vec<_> = KNOWN
            .iter()
            .map(|known| {
                let value = self.values.get(known.name).cloned().unwrap_or_else(|| known.default.to_string());
                (known.spelling.to_string(), value, known.description.to_string())
            })
            .collect();
        let unknown = self.values.iter().filter(|(name, _)| find(name).is_none());
        rows.extend(unknown.map(|(name, value)| (name.clone(), value.clone(), "Not known here.".to_string())));
        rows.sort();
        rows
    }

    /// The settings that clients are told of when they connect, as they spell them.
    pub fn reported(&self) -> Vec<(String, String)> {
        KNOWN
            .iter()
            .filter(|known| known.reported)
            .map(|known| (known.spelling.to_string(), self.get(known.name).expect("it is known")))
            .collect()
    }

    /// What bears on planning.
    pub fn plan(&self) -> PlanSettings {
        let path = self.get("search_path").unwrap_or_default();
        PlanSettings {
            search_path: split_path(&path),
            time_zone: self.get("timezone").expect("a known setting has a value"),
        }
    }

    /// The longest time that a statement may run.
    pub fn statement_timeout(&self) -> Option<Duration> {
        self.duration("statement_timeout")
    }

    /// The time between the checkpoints of new graphs.
    pub fn checkpoint_interval(&self) -> Option<Duration> {
        self.duration("millstream.checkpoint_interval")
    }

    /// Whether DML waits until every view shows it.
    pub fn waits_for_visibility(&self) -> bool {
        !matches!(self.get("synchronous_commit").as_deref(), Some("off" | "false"))
    }

    /// Whether CREATE MATERIALIZED VIEW waits until the view is full.
    pub fn create_waits(&self) -> bool {
        self.get("millstream.create_waits").as_deref() == Some("on")
    }

    fn duration(&self, name: &str) -> Option<Duration> {
        let text = self.get(name)?;
        parse_duration(&text).filter(|duration| !duration.is_zero())
    }

    fn differences(&self, before: &BTreeMap<String, String>) -> Vec<(String, String)> {
        let value = |values: &BTreeMap<String, String>, known: &Known| {
            values.get(known.name).cloned().unwrap_or_else(|| known.default.to_string())
        };
        KNOWN
            .iter()
            .filter(|known| known.reported && value(before, known) != value(&self.values, known))
            .map(|known| (known.spelling.to_string(), value(&self.values, known)))
            .collect()
    }
}

/// Other spellings of a setting's name.
fn canonical(name: &str) -> String {
    match name.to_ascii_lowercase().as_str() {
        "time zone" => "timezone".to_string(),
        "names" => "client_encoding".to_string(),
        "session characteristics as transaction isolation level" => "default_transaction_isolation".to_string(),
        "transaction isolation level" => "transaction_isolation".to_string(),
        lower => lower.to_string(),
    }
}

fn find(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name == name)
}

fn checked(known: &Known, value: &str) -> Result<String, SqlError> {
    let refused = |hint: String| {
        let message = format!("invalid value for parameter \"{}\": \"{value}\"", known.spelling);
        Err(SqlError::new(Condition::InvalidParameterValue, message).with_hint(hint))
    };
    let lower = value.trim().to_ascii_lowercase();
    match &known.accepts {
        Accepts::Text => Ok(value.to_string()),
        Accepts::OneOf(values) => match values.iter().find(|allowed| **allowed == lower) {
            Some(allowed) => Ok((*allowed).to_string()),
            None => refused(format!("Available values: {}.", values.join(", "))),
        },
        Accepts::Bool => match lower.as_str() {
            "on" | "true" | "yes" | "1" | "t" => Ok("on".to_string()),
            "off" | "false" | "no" | "0" | "f" => Ok("off".to_string()),
            _ => refused("Available values: on, off.".to_string()),
        },
        Accepts::Integer(low, high) => match lower.parse::<i64>() {
            Ok(number) if (*low..=*high).contains(&number) => Ok(number.to_string()),
            _ => refused(format!("It is an integer from {low} to {high}.")),
        },
        Accepts::Duration => match parse_duration(&lower) {
            Some(_) => Ok(lower),
            None => refused("It is a number with ms, s, min, h or d behind it; without, in ms.".to_string()),
        },
        Accepts::TimeZone => match time_zone(value.trim()) {
            Some(zone) => Ok(zone),
            None => refused("It is a name such as Europe/Berlin, or an offset such as +02:00.".to_string()),
        },
        Accepts::DateStyle => {
            let fits = lower.split(',').all(|part| matches!(part.trim(), "iso" | "mdy" | "dmy" | "ymd"));
            if fits { Ok("ISO, MDY".to_string()) } else { refused("The only style is ISO.".to_string()) }
        }
        Accepts::Utf8 => match lower.as_str() {
            "utf8" | "utf-8" | "unicode" => Ok("UTF8".to_string()),
            _ => refused("The only encoding is UTF8.".to_string()),
        },
        Accepts::ReadOnly => {
            let message = format!("parameter \"{}\" cannot be changed", known.spelling);
            // 55P02 in Postgres; clients that set it to what it is are let through.
            if value == known.default { Ok(value.to_string()) } else { Err(fixed(message)) }
        }
    }
}

fn fixed(message: String) -> SqlError {
    SqlError::new(Condition::ObjectNotInPrerequisiteState, message)
}

/// A zone's name as it is shown, if there is such a zone.
fn time_zone(value: &str) -> Option<String> {
    let name = match value.to_ascii_lowercase().as_str() {
        "utc" | "gmt" | "z" | "zulu" | "default" | "local" => return Some("UTC".to_string()),
        _ => value,
    };
    Tz::from_str(name).ok().map(|_| name.to_string())
}

/// `250`, `250ms`, `10s`, `1min`, `2 h`, `1d`; a bare number is in milliseconds, as in Postgres.
fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit_millis: u64 = match text[digits..].trim() {
        "" | "ms" => 1,
        "us" => return Some(Duration::from_micros(number)),
        "s" | "sec" | "second" | "seconds" => 1_000,
        "min" | "minute" | "minutes" => 60_000,
        "h" | "hour" | "hours" => 3_600_000,
        "d" | "day" | "days" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit_millis).map(Duration::from_millis)
}

/// The schemas of a search path: quoted names as they are, others folded; `$user` has no schema here.
fn split_path(path: &str) -> Vec<String> {
    let mut schemas: Vec<String> = path
        .split(',')
        .map(str::trim)
        .map(|part| match part.strip_prefix('"').and_then(|part| part.strip_suffix('"')) {
            Some(quoted) => quoted.replace("\"\"", "\""),
            None => part.trim_matches('\'').to_ascii_lowercase(),
        })
        .filter(|schema| !schema.is_empty() && schema != "$user")
        .collect();
    schemas.dedup();
    schemas
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn known_settings_have_sorted_names_and_defaults_that_they_accept() {
        assert!(KNOWN.is_sorted_by_key(|known| known.name));
        for known in KNOWN {
            assert_eq!(checked(known, known.default).unwrap(), known.default, "{}", known.name);
        }
    }

    #[test]
    fn values_are_checked() {
        let mut settings = Settings::default();
        let refused = settings.set("statement_timeout", Some("soon"), false).unwrap_err();
        assert_eq!(refused.sqlstate, "22023");
        assert_eq!(settings.set("TimeZone", Some("Mars/Base"), false).unwrap_err().sqlstate, "22023");
        assert_eq!(settings.set("server_version", Some("17"), false).unwrap_err().sqlstate, "55000");
        settings.set("statement_timeout", Some("1min"), false).unwrap();
        assert_eq!(settings.statement_timeout(), Some(Duration::from_secs(60)));
        settings.set("statement_timeout", Some("0"), false).unwrap();
        assert_eq!(settings.statement_timeout(), None);
    }

    #[test]
    fn an_unknown_setting_is_kept_with_a_notice() {
        let mut settings = Settings::default();
        let changed = settings.set("some.driver_thing", Some("7"), false).unwrap();
        assert_eq!(changed.notices.len(), 1);
        assert_eq!(settings.get("some.driver_thing").as_deref(), Some("7"));
        assert_eq!(settings.get("some.other"), None);
    }

    #[test]
    fn rollback_and_local_put_values_back() {
        let mut settings = Settings::default();
        settings.begin();
        let changed = settings.set("time zone", Some("Europe/Berlin"), false).unwrap();
        assert_eq!(changed.reported, vec![("TimeZone".to_string(), "Europe/Berlin".to_string())]);
        assert_eq!(settings.end(false), vec![("TimeZone".to_string(), "UTC".to_string())]);

        settings.begin();
        settings.set("application_name", Some("a"), true).unwrap();
        settings.set("extra_float_digits", Some("3"), false).unwrap();
        settings.end(true);
        assert_eq!(settings.get("application_name").as_deref(), Some(""));
        assert_eq!(settings.get("extra_float_digits").as_deref(), Some("3"));
    }

    #[test]
    fn the_search_path_reaches_the_planner() {
        let mut settings = Settings::default();
        settings.set("search_path", Some("\"$user\", \"Odd\", PUBLIC"), false).unwrap();
        assert_eq!(settings.plan().search_path, vec!["Odd", "public"]);
    }
}
