//! As much of DER as a login needs to know of a certificate: which hash its signature uses, and its common name.
//!
//! The certificate was parsed and checked by rustls before; whatever is not understood here gives `None`, never a panic.

use ring::digest;

/// The contents of the first element of `bytes`, its tag, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

/// The contents of the first element if it has this tag, and what follows it.
fn expect(bytes: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    element(bytes).filter(|(tag, ..)| *tag == wanted).map(|(_, contents, rest)| (contents, rest))
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT: u8 = 0x06;

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
const ECDSA_SHA2: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
const SHA2: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// What RFC 5929 binds to as tls-server-end-point: the hash of the certificate by the hash of its own signature, by
/// SHA-256 where that one is MD5 or SHA-1. `None` where the signature has no hash of its own (Ed25519).
pub(super) fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let (whole, _) = expect(certificate, SEQUENCE)?;
    let (_, rest) = expect(whole, SEQUENCE)?;
    let (algorithm, _) = expect(rest, SEQUENCE)?;
    let (object, parameters) = expect(algorithm, OBJECT)?;
    let algorithm = match (object.strip_prefix(RSA), object.strip_prefix(ECDSA_SHA2)) {
        (Some([0x04 | 0x05 | 0x0b]), _) | (_, Some([0x02])) => &digest::SHA256,
        (Some([0x0c]), _) | (_, Some([0x03])) => &digest::SHA384,
        (Some([0x0d]), _) | (_, Some([0x04])) => &digest::SHA512,
        (Some([0x0a]), _) => pss_hash(parameters)?,
        _ => return None,
    };
    Some(digest::digest(algorithm, certificate).as_ref().to_vec())
}

/// The hash of RSASSA-PSS: a parameter, SHA-1 when it is left out.
fn pss_hash(parameters: &[u8]) -> Option<&'static digest::Algorithm> {
    let (parameters, _) = expect(parameters, SEQUENCE)?;
    let Some((hash, _)) = expect(parameters, 0xa0) else { return Some(&digest::SHA256) };
    let (hash, _) = expect(hash, SEQUENCE)?;
    let (object, _) = expect(hash, OBJECT)?;
    match object.strip_prefix(SHA2) {
        Some([0x01]) => Some(&digest::SHA256),
        Some([0x02]) => Some(&digest::SHA384),
        Some([0x03]) => Some(&digest::SHA512),
        _ => None,
    }
}

/// The last common name of a certificate's subject.
pub(super) fn common_name(certificate: &[u8]) -> Option<String> {
    let (whole, _) = expect(certificate, SEQUENCE)?;
    let (mut rest, _) = expect(whole, SEQUENCE)?;
    // A version that is not 1 stands in front; serial number, signature, issuer and validity follow.
    if let Some((_, behind)) = expect(rest, 0xa0) {
        rest = behind;
    }
    for _ in 0..4 {
        rest = element(rest)?.2;
    }
    let (mut subject, _) = expect(rest, SEQUENCE)?;
    let mut name = None;
    while let Some((set, behind)) = expect(subject, SET) {
        subject = behind;
        let (attribute, _) = expect(set, SEQUENCE)?;
        let (object, value) = expect(attribute, OBJECT)?;
        if object == COMMON_NAME {
            let (_, text, _) = element(value)?;
            // A name with a zero byte in it could be cut short by somebody who compares it.
            name = std::str::from_utf8(text).ok().filter(|text| !text.contains('\0')).map(str::to_owned);
        }
    }
    name
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn certificate(algorithm: &'static rcgen::SignatureAlgorithm, name: &str) -> Vec<u8> {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::OrganizationName, "Somebody");
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        parameters.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        let p256 = certificate(&rcgen::PKCS_ECDSA_P256_SHA256, "ada");
        assert_eq!(end_point(&p256).unwrap(), digest::digest(&digest::SHA256, &p256).as_ref());
        let p384 = certificate(&rcgen::PKCS_ECDSA_P384_SHA384, "ada");
        assert_eq!(end_point(&p384).unwrap(), digest::digest(&digest::SHA384, &p384).as_ref());
        assert_eq!(end_point(&certificate(&rcgen::PKCS_ED25519, "ada")), None);
    }

    #[test]
    fn names_are_read_and_nothing_panics() {
        let certificate = certificate(&rcgen::PKCS_ECDSA_P256_SHA256, "grüße");
        assert_eq!(common_name(&certificate).as_deref(), Some("grüße"));
        for length in 0..certificate.len() {
            let _ = (common_name(&certificate[..length]), end_point(&certificate[..length]));
            let mut changed = certificate.clone();
            changed[length] ^= 0x85;
            let _ = (common_name(&changed), end_point(&changed));
        }
    }
}
