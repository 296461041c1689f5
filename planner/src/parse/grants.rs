//! `GRANT`, `REVOKE`, `REASSIGN OWNED`.

use sqlparser::tokenizer::Token;

use crate::access::{AccessStatement, ChangeDefaults, Privileges, RoleSpec};
use crate::error::{PlanError, PlanErrorKind, Result, TextPosition};
use crate::statement::ObjectKind;

use super::ast::{Grant, GrantTarget, Identifier, Statement};
use super::cursor::Cursor;
use super::{objects, roles};

/// `GRANT privileges ON objects TO roles [WITH GRANT OPTION]`, `GRANT roles TO roles [WITH ADMIN OPTION]`.
pub(super) fn grant(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["GRANT"])?;
    let words = words(cursor)?;
    if cursor.accept(&["ON"]) {
        let target = target(cursor)?;
        cursor.expect(&["TO"])?;
        let grantees = roles::specs(cursor)?;
        let option = cursor.accept(&["WITH", "GRANT", "OPTION"]);
        granted_by(cursor)?;
        let privileges = privileges(words, &target)?;
        return Ok(Statement::Grant(Box::new(Grant { privileges, target, grantees, option, revoke: None })));
    }
    let groups = as_roles(words)?;
    cursor.expect(&["TO"])?;
    let members = roles::specs(cursor)?;
    let admin = cursor.accept(&["WITH", "ADMIN", "OPTION"]);
    granted_by(cursor)?;
    Ok(AccessStatement::GrantRoles { roles: groups, members, admin }.into())
}

/// `REVOKE [GRANT OPTION FOR] privileges ON objects FROM roles [CASCADE]`, `REVOKE [ADMIN OPTION FOR] roles FROM roles`.
pub(super) fn revoke(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["REVOKE"])?;
    let option = cursor.accept(&["GRANT", "OPTION", "FOR"]);
    let admin_only = !option && cursor.accept(&["ADMIN", "OPTION", "FOR"]);
    let words = words(cursor)?;
    if !admin_only && cursor.accept(&["ON"]) {
        let target = target(cursor)?;
        cursor.expect(&["FROM"])?;
        let grantees = roles::specs(cursor)?;
        granted_by(cursor)?;
        let cascade = objects::cascade(cursor);
        let privileges = privileges(words, &target)?;
        let revoke = Some(cascade);
        return Ok(Statement::Grant(Box::new(Grant { privileges, target, grantees, option, revoke })));
    }
    let groups = as_roles(words)?;
    cursor.expect(&["FROM"])?;
    let members = roles::specs(cursor)?;
    granted_by(cursor)?;
    let _said = objects::cascade(cursor);
    Ok(AccessStatement::RevokeRoles { roles: groups, members, admin_only }.into())
}

/// `REASSIGN OWNED BY roles TO role`.
pub(super) fn reassign(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["REASSIGN", "OWNED", "BY"])?;
    let owners = roles::specs(cursor)?;
    cursor.expect(&["TO"])?;
    Ok(AccessStatement::ReassignOwned { roles: owners, owner: roles::spec(cursor)? }.into())
}

/// `BY roles [CASCADE | RESTRICT]`, behind `DROP OWNED`.
pub(super) fn drop_owned(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect(&["BY"])?;
    let roles = roles::specs(cursor)?;
    Ok(AccessStatement::DropOwned { roles, cascade: objects::cascade(cursor) }.into())
}

/// `[FOR ROLE roles] [IN SCHEMA schemas] GRANT | REVOKE privileges ON TABLES | SCHEMAS TO | FROM roles`, behind
/// `ALTER DEFAULT PRIVILEGES`.
pub(super) fn defaults(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let (mut owners, mut schemas) = (Vec::new(), Vec::new());
    let mut in_schema = None;
    loop {
        if cursor.accept(&["FOR", "ROLE"]) || cursor.accept(&["FOR", "USER"]) {
            owners = roles::specs(cursor)?;
            continue;
        }
        let position = cursor.position();
        if !cursor.accept(&["IN", "SCHEMA"]) {
            break;
        }
        in_schema = Some(position);
        schemas = cursor.comma_separated(Cursor::identifier)?.into_iter().map(|name| name.value).collect();
    }
    let revokes = cursor.accept(&["REVOKE"]);
    if !revokes {
        cursor.expect(&["GRANT"])?;
    }
    let option_only = revokes && cursor.accept(&["GRANT", "OPTION", "FOR"]);
    let words = words(cursor)?;
    cursor.expect(&["ON"])?;
    let position = cursor.position();
    let target = if cursor.accept(&["TABLES"]) {
        GrantTarget::AllInSchemas(Vec::new())
    } else if cursor.accept(&["SCHEMAS"]) {
        GrantTarget::Schemas(Vec::new())
    } else if ["SEQUENCES", "FUNCTIONS", "ROUTINES", "TYPES"].iter().any(|word| cursor.is_at(&[word])) {
        return Err(PlanError::unsupported("default privileges on these objects are not supported")
            .with_hint("There are default privileges on TABLES and SCHEMAS.")
            .at(Some(position)));
    } else {
        return Err(cursor.expected("TABLES or SCHEMAS"));
    };
    if let (Some(position), GrantTarget::Schemas(_)) = (in_schema, &target) {
        let message = "cannot use IN SCHEMA clause when using GRANT/REVOKE ON SCHEMAS";
        return Err(PlanError::new(PlanErrorKind::InvalidGrant, message).at(Some(position)));
    }
    cursor.expect(if revokes { &["FROM"] } else { &["TO"] })?;
    let grantees = roles::specs(cursor)?;
    let option = option_only || (!revokes && cursor.accept(&["WITH", "GRANT", "OPTION"]));
    let revoke = revokes.then(|| objects::cascade(cursor));
    let (class, privileges) = (target.class(), privileges(words, &target)?);
    let change = ChangeDefaults { owners, schemas, class, privileges, grantees, option, revoke };
    Ok(AccessStatement::ChangeDefaults(change).into())
}

/// Privileges or roles: which of the two they are shows only behind them.
fn words(cursor: &mut Cursor<'_>) -> Result<Vec<(Identifier, bool)>> {
    cursor.comma_separated(|cursor| {
        let quoted = matches!(cursor.peek(0), Token::Word(word) if word.quote_style.is_some());
        let word = cursor.identifier()?;
        if word.value == "all" && !quoted {
            let _said = cursor.accept(&["PRIVILEGES"]);
        }
        if *cursor.peek(0) == Token::LParen {
            return Err(PlanError::unsupported("privileges on columns are not supported")
                .with_hint("Grant on a view of these columns.")
                .at(Some(cursor.position())));
        }
        Ok((word, quoted))
    })
}

fn as_roles(words: Vec<(Identifier, bool)>) -> Result<Vec<RoleSpec>> {
    let spec = |(word, quoted): (Identifier, bool)| match word.value.as_str() {
        "current_user" | "current_role" if !quoted => RoleSpec::CurrentUser,
        "session_user" if !quoted => RoleSpec::SessionUser,
        _ => RoleSpec::Name(word.value),
    };
    Ok(words.into_iter().map(spec).collect())
}

fn privileges(words: Vec<(Identifier, bool)>, target: &GrantTarget) -> Result<Privileges> {
    let class = target.class();
    let all = Privileges::all(class);
    let mut privileges = Privileges::NONE;
    for (word, _) in words {
        let at = Some(word.position);
        if word.value == "all" {
            privileges = privileges.with(all);
            continue;
        }
        let name = word.value.to_uppercase();
        let Some(one) = Privileges::named(&name) else {
            let message = format!("unrecognized privilege type \"{}\"", word.value);
            return Err(PlanError::new(PlanErrorKind::SyntaxError, message).at(at));
        };
        if one.without(all) == one {
            let message = format!("invalid privilege type {name} for {}", target.noun());
            return Err(PlanError::new(PlanErrorKind::InvalidGrant, message).at(at));
        }
        privileges = privileges.with(one);
    }
    Ok(privileges)
}

fn target(cursor: &mut Cursor<'_>) -> Result<GrantTarget> {
    let all: [&[&str]; 4] = [
        &["ALL", "TABLES", "IN", "SCHEMA"],
        &["ALL", "SOURCES", "IN", "SCHEMA"],
        &["ALL", "SINKS", "IN", "SCHEMA"],
        &["ALL", "MATERIALIZED", "VIEWS", "IN", "SCHEMA"],
    ];
    let position = cursor.position();
    if cursor.accept(all[0]) {
        return Ok(GrantTarget::AllInSchemas(cursor.comma_separated(Cursor::identifier)?));
    }
    if all[1..].iter().any(|words| cursor.is_at(words)) {
        return Err(only_tables(position));
    }
    if cursor.accept(&["SCHEMA"]) {
        return Ok(GrantTarget::Schemas(cursor.comma_separated(Cursor::identifier)?));
    }
    if cursor.accept(&["DATABASE"]) {
        return Ok(GrantTarget::Databases(cursor.comma_separated(Cursor::identifier)?));
    }
    // A relation may be called `secret`: the word is a kind only in front of another name.
    if cursor.is_at(&["SECRET"]) && matches!(cursor.peek(1), Token::Word(_)) {
        cursor.next();
        return Ok(GrantTarget::Secrets(cursor.comma_separated(Cursor::name)?));
    }
    let missing: [(&[&str], &str); 6] = [
        (&["FUNCTION"], "functions"),
        (&["SEQUENCE"], "sequences"),
        (&["TYPE"], "types"),
        (&["LANGUAGE"], "languages"),
        (&["ALL", "SEQUENCES"], "sequences"),
        (&["ALL", "FUNCTIONS"], "functions"),
    ];
    if let Some((_, what)) = missing.iter().find(|(words, _)| cursor.is_at(words)) {
        return Err(PlanError::unsupported(format!("privileges on {what} are not supported"))
            .with_hint("They are granted on relations, schemas, secrets and the database.")
            .at(Some(position)));
    }
    // A relation may be called `view`: the word is a kind only in front of another name.
    let kind = matches!(cursor.peek(1), Token::Word(_)).then(|| objects::relation_kind(cursor)).flatten();
    let kind = kind.filter(|kind| *kind != ObjectKind::Table);
    Ok(GrantTarget::Relations(kind, cursor.comma_separated(Cursor::name)?))
}

fn only_tables(position: TextPosition) -> PlanError {
    PlanError::unsupported("this form of ALL ... IN SCHEMA is not supported")
        .with_hint("ALL TABLES IN SCHEMA means every relation of the schema: tables, sources, views and sinks.")
        .at(Some(position))
}

/// `GRANTED BY`: what it may name in Postgres is who runs the statement anyway.
fn granted_by(cursor: &mut Cursor<'_>) -> Result<()> {
    if cursor.accept(&["GRANTED", "BY"]) {
        let position = cursor.position();
        if !matches!(roles::spec(cursor)?, RoleSpec::CurrentUser | RoleSpec::SessionUser) {
            return Err(PlanError::unsupported("grantor must be current user")
                .with_hint("Leave GRANTED BY out.")
                .at(Some(position)));
        }
    }
    Ok(())
}
