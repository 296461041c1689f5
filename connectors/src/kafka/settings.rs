//! The options of a Kafka source or sink, read and checked before anything is connected.
//!
//! Secrets are put into the client's configuration and nowhere else: [`ClientSettings`] is neither printed nor
//! quoted in an error.

use std::collections::BTreeMap;
use std::fmt;

use millstream_runtime::source::ConnectorSpec;
use millstream_runtime::{Error, Result};
use rdkafka::ClientConfig;

use super::properties::{self, Side};
use crate::options::{Options, wrong};

/// Where a source that was just created starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Startup {
    /// At the first record that each partition still holds.
    Earliest,
    /// Behind the last one.
    Latest,
    /// At the first record with this time or a later one, in milliseconds since 1970; behind the last record
    /// of a partition that has none.
    Timestamp(i64),
    /// At these offsets by partition; partitions that are not named, at their first record.
    Offsets(BTreeMap<i32, u64>),
}

/// What a client needs in order to connect.
#[derive(Clone)]
pub(super) struct ClientSettings {
    /// librdkafka's names, allowed ones only.
    properties: BTreeMap<&'static str, String>,
}

impl fmt::Debug for ClientSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientSettings({:?})", self.properties.keys())
    }
}

/// The options of a source.
#[derive(Clone, Debug)]
pub(super) struct SourceSettings {
    /// The topic.
    pub(super) topic: String,
    /// Where to start.
    pub(super) startup: Startup,
    /// How to connect.
    pub(super) client: ClientSettings,
}

/// The options of a sink.
#[derive(Clone, Debug)]
pub(super) struct SinkSettings {
    /// The topic.
    pub(super) topic: String,
    /// Columns of the key as the user named them, by option `primary_key`.
    pub(super) key: Option<Vec<String>>,
    /// Whether option `type` says append-only (or upsert).
    pub(super) append_only: Option<bool>,
    /// Rows taken back are left out instead of refused.
    pub(super) force_append_only: bool,
    /// How to connect.
    pub(super) client: ClientSettings,
}

/// Reads the options of a source.
pub(super) fn read_source(spec: &ConnectorSpec) -> Result<SourceSettings> {
    let mut options = Options::of_connector(spec);
    let settings = SourceSettings {
        topic: topic(&mut options)?,
        startup: startup(&mut options)?,
        client: client(&mut options, Side::Source)?,
    };
    options.finish()?;
    Ok(settings)
}

/// Reads the options of a sink.
pub(super) fn read_sink(spec: &ConnectorSpec) -> Result<SinkSettings> {
    let mut options = Options::of_connector(spec);
    let settings = SinkSettings {
        topic: topic(&mut options)?,
        key: options.text(&["primary_key"])?.map(|text| text.split(',').map(|name| name.trim().to_string()).collect()),
        append_only: options.choice(&["type"], &[("append-only", true), ("upsert", false)])?,
        force_append_only: options.boolean(&["force_append_only"])?.unwrap_or(false),
        client: client(&mut options, Side::Sink)?,
    };
    options.finish()?;
    Ok(settings)
}

impl ClientSettings {
    /// The configuration of a client of either kind; `defaults` give way to what the user set.
    pub(super) fn config(&self, defaults: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in defaults {
            config.set(*name, *value);
        }
        for (name, value) in &self.properties {
            config.set(*name, value);
        }
        config
    }

    /// The same without what only readers or only writers know.
    pub(super) fn of_any_client(&self) -> Self {
        let properties = self.properties.iter().filter(|(name, _)| properties::is_for_both(name));
        Self { properties: properties.map(|(name, value)| (*name, value.clone())).collect() }
    }

    /// The brokers' addresses as the user wrote them, for messages.
    pub(super) fn servers(&self) -> &str {
        self.properties.get("bootstrap.servers").map_or("", String::as_str)
    }

    /// Bytes of key and value that a message of a sink may have: what librdkafka takes.
    pub(super) fn message_bytes_max(&self) -> usize {
        let set = self.properties.get("message.max.bytes").and_then(|text| text.parse().ok());
        set.unwrap_or(1_000_000)
    }

    /// The consumer group that the user wants to see offsets in.
    pub(super) fn group(&self) -> Option<&str> {
        self.properties.get("group.id").map(String::as_str)
    }
}

fn client(options: &mut Options<'_>, side: Side) -> Result<ClientSettings> {
    let mut properties = BTreeMap::new();
    for (name, value) in options.prefixed("properties.") {
        let property = properties::find(name, side)?;
        let set = if property.native == "sasl.jaas.config" {
            let (user, password) = properties::read_jaas(value)?;
            vec![("sasl.username", user), ("sasl.password", password)]
        } else {
            vec![(property.native, value.to_string())]
        };
        for (native, value) in set {
            if properties.insert(native, value).is_some() {
                return Err(Error::invalid(format!(
                    "option \"properties.{name}\" sets again what another option sets"
                ))
                .with_hint("Give only one of them."));
            }
        }
    }
    if properties.get("bootstrap.servers").is_none_or(|servers| servers.trim().is_empty()) {
        return Err(Error::invalid("option \"properties.bootstrap.server\" is missing")
            .with_hint("Set it to the address of a broker, such as localhost:9092."));
    }
    Ok(ClientSettings { properties })
}

fn topic(options: &mut Options<'_>) -> Result<String> {
    let topic = options.required(&["topic"])?;
    // Kafka's own rule for names.
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if topic.is_empty() || topic.len() > 249 || !topic.chars().all(allowed) || topic == "." || topic == ".." {
        return Err(Error::invalid(format!("\"{topic}\" can't be the name of a Kafka topic"))
            .with_hint("Topic names have 1 to 249 letters, digits, dots, hyphens and underscores."));
    }
    Ok(topic.to_string())
}

/// The words for the startup modes.
#[derive(Clone, Copy)]
enum Mode {
    Earliest,
    Latest,
    Timestamp,
    Offsets,
}

const MODES: [(&str, Mode); 7] = [
    ("earliest", Mode::Earliest),
    ("latest", Mode::Latest),
    ("timestamp", Mode::Timestamp),
    ("offsets", Mode::Offsets),
    ("earliest-offset", Mode::Earliest),
    ("latest-offset", Mode::Latest),
    ("specific-offsets", Mode::Offsets),
];

fn startup(options: &mut Options<'_>) -> Result<Startup> {
    const MILLIS: &str = "scan.startup.timestamp.millis";
    const OFFSETS: &str = "scan.startup.specific-offsets";
    let mode = options.choice(&["scan.startup.mode"], &MODES)?.unwrap_or(Mode::Earliest);
    let millis = options.number::<u64>(&[MILLIS])?;
    let offsets = options.text(&[OFFSETS])?;
    let needed =
        |name: &str, mode: &str| Error::invalid(format!("scan.startup.mode = '{mode}' needs option \"{name}\""));
    let idle = |name: &str, mode: &str| {
        Error::invalid(format!("option \"{name}\" has no meaning without scan.startup.mode = '{mode}'"))
    };
    match mode {
        Mode::Earliest | Mode::Latest | Mode::Offsets if millis.is_some() => Err(idle(MILLIS, "timestamp")),
        Mode::Earliest | Mode::Latest | Mode::Timestamp if offsets.is_some() => Err(idle(OFFSETS, "offsets")),
        Mode::Earliest => Ok(Startup::Earliest),
        Mode::Latest => Ok(Startup::Latest),
        Mode::Timestamp => {
            let millis = millis.ok_or_else(|| needed(MILLIS, "timestamp"))?;
            let millis =
                i64::try_from(millis).map_err(|_| wrong(MILLIS, "milliseconds since 1970", &millis.to_string()));
            Ok(Startup::Timestamp(millis?))
        }
        Mode::Offsets => Ok(Startup::Offsets(read_offsets(offsets.ok_or_else(|| needed(OFFSETS, "offsets"))?)?)),
    }
}

/// Reads `partition:0,offset:42;partition:1,offset:300`.
fn read_offsets(text: &str) -> Result<BTreeMap<i32, u64>> {
    let malformed = || {
        wrong("scan.startup.specific-offsets", "offsets written as partition:0,offset:42;partition:1,offset:300", text)
    };
    let mut offsets = BTreeMap::new();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let (partition, offset) = part.split_once(',').ok_or_else(malformed)?;
        let number =
            |text: &str, name: &str| text.trim().strip_prefix(name)?.trim().strip_prefix(':')?.trim().parse().ok();
        let partition =
            number(partition, "partition").and_then(|n: u64| i32::try_from(n).ok()).ok_or_else(malformed)?;
        let offset = number(offset, "offset").filter(|offset| i64::try_from(*offset).is_ok()).ok_or_else(malformed)?;
        if offsets.insert(partition, offset).is_some() {
            return Err(malformed());
        }
    }
    if offsets.is_empty() { Err(malformed()) } else { Ok(offsets) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema;

    use super::*;

    fn spec(options: &[(&str, &str)]) -> ConnectorSpec {
        let base = [("topic", "bids"), ("properties.bootstrap.server", "localhost:9092")];
        ConnectorSpec {
            relation: "bids".to_string(),
            connector: "kafka".to_string(),
            options: base.iter().chain(options).map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect(),
            format: None,
            schema: Arc::new(Schema::empty()),
            origins: Vec::new(),
            primary_key: Vec::new(),
            keeps_raw: false,
        }
    }

    #[test]
    fn startup_modes_in_every_spelling() {
        let two = BTreeMap::from([(0, 42), (1, 300)]);
        let cases: [(&[(&str, &str)], Startup); 8] = [
            (&[], Startup::Earliest),
            (&[("scan.startup.mode", "earliest")], Startup::Earliest),
            (&[("scan.startup.mode", "earliest-offset")], Startup::Earliest),
            (&[("scan.startup.mode", "LATEST")], Startup::Latest),
            (&[("scan.startup.mode", "latest-offset")], Startup::Latest),
            (
                &[("scan.startup.mode", "timestamp"), ("scan.startup.timestamp.millis", "1700000000000")],
                Startup::Timestamp(1_700_000_000_000),
            ),
            (
                &[
                    ("scan.startup.mode", "specific-offsets"),
                    ("scan.startup.specific-offsets", "partition:0,offset:42;partition:1,offset:300"),
                ],
                Startup::Offsets(two.clone()),
            ),
            (
                &[
                    ("scan.startup.mode", "offsets"),
                    ("scan.startup.specific-offsets", " partition: 0 , offset: 42 ; partition:1,offset:300; "),
                ],
                Startup::Offsets(two),
            ),
        ];
        for (options, expected) in cases {
            assert_eq!(read_source(&spec(options)).expect("valid").startup, expected, "{options:?}");
        }
    }

    #[test]
    fn wrong_options_are_named() {
        let cases: [(&[(&str, &str)], &str); 13] = [
            (&[("topics", "x")], "no option \"topics\""),
            (&[("topic", "a b")], "\"a b\" can't be the name"),
            (&[("topic", "")], "\"\" can't be the name"),
            (&[("properties.bootstrap.server", " ")], "bootstrap.server\" is missing"),
            (&[("properties.bootstrap.servers", "x:1")], "sets again"),
            (&[("properties.plugin.library.paths", "/tmp/x.so")], "plugin.library.paths\" is not allowed"),
            (&[("scan.startup.mode", "group-offsets")], "not \"group-offsets\""),
            (&[("scan.startup.mode", "timestamp")], "needs option \"scan.startup.timestamp.millis\""),
            (&[("scan.startup.mode", "offsets")], "needs option \"scan.startup.specific-offsets\""),
            (&[("scan.startup.timestamp.millis", "5")], "has no meaning without scan.startup.mode = 'timestamp'"),
            (&[("scan.startup.mode", "timestamp"), ("scan.startup.timestamp.millis", "-1")], "not \"-1\""),
            (&[("scan.startup.mode", "offsets"), ("scan.startup.specific-offsets", "0:42")], "not \"0:42\""),
            (
                &[
                    ("scan.startup.mode", "offsets"),
                    ("scan.startup.specific-offsets", "partition:0,offset:1;partition:0,offset:2"),
                ],
                "specific-offsets\" takes",
            ),
        ];
        for (options, expected) in cases {
            let error = read_source(&spec(options)).expect_err(expected);
            assert!(error.message.contains(expected), "{error} should contain {expected}");
            assert_eq!(error.kind, millstream_runtime::ErrorKind::Invalid);
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let settings =
            read_source(&spec(&[("properties.sasl.password", "s3cret"), ("properties.sasl.username", "me")]))
                .expect("valid");
        assert!(!format!("{settings:?}").contains("s3cret"));
        assert_eq!(settings.client.config(&[]).get("sasl.password"), Some("s3cret"));
        let jaas = "a.ScramLoginModule required username=\"me\" password=\"s3cret\";";
        let settings = read_source(&spec(&[("properties.sasl.jaas.config", jaas)])).expect("valid");
        assert_eq!(settings.client.config(&[]).get("sasl.password"), Some("s3cret"));
    }

    #[test]
    fn sink_options() {
        let settings = read_sink(&spec(&[("primary_key", "a, b"), ("force_append_only", "true")])).expect("valid");
        assert_eq!(settings.key, Some(vec!["a".to_string(), "b".to_string()]));
        assert!(settings.force_append_only);
        assert_eq!(read_sink(&spec(&[("type", "append-only")])).expect("valid").append_only, Some(true));
        for wrong in [("force_append_only", "yes"), ("type", "debezium"), ("scan.startup.mode", "latest")] {
            assert!(read_sink(&spec(&[wrong])).is_err(), "{wrong:?}");
        }
    }
}
