//! A look-up gives what the same query gives by DataFusion's planner: random queries over columns of every type, as
//! texts and with parameters, over tables, views and subqueries, over own writes, each asked so that an index finds its
//! rows at once, and so that none can: rows, first rows in an index's order, aggregates, `EXISTS` and scalar subqueries,
//! functions of the session, integers compared with wider ones. `LOOK_UPS_STEPS` makes it longer, `LOOK_UPS_SEED` repeats it.

use millstream_sql_tests::server::{Launch, Session};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// A column, its type and values of it.
type Column = (&'static str, &'static str, &'static [&'static str]);

const COLUMNS: [Column; 16] = [
    ("b", "BOOLEAN", &["true", "false"]),
    ("s", "SMALLINT", &["-32768", "0", "5", "7", "32767"]),
    ("i", "INT", &["-2147483648", "-1", "0", "5", "9", "2147483647"]),
    ("l", "BIGINT", &["-9223372036854775808", "0", "5", "12", "9223372036854775807"]),
    ("n", "NUMERIC(12,3)", &["-1.5", "0", "0.001", "5", "999999999.999"]),
    ("r", "REAL", &["-Infinity", "-1.5", "0", "5", "Infinity", "NaN"]),
    ("d", "DOUBLE PRECISION", &["-Infinity", "-1e300", "0", "1e-300", "5", "NaN"]),
    ("t", "TEXT", &["", "a", "A", "ab", "\u{e4}", "z z", "5"]),
    ("c", "VARCHAR(5)", &["", "abcde", "x", "5"]),
    ("da", "DATE", &["0001-01-01", "1970-01-01", "2024-02-29"]),
    ("ti", "TIME", &["00:00:00", "12:30:00.5", "23:59:59.999999"]),
    ("ts", "TIMESTAMP", &["0001-01-01 00:00:00", "1970-01-01 00:00:00.000001", "2024-02-29 12:00:00"]),
    ("tz", "TIMESTAMPTZ", &["1970-01-01 00:00:00+02", "2024-02-29 12:00:00-08", "2024-02-29 20:00:00+00"]),
    ("u", "UUID", &["00000000-0000-0000-0000-000000000000", "6c1f1b1e-6f0e-4d8e-9a35-0242ac120002"]),
    ("y", "BYTEA", &["\\x", "\\x00ff", "\\xffff"]),
    ("j", "JSONB", &["1", "{\"a\": [1, 2]}", "\"5\"", "null"]),
];

/// Rows that the tables begin with.
const ROWS: i64 = 2_400;

/// Changes of the table, each followed by some questions.
const STEPS: usize = 12;

fn literal(value: Option<&str>, data_type: &str) -> String {
    value.map_or_else(|| format!("NULL::{data_type}"), |value| format!("'{value}'::{data_type}"))
}

fn value(random: &mut StdRng, column: &Column) -> Option<&'static str> {
    random.random_ratio(19, 20).then(|| *column.2.choose(random).expect("every type has values"))
}

fn rows(random: &mut StdRng, ids: std::ops::Range<i64>) -> String {
    let rows = ids.map(|id| {
        let cells = COLUMNS.iter().map(|column| literal(value(random, column), column.1));
        format!("({id}, {})", cells.collect::<Vec<_>>().join(", "))
    });
    format!("INSERT INTO t VALUES {}", rows.collect::<Vec<_>>().join(", "))
}

/// A query with `{column}` where the column of the look-up stands and `{more}` behind its conditions, the type of its
/// parameter and a value.
struct Question {
    sql: String,
    column: Column,
    data_type: &'static str,
    value: Option<&'static str>,
    /// Its order says where every row stands.
    ordered: bool,
}

impl Question {
    fn random(random: &mut StdRng) -> Self {
        let column = *COLUMNS.choose(random).expect("there are columns");
        let other = COLUMNS.choose(random).expect("there are columns").0;
        let relation = *["t", "t", "v", "plain", "(SELECT * FROM t) AS q", "t AS x", "plain AS p"]
            .choose(random)
            .expect("there are relations");
        let operator = *["=", "=", "=", "<", "<=", ">", ">="].choose(random).expect("there are operators");
        // Drivers send every integer as a bigint.
        let wider = ["s", "i"].contains(&column.0) && random.random_ratio(1, 2);
        let data_type = if wider { "BIGINT" } else { column.1 };
        let value = match wider {
            true => COLUMNS[3].2.choose(random).copied(),
            false => value(random, &column),
        };
        let shown = match random.random_range(0..10) {
            0 => "*".to_string(),
            1 => format!("id, {other}, {other} IS NULL"),
            2 => "id, coalesce(i, -1), s::bigint * 2, upper(t) || c".to_string(),
            3 => "id, CASE WHEN i > 3 THEN t ELSE c END, $1 AS given".to_string(),
            4 => "id AS a, id AS b, 1 + 1, lower(t) LIKE 'a%'".to_string(),
            5 => "100 / (s + 0), id".to_string(),
            6 => "substr(t, 1, 1), nullif(i, 5), date_trunc('month', ts), id".to_string(),
            7 => "id, now() > '2020-01-01', current_date > da, current_user || t, current_schema()".to_string(),
            8 => "id, EXISTS (SELECT 100 / s FROM t WHERE i = 5), (SELECT t FROM t WHERE id = 7)".to_string(),
            _ => format!("{}, id", column.0),
        };
        let more = match random.random_range(0..7) {
            6 => " AND now() > '2020-01-01' AND EXISTS (SELECT FROM v WHERE id = 11)".to_string(),
            0 => " AND id > 500".to_string(),
            1 => format!(" AND {other} IS NOT NULL"),
            2 => " AND (t LIKE 'a%' OR i = 5)".to_string(),
            3 => " AND id % 3 <> 1".to_string(),
            _ => String::new(),
        };
        let choice = format!("FROM {relation} WHERE {{column}} {operator} $1{more}{{more}}");
        let of_one_row = match random.random_range(0..8) {
            0 => Some(format!("SELECT EXISTS (SELECT 1 {choice}), NOT EXISTS (SELECT {other} {choice} OFFSET 2)")),
            1 => Some(format!("SELECT (SELECT id {choice}), $1 AS given")),
            2 => Some(format!(
                "SELECT count(*), sum(i), avg(n), min({}), max({}), count(DISTINCT s), sum(l) FILTER (WHERE l < 9), \
                 bool_or(b), 7 + count({other}) {choice}",
                column.0.replace('b', "s").replace(['j', 'u', 'y'], "t"),
                other.replace('b', "s").replace(['j', 'u', 'y'], "t"),
            )),
            _ => None,
        };
        let ordered = random.random_ratio(1, 2);
        let (least, most) = (random.random_range(0..60), random.random_range(0..9));
        let tail = match (ordered, random.random_range(0..6)) {
            (false, _) => String::new(),
            (true, 0) => format!(" ORDER BY {other} DESC, id"),
            (true, 1) => format!(" ORDER BY {other} NULLS FIRST, id DESC LIMIT {most}"),
            (true, 2) => format!(" ORDER BY {other}, id LIMIT {most} OFFSET {least}"),
            (true, 3) => format!(" ORDER BY {} DESC NULLS LAST, id DESC LIMIT {least}", column.0),
            (true, 4) => format!(" ORDER BY {}, id LIMIT NULL OFFSET {most}", column.0),
            (true, _) => format!(" ORDER BY id LIMIT {least} OFFSET {most}"),
        };
        // JSON has no order.
        let tail = if tail.contains(" j") { " ORDER BY id LIMIT 3".to_string() } else { tail };
        // The first rows in an index's order are all that is computed there: a row behind them fails by the planner's way
        // alone.
        let shown = if tail.contains("LIMIT") { shown.replace("(s + 0)", "nullif(s, 0)") } else { shown };
        let ordered = ordered || of_one_row.is_some();
        let sql = of_one_row.unwrap_or_else(|| format!("SELECT {shown} {choice}{tail}"));
        Self { sql, column, data_type, value, ordered }
    }

    /// With the column as it is, or in a form that no index serves.
    fn asked(&self, of_index: bool, parameter: &str) -> String {
        let name = self.column.0;
        let hidden = format!("CASE WHEN id IS NOT NULL THEN {name} END");
        let (column, more) = if of_index { (name, "") } else { (hidden.as_str(), " AND EXISTS (SELECT FROM one)") };
        self.sql.replace("{column}", column).replace("{more}", more).replace("$1", parameter)
    }

    /// The rows, or the error's code.
    async fn answer(&self, session: &Session, sql: &str) -> Result<Vec<Vec<String>>, String> {
        match session.try_rows(sql).await {
            Ok(mut rows) => {
                if !self.ordered {
                    rows.sort();
                }
                Ok(rows)
            }
            Err(error) => Err(error.code().map_or_else(|| error.to_string(), |code| code.code().to_string())),
        }
    }
}

/// Holds the ways to ask a question against each other; whether an index was used at once.
async fn compare(session: &Session, question: &Question, in_block: bool, hint: &str) -> bool {
    let (value, data_type) = (literal(question.value, question.data_type), question.data_type);
    let indexed = question.asked(true, &value);
    let explained = session.try_rows(&format!("EXPLAIN {indexed}")).await;
    // What fails in a block ends it.
    if in_block && explained.is_err() {
        return false;
    }
    let expected = question.answer(session, &question.asked(false, &value)).await;
    if in_block && expected.is_err() {
        return false;
    }
    assert_eq!(question.answer(session, &indexed).await, expected, "{indexed}, {hint}");
    session.run(&format!("PREPARE question ({data_type}) AS {}", question.asked(true, "$1"))).await;
    session.run(&format!("PREPARE hidden ({data_type}) AS {}", question.asked(false, "$1"))).await;
    let argument = question.value.map_or_else(|| "NULL".to_string(), |value| format!("'{value}'"));
    let of_planner = question.answer(session, &format!("EXECUTE hidden ({argument})")).await;
    // The modifier of a parameter's type is dropped, as in Postgres: a numeric has its own digits then.
    if !data_type.starts_with("NUMERIC") {
        assert_eq!(of_planner, expected, "EXECUTE of the hidden form of {indexed}, {hint}");
    }
    for _ in 0..2 {
        let answer = question.answer(session, &format!("EXECUTE question ({argument})")).await;
        assert_eq!(answer, of_planner, "EXECUTE of {indexed}, {hint}");
    }
    session.run("DEALLOCATE question; DEALLOCATE hidden").await;
    explained.is_ok_and(|plan| plan[0][0] == "Look-up")
}

/// A value as clients write it, without a type.
fn bare(value: &str, data_type: &str) -> String {
    match data_type {
        "SMALLINT" | "INT" | "BIGINT" => value.to_string(),
        _ => format!("'{value}'"),
    }
}

/// Asks the question in texts that differ in the value only, often enough for their plan to be shared.
async fn compare_texts(session: &Session, random: &mut StdRng, question: &Question, hint: &str) {
    for _ in 0..4 {
        let Some(value) = value(random, &question.column) else { continue };
        let value = bare(value, question.column.1);
        let expected = question.answer(session, &question.asked(false, &value)).await;
        let indexed = question.asked(true, &value);
        assert_eq!(question.answer(session, &indexed).await, expected, "{indexed}, {hint}");
    }
}

async fn change(session: &Session, random: &mut StdRng, next: &mut i64) {
    let column = COLUMNS.choose(random).expect("there are columns");
    let given = literal(value(random, column), column.1);
    let from = random.random_range(0..*next);
    match random.random_range(0..3) {
        0 => session.run(&format!("DELETE FROM t WHERE id BETWEEN {from} AND {from} + 20")).await,
        1 => {
            let sql = format!("UPDATE t SET {} = {given} WHERE id BETWEEN {from} AND {from} + 200", column.0);
            session.run(&sql).await;
        }
        _ => {
            let count = random.random_range(1..300);
            session.run(&rows(random, *next..*next + count)).await;
            *next += count;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_gives_what_the_planner_gives() {
    let seed: u64 = std::env::var("LOOK_UPS_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    let steps: usize = std::env::var("LOOK_UPS_STEPS").map_or(STEPS, |steps| steps.parse().unwrap());
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let server = Launch::new("memory://").start().await;
    let session = server.connect().await;
    let columns: Vec<String> = COLUMNS.iter().map(|(name, data_type, _)| format!("{name} {data_type}")).collect();
    session.run(&format!("CREATE TABLE t (id BIGINT PRIMARY KEY, {})", columns.join(", "))).await;
    session.run("CREATE MATERIALIZED VIEW v AS SELECT * FROM t WHERE id % 5 <> 2").await;
    session.run("CREATE VIEW plain AS SELECT * FROM (SELECT * FROM t WHERE id % 7 <> 3) AS inside").await;
    for relation in ["t", "v"] {
        // JSON has no order that an index could have.
        for (name, ..) in COLUMNS.iter().filter(|column| column.1 != "JSONB") {
            session.run(&format!("CREATE INDEX ON {relation} ({name}, id)")).await;
        }
    }
    session.run("CREATE TABLE one (a INT); INSERT INTO one VALUES (1)").await;
    let mut next = 0;
    while next < ROWS {
        session.run(&rows(&mut random, next..next + 300)).await;
        next += 300;
    }
    let (mut used, mut asked) = (0, 0);
    for step in 0..steps {
        let hint = format!("step {step}, seed {seed}");
        let in_block = random.random_ratio(1, 3);
        if in_block {
            session.run("BEGIN").await;
        }
        change(&session, &mut random, &mut next).await;
        for _ in 0..5 {
            let question = Question::random(&mut random);
            if in_block {
                session.run("SAVEPOINT asked").await;
            }
            asked += 1;
            used += usize::from(compare(&session, &question, in_block, &hint).await);
            if in_block {
                session.run("ROLLBACK TO asked; RELEASE asked").await;
            } else {
                compare_texts(&session, &mut random, &question, &hint).await;
            }
        }
        if in_block {
            session.run(["COMMIT", "ROLLBACK"].choose(&mut random).expect("there are two")).await;
        }
    }
    println!("{used} of {asked} were look-ups");
    assert!(used > steps, "only {used} of the look-ups were found by an index, seed {seed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_read_looks_nothing_up() {
    let server = Launch::new("memory://").start().await;
    let session = server.connect().await;
    session.run("CREATE TABLE t (id INT PRIMARY KEY, x TEXT); INSERT INTO t VALUES (1, 'secret')").await;
    session.run("CREATE VIEW w AS SELECT x FROM t WHERE id = 1; CREATE ROLE reader").await;
    session.run("GRANT SELECT ON w TO reader; PREPARE one AS SELECT x FROM t WHERE id = 1").await;
    assert_eq!(session.rows("EXECUTE one").await, [["secret"]]);
    session.run("SET ROLE reader").await;
    assert_eq!(session.error("SELECT x FROM t WHERE id = 1").await.0, "42501");
    assert_eq!(session.error("EXECUTE one").await.0, "42501");
    assert_eq!(session.error("EXPLAIN ANALYZE SELECT x FROM t WHERE id = 1").await.0, "42501");
    assert_eq!(session.rows("SELECT x FROM w").await, [["secret"]]);
    session.run("RESET ROLE; REVOKE SELECT ON w FROM reader; SET ROLE reader").await;
    assert_eq!(session.error("SELECT x FROM w").await.0, "42501");
}

/// Asks for a row by a text, and says where an error stands.
async fn asked(session: &Session, sql: &str) -> Result<Vec<Vec<String>>, (String, Option<usize>)> {
    session.try_rows(sql).await.map_err(|error| {
        let error = error.as_db_error().expect("the server says what is wrong").clone();
        let position = error.position().map(|position| match position {
            tokio_postgres::error::ErrorPosition::Original(position) => *position as usize,
            tokio_postgres::error::ErrorPosition::Internal { .. } => 0,
        });
        (error.code().code().to_string(), position)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_share_a_plan_keep_their_values_errors_and_surroundings() {
    let server = Launch::new("memory://").start().await;
    let session = server.connect().await;
    session.run("CREATE TABLE t (id INT PRIMARY KEY, d DATE, x TEXT, n NUMERIC(6,2), tz TIMESTAMPTZ)").await;
    session.run("CREATE INDEX ON t (d); CREATE INDEX ON t (x); CREATE INDEX ON t (n); CREATE INDEX ON t (tz)").await;
    let rows = (0..2000).map(|id| {
        format!("({id}, DATE '2020-01-01' + {id}, 'x{id}', {id}.25, '2020-01-01 00:00+00'::timestamptz + interval '{id} hours')")
    });
    session.run(&format!("INSERT INTO t VALUES {}", rows.collect::<Vec<_>>().join(", "))).await;
    for id in [5, 7, 0, 1999, 7, 12] {
        let row = Ok(vec![vec![id.to_string()]]);
        assert_eq!(asked(&session, &format!("SELECT id FROM t WHERE id = {id}")).await, row);
        assert_eq!(asked(&session, &format!("SELECT id FROM t WHERE x = 'x{id}' AND id > -{}", id + 1)).await, row);
        assert_eq!(asked(&session, &format!("SELECT id FROM t WHERE n = {id}.25")).await, row);
        assert_eq!(asked(&session, &format!("SELECT id FROM t WHERE id IN (-3, {id})")).await, row);
        assert_eq!(asked(&session, &format!("SELECT EXISTS (SELECT 1 FROM t WHERE id = {id})::int * {id}")).await, row);
        assert_eq!(
            asked(&session, &format!("SELECT id, 'a' FROM t WHERE id >= {id} ORDER BY 1 LIMIT 1")).await,
            Ok(vec![vec![id.to_string(), "a".to_string()]])
        );
    }
    // Too large for the column, then for any integer, and no row for NULL.
    assert_eq!(asked(&session, "SELECT id FROM t WHERE id = 3000000000").await, Ok(Vec::new()));
    assert_eq!(asked(&session, "SELECT id FROM t WHERE id = 30000000000000000000").await, Ok(Vec::new()));
    // What can't be read has its place, before and after the text is known.
    for day in ["2020-01-06", "2020-01-06", "2020-01-08"] {
        assert_eq!(asked(&session, &format!("SELECT id FROM t WHERE d = '{day}'")).await.map(|rows| rows.len()), Ok(1));
    }
    let refused = Err(("22007".to_string(), Some(28)));
    assert_eq!(asked(&session, "SELECT id FROM t WHERE d = '2020-0x-99'").await, refused.clone());
    assert_eq!(asked(&session, "SELECT id FROM t WHERE d =  'nonsense'").await.map_err(|error| error.1), Err(Some(29)));
    // Times are read in the session's zone.
    let midnight = "SELECT id FROM t WHERE tz = '2020-01-02 00:00'";
    for (zone, id) in
        [("UTC", "24"), ("UTC", "24"), ("UTC", "24"), ("Etc/GMT+3", "27"), ("UTC", "24"), ("Etc/GMT+3", "27")]
    {
        session.run(&format!("SET TimeZone = '{zone}'")).await;
        assert_eq!(asked(&session, midnight).await, Ok(vec![vec![id.to_string()]]), "{zone}");
    }
    // Another schema, another table, another role.
    session.run("CREATE SCHEMA other; CREATE TABLE other.t (id INT PRIMARY KEY); INSERT INTO other.t VALUES (7)").await;
    let by_key = |id: i32| format!("SELECT * FROM t WHERE id = {id}");
    for _ in 0..3 {
        assert_eq!(asked(&session, &by_key(7)).await.map(|rows| rows[0].len()), Ok(5));
        session.run("SET search_path = other, public").await;
        assert_eq!(asked(&session, &by_key(7)).await, Ok(vec![vec!["7".to_string()]]));
        assert_eq!(asked(&session, &by_key(8)).await, Ok(Vec::new()));
        session.run("RESET search_path").await;
    }
    session.run("CREATE ROLE stranger; SET ROLE stranger").await;
    assert_eq!(asked(&session, &by_key(9)).await, Err(("42501".to_string(), None)));
    session.run("RESET ROLE").await;
    session.run("BEGIN; ALTER TABLE t RENAME TO u; CREATE TABLE t (id INT PRIMARY KEY)").await;
    assert_eq!(asked(&session, &by_key(9)).await, Ok(Vec::new()));
    session.run("ROLLBACK").await;
    assert_eq!(asked(&session, &by_key(9)).await.map(|rows| rows[0].len()), Ok(5));
    session.run("DROP TABLE t").await;
    assert_eq!(asked(&session, &by_key(9)).await, Err(("42P01".to_string(), Some(15))));
}
