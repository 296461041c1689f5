//! The runtime's aggregate states as DataFusion's aggregates.
//!
//! An instance may carry the directions of an order: its further arguments are then the columns of the order,
//! put there by [`super::OrderedAggregates`]. The input's own order never matters.

use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use millstream_runtime::aggregates::{self, AggregateSpec, AggregateStates, Update};
use millstream_runtime::plan::AggregateFunction;

use super::{is_json, sql_type};
use crate::bind::refuse;
use crate::error::PlanErrorKind;
use crate::reading::Reading;
use crate::types::UUID;

/// The aggregates that the runtime keeps, beside `count`, which is DataFusion's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExactKind {
    /// `sum`
    Sum,
    /// `avg`
    Avg,
    /// `avg` with the digits that Postgres gives a quotient.
    Mean,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `bool_and`, `every`
    BoolAnd,
    /// `bool_or`
    BoolOr,
    /// `string_agg`
    StringAgg,
    /// `array_agg`
    ArrayAgg,
}

const KINDS: [ExactKind; 8] = [
    ExactKind::Sum,
    ExactKind::Mean,
    ExactKind::Min,
    ExactKind::Max,
    ExactKind::BoolAnd,
    ExactKind::BoolOr,
    ExactKind::StringAgg,
    ExactKind::ArrayAgg,
];

impl ExactKind {
    fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg | Self::Mean => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::BoolAnd => "bool_and",
            Self::BoolOr => "bool_or",
            Self::StringAgg => "string_agg",
            Self::ArrayAgg => "array_agg",
        }
    }

    fn aliases(self) -> Vec<String> {
        match self {
            Self::Avg | Self::Mean => vec!["mean".to_string()],
            Self::BoolAnd => vec!["every".to_string()],
            Self::Sum | Self::Min | Self::Max | Self::BoolOr | Self::StringAgg | Self::ArrayAgg => Vec::new(),
        }
    }
}

/// One of the runtime's aggregates.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExactAggregate {
    /// Which one.
    pub kind: ExactKind,
    /// What stands between two values of `string_agg`, once it is known.
    pub delimiter: Option<String>,
    /// Directions of the columns of the order, which follow the argument.
    pub order: Vec<SortOptions>,
    aliases: Vec<String>,
    signature: Signature,
}

/// The functions as they are called by name.
pub(super) fn functions(reading: Reading) -> Vec<Arc<AggregateUDF>> {
    let of_reading = |kind| match kind {
        ExactKind::Mean if reading < Reading::POSTGRES_DIGITS => ExactKind::Avg,
        kind => kind,
    };
    let function = |kind| Arc::new(AggregateUDF::new_from_impl(ExactAggregate::new(of_reading(kind))));
    KINDS.into_iter().map(function).collect()
}

impl ExactAggregate {
    fn new(kind: ExactKind) -> Self {
        let signature = Signature::user_defined(Volatility::Immutable);
        Self { kind, delimiter: None, order: Vec::new(), aliases: kind.aliases(), signature }
    }

    /// The same aggregate, settled: the delimiter known, the order among the arguments.
    pub(super) fn settled(&self, delimiter: Option<String>, order: Vec<SortOptions>) -> Self {
        Self { delimiter, order, ..self.clone() }
    }

    /// The runtime's name of it.
    pub fn function(&self) -> AggregateFunction {
        match self.kind {
            ExactKind::Sum => AggregateFunction::Sum,
            ExactKind::Avg => AggregateFunction::Avg,
            ExactKind::Mean => AggregateFunction::Mean,
            ExactKind::Min => AggregateFunction::Min,
            ExactKind::Max => AggregateFunction::Max,
            ExactKind::BoolAnd => AggregateFunction::BoolAnd,
            ExactKind::BoolOr => AggregateFunction::BoolOr,
            ExactKind::StringAgg => {
                AggregateFunction::StringAgg { delimiter: self.delimiter.clone().unwrap_or_default() }
            }
            ExactKind::ArrayAgg => AggregateFunction::ArrayAgg,
        }
    }

    fn states(&self, args: &AccumulatorArgs<'_>, retractable: bool) -> Result<States> {
        let mut types = args.expr_fields.iter().map(|field| field.data_type().clone());
        let argument = types.next();
        let spec = AggregateSpec {
            function: self.function(),
            argument,
            distinct: args.is_distinct,
            order: types.zip(self.order.iter().copied()).collect(),
            retractable,
        };
        States::new(spec)
    }

    fn undefined(&self, types: &[DataType]) -> DataFusionError {
        let shown: Vec<String> = types.iter().map(sql_type).collect();
        refuse(
            PlanErrorKind::UndefinedFunction,
            format!("function {}({}) does not exist", self.kind.name(), shown.join(", ")),
        )
    }
}

impl AggregateUDFImpl for ExactAggregate {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        aggregates::result_type(&self.function(), arg_types.first()).map_err(|_| self.undefined(arg_types))
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let settled = !self.order.is_empty() || self.delimiter.is_some();
        let expected = if self.kind == ExactKind::StringAgg { 2 } else { 1 };
        if arg_types.is_empty() || (!settled && arg_types.len() != expected) {
            return Err(self.undefined(arg_types));
        }
        let mut coerced = arg_types.to_vec();
        let unknown = arg_types[0].is_null();
        match self.kind {
            ExactKind::Sum | ExactKind::Avg | ExactKind::Mean if unknown => coerced[0] = DataType::Int64,
            ExactKind::BoolAnd | ExactKind::BoolOr if unknown => coerced[0] = DataType::Boolean,
            ExactKind::StringAgg => coerced.iter_mut().take(expected).for_each(|coerced| {
                if coerced.is_null() || coerced.is_string() {
                    *coerced = DataType::Utf8;
                }
            }),
            ExactKind::Min | ExactKind::Max | ExactKind::ArrayAgg if unknown => coerced[0] = DataType::Utf8,
            _ => {}
        }
        // Postgres has no such order or sum of them.
        let unordered = is_json(&coerced[0]) || coerced[0] == UUID;
        if unordered && !matches!(self.kind, ExactKind::ArrayAgg) {
            return Err(self.undefined(arg_types));
        }
        self.return_type(&coerced[..1])?;
        Ok(coerced)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(OneGroup(self.states(&args, false)?)))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(OneGroup(self.states(&args, true)?)))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "state"), DataType::Binary, false))])
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(ManyGroups { states: self.states(&args, false)?, groups: 0 }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// The runtime's states and what they were made from.
struct States {
    spec: AggregateSpec,
    inner: AggregateStates,
}

impl States {
    fn new(spec: AggregateSpec) -> Result<Self> {
        let inner = AggregateStates::new(&spec).map_err(external)?;
        Ok(Self { spec, inner })
    }

    fn update(
        &mut self,
        values: &[ArrayRef],
        groups: &[u32],
        weights: Option<&[i64]>,
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let order_columns = self.spec.order.len();
        let order = values.get(1..=order_columns).unwrap_or_default();
        self.inner.update(Update { argument: values.first(), order, filter, groups, weights }).map_err(external)
    }

    fn merge(&mut self, states: &[ArrayRef], groups: &[u32]) -> Result<()> {
        let saved = states.first().ok_or_else(|| DataFusionError::Internal("a state without columns".to_string()))?;
        self.inner.merge(groups, saved.as_binary::<i32>()).map_err(external)
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        let evaluated = self.inner.evaluate(groups).map_err(external)?;
        match evaluated.failures.first() {
            None => Ok(evaluated.values),
            Some((_, reason)) => Err(DataFusionError::Execution(reason.clone())),
        }
    }
}

impl std::fmt::Debug for States {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.spec.fmt(f)
    }
}

fn external(error: millstream_runtime::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// An aggregate without groups, or over a window's frame.
#[derive(Debug)]
struct OneGroup(States);

impl OneGroup {
    fn apply(&mut self, values: &[ArrayRef], weight: i64) -> Result<()> {
        let rows = values.first().map_or(0, |values| values.len());
        self.0.inner.resize(1);
        self.0.update(values, &vec![0; rows], Some(&vec![weight; rows]), None)
    }
}

impl Accumulator for OneGroup {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.apply(values, 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.apply(values, -1)
    }

    fn supports_retract_batch(&self) -> bool {
        self.0.spec.retractable
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.inner.resize(1);
        ScalarValue::try_from_array(&self.0.evaluate(&[0])?, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.0.inner.memory_bytes()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.inner.resize(1);
        Ok(vec![ScalarValue::try_from_array(&self.0.inner.save(&[0]), 0)?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.inner.resize(1);
        let rows = states.first().map_or(0, |states| states.len());
        self.0.merge(states, &vec![0; rows])
    }
}

/// An aggregate per group.
struct ManyGroups {
    states: States,
    groups: usize,
}

impl ManyGroups {
    fn grow(&mut self, total: usize) {
        self.groups = self.groups.max(total);
        self.states.inner.resize(self.groups);
    }

    /// The first groups; the others move down.
    fn take(&mut self, emit_to: EmitTo) -> Result<(AggregateStates, usize)> {
        let fresh = || AggregateStates::new(&self.states.spec).map_err(external);
        match emit_to {
            EmitTo::All => {
                let taken = std::mem::replace(&mut self.states.inner, fresh()?);
                Ok((taken, std::mem::take(&mut self.groups)))
            }
            EmitTo::First(count) => {
                let rest: Vec<u32> = numbers(count..self.groups);
                let mut remaining = fresh()?;
                remaining.resize(rest.len());
                remaining.merge(&numbers(0..rest.len()), &self.states.inner.save(&rest)).map_err(external)?;
                let taken = std::mem::replace(&mut self.states.inner, remaining);
                self.groups = rest.len();
                Ok((taken, count))
            }
        }
    }
}

fn numbers(range: std::ops::Range<usize>) -> Vec<u32> {
    range.map(|number| u32::try_from(number).expect("fewer than 2^32 groups fit in memory")).collect()
}

fn group_numbers(indices: &[usize]) -> Vec<u32> {
    indices.iter().map(|group| u32::try_from(*group).expect("fewer than 2^32 groups fit in memory")).collect()
}

impl GroupsAccumulator for ManyGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.grow(total_num_groups);
        self.states.update(values, &group_numbers(group_indices), None, opt_filter)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let (inner, count) = self.take(emit_to)?;
        States { spec: self.states.spec.clone(), inner }.evaluate(&numbers(0..count))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (inner, count) = self.take(emit_to)?;
        Ok(vec![Arc::new(inner.save(&numbers(0..count)))])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.grow(total_num_groups);
        self.states.merge(values, &group_numbers(group_indices))
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = values.first().map_or(0, |values| values.len());
        let groups = numbers(0..rows);
        let mut states = States::new(self.states.spec.clone())?;
        states.inner.resize(rows);
        states.update(values, &groups, None, opt_filter)?;
        Ok(vec![Arc::new(states.inner.save(&groups))])
    }

    fn size(&self) -> usize {
        self.states.inner.memory_bytes()
    }
}
