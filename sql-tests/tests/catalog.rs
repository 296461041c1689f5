//! The catalog beside that of a real Postgres 15: over the same objects, what drivers and tools ask has the same
//! answers, row by row, but for the differences that `fixtures/catalog.txt` names, each with its reason.
//!
//! The fixture holds the answers of a Postgres, so that the test compares on any machine; where there is a Postgres its
//! answers are held against the fixture first (with `UPDATE_FIXTURES=1` they are written into it). OIDs are not asked
//! for, as they are others on every server.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use millstream_sql_tests::docs::check_section;
use millstream_sql_tests::postgres::Postgres;
use millstream_sql_tests::server::Launch;
use tokio_postgres::{Client, SimpleQueryMessage};

/// What is asked, what Postgres answers, and what is answered otherwise here.
#[derive(Default)]
struct Question {
    name: String,
    sql: String,
    answer: Vec<String>,
    differences: Vec<Difference>,
}

/// Rows that are others here, and why.
struct Difference {
    reason: String,
    theirs: Vec<String>,
    ours: Vec<String>,
}

struct Fixture {
    about: String,
    setup: String,
    questions: Vec<Question>,
}

impl Fixture {
    fn path() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/catalog.txt")
    }

    fn read() -> Self {
        let text = std::fs::read_to_string(Self::path()).unwrap();
        let mut sections = text.split("\n## ");
        let about = sections.next().unwrap().to_owned();
        let setup = sections.next().unwrap().strip_prefix("setup\n").unwrap().to_owned();
        Self { about, setup, questions: sections.map(Question::read).collect() }
    }

    fn write(&self) {
        let mut text = format!("{}\n## setup\n{}", self.about, self.setup);
        for Question { name, sql, answer, differences } in &self.questions {
            write!(text, "\n## {name}\n{sql}\n---\n").unwrap();
            answer.iter().for_each(|line| writeln!(text, "{line}").unwrap());
            for Difference { reason, theirs, ours } in differences {
                writeln!(text, "--- differs: {reason}").unwrap();
                theirs.iter().for_each(|line| writeln!(text, "- {line}").unwrap());
                ours.iter().for_each(|line| writeln!(text, "+ {line}").unwrap());
            }
        }
        std::fs::write(Self::path(), text).unwrap();
    }
}

impl Question {
    fn read(section: &str) -> Self {
        let (name, rest) = section.split_once('\n').unwrap();
        let (sql, rest) = rest.split_once("\n---\n").unwrap_or_else(|| panic!("{name}: no answer"));
        let mut question = Self { name: name.to_owned(), sql: sql.to_owned(), ..Self::default() };
        for line in rest.lines() {
            let marked = |mark: &str| line.strip_prefix(mark).map(str::to_owned);
            let difference = question.differences.last_mut();
            match (marked("--- differs: "), difference) {
                (Some(reason), _) => {
                    question.differences.push(Difference { reason, theirs: Vec::new(), ours: Vec::new() })
                }
                (None, None) => question.answer.push(line.to_owned()),
                (None, Some(difference)) => match (marked("- "), marked("+ ")) {
                    (Some(theirs), _) => difference.theirs.push(theirs),
                    (_, Some(ours)) => difference.ours.push(ours),
                    _ => panic!("{name}: neither `- ` nor `+ `: {line}"),
                },
            }
        }
        question
    }

    /// The rows that are right here: those of Postgres, but for the differences.
    fn expected(&self) -> Vec<String> {
        let mut rows = self.answer.clone();
        for Difference { reason, theirs, ours } in &self.differences {
            assert!(!reason.is_empty(), "{}: a difference has a reason", self.name);
            let place = theirs.first().map_or(rows.len(), |line| self.place(&rows, line));
            theirs.iter().for_each(|line| {
                rows.remove(self.place(&rows, line));
            });
            rows.splice(place..place, ours.iter().cloned());
        }
        rows
    }

    fn place(&self, rows: &[String], line: &str) -> usize {
        let place = rows.iter().position(|row| row == line);
        place.unwrap_or_else(|| panic!("{}: a difference of a row that Postgres does not give: {line}", self.name))
    }
}

/// The rows of a query as lines, behind the names of its columns.
async fn answer(client: &Client, sql: &str) -> Vec<String> {
    let messages = match client.simple_query(sql).await {
        Ok(messages) => messages,
        Err(error) => return vec![format!("fails: {error:?}")],
    };
    let cells = |row: &tokio_postgres::SimpleQueryRow| {
        let cell = |column| row.get(column).unwrap_or("NULL").replace('\n', "\\n");
        (0..row.len()).map(cell).collect::<Vec<_>>().join("|")
    };
    let mut lines = Vec::new();
    for message in &messages {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                lines.push(columns.iter().map(|column| column.name()).collect::<Vec<_>>().join("|"));
            }
            SimpleQueryMessage::Row(row) => lines.push(cells(row)),
            _ => {}
        }
    }
    lines
}

/// Holds the fixture against a Postgres of the machine, or makes it from its answers.
async fn held_against_postgres(fixture: &mut Fixture) -> Result<(), String> {
    let postgres = Postgres::start().await?;
    let client = postgres.client().await.unwrap();
    // The superuser has the name that it has here, so that owners and grantors do.
    client.batch_execute("CREATE ROLE millstream SUPERUSER LOGIN; SET SESSION AUTHORIZATION millstream").await.unwrap();
    client.batch_execute(&fixture.setup).await.unwrap();
    let update = std::env::var_os("UPDATE_FIXTURES").is_some_and(|value| value == "1");
    for question in &mut fixture.questions {
        let theirs = answer(&client, &question.sql).await;
        if update {
            question.answer = theirs;
        } else {
            assert_eq!(theirs, question.answer, "{}: the fixture is not what Postgres answers", question.name);
        }
    }
    if update {
        fixture.write();
    }
    Ok(())
}

/// What the documentation says of it.
fn page(fixture: &Fixture) -> String {
    let mut text = format!(
        "{} questions that psql, drivers and tools ask of the catalog (`sql-tests/fixtures/catalog.txt`) are answered \
         as by Postgres 15 over the same objects, row by row, but for:\n\n| question | why the answer is another one |\n\
         |---|---|\n",
        fixture.questions.len()
    );
    for question in &fixture.questions {
        let reasons: Vec<&str> = question.differences.iter().map(|difference| difference.reason.as_str()).collect();
        if !reasons.is_empty() {
            writeln!(text, "| {} | {} |", question.name, reasons.join("; ")).unwrap();
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drivers_get_the_answers_of_postgres() {
    let mut fixture = Fixture::read();
    if let Err(why) = held_against_postgres(&mut fixture).await {
        println!("the fixture was not held against a Postgres: {why}");
    }
    let server = Launch::new("memory://").start().await;
    let session = server.connect().await;
    session.client().batch_execute(&fixture.setup).await.unwrap();
    assert!(fixture.questions.len() > 25, "{} questions", fixture.questions.len());
    let mut wrong = String::new();
    for question in &fixture.questions {
        assert!(!question.answer.is_empty() && !question.answer[0].starts_with("fails"), "{}", question.name);
        let (expected, found) = (question.expected(), answer(session.client(), &question.sql).await);
        if expected == found {
            continue;
        }
        writeln!(wrong, "{}", question.name).unwrap();
        for line in expected.iter().filter(|line| !found.contains(line)) {
            writeln!(wrong, "- {line}").unwrap();
        }
        for line in found.iter().filter(|line| !expected.contains(line)) {
            writeln!(wrong, "+ {line}").unwrap();
        }
        if expected.len() == found.len() && expected.iter().all(|line| found.contains(line)) {
            writeln!(wrong, "  the same rows in another order: {found:#?}").unwrap();
        }
    }
    check_section("catalog", &page(&fixture));
    assert!(wrong.is_empty(), "`-` is right, `+` is what the server answers:\n{wrong}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_an_advisory_lock_is_seen_with_whoever_holds_it() {
    let server = Launch::new("memory://").start().await;
    let (holder, waiter, watcher) = (server.connect().await, server.connect().await, server.connect().await);
    let held = "SELECT pg_advisory_lock(-1), pg_advisory_lock_shared(3, 4)";
    holder.run(held).await;
    let holder_id = holder.number("SELECT pg_backend_pid()").await;
    let waiter_id = waiter.number("SELECT pg_backend_pid()").await;
    let waiting = tokio::spawn(async move {
        waiter.run("SELECT pg_advisory_lock_shared(-1)").await;
        waiter
    });
    let locks = "SELECT classid, objid, objsubid, mode, granted, pid FROM pg_locks
                 WHERE locktype = 'advisory' ORDER BY 1, 5 DESC";
    let rows = watcher.until(locks, |rows| rows.len() == 3).await;
    let row = |cells: [&str; 5], pid: i64| {
        let mut row: Vec<String> = cells.map(str::to_owned).to_vec();
        row.push(pid.to_string());
        row
    };
    let largest = u32::MAX.to_string();
    let expected = [
        row(["3", "4", "2", "ShareLock", "t"], holder_id),
        row([&largest, &largest, "1", "ExclusiveLock", "t"], holder_id),
        row([&largest, &largest, "1", "ShareLock", "f"], waiter_id),
    ];
    assert_eq!(rows, expected);
    let blocking = format!("SELECT pg_blocking_pids({waiter_id}), pg_blocking_pids({holder_id})");
    assert_eq!(watcher.rows(&blocking).await, [[format!("{{{holder_id}}}"), "{}".to_owned()]]);
    holder.run("SELECT pg_advisory_unlock(-1)").await;
    let waiter = waiting.await.unwrap();
    let granted = watcher.rows("SELECT count(*) FROM pg_locks WHERE NOT granted").await;
    assert_eq!(granted, [["0"]]);
    drop((holder, waiter));
    watcher.until("SELECT count(*) FROM pg_locks", |rows| rows == [["0"]]).await;
}
