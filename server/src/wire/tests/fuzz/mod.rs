//! A fuzzer of everything that a client's bytes go through, in one process: frames and messages (`codec`), values
//! of parameters (`values`), and statements through whole sessions (`session`).
//!
//! Its input are recordings of real clients (`recordings/`: what psql, pgbench, psycopg and asyncpg sent), mutated, cut
//! and put together, and messages that are made up. It is a function of its seed: a failure names the seed and the
//! execution, and `FUZZ_SEED` repeats it. `FUZZ_EXECUTIONS` and `FUZZ_SECONDS` make it longer than `cargo test` does;
//! the seed is then another one every time, unless it is given.

mod codec;
mod mutate;
mod session;
mod values;

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

/// Executions without a wish: some seconds' worth.
const EXECUTIONS: u64 = 40_000;

/// One statement goes through a session for so many executions over bytes: it costs as much as they do.
const BYTES_PER_STATEMENT: u64 = 400;

/// How long it runs.
struct Budget {
    seed: u64,
    executions: u64,
    until: Option<Instant>,
}

impl Budget {
    fn of_environment() -> Self {
        let number = |name: &str| -> Option<u64> {
            let text = std::env::var(name).ok()?;
            Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
        };
        let seconds = number("FUZZ_SECONDS");
        let executions = number("FUZZ_EXECUTIONS");
        let longer = seconds.is_some() || executions.is_some();
        let seed = number("FUZZ_SEED").unwrap_or_else(|| if longer { rand::random() } else { 1 });
        let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let executions = executions.unwrap_or(if until.is_some() { u64::MAX } else { EXECUTIONS });
        Self { seed, executions, until }
    }

    /// Whether execution `number` is still to come; the clock is looked at now and then only.
    fn allows(&self, number: u64) -> bool {
        let in_time = || self.until.is_none_or(|until| Instant::now() < until);
        number < self.executions && (!number.is_multiple_of(256) || in_time())
    }

    /// The source of chance of one execution, so that it can be repeated alone.
    fn random(&self, number: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }
}

/// Shows where a panic or a failed assertion came from.
struct Named<'a>(&'a Budget, &'static str, u64);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("FUZZ_SEED={} {} execution {}", self.0.seed, self.1, self.2);
        }
    }
}

#[test]
fn bytes_are_refused_or_read_and_nothing_else() {
    let budget = Budget::of_environment();
    let mut number = 0;
    let mut read = codec::Read::default();
    while budget.allows(number) {
        let _named = Named(&budget, "bytes", number);
        let mut random = budget.random(number);
        if number % 4 == 3 {
            values::execute(&mut random);
        } else {
            read.add(codec::execute(&mut random));
        }
        number += 1;
    }
    eprintln!("seed {}: {number} executions, {read:?}", budget.seed);
    // Were everything refused at its first byte, nothing would have been tested.
    assert!(number < 1_000 || (read.messages > number && read.refused > number / 10), "{number} executions: {read:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_are_answered_and_the_session_lives_on() {
    let budget = Budget::of_environment();
    let statements = budget.executions / BYTES_PER_STATEMENT;
    let mut run = session::Run::new().await;
    let mut number = 0;
    while (budget.until.is_some() || number < statements) && budget.allows(number) {
        let _named = Named(&budget, "statement", number);
        let mut random = budget.random(number);
        run.execute(&mut random).await;
        number += 1;
    }
    eprintln!("seed {}: {number} statements, {} of them succeeded", budget.seed, run.succeeded());
    assert!(number < 50 || run.succeeded() > number / 20, "{} of {number} succeeded", run.succeeded());
}
