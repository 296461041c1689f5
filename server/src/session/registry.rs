//! The sessions of a server: who is connected and what each does, and how one stops another.

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
    pub client_address: Option<String>,
    /// The client's port.
    pub client_port: Option<u16>,
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
}

/// The sessions of a server.
#[derive(Debug, Default)]
pub struct Sessions {}

impl Sessions {
    /// Cancels what a session runs; false when there is no such session.
    pub fn cancel(&self, _: i32) -> bool {
        false
    }

    /// Ends a session; false when there is no such session.
    pub fn terminate(&self, _: i32) -> bool {
        false
    }
}
