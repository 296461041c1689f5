//! SCRAM-SHA-256 as RFC 5802 and RFC 7677 have it, the server's side, with and without channel binding. No I/O.
//!
//! The server works with a [`Verifier`], made once from the password: a salt, StoredKey and ServerKey. Neither it nor
//! what goes over the wire is enough to log in. A user who is not known gets the same exchange with a salt that
//! depends only on the name, and fails at its end, so that names can't be told apart.
//!
//! Channel binding (RFC 5929, tls-server-end-point) ties the exchange to the certificate that the client has seen:
//! somebody in between, with another certificate, can't pass it on. It is offered under TLS only. A client that says
//! it could bind but was not offered it (`y`) is refused where it was: somebody has taken the offer out.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

#[cfg(test)]
use super::gate::{Demand, Gate};
use crate::engine::access::password::{Verifier, equal_in_constant_time, hash, sign};

/// The mechanism that is always offered.
pub(super) const MECHANISM: &str = "SCRAM-SHA-256";

/// The one with channel binding, offered under TLS.
pub(super) const MECHANISM_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// What the one kind of binding is called.
const BINDING_TYPE: &str = "tls-server-end-point";

/// Bytes of a nonce before base64, as in Postgres.
const NONCE_BYTES: usize = 18;

/// An exchange between the client's first and its final message.
pub(super) struct Exchange {
    verifier: Verifier,
    known: bool,
    client_first_bare: String,
    server_first: String,
    nonce: String,
    /// What the final message must repeat in `c=`: the base64 of the GS2 header, and of what is bound.
    channel_binding: String,
}

/// Why an exchange ends without success.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The message is not what the RFC says.
    Malformed(&'static str),
    /// The password is wrong, or the user is not known.
    WrongPassword,
    /// The channel binding does not fit: somebody may be in between.
    Binding(&'static str),
}

/// Whom an exchange is with, and over what.
#[derive(Clone, Debug)]
pub(super) struct Terms<'a> {
    /// What the password is checked with.
    pub(super) verifier: Verifier,
    /// Whether a right password counts.
    pub(super) known: bool,
    /// The client chose [`MECHANISM_PLUS`].
    pub(super) plus: bool,
    /// The hash of the server's certificate, where channel binding was offered.
    pub(super) end_point: Option<&'a [u8]>,
}

impl Exchange {
    /// Takes client-first-message.
    pub(super) fn begin(terms: Terms<'_>, client_first: &[u8]) -> Result<Self, Refusal> {
        let random: [u8; NONCE_BYTES] = rand::random();
        Self::begin_with_nonce(terms, client_first, &BASE64_STANDARD.encode(random))
    }

    fn begin_with_nonce(terms: Terms<'_>, client_first: &[u8], server_nonce: &str) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(client_first).map_err(|_| Refusal::Malformed("not UTF-8"))?;
        // gs2-header = gs2-cbind-flag "," [ authzid ] ","
        let (flag, rest) = text.split_once(',').ok_or(Refusal::Malformed("no GS2 header"))?;
        let bound = binding(flag, &terms)?;
        let (authorization, bare) = rest.split_once(',').ok_or(Refusal::Malformed("no GS2 header"))?;
        if !authorization.is_empty() {
            return Err(Refusal::Malformed("an authorization identity is not supported"));
        }
        let mut attributes = bare.split(',');
        // The user's name stands in the startup packet; what stands here is ignored, as in Postgres.
        if !attributes.next().is_some_and(|attribute| attribute.starts_with("n=")) {
            return Err(Refusal::Malformed("no user name attribute"));
        }
        let client_nonce = attributes.next().and_then(|attribute| attribute.strip_prefix("r="));
        let client_nonce = client_nonce.ok_or(Refusal::Malformed("no nonce"))?;
        if client_nonce.is_empty() || !client_nonce.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) {
            return Err(Refusal::Malformed("non-printable characters in the nonce"));
        }
        let Terms { verifier, known, .. } = terms;
        let nonce = format!("{client_nonce}{server_nonce}");
        let salt = BASE64_STANDARD.encode(&verifier.salt);
        let server_first = format!("r={nonce},s={salt},i={}", verifier.iterations);
        Ok(Self {
            verifier,
            known,
            client_first_bare: bare.to_owned(),
            server_first,
            nonce,
            channel_binding: BASE64_STANDARD.encode([format!("{flag},,").as_bytes(), bound].concat()),
        })
    }

    /// server-first-message.
    pub(super) fn server_first(&self) -> &str {
        &self.server_first
    }

    /// Takes client-final-message and gives server-final-message.
    pub(super) fn finish(self, client_final: &[u8]) -> Result<String, Refusal> {
        let text = std::str::from_utf8(client_final).map_err(|_| Refusal::Malformed("not UTF-8"))?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(Refusal::Malformed("no proof"))?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|attribute| attribute.strip_prefix("c="));
        if binding != Some(self.channel_binding.as_str()) {
            return Err(Refusal::Binding("SCRAM channel binding check failed"));
        }
        let nonce = attributes.next().and_then(|attribute| attribute.strip_prefix("r="));
        if nonce != Some(self.nonce.as_str()) {
            return Err(Refusal::Malformed("nonce differs"));
        }
        let proof = BASE64_STANDARD.decode(proof).ok().and_then(|proof| <[u8; 32]>::try_from(proof).ok());
        let proof = proof.ok_or(Refusal::Malformed("malformed proof"))?;

        let message = format!("{},{},{without_proof}", self.client_first_bare, self.server_first);
        let client_signature = sign(&self.verifier.stored_key, message.as_bytes());
        let client_key: [u8; 32] = std::array::from_fn(|index| proof[index] ^ client_signature[index]);
        if !equal_in_constant_time(&hash(&client_key), &self.verifier.stored_key) || !self.known {
            return Err(Refusal::WrongPassword);
        }
        let server_signature = sign(&self.verifier.server_key, message.as_bytes());
        Ok(format!("v={}", BASE64_STANDARD.encode(server_signature)))
    }
}

/// The bytes that the client's flag ties the exchange to.
fn binding<'a>(flag: &str, terms: &Terms<'a>) -> Result<&'a [u8], Refusal> {
    match (flag, terms.plus) {
        ("n", false) => Ok(&[]),
        ("y", false) if terms.end_point.is_none() => Ok(&[]),
        ("y", false) => Err(Refusal::Binding(
            "the client supports SCRAM channel binding but thinks the server does not, although it does",
        )),
        ("n" | "y", true) => Err(Refusal::Malformed("SCRAM-SHA-256-PLUS was selected without channel binding data")),
        (flag, plus) => match (flag.strip_prefix("p="), terms.end_point) {
            (None, _) => Err(Refusal::Malformed("unknown channel binding flag")),
            (Some(BINDING_TYPE), Some(end_point)) if plus => Ok(end_point),
            (Some(BINDING_TYPE), _) => Err(Refusal::Malformed("SCRAM-SHA-256 was selected with channel binding data")),
            (Some(_), _) => Err(Refusal::Malformed("unsupported SCRAM channel binding type")),
        },
    }
}

/// One password, for one user or for any.
#[cfg(test)]
#[derive(Clone, Debug)]
pub struct Credentials {
    user: Option<String>,
    verifier: Verifier,
}

#[cfg(test)]
impl Credentials {
    /// Keeps what is needed to check `password`; without `user` it is good for every user name.
    pub fn new(user: Option<String>, password: &str) -> Self {
        Self { user, verifier: Verifier::new(password) }
    }
}

#[cfg(test)]
impl Gate for Credentials {
    fn demand(&self, user: &str) -> Demand {
        match &self.user {
            Some(known) if known != user => {
                let salt = hash(user.as_bytes())[..16].to_vec();
                Demand::Password { verifier: Verifier { salt, ..self.verifier.clone() }, known: false }
            }
            Some(_) | None => Demand::Password { verifier: self.verifier.clone(), known: true },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The example of RFC 7677, section 3.
    const CLIENT_FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                                p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn credentials(user: Option<&str>) -> Credentials {
        let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        Credentials { user: user.map(str::to_owned), verifier: Verifier::with_salt("pencil", salt, 4096) }
    }

    fn terms<'a>(credentials: &Credentials, user: &str, plus: bool, end_point: Option<&'a [u8]>) -> Terms<'a> {
        let Demand::Password { verifier, known } = credentials.demand(user) else { panic!("a password is demanded") };
        Terms { verifier, known, plus, end_point }
    }

    fn begin(credentials: &Credentials, user: &str, first: &[u8]) -> Result<Exchange, Refusal> {
        Exchange::begin_with_nonce(terms(credentials, user, false, None), first, SERVER_NONCE)
    }

    /// The final message of a client that knows the password, whatever it binds.
    fn client_final(first: &str, server_first: &str, binding: &[u8]) -> String {
        let salted = Verifier::with_salt("pencil", BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(), 4096);
        let nonce = server_first.split(',').next().unwrap();
        let without_proof = format!("c={},{nonce}", BASE64_STANDARD.encode(binding));
        let bare = first.splitn(3, ',').nth(2).unwrap();
        let message = format!("{bare},{server_first},{without_proof}");
        let signature = sign(&salted.stored_key, message.as_bytes());
        let proof: [u8; 32] = std::array::from_fn(|index| client_key()[index] ^ signature[index]);
        format!("{without_proof},p={}", BASE64_STANDARD.encode(proof))
    }

    /// HMAC(SaltedPassword, "Client Key") of the example's password.
    fn client_key() -> [u8; 32] {
        let mut salted = [0; 32];
        let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let rounds = std::num::NonZeroU32::new(4096).unwrap();
        ring::pbkdf2::derive(ring::pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, b"pencil", &mut salted);
        sign(&salted, b"Client Key")
    }

    const END_POINT: &[u8] = &[7; 32];
    const FIRST_BOUND: &str = "p=tls-server-end-point,,n=,r=rOprNGfwEbeRWgbNEkqO";

    #[test]
    fn an_exchange_is_bound_to_the_certificate() {
        let credentials = credentials(None);
        let begin = |first: &str, plus: bool, end_point: Option<&'static [u8]>| {
            Exchange::begin_with_nonce(terms(&credentials, "u", plus, end_point), first.as_bytes(), SERVER_NONCE)
        };
        let finish = |bound: &[u8]| {
            let exchange = begin(FIRST_BOUND, true, Some(END_POINT)).unwrap();
            let header = [b"p=tls-server-end-point,,", bound].concat();
            let last = client_final(FIRST_BOUND, exchange.server_first(), &header);
            exchange.finish(last.as_bytes())
        };
        assert!(finish(END_POINT).is_ok());
        for wrong in [&[8; 32][..], &[7; 31], &[]] {
            assert!(matches!(finish(wrong), Err(Refusal::Binding(_))), "another certificate");
        }
        // Without TLS there is nothing to bind to, whichever mechanism the client names.
        for plus in [true, false] {
            assert!(matches!(begin(FIRST_BOUND, plus, None).err(), Some(Refusal::Malformed(_))));
        }
        let unique = FIRST_BOUND.replace("tls-server-end-point", "tls-unique");
        assert!(matches!(begin(&unique, true, Some(END_POINT)).err(), Some(Refusal::Malformed(_))));
        assert!(matches!(begin(FIRST_BOUND, false, Some(END_POINT)).err(), Some(Refusal::Malformed(_))));
        assert!(matches!(begin("n,,n=,r=abc", true, Some(END_POINT)).err(), Some(Refusal::Malformed(_))));
    }

    #[test]
    fn an_offer_that_was_taken_out_on_the_way_is_noticed() {
        let credentials = credentials(None);
        let begin = |end_point| {
            let terms = terms(&credentials, "u", false, end_point);
            Exchange::begin_with_nonce(terms, b"y,,n=,r=rOprNGfwEbeRWgbNEkqO", SERVER_NONCE)
        };
        assert!(begin(None).is_ok(), "without TLS nothing was offered");
        assert!(matches!(begin(Some(END_POINT)).err(), Some(Refusal::Binding(_))));
    }

    #[test]
    fn a_nonce_is_good_for_one_exchange() {
        let credentials = credentials(None);
        let heard = begin(&credentials, "u", CLIENT_FIRST).unwrap().finish(CLIENT_FINAL.as_bytes());
        assert!(heard.is_ok());
        // The same messages again, to a server that draws another nonce.
        let exchange = Exchange::begin(terms(&credentials, "u", false, None), CLIENT_FIRST).unwrap();
        let drawn = exchange.server_first().to_owned();
        assert_eq!(exchange.finish(CLIENT_FINAL.as_bytes()), Err(Refusal::Malformed("nonce differs")));
        let another = Exchange::begin(terms(&credentials, "u", false, None), CLIENT_FIRST).unwrap();
        assert_ne!(another.server_first(), drawn, "each exchange draws its own");
    }

    #[test]
    fn the_example_of_rfc_7677_succeeds() {
        let exchange = begin(&credentials(Some("user")), "user", CLIENT_FIRST).unwrap();
        assert_eq!(
            exchange.server_first(),
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let server_final = exchange.finish(CLIENT_FINAL.as_bytes()).unwrap();
        assert_eq!(server_final, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn an_unknown_user_fails_with_a_salt_that_stays_the_same() {
        let credentials = credentials(Some("somebody"));
        let first = begin(&credentials, "user", CLIENT_FIRST).unwrap();
        let again = begin(&credentials, "user", CLIENT_FIRST).unwrap();
        let other = begin(&credentials, "other", CLIENT_FIRST).unwrap();
        assert_eq!(first.server_first(), again.server_first());
        assert_ne!(first.server_first(), other.server_first());
        assert_eq!(first.finish(CLIENT_FINAL.as_bytes()), Err(Refusal::WrongPassword));
    }

    #[test]
    fn a_wrong_proof_is_a_wrong_password() {
        let credentials = credentials(None);
        let wrong = CLIENT_FINAL.replace("p=dHz", "p=aHz");
        let exchange = begin(&credentials, "anybody", CLIENT_FIRST).unwrap();
        assert_eq!(exchange.finish(wrong.as_bytes()), Err(Refusal::WrongPassword));
    }

    #[test]
    fn messages_that_the_rfc_does_not_know_are_refused() {
        let credentials = credentials(None);
        let firsts: [&[u8]; 10] = [
            b"",
            b"n",
            b"n,,",
            b"n,,r=abc",
            b"n,,n=user",
            b"n,,n=user,r=",
            b"n,,n=user,r=a b",
            b"n,a=admin,n=user,r=abc",
            b"p=tls-server-end-point,,n=user,r=abc",
            b"\xff\xfe",
        ];
        for first in firsts {
            let refusal = begin(&credentials, "user", first).err();
            assert!(matches!(refusal, Some(Refusal::Malformed(_))), "{first:?}");
        }
        let finals = [
            "",
            "c=biws",
            "c=biws,r=other,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "c=eSws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=AAAA",
        ];
        for last in finals {
            let refusal = begin(&credentials, "user", CLIENT_FIRST).unwrap().finish(last.as_bytes());
            assert!(matches!(refusal, Err(Refusal::Malformed(_) | Refusal::Binding(_))), "{last}");
        }
    }
}
