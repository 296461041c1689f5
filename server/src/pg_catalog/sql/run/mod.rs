//! Runs a [`Plan`] over the catalog.
//!
//! Rows flow one by one: a FROM calls back for every row that its conditions let through, joins within it look
//! the rows of their right side up where a column must equal something. Relations are small, but a join of many
//! is not, so every row costs from a budget, and whoever waits for the answer can give up.

mod aggregate;
mod evaluate;
mod query;
mod scan;
mod window;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use millstream_planner::error::{PlanError, PlanErrorKind, Result};

use super::Context;
use super::datum::Datum;
use super::plan::{Id, Row, Tuple};

/// The rows that one statement may look at in all: some seconds of work.
const ROWS: u64 = 50_000_000;

/// Bytes in which a statement may hold rows, about: each value counts as this many.
const VALUE_BYTES: u64 = 24;

/// What a statement may hold at once.
const HELD_BYTES: u64 = 512 << 20;

/// Rows between two looks at whether anybody still waits.
const LOOK_EVERY: u64 = 4_096;

/// Rows that are kept.
type Rows = Arc<Vec<Tuple>>;

/// Rows by the value of one column, and the rows that they were made for.
type Index = (Rows, Arc<HashMap<Datum, Vec<usize>>>);

/// The rows around an expression, from the inside out.
struct Around<'a> {
    row: &'a Row,
    outer: Option<&'a Around<'a>>,
}

/// One run of a statement.
pub(super) struct Run<'a> {
    context: &'a Context,
    parameters: &'a [Datum],
    /// Rows of the user's relations, read before.
    user_rows: &'a [Rows],
    looked: Cell<u64>,
    held: Cell<u64>,
    with: RefCell<HashMap<Id, Rows>>,
    /// Rows of relations and of subqueries in FROM.
    factors: RefCell<HashMap<Id, Rows>>,
    indexes: RefCell<HashMap<(Id, usize), Index>>,
    catalog: RefCell<HashMap<usize, Rows>>,
    /// Answers of subqueries that are the same for every row.
    answers: RefCell<HashMap<Id, Rows>>,
}

impl<'a> Run<'a> {
    pub(super) fn new(context: &'a Context, parameters: &'a [Datum], user_rows: &'a [Rows]) -> Self {
        Self {
            context,
            parameters,
            user_rows,
            looked: Cell::new(0),
            held: Cell::new(0),
            with: RefCell::default(),
            factors: RefCell::default(),
            indexes: RefCell::default(),
            catalog: RefCell::default(),
            answers: RefCell::default(),
        }
    }

    /// Counts a row that is looked at.
    fn look(&self) -> Result<()> {
        let looked = self.looked.get() + 1;
        self.looked.set(looked);
        if looked.is_multiple_of(LOOK_EVERY) && self.context.is_given_up() {
            return Err(PlanError::internal("nobody waits for the answer"));
        }
        if looked > ROWS {
            let message = format!("a query over the catalog can look at no more than {ROWS} rows");
            let error = PlanError::new(PlanErrorKind::ProgramLimitExceeded, message);
            return Err(error.with_hint("Join fewer relations, or join them by equal columns."));
        }
        Ok(())
    }

    /// Counts values that are kept.
    fn hold(&self, values: usize) -> Result<()> {
        let held = self.held.get() + (values as u64 + 1) * VALUE_BYTES;
        self.held.set(held);
        if held > HELD_BYTES {
            let message = format!("a query over the catalog can hold no more than {} MiB", HELD_BYTES >> 20);
            let error = PlanError::new(PlanErrorKind::ProgramLimitExceeded, message);
            return Err(error.with_hint("Select fewer rows."));
        }
        Ok(())
    }
}
