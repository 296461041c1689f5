//! Makes a failing script smaller: steps go in ever smaller pieces, then rows of statements, then what is special
//! about the server; what still fails is kept, until nothing more can go.

use super::script::{Script, Step};

/// A script that fails like the one it was made of.
pub struct Shrunk {
    pub script: Script,
    /// Candidates that were tried.
    pub runs: usize,
}

/// Finds a small script for which `fails` holds, as it does for `script`; asks at most `runs_max` times.
pub async fn shrink(script: Script, runs_max: usize, fails: impl AsyncFn(&Script) -> bool) -> Shrunk {
    let mut shrinking = Shrinking { script, runs: 0, runs_max, fails };
    loop {
        let before = shrinking.runs;
        let mut smaller = shrinking.steps().await | shrinking.apart().await;
        smaller |= shrinking.rows().await | shrinking.server().await;
        if !smaller || shrinking.runs == before || shrinking.runs >= runs_max {
            return Shrunk { script: shrinking.script, runs: shrinking.runs };
        }
    }
}

struct Shrinking<F> {
    script: Script,
    runs: usize,
    runs_max: usize,
    fails: F,
}

impl<F: AsyncFn(&Script) -> bool> Shrinking<F> {
    /// Takes a candidate that still fails.
    async fn take(&mut self, candidate: Script) -> bool {
        if self.runs >= self.runs_max {
            return false;
        }
        self.runs += 1;
        let fails = (self.fails)(&candidate).await;
        if fails {
            self.script = candidate;
        }
        fails
    }

    async fn steps(&mut self) -> bool {
        let mut smaller = false;
        let mut piece = self.script.steps.len();
        while piece > 0 {
            let mut from = 0;
            while from < self.script.steps.len() {
                let mut candidate = self.script.clone();
                candidate.steps.drain(from..(from + piece).min(candidate.steps.len()));
                if self.take(candidate).await { smaller = true } else { from += piece }
            }
            piece /= 2;
        }
        smaller
    }

    /// What was done at the same time is done one after the other.
    async fn apart(&mut self) -> bool {
        let mut smaller = false;
        for step in (0..self.script.steps.len()).rev() {
            if let Step::CreateDuring { view, writes } = self.script.steps[step].clone() {
                let mut candidate = self.script.clone();
                candidate.steps.splice(step..=step, writes.into_iter().chain([Step::Create(view)]));
                smaller |= self.take(candidate).await;
            }
        }
        smaller
    }

    async fn rows(&mut self) -> bool {
        let mut smaller = false;
        for step in 0..self.script.steps.len() {
            let mut piece = rows_of(&self.script, step) / 2;
            while piece > 0 {
                let mut from = 0;
                while from < rows_of(&self.script, step) {
                    let candidate = without_rows(&self.script, step, from, piece);
                    let left = rows_of(&candidate, step);
                    if left > 0 && self.take(candidate).await { smaller = true } else { from += piece }
                }
                piece /= 2;
            }
        }
        smaller
    }

    async fn server(&mut self) -> bool {
        let mut smaller = false;
        let plain = |script: &Script| [(script.slots != 1, 0), (script.hurried, 1), (script.lateness != 0, 2)];
        for (special, what) in plain(&self.script) {
            if !special {
                continue;
            }
            let mut candidate = self.script.clone();
            match what {
                0 => candidate.slots = 1,
                1 => candidate.hurried = false,
                _ => candidate.lateness = 0,
            }
            smaller |= self.take(candidate).await;
        }
        smaller
    }
}

fn rows_of(script: &Script, step: usize) -> usize {
    if let Step::Insert { rows, .. } = &script.steps[step] { rows.len() } else { 0 }
}

fn without_rows(script: &Script, step: usize, from: usize, count: usize) -> Script {
    let mut candidate = script.clone();
    if let Step::Insert { rows, .. } = &mut candidate.steps[step] {
        rows.drain(from..(from + count).min(rows.len()));
    }
    candidate
}

#[cfg(test)]
mod tests {
    use super::super::generate;
    use super::super::script::{Change, Script, Step};
    use super::super::tables::{Table, Value};
    use super::shrink;

    /// A row of `people` with key 3, and a DELETE from `people` anywhere behind it.
    fn looks_wrong(script: &Script) -> bool {
        let inserted = script.steps.iter().position(|step| {
            matches!(step, Step::Insert { table: Table::People, rows, .. } if rows.iter().any(|row| row[0] == Value::Int(3)))
        });
        let Some(inserted) = inserted else { return false };
        script.steps[inserted..]
            .iter()
            .any(|step| matches!(step, Step::Change { table: Table::People, change: Change::Delete, .. }))
    }

    #[tokio::test]
    async fn what_a_failure_does_not_need_goes() {
        let scripts: Vec<Script> = (0..4_000).map(generate::script).filter(looks_wrong).collect();
        assert!(scripts.len() > 20, "{} scripts are wrong", scripts.len());
        for script in scripts {
            let shrunk = shrink(script, 10_000, async |script: &Script| looks_wrong(script)).await.script;
            assert_eq!((shrunk.steps.len(), shrunk.row_count()), (2, 1), "{shrunk}");
            assert!(looks_wrong(&shrunk), "{shrunk}");
            assert_eq!((shrunk.slots, shrunk.hurried, shrunk.lateness), (1, false, 0), "{shrunk}");
        }
    }

    #[tokio::test]
    async fn what_always_fails_becomes_nothing_and_runs_are_bounded() {
        let script = generate::script(1);
        let steps = script.steps.len();
        assert!(steps > 2);
        assert_eq!(shrink(script.clone(), 100, async |_: &Script| true).await.script.steps.len(), 0);
        let unchanged = shrink(script.clone(), 100, async |_: &Script| false).await;
        assert_eq!((unchanged.script.steps.len(), unchanged.script.row_count()), (steps, script.row_count()));
        assert_eq!(shrink(script, 3, async |_: &Script| false).await.runs, 3);
    }
}
