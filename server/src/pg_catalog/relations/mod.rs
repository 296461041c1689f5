//! The rows of the system relations: one function per relation that has some.

mod activity;
mod classes;
mod dependencies;
mod information_schema;
mod procedures;
mod server;
mod standard_constraints;
mod statistics;
mod types;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use super::CatalogView;
use super::objects::Objects;
use super::schema::{Definition, definitions};
use super::sql::Tuple;
use super::sql::datum::Datum;

/// A row: names and values; what is not named is NULL.
pub(super) type Row = Vec<(&'static str, Datum)>;

/// Makes a [`Row`].
macro_rules! row {
    ($($name:literal: $value:expr),* $(,)?) => {
        vec![$(($name, $crate::pg_catalog::sql::datum::Datum::from($value))),*]
    };
}
use row;

type Fill = fn(&CatalogView, &Objects) -> Vec<Row>;

/// The relations that have rows; all others are empty.
const FILLED: &[(&str, &str, Fill)] = &[
    ("pg_catalog", "pg_am", server::access_methods),
    ("pg_catalog", "pg_attrdef", classes::defaults),
    ("pg_catalog", "pg_attribute", classes::attributes),
    ("pg_catalog", "pg_auth_members", server::members),
    ("pg_catalog", "pg_authid", server::roles),
    ("pg_catalog", "pg_class", classes::classes),
    ("pg_catalog", "pg_collation", types::collations),
    ("pg_catalog", "pg_constraint", classes::constraints),
    ("pg_catalog", "pg_cursors", activity::cursors),
    ("pg_catalog", "pg_database", server::databases),
    ("pg_catalog", "pg_default_acl", server::default_privileges),
    ("pg_catalog", "pg_depend", dependencies::dependencies),
    ("pg_catalog", "pg_description", dependencies::descriptions),
    ("pg_catalog", "pg_shdescription", dependencies::shared_descriptions),
    ("pg_catalog", "pg_extension", server::extensions),
    ("pg_catalog", "pg_group", server::groups),
    ("pg_catalog", "pg_index", classes::indexes),
    ("pg_catalog", "pg_indexes", classes::index_texts),
    ("pg_catalog", "pg_language", server::languages),
    ("pg_catalog", "pg_locks", activity::locks),
    ("pg_catalog", "pg_matviews", classes::materialized_views),
    ("pg_catalog", "pg_namespace", classes::namespaces),
    ("pg_catalog", "pg_opclass", types::operator_classes),
    ("pg_catalog", "pg_opfamily", types::operator_families),
    ("pg_catalog", "pg_prepared_statements", activity::prepared_statements),
    ("pg_catalog", "pg_proc", procedures::procedures),
    ("pg_catalog", "pg_rewrite", dependencies::rules),
    ("pg_catalog", "pg_roles", server::roles),
    ("pg_catalog", "pg_rules", dependencies::rule_texts),
    ("pg_catalog", "pg_settings", server::settings),
    ("pg_catalog", "pg_shadow", server::users),
    ("pg_catalog", "pg_stat_activity", activity::activity),
    ("pg_catalog", "pg_stat_all_indexes", statistics::all_indexes),
    ("pg_catalog", "pg_stat_all_tables", statistics::all_tables),
    ("pg_catalog", "pg_stat_database", statistics::databases),
    ("pg_catalog", "pg_stat_gssapi", activity::kerberos),
    ("pg_catalog", "pg_stat_progress_copy", activity::copies),
    ("pg_catalog", "pg_stat_sys_tables", statistics::system_tables),
    ("pg_catalog", "pg_stat_user_indexes", statistics::user_indexes),
    ("pg_catalog", "pg_stat_user_tables", statistics::user_tables),
    ("pg_catalog", "pg_statio_all_tables", statistics::all_tables_io),
    ("pg_catalog", "pg_statio_user_tables", statistics::user_tables_io),
    ("pg_catalog", "pg_tables", classes::tables),
    ("pg_catalog", "pg_tablespace", server::tablespaces),
    ("pg_catalog", "pg_type", types::types),
    ("pg_catalog", "pg_user", server::users),
    ("pg_catalog", "pg_views", classes::views),
    ("information_schema", "administrable_role_authorizations", information_schema::administrable_roles),
    ("information_schema", "applicable_roles", information_schema::applicable_roles),
    ("information_schema", "character_sets", information_schema::character_sets),
    ("information_schema", "collations", information_schema::collations),
    ("information_schema", "column_privileges", information_schema::column_privileges),
    ("information_schema", "columns", information_schema::columns),
    ("information_schema", "constraint_column_usage", standard_constraints::constraint_columns),
    ("information_schema", "constraint_table_usage", standard_constraints::constraint_tables),
    ("information_schema", "enabled_roles", information_schema::enabled_roles),
    ("information_schema", "information_schema_catalog_name", information_schema::catalog_name),
    ("information_schema", "key_column_usage", standard_constraints::key_columns),
    ("information_schema", "role_column_grants", information_schema::column_privileges),
    ("information_schema", "role_table_grants", information_schema::role_table_grants),
    ("information_schema", "schemata", information_schema::schemata),
    ("information_schema", "table_constraints", standard_constraints::table_constraints),
    ("information_schema", "table_privileges", information_schema::table_privileges),
    ("information_schema", "tables", information_schema::tables),
    ("information_schema", "view_column_usage", standard_constraints::view_columns),
    ("information_schema", "view_table_usage", standard_constraints::view_tables),
    ("information_schema", "views", information_schema::views),
];

pub(super) use server::settings_records;

/// Which function fills a relation, by the relation's place among the definitions.
static FILLS: LazyLock<HashMap<usize, Fill>> = LazyLock::new(|| {
    let filled = FILLED
        .iter()
        .filter_map(|(schema, name, fill)| super::schema::position(schema, name).map(|position| (position, *fill)));
    filled.collect()
});

/// The rows of a relation, by its place among the definitions.
pub(super) fn tuples(relation: usize, view: &CatalogView, objects: &Objects) -> Arc<Vec<Tuple>> {
    let definition = &definitions()[relation];
    let rows = FILLS.get(&relation).map(|fill| fill(view, objects)).unwrap_or_default();
    let mut tuples: Vec<Tuple> = rows.iter().map(|row| tuple(definition, row)).collect();
    if definition.name == "pg_attribute" {
        tuples.extend(classes::SYSTEM_ATTRIBUTES.iter().cloned());
    }
    Arc::new(tuples)
}

/// A row in the order of its relation's columns.
fn tuple(definition: &Definition, row: &Row) -> Tuple {
    let mut values = vec![Datum::Null; definition.types.len()];
    // Rows name their columns in the relation's order, mostly: each is looked for behind the one before.
    let fields = definition.columns.fields();
    let mut from = 0;
    for (name, value) in row {
        let behind = (from..fields.len()).chain(0..from).find(|at| fields[*at].name() == name);
        if let Some(at) = behind {
            values[at] = value.clone();
            from = at + 1;
        }
    }
    values.into()
}

#[cfg(test)]
mod tests {
    use super::super::{objects, schema};
    use super::*;

    #[test]
    fn every_filled_relation_is_defined_and_names_only_its_columns() {
        let view = CatalogView { catalog: Arc::new(objects::empty_catalog()), ..CatalogView::default() };
        for (schema_name, name, fill) in FILLED {
            let definition = schema::find(schema_name, name).unwrap_or_else(|| panic!("{schema_name}.{name}"));
            for row in fill(&view, &Objects::of(&view)) {
                for (column, _) in &row {
                    assert!(definition.columns.index_of(column).is_ok(), "{name} has no column {column}");
                }
            }
        }
    }
}
