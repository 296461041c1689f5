//! The types that show OIDs by name: `regclass`, `regtype`, `regproc`, `regnamespace`, `regrole` and relatives.

use millstream_planner::error::{PlanError, PlanErrorKind, Result};

use super::Context;
use super::functions;
use super::types::{REGCLASS, Type};
use crate::pg_catalog::objects::{quote_identifier, split_name, visible_schemas};

/// The OID behind a name, or behind a number written as text; an error names what is not there.
pub(super) fn oid_of(ty: &Type, text: &str, context: &Context) -> Result<i64> {
    if text == "-" {
        return Ok(0);
    }
    if let Ok(oid) = text.parse::<u32>() {
        return Ok(i64::from(oid));
    }
    find(ty, text, context).ok_or_else(|| {
        let (kind, message) = match ty.oid() {
            2205 => (PlanErrorKind::UndefinedTable, format!("relation \"{text}\" does not exist")),
            2206 => (PlanErrorKind::UndefinedObject, format!("type \"{text}\" does not exist")),
            4089 => (PlanErrorKind::UndefinedSchema, format!("schema \"{text}\" does not exist")),
            4096 => (PlanErrorKind::UndefinedObject, format!("role \"{text}\" does not exist")),
            2203 | 2204 => (PlanErrorKind::UndefinedFunction, format!("operator does not exist: {text}")),
            24 | 2202 => (PlanErrorKind::UndefinedFunction, format!("function \"{text}\" does not exist")),
            _ => (PlanErrorKind::UndefinedObject, format!("{} \"{text}\" does not exist", ty.sql_name())),
        };
        PlanError::new(kind, message)
    })
}

/// The same without an error: what `to_regclass` and relatives look up.
pub(super) fn find(ty: &Type, text: &str, context: &Context) -> Option<i64> {
    let plain = |text: &str| split_name(text).pop();
    match ty.oid() {
        2205 => context.objects.find(text, &context.view).map(i64::from),
        2206 => {
            let name = match text.split_once('(') {
                // A modifier says nothing about which type it is.
                Some((name, rest)) => format!("{name}{}", rest.split_once(')').map_or("", |(_, rest)| rest)),
                None => text.to_owned(),
            };
            let known = Type::named(&name.to_ascii_lowercase()).map(|ty| ty.oid());
            known.or_else(|| row_type(&name, context)).map(i64::from)
        }
        4089 => {
            let name = plain(text)?;
            context.objects.schemas.iter().find(|(known, _)| *known == name).map(|(_, oid)| i64::from(*oid))
        }
        4096 => {
            let name = plain(text)?;
            context.view.roles.iter().find(|role| role.name == name).map(|role| i64::from(role.oid))
        }
        24 => {
            let name = plain(text)?;
            functions::procedures().iter().find(|row| row.name == name).map(|row| i64::from(row.oid))
        }
        2202 => {
            let name = plain(text.split_once('(').map_or(text, |(name, _)| name))?;
            let wanted = text.split_once('(').map(|(_, rest)| rest.trim_end_matches(')').replace(' ', ""));
            let fits = |row: &&functions::ProcedureRow| {
                row.name == name
                    && wanted.as_ref().is_none_or(|wanted| row.argument_names().replace(' ', "") == *wanted)
            };
            functions::procedures().iter().find(fits).map(|row| i64::from(row.oid))
        }
        4191 => match plain(text)?.as_str() {
            "default" => Some(100),
            "C" => Some(950),
            "POSIX" => Some(951),
            _ => None,
        },
        _ => None,
    }
}

/// The type of a relation's rows, or of arrays of them, by the relation's name.
fn row_type(name: &str, context: &Context) -> Option<u32> {
    let (relation, array) = match name.strip_suffix("[]") {
        Some(element) => (element, true),
        None => (name, false),
    };
    let object = context.objects.relation(context.objects.find(relation, &context.view)?)?;
    if array { object.row_type().map(|_| object.row_array()) } else { object.row_type() }
}

/// The name of a type of rows: that of the relation.
pub(super) fn row_type_name(oid: u32, context: &Context) -> Option<String> {
    let (object, array) = context.objects.of_row_type(oid)?;
    let name = name_of(&REGCLASS, i64::from(object.oid), context);
    Some(if array { format!("{name}[]") } else { name })
}

/// How an OID is shown: a name, with its schema where it would not be found without; the number when nothing
/// has it.
pub(super) fn name_of(ty: &Type, oid: i64, context: &Context) -> String {
    if oid == 0 {
        return "-".to_owned();
    }
    let known = u32::try_from(oid).ok().and_then(|oid| match ty.oid() {
        2205 => {
            let (schema, name) = context.objects.name(oid)?;
            let visible = visible_schemas(&context.view).contains(&schema)
                && context.objects.find(&quote_identifier(&name), &context.view) == Some(oid);
            let name = quote_identifier(&name);
            Some(if visible { name } else { format!("{}.{name}", quote_identifier(schema)) })
        }
        2206 => Type::of_oid(oid).map(|ty| ty.sql_name()).or_else(|| row_type_name(oid, context)),
        4089 => {
            let schema = context.objects.schemas.iter().find(|(_, known)| *known == oid);
            schema.map(|(name, _)| quote_identifier(name))
        }
        4096 => context.view.roles.iter().find(|role| role.oid == oid).map(|role| quote_identifier(&role.name)),
        24 => functions::procedure(oid).map(|row| row.name.to_owned()),
        2202 => functions::procedure(oid).map(|row| format!("{}({})", row.name, row.argument_names())),
        4191 => match oid {
            100 => Some("\"default\"".to_owned()),
            950 => Some("\"C\"".to_owned()),
            951 => Some("\"POSIX\"".to_owned()),
            _ => None,
        },
        _ => None,
    });
    known.unwrap_or_else(|| oid.to_string())
}
