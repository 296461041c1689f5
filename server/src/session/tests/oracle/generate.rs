//! Makes a script of a seed.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::script::{Change, Conflict, Only, Script, Step};
use super::tables::{DELAY, FLOATS, Row, Table, Value};
use super::views::{VIEWS, View};

/// Most scripts are short, so that there are many; some are long enough to go through several checkpoints.
const STEPS: std::ops::Range<usize> = 3..7;
const STEPS_LONG: std::ops::Range<usize> = 8..20;
const KEYS: std::ops::Range<i64> = 2..7;
const NUMBERS: i64 = 8;

/// The script of a seed.
pub fn script(seed: u64) -> Script {
    let mut random = StdRng::seed_from_u64(seed);
    let (steps, views) = if random.random_bool(0.08) { (STEPS_LONG, 2..5) } else { (STEPS, 1..3) };
    let views: Vec<&'static View> =
        (0..random.random_range(views)).map(|_| &VIEWS[random.random_range(0..VIEWS.len())]).collect();
    let mut script = Script {
        slots: slots(&mut random),
        lateness: if random.random_bool(0.2) { 3 } else { 0 },
        hurried: random.random_bool(0.1),
        steps: Vec::new(),
    };
    let keys = random.random_range(KEYS);
    let mut maker = Maker { random, now: 20, keys, tables: tables(&views) };
    let mut steps: Vec<Step> = (0..maker.random.random_range(steps)).map(|_| maker.step()).collect();
    for view in views {
        // Half of the views are there from the start, the others are filled, and some go again.
        let at = if maker.random.random_bool(0.5) { 0 } else { maker.random.random_range(0..steps.len()) };
        if maker.random.random_bool(0.15) {
            steps.insert(maker.random.random_range(at..=steps.len()), Step::Drop(view));
        }
        let mut made: Vec<Step> = with_inputs(view).into_iter().map(Step::Create).collect();
        let beside = steps[at..].iter().take(3).take_while(|step| changes_rows(step)).count();
        let beside = if maker.random.random_bool(0.5) { beside } else { 0 };
        if beside > 0 {
            made.pop();
            made.push(Step::CreateDuring { view, writes: steps[at..at + beside].to_vec() });
        }
        steps.splice(at..at + beside, made);
    }
    if maker.random.random_bool(0.4) {
        maker.checkpointed(&mut steps);
    }
    script.steps = steps;
    script
}

fn changes_rows(step: &Step) -> bool {
    matches!(step, Step::Insert { .. } | Step::Change { .. })
}

pub fn slots(random: &mut StdRng) -> usize {
    [1, 3][random.random_range(0..2)]
}

/// A view behind the views that it reads.
pub fn with_inputs(view: &'static View) -> Vec<&'static View> {
    let mut all: Vec<_> = view.views().into_iter().flat_map(with_inputs).collect();
    all.push(view);
    all
}

/// The tables that the views read.
fn tables(views: &[&'static View]) -> Vec<Table> {
    let read = super::tables::TABLES.into_iter().filter(|table| views.iter().any(|view| view.reads(*table)));
    read.collect()
}

struct Maker {
    random: StdRng,
    /// The newest time of events, in seconds.
    now: i64,
    /// Keys are below it: with few of them groups go and come again.
    keys: i64,
    tables: Vec<Table>,
}

impl Maker {
    fn step(&mut self) -> Step {
        let table = self.tables[self.random.random_range(0..self.tables.len())];
        match self.random.random_range(0..20) {
            0 => Step::Checkpoint,
            1 => self.restart(),
            2 | 3 if table.time().is_some() => {
                self.now += self.random.random_range(0..12);
                Step::Advance { table, to: self.now - DELAY }
            }
            4..=8 if table != Table::Events => self.change(table),
            9 if self.tables.contains(&Table::Items) && self.tables.contains(&Table::People) => Step::Copy,
            _ => self.insert(table),
        }
    }

    fn restart(&mut self) -> Step {
        Step::Restart { kill: self.random.random_bool(0.5), slots: slots(&mut self.random) }
    }

    /// Puts in what restores state that holds something and is then changed: a checkpoint in the middle, perhaps
    /// a second one on top of it, and a restart behind.
    fn checkpointed(&mut self, steps: &mut Vec<Step>) {
        let first = self.random.random_range(steps.len() / 3..=steps.len() / 2);
        let last = self.random.random_range(first..=(first + 3).min(steps.len()));
        steps.insert(last, self.restart());
        if self.random.random_bool(0.7) {
            steps.insert(last, Step::Checkpoint);
        }
        steps.insert(first, Step::Checkpoint);
    }

    fn insert(&mut self, table: Table) -> Step {
        let conflict = match self.random.random_range(0..10) {
            0..4 if table.has_key() => Conflict::Updates,
            4..7 if table.has_key() => Conflict::Nothing,
            _ => Conflict::Fails,
        };
        let mut rows: Vec<Row> = (0..self.random.random_range(1..6)).map(|_| self.row(table)).collect();
        if self.random.random_bool(0.3) {
            let twice = rows[self.random.random_range(0..rows.len())].clone();
            rows.push(twice);
        }
        Step::Insert { table, rows, conflict }
    }

    fn row(&mut self, table: Table) -> Row {
        match table {
            Table::Events => {
                let (k, g, x) = (self.number(self.keys), self.text(), self.number(NUMBERS));
                vec![k, g, x, self.float(), self.cents(), self.time()]
            }
            Table::People => vec![self.key(), self.text(), self.number(NUMBERS), self.float()],
            Table::Items => vec![self.number(self.keys), self.text(), self.number(NUMBERS)],
            Table::Ticks => vec![self.key(), self.number(NUMBERS), self.time()],
        }
    }

    fn change(&mut self, table: Table) -> Step {
        let change = match self.random.random_range(0..8) {
            0..4 => Change::Delete,
            4 if table == Table::People => Change::MoveKey(self.random.random_range(1..4)),
            _ => Change::Add(self.random.random_range(1..4)),
        };
        let only = match self.random.random_range(0..10) {
            0 => Only::All,
            1..5 => Only::Below(self.random.random_range(0..self.keys)),
            _ => Only::Equal(self.random.random_range(0..self.keys)),
        };
        Step::Change { table, change, only }
    }

    fn or_null(&mut self, chance: f64, value: Value) -> Value {
        if self.random.random_bool(chance) { Value::Null } else { value }
    }

    fn key(&mut self) -> Value {
        let key = Value::Int(self.random.random_range(0..self.keys));
        self.or_null(0.01, key)
    }

    fn number(&mut self, below: i64) -> Value {
        let number = Value::Int(self.random.random_range(0..below));
        self.or_null(0.15, number)
    }

    fn text(&mut self) -> Value {
        let text = Value::Text(["a", "b", "", "7", "12"][self.random.random_range(0..5)]);
        self.or_null(0.15, text)
    }

    fn float(&mut self) -> Value {
        // Mostly finite: a sum with NaN in it says little.
        let places = if self.random.random_bool(0.9) { FLOATS.len() - 2 } else { FLOATS.len() };
        let float = Value::Float(self.random.random_range(0..places));
        self.or_null(0.15, float)
    }

    fn cents(&mut self) -> Value {
        let cents = Value::Cents(self.random.random_range(-500..2_000));
        self.or_null(0.15, cents)
    }

    /// Goes forward; a row is out of order within the delay, at its edge, or late.
    fn time(&mut self) -> Value {
        self.now += self.random.random_range(0..4);
        let back = match self.random.random_range(0..12) {
            0 => self.random.random_range(DELAY + 1..20),
            1 => DELAY,
            2..7 => self.random.random_range(0..DELAY),
            _ => 0,
        };
        let time = Value::Time((self.now - back).max(0));
        self.or_null(0.01, time)
    }
}
