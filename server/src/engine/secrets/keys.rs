//! Keys, and values under them: AES-256-GCM with a random nonce per value.
//!
//! The first key encrypts, all of them decrypt: so a key is changed by putting a new one in front. Every stored value
//! names its key by a hash of it, which tells a wrong key from a damaged value.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use millstream_runtime::plan::RelationId;
use millstream_runtime::{Error, Result};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// Keys that may be given: the one in use, and those that stored values may still be under.
const KEYS_MAX: usize = 16;

/// How to make a key; part of every message about a missing one.
pub const HOW_TO_GIVE: &str =
    "Start the server with MILLSTREAM_SECRET_KEY, or with --secret-key-file (32 bytes: openssl rand -base64 32)";

/// The keys of a server, the one that encrypts first. Without any there are no secrets.
#[derive(Clone, Default)]
pub struct SecretKeys(Arc<[Key]>);

struct Key {
    id: String,
    key: LessSafeKey,
}

/// What an encrypted value belongs to: it can't be decrypted in another place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A secret, by its OID.
    Secret(u32),
    /// The statement that made a relation.
    Statement(RelationId),
}

/// A value that only a key can read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Which key.
    key: String,
    /// Base64.
    nonce: String,
    /// Base64; the tag is at its end.
    text: String,
}

impl fmt::Debug for SecretKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

impl SecretKeys {
    /// Reads keys: one per line, 32 bytes each in base64 or as hexadecimal digits; what begins with `#` is a remark.
    pub fn read(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let keys = lines.map(Key::read).collect::<Result<Vec<_>, _>>()?;
        match keys.len() {
            0 => Err("there is no key in it".to_string()),
            1..=KEYS_MAX => Ok(Self(keys.into())),
            count => Err(format!("there are {count} keys in it, at most {KEYS_MAX} are read")),
        }
    }

    /// A key that nobody knows and that ends with the process: for what is not kept either.
    pub fn random() -> Result<Self> {
        let mut bytes = [0; KEY_BYTES];
        fill(&mut bytes)?;
        Ok(Self([Key::new(&bytes)].into()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Encrypts a value for a place.
    pub fn seal(&self, place: Place, value: &str) -> Result<Sealed> {
        let Some(Key { id, key }) = self.0.first() else {
            return Err(Error::invalid("there is no key to keep secrets with").with_hint(format!("{HOW_TO_GIVE}.")));
        };
        let mut nonce = [0; NONCE_LEN];
        fill(&mut nonce)?;
        let mut text = value.as_bytes().to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place.bytes()), &mut text)
            .map_err(|_| Error::internal("a secret could not be encrypted"))?;
        Ok(Sealed { key: id.clone(), nonce: BASE64.encode(nonce), text: BASE64.encode(text) })
    }

    /// Decrypts the value of a place; `what` names it in errors.
    pub fn open(&self, place: Place, sealed: &Sealed, what: &str) -> Result<String> {
        if self.is_empty() {
            return Err(Error::invalid(format!("{what} is encrypted, and there is no key to read it with"))
                .with_hint(format!("{HOW_TO_GIVE}: the key that this storage had before.")));
        }
        let Some(Key { key, .. }) = self.0.iter().find(|key| key.id == sealed.key) else {
            let given: Vec<&str> = self.0.iter().map(|key| key.id.as_str()).collect();
            let (needed, given) = (&sealed.key, given.join(", "));
            return Err(Error::invalid(format!("{what} is encrypted with another key than the one that was given"))
                .with_hint(format!(
                    "Give the key that this storage had before: its fingerprint is {needed}, that of what was given \
                     {given}. To change the key put the new one on a line before the old one."
                )));
        };
        let damaged = || Error::data(format!("the stored value of {what} is damaged"));
        let nonce = BASE64.decode(&sealed.nonce).map_err(|_| damaged())?;
        let nonce = Nonce::try_assume_unique_for_key(&nonce).map_err(|_| damaged())?;
        let mut text = BASE64.decode(&sealed.text).map_err(|_| damaged())?;
        let value = key.open_in_place(nonce, Aad::from(place.bytes()), &mut text).map_err(|_| damaged())?;
        String::from_utf8(value.to_vec()).map_err(|_| damaged())
    }

    /// Whether a value is under another key than the first.
    pub fn is_old(&self, sealed: &Sealed) -> bool {
        self.0.first().is_some_and(|key| key.id != sealed.key)
    }
}

impl Key {
    fn new(bytes: &[u8; KEY_BYTES]) -> Self {
        // The name of a key says nothing of it: it is a hash under a prefix of its own.
        let named = digest(&SHA256, &[b"millstream secret key ".as_slice(), bytes].concat());
        let id = named.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let key = UnboundKey::new(&AES_256_GCM, bytes).expect("the key has the length of the algorithm");
        Self { id, key: LessSafeKey::new(key) }
    }

    fn read(line: &str) -> Result<Self, String> {
        let hexadecimal = || {
            let pairs = (0..KEY_BYTES).map(|at| u8::from_str_radix(line.get(2 * at..2 * at + 2)?, 16).ok());
            pairs.collect::<Option<Vec<u8>>>()
        };
        let is_hexadecimal = line.len() == 2 * KEY_BYTES && line.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bytes = if is_hexadecimal { hexadecimal() } else { BASE64.decode(line).ok() };
        let bytes = bytes.and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes).ok());
        // The line is not quoted: it may be a key all the same.
        let wrong = || format!("a key is {KEY_BYTES} bytes in base64 or {} hexadecimal digits", 2 * KEY_BYTES);
        bytes.as_ref().map(Self::new).ok_or_else(wrong)
    }
}

impl Place {
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Secret(oid) => format!("millstream secret {oid}"),
            Self::Statement(relation) => format!("millstream statement {}", relation.0),
        }
        .into_bytes()
    }
}

fn fill(bytes: &mut [u8]) -> Result<()> {
    SystemRandom::new().fill(bytes).map_err(|_| Error::internal("the system gives no random numbers"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use millstream_runtime::ErrorKind;

    use super::*;

    const HEXADECIMAL: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn a_value_is_read_in_its_place_with_its_key_only() {
        let keys = SecretKeys::random().unwrap();
        let sealed = keys.seal(Place::Secret(7), "s3cret").unwrap();
        assert_eq!(keys.open(Place::Secret(7), &sealed, "secret \"x\"").unwrap(), "s3cret");
        assert_ne!(keys.seal(Place::Secret(7), "s3cret").unwrap(), sealed, "every value has its own nonce");
        for place in [Place::Secret(8), Place::Statement(RelationId(7))] {
            assert_eq!(keys.open(place, &sealed, "x").unwrap_err().kind, ErrorKind::Data, "{place:?}");
        }
        let other = SecretKeys::random().unwrap().open(Place::Secret(7), &sealed, "secret \"x\"").unwrap_err();
        assert!(other.message.contains("another key"), "{other}");
        assert!(other.hint.unwrap().contains(&sealed.key));
        let none = SecretKeys::default().open(Place::Secret(7), &sealed, "secret \"x\"").unwrap_err();
        assert!(none.hint.unwrap().contains("MILLSTREAM_SECRET_KEY"));
        assert_eq!(SecretKeys::default().seal(Place::Secret(7), "x").unwrap_err().kind, ErrorKind::Invalid);
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let keys = SecretKeys::read(HEXADECIMAL).unwrap();
        let sealed = keys.seal(Place::Secret(1), "s3cret").unwrap();
        let text = BASE64.decode(&sealed.text).unwrap();
        for bit in 0..text.len() * 8 {
            let mut changed = text.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let changed = Sealed { text: BASE64.encode(changed), ..sealed.clone() };
            assert_eq!(keys.open(Place::Secret(1), &changed, "x").unwrap_err().kind, ErrorKind::Data, "bit {bit}");
        }
    }

    #[test]
    fn keys_are_read_in_both_spellings_and_the_first_one_encrypts() {
        let base64 = BASE64.encode((0..32).collect::<Vec<u8>>());
        let one = SecretKeys::read(HEXADECIMAL).unwrap();
        let same = SecretKeys::read(&format!("# the key\n\n  {base64} \n")).unwrap();
        let sealed = one.seal(Place::Secret(1), "a").unwrap();
        assert_eq!(same.open(Place::Secret(1), &sealed, "x").unwrap(), "a");
        let newer = "f".repeat(64);
        let both = SecretKeys::read(&format!("{newer}\n{HEXADECIMAL}")).unwrap();
        assert!(both.is_old(&sealed) && !one.is_old(&sealed));
        assert_eq!(both.open(Place::Secret(1), &sealed, "x").unwrap(), "a");
        let resealed = both.seal(Place::Secret(1), "a").unwrap();
        assert!(!both.is_old(&resealed));
        assert!(one.open(Place::Secret(1), &resealed, "x").is_err());
        for wrong in ["", "# nothing", "abc", &HEXADECIMAL[2..], &format!("{HEXADECIMAL}00"), &"é".repeat(32)] {
            let refused = SecretKeys::read(wrong).unwrap_err();
            assert!(wrong.is_empty() || !refused.contains(wrong), "{refused}");
        }
        assert!(SecretKeys::read(&format!("{HEXADECIMAL}\n").repeat(17)).is_err());
        assert!(!format!("{one:?}").contains("0001"));
    }
}
