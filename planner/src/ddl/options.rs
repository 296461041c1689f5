//! The WITH clause divided: what is the relation's, what is the encoding's in Flink's spelling, and the rest,
//! which is the connector's.

use std::collections::BTreeMap;

use millstream_runtime::source::FormatSpec;

use crate::catalog::Catalog;
use crate::error::{PlanError, PlanErrorKind, Result, TextPosition};
use crate::parse::ast::{Format, Name, OptionValue, WithOption};
use crate::secret::SecretUses;
use crate::settings::PlanSettings;

use super::constants::interval_micros;
use super::secret::find_secret;

/// Options that belong to a relation with a watermark, whatever brings its rows.
pub(super) const ALLOWED_LATENESS: &str = "allowed_lateness";
/// See [`ALLOWED_LATENESS`].
pub(super) const IDLE_TIMEOUT: &str = "idle_timeout";
/// Before the options that say how to connect.
const CONNECTION_PREFIX: &str = "properties.";
/// RisingWave's spelling of APPEND ONLY.
pub(super) const APPEND_ONLY: &str = "appendonly";

/// The options of one statement; what is taken out is known.
pub(super) struct Options {
    left: BTreeMap<String, (String, TextPosition)>,
    /// Those that secrets give.
    secrets: BTreeMap<String, (Name, TextPosition)>,
    connector: Option<String>,
    connector_position: Option<TextPosition>,
}

impl Options {
    /// All of a WITH clause.
    pub(super) fn of(options: &[WithOption]) -> Self {
        let (mut left, mut secrets) = (BTreeMap::new(), BTreeMap::new());
        for option in options {
            match option.value.clone() {
                OptionValue::Text(value) => drop(left.insert(option.name.clone(), (value, option.position))),
                OptionValue::Secret(name) => drop(secrets.insert(option.name.clone(), (name, option.position))),
            }
        }
        let connector = left.remove("connector");
        let connector_position = connector.as_ref().map(|(_, position)| *position);
        Self {
            left,
            secrets,
            connector: connector.map(|(name, _): (String, _)| name.to_lowercase()),
            connector_position,
        }
    }

    /// Takes the options that secrets give. What is shown of a relation, or planned with, can't be one.
    pub(super) fn take_secrets(&mut self, catalog: &Catalog, settings: &PlanSettings) -> Result<SecretUses> {
        let given = std::mem::take(&mut self.secrets).into_iter();
        let found = given.map(|(option, (name, position))| {
            if !option.starts_with(CONNECTION_PREFIX) {
                let message = format!("option \"{option}\" can't be given by a secret");
                return Err(PlanError::new(PlanErrorKind::InvalidParameterValue, message)
                    .with_hint("Secrets are for the properties of a connection, such as properties.sasl.password.")
                    .at(Some(position)));
            }
            Ok((option, find_secret(&name, catalog, settings)?.oid))
        });
        found.collect()
    }

    /// The connector's name, lower case.
    pub(super) fn connector(&self) -> Option<&str> {
        self.connector.as_deref()
    }

    /// Whether a connector is named, if only by a secret, which is refused.
    pub(super) fn names_connector(&self) -> bool {
        self.connector.is_some() || self.secrets.contains_key("connector")
    }

    /// Where the connector was named.
    pub(super) fn connector_position(&self) -> Option<TextPosition> {
        self.connector_position
    }

    /// Looks at an option and leaves it to the connector.
    pub(super) fn peek(&self, name: &str) -> Option<(&str, TextPosition)> {
        self.left.get(name).map(|(value, position)| (value.as_str(), *position))
    }

    /// Takes an interval that must not be negative.
    pub(super) fn take_interval(&mut self, name: &str) -> Result<Option<i64>> {
        let Some((value, position)) = self.left.remove(name) else { return Ok(None) };
        let micros = interval_micros(&value).map_err(|error| error.at(Some(position)))?;
        if micros < 0 {
            let message = format!("option \"{name}\" can't be negative");
            return Err(PlanError::new(PlanErrorKind::InvalidParameterValue, message).at(Some(position)));
        }
        Ok(Some(micros))
    }

    /// Takes `true` or `false`.
    pub(super) fn take_boolean(&mut self, name: &str) -> Result<Option<bool>> {
        let Some((value, position)) = self.left.remove(name) else { return Ok(None) };
        match value.to_ascii_lowercase().as_str() {
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            _ => {
                let message = format!("option \"{name}\" must be true or false, not \"{value}\"");
                Err(PlanError::new(PlanErrorKind::InvalidParameterValue, message).at(Some(position)))
            }
        }
    }

    /// Refuses an option that only makes sense with a watermark.
    pub(super) fn needs_watermark(&self, name: &str) -> Result<()> {
        match self.left.get(name) {
            None => Ok(()),
            Some((_, position)) => {
                let message = format!("option \"{name}\" needs a WATERMARK");
                Err(PlanError::new(PlanErrorKind::InvalidParameterValue, message)
                    .with_hint("Declare one: WATERMARK FOR column AS column - INTERVAL '5 seconds'.")
                    .at(Some(*position)))
            }
        }
    }

    /// Refuses whatever is left: for relations without a connector.
    pub(super) fn must_be_empty(&self, owner: &str, known: &[&str]) -> Result<()> {
        let texts = self.left.iter().map(|(name, (_, position))| (name, position));
        let secrets = self.secrets.iter().map(|(name, (_, position))| (name, position));
        let Some((name, position)) = texts.chain(secrets).next() else { return Ok(()) };
        let message = format!("{owner} has no option \"{name}\"");
        let hint = match known {
            [] => "It takes no options.".to_string(),
            _ => format!("The options are {}.", known.join(", ")),
        };
        Err(PlanError::new(PlanErrorKind::InvalidParameterValue, message).with_hint(hint).at(Some(*position)))
    }

    /// The encoding: from FORMAT ... ENCODE, or from Flink's `'format' = 'json'` with `'json.…'` beside it.
    pub(super) fn take_format(&mut self, clause: Option<&Format>) -> Result<Option<FormatSpec>> {
        let flink = self.left.remove("format").or_else(|| self.left.remove("value.format"));
        match (clause, flink) {
            (None, None) => Ok(None),
            (Some(clause), None) => Ok(Some(FormatSpec {
                format: clause.format.clone(),
                encode: clause.encode.clone(),
                options: clause.options.iter().map(format_option).collect::<Result<_>>()?,
            })),
            (None, Some((name, position))) => self.flink_format(&name, position).map(Some),
            (Some(_), Some((_, position))) => {
                let message = "the encoding is given twice, by option \"format\" and by FORMAT ... ENCODE";
                Err(PlanError::new(PlanErrorKind::InvalidParameterValue, message)
                    .with_hint("Leave one of them out.")
                    .at(Some(position)))
            }
        }
    }

    fn flink_format(&mut self, name: &str, position: TextPosition) -> Result<FormatSpec> {
        let upsert = self.connector.as_deref() == Some("upsert-kafka");
        let plain = if upsert { "UPSERT" } else { "PLAIN" };
        let (format, encode) = match name.to_ascii_lowercase().as_str() {
            "json" => (plain, "JSON"),
            "csv" => (plain, "CSV"),
            "raw" => (plain, "BYTES"),
            "parquet" => (plain, "PARQUET"),
            "avro" => (plain, "AVRO"),
            "protobuf" => (plain, "PROTOBUF"),
            "debezium-json" => ("DEBEZIUM", "JSON"),
            other => {
                let message = format!("unknown format \"{other}\"");
                return Err(PlanError::new(PlanErrorKind::InvalidParameterValue, message)
                    .with_hint("The formats are json, csv, raw, parquet, avro, protobuf and debezium-json.")
                    .at(Some(position)));
            }
        };
        let prefix = format!("{}.", name.to_ascii_lowercase());
        let own: Vec<String> = self.left.keys().filter(|option| option.starts_with(&prefix)).cloned().collect();
        let options = own.into_iter().filter_map(|option| {
            let (value, _) = self.left.remove(&option)?;
            Some((option[prefix.len()..].to_string(), value))
        });
        Ok(FormatSpec { format: format.to_string(), encode: encode.to_string(), options: options.collect() })
    }

    /// What is left, for the connector.
    pub(super) fn into_connector_options(self) -> BTreeMap<String, String> {
        self.left.into_iter().map(|(name, (value, _))| (name, value)).collect()
    }
}

fn format_option(option: &WithOption) -> Result<(String, String)> {
    match &option.value {
        OptionValue::Text(value) => Ok((option.name.clone(), value.clone())),
        OptionValue::Secret(name) => {
            let message = format!("option \"{}\" can't be given by a secret", option.name);
            Err(PlanError::new(PlanErrorKind::InvalidParameterValue, message).at(Some(name.position)))
        }
    }
}

/// Flink's name for Kafka with keys is no connector of its own.
pub(super) fn connector_name(written: &str) -> String {
    match written {
        "upsert-kafka" => "kafka".to_string(),
        "filesystem" => "file".to_string(),
        other => other.to_string(),
    }
}
