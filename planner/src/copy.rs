//! `COPY`, planned: what travels, in which direction, and in which form.
//!
//! A query inside a COPY stays text with its place in what the client sent: whoever runs it plans it as it
//! would plan that text alone, so that everything that gives rows can be copied. Options are checked here, as
//! Postgres checks them; columns that an option names are checked where the columns are known.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{LogicalPlan, TableSource};

use crate::bind::plan_error;
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::parse::ast::Identifier;
use crate::statement::{Insert, Query, StatementText};

/// `COPY`.
#[derive(Clone, Debug)]
pub enum Copy {
    /// `COPY ... TO STDOUT`.
    Out {
        /// The rows.
        source: CopySource,
        /// Their form.
        options: CopyOptions,
    },
    /// `COPY table FROM STDIN`.
    In(Arc<CopyIn>),
}

/// Where the rows of `COPY ... TO` come from.
#[derive(Clone, Debug)]
pub enum CopySource {
    /// The columns of a relation.
    Relation(Box<Query>),
    /// What stands in the parentheses.
    Text(StatementText),
}

/// `COPY table FROM STDIN`.
#[derive(Clone, Debug)]
pub struct CopyIn {
    /// The table's name, for messages.
    pub table: String,
    /// The columns that the data has, in its order, in the types in which the table stores them.
    pub columns: SchemaRef,
    /// Whether these are all physical columns in order: then a row of the data is a row of the table.
    pub is_whole_row: bool,
    /// Adds the rows of a [`CopyRows`]: see [`rows_of_copy`].
    pub insert: Insert,
    /// Their form.
    pub options: CopyOptions,
}

/// The table source that stands for the data of a COPY in the plan of its rows.
#[derive(Debug)]
pub struct CopyRows {
    /// The columns of the data.
    pub columns: SchemaRef,
}

impl TableSource for CopyRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.columns)
    }
}

/// The plan of a COPY's rows over some of its data.
pub fn rows_of_copy(plan: &LogicalPlan, rows: &Arc<dyn datafusion::catalog::TableProvider>) -> Result<LogicalPlan> {
    let put_in = plan.clone().transform_up(|node| match node {
        LogicalPlan::TableScan(mut scan) if scan.source.downcast_ref::<CopyRows>().is_some() => {
            scan.source = provider_as_source(Arc::clone(rows));
            Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
        }
        other => Ok(Transformed::no(other)),
    });
    put_in.map(|transformed| transformed.data).map_err(plan_error)
}

/// The form in which rows travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOptions {
    /// `FORMAT`.
    pub format: CopyFormat,
    /// `DELIMITER`.
    pub delimiter: u8,
    /// `NULL`: what stands for a missing value.
    pub null: String,
    /// `HEADER`.
    pub header: CopyHeader,
    /// `QUOTE`, of csv.
    pub quote: u8,
    /// `ESCAPE`, of csv.
    pub escape: u8,
    /// `FORCE_QUOTE`.
    pub force_quote: ForcedColumns,
    /// `FORCE_NOT_NULL`.
    pub force_not_null: ForcedColumns,
    /// `FORCE_NULL`.
    pub force_null: ForcedColumns,
}

/// `FORMAT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyFormat {
    /// Tabs, `\N` and backslashes.
    Text,
    /// RFC 4180, as far as it goes.
    Csv,
    /// Every value in its type's binary form.
    Binary,
}

/// `HEADER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyHeader {
    /// The first line is a row.
    Absent,
    /// The first line names the columns; coming in, nobody looks at it.
    Present,
    /// The first line must name the columns.
    Match,
}

/// Columns that an option names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ForcedColumns {
    /// None.
    #[default]
    None,
    /// `*`.
    All,
    /// A list.
    Named(Vec<Identifier>),
}

impl ForcedColumns {
    /// For every column whether it is one of them; a name that is none of the columns is an error.
    pub fn among(&self, option: &str, columns: &SchemaRef) -> Result<Vec<bool>> {
        let Self::Named(names) = self else {
            return Ok(vec![*self == Self::All; columns.fields().len()]);
        };
        for name in names {
            if columns.index_of(&name.value).is_err() {
                let message = format!("{option} column \"{}\" not referenced by COPY", name.value);
                return Err(PlanError::new(PlanErrorKind::InvalidColumnReference, message).at(Some(name.position)));
            }
        }
        let is_named = |field: &arrow::datatypes::FieldRef| names.iter().any(|name| name.value == *field.name());
        Ok(columns.fields().iter().map(is_named).collect())
    }
}
