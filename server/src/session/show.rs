//! SHOW and DESCRIBE: what there is, and how it does.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream_planner::catalog::{Relation, RelationKind};
use millstream_planner::statement::ShowObjects;
use millstream_planner::types::sql_name;
use millstream_runtime::plan::RelationId;
use millstream_runtime::time::Watermark;

use super::change::one_batch;
use super::prepare::texts;
use super::settings::spelling;
use super::sqlstate::Condition;
use super::{CommandTag, Outcome, Session, SqlError};
use crate::engine::masked_sql;
use crate::engine::system::jobs::{Job, jobs};
use crate::engine::system::{count, is_system_schema, timestamp, watermarks};

/// The columns of SHOW JOBS.
pub(super) fn jobs_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("graph", DataType::Int64, true),
        Field::new("relation", DataType::Utf8, true),
        Field::new("kind", DataType::Utf8, true),
        Field::new("state", DataType::Utf8, true),
        Field::new("reason", DataType::Utf8, true),
        Field::new("progress", DataType::Float64, true),
        Field::new("epoch", DataType::Utf8, true),
        timestamp("watermark"),
    ]))
}

impl Session {
    pub(super) fn show_setting(&self, name: &str) -> Result<Outcome, SqlError> {
        if name == "all" {
            let rows: Vec<[Option<String>; 3]> = self
                .settings
                .all()
                .into_iter()
                .map(|row| {
                    let value = self.setting(&row.name.to_ascii_lowercase()).unwrap_or(row.shown);
                    [Some(row.name), Some(value), Some(row.description.to_string())]
                })
                .collect();
            return text_rows(&["name", "setting", "description"], &rows);
        }
        let value = match self.setting(name) {
            Some(value) => value,
            None => self.settings.shown(name)?,
        };
        text_rows(&[spelling(name)], &[[Some(value)]])
    }

    pub(super) fn show_objects(&self, objects: ShowObjects) -> Result<Outcome, SqlError> {
        let state = self.state();
        let catalog = &state.catalog.view;
        let of_kind = |wanted: fn(&RelationKind) -> bool| {
            let mut rows: Vec<[Option<String>; 2]> = catalog
                .relations()
                .filter(|relation| wanted(&relation.kind))
                .map(|relation| [Some(relation.name.schema.clone()), Some(relation.name.name.clone())])
                .collect();
            rows.sort();
            text_rows(&["schema", "name"], &rows)
        };
        match objects {
            ShowObjects::Tables => of_kind(|kind| matches!(kind, RelationKind::Table(_))),
            ShowObjects::Sources => of_kind(|kind| matches!(kind, RelationKind::Source(_))),
            ShowObjects::Views => of_kind(|kind| matches!(kind, RelationKind::View { .. })),
            ShowObjects::MaterializedViews => of_kind(|kind| matches!(kind, RelationKind::MaterializedView(_))),
            ShowObjects::Sinks => of_kind(|kind| matches!(kind, RelationKind::Sink(_))),
            ShowObjects::Schemas => {
                let names = catalog.schemas().keys().filter(|name| !is_system_schema(name));
                let rows: Vec<[Option<String>; 1]> = names.map(|name| [Some(name.clone())]).collect();
                text_rows(&["name"], &rows)
            }
            ShowObjects::Secrets => {
                let mut names: Vec<[Option<String>; 2]> = catalog
                    .secrets()
                    .map(|secret| [Some(secret.name.schema.clone()), Some(secret.name.name.clone())])
                    .collect();
                names.sort();
                text_rows(&["schema", "name"], &names)
            }
            ShowObjects::Jobs => {
                let jobs = jobs(&self.engine, &self.engine.state(), self.actor()?.current);
                shown(job_rows(&jobs)?)
            }
        }
    }

    pub(super) fn show_create(&self, relation: RelationId) -> Result<Outcome, SqlError> {
        let relation = self.relation(relation)?;
        let name = format!("{}.{}", relation.name.schema, relation.name.name);
        text_rows(&["name", "statement"], &[[Some(name), Some(masked_sql(&relation))]])
    }

    pub(super) fn describe(&self, relation: RelationId) -> Result<Outcome, SqlError> {
        let relation = self.relation(relation)?;
        let (key, defaults, physical) = match &relation.kind {
            RelationKind::Table(table) => {
                (table.input.primary_key.clone(), table.defaults.clone(), table.input.physical_columns)
            }
            RelationKind::Source(source) => {
                (source.input.primary_key.clone(), Vec::new(), source.input.physical_columns)
            }
            RelationKind::MaterializedView(view) => (view.key.clone(), Vec::new(), usize::MAX),
            RelationKind::View { .. } | RelationKind::Sink(_) | RelationKind::System => {
                (Vec::new(), Vec::new(), usize::MAX)
            }
        };
        let columns = relation.schema.fields().iter().enumerate();
        let rows: Vec<[Option<String>; 5]> = columns
            .map(|(at, field)| {
                let default = defaults.get(at).cloned().flatten();
                let generated = (at >= physical).then(|| "generated".to_string());
                [
                    Some(field.name().clone()),
                    Some(sql_name(field.data_type())),
                    Some(if field.is_nullable() { "yes" } else { "no" }.to_string()),
                    key.contains(&at).then(|| "yes".to_string()),
                    default.or(generated),
                ]
            })
            .collect();
        text_rows(&["column", "type", "nullable", "key", "default"], &rows)
    }

    pub(super) fn relation(&self, id: RelationId) -> Result<Arc<Relation>, SqlError> {
        let state = self.state();
        let relation = state.catalog.view.get(id).cloned();
        relation.ok_or_else(|| SqlError::new(Condition::UndefinedTable, "the relation was dropped"))
    }
}

fn job_rows(jobs: &[Job]) -> Result<RecordBatch, SqlError> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(jobs.iter().map(|job| count(job.graph)))),
        Arc::new(StringArray::from_iter_values(jobs.iter().map(|job| &job.relation))),
        Arc::new(StringArray::from_iter_values(jobs.iter().map(|job| job.kind))),
        Arc::new(StringArray::from_iter_values(jobs.iter().map(|job| job.state))),
        Arc::new(StringArray::from_iter(jobs.iter().map(|job| job.reason.as_ref()))),
        Arc::new(Float64Array::from_iter(jobs.iter().map(|job| job.progress))),
        Arc::new(StringArray::from_iter_values(jobs.iter().map(|job| &job.epoch))),
        watermarks(jobs.iter().map(|job: &Job| job.watermark.filter(|at| *at != Watermark::NONE))),
    ];
    Ok(RecordBatch::try_new(jobs_schema(), columns)?)
}

/// Rows of text under the given names.
pub(super) fn text_rows<const N: usize>(names: &[&str; N], rows: &[[Option<String>; N]]) -> Result<Outcome, SqlError> {
    let column = |at: usize| -> ArrayRef { Arc::new(StringArray::from_iter(rows.iter().map(|row| row[at].as_ref()))) };
    shown(RecordBatch::try_new(texts(names), (0..N).map(column).collect())?)
}

fn shown(rows: RecordBatch) -> Result<Outcome, SqlError> {
    Ok(Outcome { rows: Some(one_batch(rows)), ..Outcome::tagged(CommandTag::Fixed("SHOW".to_string())) })
}
