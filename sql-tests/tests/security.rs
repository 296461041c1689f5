//! Who is let in by a real server, as a real psql sees it.

use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use millstream_sql_tests::server::{self, Launch, Server};

/// psql with a connection string; `None` when there is none on this machine.
fn psql(server: &Server, options: &str, sql: &str) -> Option<Output> {
    let port = server.address().port();
    let target = format!("host=localhost hostaddr=127.0.0.1 port={port} dbname=d {options}");
    match Command::new("psql").args(["-X", "-A", "-t", "-v", "VERBOSITY=verbose", "-c", sql, &target]).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: there is no psql");
            None
        }
        Err(error) => panic!("psql: {error}"),
    }
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).trim().to_owned()
}

/// An authority, a certificate for localhost and its key, under these names in a folder.
fn certificates(folder: &Path) -> [PathBuf; 3] {
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
    let key = rcgen::KeyPair::generate().unwrap();
    let authority = parameters.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(parameters, key);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut own = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    own.distinguished_name.push(rcgen::DnType::CommonName, "localhost");
    let own = own.signed_by(&key, &issuer).unwrap();
    let paths = ["ca.pem", "cert.pem", "key.pem"].map(|name| folder.join(name));
    for (path, pem) in paths.iter().zip([authority.pem(), own.pem(), key.serialize_pem()]) {
        std::fs::write(path, pem).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    paths
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn with_password(launch: Launch, password: &str) -> Launch {
    launch.environment(&BTreeMap::from([("MILLSTREAM_PASSWORD".to_owned(), password.to_owned())]))
}

#[tokio::test]
async fn psql_checks_the_server_and_binds_its_password_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let [ca, certificate, key] = certificates(folder.path());
    let storage = folder.path().join("storage");
    let launch = with_password(Launch::new(text(&storage)), "first secret")
        .argument("--tls-cert")
        .argument(text(&certificate))
        .argument("--tls-key")
        .argument(text(&key))
        .argument("--tls")
        .argument("require");
    let server = launch.start().await;
    let strict = format!("sslmode=verify-full sslrootcert={} channel_binding=require user=millstream", text(&ca));
    let with = |password: &str| format!("{strict} password='{password}'");
    let Some(asked) = psql(&server, &with("first secret"), "SELECT current_user") else { return };
    assert_eq!(told(&asked), "millstream");
    let asked = psql(&server, &with("wrong"), "SELECT 1").unwrap();
    assert!(told(&asked).contains("password authentication failed for user \"millstream\""), "{}", told(&asked));
    let asked = psql(&server, "sslmode=disable user=millstream password='first secret'", "SELECT 1").unwrap();
    assert!(told(&asked).contains("connections without TLS are refused"), "{}", told(&asked));
    let sql = "CREATE ROLE ada LOGIN PASSWORD 'second secret'";
    assert_eq!(told(&psql(&server, &with("first secret"), sql).unwrap()), "CREATE ROLE");
    let ada = strict.replace("user=millstream", "user=ada password='second secret'");
    assert_eq!(told(&psql(&server, &ada, "SELECT current_user").unwrap()), "ada");

    // Another authority and a certificate by it: taken up at SIGHUP, and not before.
    let [ca, ..] = certificates(folder.path());
    let ada = format!("sslmode=verify-full sslrootcert={} user=ada password='second secret'", text(&ca));
    let early = told(&psql(&server, &ada, "SELECT 1").unwrap());
    assert!(early.contains("SSL error"), "{early}");
    let hung_up = Command::new("kill").args(["-HUP", &server.process_id().to_string()]).status().unwrap();
    assert!(hung_up.success());
    let taken_up = (0..1_000).any(|_| psql(&server, &ada, "SELECT 1").is_some_and(|asked| told(&asked) == "1"));
    assert!(taken_up, "{}", server.log_end());

    // Neither password stands anywhere in what is kept; both are good after a start, whatever the variable says.
    server.kill().await;
    let kept = Command::new("grep").args(["-rlaE", "(first|second) secret", &text(&storage)]).output().unwrap();
    assert_eq!(told(&kept), "");
    let server = with_password(launch, "another one").start().await;
    assert_eq!(told(&psql(&server, &ada, "SELECT current_user").unwrap()), "ada");
    let asked = psql(
        &server,
        &ada.replace("user=ada password='second secret'", "user=millstream password='another one'"),
        "SELECT 1",
    );
    assert!(told(&asked.unwrap()).contains("password authentication failed"));
}

#[tokio::test]
async fn what_was_asked_for_and_can_not_be_had_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let [_, certificate, key] = certificates(folder.path());
    let nowhere = text(&folder.path().join("nowhere.pem"));
    let (certificate, key) = (text(&certificate), text(&key));
    let cases: [(&[&str], &str); 5] = [
        (&["--tls", "require"], "--tls require needs --tls-cert"),
        (&["--tls-cert", &certificate], "--tls-cert needs --tls-key"),
        (&["--tls-client-ca", &certificate], "--tls-client-ca needs --tls-cert"),
        (&["--tls-cert", &nowhere, "--tls-key", &key], "nowhere.pem can't be used"),
        (&["--tls-cert", &certificate, "--tls-key", &certificate], "cert.pem can't be used"),
    ];
    for (arguments, expected) in cases {
        let launch = arguments.iter().fold(Launch::new("memory://"), |launch, argument| launch.argument(*argument));
        let (code, log) = launch.spawn().ended().await;
        assert!(code == Some(1) && log.contains(expected), "{arguments:?}: {code:?} {log}");
    }
    let mut open = Command::new(server::binary());
    open.args(["serve", "--listen", "0.0.0.0:0", "--storage", "memory://"]).env_remove("MILLSTREAM_PASSWORD");
    let refused = open.output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(told(&refused).contains("without a password: set MILLSTREAM_PASSWORD"), "{}", told(&refused));
}

#[tokio::test]
async fn a_newcomer_is_let_in_until_there_are_roles() {
    let server = Launch::new("memory://").start().await;
    let as_user = async |user: &str| {
        let (host, port) = (server.address().ip(), server.address().port());
        let options = format!("host={host} port={port} user={user} dbname=d");
        let (client, connection) = tokio_postgres::connect(&options, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        client.query_one("SELECT current_user::text", &[]).await.map(|row| row.get::<_, String>(0))
    };
    assert_eq!(as_user("anybody").await.unwrap(), "millstream");
    let admin = server.connect().await;
    admin.run("CREATE ROLE ada LOGIN; CREATE ROLE nobody NOLOGIN").await;
    assert_eq!(as_user("ada").await.unwrap(), "ada");
    let refused = async |user: &str| server::text(&as_user(user).await.unwrap_err());
    assert!(refused("anybody").await.contains("role \"anybody\" does not exist"));
    assert!(refused("nobody").await.contains("role \"nobody\" is not permitted to log in"));
    admin.run("ALTER ROLE millstream PASSWORD 'x'").await;
    // No password was given where one is demanded now: of a role without one, too, and of a name that is none.
    for user in ["millstream", "ada", "anybody"] {
        assert!(refused(user).await.contains("invalid configuration"), "{}", refused(user).await);
    }
}

/// The address at which other machines reach this one, if it has one. Nothing is sent.
fn address_beyond_loopback() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Set aside for documentation: it only chooses a way out.
    socket.connect("198.51.100.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

/// Beyond loopback everybody needs a password, and whoever guesses is slowed down.
#[tokio::test]
async fn a_login_over_a_network_needs_its_password() {
    let Some(address) = address_beyond_loopback() else {
        println!("skipped: this machine has no address beyond loopback");
        return;
    };
    let launch = with_password(Launch::new("memory://").listen("0.0.0.0:0"), "first secret");
    let server = launch.start().await;
    let port = server.address().port();
    let log_in = async |user: &str, password: Option<&str>| {
        let mut config = tokio_postgres::Config::new();
        config.host(address.to_string()).port(port).user(user).dbname("millstream");
        if let Some(password) = password {
            config.password(password);
        }
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.map_err(|error| {
            // The driver gives up by itself where it is asked for what it was not given.
            error.code().map_or_else(|| "no password".to_owned(), |code| code.code().to_owned())
        })?;
        tokio::spawn(connection);
        Ok::<_, String>(client)
    };
    let owner = log_in("millstream", Some("first secret")).await.unwrap();
    let from = "SELECT client_addr::text FROM pg_stat_activity WHERE pid = pg_backend_pid()";
    let from: String = owner.query_one(from, &[]).await.unwrap().get(0);
    assert!(from.starts_with(&address.to_string()), "it came over the network, not from {from}");
    owner.batch_execute("CREATE ROLE open LOGIN; CREATE ROLE closed LOGIN PASSWORD 'its own'").await.unwrap();
    assert_eq!(log_in("millstream", None).await.err().unwrap(), "no password");
    for (user, password) in [("open", ""), ("open", "guess"), ("nobody", "guess"), ("closed", "first secret")] {
        assert_eq!(log_in(user, Some(password)).await.err().unwrap(), "28P01", "{user} with \"{password}\"");
    }
    log_in("closed", Some("its own")).await.unwrap();
    let mut refusals = Vec::new();
    for _ in 0..6 {
        refusals.push(log_in("closed", Some("guess")).await.err().unwrap());
    }
    assert_eq!(refusals[..5], ["28P01"; 5]);
    assert_eq!(refusals[5], "28000", "it is not even looked at");
}
