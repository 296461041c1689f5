//! Whole columns through the encoder, and parameters back: literal expectations that are Postgres'.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array, DictionaryArray,
    DurationSecondArray, FixedSizeBinaryArray, Float16Array, Float32Array, Float64Array, Int8Array, Int16Array,
    Int32Array, Int64Array, IntervalDayTimeArray, IntervalYearMonthArray, LargeBinaryArray, LargeStringArray,
    ListArray, MapBuilder, NullArray, RecordBatch, StringArray, StringBuilder, StringViewArray, StructArray,
    Time32SecondArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
    TimestampSecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int32Type, IntervalDayTime, Schema, TimeUnit, i256};
use bytes::{Buf, Bytes, BytesMut};
use datafusion::common::ScalarValue;

use super::{ColumnType, DisplaySettings, Kind, RowEncoder, TYPE_METADATA, Zone, parameter};
use crate::session::SqlError;

fn encode(field: &Field, array: &ArrayRef, format: i16, row: usize) -> Result<Option<Vec<u8>>, SqlError> {
    let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field.clone()])), vec![Arc::clone(array)]).unwrap();
    let column = ColumnType::of_field(field)?;
    let display = DisplaySettings { style: Zone::named("Europe/Berlin").unwrap().into() };
    let encoder = RowEncoder::new(&batch, &[column], &[format], display)?;
    let mut output = BytesMut::new();
    encoder.put_row(row, &mut output)?;
    assert_eq!(output.get_i16(), 1);
    let length = output.get_i32();
    assert_eq!(output.len(), usize::try_from(length).unwrap_or(0));
    Ok((length >= 0).then(|| output.to_vec()))
}

fn plain(array: ArrayRef) -> (Field, ArrayRef) {
    (Field::new("c", array.data_type().clone(), true), array)
}

fn typed(array: ArrayRef, name: &str) -> (Field, ArrayRef) {
    let metadata = HashMap::from([(TYPE_METADATA.to_owned(), name.to_owned())]);
    (Field::new("c", array.data_type().clone(), true).with_metadata(metadata), array)
}

/// Checks the OID and the text of every row; `None` is NULL.
fn check((field, array): (Field, ArrayRef), oid: u32, texts: &[Option<&str>]) {
    assert_eq!(ColumnType::of_field(&field).unwrap().oid(), oid, "{field}");
    assert_eq!(array.len(), texts.len());
    for (row, expected) in texts.iter().enumerate() {
        let text = encode(&field, &array, 0, row).unwrap().map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(text.as_deref(), *expected, "{field} row {row}");
    }
}

fn int_list(rows: &[Option<&[Option<i32>]>]) -> ArrayRef {
    let rows = rows.iter().map(|row| row.map(<[Option<i32>]>::to_vec));
    Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(rows))
}

fn list_of(values: ArrayRef, lengths: &[usize]) -> ArrayRef {
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
    Arc::new(ListArray::new(field, offsets, values, None))
}

#[test]
fn numbers_and_booleans() {
    check(plain(Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]))), 16, &[Some("t"), Some("f"), None]);
    check(plain(Arc::new(Int8Array::from(vec![-128]))), 21, &[Some("-128")]);
    check(plain(Arc::new(UInt8Array::from(vec![255]))), 21, &[Some("255")]);
    check(plain(Arc::new(Int16Array::from(vec![i16::MIN]))), 21, &[Some("-32768")]);
    check(plain(Arc::new(UInt16Array::from(vec![u16::MAX]))), 23, &[Some("65535")]);
    check(plain(Arc::new(Int32Array::from(vec![i32::MIN]))), 23, &[Some("-2147483648")]);
    check(plain(Arc::new(UInt32Array::from(vec![u32::MAX]))), 20, &[Some("4294967295")]);
    check(plain(Arc::new(Int64Array::from(vec![i64::MIN]))), 20, &[Some("-9223372036854775808")]);
    check(plain(Arc::new(UInt64Array::from(vec![u64::MAX]))), 1700, &[Some("18446744073709551615")]);
    let half = Float16Array::from(vec![
        <arrow::datatypes::Float16Type as arrow::datatypes::ArrowPrimitiveType>::Native::default(),
    ]);
    check(plain(Arc::new(half)), 700, &[Some("0")]);
    check(plain(Arc::new(Float32Array::from(vec![1.5, f32::INFINITY]))), 700, &[Some("1.5"), Some("Infinity")]);
    check(plain(Arc::new(Float64Array::from(vec![1e300, -0.0]))), 701, &[Some("1e+300"), Some("-0")]);
    let decimal = Decimal128Array::from(vec![Some(1_500), Some(-1), None]).with_precision_and_scale(10, 3).unwrap();
    check(plain(Arc::new(decimal)), 1700, &[Some("1.5"), Some("-0.001"), None]);
    let wide = i256::from_string("-99999999999999999999999999999999999999999999999990").unwrap();
    let decimal = Decimal256Array::from(vec![wide]).with_precision_and_scale(60, 1).unwrap();
    check(plain(Arc::new(decimal)), 1700, &[Some("-9999999999999999999999999999999999999999999999999")]);
}

#[test]
fn texts_and_bytes() {
    check(
        plain(Arc::new(StringArray::from(vec![Some(""), Some("ä\\\"b"), None]))),
        25,
        &[Some(""), Some("ä\\\"b"), None],
    );
    check(plain(Arc::new(LargeStringArray::from(vec!["1"]))), 3802, &[Some("1")]);
    check(plain(Arc::new(LargeBinaryArray::from(vec![&b" 1"[..]]))), 114, &[Some(" 1")]);
    check(
        plain(Arc::new(StringViewArray::from(vec!["a text that is too long to be inlined"]))),
        1042,
        &[Some("a text that is too long to be inlined")],
    );
    check(plain(Arc::new(BinaryArray::from(vec![&b"\x00\xffA"[..], b""]))), 17, &[Some("\\x00ff41"), Some("\\x")]);
    let dictionary: DictionaryArray<Int32Type> = vec![Some("a"), None, Some("a")].into_iter().collect();
    check(plain(Arc::new(dictionary)), 25, &[Some("a"), None, Some("a")]);
    check(plain(Arc::new(NullArray::new(1))), 25, &[None]);
    let uuid = FixedSizeBinaryArray::try_from_iter([[0xa0; 16]].into_iter()).unwrap();
    check(typed(Arc::new(uuid), "uuid"), 2950, &[Some("a0a0a0a0-a0a0-a0a0-a0a0-a0a0a0a0a0a0")]);
    check(typed(Arc::new(StringArray::from(vec!["{\"a\": 1}"])), "jsonb"), 3802, &[Some("{\"a\": 1}")]);
    check(typed(Arc::new(Int32Array::from(vec![16_384])), "oid"), 26, &[Some("16384")]);
    check(typed(Arc::new(StringArray::from(vec!["pg_class"])), "name"), 19, &[Some("pg_class")]);
}

#[test]
fn dates_and_times_of_every_unit() {
    check(plain(Arc::new(Date32Array::from(vec![19_782]))), 1082, &[Some("2024-02-29")]);
    check(plain(Arc::new(Time32SecondArray::from(vec![3_661]))), 1083, &[Some("01:01:01")]);
    check(plain(Arc::new(TimestampSecondArray::from(vec![0]))), 1114, &[Some("1970-01-01 00:00:00")]);
    check(plain(Arc::new(TimestampMillisecondArray::from(vec![1]))), 1114, &[Some("1970-01-01 00:00:00.001")]);
    check(plain(Arc::new(TimestampNanosecondArray::from(vec![1_500]))), 1114, &[Some("1970-01-01 00:00:00.000001")]);
    let zoned = TimestampMicrosecondArray::from(vec![1_720_000_000_500_000]).with_timezone("UTC");
    check(plain(Arc::new(zoned)), 1184, &[Some("2024-07-03 11:46:40.5+02")]);
    check(plain(Arc::new(IntervalYearMonthArray::from(vec![14]))), 1186, &[Some("1 year 2 mons")]);
    let day_time = IntervalDayTimeArray::from(vec![IntervalDayTime::new(1, 500)]);
    check(plain(Arc::new(day_time)), 1186, &[Some("1 day 00:00:00.5")]);
    check(plain(Arc::new(DurationSecondArray::from(vec![90_061]))), 1186, &[Some("25:01:01")]);
}

#[test]
fn nulls_stay_nulls_in_every_type_and_format() {
    let none_of = |data_type: &DataType| arrow::array::new_null_array(data_type, 1);
    let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let types = [
        DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano),
        DataType::Interval(arrow::datatypes::IntervalUnit::YearMonth),
        DataType::Duration(TimeUnit::Microsecond),
        DataType::Date32,
        DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(TimeUnit::Nanosecond, None),
        zoned,
        DataType::Decimal128(38, 16),
        DataType::Decimal256(60, 1),
        DataType::Float64,
        DataType::Boolean,
        DataType::Utf8,
        DataType::Binary,
        DataType::FixedSizeBinary(16),
        int_list(&[]).data_type().clone(),
        record().data_type().clone(),
    ];
    for data_type in &types {
        let (field, array) = plain(none_of(data_type));
        for format in [0, 1] {
            assert_eq!(encode(&field, &array, format, 0).unwrap(), None, "{data_type} in format {format}");
        }
    }
    // In a record and in an array they are told from the empty text.
    let fields = types.iter().map(|data_type| (Arc::new(Field::new("f", data_type.clone(), true)), none_of(data_type)));
    let whole: ArrayRef = Arc::new(StructArray::from(fields.collect::<Vec<_>>()));
    check(plain(whole), 2249, &[Some("(,,,,,,,,,,,,,,,)")]);
    let intervals = none_of(&types[0]);
    check(plain(list_of(intervals, &[1])), 1187, &[Some("{NULL}")]);
}

#[test]
fn a_field_that_fails_fails_its_record() {
    let field = |name, data_type| Arc::new(Field::new(name, data_type, true));
    let columns: Vec<(Arc<Field>, ArrayRef)> = vec![
        (field("n", DataType::Int32), Arc::new(Int32Array::from(vec![1]))),
        (field("d", DataType::Timestamp(TimeUnit::Second, None)), Arc::new(TimestampSecondArray::from(vec![i64::MAX]))),
    ];
    for array in [
        Arc::new(StructArray::from(columns.clone())) as ArrayRef,
        list_of(Arc::new(StructArray::from(columns)), &[1]),
        list_of(Arc::new(TimestampSecondArray::from(vec![i64::MAX])), &[1]),
    ] {
        let (field, array) = plain(array);
        for format in [0, 1] {
            assert_eq!(encode(&field, &array, format, 0).unwrap_err().sqlstate, "22008", "{field}");
        }
    }
}

#[test]
fn a_value_beyond_postgres_is_an_error_not_a_null() {
    let (field, array) = plain(Arc::new(TimestampSecondArray::from(vec![i64::MAX])));
    assert_eq!(encode(&field, &array, 0, 0).unwrap_err().sqlstate, "22008");
    let (field, array) = plain(Arc::new(Date32Array::from(vec![i32::MIN + 1])));
    assert_eq!(encode(&field, &array, 1, 0).unwrap_err().sqlstate, "22008");
}

#[test]
fn arrays() {
    let rows = int_list(&[Some(&[Some(1), None, Some(-3)]), Some(&[]), None]);
    check(plain(rows), 1007, &[Some("{1,NULL,-3}"), Some("{}"), None]);
    let words = StringArray::from(vec![
        Some("a"),
        Some(""),
        Some("a b"),
        Some("x,y"),
        Some("{}"),
        Some("q\"\\"),
        Some("NULL"),
        Some("nUll"),
        None,
        Some("tab\t"),
        Some("nullable"),
    ]);
    let expected = r#"{a,"","a b","x,y","{}","q\"\\","NULL","nUll",NULL,"tab	",nullable}"#;
    check(plain(list_of(Arc::new(words), &[11])), 1009, &[Some(expected)]);
    let nested = list_of(int_list(&[Some(&[Some(1), Some(2)]), Some(&[Some(3), Some(4)])]), &[2]);
    check(plain(nested), 1007, &[Some("{{1,2},{3,4}}")]);
    let bytes = list_of(Arc::new(BinaryArray::from(vec![&b"\x01"[..]])), &[1]);
    check(plain(bytes), 1001, &[Some(r#"{"\\x01"}"#)]);
    let times = list_of(Arc::new(TimestampMicrosecondArray::from(vec![0])), &[1]);
    check(plain(times), 1115, &[Some("{\"1970-01-01 00:00:00\"}")]);
    let booleans = list_of(Arc::new(BooleanArray::from(vec![true, false])), &[2]);
    check(plain(booleans), 1000, &[Some("{t,f}")]);
}

fn record() -> ArrayRef {
    let field = |name, data_type| Arc::new(Field::new(name, data_type, true));
    Arc::new(StructArray::from(vec![
        (field("n", DataType::Int32), Arc::new(Int32Array::from(vec![Some(1), None])) as ArrayRef),
        (field("t", DataType::Utf8), Arc::new(StringArray::from(vec![Some("a \"b\" \\"), Some("")])) as ArrayRef),
        (field("l", int_list(&[]).data_type().clone()), int_list(&[Some(&[Some(1), Some(2)]), None])),
    ]))
}

#[test]
fn records_and_maps() {
    check(plain(record()), 2249, &[Some(r#"(1,"a ""b"" \\","{1,2}")"#), Some(r#"(,"",)"#)]);
    check(plain(list_of(record(), &[2])), 2287, &[Some(r#"{"(1,\"a \"\"b\"\" \\\\\",\"{1,2}\")","(,\"\",)"}"#)]);
    let mut builder = MapBuilder::new(None, StringBuilder::new(), arrow::array::Float64Builder::new());
    builder.keys().append_value("a\"");
    builder.values().append_value(1.5);
    builder.keys().append_value("b");
    builder.values().append_null();
    builder.append(true).unwrap();
    builder.append(false).unwrap();
    check(plain(Arc::new(builder.finish())), 114, &[Some(r#"{"a\"": 1.5, "b": null}"#), None]);
}

#[test]
fn binary_formats() {
    fn bytes(array: ArrayRef) -> Vec<u8> {
        let (field, array) = plain(array);
        encode(&field, &array, 1, 0).unwrap().unwrap()
    }
    fn words(words: &[i32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }
    assert_eq!(bytes(Arc::new(BooleanArray::from(vec![true]))), [1]);
    assert_eq!(bytes(Arc::new(Int8Array::from(vec![-2]))), [0xff, 0xfe], "two bytes, as int2 promises");
    assert_eq!(bytes(Arc::new(UInt8Array::from(vec![254]))), [0, 254]);
    assert_eq!(bytes(Arc::new(Int16Array::from(vec![-2]))), [0xff, 0xfe]);
    assert_eq!(bytes(Arc::new(Int64Array::from(vec![1]))), [0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(bytes(Arc::new(Float64Array::from(vec![1.0]))), 1.0f64.to_be_bytes());
    assert_eq!(bytes(Arc::new(Date32Array::from(vec![10_958]))), words(&[1]));
    assert_eq!(bytes(Arc::new(TimestampMicrosecondArray::from(vec![946_684_800_000_001]))), 1i64.to_be_bytes());
    assert_eq!(bytes(Arc::new(TimestampMicrosecondArray::from(vec![i64::MAX]))), i64::MAX.to_be_bytes());
    assert_eq!(bytes(Arc::new(IntervalYearMonthArray::from(vec![14]))), words(&[0, 0, 0, 14]));
    assert_eq!(bytes(Arc::new(StringArray::from(vec!["ab"]))), b"ab");
    assert_eq!(bytes(int_list(&[Some(&[Some(7), None])])), words(&[1, 1, 23, 2, 1, 4, 7, -1]));
    assert_eq!(bytes(int_list(&[Some(&[])])), words(&[0, 0, 23]));
    let square = list_of(int_list(&[Some(&[Some(1)]), Some(&[Some(2)])]), &[2]);
    assert_eq!(bytes(square), words(&[2, 0, 23, 2, 1, 1, 1, 4, 1, 4, 2]));
    let (field, ragged) = plain(list_of(int_list(&[Some(&[Some(1)]), Some(&[])]), &[2]));
    assert_eq!(encode(&field, &ragged, 1, 0).unwrap_err().sqlstate, "0A000");
    let mut expected = words(&[3, 23, 4, 1, 25, 8]);
    expected.extend_from_slice(b"a \"b\" \\");
    expected.pop();
    expected.push(b'\\');
    expected.extend(words(&[1007, 28, 1, 0, 23, 2, 1, 4, 1, 4, 2]));
    let length = u8::try_from("a \"b\" \\".len()).unwrap();
    expected[23] = length;
    expected[24 + usize::from(length) + 7] = 36;
    assert_eq!(bytes(record()), expected);
    let (field, json) = typed(Arc::new(StringArray::from(vec!["{}"])), "jsonb");
    assert_eq!(encode(&field, &json, 1, 0).unwrap().unwrap(), b"\x01{}");
}

#[test]
fn records_are_parameters_where_their_fields_are_known() {
    let fields = vec![Field::new("n", DataType::Int32, true), Field::new("t", DataType::Utf8, true)];
    let target = DataType::Struct(fields.into());
    let read = |bytes: &[u8], format, target: &DataType| {
        let display = DisplaySettings::default();
        parameter::decode(Some(&Bytes::copy_from_slice(bytes)), format, 2249, target, &display)
    };
    let text = read(b"(7,\"a b\")", 0, &target).unwrap();
    let column = |oid: i32, value: &[u8]| {
        let length = i32::try_from(value.len()).unwrap();
        [&oid.to_be_bytes()[..], &length.to_be_bytes(), value].concat()
    };
    let record = |columns: &[Vec<u8>]| {
        let count = i32::try_from(columns.len()).unwrap();
        [count.to_be_bytes().to_vec(), columns.concat()].concat()
    };
    let number = column(23, &7_i32.to_be_bytes());
    assert_eq!(read(&record(&[number.clone(), column(25, b"a b")]), 1, &target).unwrap(), text);
    // What a client calls varchar is text here.
    assert_eq!(read(&record(&[number.clone(), column(1043, b"a b")]), 1, &target).unwrap(), text);
    let refused = |bytes: Vec<u8>| {
        let error = read(&bytes, 1, &target).unwrap_err();
        (error.sqlstate.to_string(), error.message)
    };
    let (code, message) = refused(record(&[number]));
    assert_eq!((code.as_str(), message.as_str()), ("42804", "wrong number of columns: 1, expected 2"));
    let (code, message) = refused(record(&[column(20, &7_i64.to_be_bytes()), column(25, b"a")]));
    let expected = "binary data has type 20 (bigint) instead of expected 23 (integer) in record column 1";
    assert_eq!((code.as_str(), message.as_str()), ("42804", expected));
    // Where nothing tells the fields there is no such input, as in Postgres.
    for format in [0, 1] {
        assert_eq!(read(b"(7)", format, &DataType::Utf8).unwrap_err().sqlstate, "0A000");
    }
}

#[test]
fn deep_nesting_is_refused() {
    let mut data_type = DataType::Int32;
    for _ in 0..100 {
        data_type = DataType::List(Arc::new(Field::new_list_field(data_type, true)));
    }
    assert_eq!(SqlError::from(ColumnType::of_type(&data_type).unwrap_err()).sqlstate, "54000");
}

#[test]
fn the_names_and_oids_of_types_are_unique() {
    let mut oids: Vec<u32> = Kind::all().map(Kind::oid).collect();
    oids.sort_unstable();
    oids.dedup();
    assert_eq!(oids.len(), Kind::all().count());
    assert_eq!(Kind::of_oid(1007), Some((Kind::Int4, true)));
    assert_eq!(Kind::of_oid(1184), Some((Kind::Timestamptz, false)));
}

/// What was shown is read back to the same value, in both formats.
#[test]
fn parameters_read_what_columns_show() {
    let values = [
        ScalarValue::Boolean(Some(true)),
        ScalarValue::Int16(Some(-5)),
        ScalarValue::Int32(Some(i32::MIN)),
        ScalarValue::Int64(Some(i64::MAX)),
        ScalarValue::Float32(Some(0.1)),
        ScalarValue::Float64(Some(1e-300)),
        ScalarValue::Decimal128(Some(-123_450_000), 20, 6),
        ScalarValue::Utf8(Some("ä\"\\".into())),
        ScalarValue::Binary(Some(vec![0, 92, 255])),
        ScalarValue::Date32(Some(-800_000)),
        ScalarValue::Time64Microsecond(Some(86_399_999_999)),
        ScalarValue::TimestampMicrosecond(Some(-62_200_000_000_000_001), None),
        ScalarValue::TimestampMicrosecond(Some(1_720_000_000_500_000), Some("UTC".into())),
        ScalarValue::new_interval_mdn(-14, 3, -14_706_789_000_000),
        ScalarValue::List(ScalarValue::new_list_nullable(
            &[ScalarValue::Utf8(Some("a \"b\"".into())), ScalarValue::Utf8(None)],
            &DataType::Utf8,
        )),
        ScalarValue::Int32(None),
    ];
    let display = DisplaySettings { style: Zone::named("Europe/Berlin").unwrap().into() };
    for value in values {
        let array = value.to_array().unwrap();
        let (field, array) = plain(array);
        let oid = ColumnType::of_field(&field).unwrap().oid();
        for format in [0, 1] {
            let shown = encode(&field, &array, format, 0).unwrap().map(Bytes::from);
            let read = parameter::decode(shown.as_ref(), format, oid, field.data_type(), &display).unwrap();
            assert_eq!(read, value, "format {format}");
        }
    }
}

#[test]
fn parameters_are_brought_to_the_planned_type() {
    let display = DisplaySettings::default();
    let decode = |text: &'static str, oid, target| {
        parameter::decode(Some(&Bytes::from_static(text.as_bytes())), 0, oid, &target, &display)
    };
    assert_eq!(decode("7", 23, DataType::Int64).unwrap(), ScalarValue::Int64(Some(7)));
    assert_eq!(decode("1.5", 1700, DataType::Float64).unwrap(), ScalarValue::Float64(Some(1.5)));
    assert_eq!(decode("1.5", 1700, DataType::Utf8).unwrap(), ScalarValue::Utf8(Some("1.5".into())));
    assert_eq!(decode("1.255", 1700, DataType::Decimal128(10, 2)).unwrap_err().sqlstate, "22003");
    assert_eq!(decode("x", 23, DataType::Int32).unwrap_err().sqlstate, "22P02");
    assert_eq!(decode("x", 4_000_000, DataType::Int32).unwrap_err().sqlstate, "42704");
    let uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    assert_eq!(decode(uuid, 2950, DataType::Utf8).unwrap(), ScalarValue::Utf8(Some(uuid.into())));
    let nested = decode(
        "{{1,2},{3,NULL}}",
        1007,
        DataType::List(Arc::new(Field::new_list_field(
            DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true))),
            true,
        ))),
    );
    assert!(matches!(nested.unwrap(), ScalarValue::List(list) if list.value(0).len() == 2));
    let null = parameter::decode(None, 0, 1700, &DataType::Decimal128(10, 2), &display).unwrap();
    assert_eq!(null, ScalarValue::Decimal128(None, 10, 2));
}

#[test]
fn oids_that_clients_name() {
    assert_eq!(parameter::type_of_oid(0).unwrap(), None);
    assert_eq!(parameter::type_of_oid(705).unwrap(), None);
    assert_eq!(parameter::type_of_oid(1700).unwrap(), None);
    assert_eq!(parameter::type_of_oid(23).unwrap(), Some(DataType::Int32));
    assert_eq!(parameter::type_of_oid(1114).unwrap(), Some(DataType::Timestamp(TimeUnit::Microsecond, None)));
    assert_eq!(parameter::type_of_oid(2249).unwrap(), None);
    assert_eq!(parameter::type_of_oid(2287).unwrap(), None);
    assert_eq!(parameter::type_of_oid(999_999).unwrap_err().sqlstate, "42704");
}
