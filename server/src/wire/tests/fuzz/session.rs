//! Statements through one session of a real engine: generated over its tables, and mutated as text. Whatever comes in
//! ends with rows, a tag or an error; the session goes on, and none of the errors is a bug of ours.

use arrow::datatypes::DataType;
use futures::TryStreamExt;
use millstream_planner::error::TextPosition;
use millstream_planner::statement::StatementText;
use rand::Rng;
use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, EngineConfig};
use crate::session::{Session, SqlError, TransactionStatus};

const SETUP: &[&str] = &[
    "CREATE TABLE t (id INT PRIMARY KEY, v TEXT, n NUMERIC, at TIMESTAMPTZ)",
    "INSERT INTO t VALUES (1, 'a', 1.5, '2024-01-01'), (2, NULL, NULL, NULL)",
    "CREATE MATERIALIZED VIEW m AS SELECT v, count(*) AS c FROM t GROUP BY v",
];

/// Statements that mutations start from.
const STATEMENTS: &[&str] = &[
    "SELECT id, v, n FROM t WHERE id = 1 ORDER BY v LIMIT 3",
    "SELECT v, count(*), sum(n) FROM t GROUP BY v HAVING count(*) > 1",
    "SELECT a.id, b.v FROM t AS a LEFT JOIN t AS b ON a.id = b.id WHERE b.n BETWEEN 1 AND 2",
    "WITH x AS (SELECT 1 AS a UNION ALL SELECT 2) SELECT * FROM x WHERE a IN (SELECT id FROM t)",
    "SELECT CASE WHEN n > 1 THEN 'x' ELSE v END, coalesce(v, 'z') || '!' FROM t",
    "SELECT * FROM m",
    "SELECT '2024-01-01'::timestamptz + INTERVAL '1 day', '{1,2}'::int[], '\\x00'::bytea",
    "SELECT relname FROM pg_class WHERE relkind = 'r'",
    "INSERT INTO t (id, v) VALUES (3, 'c') ON CONFLICT (id) DO UPDATE SET v = excluded.v",
    "UPDATE t SET v = 'u', n = n + 1 WHERE id = 2 RETURNING id",
    "DELETE FROM t WHERE id = 3",
    "SET datestyle = 'German, YMD'",
    "SET LOCAL statement_timeout = '5s'",
    "SET TIME ZONE INTERVAL '+02:00' HOUR TO MINUTE",
    "SELECT set_config('application_name', 'x', true), current_setting('timezone', true)",
    "RESET ALL",
    "SHOW ALL",
    "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY",
    "COMMIT",
    "ROLLBACK",
    "PREPARE p (int) AS SELECT v FROM t WHERE id = $1",
    "EXECUTE p(1)",
    "DEALLOCATE ALL",
    "EXPLAIN SELECT * FROM t",
    "SELECT $1 + 1, $2 || 'a', $3::date",
];

const WORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "t",
    "m",
    "id",
    "v",
    "n",
    "(",
    ")",
    ",",
    "'a'",
    "1",
    "-1",
    "1e400",
    "NULL",
    "*",
    "=",
    "::",
    "int",
    "AND",
    "NOT",
    "GROUP BY",
    "ORDER BY",
    "LIMIT",
    "count(*)",
    "'",
    "\"",
    ";",
    "--",
    "/*",
    "$1",
    "$0",
    "$99999",
    "[1]",
    "OVER ()",
    "INTERVAL '1 month'",
    "\u{0}",
    "é",
    "now()",
    "9223372036854775807",
    "UNION",
    "1/0",
    "LATERAL",
    "VALUES",
];

/// Rows of a result that are looked at.
const ROWS: usize = 10_000;

pub(super) struct Run {
    session: Session,
    succeeded: u64,
}

impl Run {
    pub(super) async fn new() -> Self {
        let engine = Engine::open(EngineConfig::new("memory://")).await.unwrap();
        let mut session = Session::new(engine, "fuzz");
        for sql in SETUP {
            let text = StatementText { sql: (*sql).to_owned(), start: TextPosition(1) };
            let prepared = session.prepare(&text, &[]).await.unwrap();
            session.execute(&prepared, Vec::new(), CancellationToken::new()).await.unwrap();
        }
        Self { session, succeeded: 0 }
    }

    pub(super) fn succeeded(&self) -> u64 {
        self.succeeded
    }

    pub(super) async fn execute(&mut self, random: &mut StdRng) {
        let sql = statement(random);
        match self.answer(&sql).await {
            Ok(()) => self.succeeded += 1,
            Err(error) => {
                let internal = error.sqlstate.starts_with("XX");
                assert!(!internal, "{sql:?}: {error:?}");
                let position = error.position.unwrap_or(1);
                assert!((1..=sql.chars().count() + 1).contains(&position), "{sql:?}: {error:?}");
                self.session.failed();
            }
        }
        // A failed transaction takes nothing but its end; the next statement is to be reached.
        if self.session.transaction_status() == TransactionStatus::Failed {
            self.answer("ROLLBACK").await.unwrap();
        }
        self.session.sync(CancellationToken::new()).await.unwrap();
    }

    async fn answer(&mut self, sql: &str) -> Result<(), SqlError> {
        for text in self.session.split(sql)? {
            let prepared = self.session.prepare(&text, &[Some(DataType::Int32)]).await?;
            let values = prepared.parameters.iter().map(|wanted| Ok(wanted.try_into()?));
            let values = values.collect::<Result<Vec<_>, SqlError>>()?;
            let outcome = self.session.execute(&prepared, values, CancellationToken::new()).await?;
            let Some(mut rows) = outcome.rows else { continue };
            let mut count = 0;
            while let Some(batch) = rows.try_next().await? {
                count += batch.num_rows();
                if count > ROWS {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// A statement: as it is, with words put in, taken out or exchanged, or with characters of chance.
fn statement(random: &mut StdRng) -> String {
    let chosen = STATEMENTS[random.random_range(0..STATEMENTS.len())];
    let kind = random.random_range(0..10);
    if kind < 3 {
        return chosen.to_owned();
    }
    let mut words: Vec<String> = chosen.split(' ').map(str::to_owned).collect();
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(0..words.len());
        let word = WORDS[random.random_range(0..WORDS.len())].to_owned();
        match random.random_range(0..4) {
            0 => words.insert(at, word),
            1 => words[at] = word,
            2 if words.len() > 1 => drop(words.remove(at)),
            _ => {
                let other = random.random_range(0..words.len());
                words.swap(at, other);
            }
        }
    }
    let mut sql = words.join(" ");
    if kind == 9 {
        let mut characters: Vec<char> = sql.chars().collect();
        let at = random.random_range(0..characters.len().max(1));
        characters.insert(at.min(characters.len()), random.random());
        sql = characters.into_iter().collect();
    }
    sql
}
