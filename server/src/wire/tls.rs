//! TLS by rustls: certificates from files, read again on request, and what a handshake leaves behind.
//!
//! What holds: a pair of files that can't be used is refused and the one before stays, so that a renewal that went wrong
//! cuts nobody off; connections go on with the certificate that they began with. Nothing of a session is kept
//! for a later one: there are no tickets.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::der;

/// The protocol's name in a handshake that begins without a request (Postgres 17).
const ALPN: &[u8] = b"postgresql";

/// The files, and what is asked of clients.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// The server's certificate in PEM, and those that lead to a root behind it.
    pub certificate: PathBuf,
    /// Its key in PEM.
    pub key: PathBuf,
    /// Certificates in PEM: clients must show one that these vouch for.
    pub client_ca: Option<PathBuf>,
    /// The common name of a client's certificate must be the name of its role.
    pub client_name: bool,
    /// Connections without TLS are refused.
    pub required: bool,
}

/// Why files can't be used.
#[derive(Debug)]
pub struct TlsError(String);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

/// TLS as it is offered now.
pub struct Tls {
    options: TlsOptions,
    current: RwLock<Arc<Offer>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("options", &self.options).finish_non_exhaustive()
    }
}

/// A certificate that new connections get.
struct Offer {
    acceptor: TlsAcceptor,
    /// What channel binding ties to.
    end_point: Option<Vec<u8>>,
}

/// An encrypted connection, and what is known of its ends.
pub(super) struct Handshaken {
    pub(super) stream: TlsStream<TcpStream>,
    /// The hash of the certificate that the client has seen.
    pub(super) end_point: Option<Vec<u8>>,
    /// The common name of the client's certificate.
    pub(super) client_name: Option<String>,
    /// Whether the client said that it will speak our protocol.
    pub(super) named_protocol: bool,
}

impl Tls {
    /// Reads the files; an error says which one can't be used, and why.
    pub fn open(mut options: TlsOptions) -> Result<Self, TlsError> {
        // Who shows no certificate could otherwise leave encryption out.
        options.required |= options.client_ca.is_some();
        let offer = Offer::read(&options)?;
        Ok(Self { options, current: RwLock::new(Arc::new(offer)) })
    }

    /// Reads the files again. After an error all is as it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        let offer = Arc::new(Offer::read(&self.options)?);
        *self.current.write().expect("nothing panics while it is locked") = offer;
        Ok(())
    }

    /// Whether connections without TLS are refused.
    pub(super) fn required(&self) -> bool {
        self.options.required
    }

    /// Whether a client's certificate must bear the name of its role.
    pub(super) fn client_name(&self) -> bool {
        self.options.client_name
    }

    /// Shakes hands over a connection of which nothing has been read.
    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<Handshaken> {
        let offer = Arc::clone(&self.current.read().expect("nothing panics while it is locked"));
        let stream = offer.acceptor.accept(stream).await?;
        let (_, session) = stream.get_ref();
        let client = session.peer_certificates().and_then(|certificates| certificates.first());
        Ok(Handshaken {
            end_point: offer.end_point.clone(),
            client_name: client.and_then(|certificate| der::common_name(certificate)),
            named_protocol: session.alpn_protocol() == Some(ALPN),
            stream,
        })
    }
}

impl Offer {
    fn read(options: &TlsOptions) -> Result<Self, TlsError> {
        let certificates = certificates(&options.certificate)?;
        refuse_open_key(&options.key)?;
        let key = PrivateKeyDer::from_pem_file(&options.key).map_err(|error| unreadable(&options.key, &error))?;
        let end_point = certificates.first().and_then(|certificate| der::end_point(certificate));
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError(format!("TLS can't be set up: {error}")))?;
        let builder = match &options.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in self::certificates(path)? {
                    roots.add(certificate).map_err(|error| unreadable(path, &error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .map_err(|error| unreadable(path, &error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(certificates, key).map_err(|error| {
            TlsError(format!("{} and {} can't be used: {error}", options.certificate.display(), options.key.display()))
        })?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), end_point })
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(path, &error))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|error| unreadable(path, &error))?;
    match found.is_empty() {
        true => Err(unreadable(path, &"there is no certificate in it")),
        false => Ok(found),
    }
}

fn unreadable(path: &Path, reason: &dyn fmt::Display) -> TlsError {
    TlsError(format!("{} can't be used: {reason}", path.display()))
}

/// As Postgres does: a key that others on the machine can read is none.
pub fn refuse_open_key(path: &Path) -> Result<(), TlsError> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    // A key of root's may be readable by a group, because a server does not run as root.
    let others = if metadata.uid() == 0 { 0o027 } else { 0o077 };
    match metadata.mode() & others {
        0 => Ok(()),
        _ => Err(TlsError(format!(
            "{} has group or world access: chmod 600 it (640 if it belongs to root)",
            path.display()
        ))),
    }
}
