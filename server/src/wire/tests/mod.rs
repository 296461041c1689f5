//! The wire over real sockets: drivers and raw bytes on one side, a made-up session or an engine on the other.
//!
//! What pgwire's stock loop, the stock encoder and the stock catalog get wrong, and the tests that each of it would
//! fail. *Seen by* is what was done to our own code to have the stock behaviour for once; each test named beside it
//! failed then.
//!
//! | the loop | test | seen by |
//! |---|---|---|
//! | reads on behind a failed login | `login::nothing_behind_a_failed_login_is_run` | a refused password answered, and the login gone on with |
//! | takes what came in the clear behind SSLRequest for encrypted | `login::encryption_is_declined_and_nothing_may_stand_behind_the_request`, `tls::what_is_sent_behind_the_request_never_counts_as_encrypted` | the buffer behind the request not looked at |
//! | decodes every tag before the login | `traps::before_the_login_a_tag_is_enough_to_be_refused` | any tag taken for a password |
//! | short bodies panic | `traps::short_bodies_end_the_connection_before_the_login_and_behind_it` | reads of a body not checked |
//! | a body is decoded against the whole buffer | `traps::a_body_is_read_from_its_own_bytes_only` | a frame not cut at its length |
//! | what is left of a body is not noticed | `hostile::broken_frames_end_the_connection` | `Body::end` always content |
//! | buffers 1 GiB, also before the login | `traps::a_body_that_is_promised_and_too_large_is_not_waited_for` | limits of 1 GiB |
//! | no deadline for the login | `login::a_slow_login_ends_at_the_deadline` | no deadline |
//! | allocates the row limit of Execute at once, panics at −1 | `protocol::portals_are_sent_in_parts` | a vector of that capacity |
//! | collects a whole result | `traps::a_portal_without_a_limit_streams_and_meets_its_cancel`, `protocol::a_slow_reader_slows_its_query` | rows collected first: both never end |
//! | a cancel meets only the start of a query | `cancel::a_cancel_ends_a_result_while_rows_flow_and_touches_nobody_else`, the same of `traps` | the token not looked at while rows flow |
//! | rows are not flushed before 8 KiB | `traps::rows_of_a_portal_are_sent_while_more_are_awaited`, `protocol::a_client_that_goes_away_stops_its_query` | no flush while rows are awaited |
//! | SCRAM keeps the salted password | `engine::access::password`: `a_verifier_is_kept_as_it_is_and_a_password_as_its_verifier`; `sql-tests`: `security::psql_checks_the_server_and_binds_its_password_to_it` | the text kept as it came |
//! | SCRAM panics without a salt, tells unknown users apart | `scram.rs`: `an_unknown_user_fails_with_a_salt_that_stays_the_same`, `messages_that_the_rfc_does_not_know_are_refused` | a salt made anew each time |
//! | offers -PLUS without TLS | `tls::the_plus_mechanism_is_offered_under_tls_only` | always offered |
//! | does not check the flag `y` | `scram.rs`: `an_offer_that_was_taken_out_on_the_way_is_noticed` | `y` taken for `n` |
//! | one handler for several connections | `scram.rs`: `a_nonce_is_good_for_one_exchange` | one nonce for all |
//! | an error in COPY OUT sends CopyFail to the client | `copy::messages_of_a_copy_in_both_protocols` | `f` written before the error |
//! | one panic ends more than its connection | `protocol::a_panic_is_told_and_ends_its_connection_only` | the panic passed on |
//! | `version()` that SQLAlchemy does not take | `session::statements_parameters_and_the_catalog` | another name in front |
//! | pgjdbc's `setString` fails over views of text | `traps::a_text_parameter_is_taken_under_every_type_of_text` | not seen: with `map_string_types_to_utf8view` on it passes, too, because our columns have types of their own |
//! | columns named by expressions | `traps::columns_have_the_names_of_postgres` | DataFusion's names left |
//! | one session for all connections | `traps::each_connection_has_a_session_of_its_own` | not seen: `serve` takes a function that makes a session for each login, and a session can't be shared |
//! | every error is XX000 | `traps::errors_have_codes_and_places_of_their_own_over_the_wire` | that code written for all |
//! | in the clear when TLS can't be set up | `tls::files_that_can_not_be_used_are_named` | not seen: `Tls::open` gives a server nothing to go on with |
//!
//! | the encoder (`values/tests.rs`) | test | seen by |
//! |---|---|---|
//! | NULL interval is `00:00:00`, a NULL in a record the empty text | `nulls_stay_nulls_in_every_type_and_format` | NULLs of intervals not looked at |
//! | out of range is NULL | `a_value_beyond_postgres_is_an_error_not_a_null` | the error made NULL |
//! | wide decimals, float16, maps, uuid, nested lists are errors | `numbers_and_booleans`, `records_and_maps`, `arrays`, `parameters_are_brought_to_the_planned_type` | uuid's kind taken out; the others fail by a missing arm of a `match` |
//! | a record with a field that fails panics | `a_field_that_fails_fails_its_record` | the field's error unwrapped |
//! | int8 is one byte under the OID of int2 | `binary_formats` | one byte written |
//! | texts such as `inf`, `-0`, `1e300`, six decimals always | `numbers_and_booleans`, `dates_and_times_of_every_unit` | Rust's own text of floats; `.000000` behind whole seconds |
//! | uuid and jsonb have no OID of their own | `texts_and_bytes` | both under the OID of text |
//!
//! | the catalog | test | seen by |
//! |---|---|---|
//! | swaps whole statements, loses every position | `session::tests::catalog::what_drivers_ask_needs_no_planner_of_streams`, `traps::errors_have_codes_and_places_of_their_own_over_the_wire` | positions not written |
//! | `\d+ \du \dT \dp \df \sv` fail | `sql-tests`: `psql::psql_shows_what_is_there`, `clients/python/psql_client.py` | statements of the catalog given to the planner: `pg_catalog::tests` fail, eleven of them |
//! | kinds are r and v only, owners 0, OIDs change over restarts | `session::tests::catalog::oids_stay_over_restarts_and_are_not_given_twice` | kind v for materialized views; owner 0; OIDs counted at each look |
//! | no keys or indexes | the same; `pg_catalog::tests::the_parts_of_a_description` | keys left out |
//! | asyncpg, SQLAlchemy, JDBC's getPrimaryKeys fail | `pg_catalog::tests::statements_of_drivers`, `clients/run` with all three | as above |
//! | no `ARRAY(SELECT …)`, correlated scalar subqueries, other escapes of LIKE | `session::tests::catalog::what_drivers_ask_needs_no_planner_of_streams` | the statements given to the planner |
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
mod returning;
mod served;
mod session;
mod subscribe;
mod tls;
mod traps;
