//! The views that scripts keep, each with the query that says what it must hold.
//!
//! Where a query can be asked in another way, the reference is written so: what the batch engine then does has
//! little in common with the view's plan. `{name}` stands for another view of the list; in a reference, for its
//! own reference. A reference names tables only, so that no view is held against another one.

use super::tables::{Model, Table, Value};

/// A materialized view and what it must hold.
#[derive(Debug)]
pub struct View {
    pub name: &'static str,
    pub sql: &'static str,
    /// Another way to ask for the same rows, that no row fails on.
    pub reference: Option<&'static str>,
    /// With EMIT ON WINDOW CLOSE: when a row of the result is final, and by which tables' watermarks.
    pub closing: Option<(&'static str, &'static [Table])>,
    /// The number of rows that must be in `$rejected`, where that is not 0.
    pub rejected: Option<&'static str>,
}

const fn view(name: &'static str, sql: &'static str) -> View {
    View { name, sql, reference: None, closing: None, rejected: None }
}

impl View {
    const fn asked(self, reference: &'static str) -> Self {
        Self { reference: Some(reference), ..self }
    }

    const fn closes(self, end: &'static str, by: &'static [Table]) -> Self {
        Self { closing: Some((end, by)), ..self }
    }

    const fn rejects(self, count: &'static str) -> Self {
        Self { rejected: Some(count), ..self }
    }

    pub fn create(&self) -> String {
        let mut sql = self.sql.to_string();
        for other in self.views() {
            sql = sql.replace(&format!("{{{}}}", other.name), other.name);
        }
        let emit = if self.closing.is_some() { " EMIT ON WINDOW CLOSE" } else { "" };
        format!("CREATE MATERIALIZED VIEW {} AS {sql}{emit}", self.name)
    }

    /// The views that it reads.
    pub fn views(&self) -> Vec<&'static View> {
        VIEWS.iter().filter(|other| self.sql.contains(&format!("{{{}}}", other.name))).collect()
    }

    /// Whether rows of a table can change what it holds.
    pub fn reads(&self, table: Table) -> bool {
        let mut words = self.sql.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        words.any(|word| word == table.name()) || self.views().iter().any(|view| view.reads(table))
    }

    /// The query that says what it must hold.
    pub fn expected(&self, model: &Model) -> String {
        let mut sql = self.reference.unwrap_or(self.sql).to_string();
        for other in VIEWS {
            let place = format!("{{{}}}", other.name);
            if sql.contains(&place) {
                sql = sql.replace(&place, &format!("({})", other.expected(model)));
            }
        }
        let Some((end, tables)) = self.closing else { return sql };
        let closed = match tables.iter().map(|table| model.watermark(*table)).min().flatten() {
            None => "false".to_string(),
            Some(watermark) => format!("{end} <= TIMESTAMP {}", timestamp(watermark)),
        };
        format!("SELECT * FROM ({sql}) AS every WHERE {closed}")
    }
}

/// A watermark may be before the day of the script.
fn timestamp(seconds: i64) -> String {
    if seconds < 0 { "'2025-12-31 00:00:00'".to_string() } else { Value::Time(seconds).literal() }
}

use Table::{Events, Ticks};

pub static VIEWS: &[View] = &[
    // One row at a time.
    view("high", "SELECT * FROM events WHERE x > 3"),
    view("shapes", "SELECT k + 1 AS a, upper(g) AS u, -x AS m, ts FROM events WHERE g IS NOT NULL"),
    view("both", "SELECT g FROM events UNION ALL SELECT name FROM people"),
    view("quotients", "SELECT k, 100 / x AS q FROM items")
        .asked("SELECT k, 100 / nullif(x, 0) AS q FROM items WHERE x IS DISTINCT FROM 0")
        .rejects("SELECT count(*) FROM items WHERE x = 0"),
    view("numbers", "SELECT k, g::int AS n FROM events")
        .asked(
            "SELECT k, CASE g WHEN '7' THEN 7 WHEN '12' THEN 12 END AS n FROM events \
             WHERE g IN ('7', '12') OR g IS NULL",
        )
        .rejects("SELECT count(*) FROM events WHERE g NOT IN ('7', '12')"),
    view("picked", "SELECT k, x FROM items WHERE 10 / x > 2")
        .asked("SELECT k, x FROM items WHERE x IN (1, 2, 3)")
        .rejects("SELECT count(*) FROM items WHERE x = 0"),
    // Groups.
    view(
        "per_group",
        "SELECT g, count(*) AS n, count(x) AS m, sum(x) AS s, avg(x) AS v, min(x) AS lo, max(x) AS hi \
         FROM events GROUP BY g",
    ),
    view("totals", "SELECT count(*) AS n, max(x) AS top, min(g) AS first, sum(d) AS s, avg(d) AS a FROM events"),
    view("numerics", "SELECT g, sum(d) AS s, avg(d) AS a, sum(DISTINCT d) AS z FROM events GROUP BY g"),
    view("floats", "SELECT k, sum(f) AS s, avg(f) AS a, min(f) AS lo, max(f) AS hi FROM events GROUP BY k"),
    view(
        "scores",
        "SELECT sum(f) AS s, avg(f) AS a, bool_or(f > 1) AS o, bool_and(v > 0) AS b, min(f) AS lo, max(f) AS hi \
         FROM people",
    ),
    view("extremes", "SELECT k, min(x) AS lo, max(x) AS hi, min(g) AS first, max(g) AS last FROM items GROUP BY k"),
    view(
        "distincts",
        "SELECT g, count(DISTINCT k) AS d, count(DISTINCT x) FILTER (WHERE x > 2) AS e, sum(DISTINCT x) AS s \
         FROM items GROUP BY g",
    ),
    view(
        "lists",
        "SELECT k, string_agg(g, ',' ORDER BY x DESC) AS l, array_agg(x) AS a, array_agg(g ORDER BY x, g DESC) AS o \
         FROM items GROUP BY k",
    ),
    view("sums_above", "SELECT k % 3 AS r, sum(x) AS s FROM items GROUP BY k % 3 HAVING sum(x) > 4")
        .asked("SELECT * FROM (SELECT k % 3 AS r, sum(x) AS s FROM items GROUP BY 1) AS every WHERE s > 4"),
    view("levels", "SELECT CASE WHEN x > 2 THEN 'high' ELSE 'low' END AS level, count(*) AS n FROM items GROUP BY 1"),
    view("pairs", "SELECT DISTINCT g, k FROM items").asked("SELECT g, k FROM items GROUP BY g, k"),
    view("float_groups", "SELECT f, count(*) AS n FROM people GROUP BY f"),
    view("either", "SELECT k FROM items UNION SELECT id FROM people")
        .asked("SELECT DISTINCT k FROM (SELECT k FROM items UNION ALL SELECT id FROM people) AS every"),
    view("quotient_sums", "SELECT k, sum(100 / x) AS s FROM items GROUP BY k")
        .asked("SELECT k, sum(100 / nullif(x, 0)) AS s FROM items WHERE x IS DISTINCT FROM 0 GROUP BY k")
        .rejects("SELECT count(*) FROM items WHERE x = 0"),
    // A sum that does not fit once two such rows are there, and does again.
    view(
        "overflows",
        "SELECT k, sum(CASE WHEN x > 5 THEN '99999999999999999999999999999999999999'::numeric(38, 0) END) AS s \
         FROM items GROUP BY k",
    )
    .asked(
        "SELECT k, CASE WHEN count(*) FILTER (WHERE x > 5) = 1 \
         THEN '99999999999999999999999999999999999999'::numeric(38, 0) END AS s \
         FROM items GROUP BY k HAVING count(*) FILTER (WHERE x > 5) < 2",
    )
    .rejects("SELECT count(*) FROM (SELECT k FROM items WHERE x > 5 GROUP BY k HAVING count(*) > 1) AS failed"),
    view(
        "group_sizes",
        "SELECT n, count(*) AS times FROM (SELECT k, count(*) AS n FROM items GROUP BY k) AS x GROUP BY n",
    ),
    // Joins.
    view("joined", "SELECT e.k, e.x, p.name FROM events e JOIN people p ON e.k = p.id"),
    view("left_residual", "SELECT e.k, e.x, p.v FROM events e LEFT JOIN people p ON e.k = p.id AND e.x > p.v"),
    view("left_items", "SELECT p.id, p.name, i.x FROM people p LEFT JOIN items i ON p.id = i.k AND i.x <> p.v"),
    view("right_joined", "SELECT p.name, e.x FROM events e RIGHT JOIN people p ON e.k = p.id"),
    view("self_joined", "SELECT a.k, a.x AS ax, b.x AS bx FROM items a JOIN items b ON a.k = b.k AND a.x < b.x"),
    view(
        "three",
        "SELECT p.id, i.x, e.x AS ex FROM people p JOIN items i ON i.k = p.id LEFT JOIN events e ON e.x = i.x",
    ),
    view("members", "SELECT k, x FROM items WHERE k IN (SELECT id FROM people WHERE v > 1)")
        .asked("SELECT i.k, i.x FROM items i JOIN people p ON i.k = p.id AND p.v > 1"),
    view("matched", "SELECT id FROM people p WHERE EXISTS (SELECT 1 FROM items i WHERE i.k = p.id AND i.x > p.v)")
        .asked("SELECT DISTINCT p.id FROM people p JOIN items i ON i.k = p.id AND i.x > p.v"),
    view("absent", "SELECT id, name FROM people p WHERE NOT EXISTS (SELECT 1 FROM items i WHERE i.k = p.id)").asked(
        "SELECT p.id, p.name FROM people p LEFT JOIN (SELECT DISTINCT k FROM items) i ON i.k = p.id WHERE i.k IS NULL",
    ),
    view(
        "unmatched",
        "SELECT k, x FROM items i WHERE NOT EXISTS (SELECT 1 FROM people p WHERE p.id = i.k AND p.v < i.x)",
    )
    .asked("SELECT i.k, i.x FROM items i LEFT JOIN people p ON p.id = i.k AND p.v < i.x WHERE p.id IS NULL"),
    view("below_top", "SELECT x - (SELECT max(x) FROM items) AS below FROM events"),
    view("best_of", "SELECT k, x FROM items i WHERE x = (SELECT max(x) FROM items j WHERE j.k = i.k)").asked(
        "SELECT k, x FROM items i WHERE k IS NOT NULL AND x IS NOT NULL \
             AND NOT EXISTS (SELECT 1 FROM items j WHERE j.k = i.k AND j.x > i.x)",
    ),
    view("counts_of", "SELECT id, (SELECT count(*) FROM items i WHERE i.k = p.id) AS n FROM people p")
        .asked("SELECT p.id, count(i.k) AS n FROM people p LEFT JOIN items i ON i.k = p.id GROUP BY p.id"),
    // A pair on which the condition fails matches nothing.
    view("failing_pairs", "SELECT p.id, i.x FROM people p LEFT JOIN items i ON p.id = i.k AND p.v / i.x > 0")
        .asked("SELECT p.id, i.x FROM people p LEFT JOIN items i ON p.id = i.k AND i.x > 0 AND p.v >= i.x")
        .rejects("SELECT count(*) FROM people p JOIN items i ON p.id = i.k WHERE i.x = 0 AND p.v IS NOT NULL"),
    view("outside", "SELECT id FROM people WHERE id NOT IN (SELECT id FROM ticks)")
        .asked("SELECT p.id FROM people p LEFT JOIN ticks t ON t.id = p.id WHERE t.id IS NULL"),
    view("above_average", "SELECT k, x FROM events WHERE x > (SELECT avg(x) FROM items)"),
    view("crossed", "SELECT count(*) AS pairs FROM items i, (SELECT count(*) AS n FROM people) p"),
    // The first rows.
    view("top", "SELECT k, x FROM items ORDER BY x DESC, k LIMIT 3"),
    view("second", "SELECT k FROM items ORDER BY x LIMIT 2 OFFSET 1"),
    view("behind", "SELECT k, g FROM items ORDER BY x NULLS FIRST, k DESC OFFSET 3"),
    view("top_events", "SELECT k, x, g FROM events ORDER BY x, g DESC LIMIT 4"),
    view(
        "ranked",
        "SELECT k, x FROM (SELECT k, x, row_number() OVER (PARTITION BY k ORDER BY x DESC) AS n FROM items) AS y \
         WHERE n <= 2",
    ),
    view("firsts", "SELECT DISTINCT ON (k) k, x, g FROM items ORDER BY k, x DESC").asked(
        "SELECT k, x, g FROM (SELECT k, x, g, row_number() OVER (PARTITION BY k ORDER BY x DESC, g) AS n FROM items) \
         AS y WHERE n = 1",
    ),
    // Windows that are updated.
    view(
        "tumbling",
        "SELECT window_start, g, count(*) AS n, max(x) AS top FROM tumble(events, ts, INTERVAL '10 seconds') \
         GROUP BY 1, 2",
    )
    .asked(
        "SELECT date_bin(INTERVAL '10 seconds', ts, TIMESTAMP '2026-01-01 00:00:00') AS window_start, g, \
         count(*) AS n, max(x) AS top FROM events GROUP BY 1, 2",
    ),
    view(
        "hopping",
        "SELECT window_end, sum(x) AS s FROM hop(events, ts, INTERVAL '5 seconds', INTERVAL '15 seconds', \
         INTERVAL '2 seconds') GROUP BY 1",
    ),
    view(
        "tick_windows",
        "SELECT window_start, count(*) AS n, min(x) AS lo FROM tumble(ticks, ts, INTERVAL '10 seconds') GROUP BY 1",
    ),
    view(
        "busiest",
        "SELECT c.window_start, c.k, c.n FROM (SELECT window_start, k, count(*) AS n \
         FROM tumble(events, ts, INTERVAL '10 seconds') GROUP BY 1, 2) c JOIN (SELECT window_start, max(n) AS top \
         FROM (SELECT window_start, k, count(*) AS n FROM tumble(events, ts, INTERVAL '10 seconds') GROUP BY 1, 2) x \
         GROUP BY 1) m ON c.window_start = m.window_start AND c.n = m.top",
    ),
    view(
        "window_pairs",
        "SELECT e.window_start, e.k, t.x FROM tumble(events, ts, INTERVAL '10 seconds') e \
         JOIN tumble(ticks, ts, INTERVAL '10 seconds') t ON e.window_start = t.window_start AND e.k = t.id",
    ),
    view("time_pairs", "SELECT e.ts, e.k, t.x FROM events e LEFT JOIN ticks t ON e.ts = t.ts"),
    view(
        "window_rows",
        "SELECT window_end, k FROM hop(ticks, ts, INTERVAL '5 seconds', INTERVAL '10 seconds') t JOIN items i ON t.x = i.x",
    ),
    view(
        "window_left",
        "SELECT e.window_end, e.k, t.x FROM tumble(events, ts, INTERVAL '10 seconds') e \
         LEFT JOIN tumble(ticks, ts, INTERVAL '10 seconds') t ON e.window_end = t.window_end AND e.x > t.x",
    ),
    view(
        "window_members",
        "SELECT t.id, t.window_start FROM tumble(ticks, ts, INTERVAL '10 seconds') t WHERE EXISTS \
         (SELECT 1 FROM tumble(events, ts, INTERVAL '10 seconds') e WHERE e.window_start = t.window_start AND e.k = t.id)",
    ),
    view("window_groups", "SELECT DISTINCT window_start, g FROM tumble(events, ts, INTERVAL '10 seconds')"),
    view("texts", "SELECT DISTINCT f::text AS f, ts::text AS t, d::text AS d FROM events"),
    // Windows that come out once.
    view(
        "closed",
        "SELECT window_start, g, count(*) AS n, sum(x) AS s FROM tumble(events, ts, INTERVAL '10 seconds') \
         GROUP BY window_start, g",
    )
    .closes("window_start + INTERVAL '10 seconds'", &[Events]),
    view(
        "closed_hops",
        "SELECT window_end, count(*) AS n, count(DISTINCT k) AS d, avg(f) AS a \
         FROM hop(events, ts, INTERVAL '5 seconds', INTERVAL '15 seconds') GROUP BY window_end",
    )
    .closes("window_end", &[Events]),
    view("closed_times", "SELECT ts, count(*) AS n, string_agg(g, ',') AS l FROM events GROUP BY ts")
        .closes("ts + INTERVAL '1 microsecond'", &[Events]),
    view(
        "closed_ticks",
        "SELECT window_end, count(*) AS n, max(x) AS top, array_agg(x) AS a \
         FROM tumble(ticks, ts, INTERVAL '10 seconds') GROUP BY window_end",
    )
    .closes("window_end", &[Ticks]),
    view(
        "closed_above",
        "SELECT window_end, k, min(x) AS lo FROM tumble(events, ts, INTERVAL '10 seconds') WHERE x > 1 \
         GROUP BY window_end, k HAVING count(*) > 1",
    )
    .closes("window_end", &[Events]),
    view(
        "closed_pairs",
        "SELECT a.window_end, a.n, b.m FROM \
         (SELECT window_end, count(*) AS n FROM tumble(events, ts, INTERVAL '10 seconds') GROUP BY 1) a JOIN \
         (SELECT window_end, count(*) AS m FROM tumble(ticks, ts, INTERVAL '10 seconds') GROUP BY 1) b \
         ON a.window_end = b.window_end",
    )
    .closes("window_end", &[Events, Ticks]),
    // Views over views.
    view("group_counts", "SELECT n, count(*) AS times FROM {per_group} AS p GROUP BY n"),
    view("ranked_names", "SELECT r.k, r.x, p.name FROM {ranked} AS r LEFT JOIN people p ON p.id = r.k"),
    view("closed_totals", "SELECT count(*) AS windows, sum(n) AS n FROM {closed} AS c"),
    view("closed_joined", "SELECT c.window_start, c.n, i.x FROM {closed} AS c LEFT JOIN items i ON c.n = i.k"),
    view("quotient_tops", "SELECT k, max(q) AS q FROM {quotients} AS q GROUP BY k"),
    view("absent_counts", "SELECT name, count(*) AS n FROM {absent} AS a GROUP BY name"),
    view("top_of_top", "SELECT k, x FROM {top} AS t ORDER BY x, k LIMIT 1"),
    view("group_tops", "SELECT max(times) AS most FROM {group_counts} AS c"),
];
