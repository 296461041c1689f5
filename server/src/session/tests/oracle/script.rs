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
    /// Another session writes while the view is made and filled.
    CreateDuring {
        view: &'static View,
        writes: Vec<Step>,
    },
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
    /// The statement; `None` for a restart, which no statement does. Of what is done at the same time, the first.
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
            Self::Create(view) | Self::CreateDuring { view, .. } => view.create(),
            Self::Drop(view) => format!("DROP MATERIALIZED VIEW {} CASCADE", view.name),
            Self::Checkpoint => "CHECKPOINT".to_string(),
            Self::Restart { .. } => return None,
        })
    }

    /// The tables that it writes to.
    pub fn writes(&self) -> BTreeSet<Table> {
        match self {
            Self::Insert { table, .. } | Self::Change { table, .. } | Self::Advance { table, .. } => [*table].into(),
            Self::Copy => [Table::Items].into(),
            Self::CreateDuring { writes, .. } => writes.iter().flat_map(Self::writes).collect(),
            Self::Create(_) | Self::Drop(_) | Self::Checkpoint | Self::Restart { .. } => BTreeSet::new(),
        }
    }

    /// The tables that must be there.
    fn needs(&self, table: Table) -> bool {
        match self {
            Self::Create(view) => view.reads(table),
            Self::CreateDuring { view, writes } => view.reads(table) || writes.iter().any(|write| write.needs(table)),
            Self::Copy => matches!(table, Table::People | Table::Items),
            other => other.writes().contains(&table),
        }
    }

    /// The rows that it spells out.
    pub fn row_count(&self) -> usize {
        match self {
            Self::Insert { rows, .. } => rows.len(),
            Self::CreateDuring { writes, .. } => writes.iter().map(Self::row_count).sum(),
            _ => 0,
        }
    }
}

impl Script {
    /// The tables that its steps and views need.
    pub fn tables(&self) -> BTreeSet<Table> {
        TABLES.into_iter().filter(|table| self.steps.iter().any(|step| step.needs(*table))).collect()
    }

    /// The statements before the first step.
    pub fn preamble(&self) -> Vec<String> {
        let hurried = self.hurried.then(|| "SET millstream.checkpoint_interval = '20ms'".to_string());
        hurried.into_iter().chain(self.tables().into_iter().map(|table| table.create(self.lateness))).collect()
    }

    /// How many rows its statements spell out.
    pub fn row_count(&self) -> usize {
        self.steps.iter().map(Step::row_count).sum()
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
                (Step::CreateDuring { writes, .. }, Some(sql)) => {
                    writeln!(f, "{sql};")?;
                    writeln!(f, "-- meanwhile, in another session")?;
                    for write in writes.iter().filter_map(Step::sql) {
                        writeln!(f, "{write};")?;
                    }
                    writeln!(f, "-- when both are done")?;
                }
                (_, Some(sql)) => writeln!(f, "{sql};")?,
                (_, None) => {}
            }
        }
        Ok(())
    }
}
