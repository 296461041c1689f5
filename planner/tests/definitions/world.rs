//! A catalog that planned statements change, as the server does it, without anything running.

use std::sync::Arc;

use millstream_planner::catalog::{
    Catalog, QualifiedName, Relation, RelationKind, SinkDefinition, SourceDefinition, TableDefinition,
};
use millstream_planner::error::{Result, TextPosition};
use millstream_planner::meant::MeantNames;
use millstream_planner::plan::plan;
use millstream_planner::settings::PlanSettings;
use millstream_planner::statement::{NewName, Statement, StatementText};
use millstream_runtime::plan::RelationId;

/// A catalog with schema `public`.
#[derive(Clone)]
pub struct World {
    pub catalog: Catalog,
    pub settings: PlanSettings,
    next: u32,
}

impl World {
    pub fn new() -> Self {
        let mut catalog = Catalog::default();
        catalog.add_schema("public".to_string(), 2200);
        Self { catalog, settings: PlanSettings::default(), next: 1 }
    }

    /// Plans a statement and changes the catalog as it says.
    pub fn run(&mut self, sql: &str) -> Result<Statement> {
        let text = StatementText { sql: sql.to_string(), start: TextPosition(1) };
        let statement = plan(&text, &self.catalog, &self.settings, &[])?;
        self.apply(sql, &statement);
        Ok(statement)
    }

    fn apply(&mut self, sql: &str, statement: &Statement) {
        match statement.clone() {
            Statement::CreateSchema { name, .. } => self.catalog.add_schema(name, 1),
            Statement::DropSchema { names, .. } => names.iter().for_each(|name| self.catalog.remove_schema(name)),
            Statement::CreateTable(table) => {
                let schema = Arc::clone(&table.input.schema);
                let kind = RelationKind::Table(TableDefinition {
                    input: table.input,
                    defaults: table.defaults,
                    on_conflict: table.on_conflict,
                    append_only: table.append_only,
                });
                self.put(sql, table.name, schema, kind, Vec::new(), MeantNames::default());
            }
            Statement::CreateSource(source) => {
                let schema = Arc::clone(&source.input.schema);
                let kind = RelationKind::Source(SourceDefinition { input: source.input, connector: source.connector });
                self.put(sql, source.name, schema, kind, Vec::new(), MeantNames::default());
            }
            Statement::CreateView(view) => {
                let kind = RelationKind::View { query: view.query };
                self.put(sql, view.name, view.schema, kind, view.depends_on, view.names);
            }
            Statement::CreateMaterializedView(view) => {
                let kind = RelationKind::MaterializedView(view.definition);
                self.put(sql, view.name, view.schema, kind, view.depends_on, view.names);
            }
            Statement::CreateSink(sink) => {
                let schema = Arc::clone(&sink.dataflow.root().schema);
                let kind = RelationKind::Sink(SinkDefinition { connector: sink.connector });
                self.put(sql, sink.name, schema, kind, sink.depends_on, MeantNames::default());
            }
            Statement::Drop(drop) => drop.relations.iter().for_each(|id| self.catalog.remove(*id)),
            Statement::Rename { relation: Some(id), to, .. } => {
                let name = self.catalog.get(id).unwrap().name.clone();
                match to {
                    NewName::Name(new) => self.catalog.rename(id, QualifiedName { name: new, ..name }),
                    NewName::Schema(schema) => self.catalog.rename(id, QualifiedName { schema, ..name }),
                    NewName::Swap(other) => self.catalog.swap(id, other),
                }
            }
            Statement::RenameSchema { name, new_name } => self.catalog.rename_schema(&name, &new_name),
            _ => {}
        }
    }

    fn put(
        &mut self,
        sql: &str,
        name: QualifiedName,
        schema: arrow::datatypes::SchemaRef,
        kind: RelationKind,
        depends_on: Vec<RelationId>,
        names: MeantNames,
    ) {
        let replaced = self.catalog.find(&name).map(|existing| (existing.id, &existing.kind));
        let id = match replaced {
            Some((id, RelationKind::View { .. })) => id,
            Some(_) => return,
            None => {
                self.next += 1;
                RelationId(self.next - 1)
            }
        };
        let settings = self.settings.clone();
        let oid = 16_384 + id.0;
        self.catalog.put(Relation {
            id,
            oid,
            name,
            schema,
            shown: Vec::new(),
            generated_sql: Vec::new(),
            kind,
            depends_on,
            names,
            sql: sql.to_string(),
            settings,
            access: Default::default(),
        });
    }

    /// The name of a relation that is there.
    pub fn name(&self, id: RelationId) -> String {
        self.catalog.get(id).map_or_else(|| id.to_string(), |relation| relation.name.name.clone())
    }
}
