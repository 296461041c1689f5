//! The decoders against every kind of bad input, and both directions against each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use millstream_runtime::source::{ColumnOrigin, ConnectorSpec, FormatSpec, Position, RejectedRecord};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::encode::JsonRows;
use super::scan::Scanner;
use crate::formats::csv::{CsvOptions, CsvRows};
use crate::formats::{Decoded, Decoder, Record};

fn timestamp(zoned: bool) -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, zoned.then(|| "UTC".into()))
}

fn spec(encode: &str, fields: Vec<Field>) -> ConnectorSpec {
    ConnectorSpec {
        relation: "r".into(),
        connector: "kafka".into(),
        options: BTreeMap::new(),
        format: Some(FormatSpec { format: "PLAIN".into(), encode: encode.into(), options: BTreeMap::new() }),
        origins: vec![ColumnOrigin::Field; fields.len()],
        schema: Arc::new(Schema::new(fields)),
        primary_key: Vec::new(),
        keeps_raw: false,
    }
}

/// `id BIGINT NOT NULL`, then nullable columns of other types.
fn wide() -> ConnectorSpec {
    let nested =
        DataType::Struct(vec![Field::new("x", DataType::Int32, true), Field::new("y", DataType::Utf8, true)].into());
    let list = |element| DataType::List(Arc::new(Field::new_list_field(element, true)));
    spec(
        "JSON",
        vec![
            Field::new("id", DataType::Int64, false),
            Field::new("price", DataType::Int64, true),
            Field::new("small", DataType::Int16, true),
            Field::new("real", DataType::Float32, true),
            Field::new("double", DataType::Float64, true),
            Field::new("money", DataType::Decimal128(10, 2), true),
            Field::new("name", DataType::Utf8, true),
            Field::new("flag", DataType::Boolean, true),
            Field::new("raw", DataType::Binary, true),
            Field::new("day", DataType::Date32, true),
            Field::new("clock", DataType::Time64(TimeUnit::Microsecond), true),
            Field::new("ts", timestamp(false), true),
            Field::new("tz", timestamp(true), true),
            Field::new("uid", DataType::FixedSizeBinary(16), true),
            Field::new("nested", nested, true),
            Field::new("list", list(DataType::Int64), true),
            Field::new("doc", DataType::LargeUtf8, true),
            Field::new("big", DataType::Decimal256(60, 0), true),
            Field::new("texts", list(list(DataType::Utf8)), true),
        ],
    )
}

fn decode<'a>(spec: &ConnectorSpec, columns: &[usize], records: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    let mut decoder = Decoder::new(spec, columns).unwrap();
    for (position, record) in records.into_iter().enumerate() {
        decoder.push(Record::plain(Position(position as u64), record));
    }
    decoder.finish().unwrap()
}

fn all_columns(spec: &ConnectorSpec) -> Vec<usize> {
    (0..spec.schema.fields().len()).collect()
}

/// Bad records of [`wide`] with their reasons.
fn bad_records() -> Vec<(Vec<u8>, String)> {
    let text = |record: &str, reason: &str| (record.as_bytes().to_vec(), reason.to_string());
    let deep = format!("{{\"id\":1,\"doc\":{}1{}}}", "[".repeat(128), "]".repeat(128));
    let field = |value: &str, reason: &str| {
        let (name, value) = value.split_once('=').unwrap();
        text(&format!("{{\"id\":1,\"{name}\":{value}}}"), &format!("column \"{name}\": {reason}"))
    };
    vec![
        text("", "the record is empty"),
        text("  \n ", "the record is empty"),
        text("{\"id\":1", "the JSON ends at byte 7, where \",\" or \"}\" was expected: truncated?"),
        text("{\"id\":1,\"name\":\"ab", "the JSON ends at byte 18, where the end of a string was expected: truncated?"),
        text(
            "{\"id\":1,\"name\":\"ab\\",
            "the JSON ends at byte 19, where the end of a string was expected: truncated?",
        ),
        text("{\"id\":1,\"flag\":tru", "the JSON ends at byte 18, where a value was expected: truncated?"),
        text("{\"id\":1}{\"id\":2}", "more than one JSON value in the record: another begins at byte 8"),
        text("{\"id\":1} x", "more than one JSON value in the record: another begins at byte 9"),
        text("nonsense", "malformed JSON at byte 0: expected a value, got 'n'"),
        text("[1]", "expected a JSON object, got [1]"),
        text("17", "expected a JSON object, got 17"),
        text("{id:1}", "malformed JSON at byte 1: expected a field name in double quotes, got 'i'"),
        text("{\"id\" 1}", "malformed JSON at byte 6: expected \":\", got '1'"),
        text("{\"id\":1,}", "malformed JSON at byte 8: expected a field name in double quotes, got '}'"),
        text("{\"id\":01}", "a number with a leading zero at byte 6"),
        text("{\"id\":+1}", "malformed JSON at byte 6: expected a value, got '+'"),
        text("{\"id\":1.}", "malformed JSON at byte 8: expected a digit, got '}'"),
        text("{\"id\":1,\"name\":\"a\tb\"}", "a control character in a string at byte 17"),
        text("{\"id\":1,\"name\":\"\\x\"}", "an unknown escape sequence in a string at byte 16"),
        text("{\"id\":1,\"name\":\"\\u12g4\"}", "an unfinished \\u escape in a string at byte 16"),
        text("{\"id\":1,\"name\":\"\\ud800\"}", "half of a surrogate pair in a string at byte 16"),
        text("{\"id\":1,\"other\":\"\\udc00\"}", "half of a surrogate pair in a string at byte 17"),
        (b"{\"id\":1,\"name\":\"\xff\"}".to_vec(), "the record is not UTF-8 at byte 16".to_string()),
        text(&deep, "the JSON is nested more than 128 levels deep"),
        text("{}", "column \"id\" is NOT NULL, but the field is missing"),
        text("{\"id\":null}", "column \"id\" is NOT NULL, but the field is null"),
        text("{\"id\":\"1\"}", "column \"id\": expected BIGINT, got string \"1\""),
        field("price=\"abc\"", "expected BIGINT, got string \"abc\""),
        field("price=1.5", "expected BIGINT, got 1.5"),
        field("price=true", "expected BIGINT, got boolean true"),
        field("price={\"a\":[1]}", "expected BIGINT, got object {\"a\":[1]}"),
        field("price=9223372036854775808", "9223372036854775808 is out of range for BIGINT"),
        field("small=32768", "32768 is out of range for SMALLINT"),
        field("small=-99999999999999999999999", "-99999999999999999999999 is out of range for SMALLINT"),
        field("real=1e39", "1e39 is out of range for REAL"),
        field("double=1e999", "1e999 is out of range for DOUBLE PRECISION"),
        field("double=\"1\"", "expected DOUBLE PRECISION, got string \"1\""),
        field("money=123456789", "123456789 is out of range for NUMERIC(10, 2)"),
        field("money=1.234", "1.234 has more than 2 digits behind the point, which NUMERIC(10, 2) can't hold"),
        field("money=\"x\"", "expected NUMERIC(10, 2), got \"x\""),
        field("name=5", "expected VARCHAR, got number 5"),
        field("flag=1", "expected BOOLEAN, got number 1"),
        field("flag=\"true\"", "expected BOOLEAN, got string \"true\""),
        field("raw=\"%\"", "expected base64 (or \\x and hexadecimal digits), got \"%\""),
        field("day=\"2024-02-30\"", "expected DATE, got \"2024-02-30\""),
        field("day=19000", "expected DATE, got number 19000"),
        field("clock=\"25:00\"", "expected TIME, got \"25:00\""),
        field("ts=\"yesterday\"", "expected TIMESTAMP, got \"yesterday\""),
        field(
            "ts=\"2024-01-01T00:00:00+01:00\"",
            "\"2024-01-01T00:00:00+01:00\" has an offset from UTC: declare the column as TIMESTAMPTZ",
        ),
        field("ts=9223372036854775807", "9223372036854775807 is out of range for TIMESTAMP"),
        field("uid=\"x\"", "expected UUID, got \"x\""),
        field("nested=[]", "expected STRUCT<x INTEGER, y VARCHAR>, got array []"),
        text("{\"id\":1,\"nested\":{\"x\":\"1\"}}", "column \"nested.x\": expected INTEGER, got string \"1\""),
        text("{\"id\":1,\"list\":[1,null,\"x\"]}", "column \"list[3]\": expected BIGINT, got string \"x\""),
        field("list=3", "expected BIGINT[], got number 3"),
        text("{\"id\":1,\"texts\":[[\"a\"],[1]]}", "column \"texts[2][1]\": expected VARCHAR, got number 1"),
        text("{\"id\":1,\"id\":\"x\"}", "column \"id\": expected BIGINT, got string \"x\""),
    ]
}

const GOOD: &str = r#"{"id":7,"price":1,"name":"a","nested":{"x":1,"y":"b"},"list":[1,2],"texts":[["c"],null]}"#;

#[test]
fn bad_records_are_named_and_disturb_nobody() {
    let spec = wide();
    let bad = bad_records();
    let records = bad.iter().flat_map(|(record, _)| [record.as_slice(), GOOD.as_bytes()]);
    let mut expected = None;
    for columns in [all_columns(&spec), vec![], vec![15, 0], vec![6]] {
        let decoded = decode(&spec, &columns, records.clone());
        let reasons = |rejected: &[RejectedRecord]| {
            rejected.iter().map(|record| (record.position, record.reason.clone())).collect::<Vec<_>>()
        };
        for (index, (record, reason)) in bad.iter().enumerate() {
            let found = decoded.rejected.iter().find(|rejected| rejected.position.0 == 2 * index as u64);
            let found = found.unwrap_or_else(|| panic!("accepted: {}", String::from_utf8_lossy(record)));
            assert_eq!(found.reason, *reason, "{}", String::from_utf8_lossy(record));
            assert_eq!(found.raw, *record);
        }
        assert_eq!(decoded.rejected.len(), bad.len());
        // Whatever is built, the same records are accepted.
        let expected = expected.get_or_insert_with(|| (decoded.positions.clone(), reasons(&decoded.rejected)));
        assert_eq!(*expected, (decoded.positions.clone(), reasons(&decoded.rejected)));
        let alone = decode(&spec, &columns, std::iter::repeat_n(GOOD.as_bytes(), bad.len()));
        assert_eq!(decoded.rows, alone.rows, "columns {columns:?}");
    }
}

#[test]
fn nonsense_is_cut() {
    let nonsense: Vec<u8> = (0..1_u32 << 20).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let decoded = decode(&wide(), &[0], [nonsense.as_slice(), &b"{\"a\":".repeat(200_000), GOOD.as_bytes()]);
    assert_eq!(decoded.positions, [Position(2)]);
    assert_eq!(decoded.rejected.len(), 2);
    let lengths: Vec<_> = decoded.rejected.iter().map(|record| record.raw.len()).collect();
    assert_eq!(lengths, [millstream_runtime::limits::REJECTED_RAW_BYTES; 2]);
    assert_eq!(decoded.rejected[1].reason, "the JSON is nested more than 128 levels deep");
}

#[test]
fn values_of_every_type() {
    let spec = wide();
    let cases = [
        ("price", "-9223372036854775808", "-9223372036854775808"),
        ("price", "9223372036854775807", "9223372036854775807"),
        ("real", "0.1", "0.1"),
        ("double", "-0", "-0.0"),
        ("double", "12345678901234567890", "1.2345678901234567e19"),
        ("money", "1e2", "100"),
        ("money", "\"-12.50\"", "-12.5"),
        (
            "big",
            "123456789012345678901234567890123456789012345678901234567890",
            "123456789012345678901234567890123456789012345678901234567890",
        ),
        ("name", r#""\u00e9\ud83d\ude00\n\/""#, "\"é😀\\n/\""),
        ("raw", "\"aGk\"", "\"aGk=\""),
        ("raw", r#""\\x6869""#, "\"aGk=\""),
        ("day", "\"2024-02-29\"", "\"2024-02-29\""),
        ("clock", "\"12:34\"", "\"12:34:00\""),
        ("ts", "1704067200123", "\"2024-01-01T00:00:00.123\""),
        ("ts", "\"2024-01-01 00:00:00.5\"", "\"2024-01-01T00:00:00.500\""),
        ("ts", "\"2024-01-01T00:00:00.000001Z\"", "\"2024-01-01T00:00:00.000001\""),
        ("tz", "\"2024-01-01T01:00:00+01:00\"", "\"2024-01-01T00:00:00Z\""),
        ("uid", "\"F47AC10B-58CC-4372-A567-0E02B2C3D479\"", "\"f47ac10b-58cc-4372-a567-0e02b2c3d479\""),
        ("nested", "{\"y\":null,\"X\":3,\"z\":[]}", "{\"x\":3,\"y\":null}"),
        ("list", "[]", "[]"),
        ("list", "[1 , null]", "[1,null]"),
        ("doc", "{\"a\" :\n[1e5]}", "{\"a\": [100000]}"),
        ("texts", "[null,[],[\"x\"]]", "[null,[],[\"x\"]]"),
    ];
    for (name, value, expected) in cases {
        let record = format!("{{ \"id\" : 1 , \"{name}\" : {value} }}");
        let column = spec.schema.index_of(name).unwrap();
        let decoded = decode(&spec, &[column], [record.as_bytes()]);
        assert!(decoded.rejected.is_empty(), "{record}: {}", decoded.rejected[0].reason);
        let mut out = Vec::new();
        JsonRows::new(&decoded.rows).unwrap().write(0, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("{{\"{name}\":{expected}}}"));
    }
}

#[test]
fn names_and_duplicates() {
    let spec = spec("JSON", vec![Field::new("a", DataType::Int64, true), Field::new("B", DataType::Int64, true)]);
    let cases = [
        (r#"{"a":1,"B":2}"#, Some(1), Some(2)),
        (r#"{"A":1,"b":2}"#, Some(1), Some(2)),
        (r#"{"a":1,"A":9,"B":2}"#, Some(1), Some(2)),
        (r#"{"A":9,"a":1}"#, Some(1), None),
        (r#"{"a":1,"a":3}"#, Some(3), None),
        (r#"{"a":"wrong","a":3}"#, Some(3), None),
        (r#"{"a":3,"a":null}"#, None, None),
        (r#"{"\u0061":4}"#, Some(4), None),
        (r#"{"B":1,"a":2,"c":{"a":7}}"#, Some(2), Some(1)),
        ("{}", None, None),
    ];
    let decoded = decode(&spec, &[0, 1], cases.iter().map(|(record, ..)| record.as_bytes()));
    assert_eq!(decoded.rejected, []);
    for (column, expected) in [
        (0, cases.iter().map(|case| case.1).collect::<Vec<_>>()),
        (1, cases.iter().map(|case| case.2).collect::<Vec<_>>()),
    ] {
        let found: Vec<_> = decoded.rows.column(column).as_primitive::<Int64Type>().iter().collect();
        assert_eq!(found, expected, "column {column}");
    }
}

#[test]
fn the_scanner_accepts_what_serde_json_accepts() {
    let seed = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    let samples = [
        GOOD,
        r#"{"a":[1,-2.5e+10,0.0E-1,true,false,null,"\u00e9\ud83d\ude00\\\"/"],"b":{},"c":[[],{"d":{}}]}"#,
        r#" [ 1 , { "x" : "y" } , -0 , 1e5 ] "#,
    ];
    let letters = br#"{}[]",:\u0123456789-+.eEtrufalsn x"#;
    for case in 0..60_000 {
        let mut text = samples[case % samples.len()].as_bytes().to_vec();
        for _ in 0..random.random_range(0..3) {
            let at = random.random_range(0..text.len());
            match random.random_range(0..3) {
                0 => text[at] = letters[random.random_range(0..letters.len())],
                1 => text.insert(at, letters[random.random_range(0..letters.len())]),
                _ => {
                    text.remove(at);
                }
            }
        }
        let Ok(text) = String::from_utf8(text) else { continue };
        let mut scanner = Scanner::new(&text);
        let ours = scanner.skip().is_ok() && scanner.peek().is_none();
        let theirs = match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(_) => true,
            // A number that overflows a float ends serde_json's reading; what it is to us depends on the column.
            Err(error) if error.to_string().starts_with("number out of range") => continue,
            Err(_) => false,
        };
        assert_eq!(ours, theirs, "seed {seed}: {text}");
    }
}

/// Random rows of the schema, nulls everywhere they may be.
fn random_rows(random: &mut StdRng, schema: &Arc<Schema>, rows: usize) -> RecordBatch {
    let columns = schema.fields().iter().map(|field| random_column(random, field, rows)).collect();
    RecordBatch::try_new(Arc::clone(schema), columns).unwrap()
}

fn random_column(random: &mut StdRng, field: &Field, rows: usize) -> ArrayRef {
    use arrow::array::*;
    let null = |random: &mut StdRng| field.is_nullable() && random.random_ratio(1, 4);
    macro_rules! made {
        ($array:ty, $make:expr) => {{
            let make: fn(&mut StdRng) -> _ = $make;
            let values = (0..rows).map(|_| if null(random) { None } else { Some(make(random)) });
            Arc::new(values.collect::<$array>())
        }};
    }
    match field.data_type() {
        DataType::Int64 => made!(Int64Array, |random| random.random::<i64>() >> random.random_range(0..63)),
        DataType::Int16 => made!(Int16Array, |random| random.random::<i16>()),
        DataType::Int32 => made!(Int32Array, |random| random.random::<i32>()),
        DataType::Boolean => made!(BooleanArray, |random| random.random::<bool>()),
        DataType::Float32 => made!(Float32Array, |random| loop {
            let value = f32::from_bits(random.random());
            if value.is_finite() {
                break value;
            }
        }),
        DataType::Float64 => made!(Float64Array, |random| loop {
            let value = f64::from_bits(random.random());
            if value.is_finite() {
                break value;
            }
        }),
        DataType::LargeUtf8 => {
            made!(LargeStringArray, |random| format!("{{\"a\": [{}]}}", random.random::<u8>()))
        }
        DataType::Utf8 => made!(StringArray, |random| {
            let letters: Vec<char> = "ab\"\\\n\t,é😀\u{1}; ".chars().collect();
            (0..random.random_range(0..9)).map(|_| letters[random.random_range(0..letters.len())]).collect::<String>()
        }),
        DataType::Binary => made!(BinaryArray, |random| {
            (0..random.random_range(0..9)).map(|_| random.random()).collect::<Vec<u8>>()
        }),
        DataType::Date32 => made!(Date32Array, |random| random.random_range(-719_162..2_932_896)),
        DataType::Time64(_) => {
            made!(Time64MicrosecondArray, |random| random.random_range(0..86_400_000_000_i64))
        }
        DataType::Timestamp(_, zone) => {
            let values = (0..rows).map(|_| {
                (!null(random)).then(|| random.random_range(-62_135_596_800_000_000..253_402_300_800_000_000_i64))
            });
            Arc::new(values.collect::<TimestampMicrosecondArray>().with_timezone_opt(zone.clone()))
        }
        DataType::Decimal128(precision, scale) => {
            let limit = 10_i128.pow(u32::from(*precision));
            let values = (0..rows).map(|_| (!null(random)).then(|| random.random_range(1 - limit..limit)));
            let array = values.collect::<Decimal128Array>();
            Arc::new(array.with_precision_and_scale(*precision, *scale).unwrap())
        }
        DataType::Decimal256(precision, scale) => {
            let values = (0..rows).map(|_| {
                let wide = arrow::datatypes::i256::from_i128(random.random());
                (!null(random)).then(|| wide.wrapping_mul(arrow::datatypes::i256::from_i128(1_000_000_007)))
            });
            let array = values.collect::<Decimal256Array>();
            Arc::new(array.with_precision_and_scale(*precision, *scale).unwrap())
        }
        DataType::FixedSizeBinary(16) => {
            let mut builder = FixedSizeBinaryBuilder::new(16);
            for _ in 0..rows {
                if null(random) {
                    builder.append_null();
                } else {
                    builder.append_value(random.random::<[u8; 16]>()).unwrap();
                }
            }
            Arc::new(builder.finish())
        }
        DataType::List(element) => {
            let lengths: Vec<Option<usize>> =
                (0..rows).map(|_| (!null(random)).then(|| random.random_range(0..4))).collect();
            let elements = random_column(random, element, lengths.iter().flatten().sum());
            let offsets = arrow::buffer::OffsetBuffer::from_lengths(lengths.iter().map(|length| length.unwrap_or(0)));
            let nulls: Vec<bool> = lengths.iter().map(Option::is_some).collect();
            Arc::new(ListArray::new(Arc::clone(element), offsets, elements, Some(nulls.into())))
        }
        DataType::Struct(fields) => {
            let nulls: Vec<bool> = (0..rows).map(|_| !null(random)).collect();
            let columns = fields.iter().map(|field| {
                let column = random_column(random, field, rows);
                // Below a null struct everything is null, as a decoder leaves it.
                let mask = BooleanArray::from(nulls.clone());
                arrow::compute::kernels::zip::zip(&mask, &column, &new_null_array(field.data_type(), rows)).unwrap()
            });
            let columns = columns.collect();
            Arc::new(StructArray::new(fields.clone(), columns, Some(nulls.into())))
        }
        other => unreachable!("{other}"),
    }
}

#[test]
fn what_is_encoded_is_decoded_again() {
    let seed = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    let spec = wide();
    for _ in 0..40 {
        let rows = random_rows(&mut random, &spec.schema, 30);
        let encoder = JsonRows::new(&rows).unwrap();
        let lines = (0..rows.num_rows()).map(|row| {
            let mut out = Vec::new();
            encoder.write(row, &mut out).unwrap();
            assert!(!out.contains(&b'\n'));
            out
        });
        let lines: Vec<_> = lines.collect();
        let decoded = decode(&spec, &all_columns(&spec), lines.iter().map(Vec::as_slice));
        assert_eq!(decoded.rejected, [], "seed {seed}");
        assert_eq!(decoded.rows, rows, "seed {seed}");
    }
}

#[test]
fn csv_is_decoded_again() {
    let seed = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    let schema = wide().schema;
    let fields = schema.fields().iter().filter(|field| !field.data_type().is_nested()).cloned();
    let fields: Vec<Field> = fields.map(|field| field.as_ref().clone()).collect();
    let mut spec = spec("CSV", fields);
    let options = BTreeMap::from([("delimiter".into(), ";".into()), ("null".into(), "b".into())]);
    spec.format.as_mut().unwrap().options = options;
    let options = CsvOptions::of(spec.format.as_ref().unwrap()).unwrap();
    for _ in 0..40 {
        let rows = random_rows(&mut random, &spec.schema, 30);
        let encoder = CsvRows::new(&rows, &options).unwrap();
        let mut file = Vec::new();
        (0..rows.num_rows()).for_each(|row| encoder.write(row, &mut file).unwrap());
        let mut decoder = Decoder::new(&spec, &all_columns(&spec)).unwrap();
        let mut rest = file.as_slice();
        while let Some(length) = decoder.record_length(rest) {
            decoder.push(Record::plain(Position(0), &rest[..length]));
            rest = &rest[length..];
        }
        let decoded = decoder.finish().unwrap();
        assert_eq!(decoded.rejected, [], "seed {seed}");
        assert_eq!(decoded.rows, rows, "seed {seed}");
        let reader = csv::ReaderBuilder::new().delimiter(b';').has_headers(false).from_reader(file.as_slice());
        assert_eq!(reader.into_records().filter(Result::is_ok).count(), rows.num_rows(), "seed {seed}");
    }
}

#[test]
fn bad_csv_is_named() {
    let fields = vec![Field::new("a", DataType::Int64, false), Field::new("b", DataType::Utf8, true)];
    let spec = spec("CSV", fields);
    let bad = [
        ("", "the record is empty"),
        ("1", "expected 2 fields, got 1"),
        ("1,2,3", "expected 2 fields, got 3"),
        ("x,2", "column \"a\": expected BIGINT, got \"x\""),
        (" 1,2", "column \"a\": expected BIGINT, got \" 1\""),
        ("9223372036854775808,2", "column \"a\": 9223372036854775808 is out of range for BIGINT"),
        (",2", "column \"a\" is NOT NULL, but the field is null"),
        ("1,\"2", "a quoted field does not end: truncated?"),
        ("1,\"2\"3", "text behind the closing quote of field 2"),
        ("1,2\n3,4", "more than one line in the record"),
    ];
    let records = bad.iter().flat_map(|(record, _)| [record.as_bytes(), b"1,\"x\"\"y\"\r\n".as_slice()]);
    let decoded = decode(&spec, &[1, 0], records);
    let reasons: Vec<_> = decoded.rejected.iter().map(|record| record.reason.as_str()).collect();
    assert_eq!(reasons, bad.map(|(_, reason)| reason));
    assert_eq!(decoded.rows.num_rows(), bad.len());
    assert!(decoded.rows.column(0).as_string::<i32>().iter().all(|text| text == Some("x\"y")));
}

#[test]
fn columns_beside_the_payload() {
    let header = DataType::Struct(
        vec![Field::new("key", DataType::Utf8, true), Field::new("value", DataType::Binary, true)].into(),
    );
    let mut spec = spec(
        "BYTES",
        vec![
            Field::new("payload", DataType::Binary, true),
            Field::new("key", DataType::Utf8, true),
            Field::new("partition", DataType::Int32, true),
            Field::new("offset", DataType::Int64, true),
            Field::new("timestamp", timestamp(true), true),
            Field::new("headers", DataType::List(Arc::new(Field::new_list_field(header, true))), true),
        ],
    );
    use ColumnOrigin::{Field as Payload, Headers, Key, Offset, Partition, Timestamp};
    spec.origins = vec![Payload, Key, Partition, Offset, Timestamp, Headers];
    let mut decoder = Decoder::new(&spec, &[0, 1, 2, 3, 4, 5]).unwrap();
    let headers = [("h", Some(b"1".as_slice())), ("h", None)];
    let record = Record {
        position: Position(5),
        payload: Some(b"\xff"),
        key: Some(b"k"),
        partition: Some(3),
        timestamp_millis: Some(1),
        headers: &headers,
    };
    decoder.push(record);
    decoder.push(Record { position: Position(6), key: Some(b"\xff"), ..record });
    decoder.push(Record { position: Position(7), payload: None, key: None, headers: &[], ..record });
    let decoded = decoder.finish().unwrap();
    assert_eq!(decoded.positions, [Position(5), Position(7)]);
    assert_eq!(decoded.rejected[0].reason, "column \"key\": the bytes are not UTF-8 at byte 0");
    let mut out = Vec::new();
    let rows = JsonRows::new(&decoded.rows).unwrap();
    rows.write(0, &mut out).unwrap();
    out.push(b'\n');
    rows.write(1, &mut out).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        concat!(
            r#"{"payload":"/w==","key":"k","partition":3,"offset":5,"timestamp":"1970-01-01T00:00:00.001Z","#,
            r#""headers":[{"key":"h","value":"MQ=="},{"key":"h","value":null}]}"#,
            "\n",
            r#"{"payload":null,"key":null,"partition":3,"offset":7,"timestamp":"1970-01-01T00:00:00.001Z","headers":[]}"#,
        )
    );
}

#[test]
fn declarations_that_make_no_sense() {
    let message = |spec: &ConnectorSpec| Decoder::new(spec, &[]).err().unwrap().to_string();
    let field = || vec![Field::new("a", DataType::Int64, true)];
    let mut upsert = spec("JSON", field());
    upsert.format.as_mut().unwrap().format = "UPSERT".into();
    assert_eq!(message(&upsert), "FORMAT UPSERT is not supported for sources (Use FORMAT PLAIN.)");
    assert!(message(&spec("AVRO", field())).starts_with("connector 'kafka' can't read ENCODE AVRO"));
    assert!(message(&spec("BYTES", field())).starts_with("ENCODE BYTES gives exactly one column"));
    let interval = DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano);
    let interval = spec("JSON", vec![Field::new("a", interval, true)]);
    assert!(message(&interval).starts_with("column \"a\": a record has no values of type INTERVAL"));
    let mut option = spec("JSON", field());
    option.format.as_mut().unwrap().options.insert("lenient".into(), "true".into());
    assert!(message(&option).starts_with("ENCODE JSON has no option \"lenient\" (It knows "));
    let mut header = spec("CSV", field());
    header.format.as_mut().unwrap().options.insert("header".into(), "true".into());
    assert!(message(&header).starts_with("connector 'kafka' has no place for a CSV header"));
    let mut included = spec("JSON", field());
    included.origins = vec![ColumnOrigin::Headers];
    assert!(message(&included).contains("but INCLUDE gives it STRUCT<key VARCHAR, value BYTEA>[]"));
}
