//! A case of the oracle: statements, checkpoints and restarts, as data that can be made smaller and as SQL that
//! can be run by hand.

use std::collections::BTreeSet;
use std::fmt;

use super::tables::{Row, TABLES, Table, Value};
use super::views::View;

/// What an INSERT does with a key that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    Fails,
    Nothing,
    Updates,
}

/// What becomes of rows that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Delete,
    /// Adds to the table's number.
    Add(i64),
    /// Adds to the key.
    MoveKey(i64),
}

/// Which rows a change means, by their first column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Only {
    All,
    Equal(i64),
    Below(i64),
}

/// One step.
#[derive(Clone, Debug)]
pub enum Step {
    Insert {
        table: Table,
        rows: Vec<Row>,
        conflict: Conflict,
    },
    /// `people` into `items`.
    Copy,
    Change {
        table: Table,
        change: Change,
        only: Only,
    },
    Advance {
        table: Table,
        to: i64,
    },
    Create(&'static View),
    Drop(&'static View),
    Checkpoint,
    /// The storage is opened again with that many slots: after the server has stopped, or as after a kill, when
    /// the old one has not noticed yet.
    Restart {
        kill: bool,
        slots: usize,
    },
}

/// A case.
#[derive(Clone, Debug)]
pub struct Script {
    pub slots: usize,
    /// Seconds that rows of `events` may be late.
    pub lateness: i64,
    /// Checkpoints are also taken whenever some milliseconds have passed.
    pub hurried: bool,
    pub steps: Vec<Step>,
}

impl Step {
    /// The statement; `None` for a restart, which no statement does.
    pub fn sql(&self) -> Option<String> {
        Some(match self {
            Self::Insert { table, rows, conflict } => {
                let rows: Vec<String> = rows
                    .iter()
                    .map(|row| format!("({})", row.iter().map(Value::literal).collect::<Vec<_>>().join(", ")))
                    .collect();
                let conflict = match conflict {
                    Conflict::Fails => String::new(),
                    Conflict::Nothing => " ON CONFLICT DO NOTHING".to_string(),
                    Conflict::Updates => format!(" ON CONFLICT (id) DO UPDATE SET {}", table.assignments()),
                };
                format!("INSERT INTO {} VALUES {}{conflict}", table.name(), rows.join(", "))
            }
            Self::Copy => "INSERT INTO items SELECT id, name, v FROM people".to_string(),
            Self::Change { table, change, only } => {
                let (name, key, number) = (table.name(), table.first_column(), table.number().0);
                let only = match only {
                    Only::All => String::new(),
                    Only::Equal(value) => format!(" WHERE {key} = {value}"),
                    Only::Below(value) => format!(" WHERE {key} < {value}"),
                };
                match change {
                    Change::Delete => format!("DELETE FROM {name}{only}"),
                    Change::Add(add) => format!("UPDATE {name} SET {number} = {number} + {add}{only}"),
                    Change::MoveKey(add) => format!("UPDATE {name} SET {key} = {key} + {add}{only}"),
                }
            }
            Self::Advance { table, to } => {
                format!("ADVANCE WATERMARK FOR {} TO TIMESTAMP {}", table.name(), Value::Time(*to).literal())
            }
            Self::Create(view) => view.create(),
            Self::Drop(view) => format!("DROP MATERIALIZED VIEW {} CASCADE", view.name),
            Self::Checkpoint => "CHECKPOINT".to_string(),
            Self::Restart { .. } => return None,
        })
    }

    /// The table that it writes to.
    pub fn writes(&self) -> Option<Table> {
        match self {
            Self::Insert { table, .. } | Self::Change { table, .. } | Self::Advance { table, .. } => Some(*table),
            Self::Copy => Some(Table::Items),
            Self::Create(_) | Self::Drop(_) | Self::Checkpoint | Self::Restart { .. } => None,
        }
    }
}

impl Script {
    /// The tables that its steps and views need.
    pub fn tables(&self) -> BTreeSet<Table> {
        let needs = |table: Table| {
            self.steps.iter().any(|step| match step {
                Step::Create(view) => view.reads(table),
                Step::Copy => matches!(table, Table::People | Table::Items),
                other => other.writes() == Some(table),
            })
        };
        TABLES.into_iter().filter(|table| needs(*table)).collect()
    }

    /// The statements before the first step.
    pub fn preamble(&self) -> Vec<String> {
        let hurried = self.hurried.then(|| "SET millstream.checkpoint_interval = '20ms'".to_string());
        hurried.into_iter().chain(self.tables().into_iter().map(|table| table.create(self.lateness))).collect()
    }

    /// How many rows its statements spell out.
    pub fn row_count(&self) -> usize {
        let rows = |step: &Step| if let Step::Insert { rows, .. } = step { rows.len() } else { 0 };
        self.steps.iter().map(rows).sum()
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "-- a server with {} slots", self.slots)?;
        for statement in self.preamble() {
            writeln!(f, "{statement};")?;
        }
        for step in &self.steps {
            match (step, step.sql()) {
                (Step::Restart { kill, slots }, _) => {
                    let how = if *kill { "killed" } else { "stopped" };
                    writeln!(f, "-- the server is {how} and started again with {slots} slots")?;
                }
                (_, Some(sql)) => writeln!(f, "{sql};")?,
                (_, None) => {}
            }
        }
        Ok(())
    }
}
