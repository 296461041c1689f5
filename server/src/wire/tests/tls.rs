//! Encryption: certificates made for the occasion, a real client over rustls, and what attackers try around the
//! handshake.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding as Bound, TlsConnect, TlsStream as PgTlsStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::fake::{TestServer, start};
use super::raw::{RawClient, packet, query, startup};
use crate::wire::der;
use crate::wire::scram::Credentials;
use crate::wire::{Tls, TlsOptions, WireConfig};

/// An authority with the certificates that it signs.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        Self { certificate, issuer: rcgen::Issuer::new(parameters, key) }
    }

    fn signs(&self, name: &str) -> (rcgen::Certificate, rcgen::KeyPair) {
        let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        (parameters.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

/// A folder with a certificate and a key for a server.
struct Files {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Files {
    fn new() -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap(), authority: Authority::new() };
        files.renew();
        std::fs::write(files.path("ca.pem"), files.authority.certificate.pem()).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a new pair in the place of the old one; gives the certificate.
    fn renew(&self) -> Vec<u8> {
        let (certificate, key) = self.authority.signs("localhost");
        std::fs::write(self.path("cert.pem"), certificate.pem()).unwrap();
        write_key(&self.path("key.pem"), &key.serialize_pem());
        certificate.der().to_vec()
    }

    fn options(&self) -> TlsOptions {
        TlsOptions {
            certificate: self.path("cert.pem"),
            key: self.path("key.pem"),
            client_ca: None,
            client_name: false,
            required: false,
        }
    }

    fn connector(&self, client: Option<(&rcgen::Certificate, &rcgen::KeyPair)>, alpn: &[&[u8]]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.certificate.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                let chain = vec![CertificateDer::from(certificate.der().to_vec())];
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }
}

fn write_key(path: &Path, pem: &str) {
    std::fs::write(path, pem).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

async fn server(options: TlsOptions) -> (TestServer, Arc<Tls>) {
    let tls = Arc::new(Tls::open(options).unwrap());
    let credentials: Arc<dyn crate::wire::Gate> = Arc::new(Credentials::new(None, "secret"));
    let config = WireConfig { credentials: Some(credentials), tls: Some(Arc::clone(&tls)), ..WireConfig::default() };
    (start(config).await, tls)
}

/// rustls as tokio-postgres wants it, with what it binds to.
struct Rustls {
    connector: TlsConnector,
    /// Said instead of the truth, by somebody in between.
    pretends: Option<Vec<u8>>,
}

struct Bindable(TlsStream<TcpStream>, Option<Vec<u8>>);

impl TlsConnect<TcpStream> for Rustls {
    type Stream = Bindable;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Bindable>> + Send>>;

    fn connect(self, stream: TcpStream) -> Self::Future {
        Box::pin(async move {
            let name = ServerName::try_from("localhost").unwrap();
            Ok(Bindable(self.connector.connect(name, stream).await?, self.pretends))
        })
    }
}

impl AsyncRead for Bindable {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, b: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, b)
    }
}

impl AsyncWrite for Bindable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, b: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, b)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl PgTlsStream for Bindable {
    fn channel_binding(&self) -> Bound {
        let seen = || self.0.get_ref().1.peer_certificates().map(|chain| der::end_point(&chain[0]).unwrap());
        match self.1.clone().or_else(seen) {
            Some(end_point) => Bound::tls_server_end_point(end_point),
            None => Bound::none(),
        }
    }
}

/// Connects over TLS and binds the login to the certificate.
async fn connect(
    server: &TestServer,
    connector: TlsConnector,
    pretends: Option<Vec<u8>>,
) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    config.user("u").dbname("d").password("secret").ssl_mode(SslMode::Require);
    config.channel_binding(tokio_postgres::config::ChannelBinding::Require);
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (client, connection) = config.connect_raw(stream, Rustls { connector, pretends }).await?;
    tokio::spawn(connection);
    Ok(client)
}

#[tokio::test]
async fn a_client_binds_its_login_to_the_certificate() {
    let files = Files::new();
    let (server, _) = server(files.options()).await;
    let client = connect(&server, files.connector(None, &[]), None).await.unwrap();
    assert_eq!(client.query("table", &[]).await.unwrap().len(), 2);
    // The same over somebody who shows another certificate and passes the exchange on.
    let refused = connect(&server, files.connector(None, &[]), Some(vec![7; 32])).await.err().unwrap();
    let told = refused.as_db_error().unwrap();
    assert_eq!((told.code().code(), told.message()), ("28000", "SCRAM channel binding check failed"));
}

#[tokio::test]
async fn the_plus_mechanism_is_offered_under_tls_only() {
    let files = Files::new();
    let (server, _) = server(files.options()).await;
    let mut plain = RawClient::connect(&server).await;
    plain.send(&startup()).await;
    let offered = plain.next().await.unwrap();
    assert_eq!(offered.body, b"\0\0\0\x0aSCRAM-SHA-256\0\0");
    let bound = b"SCRAM-SHA-256-PLUS\0\0\0\0\x24p=tls-server-end-point,,n=,r=abcdefgh";
    plain.send(&super::raw::message('p', bound)).await;
    assert_eq!(plain.until_closed().await.pop().unwrap().sqlstate(), "08P01");
}

#[tokio::test]
async fn what_is_sent_behind_the_request_never_counts_as_encrypted() {
    let files = Files::new();
    let (server, _) = server(files.options()).await;
    let ssl = packet(&80_877_103i32.to_be_bytes());
    let mut client = RawClient::connect(&server).await;
    client.send(&[ssl.clone(), startup(), query("insert")].concat()).await;
    assert_eq!(client.until_closed().await.pop().unwrap().sqlstate(), "08P01");
    // Plain text where the handshake should begin.
    let mut client = RawClient::connect(&server).await;
    client.send(&ssl).await;
    client.stream.read_exact(&mut [0]).await.unwrap();
    client.send(&[startup(), query("insert")].concat()).await;
    let mut rest = Vec::new();
    let _ = client.stream.read_to_end(&mut rest).await;
    assert!(!rest.contains(&b'Z'), "nothing was let in");
    // A second request within the encrypted connection.
    let mut tcp = TcpStream::connect(server.address).await.unwrap();
    tcp.write_all(&ssl).await.unwrap();
    tcp.read_exact(&mut [0]).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut inner = files.connector(None, &[]).connect(name, tcp).await.unwrap();
    inner.write_all(&ssl).await.unwrap();
    let mut answer = Vec::new();
    let _ = inner.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"E") && String::from_utf8_lossy(&answer).contains("08P01"));
    assert!(server.observed.executed().is_empty());
}

#[tokio::test]
async fn a_connection_in_the_clear_is_refused_where_tls_is_required() {
    let files = Files::new();
    let (server, _) = server(TlsOptions { required: true, ..files.options() }).await;
    let mut client = RawClient::connect(&server).await;
    client.send(&startup()).await;
    let refused = client.until_closed().await.pop().unwrap();
    assert_eq!((refused.sqlstate().as_str(), refused.field('S').as_str()), ("28000", "FATAL"));
    assert!(refused.field('H').contains("sslmode=require"));
    assert!(connect(&server, files.connector(None, &[]), None).await.is_ok());
}

#[tokio::test]
async fn a_handshake_may_begin_at_once_when_it_names_the_protocol() {
    let files = Files::new();
    let (server, _) = server(files.options()).await;
    for (alpn, expected) in [(&[b"postgresql".as_slice()][..], 'R'), (&[], 'E')] {
        let tcp = TcpStream::connect(server.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = files.connector(None, alpn).connect(name, tcp).await.unwrap();
        stream.write_all(&startup()).await.unwrap();
        let mut tag = [0];
        stream.read_exact(&mut tag).await.unwrap();
        assert_eq!(tag[0] as char, expected);
    }
}

#[tokio::test]
async fn clients_show_certificates_of_their_own_where_that_is_asked() {
    let files = Files::new();
    let options = TlsOptions { client_ca: Some(files.path("ca.pem")), client_name: true, ..files.options() };
    let (server, _) = server(options).await;
    let (own, own_key) = files.authority.signs("u");
    assert!(connect(&server, files.connector(Some((&own, &own_key)), &[]), None).await.is_ok());
    let (other, other_key) = files.authority.signs("somebody");
    let refused = connect(&server, files.connector(Some((&other, &other_key)), &[]), None).await.err().unwrap();
    assert_eq!(refused.as_db_error().unwrap().message(), "certificate authentication failed for user \"u\"");
    assert!(connect(&server, files.connector(None, &[]), None).await.is_err(), "none at all");
    let (stranger, stranger_key) = Authority::new().signs("u");
    assert!(connect(&server, files.connector(Some((&stranger, &stranger_key)), &[]), None).await.is_err());
    // Leaving encryption out is no way around it.
    let mut client = RawClient::connect(&server).await;
    client.send(&startup()).await;
    assert_eq!(client.until_closed().await.pop().unwrap().sqlstate(), "28000");
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_up_and_a_broken_one_is_not() {
    let files = Files::new();
    let (server, tls) = server(files.options()).await;
    let before = connect(&server, files.connector(None, &[]), None).await.unwrap();
    let renewed = files.renew();
    tls.reload().unwrap();
    let shown = async || {
        let mut tcp = TcpStream::connect(server.address).await.unwrap();
        tcp.write_all(&packet(&80_877_103i32.to_be_bytes())).await.unwrap();
        tcp.read_exact(&mut [0]).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = files.connector(None, &[]).connect(name, tcp).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    assert_eq!(shown().await, renewed);

    // Half a renewal: the key of another certificate, then no certificate at all, then no file.
    write_key(&files.path("key.pem"), &rcgen::KeyPair::generate().unwrap().serialize_pem());
    assert!(tls.reload().is_err());
    std::fs::write(files.path("cert.pem"), "no certificate").unwrap();
    assert!(tls.reload().unwrap_err().to_string().contains("cert.pem"));
    std::fs::remove_file(files.path("cert.pem")).unwrap();
    assert!(tls.reload().is_err());
    assert_eq!(shown().await, renewed, "the one before stays");
    assert_eq!(before.query("table", &[]).await.unwrap().len(), 2, "who was connected notices nothing");
}

#[test]
fn files_that_can_not_be_used_are_named() {
    let files = Files::new();
    let open = |options| Tls::open(options).err().map(|error| error.to_string()).unwrap_or_default();
    let missing = TlsOptions { certificate: files.path("none.pem"), ..files.options() };
    assert!(open(missing).contains("none.pem"));
    let missing = TlsOptions { client_ca: Some(files.path("none.pem")), ..files.options() };
    assert!(open(missing).contains("none.pem"));
    std::fs::set_permissions(files.path("key.pem"), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(open(files.options()).contains("group or world access"));
}
