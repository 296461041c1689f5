//! What depends on what, the rules of views, and comments.

use super::{Row, row};
use crate::pg_catalog::CatalogView;
use crate::pg_catalog::objects::Objects;

const CLASS: u32 = 1_259;
const REWRITE: u32 = 2_618;
const CONSTRAINT: u32 = 2_606;
const NAMESPACE: u32 = 2_615;

/// `pg_depend`: views on what they read, through their rules; relations on their schemas; constraints and the
/// indexes that keep them on their tables.
pub(super) fn dependencies(_: &CatalogView, objects: &Objects) -> Vec<Row> {
    let depends = |(class, oid): (u32, u32), (on_class, on): (u32, u32), column: usize, kind: &str| {
        row! {
            "classid": class,
            "objid": oid,
            "objsubid": 0u32,
            "refclassid": on_class,
            "refobjid": on,
            "refobjsubid": column,
            "deptype": kind,
        }
    };
    let mut rows = Vec::new();
    for object in objects.relations.iter().filter(|object| !object.is_system()) {
        rows.push(depends((CLASS, object.oid), (NAMESPACE, object.schema_oid), 0, "n"));
        if let Some(rule) = object.rule_oid() {
            rows.push(depends((REWRITE, rule), (CLASS, object.oid), 0, "i"));
            rows.extend(object.reads.iter().map(|read| depends((REWRITE, rule), (CLASS, *read), 0, "n")));
        }
    }
    for index in &objects.indexes {
        match index.constraint_oid {
            Some(constraint) => {
                rows.push(depends((CLASS, index.oid), (CONSTRAINT, constraint), 0, "i"));
                let columns = index.columns.iter();
                rows.extend(
                    columns.map(|column| depends((CONSTRAINT, constraint), (CLASS, index.table_oid), column + 1, "a")),
                );
            }
            None => {
                let columns = index.columns.iter();
                rows.extend(
                    columns.map(|column| depends((CLASS, index.oid), (CLASS, index.table_oid), column + 1, "a")),
                );
            }
        }
    }
    rows
}

/// `pg_rewrite`
pub(super) fn rules(_: &CatalogView, objects: &Objects) -> Vec<Row> {
    let rows = objects.relations.iter().filter_map(|object| {
        let oid = object.rule_oid()?;
        Some(row! {
            "oid": oid,
            "rulename": "_RETURN",
            "ev_class": object.oid,
            "ev_type": "1",
            "ev_enabled": "O",
            "is_instead": true,
            "ev_qual": "<>",
            "ev_action": object.definition(),
        })
    });
    rows.collect()
}

/// `pg_rules`: those that users made, which are none.
pub(super) fn rule_texts(_: &CatalogView, _: &Objects) -> Vec<Row> {
    Vec::new()
}

/// `pg_shdescription`
pub(super) fn shared_descriptions(_: &CatalogView, objects: &Objects) -> Vec<Row> {
    let shared = objects.comments().iter().filter(|comment| comment.class.is_shared());
    let rows = shared.map(|comment| {
        row! {
            "objoid": comment.oid,
            "classoid": comment.class.oid(),
            "description": comment.text.as_str(),
        }
    });
    rows.collect()
}

/// `pg_description`
pub(super) fn descriptions(_: &CatalogView, objects: &Objects) -> Vec<Row> {
    let own = objects.comments().iter().filter(|comment| !comment.class.is_shared());
    let rows = own.map(|comment| {
        row! {
            "objoid": comment.oid,
            "classoid": comment.class.oid(),
            "objsubid": comment.column,
            "description": comment.text.as_str(),
        }
    });
    rows.collect()
}
