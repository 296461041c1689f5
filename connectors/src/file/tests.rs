//! Files on this machine: restarts, growth, replacement, and what the sink leaves for the source to read.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use millstream_runtime::batch::ChangeBatch;
use millstream_runtime::sink::SinkIdentity;
use millstream_runtime::source::{
    ColumnOrigin, ConnectorSpec, FormatSpec, Position, RejectedRecord, Source, SourceEvent, SourceReader, SplitRange,
};

fn fields() -> Vec<Field> {
    vec![Field::new("a", DataType::Int64, false), Field::new("b", DataType::Utf8, true)]
}

fn spec(path: &Path, encode: &str, options: &[(&str, &str)]) -> ConnectorSpec {
    let (format, connector): (Vec<_>, Vec<_>) = options.iter().partition(|(name, _)| *name == "header");
    let owned = |options: Vec<&(&str, &str)>| -> BTreeMap<String, String> {
        options.into_iter().map(|(name, value)| ((*name).to_string(), (*value).to_string())).collect()
    };
    let mut connector = owned(connector);
    connector.insert("path".into(), path.display().to_string());
    ConnectorSpec {
        relation: "r".into(),
        connector: "file".into(),
        options: connector,
        format: Some(FormatSpec { format: "PLAIN".into(), encode: encode.into(), options: owned(format) }),
        schema: Arc::new(Schema::new(fields())),
        origins: vec![ColumnOrigin::Field; 2],
        primary_key: Vec::new(),
        keeps_raw: false,
    }
}

/// What a reader gives: the values of column `a` and the rejected records, by position, over all splits.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    rows: Vec<(Position, i64)>,
    rejected: Vec<RejectedRecord>,
    next: Option<Position>,
}

impl Read {
    fn take(&mut self, event: SourceEvent) {
        if let SourceEvent::Batch(batch) = event {
            let values = batch.rows.column(0).as_primitive::<Int64Type>();
            assert_eq!(values.len(), batch.positions.len());
            self.rows.extend(batch.positions.into_iter().zip(values.values().iter().copied()));
            self.rejected.extend(batch.rejected);
            self.next = Some(batch.next);
        }
    }
}

async fn reader(source: &dyn Source, from: Option<u64>) -> Box<dyn SourceReader> {
    let ranges = source.splits().await.unwrap().into_iter().map(|split| SplitRange {
        from: from.map_or(split.start, Position),
        until: None,
        split,
    });
    source.open(ranges.collect(), vec![0]).await.unwrap()
}

async fn read_all(source: &dyn Source, from: Option<u64>) -> Read {
    let mut reader = reader(source, from).await;
    let mut read = Read::default();
    while let Some(event) = reader.next().await.unwrap() {
        read.take(event);
    }
    read
}

#[tokio::test]
async fn lines_are_read_from_any_position() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.json");
    let mut text = String::new();
    for row in 0..20_000 {
        text += &match row % 1000 {
            7 => "nonsense\n".to_string(),
            8 => "\n\r\n".to_string(),
            _ => format!("{{\"b\":\"{}\",\"a\":{row}}}\n", "x".repeat(row % 50)),
        };
    }
    text += "{\"a\":20000}";
    std::fs::write(&path, &text).unwrap();
    let source = super::source(&spec(&path, "JSON", &[])).unwrap();
    let whole = read_all(source.as_ref(), None).await;
    assert_eq!((whole.rows.len(), whole.rejected.len()), (19_961, 20));
    assert_eq!(whole.next, Some(Position(text.len() as u64)));
    let split = source.splits().await.unwrap().remove(0);
    assert_eq!(source.ends().await.unwrap()[&split.id], whole.next.unwrap());
    for index in [1, 7, 5_000, 19_960] {
        let from = whole.rows[index].0;
        let rest = read_all(source.as_ref(), Some(from.0)).await;
        assert_eq!(rest.rows, whole.rows[index..]);
        let rejected: Vec<_> = whole.rejected.iter().filter(|record| record.position >= from).cloned().collect();
        assert_eq!(rest.rejected, rejected);
    }
    let until = SplitRange { split, from: whole.rows[10].0, until: Some(whole.rows[20].0) };
    let mut reader = source.open(vec![until], vec![0]).await.unwrap();
    let mut part = Read::default();
    while let Some(event) = reader.next().await.unwrap() {
        part.take(event);
    }
    assert_eq!(part.rows, whole.rows[10..20]);
}

#[tokio::test]
async fn a_file_that_grows_is_read_on_and_one_that_is_replaced_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.json");
    std::fs::write(&path, "{\"a\":1}\n{\"a\":").unwrap();
    let source = super::source(&spec(folder.path(), "JSON", &[("mode", "watch")])).unwrap();
    assert!(!source.bounded());
    let split = source.splits().await.unwrap().remove(0);
    assert_eq!(source.ends().await.unwrap()[&split.id], Position(8), "half a line is no record");

    let mut reader = reader(source.as_ref(), None).await;
    let mut read = Read::default();
    read.take(reader.next().await.unwrap().unwrap());
    assert_eq!(read.rows, [(Position(0), 1)]);
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"2}\n").unwrap();
    while read.rows.len() < 2 {
        read.take(reader.next().await.unwrap().unwrap());
    }
    assert_eq!(read.rows[1], (Position(8), 2));

    // Removing what has been read ends it.
    let other = folder.path().join("gone.json");
    std::fs::write(&other, "{\"a\":9}\n").unwrap();
    let gone = source.splits().await.unwrap().remove(0);
    let range = SplitRange { from: gone.start, split: gone.clone(), until: None };
    let mut gone_reader = source.open(vec![range], vec![0]).await.unwrap();
    assert!(matches!(gone_reader.next().await.unwrap(), Some(SourceEvent::Batch(_))));
    std::fs::remove_file(other).unwrap();
    assert!(matches!(gone_reader.next().await.unwrap(), Some(SourceEvent::SplitEnded(id)) if id == gone.id));
    assert!(gone_reader.next().await.unwrap().is_none());

    std::fs::write(folder.path().join("y.json"), "{\"a\":3}\n").unwrap();
    let splits = source.splits().await.unwrap();
    assert_eq!(splits.len(), 2);
    assert_eq!(splits[0], split, "growing changes nothing about a file's identity");

    // Another file under the same name, made beside it so that it has an inode of its own.
    let other = folder.path().join("_other");
    std::fs::write(&other, "{\"a\":4}\n{\"a\":5}\n{\"a\":6}\n").unwrap();
    std::fs::rename(other, &path).unwrap();
    let range = SplitRange { split, from: Position(16), until: None };
    let error = source.open(vec![range], vec![0]).await.err().unwrap();
    assert!(error.message.ends_with("x.json\" has been replaced or changed since it was first read"), "{error}");
}

#[tokio::test]
async fn a_bounded_file_must_not_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.json");
    std::fs::write(&path, "{\"a\":1}\n").unwrap();
    let source = super::source(&spec(&path, "JSON", &[])).unwrap();
    let split = source.splits().await.unwrap().remove(0);
    std::fs::write(&path, "{\"a\":1}\n{\"a\":2}\n").unwrap();
    let range = SplitRange { from: split.start, split, until: None };
    assert!(source.open(vec![range.clone()], vec![0]).await.is_err());
    std::fs::remove_file(&path).unwrap();
    let error = source.open(vec![range], vec![0]).await.err().unwrap();
    assert!(error.message.ends_with("x.json\" is not there"), "{error}");
    let error = source.splits().await.err().unwrap();
    assert!(error.message.starts_with("there is no file"), "{error}");
}

#[tokio::test]
async fn a_csv_header_names_the_fields() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("1.csv"), "\u{feff}B,other,A\r\n\"x\ny\",2,3\r\nz,,4\r\n").unwrap();
    std::fs::write(folder.path().join("2.csv"), "a\n5\nx\n").unwrap();
    let pattern = folder.path().join("*.csv");
    let source = super::source(&spec(&pattern, "CSV", &[("header", "true")])).unwrap();
    let mut read = read_all(source.as_ref(), None).await;
    read.rows.sort_by_key(|(_, value)| *value);
    assert_eq!(read.rows, [(Position(14), 3), (Position(25), 4), (Position(2), 5)]);
    assert_eq!(read.rejected[0].reason, "column \"a\": expected BIGINT, got \"x\"");
    std::fs::write(folder.path().join("3.csv"), "b\n5\n").unwrap();
    let splits = source.splits().await.unwrap();
    let range = SplitRange { from: Position(0), split: splits[2].clone(), until: None };
    let error = source.open(vec![range], vec![0]).await.err().unwrap();
    assert!(error.message.ends_with("it has no column \"a\", which is NOT NULL"), "{error}");
}

fn batch(values: &[i64]) -> RecordBatch {
    let texts: StringArray = values.iter().map(|value| (value % 3 > 0).then(|| format!("é,\"{value}"))).collect();
    let columns: Vec<arrow::array::ArrayRef> = vec![Arc::new(Int64Array::from(values.to_vec())), Arc::new(texts)];
    RecordBatch::try_new(Arc::new(Schema::new(fields())), columns).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_the_sink_publishes_the_source_reads() {
    for (encode, options) in [("JSON", &[][..]), ("CSV", &[("header", "true")][..]), ("PARQUET", &[][..])] {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("made");
        let sink = super::sink(&spec(&target, encode, options)).unwrap();
        let identity = SinkIdentity { id: "root/7".into(), timeline: 0 };
        let mut publisher = sink.open(&identity).await.unwrap();
        assert_eq!(publisher.progress().await.unwrap(), None);
        let encode_rows = |values: &[i64]| sink.encode(&ChangeBatch::append(batch(values))).unwrap().payload;
        publisher.publish(1, &[encode_rows(&[1, 2]), encode_rows(&[]), encode_rows(&[3])]).await.unwrap();
        publisher.publish(2, &[encode_rows(&[4])]).await.unwrap();
        let extension = encode.to_lowercase();
        let expected = [1, 2].map(|sequence| format!("root-7-0000-{sequence:012}.{extension}"));
        assert_eq!(names(&target), expected);

        // What a killed writer left is not read, goes away, and publishing again changes no byte.
        let before = std::fs::read(target.join(&expected[1])).unwrap();
        std::fs::write(target.join(format!(".{}.half", expected[1])), "half").unwrap();
        let mut again = sink.open(&identity).await.unwrap();
        assert_eq!(again.progress().await.unwrap(), Some(2));
        again.publish(2, &[encode_rows(&[4])]).await.unwrap();
        assert_eq!(names(&target), expected);
        assert_eq!(std::fs::read(target.join(&expected[1])).unwrap(), before);
        let mut restored = sink.open(&SinkIdentity { timeline: 1, ..identity }).await.unwrap();
        assert_eq!(restored.progress().await.unwrap(), None);

        let source = super::source(&spec(&target, encode, options)).unwrap();
        let mut read = read_all(source.as_ref(), None).await;
        read.rows.sort_by_key(|(_, value)| *value);
        assert_eq!(read.rows.iter().map(|(_, value)| *value).collect::<Vec<_>>(), [1, 2, 3, 4], "{encode}");
        assert_eq!(read.rejected, []);
        let first = source.splits().await.unwrap().remove(0);
        let range = SplitRange { from: read.rows[1].0, split: first, until: None };
        let mut reader = source.open(vec![range], vec![1, 0]).await.unwrap();
        let Some(SourceEvent::Batch(rest)) = reader.next().await.unwrap() else { panic!("two rows follow") };
        assert_eq!(rest.rows.column(0).as_string::<i32>().iter().collect::<Vec<_>>(), [Some("é,\"2"), None]);
        assert_eq!(rest.positions[0], read.rows[1].0, "{encode}");
    }
}

#[tokio::test]
async fn parquet_columns_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let write = |columns: Vec<(&str, arrow::array::ArrayRef)>| {
        let rows =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)));
        let rows = rows.unwrap();
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = parquet::arrow::ArrowWriter::try_new(file, rows.schema(), None).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
    };
    let source = super::source(&spec(&path, "PARQUET", &[])).unwrap();
    // A narrower type under another case, and a null where none may be.
    write(vec![("A", Arc::new(arrow::array::Int32Array::from(vec![Some(1), None, Some(3)])))]);
    let read = read_all(source.as_ref(), None).await;
    assert_eq!(read.rows, [(Position(0), 1), (Position(2), 3)]);
    assert_eq!(read.rejected[0].position, Position(1));
    assert_eq!(read.rejected[0].reason, "column \"a\" is NOT NULL, but the field is null");
    let split = source.splits().await.unwrap().remove(0);
    assert_eq!(source.ends().await.unwrap()[&split.id], Position(3));

    let open = async || {
        let split = source.splits().await.unwrap().remove(0);
        let range = SplitRange { from: split.start, split, until: None };
        source.open(vec![range], vec![]).await.err().unwrap().message
    };
    write(vec![("a", Arc::new(StringArray::from(vec!["1"])))]);
    assert!(open().await.ends_with("column \"a\" is VARCHAR, which BIGINT does not hold"));
    write(vec![("b", Arc::new(StringArray::from(vec!["1"])))]);
    assert!(open().await.ends_with("column \"a\" is missing, but it is NOT NULL"));
    std::fs::write(&path, "{\"a\":1}").unwrap();
    assert!(open().await.contains("is no readable Parquet file"));
}

#[test]
fn rows_that_are_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let changes = ChangeBatch::weighted(batch(&[1, 2, 4]), Int64Array::from(vec![1, -1, 2]));
    let encoded = super::sink(&spec(folder.path(), "JSON", &[])).unwrap().encode(&changes).unwrap();
    assert_eq!(
        encoded.payload,
        "{\"a\":1,\"b\":\"é,\\\"1\"}\n{\"a\":4,\"b\":\"é,\\\"4\"}\n{\"a\":4,\"b\":\"é,\\\"4\"}\n"
    );
    assert_eq!(encoded.refused, [(1, "the row is taken back, which this sink can't do".to_string())]);
    let forced = super::sink(&spec(folder.path(), "JSON", &[("force_append_only", "true")])).unwrap();
    assert_eq!(forced.encode(&changes).unwrap().refused, []);
}

#[test]
fn mistakes_are_named() {
    let message = |spec: &ConnectorSpec| super::source(spec).err().unwrap().to_string();
    let path = Path::new("/nowhere");
    assert_eq!(
        message(&spec(path, "JSON", &[("mode", "tail")])),
        "option \"mode\" takes one of bounded, watch, not \"tail\""
    );
    assert!(message(&spec(path, "JSON", &[("paths", "x")])).starts_with("connector 'file' has no option \"paths\""));
    let mut nothing = spec(path, "JSON", &[]);
    nothing.options.clear();
    assert_eq!(message(&nothing), "connector 'file' needs option \"path\"");
    let error = super::sink(&spec(Path::new("/x/*"), "JSON", &[])).err().unwrap();
    assert!(error.message.contains("takes no pattern"));
}
