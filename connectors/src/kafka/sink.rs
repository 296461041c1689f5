//! The Kafka sink: rows as JSON messages, appended, or upserted by key.
//!
//! An *append* sink sends a message for every row that is added. It can't take a row back: such a row is
//! refused, or with `force_append_only` left out. A primary key, if there is one, becomes the message's key.
//!
//! An *upsert* sink keeps, per key, the newest row: a row that is added is sent under its key, a key whose row
//! is taken back without a new one gets a tombstone. It relies on getting all changes that an epoch makes to a
//! key in one call, as one removal and one addition at most.
//!
//! It is an upsert sink when it says so (FORMAT UPSERT, or `type`), or when it has a primary key and does not
//! say that it only appends.

use std::collections::HashSet;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use millstream_runtime::batch::ChangeBatch;
use millstream_runtime::sink::{EncodedRows, Publisher, Sink, SinkIdentity};
use millstream_runtime::source::ConnectorSpec;
use millstream_runtime::{Error, Result};

use super::framing::{FrameWriter, Framed};
use super::publisher;
use super::settings::SinkSettings;
use crate::formats::JsonRows;

/// A declared Kafka sink. Nothing is connected before it is opened.
pub(super) struct KafkaSink {
    relation: String,
    settings: SinkSettings,
    /// Columns of the key, as indices into the schema; empty when messages have no key.
    key: Vec<usize>,
    mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Append { leave_out_removals: bool },
    Upsert,
}

impl KafkaSink {
    /// A sink over checked settings; checks the key, the encoding, and that every column has a JSON form.
    pub(super) fn new(spec: &ConnectorSpec, settings: SinkSettings) -> Result<Self> {
        let key = match &settings.key {
            Some(names) => names.iter().map(|name| column(&spec.schema, name)).collect::<Result<_>>()?,
            None => spec.primary_key.clone(),
        };
        let mode = mode(spec, &settings, !key.is_empty())?;
        JsonRows::new(&RecordBatch::new_empty(spec.schema.clone()))?;
        Ok(Self { relation: spec.relation.clone(), settings, key, mode })
    }
}

fn column(schema: &SchemaRef, name: &str) -> Result<usize> {
    schema.index_of(name).map_err(|_| {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        Error::invalid(format!("option \"primary_key\" names column \"{name}\", which the sink does not have"))
            .with_hint(format!("Its columns are {}.", names.join(", ")))
    })
}

fn mode(spec: &ConnectorSpec, settings: &SinkSettings, has_key: bool) -> Result<Mode> {
    let format = spec.format.as_ref();
    let (format, encode) = format.map_or(("PLAIN", "JSON"), |format| (&format.format, &format.encode));
    if encode != "JSON" {
        return Err(Error::invalid(format!("a kafka sink can't write ENCODE {encode}")).with_hint("Use ENCODE JSON."));
    }
    let says_upsert = match format {
        "PLAIN" => settings.append_only == Some(false),
        "UPSERT" => true,
        other => {
            return Err(Error::invalid(format!("a kafka sink can't write FORMAT {other}"))
                .with_hint("Use FORMAT PLAIN or FORMAT UPSERT."));
        }
    };
    let says_append = settings.append_only == Some(true) || settings.force_append_only;
    if says_upsert && says_append {
        return Err(Error::invalid("a kafka sink can't both upsert and only append")
            .with_hint("Leave out FORMAT UPSERT or force_append_only."));
    }
    if says_upsert && !has_key {
        return Err(Error::invalid("an upsert sink needs a key").with_hint("Name its columns in option primary_key."));
    }
    if says_upsert || (has_key && !says_append) {
        return Ok(Mode::Upsert);
    }
    Ok(Mode::Append { leave_out_removals: settings.force_append_only })
}

#[async_trait]
impl Sink for KafkaSink {
    fn encode(&self, changes: &ChangeBatch) -> Result<EncodedRows> {
        let values = JsonRows::new(&changes.rows)?;
        let key_columns = changes.rows.project(&self.key)?;
        let message_bytes_max = self.settings.client.message_bytes_max();
        let encoder =
            Encoder { values, keys: JsonRows::new(&key_columns)?, key_columns: &key_columns, message_bytes_max };
        Ok(match self.mode {
            Mode::Append { leave_out_removals } => encoder.append(changes, leave_out_removals),
            Mode::Upsert => encoder.upsert(changes),
        })
    }

    async fn open(&self, identity: &SinkIdentity) -> Result<Box<dyn Publisher>> {
        let opened = publisher::open(self.settings.clone(), self.relation.clone(), identity.clone()).await?;
        Ok(Box::new(opened))
    }
}

/// The rows of a batch as messages.
struct Encoder<'a> {
    values: JsonRows<'a>,
    keys: JsonRows<'a>,
    key_columns: &'a RecordBatch,
    message_bytes_max: usize,
}

impl Encoder<'_> {
    /// The key of a row as a JSON object; the reason when it has none.
    fn key(&self, row: usize) -> Result<Vec<u8>, String> {
        for (column, field) in self.key_columns.columns().iter().zip(self.key_columns.schema_ref().fields()) {
            if column.is_null(row) {
                return Err(format!("column \"{}\" of the key is null", field.name()));
            }
        }
        let mut key = Vec::new();
        self.keys.write(row, &mut key)?;
        Ok(key)
    }

    /// Writes the value of a row whose key has `key_bytes` bytes.
    fn write_value(&self, row: usize, key_bytes: usize, value: &mut Vec<u8>) -> Result<(), String> {
        value.clear();
        self.values.write(row, value)?;
        let (bytes, bytes_max) = (key_bytes + value.len(), self.message_bytes_max);
        if bytes > bytes_max {
            return Err(format!("the message has {bytes} bytes, properties.message.max.bytes allows {bytes_max}"));
        }
        Ok(())
    }

    fn append(&self, changes: &ChangeBatch, leave_out_removals: bool) -> EncodedRows {
        let has_key = self.key_columns.num_columns() > 0;
        let mut frames = FrameWriter::new();
        let mut refused = Vec::new();
        let mut value = Vec::new();
        for row in 0..changes.len() {
            let weight = changes.weight(row);
            if weight < 0 {
                if !leave_out_removals {
                    let reason = "the row was taken back, which a sink that only appends can't send";
                    refused.push((row, reason.to_string()));
                }
                continue;
            }
            let key = if has_key { self.key(row).map(Some) } else { Ok(None) };
            let written = key.and_then(|key| {
                self.write_value(row, key.as_ref().map_or(0, Vec::len), &mut value)?;
                Ok(key)
            });
            match written {
                Err(reason) => refused.push((row, reason)),
                Ok(key) => {
                    let message = Framed { key: key.as_deref(), value: Some(&value) };
                    (0..weight).for_each(|_| frames.push(message));
                }
            }
        }
        EncodedRows { payload: frames.finish(), refused }
    }

    fn upsert(&self, changes: &ChangeBatch) -> EncodedRows {
        let mut frames = FrameWriter::new();
        let mut refused = Vec::new();
        let mut present: HashSet<Vec<u8>> = HashSet::new();
        let mut value = Vec::new();
        // First what is there now, so that a removal is known to be final or to be one half of a change.
        for row in (0..changes.len()).filter(|row| changes.weight(*row) > 0) {
            let written = self.key(row).and_then(|key| {
                self.write_value(row, key.len(), &mut value)?;
                Ok(key)
            });
            match written {
                Err(reason) => refused.push((row, reason)),
                Ok(key) if present.contains(&key) => {
                    refused.push((row, format!("another row has the same key {}", String::from_utf8_lossy(&key))));
                }
                Ok(key) => {
                    frames.push(Framed { key: Some(&key), value: Some(&value) });
                    present.insert(key);
                }
            }
        }
        for row in (0..changes.len()).filter(|row| changes.weight(*row) < 0) {
            // A row that was refused when it was added has nothing to take back.
            let Ok(key) = self.key(row) else { continue };
            if present.insert(key.clone()) {
                frames.push(Framed { key: Some(&key), value: None });
            }
        }
        refused.sort_by_key(|(row, _)| *row);
        EncodedRows { payload: frames.finish(), refused }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use millstream_runtime::source::{ColumnOrigin, FormatSpec};

    use super::super::{framing, settings};
    use super::*;

    fn spec(format: &str, options: &[(&str, &str)]) -> ConnectorSpec {
        let base = [("topic", "out"), ("properties.bootstrap.server", "localhost:9092")];
        ConnectorSpec {
            relation: "k".to_string(),
            connector: "kafka".to_string(),
            options: base.iter().chain(options).map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect(),
            format: Some(FormatSpec {
                format: format.to_string(),
                encode: "JSON".to_string(),
                options: BTreeMap::new(),
            }),
            schema: Arc::new(Schema::new(vec![
                Field::new("id", DataType::Int64, true),
                Field::new("v", DataType::Utf8, true),
                Field::new("x", DataType::Float64, true),
            ])),
            origins: vec![ColumnOrigin::Field; 3],
            primary_key: Vec::new(),
            keeps_raw: false,
        }
    }

    fn sink(format: &str, options: &[(&str, &str)]) -> Result<KafkaSink> {
        let spec = spec(format, options);
        KafkaSink::new(&spec, settings::read_sink(&spec)?)
    }

    /// Rows `(id, v, x)` with their weights.
    fn changes(rows: &[(Option<i64>, &str, f64, i64)]) -> ChangeBatch {
        let batch = RecordBatch::try_new(
            spec("PLAIN", &[]).schema,
            vec![
                Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
                Arc::new(rows.iter().map(|row| Some(row.1)).collect::<StringArray>()),
                Arc::new(rows.iter().map(|row| Some(row.2)).collect::<Float64Array>()),
            ],
        );
        ChangeBatch::weighted(batch.expect("columns fit"), rows.iter().map(|row| row.3).collect())
    }

    /// Messages as `key=value`, and the refused rows.
    fn encode(sink: &KafkaSink, rows: &[(Option<i64>, &str, f64, i64)]) -> (Vec<String>, Vec<usize>) {
        let encoded = sink.encode(&changes(rows)).expect("encodes");
        let text = |part: Option<&[u8]>| part.map_or("none".to_string(), |part| String::from_utf8_lossy(part).into());
        let messages = framing::read(&encoded.payload).map(|message| message.expect("whole"));
        let messages = messages.map(|message| format!("{}={}", text(message.key), text(message.value))).collect();
        (messages, encoded.refused.into_iter().map(|(row, _)| row).collect())
    }

    #[test]
    fn append_sends_additions_and_refuses_removals() {
        let rows = [(Some(1), "a", 0.5, 2), (Some(2), "b", 1.0, -1), (Some(3), "c", f64::NAN, 1), (None, "d", 2.0, 1)];
        let a = r#"none={"id":1,"v":"a","x":0.5}"#.to_string();
        let d = r#"none={"id":null,"v":"d","x":2.0}"#.to_string();
        let expected = vec![a.clone(), a, d];
        let plain = encode(&sink("PLAIN", &[]).expect("valid"), &rows);
        assert_eq!(plain, (expected.clone(), vec![1, 2]));
        let forced = encode(&sink("PLAIN", &[("force_append_only", "true")]).expect("valid"), &rows);
        assert_eq!(forced, (expected, vec![2]));
        let keyed = sink("PLAIN", &[("primary_key", "id"), ("type", "append-only")]).expect("valid");
        assert_eq!(encode(&keyed, &rows[..1]).0, vec![r#"{"id":1}={"id":1,"v":"a","x":0.5}"#; 2]);
    }

    #[test]
    fn upsert_sends_what_is_there_and_tombstones() {
        let upsert = sink("UPSERT", &[("primary_key", "id")]).expect("valid");
        let rows = [
            (Some(1), "old", 0.5, -1),
            (Some(1), "new", 0.5, 1),
            (Some(2), "gone", 0.5, -1),
            (None, "no key", 0.5, 1),
            (Some(3), "twice", 0.5, 1),
            (Some(3), "again", 0.5, 1),
            (Some(4), "was good", 0.5, -1),
            (Some(4), "is not", f64::INFINITY, 1),
        ];
        let (messages, refused) = encode(&upsert, &rows);
        assert_eq!(
            messages,
            [
                r#"{"id":1}={"id":1,"v":"new","x":0.5}"#,
                r#"{"id":3}={"id":3,"v":"twice","x":0.5}"#,
                r#"{"id":2}=none"#,
                r#"{"id":4}=none"#,
            ]
        );
        assert_eq!(refused, [3, 5, 7]);
    }

    #[test]
    fn messages_that_kafka_would_not_take_are_refused() {
        let sink = sink("PLAIN", &[("properties.message.max.bytes", "1000")]).expect("valid");
        let rows = [(Some(1), "x".repeat(2000)), (Some(2), "x".repeat(500))];
        let rows: Vec<_> = rows.iter().map(|(id, text)| (*id, text.as_str(), 0.5, 1)).collect();
        let (messages, refused) = encode(&sink, &rows);
        assert_eq!((messages.len(), refused), (1, vec![0]));
    }

    #[test]
    fn modes() {
        let key = ("primary_key", "id");
        let append = |leave_out_removals| Some(Mode::Append { leave_out_removals });
        type Options<'a> = &'a [(&'a str, &'a str)];
        let cases: [(&str, Options<'_>, Option<Mode>); 9] = [
            ("PLAIN", &[], append(false)),
            ("PLAIN", &[key], Some(Mode::Upsert)),
            ("PLAIN", &[key, ("force_append_only", "true")], append(true)),
            ("PLAIN", &[key, ("type", "append-only")], append(false)),
            ("PLAIN", &[("type", "upsert")], None),
            ("UPSERT", &[key], Some(Mode::Upsert)),
            ("UPSERT", &[], None),
            ("UPSERT", &[key, ("force_append_only", "true")], None),
            ("DEBEZIUM", &[key], None),
        ];
        for (format, options, expected) in cases {
            assert_eq!(sink(format, options).ok().map(|sink| sink.mode), expected, "{format} {options:?}");
        }
        let error = sink("PLAIN", &[("primary_key", "nope")]).err().expect("no such column");
        assert!(error.message.contains("nope"), "{error}");
    }
}
