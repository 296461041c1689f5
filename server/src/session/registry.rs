//! The sessions of a server: who is connected and what each does, and how one stops another.
//!
//! A seat belongs to one connection. It holds the token of the statement that runs now and nothing between
//! statements, so that a late cancel touches no later statement; and a token that ends the connection. What a
//! session does is written at its seat by the wire and read by `pg_stat_activity`.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use millstream_runtime::plan::RelationId;
use tokio_util::sync::CancellationToken;

use super::TransactionStatus;
use crate::engine::clock::system_micros;
use crate::engine::mask;

/// Bytes of a statement that are shown, as Postgres does unless told otherwise.
const QUERY_BYTES: usize = 1_024;

/// What a session does, as others see it. Times are microseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// The number that names the connection.
    pub process_id: i32,
    /// The user who has logged in.
    pub user: String,
    /// The database that was connected to.
    pub database: String,
    /// What the client calls itself.
    pub application_name: String,
    /// The client's address; none within this process.
    pub client: Option<SocketAddr>,
    /// When it connected.
    pub started_micros: i64,
    /// When its transaction began.
    pub transaction_micros: Option<i64>,
    /// When its newest statement began.
    pub query_micros: Option<i64>,
    /// When its state changed.
    pub state_micros: Option<i64>,
    /// `active`, `idle`, `idle in transaction` or `idle in transaction (aborted)`.
    pub state: &'static str,
    /// Its newest statement.
    pub query: String,
    /// The COPY that it runs.
    pub copy: Option<CopyRow>,
}

/// How far a COPY is, as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyRow {
    /// The relation; none for one of a query.
    pub relation: Option<RelationId>,
    /// `COPY FROM` or `COPY TO`.
    pub command: &'static str,
    /// Bytes of data that have come in, or were made to be sent.
    pub bytes: u64,
    /// Rows that were taken, or made to be sent.
    pub rows: u64,
}

/// How far a COPY is. Whoever moves the rows counts them here.
#[derive(Debug)]
pub struct CopyProgress {
    relation: Option<RelationId>,
    command: &'static str,
    bytes: AtomicU64,
    rows: AtomicU64,
}

impl CopyProgress {
    /// Of a COPY that nobody sees.
    pub fn unseen() -> Arc<Self> {
        Arc::new(Self::of("COPY TO", None))
    }

    fn of(command: &'static str, relation: Option<RelationId>) -> Self {
        Self { relation, command, bytes: AtomicU64::new(0), rows: AtomicU64::new(0) }
    }

    /// More has come, or was made.
    pub fn add(&self, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn row(&self) -> CopyRow {
        let (bytes, rows) = (self.bytes.load(Ordering::Relaxed), self.rows.load(Ordering::Relaxed));
        CopyRow { relation: self.relation, command: self.command, bytes, rows }
    }
}

/// The ends of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Where the client is.
    pub client: Option<SocketAddr>,
    /// Where the server was reached.
    pub server: Option<SocketAddr>,
}

/// The sessions of a server.
#[derive(Debug)]
pub struct Sessions {
    seats: Mutex<HashMap<i32, Arc<Seat>>>,
    started_micros: i64,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { seats: Mutex::default(), started_micros: system_micros() }
    }
}

/// A statement that a session has prepared under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedRow {
    /// What the client sent to prepare it, without secrets.
    pub statement: String,
    /// When that was, in microseconds since 1970.
    pub prepared_micros: i64,
    /// The OIDs of the types of its parameters.
    pub parameter_oids: Vec<u32>,
    /// Whether that was SQL's PREPARE.
    pub from_sql: bool,
}

impl PreparedRow {
    /// One that is prepared now.
    pub fn now(statement: &str, parameter_oids: Vec<u32>, from_sql: bool) -> Self {
        Self { statement: mask(statement), prepared_micros: system_micros(), parameter_oids, from_sql }
    }
}

/// What is known of one connection.
#[derive(Debug)]
pub struct Seat {
    process_id: i32,
    secret: i32,
    ends: Ends,
    running: Mutex<Option<CancellationToken>>,
    ended: CancellationToken,
    /// Nothing before the login.
    row: Mutex<Option<SessionRow>>,
    /// The COPY that runs; gone when nobody moves its rows any more.
    copy: Mutex<Weak<CopyProgress>>,
    /// Statements that messages have prepared, by name.
    prepared: Mutex<BTreeMap<String, PreparedRow>>,
}

/// A seat among the others: what a session knows of the server's sessions.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its own.
    pub seat: Arc<Seat>,
    /// All.
    pub sessions: Arc<Sessions>,
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.seat, &other.seat)
    }
}

impl Eq for Place {}

impl Sessions {
    /// Registers a connection under a process id that no other one has. `ended` ends it.
    pub fn register(self: &Arc<Self>, ends: Ends, ended: CancellationToken) -> Registration {
        let mut seats = lock(&self.seats);
        // Positive, as clients and pg_stat_activity expect of a process id.
        let mut process_id = rand::random_range(1..i32::MAX);
        while seats.contains_key(&process_id) {
            process_id = rand::random_range(1..i32::MAX);
        }
        let (running, row, copy, prepared) = (Mutex::new(None), Mutex::new(None), Mutex::default(), Mutex::default());
        let seat = Arc::new(Seat { process_id, secret: rand::random(), ends, running, ended, row, copy, prepared });
        seats.insert(process_id, Arc::clone(&seat));
        Registration { place: Place { seat, sessions: Arc::clone(self) } }
    }

    /// When the server began to take connections, in microseconds since 1970.
    pub fn started_micros(&self) -> i64 {
        self.started_micros
    }

    fn seat(&self, process_id: i32) -> Option<Arc<Seat>> {
        lock(&self.seats).get(&process_id).cloned()
    }

    /// Cancels the statement of a client who knows the connection's secret; says nothing about whether there
    /// was one.
    pub fn cancel_with(&self, process_id: i32, secret: i32) {
        if let Some(seat) = self.seat(process_id).filter(|seat| seat.secret == secret) {
            seat.cancel();
        }
    }

    /// Cancels what a session runs; false when there is no such session.
    pub fn cancel(&self, process_id: i32) -> bool {
        self.seat(process_id).map(|seat| seat.cancel()).is_some()
    }

    /// Ends a session; false when there is no such session.
    pub fn terminate(&self, process_id: i32) -> bool {
        self.seat(process_id).map(|seat| seat.ended.cancel()).is_some()
    }

    /// Those who have logged in, by process id.
    pub fn rows(&self) -> Vec<SessionRow> {
        let seats: Vec<Arc<Seat>> = lock(&self.seats).values().cloned().collect();
        let row = |seat: &Arc<Seat>| {
            let copy = lock(&seat.copy).upgrade().map(|copy| copy.row());
            lock(&seat.row).clone().map(|row| SessionRow { copy, ..row })
        };
        let mut rows: Vec<SessionRow> = seats.iter().filter_map(row).collect();
        rows.sort_unstable_by_key(|row| row.process_id);
        rows
    }
}

impl Seat {
    /// The number that names the connection.
    pub fn process_id(&self) -> i32 {
        self.process_id
    }

    /// What only the connection's own client knows.
    pub fn secret(&self) -> i32 {
        self.secret
    }

    /// The connection's ends.
    pub fn ends(&self) -> Ends {
        self.ends
    }

    /// A message has prepared a statement under a name.
    pub fn prepares(&self, name: &str, row: PreparedRow) {
        lock(&self.prepared).insert(name.to_owned(), row);
    }

    /// It is forgotten.
    pub fn forgets(&self, name: &str) {
        lock(&self.prepared).remove(name);
    }

    /// All are forgotten.
    pub fn forgets_all(&self) {
        lock(&self.prepared).clear();
    }

    /// Those that messages have prepared, by name.
    pub fn prepared(&self) -> BTreeMap<String, PreparedRow> {
        lock(&self.prepared).clone()
    }

    fn cancel(&self) {
        if let Some(running) = &*lock(&self.running) {
            running.cancel();
        }
    }

    /// A client has logged in.
    pub fn logged_in(&self, user: &str, database: &str, application_name: String) {
        let now = system_micros();
        *lock(&self.row) = Some(SessionRow {
            process_id: self.process_id,
            user: user.to_owned(),
            database: database.to_owned(),
            application_name,
            client: self.ends.client,
            started_micros: now,
            transaction_micros: None,
            query_micros: None,
            state_micros: Some(now),
            state: "idle",
            query: String::new(),
            copy: None,
        });
    }

    /// A COPY begins, of a relation or of a query; it is seen as long as what is given back lives.
    pub fn copies(&self, relation: Option<RelationId>, incoming: bool) -> Arc<CopyProgress> {
        let command = if incoming { "COPY FROM" } else { "COPY TO" };
        let progress = Arc::new(CopyProgress::of(command, relation));
        *lock(&self.copy) = Arc::downgrade(&progress);
        progress
    }

    /// A statement begins.
    pub fn begins(&self, sql: &str) {
        if let Some(row) = &mut *lock(&self.row) {
            let now = system_micros();
            row.transaction_micros.get_or_insert(now);
            (row.query_micros, row.state_micros, row.state) = (Some(now), Some(now), "active");
            row.query = shown(sql);
        }
    }

    /// The connection waits for the next statement.
    pub fn waits(&self, status: TransactionStatus, application_name: Option<String>) {
        if let Some(row) = &mut *lock(&self.row) {
            row.state_micros = Some(system_micros());
            row.state = match status {
                TransactionStatus::Idle => "idle",
                TransactionStatus::Active => "idle in transaction",
                TransactionStatus::Failed => "idle in transaction (aborted)",
            };
            if status == TransactionStatus::Idle {
                row.transaction_micros = None;
            }
            row.application_name = application_name.unwrap_or_default();
        }
    }
}

/// A statement as others may see it: cut where it is long, and before what may be a secret.
fn shown(sql: &str) -> String {
    let sql = sql.trim();
    let end = (0..=sql.len().min(QUERY_BYTES)).rev().find(|end| sql.is_char_boundary(*end)).unwrap_or(0);
    let upper = sql[..end].to_ascii_uppercase();
    let defines = ["CREATE", "ALTER"].iter().any(|word| upper.contains(word));
    let secret = ["PASSWORD", "WITH", "SECRET"].iter().filter_map(|word| upper.find(word)).min();
    match secret.filter(|_| defines) {
        Some(at) => format!("{}...", &sql[..at]),
        None => sql[..end].to_owned(),
    }
}

/// A registered connection; leaves the registry when dropped.
#[derive(Debug)]
pub struct Registration {
    place: Place,
}

impl Registration {
    /// Its seat among the others.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Its seat.
    pub fn seat(&self) -> &Seat {
        &self.place.seat
    }

    /// Says that a statement runs until the guard is dropped.
    pub fn running(&self, token: CancellationToken) -> Running {
        *lock(&self.place.seat.running) = Some(token);
        Running { seat: Arc::clone(&self.place.seat) }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        lock(&self.place.sessions.seats).remove(&self.place.seat.process_id);
    }
}

/// While it lives, a statement can be cancelled.
#[derive(Debug)]
pub struct Running {
    seat: Arc<Seat>,
}

impl Drop for Running {
    fn drop(&mut self) {
        *lock(&self.seat.running) = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds this lock")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn registered(sessions: &Arc<Sessions>) -> Registration {
        sessions.register(Ends::default(), CancellationToken::new())
    }

    #[test]
    fn a_cancel_touches_only_the_running_statement_of_its_target() {
        let sessions = Arc::new(Sessions::default());
        let (target, other) = (registered(&sessions), registered(&sessions));
        let (token, other_token) = (CancellationToken::new(), CancellationToken::new());
        let guard = target.running(token.clone());
        let _other_guard = other.running(other_token.clone());

        sessions.cancel_with(target.seat().process_id(), target.seat().secret().wrapping_add(1));
        sessions.cancel_with(0, target.seat().secret());
        assert!(!token.is_cancelled());
        sessions.cancel_with(target.seat().process_id(), target.seat().secret());
        assert!(token.is_cancelled() && !other_token.is_cancelled());

        drop(guard);
        sessions.cancel_with(target.seat().process_id(), target.seat().secret());
        let next = CancellationToken::new();
        let _guard = target.running(next.clone());
        assert!(!next.is_cancelled(), "a cancel between statements is forgotten");
        assert!(sessions.cancel(target.seat().process_id()));
        assert!(next.is_cancelled());
        assert!(!sessions.cancel(0));
    }

    #[test]
    fn a_closed_connection_leaves_the_registry() {
        let sessions = Arc::new(Sessions::default());
        let registration = registered(&sessions);
        let process_id = registration.seat().process_id();
        drop(registration);
        assert!(lock(&sessions.seats).is_empty());
        assert!(!sessions.terminate(process_id));
    }

    #[test]
    fn what_a_session_does_is_seen_until_it_waits() {
        let sessions = Arc::new(Sessions::default());
        let registration = registered(&sessions);
        assert!(sessions.rows().is_empty(), "nobody has logged in");
        let seat = registration.seat();
        seat.logged_in("me", "db", "psql".to_owned());
        seat.begins(" SELECT 1 ");
        let row = sessions.rows().pop().unwrap();
        assert_eq!((row.state, row.query.as_str(), row.user.as_str()), ("active", "SELECT 1", "me"));
        assert!(row.transaction_micros.is_some());
        seat.waits(TransactionStatus::Idle, Some("other".to_owned()));
        let row = sessions.rows().pop().unwrap();
        assert_eq!((row.state, row.application_name.as_str(), row.transaction_micros), ("idle", "other", None));
        assert_eq!(row.query, "SELECT 1", "the newest statement stays");
    }

    #[test]
    fn a_copy_is_seen_while_its_rows_move() {
        let sessions = Arc::new(Sessions::default());
        let registration = registered(&sessions);
        let seat = registration.seat();
        seat.logged_in("me", "db", "psql".to_owned());
        assert_eq!(sessions.rows()[0].copy, None);
        let progress = seat.copies(Some(RelationId(7)), true);
        progress.add(2, 11);
        progress.add(1, 5);
        let copy = CopyRow { relation: Some(RelationId(7)), command: "COPY FROM", bytes: 16, rows: 3 };
        assert_eq!(sessions.rows()[0].copy, Some(copy));
        drop(progress);
        assert_eq!(sessions.rows()[0].copy, None);
    }

    #[test]
    fn secrets_of_definitions_are_not_shown() {
        assert_eq!(shown("CREATE ROLE a PASSWORD 'x'"), "CREATE ROLE a ...");
        assert_eq!(shown("create source s (a int) with (sasl.password = 'x')"), "create source s (a int) ...");
        assert_eq!(shown("WITH a AS (SELECT 1) SELECT * FROM a"), "WITH a AS (SELECT 1) SELECT * FROM a");
        assert_eq!(shown(&"ö".repeat(1_000)).len(), 1_024);
    }
}
