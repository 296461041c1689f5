//! The wire over real sockets: drivers and raw bytes on one side, a made-up session on the other.
//!
//! The traps of pgwire's stock loop, of the stock encoder and of the stock catalog, and the test that each would fail:
//!
//! | trap | test |
//! |---|---|
//! | reads on behind a failed login | `login::nothing_behind_a_failed_login_is_run` |
//! | takes what came in the clear behind SSLRequest for encrypted | `login::encryption_is_declined_and_nothing_may_stand_behind_the_request` |
//! | decodes every tag before the login, short bodies panic | `hostile::broken_startups_end_the_connection`, `fuzz` |
//! | reads a body beyond its frame, buffers 1 GiB | `hostile::broken_frames_end_the_connection`, `fuzz` |
//! | no deadline for the login | `login::a_slow_login_ends_at_the_deadline` |
//! | allocates the row limit of Execute at once | `protocol::portals_are_sent_in_parts` (2³¹−1, −2³¹, −1) |
//! | collects a whole result, sends rows from 8 KiB on | `protocol::a_slow_reader_slows_its_query`, `cancel::a_cancel_ends_a_result_while_rows_flow_and_touches_nobody_else` |
//! | a cancel meets only the start of a query | the same of `cancel` |
//! | SCRAM panics without a salt, tells unknown users apart | `scram.rs`: `an_unknown_user_fails_with_a_salt_that_stays_the_same`, `messages_that_the_rfc_does_not_know_are_refused` |
//! | one panic ends more than its connection | `protocol::a_panic_is_told_and_ends_its_connection_only` |
//! | `version()` that drivers do not take | `session::statements_parameters_and_the_catalog` |
//! | NULL and out-of-range values become others | `values/tests.rs`: `a_value_beyond_postgres_is_an_error_not_a_null`, `records_and_maps` |
//! | wide decimals, maps, uuid, nested lists are errors | `values/tests.rs`: `numbers_and_booleans`, `records_and_maps`, `arrays` |
//! | int8 is one byte under the OID of int2; OIDs shared | `values/tests.rs`: `binary_formats`, `the_names_and_oids_of_types_are_unique` |
//! | texts such as `inf`, `-0`, six decimals always | `values/tests.rs`: `dates_and_times_of_every_unit`, `numbers_and_booleans` |
//! | the stock catalog rewrites text and loses places | `session::statements_parameters_and_the_catalog` (position 15) |
#![allow(clippy::unwrap_used)]

mod cancel;
mod copy;
mod cursors;
mod fake;
mod fuzz;
mod hostile;
mod idle;
mod login;
mod protocol;
mod raw;
mod session;
mod tls;
