//! BYTES: the record is the value of a single `bytea` column (or `varchar`, if it is UTF-8).

use arrow::datatypes::DataType;
use millstream_runtime::{Error, Result};

use super::fault::Fault;
use super::node::{Kind, Node};

/// Reads whole records.
#[derive(Debug)]
pub(crate) struct BytesReader {
    /// The one column.
    pub(crate) node: Node,
}

impl BytesReader {
    /// A reader for a relation whose only column from the payload is `nodes[0]`.
    pub(crate) fn new(nodes: Vec<Node>) -> Result<Self> {
        let mut nodes = nodes.into_iter();
        match (nodes.next(), nodes.next()) {
            (Some(node), None) if matches!(node.kind, Kind::Bytes | Kind::Text) => Ok(Self { node }),
            _ => Err(Error::invalid("ENCODE BYTES gives exactly one column of type BYTEA")
                .with_hint("Declare one column, as in (payload BYTEA); INCLUDE adds what stands beside it.")),
        }
    }

    /// Reads a record; a tombstone is NULL.
    pub(crate) fn read(&mut self, payload: Option<&[u8]>) -> Result<(), Fault> {
        let result = match payload {
            Some(payload) => self.node.push_raw(payload),
            None if self.node.nullable => {
                self.node.push_null();
                Ok(())
            }
            None => Err(Fault::not_null("the record has no value")),
        };
        result.map_err(|fault| fault.at(&self.node.name))
    }
}

impl Node {
    /// Appends bytes as they are; text must be UTF-8.
    pub(crate) fn push_raw(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if !matches!(self.data_type(), DataType::Binary)
            && let Err(error) = std::str::from_utf8(bytes)
        {
            return Err(Fault::value(format!("the bytes are not UTF-8 at byte {}", error.valid_up_to())));
        }
        self.column.push_bytes(bytes);
        Ok(())
    }

    /// Appends a number to an integer column, or its digits to a text column.
    pub(crate) fn push_number(&mut self, value: i64) -> Result<(), Fault> {
        match self.kind {
            Kind::Text => self.column.push_bytes(value.to_string().as_bytes()),
            _ => self.column.push_integer(value),
        }
        Ok(())
    }

    /// Appends headers to an array of structs of a name and bytes.
    pub(crate) fn push_headers(&mut self, headers: &[(&str, Option<&[u8]>)]) -> Result<(), Fault> {
        let Kind::List(element) = &mut self.kind else { unreachable!("the type was checked") };
        let Kind::Struct(object) = &mut element.kind else { unreachable!("the type was checked") };
        for (name, value) in headers {
            object.nodes[0].column.push_bytes(name.as_bytes());
            match value {
                Some(value) => object.nodes[1].column.push_bytes(value),
                None => object.nodes[1].push_null(),
            }
            element.column.end_struct();
        }
        self.column.end_list(element.column.len());
        Ok(())
    }
}
