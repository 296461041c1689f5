//! Which `properties.*` a user may set, and what they are called in librdkafka.
//!
//! This is a list of what is allowed, never of what is forbidden: some of librdkafka's properties run code
//! (`plugin.library.paths` and `ssl.engine.location` load a library, `ssl.providers` loads OpenSSL modules,
//! `sasl.kerberos.kinit.cmd` runs a command), others would break what the connector relies on (offsets,
//! groups, transactions), and new ones come with every release.
//!
//! Names are those of librdkafka and, where they differ, those of Kafka's Java clients, which users of Flink
//! and RisingWave write. Values are not looked at here: librdkafka checks them when the client is made.

use millstream_runtime::{Error, Result};

/// Who may set a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Sources and sinks.
    Both,
    /// Sources only.
    Source,
    /// Sinks only.
    Sink,
}

/// A property that users may set.
#[derive(Debug)]
pub(super) struct Property {
    /// Its name in a statement, after `properties.`.
    pub(super) name: &'static str,
    /// Its name in librdkafka.
    pub(super) native: &'static str,
    /// Where it makes sense.
    side: Side,
}

const fn plain(name: &'static str, side: Side) -> Property {
    Property { name, native: name, side }
}

const fn alias(name: &'static str, native: &'static str, side: Side) -> Property {
    Property { name, native, side }
}

/// Every property that users may set, in the order in which an error lists them.
pub(super) const PROPERTIES: &[Property] = &[
    alias("bootstrap.server", "bootstrap.servers", Side::Both),
    plain("bootstrap.servers", Side::Both),
    plain("client.id", Side::Both),
    plain("client.rack", Side::Both),
    plain("client.dns.lookup", Side::Both),
    plain("broker.address.family", Side::Both),
    // Who we are and how the broker proves who it is.
    plain("security.protocol", Side::Both),
    plain("sasl.mechanism", Side::Both),
    alias("sasl.mechanisms", "sasl.mechanism", Side::Both),
    plain("sasl.username", Side::Both),
    plain("sasl.password", Side::Both),
    plain("sasl.jaas.config", Side::Both),
    plain("ssl.ca.location", Side::Both),
    plain("ssl.ca.pem", Side::Both),
    plain("ssl.certificate.location", Side::Both),
    plain("ssl.certificate.pem", Side::Both),
    plain("ssl.key.location", Side::Both),
    plain("ssl.key.pem", Side::Both),
    plain("ssl.key.password", Side::Both),
    plain("ssl.keystore.location", Side::Both),
    plain("ssl.keystore.password", Side::Both),
    plain("ssl.crl.location", Side::Both),
    plain("ssl.cipher.suites", Side::Both),
    plain("ssl.endpoint.identification.algorithm", Side::Both),
    plain("enable.ssl.certificate.verification", Side::Both),
    // Connections and time limits.
    plain("socket.timeout.ms", Side::Both),
    plain("socket.connection.setup.timeout.ms", Side::Both),
    plain("socket.keepalive.enable", Side::Both),
    plain("socket.nagle.disable", Side::Both),
    plain("socket.send.buffer.bytes", Side::Both),
    plain("socket.receive.buffer.bytes", Side::Both),
    plain("connections.max.idle.ms", Side::Both),
    plain("reconnect.backoff.ms", Side::Both),
    plain("reconnect.backoff.max.ms", Side::Both),
    plain("retry.backoff.ms", Side::Both),
    plain("retry.backoff.max.ms", Side::Both),
    alias("metadata.max.age.ms", "topic.metadata.refresh.interval.ms", Side::Both),
    plain("topic.metadata.refresh.interval.ms", Side::Both),
    plain("receive.message.max.bytes", Side::Both),
    // Reading.
    plain("group.id", Side::Source),
    plain("isolation.level", Side::Source),
    plain("check.crcs", Side::Source),
    plain("fetch.min.bytes", Side::Source),
    plain("fetch.max.bytes", Side::Source),
    plain("fetch.wait.max.ms", Side::Source),
    alias("fetch.max.wait.ms", "fetch.wait.max.ms", Side::Source),
    plain("fetch.error.backoff.ms", Side::Source),
    alias("max.partition.fetch.bytes", "fetch.message.max.bytes", Side::Source),
    plain("fetch.message.max.bytes", Side::Source),
    plain("queued.min.messages", Side::Source),
    plain("queued.max.messages.kbytes", Side::Source),
    // Writing.
    plain("compression.type", Side::Sink),
    alias("compression.codec", "compression.type", Side::Sink),
    plain("compression.level", Side::Sink),
    plain("linger.ms", Side::Sink),
    plain("batch.size", Side::Sink),
    plain("batch.num.messages", Side::Sink),
    plain("message.max.bytes", Side::Sink),
    alias("max.request.size", "message.max.bytes", Side::Sink),
    plain("partitioner", Side::Sink),
    plain("transaction.timeout.ms", Side::Sink),
];

/// The property of that name; an error that lists the allowed ones when there is none for `side`.
pub(super) fn find(name: &str, side: Side) -> Result<&'static Property> {
    let found = PROPERTIES.iter().find(|property| property.name == name);
    match found {
        Some(property) if property.side == side || property.side == Side::Both => Ok(property),
        Some(_) if side == Side::Source => {
            Err(Error::invalid(format!("option \"properties.{name}\" is for sinks, not for sources")))
        }
        Some(_) => Err(Error::invalid(format!("option \"properties.{name}\" is for sources, not for sinks"))),
        None => {
            let names: Vec<&str> =
                PROPERTIES.iter().filter(|p| p.side == side || p.side == Side::Both).map(|p| p.name).collect();
            Err(Error::invalid(format!("option \"properties.{name}\" is not allowed"))
                .with_hint(format!("Allowed after \"properties.\" are {}.", names.join(", "))))
        }
    }
}

/// Whether a value must never be shown, by the property's name in librdkafka.
pub(super) fn is_secret(native: &str) -> bool {
    native.contains("password") || native == "ssl.key.pem"
}

/// Whether clients of every kind know a property, by its name in librdkafka.
pub(super) fn is_for_both(native: &str) -> bool {
    PROPERTIES.iter().any(|property| property.native == native && property.side == Side::Both)
}

/// User and password out of Java's way to write them
/// (`org.apache...ScramLoginModule required username="u" password="p";`).
pub(super) fn read_jaas(text: &str) -> Result<(String, String)> {
    let malformed = || {
        Error::invalid("option \"properties.sasl.jaas.config\" is not understood")
            .with_hint("Set properties.sasl.username and properties.sasl.password instead.")
    };
    let module = text.split_whitespace().next().unwrap_or("");
    if !module.ends_with(".PlainLoginModule") && !module.ends_with(".ScramLoginModule") {
        return Err(malformed());
    }
    let value = |key: &str| {
        let start = text.find(&format!(" {key}=\""))? + key.len() + 3;
        let length = text[start..].find('"')?;
        Some(text[start..start + length].to_string())
    };
    match (value("username"), value("password")) {
        (Some(user), Some(password)) => Ok((user, password)),
        _ => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_runs_code_or_breaks_the_connector() {
        for name in [
            "plugin.library.paths",
            "sasl.kerberos.kinit.cmd",
            "ssl.engine.location",
            "ssl.providers",
            "sasl.oauthbearer.token.endpoint.url",
            "debug",
            "enable.auto.commit",
            "auto.offset.reset",
            "transactional.id",
            "enable.partition.eof",
            "group.instance.id",
        ] {
            for side in [Side::Source, Side::Sink] {
                let error = find(name, side).expect_err(name);
                assert!(error.message.contains(name), "{error}");
                assert!(error.hint.expect("lists the allowed ones").contains("sasl.password"), "{name}");
            }
        }
    }

    #[test]
    fn knows_both_spellings_and_both_sides() {
        let native = |name, side| find(name, side).expect(name).native;
        assert_eq!(native("bootstrap.server", Side::Sink), "bootstrap.servers");
        assert_eq!(native("fetch.max.wait.ms", Side::Source), "fetch.wait.max.ms");
        assert!(find("group.id", Side::Sink).expect_err("for sources").message.contains("for sources"));
        assert!(find("linger.ms", Side::Source).expect_err("for sinks").message.contains("for sinks"));
    }

    #[test]
    fn every_name_stands_once() {
        let mut names: Vec<&str> = PROPERTIES.iter().map(|property| property.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PROPERTIES.len());
    }

    #[test]
    fn reads_jaas_and_never_repeats_it() {
        let text =
            "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"me\" password=\"s3cret\";";
        assert_eq!(read_jaas(text).expect("well formed"), ("me".to_string(), "s3cret".to_string()));
        for bad in
            ["evil.Module required username=\"a\" password=\"s3cret\";", "x.PlainLoginModule password=\"s3cret\""]
        {
            let error = read_jaas(bad).expect_err(bad);
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
