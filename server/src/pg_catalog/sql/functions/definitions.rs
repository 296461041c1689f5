//! What an object is, as text: types, views, indexes, constraints, comments, names.

use millstream_planner::error::Result;

use super::super::datum::Datum;
use super::super::registry;
use super::super::types::{self, Type};
use super::{Call, procedure};
use crate::pg_catalog::objects::{CommentClass, quote_identifier, visible_schemas};

pub(super) const FUNCTIONS: super::Values = &[
    ("format_type", format_type),
    ("pg_get_viewdef", view_definition),
    ("pg_get_indexdef", index_definition),
    ("pg_get_constraintdef", constraint_definition),
    ("pg_get_expr", |call| Ok(call.datum(0).clone())),
    ("pg_get_ruledef", |call| Ok(rule_definition(call))),
    ("pg_get_triggerdef", |_| Ok(Datum::Null)),
    ("pg_get_functiondef", |_| Ok(Datum::Null)),
    ("pg_get_function_arguments", |call| Ok(function_arguments(call))),
    ("pg_get_function_identity_arguments", |call| Ok(function_arguments(call))),
    ("pg_get_function_result", |call| Ok(function_result(call))),
    ("pg_get_function_arg_default", |_| Ok(Datum::Null)),
    ("pg_get_function_sqlbody", |_| Ok(Datum::Null)),
    ("pg_get_partkeydef", |_| Ok(Datum::Null)),
    ("pg_get_partition_constraintdef", |_| Ok(Datum::Null)),
    ("pg_get_statisticsobjdef", |_| Ok(Datum::Null)),
    ("pg_get_statisticsobjdef_columns", |_| Ok(Datum::Null)),
    ("pg_get_serial_sequence", |_| Ok(Datum::Null)),
    ("pg_get_userbyid", user_by_id),
    ("obj_description", object_comment),
    ("col_description", column_comment),
    ("shobj_description", shared_comment),
    ("pg_describe_object", describe_object),
    ("pg_table_is_visible", |call| Ok(relation_is_visible(call))),
    ("pg_type_is_visible", |call| Ok(Type::of_oid(call.oid(0)).map(|_| true).into())),
    ("pg_function_is_visible", |call| Ok(procedure(call.oid(0)).map(|row| row.schema == 11).into())),
    ("pg_operator_is_visible", |_| Ok(true.into())),
    ("pg_opclass_is_visible", |_| Ok(true.into())),
    ("pg_opfamily_is_visible", |_| Ok(true.into())),
    ("pg_collation_is_visible", |_| Ok(true.into())),
    ("pg_conversion_is_visible", |_| Ok(true.into())),
    ("pg_statistics_obj_is_visible", |_| Ok(true.into())),
    ("pg_ts_config_is_visible", |_| Ok(true.into())),
    ("pg_ts_dict_is_visible", |_| Ok(true.into())),
    ("pg_ts_parser_is_visible", |_| Ok(true.into())),
    ("pg_ts_template_is_visible", |_| Ok(true.into())),
    ("to_regclass", |call| Ok(looked_up(call, &types::REGCLASS))),
    ("to_regtype", |call| Ok(looked_up(call, &types::REGTYPE))),
    ("to_regproc", |call| Ok(looked_up(call, &types::REGPROC))),
    ("to_regprocedure", |call| Ok(looked_up(call, &Type::Plain(2202)))),
    ("to_regnamespace", |call| Ok(looked_up(call, &Type::Plain(4089)))),
    ("to_regrole", |call| Ok(looked_up(call, &Type::Plain(4096)))),
    ("to_regcollation", |call| Ok(looked_up(call, &Type::Plain(4191)))),
    ("pg_typeof", |call| Ok(call.ty(0).oid().into())),
    ("pg_collation_for", |call| Ok((call.given(0) && *call.ty(0) == types::TEXT).then_some("\"default\"").into())),
    ("pg_index_column_has_property", index_column_property),
    ("pg_index_has_property", |call| Ok(index_property(call.text(1)))),
    ("pg_indexam_has_property", |call| Ok(method_property(call.text(1)))),
    ("pg_relation_is_updatable", |call| Ok(updatable(call))),
    ("pg_column_is_updatable", |call| Ok(writable(call).into())),
    ("pg_relation_is_publishable", |_| Ok(false.into())),
    ("row_security_active", |_| Ok(false.into())),
    ("pg_sequence_parameters", |_| Ok(Datum::Null)),
];

/// Names a type; a modifier of numeric is its digits.
fn format_type(call: &Call<'_>) -> Result<Datum> {
    if !call.given(0) {
        return Ok(Datum::Null);
    }
    let oid = call.oid(0);
    if oid == 0 {
        return Ok("-".into());
    }
    let Some(ty) = Type::of_oid(oid) else {
        return Ok(registry::row_type_name(oid, call.context).unwrap_or_else(|| "???".to_owned()).into());
    };
    // Without a modifier `character` would be one character: columns without one are `bpchar`, types that are asked for
    // alone go by their name.
    if call.given(1) && call.int(1) < 0 {
        match oid {
            1042 => return Ok("bpchar".into()),
            1014 => return Ok("bpchar[]".into()),
            _ => {}
        }
    }
    let modifier = if call.given(1) { call.int(1) } else { -1 };
    Ok(with_modifier(&ty, modifier).into())
}

/// A type's name with what its modifier says.
fn with_modifier(ty: &Type, modifier: i64) -> String {
    if let Type::Array(element) = ty {
        return format!("{}[]", with_modifier(&Type::Plain(*element), modifier));
    }
    let name = ty.sql_name();
    match ty.oid() {
        1700 if modifier >= 4 => format!("{name}({},{})", (modifier - 4) >> 16, (modifier - 4) & 0xffff),
        1042 | 1043 if modifier >= 4 => format!("{name}({})", modifier - 4),
        // Without a modifier the name alone is one character in SQL.
        1042 if modifier == -1 => name,
        1083 | 1114 | 1184 if modifier >= 0 => match name.split_once(' ') {
            Some((first, rest)) => format!("{first}({modifier}) {rest}"),
            None => name,
        },
        _ => name,
    }
}

fn view_definition(call: &Call<'_>) -> Result<Datum> {
    let oid = match call.ty(0) {
        ty if *ty == types::TEXT => registry::oid_of(&types::REGCLASS, call.text(0), call.context)?,
        _ => call.int(0),
    };
    let object = u32::try_from(oid).ok().and_then(|oid| call.context.objects.relation(oid));
    Ok(object.filter(|object| matches!(object.kind, "v" | "m")).map(|object| object.definition()).into())
}

fn rule_definition(call: &Call<'_>) -> Datum {
    let object = call.context.objects.relations.iter().find(|object| object.rule_oid() == Some(call.oid(0)));
    object
        .map(|object| {
            let name = format!("{}.{}", quote_identifier(&object.schema), quote_identifier(&object.name));
            format!("CREATE RULE \"_RETURN\" AS\n    ON SELECT TO {name} DO INSTEAD {}", object.definition())
        })
        .into()
}

fn index_definition(call: &Call<'_>) -> Result<Datum> {
    let Some(index) = call.context.objects.index(call.oid(0)) else { return Ok(Datum::Null) };
    Ok(match call.int(1) {
        // For people a relation that is found without its schema is named without it.
        0 => index.definition(call.is_true(2) && is_found(call, index.table_oid).is_some_and(|found| found)).into(),
        // One column, counted from 1; behind the last is nothing.
        column => {
            let position = usize::try_from(column - 1).ok();
            position
                .and_then(|position| index.column_names.get(position))
                .map_or_else(|| "".to_owned(), |name| quote_identifier(name))
                .into()
        }
    })
}

fn constraint_definition(call: &Call<'_>) -> Result<Datum> {
    let index = call.context.objects.indexes.iter().find(|index| index.constraint_oid == Some(call.oid(0)));
    let definition = index
        .map(|index| format!("{} ({})", if index.primary { "PRIMARY KEY" } else { "UNIQUE" }, index.columns_in_sql()));
    Ok(definition.into())
}

fn function_arguments(call: &Call<'_>) -> Datum {
    procedure(call.oid(0)).map(super::ProcedureRow::argument_names).into()
}

fn function_result(call: &Call<'_>) -> Datum {
    let of = |row: &super::ProcedureRow| {
        let result = Type::of_oid(row.result).map_or_else(|| "???".to_owned(), |ty| ty.sql_name());
        if row.returns_set { format!("SETOF {result}") } else { result }
    };
    procedure(call.oid(0)).map(of).into()
}

fn user_by_id(call: &Call<'_>) -> Result<Datum> {
    let oid = call.oid(0);
    let role = call.context.view.roles.iter().find(|role| role.oid == oid);
    Ok(role.map_or_else(|| format!("unknown (OID={oid})"), |role| role.name.clone()).into())
}

fn object_comment(call: &Call<'_>) -> Result<Datum> {
    let oid = call.oid(0);
    let class = match CommentClass::named(call.text(1)) {
        Some(class) if !class.is_shared() => Some(class),
        None if call.arguments.len() < 2 => None,
        _ => return Ok(Datum::Null),
    };
    Ok(call.context.objects.comment(class, oid, 0).into())
}

fn column_comment(call: &Call<'_>) -> Result<Datum> {
    let column = call.int(1);
    let comment = (column > 0).then(|| call.context.objects.comment(Some(CommentClass::Relation), call.oid(0), column));
    Ok(comment.flatten().into())
}

fn shared_comment(call: &Call<'_>) -> Result<Datum> {
    let class = CommentClass::named(call.text(1)).filter(|class| class.is_shared());
    Ok(class.and_then(|class| call.context.objects.comment(Some(class), call.oid(0), 0)).into())
}

fn describe_object(call: &Call<'_>) -> Result<Datum> {
    let (class, oid, column) = (call.oid(0), call.oid(1), call.int(2));
    let objects = &call.context.objects;
    let text = match class {
        1259 => {
            let name = registry::name_of(&types::REGCLASS, i64::from(oid), call.context);
            let kind = match objects.relation(oid).map(|object| object.kind) {
                Some("v") => "view",
                Some("m") => "materialized view",
                Some(_) => "table",
                None if objects.index(oid).is_some() => "index",
                None => return Ok(Datum::Null),
            };
            let field = usize::try_from(column - 1).ok();
            let field = field.and_then(|field| Some(objects.relation(oid)?.columns.get(field)?.name.clone()));
            match field {
                Some(field) => format!("column {} of {kind} {name}", quote_identifier(&field)),
                None => format!("{kind} {name}"),
            }
        }
        2615 => format!("schema {}", registry::name_of(&Type::Plain(4089), i64::from(oid), call.context)),
        1247 => format!("type {}", registry::name_of(&types::REGTYPE, i64::from(oid), call.context)),
        2606 => match objects.indexes.iter().find(|index| index.constraint_oid == Some(oid)) {
            Some(index) => format!(
                "constraint {} on table {}",
                quote_identifier(&index.name),
                registry::name_of(&types::REGCLASS, i64::from(index.table_oid), call.context)
            ),
            None => return Ok(Datum::Null),
        },
        _ => return Ok(Datum::Null),
    };
    Ok(text.into())
}

fn relation_is_visible(call: &Call<'_>) -> Datum {
    is_found(call, call.oid(0)).into()
}

/// Whether a relation is the one that its name means without a schema; nothing where there is none.
fn is_found(call: &Call<'_>, oid: u32) -> Option<bool> {
    let (objects, view) = (&call.context.objects, &call.context.view);
    let (schema, name) = objects.name(oid)?;
    Some(visible_schemas(view).contains(&schema) && objects.find(&quote_identifier(&name), view) == Some(oid))
}

fn looked_up(call: &Call<'_>, ty: &Type) -> Datum {
    registry::find(ty, call.text(0), call.context).into()
}

fn index_column_property(call: &Call<'_>) -> Result<Datum> {
    let Some(index) = call.context.objects.index(call.oid(0)) else { return Ok(Datum::Null) };
    let position = usize::try_from(call.int(1) - 1).ok().filter(|position| *position < index.columns.len());
    if position.is_none() {
        return Ok(Datum::Null);
    }
    Ok(match call.text(2) {
        "asc" | "nulls_last" | "orderable" | "returnable" | "search_array" | "search_nulls" => true.into(),
        "desc" | "nulls_first" | "distance_orderable" => false.into(),
        _ => Datum::Null,
    })
}

fn index_property(property: &str) -> Datum {
    match property {
        "index_scan" | "backward_scan" => true.into(),
        "clusterable" | "bitmap_scan" => false.into(),
        _ => Datum::Null,
    }
}

fn method_property(property: &str) -> Datum {
    match property {
        "can_order" | "can_unique" | "can_multi_col" => true.into(),
        "can_exclude" | "can_include" => false.into(),
        _ => Datum::Null,
    }
}

fn writable(call: &Call<'_>) -> bool {
    call.context.objects.relation(call.oid(0)).is_some_and(|object| object.is_writable())
}

/// Bits of the commands that change rows: 4 UPDATE, 8 INSERT, 16 DELETE.
fn updatable(call: &Call<'_>) -> Datum {
    (if writable(call) { 28 } else { 0 }).into()
}
