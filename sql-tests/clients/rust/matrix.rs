//! Every type of `types.json` through tokio-postgres: the bytes of both formats both ways, and Rust's own values where
//! the client has them.
//!
//! tokio-postgres asks for results in binary only; the text of a value is that of a simple query.

use std::fmt::Debug;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::{Checked, connect, equal};

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// A type with its values.
pub struct Kind {
    pub name: String,
    oid: u32,
    array_oid: Option<u32>,
    values: Vec<Value>,
    table: String,
}

/// A value: how it is written in SQL, and its text.
struct Value {
    literal: String,
    text: String,
}

/// All of them. With `MATRIX_TEXTS=postgres` the texts are those of a real Postgres, where they differ: by that this
/// program is held against one.
pub fn kinds() -> Vec<Kind> {
    let theirs = std::env::var("MATRIX_TEXTS").is_ok_and(|texts| texts == "postgres");
    let file: serde_json::Value = serde_json::from_str(include_str!("../types.json")).unwrap();
    let kinds = file["types"].as_array().unwrap().iter().enumerate();
    kinds
        .map(|(number, entry)| {
            let oid = |name: &str| entry[name].as_u64().map(|oid| u32::try_from(oid).unwrap());
            let name = entry["type"].as_str().unwrap().to_owned();
            let values = entry["values"].as_array().unwrap().iter().map(|value| {
                let text = if theirs && value[2].is_string() { &value[2] } else { &value[1] };
                let written = value[0].as_str().unwrap().replace('\'', "''");
                Value { literal: format!("'{written}'::{name}"), text: text.as_str().unwrap().to_owned() }
            });
            let values = values.collect();
            let table = format!("r_matrix_{number}");
            Kind { oid: oid("oid").unwrap(), array_oid: oid("array_oid"), name, values, table }
        })
        .collect()
}

/// Bytes of a value in the binary format.
#[derive(Clone, Debug, PartialEq)]
struct Binary(Vec<u8>);

impl<'a> FromSql<'a> for Binary {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Fault> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl ToSql for Binary {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Fault> {
        out.put_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A value in the text format.
#[derive(Debug)]
struct Text<'a>(&'a str);

impl ToSql for Text<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Fault> {
        out.put_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// The text of the one value of a query.
async fn shown(client: &Client, sql: &str) -> Result<Option<String>, Fault> {
    let messages = client.simple_query(sql).await.map_err(|error| format!("{sql}: {error:?}"))?;
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).map(str::to_owned)),
        _ => None,
    });
    row.ok_or_else(|| format!("{sql}: no row").into())
}

/// The bytes of the one value of a query, and the OID of its type.
async fn bytes(client: &Client, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<(Option<Binary>, u32), Fault> {
    let row = client.query_one(sql, parameters).await.map_err(|error| format!("{sql}: {error:?}"))?;
    Ok((row.try_get(0)?, row.columns()[0].type_().oid()))
}

/// A parameter in both formats comes back as the same bytes.
async fn back(client: &Client, type_name: &str, text: &str, binary: &Binary) -> Checked {
    let sql = format!("SELECT $1::{type_name}");
    equal(bytes(client, &sql, &[binary]).await?.0.as_ref(), Some(binary))?;
    equal(bytes(client, &sql, &[&Text(text)]).await?.0.as_ref(), Some(binary))
}

/// A value of Rust's is read from the bytes and sent as the same bytes.
async fn native<T>(
    client: &Client,
    kind: &Kind,
    binary: &Binary,
    same: impl Fn(&T, &str) -> bool,
    text: &str,
) -> Checked
where
    T: ToSql + Sync + Debug + for<'a> FromSql<'a>,
{
    let sql = format!("SELECT $1::{}", kind.name);
    let row = client.query_one(&sql, &[binary]).await?;
    let value: T = row.try_get(0)?;
    equal(same(&value, text), true).map_err(|_| format!("{value:?} is not {text}"))?;
    equal(bytes(client, &sql, &[&value]).await?.0.as_ref(), Some(binary))
}

fn parsed<T: std::str::FromStr + PartialEq>(value: &T, text: &str) -> bool {
    text.parse::<T>().is_ok_and(|parsed| &parsed == value)
}

/// NaN among them, and both zeros.
fn float<T: std::str::FromStr + Debug>(value: &T, text: &str) -> bool {
    text.parse::<T>().is_ok_and(|parsed| format!("{parsed:?}") == format!("{value:?}"))
}

async fn natives(client: &Client, kind: &Kind, binary: &Binary, text: &str) -> Checked {
    match kind.oid {
        16 => native::<bool>(client, kind, binary, |value, text| *value == (text == "t"), text).await,
        21 => native::<i16>(client, kind, binary, parsed, text).await,
        23 => native::<i32>(client, kind, binary, parsed, text).await,
        20 => native::<i64>(client, kind, binary, parsed, text).await,
        700 => native::<f32>(client, kind, binary, float, text).await,
        701 => native::<f64>(client, kind, binary, float, text).await,
        25 | 1043 => native::<String>(client, kind, binary, |value, text| value == text, text).await,
        17 => {
            let hex = |value: &Vec<u8>| value.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            native::<Vec<u8>>(client, kind, binary, |value, text| format!("\\x{}", hex(value)) == text, text).await
        }
        1007 if kind.name == "integer[]" => {
            let same = |value: &Vec<Option<i32>>, text: &str| {
                let words = value.iter().map(|one| one.map_or_else(|| "NULL".to_owned(), |one| one.to_string()));
                format!("{{{}}}", words.collect::<Vec<_>>().join(",")) == text
            };
            native::<Vec<Option<i32>>>(client, kind, binary, same, text).await
        }
        // The client has values of further types by other crates only.
        _ => Ok(()),
    }
}

async fn within_arrays(client: &Client, kind: &Kind, value: &Value, array_oid: u32, binary: &Binary) -> Checked {
    let literal = &value.literal;
    let arrays = [
        (format!("ARRAY[{literal}, NULL, {literal}]"), format!("{}[]", kind.name)),
        (format!("ARRAY[ARRAY[{literal}, NULL], ARRAY[NULL, {literal}]]"), format!("{}[][]", kind.name)),
    ];
    for (written, type_name) in arrays {
        let sql = format!("SELECT {written}::{type_name}");
        let (array, oid) = bytes(client, &sql, &[]).await?;
        let array = array.ok_or("an array is no NULL")?;
        equal(oid, array_oid)?;
        let length = i32::try_from(binary.0.len())?.to_be_bytes();
        let element = [&length[..], &binary.0].concat();
        equal(array.0.windows(element.len()).filter(|part| *part == element).count() >= 2, true)?;
        let text = shown(client, &sql).await?.ok_or("an array is no NULL")?;
        back(client, &type_name, &text, &array).await?;
    }
    Ok(())
}

/// All values of a type.
pub async fn whole(kind: &Kind) -> Checked {
    let client = connect().await?;
    let Kind { name, table, .. } = kind;
    client.batch_execute("SET TimeZone = 'UTC'").await?;
    client.batch_execute(&format!("DROP TABLE IF EXISTS {table}")).await?;
    client.batch_execute(&format!("CREATE TABLE {table} (id int PRIMARY KEY, v {name})")).await?;
    let insert = client.prepare(&format!("INSERT INTO {table} VALUES ($1, $2)")).await?;
    equal(insert.params().iter().map(Type::oid).collect::<Vec<_>>(), vec![23, kind.oid])?;
    for (id, value) in (0..).zip(&kind.values) {
        let sql = format!("SELECT {}", value.literal);
        equal(shown(&client, &sql).await?.as_deref(), Some(value.text.as_str()))?;
        let (binary, oid) = bytes(&client, &sql, &[]).await?;
        equal(oid, kind.oid)?;
        let binary = binary.ok_or("it is no NULL")?;
        back(&client, name, &value.text, &binary).await?;
        natives(&client, kind, &binary, &value.text).await?;
        if let Some(array_oid) = kind.array_oid {
            within_arrays(&client, kind, value, array_oid, &binary).await?;
        }
        client.execute(&insert, &[&id, &binary]).await?;
        let kept = format!("SELECT v FROM {table} WHERE id = {id}");
        equal(bytes(&client, &kept, &[]).await?, (Some(binary), kind.oid))?;
        equal(shown(&client, &kept).await?.as_deref(), Some(value.text.as_str()))?;
    }
    let none: Option<Binary> = None;
    client.execute(&insert, &[&-1, &none]).await?;
    equal(bytes(&client, &format!("SELECT v FROM {table} WHERE id = -1"), &[]).await?.0, None)?;
    equal(bytes(&client, &format!("SELECT $1::{name}"), &[&none]).await?.0, None)?;
    Ok(client.batch_execute(&format!("DROP TABLE {table}")).await?)
}

/// A row of a table as a value: the client asks the catalog for its type and reads the fields by it.
pub async fn composites() -> Checked {
    let client = connect().await?;
    let kinds: Vec<Kind> = kinds().into_iter().filter(|kind| kind.array_oid.is_some()).collect();
    let columns: Vec<String> =
        (0..).zip(&kinds).map(|(number, kind): (i32, _)| format!("c{number} {}", kind.name)).collect();
    let literals: Vec<&str> = kinds.iter().map(|kind| kind.values[0].literal.as_str()).collect();
    client.batch_execute("DROP TABLE IF EXISTS r_row").await?;
    client.batch_execute(&format!("CREATE TABLE r_row ({}, id int PRIMARY KEY)", columns.join(", "))).await?;
    client.batch_execute(&format!("INSERT INTO r_row VALUES ({}, 1)", literals.join(", "))).await?;
    client.batch_execute("INSERT INTO r_row (id) VALUES (2)").await?;
    let rows = client.query("SELECT r FROM r_row AS r ORDER BY id", &[]).await?;
    let composite = rows[0].columns()[0].type_();
    let tokio_postgres::types::Kind::Composite(fields) = composite.kind() else {
        return Err(format!("{composite} is no composite type").into());
    };
    let wanted: Vec<u32> = kinds.iter().map(|kind| kind.oid).chain([23]).collect();
    equal(fields.iter().map(|field| field.type_().oid()).collect::<Vec<_>>(), wanted.clone())?;
    let (full, empty): (Binary, Binary) = (rows[0].try_get(0)?, rows[1].try_get(0)?);
    // The number of fields; of each its type and its length, and its bytes as they are alone.
    let mut expected = u32::try_from(wanted.len())?.to_be_bytes().to_vec();
    let mut nulls = expected.clone();
    for (kind, literal) in kinds.iter().zip(&literals) {
        let alone = bytes(&client, &format!("SELECT {literal}"), &[]).await?.0.ok_or("it is no NULL")?;
        expected.extend(kind.oid.to_be_bytes());
        expected.extend(u32::try_from(alone.0.len())?.to_be_bytes());
        expected.extend(alone.0);
        nulls.extend(kind.oid.to_be_bytes());
        nulls.extend((-1_i32).to_be_bytes());
    }
    expected.extend([0, 0, 0, 23, 0, 0, 0, 4, 0, 0, 0, 1]);
    nulls.extend([0, 0, 0, 23, 0, 0, 0, 4, 0, 0, 0, 2]);
    equal((full.0, empty.0), (expected, nulls))?;
    Ok(client.batch_execute("DROP TABLE r_row").await?)
}
