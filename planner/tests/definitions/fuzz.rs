//! No text panics, overflows the stack or hangs, and every error has a position within the text.
//!
//! Statements of the golden files are cut off, their tokens shuffled, doubled and mixed with each other. The
//! seed is printed with what fails; `MILLSTREAM_FUZZ_SEED` runs one again, `MILLSTREAM_FUZZ_CASES` more of them.

use std::time::{Duration, Instant};

use millstream_planner::error::TextPosition;
use millstream_planner::parse::split;
use millstream_planner::plan::plan;
use millstream_planner::statement::StatementText;

use super::golden::all_sql;
use super::world::World;

const CASES: u64 = 3_000;

/// A statement that takes longer than this to be refused keeps a thread busy.
const SLOWEST: Duration = Duration::from_secs(5);

/// Words and signs that the golden statements may lack.
const SPICE: [&str; 40] = [
    "(",
    ")",
    ",",
    ".",
    ";",
    "'",
    "\"",
    "`",
    "$$",
    "$1",
    "--",
    "/*",
    "*/",
    "::",
    "=>",
    "<",
    ">",
    ">>",
    "[",
    "]",
    "{",
    "}",
    "INTERVAL",
    "CASE",
    "WHEN",
    "NOT",
    "ARRAY",
    "STRUCT",
    "ROW",
    "TABLE",
    "PARTITION BY",
    "EMIT ON WINDOW CLOSE",
    "WITH (",
    "FORMAT",
    "ENCODE",
    "EXISTS",
    "cast(",
    "\u{1f600}",
    "\0",
    "1e999",
];

/// SplitMix64: small, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }
}

#[test]
fn no_text_panics() {
    let from_environment = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seeds = match from_environment("MILLSTREAM_FUZZ_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..from_environment("MILLSTREAM_FUZZ_CASES").unwrap_or(CASES),
    };
    let statements = all_sql();
    let mut world = World::new();
    for sql in &statements {
        // Some of them are errors: what the others make is what the soups refer to.
        let _ = world.run(sql);
    }
    for seed in seeds {
        let sql = soup(&mut Random(seed), &statements);
        let started = Instant::now();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| attack(&world, &sql)));
        let complaint = match outcome {
            Ok(complaint) => complaint,
            Err(_) => Some("a panic".to_string()),
        };
        let slow = (started.elapsed() > SLOWEST).then(|| format!("{:?}", started.elapsed()));
        if let Some(complaint) = complaint.or(slow) {
            panic!("MILLSTREAM_FUZZ_SEED={seed}: {complaint}\n{sql}");
        }
    }
}

/// Cuts and plans a text; what is wrong with the outcome.
fn attack(world: &World, sql: &str) -> Option<String> {
    let end = sql.chars().count() + 1;
    let inside = |position: Option<TextPosition>| position.is_none_or(|position| (1..=end).contains(&position.0));
    let texts = match split(sql) {
        Ok(texts) => texts,
        Err(error) => return (!inside(error.position)).then(|| format!("{error:?}")),
    };
    let whole = StatementText { sql: sql.to_string(), start: TextPosition(1) };
    texts.iter().chain([&whole]).find_map(|text| {
        let error = plan(text, &world.catalog, &world.settings, &[]).err()?;
        (!inside(error.position)).then(|| format!("{error:?}"))
    })
}

fn soup(random: &mut Random, statements: &[String]) -> String {
    let sql = &statements[random.below(statements.len())];
    let characters: Vec<char> = sql.chars().collect();
    match random.below(4) {
        // Cut off.
        0 => characters[..random.below(characters.len())].iter().collect(),
        // A piece taken out.
        1 => {
            let (from, to) = (random.below(characters.len()), random.below(characters.len()));
            characters.iter().take(from.min(to)).chain(characters.iter().skip(from.max(to))).collect()
        }
        // Tokens of one statement, some replaced, doubled or taken out.
        2 => {
            let mut words: Vec<String> = sql.split_inclusive([' ', '(', ')', ',']).map(str::to_string).collect();
            for _ in 0..=random.below(5) {
                let at = random.below(words.len());
                let spice = format!(" {} ", SPICE[random.below(SPICE.len())]);
                match random.below(3) {
                    0 => words.insert(at, spice),
                    1 if words.len() > 1 => drop(words.remove(at)),
                    _ => words[at] = spice,
                }
            }
            words.concat()
        }
        // Tokens of all statements.
        _ => {
            let mut words = Vec::new();
            for _ in 0..random.below(40) {
                let other = &statements[random.below(statements.len())];
                let pieces: Vec<&str> = other.split_whitespace().collect();
                words.push(pieces[random.below(pieces.len())].to_string());
                if random.below(4) == 0 {
                    words.push(SPICE[random.below(SPICE.len())].to_string());
                }
            }
            words.join(" ")
        }
    }
}
