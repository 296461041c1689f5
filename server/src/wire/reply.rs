//! What clients are told, encoded with pgwire's message types into an output buffer. No I/O.
//!
//! Rows are not among them: `rows` writes them in place, without a message value per row.

use bytes::{Bytes, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::data::{FieldDescription, NoData, ParameterDescription, RowDescription};
use pgwire::messages::extendedquery::{BindComplete, CloseComplete, ParseComplete, PortalSuspended};
use pgwire::messages::response::{
    CommandComplete, EmptyQueryResponse, ErrorResponse, NoticeResponse, ReadyForQuery, TransactionStatus as Ready,
};
use pgwire::messages::startup::{Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey};

use super::columns::ResultColumn;
use crate::pg_catalog::objects::row_type;
use crate::session::{CommandTag, Notice, SqlError, TransactionStatus};

/// The newest protocol that is spoken: 3.0.
const PROTOCOL_VERSION: i32 = 3 << 16;

/// Bytes of a text beyond which it is cut: pgwire bounds some messages at 30,000 bytes, and clients give up on
/// larger ones.
const TEXT_BYTES: usize = 8_000;

fn put(output: &mut BytesMut, message: &impl Message) {
    message.encode(output).expect("every text is cut well below the limits of the messages");
}

/// A text without zero bytes, which would end it early, and cut to a bounded length.
fn text(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].replace('\0', "\u{fffd}")
}

/// The login succeeded.
pub(super) fn authentication_ok(output: &mut BytesMut) {
    put(output, &Authentication::Ok);
}

/// A password is asked for.
pub(super) fn authentication_sasl(output: &mut BytesMut, mechanisms: &[&str]) {
    put(output, &Authentication::SASL(mechanisms.iter().map(|name| (*name).to_owned()).collect()));
}

/// The server's first message of the exchange.
pub(super) fn authentication_continue(output: &mut BytesMut, data: &str) {
    put(output, &Authentication::SASLContinue(Bytes::copy_from_slice(data.as_bytes())));
}

/// The server's final message of the exchange.
pub(super) fn authentication_final(output: &mut BytesMut, data: &str) {
    put(output, &Authentication::SASLFinal(Bytes::copy_from_slice(data.as_bytes())));
}

/// The client asked for a newer minor version, or for options that are not known.
pub(super) fn negotiate_protocol_version(output: &mut BytesMut, unknown_options: &[&str]) {
    let options = unknown_options.iter().take(64).map(|option| text(option).chars().take(63).collect()).collect();
    put(output, &NegotiateProtocolVersion::new(PROTOCOL_VERSION, options));
}

/// A setting that clients are told of.
pub(super) fn parameter_status(output: &mut BytesMut, name: &str, value: &str) {
    put(output, &ParameterStatus::new(text(name), text(value)));
}

/// What a CancelRequest for this connection must say.
pub(super) fn backend_key(output: &mut BytesMut, process_id: i32, secret: i32) {
    put(output, &BackendKeyData::new(process_id, SecretKey::I32(secret)));
}

/// The server waits for the next statement.
pub(super) fn ready_for_query(output: &mut BytesMut, status: TransactionStatus) {
    let status = match status {
        TransactionStatus::Idle => Ready::Idle,
        TransactionStatus::Active => Ready::Transaction,
        TransactionStatus::Failed => Ready::Error,
    };
    put(output, &ReadyForQuery::new(status));
}

/// The columns of the rows that follow; `formats` holds one code per column.
pub(super) fn row_description(output: &mut BytesMut, columns: &[ResultColumn], formats: &[i16]) {
    let fields = columns.iter().zip(formats).map(|(ResultColumn { name, column, described }, format)| {
        let (relation, number) = described.origin.map_or((0, 0), |origin| (origin.relation_oid as i32, origin.number));
        let modifier = described.shown.modifier.unwrap_or(-1);
        let type_oid = described.row.map_or_else(|| column.oid(), row_type);
        FieldDescription::new(text(name), relation, number, type_oid, column.size_bytes(), modifier, *format)
    });
    put(output, &RowDescription::new(fields.collect()));
}

/// The types of a statement's parameters.
pub(super) fn parameter_description(output: &mut BytesMut, oids: &[u32]) {
    put(output, &ParameterDescription::new(oids.to_vec()));
}

/// The statement gives no rows.
pub(super) fn no_data(output: &mut BytesMut) {
    put(output, &NoData::new());
}

/// Parse succeeded.
pub(super) fn parse_complete(output: &mut BytesMut) {
    put(output, &ParseComplete::new());
}

/// Bind succeeded.
pub(super) fn bind_complete(output: &mut BytesMut) {
    put(output, &BindComplete::new());
}

/// Close succeeded.
pub(super) fn close_complete(output: &mut BytesMut) {
    put(output, &CloseComplete::new());
}

/// The row limit is reached.
pub(super) fn portal_suspended(output: &mut BytesMut) {
    put(output, &PortalSuspended::new());
}

/// A statement's end, with the number of rows that were sent.
pub(super) fn complete(output: &mut BytesMut, tag: &CommandTag, rows_sent: u64) {
    match tag {
        CommandTag::Fixed(tag) => put(output, &CommandComplete::new(text(tag))),
        CommandTag::Counted(prefix) => put(output, &CommandComplete::new(format!("{prefix}{rows_sent}"))),
        CommandTag::Empty => put(output, &EmptyQueryResponse::new()),
    }
}

/// A statement's end by an error; `severity` is `ERROR` or `FATAL`.
pub(super) fn error(output: &mut BytesMut, severity: &str, error: &SqlError) {
    let mut fields = vec![
        (b'S', severity.to_owned()),
        (b'V', severity.to_owned()),
        (b'C', error.sqlstate.to_owned()),
        (b'M', text(&error.message)),
    ];
    fields.extend(error.detail.as_deref().map(|detail| (b'D', text(detail))));
    fields.extend(error.hint.as_deref().map(|hint| (b'H', text(hint))));
    fields.extend(error.position.map(|position| (b'P', position.to_string())));
    if let Some(object) = &error.object {
        fields.extend([(b's', text(&object.schema)), (b't', text(&object.table))]);
        fields.extend(object.column.as_deref().map(|column| (b'c', text(column))));
        fields.extend(object.constraint.as_deref().map(|constraint| (b'n', text(constraint))));
    }
    let context = error.place.as_ref().and_then(|place| place.context.as_deref());
    fields.extend(context.map(|context| (b'W', text(context))));
    put(output, &ErrorResponse::new(fields));
}

/// Something told beside the result.
pub(super) fn notice(output: &mut BytesMut, notice: &Notice) {
    let mut fields = vec![
        (b'S', notice.severity.to_owned()),
        (b'V', notice.severity.to_owned()),
        (b'C', notice.sqlstate.to_owned()),
        (b'M', text(&notice.message)),
    ];
    fields.extend(notice.hint.as_deref().map(|hint| (b'H', text(hint))));
    put(output, &NoticeResponse::new(fields));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{DataPlace, ErrorObject};

    #[test]
    fn errors_carry_all_fields_and_no_zero_bytes() {
        let mut output = BytesMut::new();
        let problem = SqlError {
            sqlstate: "42P01",
            message: "no\0zero".into(),
            detail: Some("why".into()),
            hint: Some("do".into()),
            position: Some(15),
            place: Some(Box::new(DataPlace { context: Some("where".into()), row: None })),
            object: Some(Box::new(ErrorObject {
                schema: "s".into(),
                table: "t".into(),
                column: Some("c".into()),
                constraint: Some("k".into()),
            })),
        };
        error(&mut output, "ERROR", &problem);
        let expected = "SERROR\0VERROR\0C42P01\0Mno\u{fffd}zero\0Dwhy\0Hdo\0P15\0ss\0tt\0cc\0nk\0Wwhere\0\0";
        assert_eq!(&output[5..], expected.as_bytes());
        assert_eq!(output[1..5], (expected.len() as u32 + 4).to_be_bytes());
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let mut output = BytesMut::new();
        complete(&mut output, &CommandTag::Fixed("ä".repeat(30_000)), 0);
        assert_eq!(output.len(), 5 + TEXT_BYTES + 1);
    }
}
