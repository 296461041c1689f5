//! From the first byte to ReadyForQuery.
//!
//! Nothing is read beyond the message that is expected; every failure is fatal, so that nothing behind it is
//! ever looked at.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::client_session::{ClientSession, Login};
use super::codec::{self, Opening};
use super::errors::{self, Failure};
use super::gate::Demand;
use super::listener::WireConfig;
use super::scram::{Exchange, MECHANISM, MECHANISM_PLUS, Refusal, Terms};
use super::socket::Socket;
use super::tls::Tls;
use super::{connection, reply};
use crate::engine::access::attempts::{LoginAttempts, Open, Origin};
use crate::engine::access::password::Verifier;
use crate::session::SqlError;
use crate::session::registry::{Registration, Sessions};

/// Whether there is room for a connection.
pub(super) enum Admission {
    /// It may log in; while it does so, it counts for where it comes from.
    Admitted(Origin, Open),
    /// It is told why not, once it has said what it wants: requests to cancel always get through.
    Refused(SqlError),
}

/// Logs a client in and opens its session; `None` when the connection has served its purpose (a
/// CancelRequest, or the client went away).
pub(super) async fn login<S: ClientSession>(
    socket: &mut Socket,
    config: &WireConfig,
    sessions: &Sessions,
    registration: &Registration,
    admission: Admission,
    open_session: impl Fn(&Login) -> Result<S, SqlError>,
) -> Result<Option<S>, Failure> {
    let tls = config.tls.as_deref();
    if let Some(tls) = tls
        && !direct_tls(socket, tls).await?
    {
        return Ok(None);
    }
    let Some((minor, parameters)) = startup(socket, sessions, tls).await? else { return Ok(None) };
    let (origin, _logging_in) = match admission {
        Admission::Admitted(origin, open) => (origin, open),
        Admission::Refused(error) => return Err(Failure::Fatal(error)),
    };
    if tls.is_some_and(Tls::required) && socket.is_plain() {
        return Err(Failure::Fatal(errors::tls_required()));
    }
    let start = StartParameters::read(parameters)?;
    if tls.is_some_and(Tls::client_name) && socket.client_name.as_deref() != Some(start.user.as_str()) {
        return Err(Failure::Fatal(errors::wrong_certificate(&start.user)));
    }
    if minor > 0 || !start.unknown_options.is_empty() {
        let options: Vec<&str> = start.unknown_options.iter().map(String::as_str).collect();
        reply::negotiate_protocol_version(&mut socket.output, &options);
    }
    if let Some(gate) = &config.credentials
        && let Demand::Password { verifier, known } = gate.demand(&start.user)
        && !counted(socket, &config.attempts, origin, &start.user, verifier, known).await?
    {
        return Ok(None);
    }
    reply::authentication_ok(&mut socket.output);

    let place = registration.place().clone();
    let login = Login { user: start.user, database: start.database, place };
    let mut session = open_session(&login)?;
    for (name, value) in &start.settings {
        session.set_at_start(name, value)?;
    }
    for (name, shown, default) in connection::REPORTED_SETTINGS {
        let value = match *name {
            "session_authorization" => session.setting(name).unwrap_or_else(|| login.user.clone()),
            name => session.setting(name).unwrap_or_else(|| (*default).to_owned()),
        };
        reply::parameter_status(&mut socket.output, shown, &value);
    }
    let seat = registration.seat();
    let user = session.setting("session_authorization").unwrap_or_else(|| login.user.clone());
    seat.logged_in(&user, &login.database, session.setting("application_name").unwrap_or_default());
    reply::backend_key(&mut socket.output, seat.process_id(), seat.secret());
    reply::ready_for_query(&mut socket.output, session.transaction_status());
    socket.flush().await?;
    Ok(Some(session))
}

/// The first byte of a TLS handshake; no length of a packet begins with it.
const TLS_HANDSHAKE: u8 = 0x16;

/// Shakes hands with a client that begins with it, without a request (Postgres 17); `false` when it is gone.
async fn direct_tls(socket: &mut Socket, tls: &Tls) -> Result<bool, Failure> {
    match socket.first_byte().await? {
        None => Ok(false),
        Some(TLS_HANDSHAKE) => match socket.start_tls(tls).await? {
            true => Ok(true),
            // It may be meant for another server: only one that names the protocol is at the right one.
            false => Err(Failure::Fatal(errors::protocol_violation(
                "received direct SSL connection request without ALPN protocol negotiation extension",
            ))),
        },
        Some(_) => Ok(true),
    }
}

/// Answers requests for encryption and returns the startup packet.
async fn startup(
    socket: &mut Socket,
    sessions: &Sessions,
    tls: Option<&Tls>,
) -> Result<Option<(u16, Vec<(String, String)>)>, Failure> {
    let (mut asked_ssl, mut asked_gss) = (!socket.is_plain(), false);
    loop {
        let Some(opening) = next(socket, codec::opening).await? else { return Ok(None) };
        let encrypts = matches!(opening, Opening::Ssl) && tls.is_some();
        let asked = match opening {
            Opening::Startup { minor, parameters } => return Ok(Some((minor, parameters))),
            Opening::Cancel { process_id, secret } => {
                sessions.cancel_with(process_id, secret);
                return Ok(None);
            }
            Opening::Ssl => &mut asked_ssl,
            Opening::GssEncryption => &mut asked_gss,
        };
        // Bytes behind the request were sent before its answer was known: with encryption they would be taken
        // for encrypted ones.
        if std::mem::replace(asked, true) || !socket.input.is_empty() {
            let error = errors::protocol_violation("received unencrypted data after a request for encryption");
            return Err(Failure::Fatal(error));
        }
        socket.output.extend_from_slice(if encrypts { b"S" } else { b"N" });
        socket.flush().await?;
        if let Some(tls) = tls.filter(|_| encrypts) {
            socket.start_tls(tls).await?;
            // Under encryption there is nothing more to ask for.
            asked_gss = true;
        }
    }
}

/// Waits until `decode` finds something whole; `None` when the client is gone.
async fn next<T>(
    socket: &mut Socket,
    decode: impl Fn(&mut BytesMut) -> Result<Option<T>, Failure>,
) -> Result<Option<T>, Failure> {
    loop {
        if let Some(decoded) = decode(&mut socket.input)? {
            return Ok(Some(decoded));
        }
        if !socket.read().await? {
            return Ok(None);
        }
    }
}

/// Checks a password, unless too many were wrong; `false` when the client went away.
async fn counted(
    socket: &mut Socket,
    attempts: &Arc<LoginAttempts>,
    origin: Origin,
    user: &str,
    verifier: Verifier,
    known: bool,
) -> Result<bool, Failure> {
    let _checking = attempts
        .tries(origin, user, Instant::now())
        .map_err(|waits| Failure::Fatal(errors::logins_refused(user, origin, waits)))?;
    let outcome = authenticate(socket, verifier, known, user).await;
    match &outcome {
        Ok(true) => attempts.succeeded(origin, user),
        Err(failure) if errors::is_wrong_password(failure) => {
            if let Some(waits) = attempts.failed(origin, user, Instant::now()) {
                let seconds = waits.as_secs();
                tracing::warn!(user, %origin, seconds, "too many wrong passwords: further logins are refused for a while");
            }
        }
        Ok(false) | Err(_) => {}
    }
    outcome
}

/// Runs the SCRAM exchange; `false` when the client went away.
async fn authenticate(socket: &mut Socket, verifier: Verifier, known: bool, user: &str) -> Result<bool, Failure> {
    let refused = |refusal| {
        Failure::Fatal(match refusal {
            Refusal::WrongPassword => errors::wrong_password(user),
            Refusal::Binding(message) => errors::not_authorized(message),
            Refusal::Malformed(detail) => {
                let mut error = errors::protocol_violation("malformed SCRAM message");
                error.detail = Some(detail.to_owned());
                error
            }
        })
    };
    let end_point = socket.end_point.clone();
    let offered: &[&str] = match end_point {
        Some(_) => &[MECHANISM_PLUS, MECHANISM],
        None => &[MECHANISM],
    };
    reply::authentication_sasl(&mut socket.output, offered);
    let Some(first) = password(socket).await? else { return Ok(false) };
    let (mechanism, client_first) = codec::sasl_initial_response(first)?;
    if !offered.contains(&mechanism.as_str()) {
        return Err(Failure::Fatal(errors::protocol_violation(format!(
            "client selected an invalid SASL authentication mechanism, {} is offered",
            offered.join(" or ")
        ))));
    }
    let terms = Terms { verifier, known, plus: mechanism == MECHANISM_PLUS, end_point: end_point.as_deref() };
    let exchange = Exchange::begin(terms, &client_first).map_err(refused)?;
    reply::authentication_continue(&mut socket.output, exchange.server_first());
    let Some(client_final) = password(socket).await? else { return Ok(false) };
    let server_final = exchange.finish(&client_final).map_err(refused)?;
    reply::authentication_final(&mut socket.output, &server_final);
    Ok(true)
}

async fn password(socket: &mut Socket) -> Result<Option<Bytes>, Failure> {
    socket.flush().await?;
    Ok(next(socket, codec::password).await?.flatten())
}

/// What a startup packet says.
struct StartParameters {
    user: String,
    database: String,
    /// For the session, in the order in which they stand; later ones win.
    settings: Vec<(String, String)>,
    /// Options of the protocol that are not known.
    unknown_options: Vec<String>,
}

impl StartParameters {
    fn read(parameters: Vec<(String, String)>) -> Result<Self, Failure> {
        let (mut user, mut database) = (String::new(), String::new());
        let (mut settings, mut unknown_options) = (Vec::new(), Vec::new());
        for (name, value) in parameters {
            match name.as_str() {
                "user" => user = value,
                "database" => database = value,
                "options" => settings.extend(command_line_settings(&value)?),
                "replication" if ["false", "off", "no", "0"].contains(&value.as_str()) => {}
                "replication" => {
                    let hint = "Connect without the replication parameter.";
                    return Err(Failure::Fatal(errors::unsupported("replication is not supported", hint)));
                }
                name if name.starts_with("_pq_.") => unknown_options.push(name.to_owned()),
                name => settings.push((name.to_ascii_lowercase(), value)),
            }
        }
        if user.is_empty() {
            return Err(Failure::Fatal(errors::no_user()));
        }
        if database.is_empty() {
            database.clone_from(&user);
        }
        for (_, value) in settings.iter().filter(|(name, _)| name == "client_encoding") {
            check_encoding(value)?;
        }
        settings.retain(|(name, _)| name != "client_encoding");
        Ok(Self { user, database, settings, unknown_options })
    }
}

/// Text is UTF-8 both ways; a client that says SQL_ASCII takes bytes as they are.
fn check_encoding(value: &str) -> Result<(), Failure> {
    let plain: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
    match plain.to_ascii_lowercase().as_str() {
        "utf8" | "unicode" | "sqlascii" => Ok(()),
        _ => {
            let hint = "Set the client's encoding to UTF8.";
            let message = format!("conversion between {value} and UTF8 is not supported");
            Err(Failure::Fatal(errors::unsupported(message, hint)))
        }
    }
}

/// The settings in `options`: `-c name=value` and `--name=value`, a backslash before a space that is meant.
fn command_line_settings(options: &str) -> Result<Vec<(String, String)>, Failure> {
    let mut words: Vec<String> = Vec::new();
    let (mut within, mut escaped) = (false, false);
    for character in options.chars() {
        if character.is_ascii_whitespace() && !escaped {
            within = false;
            continue;
        }
        if !std::mem::replace(&mut within, true) {
            words.push(String::new());
        }
        if character == '\\' && !escaped {
            escaped = true;
            continue;
        }
        escaped = false;
        words.last_mut().expect("a word was begun").push(character);
    }
    let mut settings = Vec::new();
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let setting = match word {
            "-c" => words.next(),
            word => word.strip_prefix("--").or_else(|| word.strip_prefix("-c")),
        };
        let Some((name, value)) = setting.and_then(|setting| setting.split_once('=')) else {
            let error = errors::syntax_error(format!("invalid command-line argument for server process: {word}"));
            return Err(Failure::Fatal(error));
        };
        settings.push((name.to_ascii_lowercase().replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn options_are_read_as_a_command_line() {
        let read = command_line_settings(r"-c  search_path=a\ b --TimeZone=UTC -cx=1 --a-b=c=d").unwrap();
        assert_eq!(read, pairs(&[("search_path", "a b"), ("timezone", "UTC"), ("x", "1"), ("a_b", "c=d")]));
        for wrong in ["-c", "-x", "--name", "word"] {
            assert!(command_line_settings(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn startup_parameters_are_told_apart() {
        let parameters = pairs(&[
            ("user", "u"),
            ("replication", "off"),
            ("_pq_.feature", "1"),
            ("client_encoding", "'utf-8'"),
            ("DateStyle", "ISO"),
        ]);
        let start = StartParameters::read(parameters).unwrap_or_else(|_| panic!("these are all right"));
        assert_eq!((start.user.as_str(), start.database.as_str()), ("u", "u"));
        assert_eq!(start.settings, pairs(&[("datestyle", "ISO")]));
        assert_eq!(start.unknown_options, ["_pq_.feature"]);
        for wrong in [pairs(&[]), pairs(&[("user", "u"), ("client_encoding", "LATIN1")])] {
            assert!(StartParameters::read(wrong).is_err());
        }
        assert!(StartParameters::read(pairs(&[("user", "u"), ("replication", "database")])).is_err());
    }
}
