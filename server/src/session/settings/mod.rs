//! The settings of a session: what they are, who changed them, and what they go back to.
//!
//! Names are lower case. `table` is the one list of those that the server knows, `value` the forms of their
//! values. A setting that nobody knows is kept and shown again, with a notice; one with a dot in its name is a
//! program's own and kept without. Settings changed in a transaction go back when it is rolled back, those of
//! `SET LOCAL` also when it commits. Nothing here acts: the session does what a changed value asks for.

mod access;
mod table;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millstream_planner::bind::nearest;
use millstream_planner::reading::Reading;
use millstream_planner::settings::PlanSettings;
use millstream_planner::values::{TextForms, TextStyle, Zone};

use self::table::{KNOWN, Known, find};
use super::sqlstate::Condition;
use super::{Notice, SqlError};

pub use self::access::SettingsCopy;
pub use self::table::{NO_EFFECT, SERVER_VERSION};
pub use self::value::Accepts;

/// Values that differ from the default, by lower-case name.
type Values = BTreeMap<String, String>;

/// The settings of one session. Copies are cheap until one of them is changed.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Those that differ from the default, unknown ones included; by lower-case name.
    values: Arc<Values>,
    /// What the startup packet asked for: RESET goes back to it.
    at_start: Arc<Values>,
    /// What ROLLBACK goes back to; set while a transaction block is open.
    before_transaction: Option<Arc<Values>>,
    /// What COMMIT puts back for settings changed by `SET LOCAL`.
    before_local: BTreeMap<String, Option<String>>,
    /// How values are written, read off `values`.
    style: TextStyle,
}

/// What a change of a setting has to tell.
#[derive(Debug, Default)]
pub struct Changed {
    /// For ParameterStatus: (name as clients spell it, new value).
    pub reported: Vec<(String, String)>,
    /// For the client.
    pub notices: Vec<Notice>,
}

/// A setting as `pg_settings` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct SettingData {
    /// Its name as Postgres spells it.
    pub name: String,
    /// Its value in the form of SHOW.
    pub shown: String,
    /// Its value as a number of its unit, where it has one.
    pub setting: String,
    /// `ms` or `kB`.
    pub unit: Option<&'static str>,
    /// What it is for.
    pub description: &'static str,
    /// `user`, or `internal` for what can't be changed.
    pub context: &'static str,
    /// `bool`, `enum`, `integer`, `real` or `string`.
    pub type_name: &'static str,
    /// The smallest and the largest value.
    pub bounds: Option<(String, String)>,
    /// The values of an `enum`.
    pub choices: Option<&'static [&'static str]>,
    /// What it is without any SET, as a number of its unit.
    pub boot: String,
    /// What RESET makes of it, as a number of its unit.
    pub reset: String,
    /// `default`, `client` or `session`.
    pub source: &'static str,
}

/// A setting's name as Postgres spells it; as it is for one that is not known.
pub fn spelling(name: &str) -> &str {
    find(name).map_or(name, |known| known.spelling)
}

impl Settings {
    /// A setting's value; `None` when nobody knows it and nobody has set it.
    pub fn get(&self, name: &str) -> Option<String> {
        let name = canonical(name);
        if let Some(value) = self.values.get(name.as_str()) {
            return Some(value.clone());
        }
        match name.as_str() {
            // A transaction is what the session wants them to be, until it says otherwise.
            "transaction_isolation" => self.get("default_transaction_isolation"),
            "transaction_read_only" => self.get("default_transaction_read_only"),
            name => find(name).map(|known| known.default.to_string()),
        }
    }

    /// A setting's value, or the error that names the nearest one.
    pub fn shown(&self, name: &str) -> Result<String, SqlError> {
        self.get(name).ok_or_else(|| unrecognized(name))
    }

    /// Who is connected: no choice of the session.
    pub fn set_user(&mut self, user: &str, superuser: bool) {
        let superuser = if superuser { "on" } else { "off" };
        for (name, value) in [("session_authorization", user), ("is_superuser", superuser)] {
            Arc::make_mut(&mut self.at_start).insert(name.to_string(), value.to_string());
            Arc::make_mut(&mut self.values).insert(name.to_string(), value.to_string());
        }
    }

    /// Sets what a session may not set as it likes, once that was asked.
    pub fn force(&mut self, name: &str, value: &str, local: bool) -> Changed {
        match local && self.before_transaction.is_some() {
            true => {
                let before = || self.values.get(name).cloned();
                self.before_local.entry(name.to_string()).or_insert_with(before);
            }
            false => drop(self.before_local.remove(name)),
        }
        let before = self.get(name);
        self.put(name.to_string(), Some(value.to_string()));
        let reported = match find(name).filter(|known| known.reported && before.as_deref() != Some(value)) {
            Some(known) => vec![(known.spelling.to_string(), value.to_string())],
            None => Vec::new(),
        };
        Changed { reported, notices: Vec::new() }
    }

    /// A setting from the startup packet.
    pub fn set_at_start(&mut self, name: &str, value: &str) -> Result<(), SqlError> {
        let name = canonical(name);
        let value = match find(&name) {
            Some(known) => self.checked(known, value)?,
            None => {
                check_custom(&name)?;
                value.to_string()
            }
        };
        Arc::make_mut(&mut self.at_start).insert(name.clone(), value.clone());
        self.put(name, Some(value));
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
            (Some(known), Some(value)) => Some(self.checked(known, value)?),
            (Some(Known { accepts: Accepts::ReadOnly, .. }), None) => return Err(fixed(&name)),
            (_, None) => self.at_start.get(&name).cloned(),
            (None, Some(value)) => {
                check_custom(&name)?;
                changed.notices.extend((!name.contains('.')).then(|| unknown(&name)));
                Some(value.to_string())
            }
        };
        if local {
            if self.before_transaction.is_none() {
                let transaction = matches!(name.as_str(), "transaction_isolation" | "transaction_read_only");
                let statement = if transaction { "SET TRANSACTION" } else { "SET LOCAL" };
                let message = format!("{statement} can only be used in transaction blocks");
                changed.notices.push(Notice::warning(Condition::NoActiveSqlTransaction, message));
                return Ok(changed);
            }
            self.before_local.entry(name.clone()).or_insert_with(|| self.values.get(&name).cloned());
        } else {
            self.before_local.remove(&name);
        }
        let before = self.get(&name);
        self.put(name.clone(), value);
        let after = self.get(&name);
        if let (Some(known), Some(after)) = (known.filter(|known| known.reported && before != after), after) {
            changed.reported.push((known.spelling.to_string(), after));
        }
        Ok(changed)
    }

    /// `RESET ALL`.
    pub fn reset_all(&mut self) -> Changed {
        let before = self.put_all(Arc::clone(&self.at_start));
        Changed { reported: self.differences(&before), notices: Vec::new() }
    }

    /// A transaction block opens.
    pub fn begin(&mut self) {
        self.before_transaction = Some(Arc::clone(&self.values));
    }

    /// It ends; gives back what clients are told.
    pub fn end(&mut self, committed: bool) -> Vec<(String, String)> {
        let Some(before) = self.before_transaction.take() else { return Vec::new() };
        let local = std::mem::take(&mut self.before_local);
        let restored = if committed {
            let mut values = Arc::clone(&self.values);
            for (name, value) in local {
                match value {
                    Some(value) => Arc::make_mut(&mut values).insert(name, value),
                    None => Arc::make_mut(&mut values).remove(&name),
                };
            }
            values
        } else {
            before
        };
        let shown = self.put_all(restored);
        self.differences(&shown)
    }

    /// Goes back to what a savepoint kept; gives back what clients are told.
    pub fn put_back(&mut self, kept: Self) -> Vec<(String, String)> {
        let before = std::mem::replace(self, kept).values;
        self.differences(&before)
    }

    /// Everything for SHOW ALL and `pg_settings`, by name.
    pub fn all(&self) -> Vec<SettingData> {
        let mut rows: Vec<_> = KNOWN.iter().map(|known| self.data_of(known)).collect();
        let unknown = self.values.iter().filter(|(name, _)| find(name).is_none());
        rows.extend(unknown.map(|(name, value)| SettingData {
            name: name.clone(),
            shown: value.clone(),
            setting: value.clone(),
            unit: None,
            description: "Not known here: kept, without effect.",
            context: "user",
            type_name: "string",
            bounds: None,
            choices: None,
            boot: String::new(),
            reset: self.at_start.get(name).cloned().unwrap_or_default(),
            source: if self.at_start.get(name) == Some(value) { "client" } else { "session" },
        }));
        rows.sort_by_key(|row| row.name.to_lowercase());
        rows
    }

    fn data_of(&self, known: &'static Known) -> SettingData {
        let shown = self.get(known.name).unwrap_or_else(|| known.default.to_string());
        let reset = self.at_start.get(known.name).map_or(known.default, String::as_str);
        let read_only = matches!(known.accepts, Accepts::ReadOnly);
        let source = match self.values.get(known.name) {
            None => "default",
            Some(value) if self.at_start.get(known.name) == Some(value) => "client",
            Some(_) => "session",
        };
        SettingData {
            name: known.spelling.to_string(),
            setting: known.in_unit(&shown),
            shown,
            unit: known.unit(),
            description: known.description,
            context: if read_only { "internal" } else { "user" },
            type_name: known.type_name(),
            bounds: known.bounds(),
            choices: match known.accepts {
                Accepts::OneOf { shown, .. } => Some(shown),
                _ => None,
            },
            boot: known.in_unit(known.default),
            reset: known.in_unit(reset),
            source,
        }
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
            forms: self.style.forms,
            reading: Reading::NEWEST,
        }
    }

    /// How values are written as text.
    pub fn text_style(&self) -> TextStyle {
        self.style
    }

    /// The longest time that a statement may run.
    pub fn statement_timeout(&self) -> Option<Duration> {
        self.duration("statement_timeout")
    }

    /// The longest time that a statement may wait for a lock.
    pub fn lock_timeout(&self) -> Option<Duration> {
        self.duration("lock_timeout")
    }

    /// The longest time that a session may wait for its client, within a transaction and without.
    pub fn idle_timeout(&self, in_transaction: bool) -> Option<Duration> {
        self.duration(if in_transaction { "idle_in_transaction_session_timeout" } else { "idle_session_timeout" })
    }

    /// The time between the checkpoints of new graphs.
    pub fn checkpoint_interval(&self) -> Option<Duration> {
        value::duration(&self.get("millstream.checkpoint_interval")?)
    }

    /// Whether DML waits until every view shows it.
    pub fn waits_for_visibility(&self) -> bool {
        self.values.get("synchronous_commit").is_none_or(|value| value != "off")
    }

    /// Whether CREATE MATERIALIZED VIEW waits until the view is full.
    pub fn create_waits(&self) -> bool {
        self.get("millstream.create_waits").as_deref() == Some("on")
    }

    /// Whether a notice is sent.
    pub fn tells(&self, notice: &Notice) -> bool {
        match self.values.get("client_min_messages").map(String::as_str) {
            Some("error") => false,
            Some("warning") => notice.severity == "WARNING",
            _ => true,
        }
    }

    /// A time whose default is without end.
    fn duration(&self, name: &str) -> Option<Duration> {
        self.values.get(name).and_then(|kept| value::duration(kept))
    }

    fn checked(&self, known: &Known, value: &str) -> Result<String, SqlError> {
        let checked = known.checked(value)?;
        if !matches!(known.accepts, Accepts::DateStyle) {
            return Ok(checked);
        }
        // Of the form and the order the one that was not said stays.
        let kept = self.get(known.name).unwrap_or_default();
        let (kept_form, kept_order) = kept.split_once(", ").unwrap_or(("ISO", "MDY"));
        let (form, order) = checked.split_once(", ").unwrap_or((&checked, ""));
        let or = |new: &str, kept: &str| if new.is_empty() { kept.to_string() } else { new.to_string() };
        Ok(format!("{}, {}", or(form, kept_form), or(order, kept_order)))
    }

    fn put(&mut self, name: String, value: Option<String>) {
        let values = Arc::make_mut(&mut self.values);
        match value {
            Some(value) => values.insert(name, value),
            None => values.remove(&name),
        };
        self.style = style_of(&self.values);
    }

    /// Replaces all values and gives the old ones back.
    fn put_all(&mut self, values: Arc<Values>) -> Arc<Values> {
        let before = std::mem::replace(&mut self.values, values);
        self.style = style_of(&self.values);
        before
    }

    fn differences(&self, before: &Values) -> Vec<(String, String)> {
        let value = |values: &Values, known: &Known| {
            values.get(known.name).cloned().unwrap_or_else(|| known.default.to_string())
        };
        KNOWN
            .iter()
            .filter(|known| known.reported && value(before, known) != value(&self.values, known))
            .map(|known| (known.spelling.to_string(), value(&self.values, known)))
            .collect()
    }
}

fn style_of(values: &Values) -> TextStyle {
    let kept = |name: &str| values.get(name).map(String::as_str);
    let (date, order) = value::date_style_of(kept("datestyle").unwrap_or_default());
    let forms = TextForms {
        date,
        order,
        interval: value::interval_style_of(kept("intervalstyle").unwrap_or_default()),
        float_digits: kept("extra_float_digits").and_then(|digits| digits.parse().ok()).unwrap_or(1),
        bytea_escaped: kept("bytea_output") == Some("escape"),
    };
    TextStyle { zone: kept("timezone").and_then(Zone::named).unwrap_or_default(), forms }
}

/// Other spellings of a setting's name.
fn canonical(name: &str) -> String {
    match name.to_ascii_lowercase().as_str() {
        "time zone" => "timezone".to_string(),
        "names" => "client_encoding".to_string(),
        lower => lower.to_string(),
    }
}

fn near(name: &str) -> Option<String> {
    nearest(name, KNOWN.iter().map(|known| known.name))
}

/// Nobody knows the setting.
fn unrecognized(name: &str) -> SqlError {
    let error = SqlError::new(Condition::UndefinedObject, format!("unrecognized configuration parameter \"{name}\""));
    match near(name) {
        Some(near) => error.with_hint(format!("Perhaps you meant to reference the parameter \"{near}\".")),
        None => error.with_hint("SHOW ALL lists the known ones."),
    }
}

fn unknown(name: &str) -> Notice {
    let message = format!("parameter \"{name}\" is not known here: it is kept and shown, and has no effect");
    let hint = near(name).map(|near| format!("Perhaps you meant the parameter \"{near}\"."));
    Notice { hint, ..Notice::plain(message) }
}

/// Refuses what is no name of a setting, and what looks like one of ours and is none.
fn check_custom(name: &str) -> Result<(), SqlError> {
    let invalid = |detail: &str| {
        SqlError::new(Condition::InvalidName, format!("invalid configuration parameter name \"{name}\""))
            .with_detail(detail)
    };
    let plain = |part: &str| {
        part.starts_with(|first: char| first.is_alphabetic() || first == '_')
            && part.chars().all(|character| character.is_alphanumeric() || character == '_' || character == '$')
    };
    if !name.split('.').all(plain) {
        let detail = "Custom parameter names must be two or more simple identifiers separated by dots.";
        return Err(invalid(detail));
    }
    if name.starts_with("millstream.") {
        let error = invalid("\"millstream\" is a reserved prefix.");
        return Err(match near(name) {
            Some(near) => error.with_hint(format!("Perhaps you meant the parameter \"{near}\".")),
            None => error.with_hint("SHOW ALL lists the known ones."),
        });
    }
    Ok(())
}

fn fixed(name: &str) -> SqlError {
    SqlError::new(Condition::CantChangeRuntimeParam, format!("parameter \"{name}\" cannot be changed"))
}

/// The schemas of a search path: quoted names as they are, others folded; `$user` has no schema here.
fn split_path(path: &str) -> Vec<String> {
    let mut schemas: Vec<String> = Vec::new();
    let (mut name, mut in_quotes, mut was_quoted) = (String::new(), false, false);
    let mut characters = path.chars().chain([',']).peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if in_quotes && characters.peek() == Some(&'"') => {
                characters.next();
                name.push('"');
            }
            '"' => {
                in_quotes = !in_quotes;
                was_quoted = true;
            }
            ',' if !in_quotes => {
                let schema = std::mem::take(&mut name);
                let schema = if was_quoted { schema } else { schema.trim().trim_matches('\'').to_lowercase() };
                if !schema.is_empty() && schema != "$user" {
                    schemas.push(schema);
                }
                was_quoted = false;
            }
            space if space.is_whitespace() && !in_quotes && (was_quoted || name.is_empty()) => {}
            other => name.push(other),
        }
    }
    schemas.dedup();
    schemas
}
