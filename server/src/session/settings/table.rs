//! The one table of the settings that the server knows: what `SHOW ALL` and `pg_settings` list, and what `SET`
//! checks. Those marked with [`NO_EFFECT`] are sent by clients of Postgres, mean something to it, and change
//! nothing here.

use super::value::Accepts::{self, Bool, DateStyle, Encoding, Float, Integer, Kilobytes, Milliseconds, Text, TimeZone};

/// A setting that the server knows.
pub struct Known {
    /// Lower case.
    pub name: &'static str,
    /// As ParameterStatus, SHOW ALL and errors spell it.
    pub spelling: &'static str,
    /// What it is at the start, in the form in which SHOW shows it.
    pub default: &'static str,
    /// Clients are told when it changes.
    pub reported: bool,
    /// Its values.
    pub accepts: Accepts,
    /// For SHOW ALL.
    pub description: &'static str,
}

/// The version of Postgres whose manners we keep; `version()` and drivers look at it.
pub const SERVER_VERSION: &str = "15.6";

/// What is said of a setting that is taken so that clients go on.
pub const NO_EFFECT: &str = "Accepted for clients; has no effect.";

const fn setting(name: &'static str, default: &'static str, accepts: Accepts, description: &'static str) -> Known {
    Known { name, spelling: name, default, reported: false, accepts, description }
}

/// One of which clients are told.
const fn reported(
    name: &'static str,
    spelling: &'static str,
    default: &'static str,
    accepts: Accepts,
    description: &'static str,
) -> Known {
    Known { name, spelling, default, reported: true, accepts, description }
}

const fn ignored(name: &'static str, default: &'static str, accepts: Accepts) -> Known {
    setting(name, default, accepts, NO_EFFECT)
}

const fn fixed(name: &'static str, default: &'static str, description: &'static str) -> Known {
    setting(name, default, Accepts::ReadOnly, description)
}

const ISOLATION: Accepts =
    Accepts::OneOf { shown: &["serializable", "repeatable read", "read committed", "read uncommitted"], hidden: &[] };
const MESSAGES: Accepts = Accepts::OneOf {
    shown: &["debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error"],
    hidden: &["info"],
};
const INTERVAL_STYLES: Accepts =
    Accepts::OneOf { shown: &["postgres", "postgres_verbose", "sql_standard", "iso_8601"], hidden: &[] };

const fn one_of(shown: &'static [&'static str]) -> Accepts {
    Accepts::OneOf { shown, hidden: &[] }
}

/// All known settings, by name.
pub const KNOWN: &[Known] = &[
    reported("application_name", "application_name", "", Text, "Name of the program that is connected."),
    ignored("array_nulls", "on", Bool),
    ignored("backslash_quote", "safe_encoding", one_of(&["safe_encoding", "on", "off"])),
    fixed("block_size", "8192", "Bytes of a disk block of Postgres; there are none here."),
    setting("bytea_output", "hex", one_of(&["escape", "hex"]), "How bytea is written as text."),
    ignored("check_function_bodies", "on", Bool),
    reported("client_encoding", "client_encoding", "UTF8", Encoding, "Encoding of the client: UTF8."),
    setting("client_min_messages", "notice", MESSAGES, "Notices below this level are not sent."),
    ignored("constraint_exclusion", "partition", one_of(&["partition", "on", "off"])),
    ignored("cursor_tuple_fraction", "0.1", Float(0.0, 1.0)),
    reported(
        "datestyle",
        "DateStyle",
        "ISO, MDY",
        DateStyle,
        "How dates are written, and read when they are ambiguous.",
    ),
    ignored("default_statistics_target", "100", Integer(1, 10_000)),
    ignored("default_table_access_method", "heap", Text),
    ignored("default_tablespace", "", Text),
    ignored("default_text_search_config", "pg_catalog.simple", Text),
    ignored("default_transaction_deferrable", "off", Bool),
    setting("default_transaction_isolation", "read committed", ISOLATION, "Isolation of new transactions."),
    reported(
        "default_transaction_read_only",
        "default_transaction_read_only",
        "off",
        Bool,
        "Whether new transactions only read.",
    ),
    ignored("effective_cache_size", "4GB", Kilobytes),
    ignored("enable_bitmapscan", "on", Bool),
    ignored("enable_hashagg", "on", Bool),
    ignored("enable_hashjoin", "on", Bool),
    ignored("enable_indexonlyscan", "on", Bool),
    ignored("enable_indexscan", "on", Bool),
    ignored("enable_material", "on", Bool),
    ignored("enable_mergejoin", "on", Bool),
    ignored("enable_nestloop", "on", Bool),
    ignored("enable_parallel_append", "on", Bool),
    ignored("enable_parallel_hash", "on", Bool),
    ignored("enable_partition_pruning", "on", Bool),
    ignored("enable_seqscan", "on", Bool),
    ignored("enable_sort", "on", Bool),
    ignored("enable_tidscan", "on", Bool),
    ignored("escape_string_warning", "on", Bool),
    setting(
        "extra_float_digits",
        "1",
        Integer(-15, 3),
        "Digits of floats: above 0 the shortest text that reads back, else so many more than 15 (6 for real).",
    ),
    ignored("force_parallel_mode", "off", one_of(&["off", "on", "regress"])),
    ignored("from_collapse_limit", "8", Integer(1, 2_147_483_647)),
    ignored("geqo", "on", Bool),
    ignored("hash_mem_multiplier", "2", Float(1.0, 1000.0)),
    setting(
        "idle_in_transaction_session_timeout",
        "0",
        Milliseconds,
        "Longest time a session may wait in an open transaction; 0 is without end.",
    ),
    setting("idle_session_timeout", "0", Milliseconds, "Longest time a session may wait; 0 is without end."),
    fixed("in_hot_standby", "off", "Whether the server only follows another one."),
    reported("integer_datetimes", "integer_datetimes", "on", Accepts::ReadOnly, "Timestamps are integers."),
    reported("intervalstyle", "IntervalStyle", "postgres", INTERVAL_STYLES, "How intervals are written."),
    reported("is_superuser", "is_superuser", "on", Accepts::ReadOnly, "Whether the user may do everything."),
    ignored("jit", "on", Bool),
    ignored("join_collapse_limit", "8", Integer(1, 2_147_483_647)),
    fixed("lc_collate", "C.UTF-8", "Order of text: by code point."),
    fixed("lc_ctype", "C.UTF-8", "Classes of characters."),
    ignored("lc_messages", "C", Text),
    ignored("lc_monetary", "C", Text),
    ignored("lc_numeric", "C", Text),
    ignored("lc_time", "C", Text),
    setting(
        "lock_timeout",
        "0",
        Milliseconds,
        "Longest time a statement may wait for an advisory lock; 0 is without end.",
    ),
    ignored("log_min_duration_statement", "-1", Integer(-1, 2_147_483_647)),
    ignored("log_statement", "none", one_of(&["none", "ddl", "mod", "all"])),
    ignored("maintenance_work_mem", "64MB", Kilobytes),
    fixed("max_connections", "1000", "Connections at a time."),
    fixed("max_identifier_length", "63", "Longest name that is safe with every client."),
    fixed("max_index_keys", "32", "Most columns of an index."),
    ignored("max_parallel_workers_per_gather", "2", Integer(0, 1024)),
    setting(
        "millstream.checkpoint_interval",
        "10s",
        Milliseconds,
        "Time between checkpoints of the graphs that this session creates; 0 takes them only on request.",
    ),
    setting(
        "millstream.clock",
        "system",
        one_of(&["system", "manual"]),
        "Processing time of the whole server: of the system, or moved by ADVANCE CLOCK (for tests).",
    ),
    setting(
        "millstream.create_waits",
        "on",
        Bool,
        "Whether CREATE MATERIALIZED VIEW returns only when the view is full.",
    ),
    ignored("parallel_leader_participation", "on", Bool),
    ignored("parallel_setup_cost", "1000", Float(0.0, f64::MAX)),
    ignored("parallel_tuple_cost", "0.1", Float(0.0, f64::MAX)),
    setting(
        "password_encryption",
        "scram-sha-256",
        one_of(&["scram-sha-256"]),
        "How passwords are kept: as SCRAM verifiers only.",
    ),
    ignored("plan_cache_mode", "auto", one_of(&["auto", "force_generic_plan", "force_custom_plan"])),
    ignored("quote_all_identifiers", "off", Bool),
    ignored("random_page_cost", "4", Float(0.0, f64::MAX)),
    setting("role", "none", Text, "The role whose privileges count, set by SET ROLE."),
    ignored("row_security", "on", Bool),
    setting("search_path", "public", Text, "Schemas searched for unqualified names."),
    ignored("seq_page_cost", "1", Float(0.0, f64::MAX)),
    reported("server_encoding", "server_encoding", "UTF8", Accepts::ReadOnly, "Encoding of the server."),
    reported("server_version", "server_version", SERVER_VERSION, Accepts::ReadOnly, "Version as clients see it."),
    fixed("server_version_num", "150006", "Version as clients see it, as a number."),
    reported(
        "session_authorization",
        "session_authorization",
        "millstream",
        Accepts::ReadOnly,
        "The user of the session.",
    ),
    ignored("session_replication_role", "origin", one_of(&["origin", "replica", "local"])),
    reported(
        "standard_conforming_strings",
        "standard_conforming_strings",
        "on",
        Accepts::AlwaysOn,
        "Backslashes in plain strings are plain.",
    ),
    setting("statement_timeout", "0", Milliseconds, "Longest time a statement may run; 0 is without end."),
    ignored("synchronize_seqscans", "on", Bool),
    setting(
        "synchronous_commit",
        "on",
        one_of(&["on", "off", "local", "remote_write", "remote_apply"]),
        "off: DML returns when it is durable, without waiting until the views show it.",
    ),
    ignored("tcp_keepalives_count", "0", Integer(0, 2_147_483_647)),
    ignored("tcp_keepalives_idle", "0", Integer(0, 2_147_483_647)),
    ignored("tcp_keepalives_interval", "0", Integer(0, 2_147_483_647)),
    ignored("tcp_user_timeout", "0", Milliseconds),
    ignored("temp_buffers", "8MB", Kilobytes),
    ignored("temp_tablespaces", "", Text),
    reported("timezone", "TimeZone", "UTC", TimeZone, "Time zone in which timestamptz is read and shown."),
    setting("transaction_deferrable", "off", Bool, NO_EFFECT),
    setting("transaction_isolation", "read committed", ISOLATION, "Isolation of the current transaction."),
    setting("transaction_read_only", "off", Bool, "Whether the current transaction only reads."),
    ignored("vacuum_cost_delay", "0", Float(0.0, 100.0)),
    ignored("work_mem", "4MB", Kilobytes),
    ignored("xmlbinary", "base64", one_of(&["base64", "hex"])),
    ignored("xmloption", "content", one_of(&["content", "document"])),
];

/// A setting by its lower-case name.
pub fn find(name: &str) -> Option<&'static Known> {
    KNOWN.binary_search_by_key(&name, |known| known.name).ok().map(|at| &KNOWN[at])
}
