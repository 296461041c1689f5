//! Statements and what they define, or the error with a caret.

mod fuzz;
mod golden;
mod world;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use arrow::datatypes::Schema;
use millstream_planner::error::TextPosition;
use millstream_planner::parse::{self, ast};
use millstream_planner::statement::{Statement, StatementText};
use millstream_planner::types::sql_name;
use millstream_runtime::plan::InputRelation;
use millstream_runtime::source::{ColumnOrigin, ConnectorSpec};

use self::golden::{check, shown};
use self::world::World;

#[test]
fn syntax() {
    check("syntax.txt", |sql| {
        let text = StatementText { sql: sql.to_string(), start: TextPosition(1) };
        match parse::parse_statement(&text) {
            Ok(ast::Statement::Query(query)) => query.to_string(),
            Ok(ast::Statement::Insert(insert)) => insert.to_string(),
            Ok(other) => format!("{other:?}"),
            Err(error) => shown(sql, &error),
        }
    });
}

#[test]
fn relations() {
    definitions("relations.txt");
}

#[test]
fn objects() {
    definitions("objects.txt");
}

#[test]
fn views() {
    definitions("views.txt");
}

#[test]
fn sinks() {
    definitions("sinks.txt");
}

fn definitions(file: &str) {
    let mut world = World::new();
    check(file, |sql| {
        let before = world.clone();
        match world.run(sql) {
            Ok(statement) => without_trailing_blanks(&rendered(&before, &statement)),
            Err(error) => shown(sql, &error),
        }
    });
}

fn without_trailing_blanks(text: &str) -> String {
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn rendered(world: &World, statement: &Statement) -> String {
    match statement {
        Statement::CreateTable(table) => {
            let mut text = format!("table {}.{}\n", table.name.schema, table.name.name);
            input(&mut text, &table.input, &table.defaults);
            if table.append_only {
                text.push_str("append only\n");
            }
            if table.on_conflict != Default::default() {
                writeln!(text, "on conflict {:?}", table.on_conflict).unwrap();
            }
            table.connector.iter().for_each(|spec| connector(&mut text, spec));
            text
        }
        Statement::CreateSource(source) => {
            let mut text = format!("source {}.{}\n", source.name.schema, source.name.name);
            input(&mut text, &source.input, &[]);
            connector(&mut text, &source.connector);
            text
        }
        Statement::CreateView(view) => {
            let mut text = format!("view {}.{}\n", view.name.schema, view.name.name);
            columns(&mut text, &view.schema);
            writeln!(text, "query {}", view.query).unwrap();
            depends(&mut text, world, &view.depends_on);
            text
        }
        Statement::CreateMaterializedView(view) => {
            let mut text = format!("materialized view {}.{}\n", view.name.schema, view.name.name);
            columns(&mut text, &view.schema);
            writeln!(text, "{:?}", view.definition).unwrap();
            depends(&mut text, world, &view.depends_on);
            text
        }
        Statement::CreateSink(sink) => {
            let mut text = format!("sink {}.{}\n", sink.name.schema, sink.name.name);
            columns(&mut text, &sink.dataflow.root().schema);
            writeln!(text, "{:?}", sink.dataflow.root().changes).unwrap();
            connector(&mut text, &sink.connector);
            depends(&mut text, world, &sink.depends_on);
            text
        }
        Statement::Drop(drop) => {
            let names: Vec<String> = drop.relations.iter().map(|id| world.name(*id)).collect();
            let mut text = format!("drop {}\n", names.join(", "));
            drop.notices.iter().for_each(|notice| writeln!(text, "NOTICE: {notice}").unwrap());
            text
        }
        Statement::Explain(explain) => format!("explain {:?} of {}", explain.mode, rendered(world, &explain.statement)),
        Statement::Insert(insert) => format!("insert {:?}", insert.on_conflict),
        Statement::Query(query) => query.plan.display_indent().to_string(),
        Statement::Command(command) => format!("{command:?}"),
        other => format!("{other:?}"),
    }
}

fn input(text: &mut String, input: &InputRelation, defaults: &[Option<String>]) {
    for (index, field) in input.schema.fields().iter().enumerate() {
        let null = if field.is_nullable() { "" } else { " not null" };
        write!(text, "  {} {}{null}", field.name(), sql_name(field.data_type())).unwrap();
        if let Some(Some(default)) = defaults.get(index) {
            write!(text, " default {default}").unwrap();
        }
        if let Some(expression) = index.checked_sub(input.physical_columns).map(|index| &input.generated[index]) {
            write!(text, " generated {expression}").unwrap();
        }
        text.push('\n');
    }
    if !input.primary_key.is_empty() {
        writeln!(text, "primary key {:?}", input.primary_key).unwrap();
    }
    if let Some(watermark) = &input.watermark {
        let micros = (watermark.allowed_lateness_micros, watermark.idle_timeout_micros);
        writeln!(
            text,
            "watermark {} {} lateness {} idle {:?}",
            watermark.column, watermark.expression, micros.0, micros.1
        )
        .unwrap();
    }
    writeln!(text, "{:?}", input.changes).unwrap();
}

fn columns(text: &mut String, schema: &Schema) {
    for field in schema.fields() {
        let null = if field.is_nullable() { "" } else { " not null" };
        writeln!(text, "  {} {}{null}", field.name(), sql_name(field.data_type())).unwrap();
    }
}

fn connector(text: &mut String, spec: &ConnectorSpec) {
    let list = |options: &BTreeMap<String, String>| {
        options.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    };
    writeln!(text, "connector {} {}", spec.connector, list(&spec.options)).unwrap();
    if let Some(format) = &spec.format {
        writeln!(text, "format {} {} {}", format.format, format.encode, list(&format.options)).unwrap();
    }
    if spec.origins.iter().any(|origin| *origin != ColumnOrigin::Field) {
        writeln!(text, "origins {:?}", spec.origins).unwrap();
    }
    if !spec.primary_key.is_empty() {
        writeln!(text, "key {:?}", spec.primary_key).unwrap();
    }
}

fn depends(text: &mut String, world: &World, ids: &[millstream_runtime::plan::RelationId]) {
    let names: Vec<String> = ids.iter().map(|id| world.name(*id)).collect();
    writeln!(text, "depends on {}", names.join(", ")).unwrap();
}
