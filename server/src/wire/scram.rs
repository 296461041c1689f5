//! SCRAM-SHA-256 as RFC 5802 and RFC 7677 have it, the server's side, without channel binding. No I/O.
//!
//! The server keeps a [`Verifier`], made once from the password: a salt, StoredKey and ServerKey. Neither it nor
//! what goes over the wire is enough to log in. A user who is not known gets the same exchange with a salt that
//! depends only on the name, and fails at its end, so that names can't be told apart.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::{digest, hmac, pbkdf2};

use super::limits::SCRAM_ITERATIONS;

/// The one mechanism that is offered.
pub(super) const MECHANISM: &str = "SCRAM-SHA-256";

/// Bytes of salt and of a nonce before base64, as in Postgres.
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 18;

/// What is kept of a password.
#[derive(Clone)]
pub struct Verifier {
    salt: [u8; SALT_BYTES],
    iterations: u32,
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier(..)")
    }
}

impl Verifier {
    /// The verifier of a password under a random salt.
    pub fn new(password: &str) -> Self {
        Self::with_salt(password, rand::random(), SCRAM_ITERATIONS)
    }

    fn with_salt(password: &str, salt: [u8; SALT_BYTES], iterations: u32) -> Self {
        // As Postgres does: a password that SASLprep refuses is taken as it is.
        let prepared = stringprep::saslprep(password).unwrap_or(password.into());
        let mut salted = [0; 32];
        let rounds = std::num::NonZeroU32::new(iterations).expect("at least one round");
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, prepared.as_bytes(), &mut salted);
        let client_key = sign(&salted, b"Client Key");
        Self { salt, iterations, stored_key: hash(&client_key), server_key: sign(&salted, b"Server Key") }
    }
}

/// Who may log in: one password, for one user or for any.
#[derive(Clone, Debug)]
pub struct Credentials {
    user: Option<String>,
    verifier: Verifier,
    decoy_seed: [u8; 32],
}

impl Credentials {
    /// Keeps what is needed to check `password`; without `user` it is good for every user name.
    pub fn new(user: Option<String>, password: &str) -> Self {
        Self { user, verifier: Verifier::new(password), decoy_seed: rand::random() }
    }

    /// The verifier for a user, and whether the user is known; the same for a name every time.
    fn verifier(&self, user: &str) -> (Verifier, bool) {
        match &self.user {
            Some(known) if known != user => {
                let salt = sign(&self.decoy_seed, user.as_bytes());
                let salt = std::array::from_fn(|index| salt[index]);
                (Verifier { salt, stored_key: [0; 32], ..self.verifier.clone() }, false)
            }
            Some(_) | None => (self.verifier.clone(), true),
        }
    }
}

/// An exchange between the client's first and its final message.
pub(super) struct Exchange {
    verifier: Verifier,
    known: bool,
    client_first_bare: String,
    server_first: String,
    nonce: String,
    /// What the final message must repeat in `c=`: the base64 of the GS2 header.
    channel_binding: String,
}

/// Why an exchange ends without success.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The message is not what the RFC says.
    Malformed(&'static str),
    /// The password is wrong, or the user is not known.
    WrongPassword,
}

impl Exchange {
    /// Takes client-first-message.
    pub(super) fn begin(credentials: &Credentials, user: &str, client_first: &[u8]) -> Result<Self, Refusal> {
        let random: [u8; NONCE_BYTES] = rand::random();
        Self::begin_with_nonce(credentials, user, client_first, &BASE64_STANDARD.encode(random))
    }

    fn begin_with_nonce(
        credentials: &Credentials,
        user: &str,
        client_first: &[u8],
        server_nonce: &str,
    ) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(client_first).map_err(|_| Refusal::Malformed("not UTF-8"))?;
        // gs2-header = gs2-cbind-flag "," [ authzid ] ","; `y` is right here, because -PLUS is not offered.
        let (flag, rest) = text.split_once(',').ok_or(Refusal::Malformed("no GS2 header"))?;
        if flag.starts_with("p=") {
            return Err(Refusal::Malformed("channel binding is not offered"));
        }
        if flag != "n" && flag != "y" {
            return Err(Refusal::Malformed("unknown channel binding flag"));
        }
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
        let (verifier, known) = credentials.verifier(user);
        let nonce = format!("{client_nonce}{server_nonce}");
        let salt = BASE64_STANDARD.encode(verifier.salt);
        let server_first = format!("r={nonce},s={salt},i={}", verifier.iterations);
        Ok(Self {
            verifier,
            known,
            client_first_bare: bare.to_owned(),
            server_first,
            nonce,
            channel_binding: BASE64_STANDARD.encode(format!("{flag},,")),
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
            return Err(Refusal::Malformed("channel binding differs"));
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

fn sign(key: &[u8], message: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    tag.as_ref().try_into().expect("HMAC-SHA-256 gives 32 bytes")
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().expect("SHA-256 gives 32 bytes")
}

fn equal_in_constant_time(left: &[u8; 32], right: &[u8; 32]) -> bool {
    left.iter().zip(right).fold(0, |differences, (left, right)| differences | (left ^ right)) == 0
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
        let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap().try_into().unwrap();
        let verifier = Verifier::with_salt("pencil", salt, 4096);
        Credentials { user: user.map(str::to_owned), verifier, decoy_seed: [7; 32] }
    }

    fn begin(credentials: &Credentials, user: &str, first: &[u8]) -> Result<Exchange, Refusal> {
        Exchange::begin_with_nonce(credentials, user, first, SERVER_NONCE)
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
            assert!(matches!(refusal, Err(Refusal::Malformed(_))), "{last}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", Verifier::new("pencil"));
        assert_eq!(shown, "Verifier(..)");
    }
}
