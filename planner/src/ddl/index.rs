//! Indexes: what they stand on, and what they are called.

use std::sync::Arc;

use arrow::datatypes::DataType;
use millstream_runtime::relation::can_sort;

use crate::bind::search_schemas;
use crate::catalog::{Catalog, Index, IndexColumn, QualifiedName, Relation};
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::parse::ast::{IndexItem, IndexStatement, Name};
use crate::settings::PlanSettings;
use crate::statement::{IndexChange, Statement};
use crate::types::{JSON, JSONB, sql_name};

use super::names::{check_new, described, find};

/// Columns of an index; as in Postgres.
const INDEX_COLUMNS_MAX: usize = 32;

/// `CREATE INDEX`, `DROP INDEX` and `ALTER INDEX`.
pub(crate) fn index(statement: &IndexStatement, catalog: &Catalog, settings: &PlanSettings) -> Result<Statement> {
    let change = match statement {
        IndexStatement::Create { name, if_not_exists, unique, relation, columns } => {
            let relation = find(relation, catalog, settings)?;
            let columns = columns.iter().map(|item| column(item, &relation)).collect::<Result<Vec<_>>>()?;
            check(&relation, &columns, *unique)?;
            let name = match name {
                Some(name) => {
                    let full = QualifiedName { schema: relation.name.schema.clone(), name: name.value.clone() };
                    if *if_not_exists && (catalog.find(&full).is_some() || catalog.find_index(&full).is_some()) {
                        let notice = format!("relation \"{}\" already exists", name.value);
                        return Ok(Statement::Index(Box::new(IndexChange::Exists { notice })));
                    }
                    check_new(&full, catalog, false).map_err(|error| error.at(Some(name.position)))?;
                    full.name
                }
                None => chosen_name(&relation, &columns, catalog),
            };
            IndexChange::Create { relation: relation.id, name, columns, unique: *unique }
        }
        IndexStatement::Drop { names, if_exists } => {
            let (mut oids, mut notices) = (Vec::new(), Vec::new());
            for name in names {
                match lookup(name, catalog, settings) {
                    Some(index) => oids.push(index.oid),
                    None if *if_exists => notices.push(format!("index \"{}\" does not exist, skipping", name.name)),
                    None => return Err(unknown(name, catalog, settings)),
                }
            }
            IndexChange::Drop { oids, notices }
        }
        IndexStatement::Rename { name, if_exists, new_name } => match lookup(name, catalog, settings) {
            Some(index) => {
                let full = QualifiedName { schema: index.name.schema.clone(), name: new_name.value.clone() };
                check_new(&full, catalog, false).map_err(|error| error.at(Some(new_name.position)))?;
                IndexChange::Rename { oid: index.oid, new_name: new_name.value.clone() }
            }
            None if *if_exists => IndexChange::Exists { notice: format!("relation \"{}\" does not exist", name.name) },
            None => return Err(unknown(name, catalog, settings)),
        },
    };
    Ok(Statement::Index(Box::new(change)))
}

fn column(item: &IndexItem, relation: &Relation) -> Result<IndexColumn> {
    let at = Some(item.column.position);
    let Ok(column) = relation.schema.index_of(&item.column.value) else {
        let message = format!("column \"{}\" does not exist", item.column.value);
        return Err(PlanError::new(PlanErrorKind::UndefinedColumn, message).at(at));
    };
    let data_type = relation.schema.field(column).data_type();
    if *data_type == JSON {
        let message = "data type json has no default operator class for access method \"btree\"";
        return Err(PlanError::new(PlanErrorKind::UndefinedObject, message)
            .with_hint("You must specify an operator class for the index or define a default operator class for the data type.")
            .at(at));
    }
    // Their order is not that of their bytes: such an index would never be used.
    let unordered = *data_type == JSONB || matches!(data_type, DataType::Interval(_));
    if unordered || !can_sort(&relation.schema, &[column]) {
        let message = format!("an index on a column of type {} is not supported", sql_name(data_type));
        return Err(PlanError::unsupported(message).at(at));
    }
    Ok(IndexColumn { column, descending: item.descending, nulls_first: item.nulls_first })
}

fn check(relation: &Relation, columns: &[IndexColumn], unique: bool) -> Result<()> {
    let Some(key) = relation.key() else {
        let message = format!("cannot create index on {}", described(relation));
        return Err(PlanError::new(PlanErrorKind::WrongObjectType, message)
            .with_detail("Only tables and materialized views keep rows that an index could find."));
    };
    if columns.len() > INDEX_COLUMNS_MAX {
        let message = format!("cannot use more than {INDEX_COLUMNS_MAX} columns in an index");
        return Err(PlanError::new(PlanErrorKind::ProgramLimitExceeded, message));
    }
    // What holds the key is unique; other columns are held to nothing.
    let holds_key = !key.is_empty() && key.iter().all(|key| columns.iter().any(|column| column.column == *key));
    if unique && !holds_key {
        return Err(PlanError::unsupported("a unique index beside the primary key is not supported")
            .with_hint("Declare the columns as the PRIMARY KEY, or leave UNIQUE out."));
    }
    Ok(())
}

/// As Postgres chooses: relation, columns, `idx`, and a number where that is taken.
fn chosen_name(relation: &Relation, columns: &[IndexColumn], catalog: &Catalog) -> String {
    let columns = columns.iter().map(|column| relation.schema.field(column.column).name().as_str());
    let stem = format!("{}_{}_idx", relation.name.name, columns.collect::<Vec<_>>().join("_"));
    let stem: String = stem.chars().take(48).collect();
    let free = |name: &String| {
        let full = QualifiedName { schema: relation.name.schema.clone(), name: name.clone() };
        catalog.find(&full).is_none() && catalog.find_index(&full).is_none()
    };
    let numbered = (1..).map(|number| format!("{stem}{number}"));
    std::iter::once(stem.clone()).chain(numbered).find(free).expect("there are more numbers than relations")
}

/// The index of a name, found over the search path if it has no schema.
pub(super) fn lookup(name: &Name, catalog: &Catalog, settings: &PlanSettings) -> Option<Arc<Index>> {
    let in_schema = |schema: &str| {
        catalog.find_index(&QualifiedName { schema: schema.to_string(), name: name.name.clone() }).cloned()
    };
    match &name.schema {
        Some(schema) => in_schema(schema),
        None => search_schemas(settings).find_map(in_schema),
    }
}

fn unknown(name: &Name, catalog: &Catalog, settings: &PlanSettings) -> PlanError {
    let at = Some(name.position);
    let table = name.name.strip_suffix("_pkey").map(|table| Name { name: table.to_string(), ..name.clone() });
    if table.is_some_and(|table| find(&table, catalog, settings).is_ok()) {
        let message = format!("cannot drop or rename index \"{}\": it is that of a primary key", name.name);
        return PlanError::new(PlanErrorKind::DependentObjectsStillExist, message).at(at);
    }
    match find(name, catalog, settings) {
        Ok(_) => PlanError::new(PlanErrorKind::WrongObjectType, format!("\"{}\" is not an index", name.name)).at(at),
        Err(error) if error.kind == PlanErrorKind::UndefinedSchema => error,
        Err(_) => {
            PlanError::new(PlanErrorKind::UndefinedObject, format!("index \"{}\" does not exist", name.name)).at(at)
        }
    }
}
