//! Parameters of every type in both formats, from bytes of chance: a value of the planned type, or an error of the
//! data, never one of ours.

use bytes::Bytes;
use datafusion::common::ScalarValue;
use rand::Rng;
use rand::rngs::StdRng;

use super::mutate::mutate;
use crate::wire::values::{DisplaySettings, parameter};

/// OIDs of types, arrays of them, and what is none.
const OIDS: &[u32] = &[
    16, 17, 18, 19, 20, 21, 23, 25, 26, 114, 700, 701, 1042, 1043, 1082, 1083, 1114, 1184, 1186, 1700, 2205, 2950,
    3802, 1000, 1001, 1005, 1007, 1009, 1016, 1021, 1022, 1115, 1182, 1185, 1187, 1231, 2249, 2951, 3807, 0, 1, 99_999,
];

const TEXTS: &[&str] = &[
    "1",
    "-9223372036854775808",
    "1.5e300",
    "NaN",
    "t",
    "\\x00ff",
    "2024-02-29",
    "24:00:00",
    "2024-02-29 23:59:59.999999+02",
    "0044-03-15 BC",
    "1 year 2 mons -3 days 04:05:06.7",
    "P1Y2M3DT4H5M6S",
    "infinity",
    "{1,NULL,\"a b\"}",
    "{{1,2},{3,4}}",
    "{\"a\": [1, null]}",
    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
];

pub(super) fn execute(random: &mut StdRng) {
    let oid = OIDS[random.random_range(0..OIDS.len())];
    let format = i16::from(random.random_bool(0.5));
    let mut bytes: Vec<u8> = match random.random_range(0..3) {
        0 => TEXTS[random.random_range(0..TEXTS.len())].as_bytes().to_vec(),
        1 => (0..random.random_range(0..40)).map(|_| random.random()).collect(),
        _ => {
            // The head of an array or of a numeric, with small numbers.
            let numbers = (0..random.random_range(0..8)).flat_map(|_| (random.random::<u32>() % 5).to_be_bytes());
            numbers.collect()
        }
    };
    for _ in 0..random.random_range(0..3) {
        mutate(&mut bytes, random);
    }
    let Ok(Some(target)) = parameter::type_of_oid(oid) else { return };
    let value = Bytes::from(bytes);
    match parameter::decode(Some(&value), format, oid, &target, &DisplaySettings::default()) {
        Ok(read) => {
            assert!(read.data_type() == target || read.data_type() == ScalarValue::Null.data_type(), "{read:?}")
        }
        Err(error) => {
            let class = &error.sqlstate[..2];
            assert!(["22", "42", "0A", "54", "08"].contains(&class), "{error:?} of {value:?} as {oid}");
        }
    }
}
