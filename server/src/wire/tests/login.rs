//! Everything before the first statement.

use std::time::{Duration, Instant};

use super::fake::{connect, start};
use super::raw::{RawClient, message, packet, query, startup};
use crate::engine::access::attempts::{LoginAttempts, Origin};
use crate::engine::limits::{FAILURES_PER_ROLE, LOGINS_PER_ADDRESS};
use crate::wire::scram::Credentials;
use crate::wire::{ListenError, WireConfig, listen};

fn with_password(user: Option<&str>) -> WireConfig {
    let credentials = Credentials::new(user.map(str::to_owned), "päss wörd");
    WireConfig { credentials: Some(std::sync::Arc::new(credentials)), ..WireConfig::default() }
}

#[tokio::test]
async fn beyond_loopback_a_password_is_required() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let refused = listen(address.parse().unwrap(), WireConfig::default()).await.unwrap_err();
        assert!(matches!(refused, ListenError::PasswordRequired(_)), "{address}");
        assert!(refused.to_string().contains("MILLSTREAM_PASSWORD"));
    }
    assert!(listen("0.0.0.0:0".parse().unwrap(), with_password(None)).await.is_ok());
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let server = start(WireConfig::default()).await;
    let refused = listen(server.address, WireConfig::default()).await.unwrap_err();
    assert!(refused.to_string().contains(&server.address.to_string()), "{refused}");
}

#[tokio::test]
async fn the_right_password_logs_in() {
    let server = start(with_password(None)).await;
    let client = connect(&server, Some("päss wörd")).await.unwrap();
    assert_eq!(client.query("table", &[]).await.unwrap().len(), 2);
    let server = start(with_password(Some("u"))).await;
    assert!(connect(&server, Some("päss wörd")).await.is_ok());
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_fail_alike() {
    let known = start(with_password(Some("u"))).await;
    let unknown = start(with_password(Some("somebody else"))).await;
    let mut told = Vec::new();
    for (server, password) in [(&known, "wrong"), (&unknown, "päss wörd")] {
        let error = connect(server, Some(password)).await.err().unwrap();
        let error = error.as_db_error().unwrap();
        told.push((error.severity().to_owned(), error.code().code().to_owned(), error.message().to_owned()));
    }
    assert_eq!(told[0], told[1]);
    let expected = ("FATAL", "28P01", "password authentication failed for user \"u\"");
    assert_eq!(told[0], (expected.0.into(), expected.1.into(), expected.2.into()));
}

#[tokio::test]
async fn nothing_behind_a_failed_login_is_run() {
    let server = start(with_password(None)).await;
    let first = message('p', b"SCRAM-SHA-256\0\0\0\0\x0cn,,n=,r=abcd");
    let nonsense = message('p', b"c=biws,r=abcd,p=AAAA");
    for script in [
        [startup(), query("insert")].concat(),
        [startup(), nonsense.clone(), query("insert")].concat(),
        [startup(), message('p', b"MD5\0\xff\xff\xff\xff"), query("insert")].concat(),
        [startup(), first, nonsense, query("insert")].concat(),
    ] {
        let mut client = RawClient::connect(&server).await;
        client.send(&script).await;
        let replies = client.until_closed().await;
        let last = replies.last().unwrap();
        assert_eq!((last.tag, last.field('S').as_str()), ('E', "FATAL"), "{replies:?}");
        assert!(!replies.iter().any(|reply| reply.tag == 'Z'));
    }
    assert!(server.observed.executed().is_empty());
}

#[tokio::test]
async fn a_slow_login_ends_at_the_deadline() {
    let deadline = Duration::from_millis(50);
    let server = start(WireConfig { login_deadline: deadline, ..with_password(None) }).await;
    for bytes in [vec![], startup()[..5].to_vec(), startup()] {
        let mut client = RawClient::connect(&server).await;
        client.send(&bytes).await;
        let last = client.until_closed().await.pop().unwrap();
        assert_eq!((last.sqlstate().as_str(), last.field('S').as_str()), ("08006", "FATAL"));
    }
}

#[tokio::test]
async fn encryption_is_declined_and_nothing_may_stand_behind_the_request() {
    let server = start(WireConfig::default()).await;
    let ssl = packet(&80_877_103i32.to_be_bytes());
    let gss = packet(&80_877_104i32.to_be_bytes());
    let mut client = RawClient::connect(&server).await;
    for request in [&gss, &ssl] {
        client.send(request).await;
        let mut answer = [0];
        tokio::io::AsyncReadExt::read_exact(&mut client.stream, &mut answer).await.unwrap();
        assert_eq!(&answer, b"N");
    }
    client.send(&startup()).await;
    client.until_ready().await;

    for script in [[ssl.clone(), startup(), query("insert")].concat(), [gss, startup()].concat()] {
        let mut client = RawClient::connect(&server).await;
        client.send(&script).await;
        assert_eq!(client.until_closed().await.pop().unwrap().sqlstate(), "08P01");
    }
    let mut client = RawClient::connect(&server).await;
    client.send(&ssl).await;
    tokio::io::AsyncReadExt::read_exact(&mut client.stream, &mut [0]).await.unwrap();
    client.send(&ssl).await;
    assert_eq!(client.until_closed().await.pop().unwrap().sqlstate(), "08P01");
    assert!(server.observed.executed().is_empty());
}

#[tokio::test]
async fn the_settings_that_drivers_read_are_told() {
    let server = start(WireConfig::default()).await;
    let mut client = RawClient::connect(&server).await;
    client.send(&packet(b"\0\x03\0\x02user\0u\0_pq_.x\0y\0\0")).await;
    let replies = client.until_ready().await;
    assert_eq!(replies[0].tag, 'v', "a newer minor version is negotiated down");
    assert_eq!(replies[0].body[..4], 196_608i32.to_be_bytes());
    let told = |name: &str| {
        let prefix = format!("{name}\0");
        replies
            .iter()
            .filter(|reply| reply.tag == 'S')
            .map(|reply| String::from_utf8(reply.body.clone()).unwrap())
            .find_map(|text| text.strip_prefix(&prefix).map(|value| value.trim_end_matches('\0').to_owned()))
    };
    assert!(told("server_version").unwrap().starts_with("15."));
    for (name, value) in [
        ("client_encoding", "UTF8"),
        ("server_encoding", "UTF8"),
        ("DateStyle", "ISO, MDY"),
        ("TimeZone", "UTC"),
        ("IntervalStyle", "postgres"),
        ("integer_datetimes", "on"),
        ("standard_conforming_strings", "on"),
        ("is_superuser", "on"),
        ("session_authorization", "u"),
    ] {
        assert_eq!(told(name).as_deref(), Some(value), "{name}");
    }
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_and_cancels_still_get_through() {
    let server = start(WireConfig { connections: 1, ..WireConfig::default() }).await;
    let client = connect(&server, None).await.unwrap();
    let error = connect(&server, None).await.err().unwrap();
    assert_eq!(error.code().unwrap().code(), "53300");
    let token = client.cancel_token();
    let cancelling = async {
        while server.observed.executed().is_empty() {
            tokio::task::yield_now().await;
        }
        token.cancel_query(tokio_postgres::NoTls).await.unwrap();
    };
    let (result, ()) = tokio::join!(client.simple_query("wait"), cancelling);
    assert_eq!(result.unwrap_err().code().unwrap().code(), "57014");
}

#[tokio::test]
async fn a_setting_that_the_session_refuses_ends_the_login() {
    let server = start(WireConfig::default()).await;
    let mut client = RawClient::connect(&server).await;
    client.send(&packet(b"\0\x03\0\0user\0u\0options\0-c bad=x\0\0")).await;
    let replies = client.until_closed().await;
    assert_eq!(replies.last().unwrap().sqlstate(), "22023");
}

/// Everybody has a password, and this machine waits like any other.
fn guarded() -> WireConfig {
    WireConfig { attempts: std::sync::Arc::new(LoginAttempts::sparing_nobody()), ..with_password(Some("u")) }
}

#[tokio::test]
async fn whoever_guesses_is_refused_and_told_how_long() {
    let config = guarded();
    let attempts = std::sync::Arc::clone(&config.attempts);
    let server = start(config).await;
    for _ in 0..FAILURES_PER_ROLE {
        let error = connect(&server, Some("wrong")).await.err().unwrap();
        assert_eq!(error.code().unwrap().code(), "28P01");
    }
    // Long enough that no machine is too slow to see it.
    for _ in 0..10 {
        attempts.failed(Origin::of(server.address.ip()), "u", Instant::now());
    }
    for password in ["wrong", "p\u{e4}ss w\u{f6}rd"] {
        let error = connect(&server, Some(password)).await.err().unwrap();
        let error = error.as_db_error().unwrap();
        assert_eq!((error.severity(), error.code().code()), ("FATAL", "28000"), "{password}");
        assert_eq!(error.message(), "too many failed logins for user \"u\"");
        assert!(error.detail().unwrap().starts_with("Further attempts from 127.0.0.1 are refused for "));
    }
    let report = attempts.report(Instant::now());
    assert!(report.iter().any(|count| count.role.as_deref() == Some("u") && count.waits.is_some()), "{report:?}");
}

#[tokio::test]
async fn a_right_password_clears_the_wrong_ones() {
    let config = guarded();
    let attempts = std::sync::Arc::clone(&config.attempts);
    let server = start(config).await;
    for _ in 0..3 {
        for _ in 1..FAILURES_PER_ROLE {
            assert!(connect(&server, Some("wrong")).await.is_err());
        }
        assert!(connect(&server, Some("p\u{e4}ss w\u{f6}rd")).await.is_ok());
        let report = attempts.report(Instant::now());
        assert!(report.iter().all(|count| count.role.is_none()), "{report:?}");
    }
}

#[tokio::test]
async fn connections_that_do_not_log_in_are_bounded_and_cancels_get_through() {
    let server = start(guarded()).await;
    let mut slow = Vec::new();
    for _ in 0..LOGINS_PER_ADDRESS {
        slow.push(RawClient::connect(&server).await);
    }
    let mut refused = RawClient::connect(&server).await;
    refused.send(&startup()).await;
    let last = refused.until_closed().await.pop().unwrap();
    assert_eq!((last.sqlstate().as_str(), last.field('S').as_str()), ("53300", "FATAL"));
    assert_eq!(last.field('M'), "too many connections of your address are logging in");
    let mut cancel = RawClient::connect(&server).await;
    cancel.send(&packet(&[80_877_102i32.to_be_bytes(), [0; 4], [0; 4]].concat())).await;
    assert!(cancel.until_closed().await.is_empty(), "a cancel is taken without a word");
    // One that goes makes room.
    let mut first = slow.pop().unwrap();
    first.send(&startup()[..3]).await;
    drop(first);
    while connect(&server, Some("p\u{e4}ss w\u{f6}rd")).await.is_err() {
        tokio::task::yield_now().await;
    }
}
