//! The same accepted rows told in another way: another order within what is allowed, other statements, other
//! restarts, another number of slots, views made at other moments. What every view holds must be the same.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::generate::{slots, with_inputs};
use super::run::Outcome;
use super::script::{Conflict, Script, Step};
use super::tables::{DELAY, Row, TABLES, Table};

/// A script that leaves what `script` has left.
pub fn reordered(script: &Script, outcome: &Outcome, random: &mut StdRng) -> Script {
    let mut parts: Vec<Vec<Step>> = TABLES
        .into_iter()
        .map(|table| statements(table, in_another_order(table, script.lateness, outcome, random), random))
        .collect();
    // The statements of each table in their order, those of different tables in any.
    let mut steps = Vec::new();
    loop {
        parts.retain(|part| !part.is_empty());
        if parts.is_empty() {
            break;
        }
        let part = random.random_range(0..parts.len());
        steps.push(parts[part].remove(0));
    }
    for (view, _) in outcome.views.values() {
        let at = random.random_range(0..=steps.len());
        steps.splice(at..at, with_inputs(view).into_iter().map(Step::Create));
    }
    for _ in 0..random.random_range(0..3) {
        let step = match random.random_bool(0.5) {
            true => Step::Checkpoint,
            false => Step::Restart { kill: random.random_bool(0.5), slots: slots(random) },
        };
        steps.insert(random.random_range(0..=steps.len()), step);
    }
    // Rows that are gone may have moved the watermark.
    let clocks = outcome.model.clocks.iter().filter(|(_, clock)| **clock >= 0);
    steps.extend(clocks.map(|(table, clock)| Step::Advance { table: *table, to: *clock }));
    Script { slots: slots(random), steps, ..script.clone() }
}

/// Rows with event time change places only as far as none of them gets late by it.
fn in_another_order(table: Table, lateness: i64, outcome: &Outcome, random: &mut StdRng) -> Vec<Row> {
    let mut rows = outcome.model.rows_of(table).to_vec();
    let reach = if table == Table::Events { DELAY + lateness } else { DELAY };
    rows.shuffle(random);
    if let Some(column) = table.time() {
        rows.sort_by_cached_key(|row| row[column].seconds().map(|time| time + random.random_range(0..=reach)));
    }
    rows
}

fn statements(table: Table, mut rows: Vec<Row>, random: &mut StdRng) -> Vec<Step> {
    let mut steps = Vec::new();
    while !rows.is_empty() {
        let rest = rows.split_off(random.random_range(1..8).min(rows.len()));
        steps.push(Step::Insert { table, rows: std::mem::replace(&mut rows, rest), conflict: Conflict::Fails });
    }
    steps
}
