//! The one type of expressions that stand for one another: the branches of CASE, the arguments of COALESCE, the
//! rows of UNION. Postgres refuses what has none; DataFusion would make text of everything.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, Projection, Union};

use super::diagnose::refuse;
use super::operators::{Operand, are_alike, cast, float_type, located, moment_type, read};
use crate::error::PlanErrorKind;
use crate::functions::{character, sql_type};
use crate::reading::Reading;
use crate::types::CHAR;

/// The expressions with literals and floats in their common type; `place` is what Postgres calls them.
pub(super) fn matched(place: &str, expressions: Vec<Expr>, schema: &DFSchema, reading: Reading) -> Result<Vec<Expr>> {
    let operands: Vec<Operand> = expressions.iter().map(|expr| Operand::of(expr, schema)).collect();
    let Some(common) = common_type(&operands)
        .map_err(|unlike| located(unlike.error(place), [&expressions[unlike.place], &expressions[0]]))?
    else {
        return Ok(expressions);
    };
    let pairs = expressions.into_iter().zip(operands);
    pairs.map(|(expr, operand)| conformed(expr, &operand, &common, reading)).collect()
}

/// Two types that have none in common.
struct Unlike {
    before: DataType,
    here: DataType,
    place: usize,
}

impl Unlike {
    fn error(&self, place: &str) -> datafusion::error::DataFusionError {
        let (before, here) = (sql_type(&self.before), sql_type(&self.here));
        refuse(PlanErrorKind::DatatypeMismatch, format!("{place} types {before} and {here} cannot be matched"))
    }
}

/// The type that all operands can have; `None` where no operand has one.
fn common_type(operands: &[Operand]) -> std::result::Result<Option<DataType>, Unlike> {
    let mut common: Option<DataType> = None;
    for (place, operand) in operands.iter().enumerate() {
        let Operand::Typed(here) = operand else { continue };
        common = Some(match common {
            None => here.clone(),
            Some(before) if !are_alike(&before, here) => return Err(Unlike { before, here: here.clone(), place }),
            Some(before) => match float_type(&before, here) {
                Some(float) => float,
                None => {
                    if width(here) > width(&before) {
                        here.clone()
                    } else {
                        before
                    }
                }
            },
        });
    }
    Ok(common)
}

/// Which of two types that are alike holds the values of the other.
fn width(data_type: &DataType) -> u8 {
    match data_type {
        DataType::Int16 | DataType::Date32 => 1,
        DataType::Int32 | DataType::Timestamp(_, None) => 2,
        DataType::Int64 | DataType::Timestamp(_, Some(_)) => 3,
        DataType::Decimal128(..) => 4,
        DataType::Decimal256(..) => 5,
        _ => 0,
    }
}

/// A literal read, and a number beside floats cast; DataFusion brings the others together without loss.
fn conformed(expr: Expr, operand: &Operand, common: &DataType, reading: Reading) -> Result<Expr> {
    match operand {
        Operand::Open => Ok(expr),
        Operand::Unknown => read(expr, common),
        Operand::Typed(own) if is_cast(own, common, reading) => Ok(cast(expr, own, common)),
        Operand::Typed(DataType::Utf8) if *common == CHAR => Ok(character(expr, None)),
        Operand::Typed(own) if *own == CHAR => Ok(cast(expr, own, common)),
        Operand::Typed(_) => Ok(expr),
    }
}

/// Whether values of a type become those of the common one here, by Postgres' casts: floats, and moments by the clocks
/// of the session.
fn is_cast(own: &DataType, common: &DataType, reading: Reading) -> bool {
    own != common && (common.is_floating() || moment_type(own, common, reading).is_some())
}

/// UNION with the columns of all inputs matched.
pub(super) fn union(union: Union, reading: Reading) -> Result<LogicalPlan> {
    let mut inputs: Vec<LogicalPlan> = union.inputs.iter().map(|input| input.as_ref().clone()).collect();
    if !match_columns("UNION", &mut inputs, reading)? {
        return Ok(LogicalPlan::Union(union));
    }
    let inputs = inputs.into_iter().map(Arc::new).collect();
    Ok(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?))
}

/// Matches the columns of plans with as many columns each, and says whether that changed one.
pub(super) fn match_columns(place: &str, inputs: &mut [LogicalPlan], reading: Reading) -> Result<bool> {
    let mut changed = false;
    for column in 0..inputs.first().map_or(0, |input| input.schema().fields().len()) {
        let operands: Vec<Operand> = inputs.iter().map(|input| column_operand(input, column)).collect();
        let Some(common) = common_type(&operands).map_err(|unlike| unlike.error(place))? else { continue };
        for (input, operand) in inputs.iter_mut().zip(&operands) {
            let changes = match operand {
                Operand::Open => false,
                Operand::Unknown => common != DataType::Utf8,
                Operand::Typed(own) => is_cast(own, &common, reading) || (own.is_string() && *own != common),
            };
            if changes {
                *input = conformed_column(input.clone(), column, operand, &common, reading)?;
                changed = true;
            }
        }
    }
    Ok(changed)
}

/// What is known of a column's type: a literal that a query shows has none of its own.
fn column_operand(plan: &LogicalPlan, column: usize) -> Operand {
    match plan {
        LogicalPlan::Projection(projection) => {
            Operand::of(&projection.expr[column].clone().unalias(), projection.input.schema())
        }
        LogicalPlan::Distinct(Distinct::All(input)) => column_operand(input, column),
        LogicalPlan::SubqueryAlias(alias) => column_operand(&alias.input, column),
        other => match other.schema().field(column).data_type() {
            DataType::Null => Operand::Open,
            data_type => Operand::Typed(data_type.clone()),
        },
    }
}

/// The plan with one of its columns in the common type, under its name.
pub(super) fn conformed_column(
    plan: LogicalPlan,
    column: usize,
    operand: &Operand,
    common: &DataType,
    reading: Reading,
) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Projection(mut projection) => {
            projection.expr[column] = match projection.expr[column].clone() {
                Expr::Alias(mut alias) => {
                    *alias.expr = conformed(*alias.expr, operand, common, reading)?;
                    Expr::Alias(alias)
                }
                expr => {
                    // A join around knows the column by its relation, too.
                    let (qualifier, field) = projection.schema.qualified_field(column);
                    conformed(expr, operand, common, reading)?.alias_qualified(qualifier.cloned(), field.name())
                }
            };
            Ok(LogicalPlan::Projection(Projection::try_new(projection.expr, projection.input)?))
        }
        LogicalPlan::Distinct(Distinct::All(_)) | LogicalPlan::SubqueryAlias(_) => {
            let input = plan.inputs()[0].clone();
            let input = conformed_column(input, column, operand, common, reading)?;
            plan.with_new_exprs(plan.expressions(), vec![input])
        }
        other => {
            let columns = other.schema().iter().enumerate().map(|(place, (qualifier, field))| {
                let expr = Expr::from((qualifier, field));
                match place == column {
                    true => {
                        Ok(conformed(expr, operand, common, reading)?.alias_qualified(qualifier.cloned(), field.name()))
                    }
                    false => Ok(expr),
                }
            });
            let columns = columns.collect::<Result<Vec<_>>>()?;
            Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(other))?))
        }
    }
}
