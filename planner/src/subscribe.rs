//! `SUBSCRIBE`, planned: what is followed and how its changes are shown.
//!
//! The columns that lead are ours: `epoch` (a text that `AS OF` takes), `progressed` where progress was asked for,
//! then `weight`, or with an envelope `op`; behind them are those of the relation. Every column may be null: a row
//! that only tells of progress has nothing else.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use millstream_runtime::plan::Dataflow;
use millstream_runtime::time::Epoch;

use crate::batch::with_values;
use crate::bind::{Binder, BoundQuery, reads, view, with_descriptions};
use crate::catalog::{Catalog, Relation, RelationKind, Resolved};
use crate::ddl;
use crate::error::{PlanError, PlanErrorKind, Result, TextPosition};
use crate::parse::ast::{self, Name, SubscribeEnvelope, SubscribeTarget};
use crate::settings::PlanSettings;
use crate::statement::{Read, Statement, Use};

/// `SUBSCRIBE`.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// What is followed.
    pub target: Target,
    /// Its columns.
    pub columns: SchemaRef,
    /// The columns that the client sees: names may repeat.
    pub shown: SchemaRef,
    /// Whether the rows that are there come first.
    pub snapshot: bool,
    /// Whether it is told how far it is where nothing has changed.
    pub progress: bool,
    /// From which epoch on; `None`: from now.
    pub as_of: Option<Epoch>,
    /// How changes are shown.
    pub envelope: Envelope,
    /// What is read.
    pub reads: Vec<Read>,
    /// What it names, itself and through views.
    pub uses: Vec<Use>,
    /// The types of `$1`, `$2`, ...
    pub parameters: Vec<Option<DataType>>,
}

/// What a subscription follows.
#[derive(Clone, Debug)]
pub enum Target {
    /// A table, a materialized view, or rows of one that did not get through.
    Relation(Read),
    /// A query, as a view that lives as long as the subscription.
    Query(Box<Temporary>),
    /// A query with parameters: see [`Subscribe::with_values`].
    Open(Box<Open>),
}

/// A query with parameters, to be made a view once their values are known.
#[derive(Clone, Debug)]
pub struct Open {
    bound: BoundQuery,
    envelope: Option<SubscribeEnvelope>,
}

/// A view that only one subscription knows.
#[derive(Clone, Debug)]
pub struct Temporary {
    /// What it computes.
    pub dataflow: Dataflow,
    /// Unique columns, empty when not known.
    pub key: Vec<usize>,
}

/// How changes are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// Each with its weight.
    Weights,
    /// The newest row of every key that changed: `upsert`, or `delete` with nothing but the key.
    Upsert {
        /// The columns that tell rows apart.
        key: Vec<usize>,
    },
    /// What stood under every key that changed before and what does now: `insert`, `update`, `delete`.
    Debezium {
        /// The columns that tell rows apart.
        key: Vec<usize>,
    },
}

/// Plans a SUBSCRIBE. `parameter_types` are those that the client named for the parameters of a query.
pub(crate) fn subscribe(
    parsed: &ast::Subscribe,
    catalog: &Catalog,
    settings: &PlanSettings,
    parameter_types: &[Option<DataType>],
) -> Result<Statement> {
    let binder = Binder::new(catalog, settings);
    let (bound, position) = match &parsed.target {
        SubscribeTarget::Relation(name) => {
            refuse_kind(name, catalog, settings)?;
            (binder.all_of(name)?, name.position)
        }
        SubscribeTarget::Query { query, position } => (binder.named_columns(query, parameter_types)?, *position),
    };
    let at = |error: PlanError| error.at(Some(position));
    let read = reads(&bound.plan).map_err(crate::bind::plan_error).map_err(at)?;
    let said = parsed.envelope.as_ref();
    let (target, envelope) = match stored(parsed, catalog, settings) {
        Some((relation, key)) => (Target::Relation(relation), envelope(said, &bound.schema, &key)?),
        None => {
            refuse_beside(&read, catalog).map_err(at)?;
            match bound.parameters.is_empty() {
                true => made(&bound, said).map_err(at)?,
                false => {
                    let open = Open { bound: bound.clone(), envelope: said.cloned() };
                    // Which columns are a key is known when the values are: nothing that is shown depends on it.
                    (Target::Open(Box::new(open)), of_kind(said, Vec::new()))
                }
            }
        }
    };
    let progress = parsed.progress.unwrap_or(false);
    Ok(Statement::Subscribe(Box::new(Subscribe {
        target,
        shown: shown(&with_descriptions(&bound.schema, &bound.described, catalog), progress, &envelope),
        columns: bound.schema,
        snapshot: parsed.snapshot.unwrap_or(true),
        progress,
        as_of: parsed.as_of.as_ref().map(|(text, at)| epoch(text, *at)).transpose()?,
        envelope,
        reads: read,
        uses: bound.uses,
        parameters: bound.parameters.into_iter().map(Some).collect(),
    })))
}

impl Subscribe {
    /// The same with values for its parameters; as it is where it has none.
    pub fn with_values(&self, values: Vec<ScalarValue>) -> Result<Cow<'_, Self>> {
        let Target::Open(open) = &self.target else { return Ok(Cow::Borrowed(self)) };
        let plan = with_values(&open.bound.plan, values)?;
        let bound = BoundQuery { plan, ..open.bound.clone() };
        // Positions count in the text that was prepared.
        let made = made(&bound, open.envelope.as_ref());
        let (target, envelope) = made.map_err(|error| PlanError { position: None, ..error })?;
        Ok(Cow::Owned(Self { target, envelope, ..self.clone() }))
    }
}

/// The view of a query, and how its changes are shown.
fn made(bound: &BoundQuery, said: Option<&SubscribeEnvelope>) -> Result<(Target, Envelope)> {
    let view = view(bound, None)?;
    let key = view.definition.key;
    let envelope = envelope(said, &bound.schema, &key)?;
    Ok((Target::Query(Box::new(Temporary { dataflow: view.dataflow, key })), envelope))
}

/// What was named, where its rows are kept: a table, a materialized view, rows that did not get through. With its key.
fn stored(parsed: &ast::Subscribe, catalog: &Catalog, settings: &PlanSettings) -> Option<(Read, Vec<usize>)> {
    let SubscribeTarget::Relation(name) = &parsed.target else { return None };
    let resolved = crate::bind::resolve(catalog, settings, name.schema.as_deref(), &name.name)?;
    match &resolved {
        Resolved::Relation(relation) => Some((resolved.read(), relation.key()?.to_vec())),
        Resolved::Auxiliary { .. } => Some((resolved.read(), Vec::new())),
    }
}

/// Refuses relations whose changes nobody knows.
fn refuse_kind(name: &Name, catalog: &Catalog, settings: &PlanSettings) -> Result<()> {
    let refused = |what: String, hint: &str| {
        Err(PlanError::new(PlanErrorKind::WrongObjectType, format!("cannot subscribe to {what}"))
            .with_hint(hint)
            .at(Some(name.position)))
    };
    let relation: Arc<Relation> = match crate::bind::resolve(catalog, settings, name.schema.as_deref(), &name.name) {
        Some(Resolved::Relation(relation)) => relation,
        // What did not get through is kept; the binder says what there is instead of what is not there.
        Some(Resolved::Auxiliary { .. }) | None => return Ok(()),
    };
    let over_it = "CREATE MATERIALIZED VIEW over it, and subscribe to that.";
    match &relation.kind {
        RelationKind::Table(_) if ddl::sink_of_table(&relation)?.is_some() => {
            refused(format!("table \"{}\" of a connector, which keeps no rows", name.name), over_it)
        }
        RelationKind::Table(_) | RelationKind::MaterializedView(_) | RelationKind::View { .. } => Ok(()),
        RelationKind::Source(_) => refused(format!("source \"{}\", which keeps no rows", name.name), over_it),
        RelationKind::Sink(_) => {
            refused(format!("sink \"{}\"", name.name), "Subscribe to the materialized view that it reads.")
        }
        RelationKind::System => {
            refused(format!("system relation \"{}\"", name.name), "SELECT from it again to see its current state.")
        }
    }
}

/// Refuses queries over rows that did not get through: they stand beside the dataflow, which no operator reads.
fn refuse_beside(reads: &[Read], catalog: &Catalog) -> Result<()> {
    let Some(beside) = reads.iter().find(|read| read.auxiliary.is_some()) else { return Ok(()) };
    let name = catalog.resolve_read(*beside).map(|found| found.name().name).unwrap_or_default();
    let message = format!("cannot subscribe to a query over \"{name}\", which holds rows that did not get through");
    Err(PlanError::unsupported(message)
        .with_hint(format!("SUBSCRIBE \"{name}\" gives all that comes to it and leaves it.")))
}

/// The envelope that was asked for, with a key.
fn of_kind(said: Option<&SubscribeEnvelope>, key: Vec<usize>) -> Envelope {
    match said {
        None => Envelope::Weights,
        Some(said) if said.debezium => Envelope::Debezium { key },
        Some(_) => Envelope::Upsert { key },
    }
}

fn envelope(asked: Option<&SubscribeEnvelope>, columns: &SchemaRef, known_key: &[usize]) -> Result<Envelope> {
    let Some(said) = asked else { return Ok(Envelope::Weights) };
    let mut key = Vec::new();
    for column in &said.key {
        let place = columns.index_of(&column.value).map_err(|_| {
            let message = format!("column \"{}\" does not exist", column.value);
            PlanError::new(PlanErrorKind::UndefinedColumn, message).at(Some(column.position))
        })?;
        if key.contains(&place) {
            let message = format!("column \"{}\" specified more than once", column.value);
            return Err(PlanError::new(PlanErrorKind::DuplicateColumn, message).at(Some(column.position)));
        }
        key.push(place);
    }
    if key.is_empty() {
        key = known_key.to_vec();
    }
    // More columns than a key tell rows apart as well.
    if known_key.is_empty() || !known_key.iter().all(|column| key.contains(column)) {
        let names = |places: &[usize]| {
            let names: Vec<&str> = places.iter().map(|place| columns.field(*place).name().as_str()).collect();
            names.join(", ")
        };
        let error = PlanError::new(PlanErrorKind::InvalidDefinition, "these columns are not known to be unique");
        let error = match known_key {
            [] => error.with_detail("No columns of it are."),
            known => error.with_detail(format!("Those that are: ({}).", names(known))),
        };
        return Err(error
            .with_hint("Leave ENVELOPE out, or subscribe to a table with a primary key or to a query with GROUP BY.")
            .at(Some(said.position)));
    }
    Ok(of_kind(asked, key))
}

fn shown(columns: &SchemaRef, progress: bool, envelope: &Envelope) -> SchemaRef {
    let mut fields = vec![Field::new("epoch", DataType::Utf8, true)];
    if progress {
        fields.push(Field::new("progressed", DataType::Boolean, true));
    }
    let field = |place: usize, prefix: &str| {
        let field = columns.field(place).clone().with_nullable(true);
        let name = format!("{prefix}{}", field.name());
        field.with_name(name)
    };
    let all = 0..columns.fields().len();
    match envelope {
        Envelope::Weights => {
            fields.push(Field::new("weight", DataType::Int64, true));
            fields.extend(all.map(|place| field(place, "")));
        }
        Envelope::Upsert { .. } => {
            fields.push(Field::new("op", DataType::Utf8, true));
            fields.extend(all.map(|place| field(place, "")));
        }
        Envelope::Debezium { .. } => {
            fields.push(Field::new("op", DataType::Utf8, true));
            fields.extend(all.clone().map(|place| field(place, "before_")));
            fields.extend(all.map(|place| field(place, "after_")));
        }
    }
    Arc::new(Schema::new(fields))
}

/// The text of an epoch as the column `epoch` has it.
fn epoch(text: &str, position: TextPosition) -> Result<Epoch> {
    let parsed = text.trim().split_once('.').and_then(|(term, counter)| {
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        (digits(term) && digits(counter)).then_some(())?;
        Some(Epoch { term: term.parse().ok()?, counter: counter.parse().ok()? })
    });
    parsed.ok_or_else(|| {
        PlanError::new(PlanErrorKind::InvalidTextRepresentation, format!("invalid epoch: \"{text}\""))
            .with_hint("Write it as the column epoch of a SUBSCRIBE has it, such as '3.17'.")
            .at(Some(position))
    })
}
