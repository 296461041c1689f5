//! The tables of a script and their model: what each holds after every statement, told by the rules alone.
//!
//! The model knows nothing of Arrow, DataFusion or the engine. It decides which rows are late, which statement
//! is refused and with which SQLSTATE, and how far the watermark has come.

use std::collections::{BTreeMap, BTreeSet};

use super::script::{Change, Conflict, Only, Step};

/// Seconds that a watermark stays behind the newest row.
pub const DELAY: i64 = 5;

/// A value: how SQL writes it, and how a result shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    Null,
    Int(i64),
    Text(&'static str),
    /// A place in [`FLOATS`].
    Float(usize),
    /// `numeric(12, 2)`.
    Cents(i64),
    /// Seconds behind the start of 2026.
    Time(i64),
}

/// Floats whose sum depends on the order in which one adds, if one rounds: as SQL writes them, as they are shown.
pub const FLOATS: [(&str, &str); 10] = [
    ("0.1", "0.1"),
    ("-0.3", "-0.3"),
    ("2.5", "2.5"),
    ("1e300", "1e300"),
    ("-1e300", "-1e300"),
    ("3e-300", "3e-300"),
    ("1e16", "1e16"),
    ("-0", "-0.0"),
    ("Infinity", "inf"),
    ("NaN", "NaN"),
];

pub type Row = Vec<Value>;

impl Value {
    pub fn literal(&self) -> String {
        match self {
            Self::Null => "NULL".to_string(),
            Self::Text(text) => format!("'{text}'"),
            Self::Float(place) => format!("'{}'::float8", FLOATS[*place].0),
            Self::Time(seconds) => format!("'2026-01-01 {}'", clock_text(*seconds)),
            Self::Int(_) | Self::Cents(_) => self.shown(),
        }
    }

    pub fn shown(&self) -> String {
        match self {
            Self::Null => "null".to_string(),
            Self::Int(number) => number.to_string(),
            Self::Text(text) => (*text).to_string(),
            Self::Float(place) => FLOATS[*place].1.to_string(),
            Self::Cents(cents) => {
                let sign = if *cents < 0 { "-" } else { "" };
                format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100)
            }
            Self::Time(seconds) => format!("2026-01-01T{}", clock_text(*seconds)),
        }
    }

    fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Self::Int(a + b),
            _ => Self::Null,
        }
    }

    pub fn seconds(self) -> Option<i64> {
        if let Self::Time(seconds) = self { Some(seconds) } else { None }
    }
}

fn clock_text(seconds: i64) -> String {
    assert!((0..86_400).contains(&seconds), "scripts play within one day");
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A row as a result shows it.
pub fn row_text(row: &Row) -> String {
    row.iter().map(Value::shown).collect::<Vec<_>>().join("|")
}

/// What a script may write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Append-only, with event time.
    Events,
    /// With a key.
    People,
    /// Without a key, and not append-only: rows may be there several times.
    Items,
    /// With a key and event time: changes within windows that are still open.
    Ticks,
}

pub const TABLES: [Table; 4] = [Table::Events, Table::People, Table::Items, Table::Ticks];

impl Table {
    pub fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::People => "people",
            Self::Items => "items",
            Self::Ticks => "ticks",
        }
    }

    /// Its definition; `lateness` seconds are allowed to rows of `events`.
    pub fn create(self, lateness: i64) -> String {
        let watermark = format!("WATERMARK FOR ts AS ts - INTERVAL '{DELAY} seconds'");
        match self {
            Self::Events => {
                let lateness = match lateness {
                    0 => String::new(),
                    _ => format!(" WITH (allowed_lateness = '{lateness} seconds')"),
                };
                format!(
                    "CREATE TABLE events (k INT, g TEXT, x BIGINT, f DOUBLE PRECISION, d NUMERIC(12, 2), ts TIMESTAMP, \
                     {watermark}) APPEND ONLY{lateness}"
                )
            }
            Self::People => {
                "CREATE TABLE people (id INT PRIMARY KEY, name TEXT, v INT, f DOUBLE PRECISION)".to_string()
            }
            Self::Items => "CREATE TABLE items (k INT, g TEXT, x INT)".to_string(),
            Self::Ticks => format!("CREATE TABLE ticks (id INT PRIMARY KEY, x INT, ts TIMESTAMP, {watermark})"),
        }
    }

    /// The name of its first column, by which rows are picked.
    pub fn first_column(self) -> &'static str {
        if self.has_key() { "id" } else { "k" }
    }

    /// The column that an UPDATE adds to.
    pub fn number(self) -> (&'static str, usize) {
        match self {
            Self::Events | Self::Items => ("x", 2),
            Self::People => ("v", 2),
            Self::Ticks => ("x", 1),
        }
    }

    pub fn has_key(self) -> bool {
        matches!(self, Self::People | Self::Ticks)
    }

    /// The column of the event time.
    pub fn time(self) -> Option<usize> {
        match self {
            Self::Events => Some(5),
            Self::Ticks => Some(2),
            Self::People | Self::Items => None,
        }
    }

    /// What `ON CONFLICT (id) DO UPDATE SET` sets.
    pub fn assignments(self) -> &'static str {
        match self {
            Self::Ticks => "x = excluded.x",
            Self::Events | Self::People | Self::Items => "v = people.v + excluded.v, name = excluded.name",
        }
    }

    fn merged(self, old: &Row, new: &Row) -> Row {
        let mut row = old.clone();
        match self {
            Self::Ticks => row[1] = new[1],
            Self::Events | Self::People | Self::Items => (row[1], row[2]) = (new[1], old[2].plus(new[2])),
        }
        row
    }
}

/// All tables as they must be.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub lateness: i64,
    pub rows: BTreeMap<Table, Vec<Row>>,
    pub late: BTreeMap<Table, Vec<Row>>,
    /// The newest row's time less the delay.
    pub clocks: BTreeMap<Table, i64>,
}

/// What a statement must answer: the rows that it names in its tag, or its SQLSTATE.
pub type Verdict = Result<usize, &'static str>;

impl Model {
    pub fn new(lateness: i64) -> Self {
        Self { lateness, ..Self::default() }
    }

    pub fn rows_of(&self, table: Table) -> &[Row] {
        self.rows.get(&table).map_or(&[], Vec::as_slice)
    }

    pub fn late_of(&self, table: Table) -> &[Row] {
        self.late.get(&table).map_or(&[], Vec::as_slice)
    }

    pub fn late_count(&self) -> usize {
        self.late.values().map(Vec::len).sum()
    }

    /// Windows that end here or before are closed.
    pub fn watermark(&self, table: Table) -> Option<i64> {
        self.clocks.get(&table).map(|clock| clock - self.lateness_of(table))
    }

    fn lateness_of(&self, table: Table) -> i64 {
        if table == Table::Events { self.lateness } else { 0 }
    }

    fn admits(&self, table: Table, row: &Row, clock: Option<i64>) -> bool {
        let time = table.time().and_then(|column| row[column].seconds());
        match (time, clock) {
            (Some(time), Some(clock)) => time + self.lateness_of(table) >= clock,
            _ => true,
        }
    }

    /// Does what a step does, or says why it is refused; a refused statement changes nothing.
    pub fn apply(&mut self, step: &Step) -> Verdict {
        match step {
            Step::Insert { table, rows, conflict } => self.insert(*table, rows, *conflict),
            Step::Copy => {
                let rows: Vec<Row> = self.rows_of(Table::People).iter().map(|row| row[..3].to_vec()).collect();
                self.insert(Table::Items, &rows, Conflict::Fails)
            }
            Step::Change { table, change, only } => self.change(*table, *change, *only),
            Step::Advance { table, to } => {
                let clock = self.clocks.entry(*table).or_insert(*to);
                *clock = (*clock).max(*to);
                Ok(0)
            }
            Step::CreateDuring { .. } => unreachable!("its writes are applied one by one"),
            Step::Create(_) | Step::Drop(_) | Step::Checkpoint | Step::Restart { .. } => Ok(0),
        }
    }

    fn insert(&mut self, table: Table, rows: &[Row], conflict: Conflict) -> Verdict {
        let never_null = table.time().into_iter().chain(table.has_key().then_some(0));
        let refused = never_null.into_iter().any(|column| rows.iter().any(|row| row[column] == Value::Null));
        if refused {
            return Err("23502");
        }
        let before = self.clocks.get(&table).copied();
        let (mut clock, mut accepted, mut late) = (before, Vec::new(), Vec::new());
        for row in rows {
            if self.admits(table, row, clock) { &mut accepted } else { &mut late }.push(row.clone());
            let time = table.time().and_then(|column| row[column].seconds());
            clock = clock.max(time.map(|time| time - DELAY));
        }
        let mut stored = self.rows_of(table).to_vec();
        let added = if table.has_key() {
            self.resolve(table, &mut stored, &accepted, conflict, before)?
        } else {
            stored.extend(accepted.iter().cloned());
            accepted.len()
        };
        self.rows.insert(table, stored);
        self.late.entry(table).or_default().extend(late);
        if let Some(clock) = clock {
            self.clocks.insert(table, clock);
        }
        Ok(added)
    }

    /// Puts rows into a table with a key.
    fn resolve(
        &self,
        table: Table,
        stored: &mut Vec<Row>,
        rows: &[Row],
        conflict: Conflict,
        clock: Option<i64>,
    ) -> Verdict {
        let (mut met, mut added, mut below) = (BTreeSet::new(), 0, false);
        for row in rows {
            let again = met.contains(&row[0]);
            let old = stored.iter().position(|old| old[0] == row[0]);
            match (old, conflict) {
                (None, _) => stored.push(row.clone()),
                (Some(_), Conflict::Nothing) => continue,
                (Some(_), Conflict::Fails) => return Err("23505"),
                (Some(_), Conflict::Updates) if again => return Err("21000"),
                (Some(place), Conflict::Updates) => {
                    below |= !self.admits(table, &stored[place], clock);
                    stored[place] = table.merged(&stored[place], row);
                }
            }
            met.insert(row[0]);
            added += 1;
        }
        if below { Err("55000") } else { Ok(added) }
    }

    fn change(&mut self, table: Table, change: Change, only: Only) -> Verdict {
        let picked = |row: &Row| match (only, row[0]) {
            (Only::All, _) => true,
            (Only::Equal(key), Value::Int(at)) => at == key,
            (Only::Below(key), Value::Int(at)) => at < key,
            (Only::Equal(_) | Only::Below(_), _) => false,
        };
        let (meant, mut rest): (Vec<Row>, Vec<Row>) = self.rows_of(table).iter().cloned().partition(|row| picked(row));
        let clock = self.clocks.get(&table).copied();
        if meant.iter().any(|row| !self.admits(table, row, clock)) {
            return Err("55000");
        }
        let count = meant.len();
        rest.extend(meant.into_iter().filter_map(|mut row| {
            match change {
                Change::Delete => return None,
                Change::Add(number) => row[table.number().1] = row[table.number().1].plus(Value::Int(number)),
                Change::MoveKey(number) => row[0] = row[0].plus(Value::Int(number)),
            }
            Some(row)
        }));
        let keys: BTreeSet<Value> = rest.iter().map(|row| row[0]).collect();
        if table.has_key() && keys.len() < rest.len() {
            return Err("23505");
        }
        self.rows.insert(table, rest);
        Ok(count)
    }
}
