//! `CREATE`, `ALTER` and `DROP` of `ROLE`, `USER` and `GROUP`, and how roles are named.

use sqlparser::tokenizer::Token;

use crate::access::{AccessStatement, Password, RoleOptions, RoleSpec};
use crate::ddl::constants::timestamp_text_micros;
use crate::error::{PlanError, PlanErrorKind, Result};

use super::ast::Statement;
use super::cursor::Cursor;

/// Whether the word for a role follows the verb.
pub(super) fn is_role(cursor: &Cursor<'_>, verb: &str) -> bool {
    ["ROLE", "USER", "GROUP"].iter().any(|word| cursor.is_at(&[verb, word]))
}

/// `CREATE ROLE | USER | GROUP name [WITH] options`. A user may log in unless it is said that it may not.
pub(super) fn create(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["CREATE"])?;
    let user = cursor.is_at(&["USER"]);
    cursor.next();
    let name = new_name(cursor)?;
    let _said = cursor.accept(&["WITH"]);
    let mut options = Options::default();
    while options.read(cursor, true)? {}
    let Options { mut role, in_roles, members, admins, .. } = options;
    if user {
        role.login.get_or_insert(true);
    }
    Ok(AccessStatement::CreateRole { name, options: role, in_roles, members, admins }.into())
}

/// `ALTER ROLE | USER name [WITH] options`, `... RENAME TO name`, `ALTER GROUP name ADD | DROP USER names`.
pub(super) fn alter(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let group = cursor.is_at(&["GROUP"]);
    cursor.next();
    let position = cursor.position();
    if cursor.is_at(&["ALL"]) {
        return Err(PlanError::unsupported("ALTER ROLE ALL is not supported").at(Some(position)));
    }
    let role = spec(cursor)?;
    if cursor.accept(&["RENAME", "TO"]) {
        return Ok(AccessStatement::RenameRole { role, new_name: new_name(cursor)? }.into());
    }
    if group {
        let adds = cursor.accept(&["ADD", "USER"]);
        if !adds {
            cursor.expect(&["DROP", "USER"])?;
        }
        let members = specs(cursor)?;
        let roles = vec![role];
        return Ok(match adds {
            true => AccessStatement::GrantRoles { roles, members, admin: false },
            false => AccessStatement::RevokeRoles { roles, members, admin_only: false },
        }
        .into());
    }
    if cursor.is_at(&["SET"]) || cursor.is_at(&["RESET"]) || cursor.is_at(&["IN", "DATABASE"]) {
        return Err(PlanError::unsupported("settings of a role are not supported")
            .with_hint("Set them in the client's connection string: options='-c name=value'.")
            .at(Some(cursor.position())));
    }
    let _said = cursor.accept(&["WITH"]);
    let mut options = Options::default();
    while options.read(cursor, false)? {}
    Ok(AccessStatement::AlterRole { role, options: options.role }.into())
}

/// `DROP ROLE | USER | GROUP [IF EXISTS] names`.
pub(super) fn drop(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["DROP"])?;
    cursor.next();
    let if_exists = cursor.accept(&["IF", "EXISTS"]);
    Ok(AccessStatement::DropRoles { roles: specs(cursor)?, if_exists }.into())
}

/// The name of a role that is made: some words are kept.
fn new_name(cursor: &mut Cursor<'_>) -> Result<String> {
    let quoted = matches!(cursor.peek(0), Token::Word(word) if word.quote_style.is_some());
    let name = cursor.identifier()?;
    let at = Some(name.position);
    let words = ["current_user", "current_role", "session_user"];
    if name.value == "public" || name.value == "none" || (!quoted && words.contains(&name.value.as_str())) {
        return Err(
            PlanError::new(PlanErrorKind::ReservedName, format!("role name \"{}\" is reserved", name.value)).at(at)
        );
    }
    if name.value.starts_with("pg_") || name.value.starts_with("millstream_") {
        let message = format!("role name \"{}\" is reserved", name.value);
        return Err(PlanError::new(PlanErrorKind::ReservedName, message)
            .with_detail("Role names starting with \"pg_\" and \"millstream_\" are reserved.")
            .at(at));
    }
    Ok(name.value)
}

/// A role by its name, or who runs the statement.
pub(super) fn spec(cursor: &mut Cursor<'_>) -> Result<RoleSpec> {
    let quoted = matches!(cursor.peek(0), Token::Word(word) if word.quote_style.is_some());
    let name = cursor.identifier()?.value;
    Ok(match name.as_str() {
        "public" => RoleSpec::Public,
        "current_user" | "current_role" if !quoted => RoleSpec::CurrentUser,
        "session_user" if !quoted => RoleSpec::SessionUser,
        _ => RoleSpec::Name(name),
    })
}

/// The same, several with commas between.
pub(super) fn specs(cursor: &mut Cursor<'_>) -> Result<Vec<RoleSpec>> {
    cursor.comma_separated(|cursor| {
        let _said = cursor.accept(&["GROUP"]);
        spec(cursor)
    })
}

/// What stands behind the name.
#[derive(Default)]
struct Options {
    role: RoleOptions,
    in_roles: Vec<RoleSpec>,
    members: Vec<RoleSpec>,
    admins: Vec<RoleSpec>,
}

impl Options {
    /// Takes one option; `false` at the end of them.
    fn read(&mut self, cursor: &mut Cursor<'_>, creating: bool) -> Result<bool> {
        let position = cursor.position();
        let Token::Word(word) = cursor.peek(0) else { return Ok(false) };
        let word = word.value.to_ascii_uppercase();
        if let Some(flag) = flag(&word) {
            cursor.next();
            let slot = match flag.0 {
                Flag::Superuser => &mut self.role.superuser,
                Flag::Inherit => &mut self.role.inherit,
                Flag::CreateRole => &mut self.role.create_role,
                Flag::Login => &mut self.role.login,
                Flag::Missing(_) if !flag.1 => return Ok(true),
                Flag::Missing(hint) => {
                    return Err(PlanError::unsupported(format!("role option {word} is not supported"))
                        .with_hint(hint)
                        .at(Some(position)));
                }
            };
            return once(slot, flag.1, position);
        }
        if cursor.accept(&["ENCRYPTED", "PASSWORD"]) || cursor.accept(&["PASSWORD"]) {
            let password = if cursor.accept(&["NULL"]) { None } else { Some(Password(string(cursor)?)) };
            return once(&mut self.role.password, password, position);
        }
        if cursor.is_at(&["UNENCRYPTED"]) {
            let message = "UNENCRYPTED PASSWORD is no longer supported";
            return Err(PlanError::unsupported(message)
                .with_hint("Remove UNENCRYPTED to store the password in encrypted form instead.")
                .at(Some(position)));
        }
        if cursor.accept(&["CONNECTION", "LIMIT"]) {
            let limit = connection_limit(cursor)?;
            return once(&mut self.role.connection_limit, limit, position);
        }
        if cursor.accept(&["VALID", "UNTIL"]) {
            let at = cursor.position();
            let text = string(cursor)?;
            let until = match text.as_str() {
                "infinity" => None,
                text => Some(timestamp_text_micros(text).map_err(|error| error.at(Some(at)))?),
            };
            return once(&mut self.role.valid_until_micros, until, position);
        }
        if creating && (cursor.accept(&["IN", "ROLE"]) || cursor.accept(&["IN", "GROUP"])) {
            self.in_roles.extend(specs(cursor)?);
        } else if creating && (cursor.accept(&["ROLE"]) || cursor.accept(&["USER"])) {
            self.members.extend(specs(cursor)?);
        } else if creating && cursor.accept(&["ADMIN"]) {
            self.admins.extend(specs(cursor)?);
        } else if creating && cursor.accept(&["SYSID"]) {
            cursor.next();
        } else {
            let message = format!("unrecognized role option \"{}\"", word.to_lowercase());
            return Err(PlanError::new(PlanErrorKind::SyntaxError, message).at(Some(position)));
        }
        Ok(true)
    }
}

enum Flag {
    Superuser,
    Inherit,
    CreateRole,
    Login,
    /// What Postgres has and we have not, with what to do instead. To say that a role does not have it is fine.
    Missing(&'static str),
}

fn flag(word: &str) -> Option<(Flag, bool)> {
    let (word, on) = match word.strip_prefix("NO") {
        Some(rest) if !rest.is_empty() => (rest, false),
        _ => (word, true),
    };
    let flag = match word {
        "SUPERUSER" => Flag::Superuser,
        "INHERIT" => Flag::Inherit,
        "CREATEROLE" => Flag::CreateRole,
        "LOGIN" => Flag::Login,
        "CREATEDB" => Flag::Missing("A server has one database. GRANT CREATE ON DATABASE lets a role make schemas."),
        "REPLICATION" => Flag::Missing("There is no replication. SUBSCRIBE and sinks need no right of their own."),
        "BYPASSRLS" => Flag::Missing("There is no row security."),
        _ => return None,
    };
    Some((flag, on))
}

fn once<T>(slot: &mut Option<T>, value: T, position: crate::error::TextPosition) -> Result<bool> {
    if slot.replace(value).is_some() {
        return Err(PlanError::new(PlanErrorKind::SyntaxError, "conflicting or redundant options").at(Some(position)));
    }
    Ok(true)
}

fn string(cursor: &mut Cursor<'_>) -> Result<String> {
    cursor.accept_string().ok_or_else(|| cursor.expected("a string"))
}

fn connection_limit(cursor: &mut Cursor<'_>) -> Result<Option<u32>> {
    let position = cursor.position();
    let negative = cursor.accept_token(&Token::Minus);
    let Token::Number(digits, _) = cursor.peek(0).clone() else { return Err(cursor.expected("a number")) };
    cursor.next();
    let invalid = || {
        let sign = if negative { "-" } else { "" };
        let message = format!("invalid connection limit: {sign}{digits}");
        PlanError::new(PlanErrorKind::InvalidParameterValue, message).at(Some(position))
    };
    match digits.parse::<u32>() {
        Ok(1) if negative => Ok(None),
        Ok(limit) if !negative && limit <= i32::MAX.unsigned_abs() => Ok(Some(limit)),
        Ok(_) | Err(_) => Err(invalid()),
    }
}
