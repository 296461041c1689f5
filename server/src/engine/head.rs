//! Table heads: each table with every commit applied, those included that no graph shows yet.
//!
//! Invariants: heads are changed under the writer's lock alone, in the order of the log; a statement that
//! fails leaves its head as it was. What a row has to be is decided by the runtime's [`Acceptor`], the same
//! that serves sources.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use bytes::BytesMut;
use millstream_planner::catalog::TableDefinition;
use millstream_planner::values::{ColumnReader, ColumnType, TextStyle, as_stored, put_text};
use millstream_runtime::batch::ChangeBatch;
use millstream_runtime::graph::{Acceptor, SplitClock};
use millstream_runtime::relation::RelationStore;
use millstream_runtime::storage::RowsRecord;
use millstream_runtime::time::Watermark;
use millstream_runtime::{Error, Result};

use crate::session::sqlstate::Condition;
use crate::session::{ErrorObject, SqlError};

/// A table with every commit applied.
pub struct TableHead {
    /// How it was declared.
    pub definition: TableDefinition,
    /// Its rows, found by primary key.
    pub store: RelationStore,
    acceptor: Acceptor,
    clock: SplitClock,
}

/// Rows that an INSERT may add, and those that came too late.
pub struct AcceptedRows {
    /// All columns.
    pub rows: RecordBatch,
    /// All columns.
    pub late: RecordBatch,
    /// The clock behind them; takes effect with [`TableHead::commit`].
    pub clock: SplitClock,
}

impl TableHead {
    /// An empty table.
    pub fn new(definition: TableDefinition) -> Result<Self> {
        let input = &definition.input;
        let store = RelationStore::new(Arc::clone(&input.schema), input.primary_key.clone())?;
        let acceptor = Acceptor::new(input)?;
        Ok(Self { store, acceptor, clock: SplitClock::starting_at(Watermark::NONE), definition })
    }

    /// A table as a checkpoint has it.
    pub fn restored(definition: TableDefinition, store: RelationStore, watermark: Watermark) -> Result<Self> {
        let mut head = Self { store, ..Self::new(definition)? };
        head.clock.watermark = match &head.definition.input.watermark {
            Some(spec) if watermark != Watermark::NONE && watermark != Watermark::END => {
                Watermark::at_micros(watermark.micros().saturating_add(spec.allowed_lateness_micros))
            }
            _ => watermark,
        };
        Ok(head)
    }

    /// The table's name, for messages.
    pub fn name(&self) -> &str {
        let qualified = &self.definition.input.name;
        qualified.rsplit_once('.').map_or(qualified.as_str(), |(_, name)| name)
    }

    /// The table, for programs that look what an error is about.
    pub fn named(&self) -> ErrorObject {
        let (schema, table) = self.definition.input.name.rsplit_once('.').unwrap_or(("public", self.name()));
        ErrorObject { schema: schema.to_string(), table: table.to_string(), ..ErrorObject::default() }
    }

    /// What the table promises: no row below it is accepted any more.
    pub fn watermark(&self) -> Watermark {
        match &self.definition.input.watermark {
            None => Watermark::NONE,
            Some(_) if self.clock.watermark == Watermark::NONE || self.clock.watermark == Watermark::END => {
                self.clock.watermark
            }
            Some(spec) => {
                Watermark::at_micros(self.clock.watermark.micros().saturating_sub(spec.allowed_lateness_micros))
            }
        }
    }

    /// The watermark as the next row is held against it, for the log; `None` without a declared one.
    pub fn clock(&self) -> Option<Watermark> {
        self.definition.input.watermark.as_ref().map(|_| self.clock.watermark)
    }

    /// Raises the watermark by hand (`ADVANCE WATERMARK`).
    pub fn advance_watermark(&mut self, to: Watermark) {
        self.clock.watermark = self.clock.watermark.max(to);
    }

    /// The clock as the last commit left it.
    pub fn split_clock(&self) -> SplitClock {
        self.clock
    }

    /// Computes the generated columns of physical rows and parts off those that are late by `clock`, which is
    /// this table's or further on; a row that the schema refuses fails the statement.
    pub fn accept(&self, physical: &RecordBatch, mut clock: SplitClock) -> Result<AcceptedRows, SqlError> {
        let accepted = self.acceptor.accept(physical, &mut clock)?;
        if let Some((row, reason)) = accepted.rejected.first() {
            return Err(self.refused(reason, physical, *row).with_row(*row));
        }
        Ok(AcceptedRows { rows: accepted.rows, late: accepted.late, clock })
    }

    /// Whether every row may still be changed: `UPDATE` and `DELETE` below the watermark would take back what
    /// windows have shown as final.
    pub fn refuse_below_watermark(&self, rows: &RecordBatch, verb: &str, clock: SplitClock) -> Result<(), SqlError> {
        if self.late_by(rows, clock)?.is_none_or(|late| late.true_count() == 0) {
            return Ok(());
        }
        let message = format!("cannot {verb} a row of table \"{}\" that is below its watermark", self.name());
        Err(SqlError::new(Condition::ObjectNotInPrerequisiteState, message)
            .with_hint("Windows over such rows may have been closed; allowed_lateness keeps rows open longer."))
    }

    /// True for the rows that are late by a clock; `None` without a declared watermark.
    pub fn late_by(&self, rows: &RecordBatch, clock: SplitClock) -> Result<Option<BooleanArray>, SqlError> {
        let Some(column) = self.acceptor.event_time_column() else { return Ok(None) };
        let times = rows.column(column).as_primitive_opt::<TimestampMicrosecondType>();
        let times = times.ok_or_else(|| Error::internal("event times are timestamps in microseconds"))?;
        let late = times.iter().map(|time| Some(time.is_some_and(|time| !self.acceptor.admits(time, &clock))));
        Ok(Some(late.collect()))
    }

    /// Applies final changes; gives back their net effect. Rows that only come are taken batch by batch: as one
    /// they would be copied.
    pub fn commit(&mut self, changes: &[ChangeBatch], clock: Option<SplitClock>) -> Result<Vec<ChangeBatch>> {
        let net = if changes.iter().all(|change| change.weights.is_none()) {
            let each = changes.chunks(1).map(|change| self.store.apply(change));
            each.collect::<Result<Vec<_>>>()?.concat()
        } else {
            self.store.apply(changes)?
        };
        if let Some(clock) = clock {
            self.clock = clock;
        }
        Ok(net)
    }

    /// Applies what the log holds: it was decided when it was written.
    pub fn replay(&mut self, record: &RowsRecord) -> Result<Vec<ChangeBatch>> {
        match record.watermark {
            Some(watermark) => self.advance_watermark(watermark),
            None => self.count_times(&record.changes)?,
        }
        if record.late { Ok(Vec::new()) } else { self.store.apply(&record.changes) }
    }

    /// Moves the clock by rows whose entry is from before it held the clock.
    fn count_times(&mut self, changes: &[ChangeBatch]) -> Result<()> {
        let physical: Vec<usize> = (0..self.definition.input.physical_columns).collect();
        for change in changes {
            let mut clock = self.clock;
            self.acceptor.accept(&change.rows.project(&physical)?, &mut clock)?;
            // Rows that were taken back have been counted when they came.
            self.clock.watermark = self.clock.watermark.max(clock.watermark);
        }
        Ok(())
    }

    fn refused(&self, reason: &str, physical: &RecordBatch, row: usize) -> SqlError {
        let failing = format!("Failing row contains ({}).", row_text(physical, row));
        if reason.starts_with("null value in column") {
            let message = reason.replacen("\" violates", &format!("\" of relation \"{}\" violates", self.name()), 1);
            let column = reason.strip_prefix("null value in column \"").and_then(|rest| rest.rsplit_once('"'));
            let column = column.map(|(name, _)| name.to_string());
            return SqlError::new(Condition::NotNullViolation, message)
                .with_detail(failing)
                .about(ErrorObject { column, ..self.named() });
        }
        if reason.starts_with("value too long for type") {
            return SqlError::new(Condition::StringDataRightTruncation, reason).with_detail(failing);
        }
        if reason == "the event time is null" {
            let message = format!("null value in the event time column of relation \"{}\"", self.name());
            return SqlError::new(Condition::NotNullViolation, message).with_detail(failing);
        }
        SqlError::from(Error::data(reason)).with_detail(failing)
    }
}

/// A row as Postgres shows it in a detail, long values cut.
pub fn row_text(rows: &RecordBatch, row: usize) -> String {
    const VALUE_CHARACTERS: usize = 64;
    let texts: Vec<String> = rows
        .columns()
        .iter()
        .map(|column| {
            if column.is_null(row) {
                return "null".to_string();
            }
            let text = shown(column, row).unwrap_or_else(|_| "?".to_string());
            match text.char_indices().nth(VALUE_CHARACTERS) {
                None => text,
                Some((end, _)) => format!("{}...", &text[..end]),
            }
        })
        .collect();
    texts.join(", ")
}

/// A value as the wire shows it, in UTC.
fn shown(column: &ArrayRef, row: usize) -> Result<String, SqlError> {
    let column_type = ColumnType::of_type(column.data_type())?;
    let one = as_stored(&column.slice(row, 1), &column_type)?;
    let mut text = BytesMut::new();
    ColumnReader::new(&one, &column_type)?
        .get(0)
        .iter()
        .for_each(|value| put_text(&mut text, value, TextStyle::default()));
    Ok(String::from_utf8_lossy(&text).into_owned())
}
