//! What is kept of a password: a salt, StoredKey and ServerKey of SCRAM-SHA-256, as text in Postgres' own form.
//!
//! Neither of them is enough to log in with, and the password can't be had back from them but by guessing.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use millstream_planner::access;
use ring::{digest, hmac, pbkdf2};

use crate::engine::limits::{SCRAM_ITERATIONS, SCRAM_ITERATIONS_MAX};
use crate::session::SqlError;
use crate::session::sqlstate::Condition;

/// Bytes of a salt that is made here.
pub const SALT_BYTES: usize = 16;

const PREFIX: &str = "SCRAM-SHA-256$";

/// A verifier that can be worked with.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    /// The salt.
    pub salt: Vec<u8>,
    /// Rounds of PBKDF2.
    pub iterations: u32,
    /// H(HMAC(SaltedPassword, "Client Key")).
    pub stored_key: [u8; 32],
    /// HMAC(SaltedPassword, "Server Key").
    pub server_key: [u8; 32],
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier(..)")
    }
}

impl Verifier {
    /// The verifier of a password under a random salt.
    pub fn new(password: &str) -> Self {
        Self::with_salt(password, rand::random::<[u8; SALT_BYTES]>().to_vec(), SCRAM_ITERATIONS)
    }

    /// The verifier of a password under a salt.
    pub fn with_salt(password: &str, salt: Vec<u8>, iterations: u32) -> Self {
        // As Postgres does: a password that SASLprep refuses is taken as it is.
        let prepared = stringprep::saslprep(password).unwrap_or(password.into());
        let mut salted = [0; 32];
        let rounds = std::num::NonZeroU32::new(iterations).expect("at least one round");
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, prepared.as_bytes(), &mut salted);
        let client_key = sign(&salted, b"Client Key");
        Self { salt, iterations, stored_key: hash(&client_key), server_key: sign(&salted, b"Server Key") }
    }

    /// Reads the text form; `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (rounds, keys) = text.strip_prefix(PREFIX)?.split_once('$')?;
        let (iterations, salt) = rounds.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let key = |text: &str| BASE64_STANDARD.decode(text).ok()?.try_into().ok();
        let iterations = iterations.parse().ok().filter(|rounds| (1..=SCRAM_ITERATIONS_MAX).contains(rounds))?;
        let salt = BASE64_STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty())?;
        Some(Self { salt, iterations, stored_key: key(stored_key)?, server_key: key(server_key)? })
    }

    /// As the catalog keeps it.
    pub fn to_text(&self) -> access::Verifier {
        access::Verifier(format!(
            "{PREFIX}{}:{}${}:{}",
            self.iterations,
            BASE64_STANDARD.encode(&self.salt),
            BASE64_STANDARD.encode(self.stored_key),
            BASE64_STANDARD.encode(self.server_key)
        ))
    }

    /// Whether it was made from this password.
    pub fn is_of(&self, password: &str) -> bool {
        let other = Self::with_salt(password, self.salt.clone(), self.iterations);
        equal_in_constant_time(&self.stored_key, &other.stored_key)
    }
}

/// What is kept of what PASSWORD said: of a verifier itself, of anything else a verifier; `None` for an empty one,
/// which is no password.
pub fn kept(password: &str) -> Result<Option<access::Verifier>, SqlError> {
    if password.is_empty() {
        return Ok(None);
    }
    let hexadecimal = |text: &str| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if password.strip_prefix("md5").is_some_and(hexadecimal) {
        return Err(SqlError::new(Condition::FeatureNotSupported, "passwords encrypted with MD5 are not supported")
            .with_hint("Give the password itself, or its SCRAM-SHA-256 verifier."));
    }
    let verifier = Verifier::parse(password).unwrap_or_else(|| Verifier::new(password));
    Ok(Some(verifier.to_text()))
}

/// HMAC-SHA-256.
pub fn sign(key: &[u8], message: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    tag.as_ref().try_into().expect("HMAC-SHA-256 gives 32 bytes")
}

/// SHA-256.
pub fn hash(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().expect("SHA-256 gives 32 bytes")
}

/// Whether two keys are the same, in a time that does not tell how far.
pub fn equal_in_constant_time(left: &[u8; 32], right: &[u8; 32]) -> bool {
    left.iter().zip(right).fold(0, |differences, (left, right)| differences | (left ^ right)) == 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_verifier_is_kept_as_it_is_and_a_password_as_its_verifier() {
        let made = Verifier::with_salt("pencil", b"0123456789abcdef".to_vec(), 4096).to_text();
        assert_eq!(kept(&made.0).unwrap(), Some(made.clone()));
        let kept = kept("pencil").unwrap().unwrap();
        assert_ne!(kept, made, "the salt is random");
        assert!(Verifier::parse(&kept.0).unwrap().is_of("pencil"));
        assert!(!Verifier::parse(&kept.0).unwrap().is_of("pencils"));
        assert!(!kept.0.contains("pencil"));
    }

    /// Made by a Postgres 15: `SET password_encryption = 'scram-sha-256'; CREATE ROLE r PASSWORD 'pencil'`.
    #[test]
    fn what_is_almost_a_verifier_is_a_password() {
        let whole = Verifier::new("x").to_text().0;
        for broken in [&whole[..whole.len() - 1], "SCRAM-SHA-256$", "SCRAM-SHA-256$0:c2FsdA==$YQ==:YQ=="] {
            assert!(Verifier::parse(broken).is_none(), "{broken}");
        }
        let endless = whole.replacen("4096", "4000000000", 1);
        assert!(Verifier::parse(&endless).is_none(), "a client could be made to work for hours");
        assert_eq!(super::kept("").unwrap(), None);
        assert!(super::kept("md50123456789abcdef0123456789abcdef").is_err());
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(format!("{:?}", Verifier::new("pencil")), "Verifier(..)");
        assert_eq!(format!("{:?}", Verifier::new("pencil").to_text()), "Verifier(..)");
    }
}
