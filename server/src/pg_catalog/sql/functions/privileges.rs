//! Who may do what: `has_table_privilege` and its relatives, and access control lists.
//!
//! What a role may do is asked of [`crate::pg_catalog::roles`], the one place that knows grants.

use millstream_planner::error::{PlanError, PlanErrorKind, Result};

use super::super::Context;
use super::super::datum::Datum;
use super::super::registry;
use super::super::types::{self, Family, Type};
use super::Call;
use crate::pg_catalog::roles::{Privileged, RoleRow, may};

pub(super) const FUNCTIONS: super::Values = &[
    ("has_table_privilege", |call| asked(call, Class::Relation, 0)),
    ("has_any_column_privilege", |call| asked(call, Class::Relation, 0)),
    ("has_column_privilege", |call| asked(call, Class::Relation, 1)),
    ("has_sequence_privilege", |call| asked(call, Class::Relation, 0)),
    ("has_schema_privilege", |call| asked(call, Class::Schema, 0)),
    ("has_database_privilege", |call| asked(call, Class::Database, 0)),
    ("has_function_privilege", |call| asked(call, Class::Public, 0)),
    ("has_language_privilege", |call| asked(call, Class::Public, 0)),
    ("has_type_privilege", |call| asked(call, Class::Public, 0)),
    ("has_tablespace_privilege", |call| asked(call, Class::Server, 0)),
    ("has_foreign_data_wrapper_privilege", |call| asked(call, Class::Server, 0)),
    ("has_server_privilege", |call| asked(call, Class::Server, 0)),
    ("has_parameter_privilege", |call| asked(call, Class::Server, 0)),
    ("pg_has_role", has_role),
    ("acldefault", |call| default_acl(call)),
];

/// Letters of access control lists, in the order of Postgres.
const LETTERS: &[(char, &str)] = &[
    ('a', "INSERT"),
    ('r', "SELECT"),
    ('w', "UPDATE"),
    ('d', "DELETE"),
    ('D', "TRUNCATE"),
    ('x', "REFERENCES"),
    ('t', "TRIGGER"),
    ('X', "EXECUTE"),
    ('U', "USAGE"),
    ('C', "CREATE"),
    ('T', "TEMPORARY"),
    ('c', "CONNECT"),
    ('s', "SET"),
    ('A', "ALTER SYSTEM"),
];

/// Takes an entry of an access control list apart, as it is shown (`grantee=letters/grantor`): grantor, grantee, the
/// name of a privilege and whether it may be granted on, a record for each privilege.
pub(super) fn exploded(item: &Datum, context: &Context) -> Vec<Datum> {
    let Datum::Text(text) = item else { return Vec::new() };
    let Some((grantee, rest)) = cut_name(text) else { return Vec::new() };
    let Some((letters, grantor)) = rest.strip_prefix('=').and_then(|rest| rest.split_once('/')) else {
        return Vec::new();
    };
    let grantor = cut_name(grantor).map_or_else(String::new, |(name, _)| name);
    let oid = |name: &str| {
        let role = context.view.roles.iter().find(|role| role.name == name);
        // Everybody is no role.
        Datum::from(role.map_or(0, |role| role.oid))
    };
    let mut records = Vec::new();
    let mut left = letters.chars().peekable();
    while let Some(letter) = left.next() {
        let grantable = left.next_if_eq(&'*').is_some();
        let name = LETTERS.iter().find(|(known, _)| *known == letter).map_or("", |(_, name)| *name);
        let fields = [oid(&grantor), oid(&grantee), name.into(), grantable.into()];
        records.push(Datum::Record(fields.into()));
    }
    records
}

/// A name at the start of a text, perhaps between double quotes, and what is behind it.
fn cut_name(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find('=').unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut name = String::new();
    loop {
        let end = rest.find('"')?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, rest)),
        }
    }
}

/// `acldefault(kind, owner)`: who may do what with an object on which nothing was granted.
fn default_acl(call: &Call<'_>) -> Result<Datum> {
    // What the owner has, and what everybody has.
    let (own, everybody) = match call.text(0) {
        "c" => ("", ""),
        "r" => ("arwdDxt", ""),
        "s" => ("rwU", ""),
        "d" => ("CTc", "Tc"),
        "f" => ("X", "X"),
        "l" | "T" => ("U", "U"),
        "L" => ("rw", ""),
        "n" => ("UC", ""),
        "p" => ("sA", ""),
        "t" => ("C", ""),
        "F" | "S" => ("U", ""),
        other => {
            let message = format!("unrecognized object type abbreviation: {other}");
            return Err(PlanError::new(PlanErrorKind::InvalidParameterValue, message));
        }
    };
    let owner = registry::name_of(&types::REGROLE, call.int(1), call.context);
    let items = [("", everybody), (owner.as_str(), own)].into_iter().filter(|(_, letters)| !letters.is_empty());
    Ok(Datum::texts(items.map(|(grantee, letters)| format!("{grantee}={letters}/{owner}"))))
}

/// What a privilege is on.
#[derive(Clone, Copy)]
enum Class {
    Relation,
    Schema,
    Database,
    /// What everybody may use.
    Public,
    /// What only a superuser may use.
    Server,
}

/// The role that an argument names, or the session's without one.
fn role<'a>(call: &'a Call<'_>, index: Option<usize>) -> Result<Option<&'a RoleRow>> {
    let view = &call.context.view;
    let Some(index) = index else { return Ok(view.roles.iter().find(|role| role.name == view.user)) };
    if call.ty(index).family() == Family::Int {
        return Ok(view.roles.iter().find(|role| role.oid == call.oid(index)));
    }
    let name = call.text(index);
    match view.roles.iter().find(|role| role.name == name) {
        Some(role) => Ok(Some(role)),
        None if name == "public" => Ok(None),
        None => Err(PlanError::new(PlanErrorKind::UndefinedObject, format!("role \"{name}\" does not exist"))),
    }
}

/// `has_..._privilege([role,] object, [column,] privileges)`
fn asked(call: &Call<'_>, class: Class, between: usize) -> Result<Datum> {
    let with_role = call.arguments.len() == 3 + between;
    let Some(role) = role(call, with_role.then_some(0))? else { return Ok(false.into()) };
    let object = usize::from(with_role);
    let on = match class {
        Class::Relation => {
            let Some(oid) = oid_of(call, object, &types::REGCLASS)? else { return Ok(Datum::Null) };
            match call.context.objects.relation(oid) {
                Some(relation) => Privileged::Relation(relation),
                None if call.context.objects.index(oid).is_some() => return Ok(true.into()),
                None => return Ok(Datum::Null),
            }
        }
        Class::Schema => match oid_of(call, object, &Type::Plain(4089))? {
            Some(oid) => Privileged::Schema(oid),
            None => return Ok(Datum::Null),
        },
        Class::Database => {
            let name = call.text(object);
            if call.ty(object).family() == Family::Text && name != call.context.view.database {
                let message = format!("database \"{name}\" does not exist");
                return Err(PlanError::new(PlanErrorKind::UndefinedObject, message));
            }
            Privileged::Database
        }
        Class::Public => return Ok(true.into()),
        Class::Server => return Ok(role.superuser.into()),
    };
    // Several privileges: any of them.
    let privileges = call.text(object + 1 + between).to_ascii_uppercase();
    let granted = privileges.split(',').map(str::trim).any(|privilege| {
        let (privilege, with_grant) = match privilege.strip_suffix(" WITH GRANT OPTION") {
            Some(privilege) => (privilege, true),
            None => (privilege, false),
        };
        may(&call.context.view, role, on, privilege, with_grant)
    });
    Ok(granted.into())
}

fn oid_of(call: &Call<'_>, index: usize, ty: &Type) -> Result<Option<u32>> {
    let oid = match call.ty(index).family() {
        Family::Int => call.int(index),
        _ => registry::oid_of(ty, call.text(index), call.context)?,
    };
    Ok(u32::try_from(oid).ok())
}

/// `pg_has_role([member,] role, privilege)`
fn has_role(call: &Call<'_>) -> Result<Datum> {
    let with_member = call.arguments.len() == 3;
    let member = role(call, with_member.then_some(0))?;
    let of = role(call, Some(usize::from(with_member)))?;
    let (Some(member), Some(of)) = (member, of) else { return Ok(false.into()) };
    let view = &call.context.view;
    Ok((member.superuser || crate::pg_catalog::roles::is_member(view, member.oid, of.oid)).into())
}
