//! Expressions that stand alone: generated columns, watermarks, defaults, checks; and the assignment of an
//! expression's value to a column of another type.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::common::datatype::DataTypeExt;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{EmptyRelation, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Projection};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use sqlparser::ast::{self, Spanned};

use super::context::Context;
use super::diagnose::{plan_error, span_position};
use super::{Binder, analyze, client_schema, joined_columns, literal, normalize, relation};
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::functions::{self, FunctionUse};
use crate::parse::ast::SqlExpression;
use crate::statement::{Query, Use};
use crate::types::CHAR;

/// Where an expression stands: decides which functions it may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A generated column, a watermark, a check: the same row gives the same value for ever.
    RowOnly,
    /// A default: evaluated once per INSERT, may ask for the time or draw a random number. Names no column.
    Default,
    /// An argument of EXECUTE: evaluated once. Names no column, asks no relation.
    Argument,
}

impl Purpose {
    /// Where that is, behind "not allowed".
    fn place(self) -> &'static str {
        match self {
            Self::RowOnly | Self::Default => "here",
            Self::Argument => "in EXECUTE parameters",
        }
    }
}

/// An expression over a relation's columns.
#[derive(Clone, Debug)]
pub struct BoundExpression {
    /// It, with types settled, over columns without qualifiers.
    pub logical: Expr,
    /// It, checked: integer overflow and division by zero are errors.
    pub physical: Arc<dyn PhysicalExpr>,
    /// The type of its value.
    pub data_type: DataType,
    /// Whether its value can be null.
    pub nullable: bool,
}

impl Binder<'_> {
    /// Binds an expression over the columns of `schema`.
    pub fn expression(&self, expr: &ast::Expr, schema: &SchemaRef, purpose: Purpose) -> Result<BoundExpression> {
        let position = span_position(expr.span());
        let df_schema = DFSchema::try_from(schema.as_ref().clone()).map_err(plan_error)?;
        let logical = self.logical_expression(expr, &df_schema, &mut Vec::new()).map_err(|error| error.at(position))?;
        check_standalone(&logical, purpose).map_err(|error| error.at(position))?;
        self.physical(logical, &df_schema).map_err(|error| error.at(position))
    }

    /// The same, with its value assigned to a column: cast to `target` where Postgres would do it by itself.
    pub fn expression_as(
        &self,
        expr: &ast::Expr,
        schema: &SchemaRef,
        target: &DataType,
        column: &str,
        purpose: Purpose,
    ) -> Result<BoundExpression> {
        let position = span_position(expr.span());
        let bound = self.expression(expr, schema, purpose)?;
        let df_schema = DFSchema::try_from(schema.as_ref().clone()).map_err(plan_error)?;
        let assigned = self.assign(bound.logical, &df_schema, target, column).map_err(|error| error.at(position))?;
        self.physical(assigned, &df_schema)
    }

    fn physical(&self, logical: Expr, schema: &DFSchema) -> Result<BoundExpression> {
        let field = logical.to_field(schema).map_err(plan_error)?.1;
        let physical = functions::physical_expression(&logical, schema)?;
        Ok(BoundExpression { logical, physical, data_type: field.data_type().clone(), nullable: field.is_nullable() })
    }

    /// Names and types of an expression resolved over a schema. `parameters` gives the types that are known and
    /// takes those that are found.
    pub(crate) fn logical_expression(
        &self,
        expr: &ast::Expr,
        schema: &DFSchema,
        parameters: &mut Vec<Option<DataType>>,
    ) -> Result<Expr> {
        let mut bound = self.logical_expressions(std::slice::from_ref(expr), schema, parameters, &mut Vec::new())?;
        Ok(bound.pop().expect("one expression was bound"))
    }

    /// The same for several expressions over one schema; what their subqueries name is added to `uses`.
    pub(crate) fn logical_expressions(
        &self,
        expressions: &[ast::Expr],
        schema: &DFSchema,
        parameters: &mut Vec<Option<DataType>>,
        uses: &mut Vec<Use>,
    ) -> Result<Vec<Expr>> {
        let context = Context::new(self);
        let mut expressions = expressions.to_vec();
        for expr in &mut expressions {
            joined_columns::write_out(expr, &context)?;
            normalize::expression(expr, parameters, self.settings)?;
        }
        let planner = SqlToRel::new(&context);
        let input =
            LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema: Arc::new(schema.clone()) });
        let plan = |parameters: &[Option<DataType>]| {
            let fields = parameters.iter().map(|known| known.clone().map(DataTypeExt::into_nullable_field_ref));
            let mut planner_context = PlannerContext::new().with_prepare_param_data_types(fields.collect());
            let mut planned = Vec::with_capacity(expressions.len());
            for (index, expr) in expressions.iter().enumerate() {
                let planned_expr =
                    planner.sql_to_expr(expr.clone(), schema, &mut planner_context).map_err(plan_error)?;
                planned.push(planned_expr.alias(format!("value {index}")));
            }
            let projection = Projection::try_new(planned, Arc::new(input.clone())).map_err(plan_error)?;
            Ok(LogicalPlan::Projection(projection))
        };
        let typed = analyze::with_parameters(std::mem::take(parameters), plan)?;
        *parameters = typed.parameters.into_iter().map(Some).collect();
        uses.extend(relation::uses(&typed.plan, &context.used).map_err(plan_error)?);
        match analyze::analyze(typed.plan, self.style()?, self.settings)? {
            LogicalPlan::Projection(projection) => Ok(projection.expr.into_iter().map(Expr::unalias).collect()),
            other => Err(PlanError::internal(format!("a projection became {}", other.display()))),
        }
    }

    /// Binds the arguments of an EXECUTE: one row with the types that its statement's parameters have.
    pub fn arguments(&self, arguments: &[SqlExpression], types: &[DataType]) -> Result<Query> {
        let schema = DFSchema::empty();
        let bound = arguments.iter().zip(types).enumerate().map(|(index, (argument, target))| {
            let value = || {
                let value = self.logical_expression(&argument.expression, &schema, &mut Vec::new())?;
                check_standalone(&value, Purpose::Argument)?;
                let number = index + 1;
                self.assign_to(value, &schema, target, |source, target| {
                    format!("parameter ${number} of type {source} cannot be coerced to the expected type {target}")
                })
            };
            let value = value().map_err(|error| error.at(Some(argument.position)))?;
            Ok(value.alias(format!("parameter {}", index + 1)))
        });
        let row = LogicalPlanBuilder::empty(true).project(bound.collect::<Result<Vec<_>>>()?);
        let plan = row.and_then(LogicalPlanBuilder::build).map_err(plan_error)?;
        functions::check_places(&plan)?;
        Ok(Query {
            schema: client_schema(&plan),
            reads: Vec::new(),
            parameters: Vec::new(),
            varchars: Vec::new(),
            changes_settings: functions::changes_settings(&plan),
            uses: Vec::new(),
            look_up: None,
            plan,
        })
    }

    /// `expr` as the value of a column of type `target`: unchanged, cast, or refused as Postgres does.
    pub(crate) fn assign(&self, expr: Expr, schema: &DFSchema, target: &DataType, column: &str) -> Result<Expr> {
        self.assign_to(expr, schema, target, |source, target| {
            format!("column \"{column}\" is of type {target} but expression is of type {source}")
        })
    }

    /// The same for what is no column: `refusal` words that the first type does not become the second.
    fn assign_to(
        &self,
        expr: Expr,
        schema: &DFSchema,
        target: &DataType,
        refusal: impl FnOnce(String, String) -> String,
    ) -> Result<Expr> {
        let source = expr.get_type(schema).map_err(plan_error)?;
        if source == *target {
            return Ok(expr);
        }
        if let Some(text) = literal::quoted(&expr) {
            return match literal::of_type(text, target)? {
                Expr::Cast(cast) => analyze::postgres_cast(cast, schema, self.style()?, self.registry())
                    .map(|cast| cast.data)
                    .map_err(plan_error),
                literal => Ok(literal),
            };
        }
        if !assignable(&source, target) {
            let message = refusal(functions::sql_type(&source).to_string(), functions::sql_type(target).to_string());
            return Err(PlanError::new(PlanErrorKind::DatatypeMismatch, message)
                .with_hint("You will need to rewrite or cast the expression."));
        }
        let characters = text_of_characters(target);
        let cast = Cast::new(Box::new(expr), characters.clone().unwrap_or_else(|| target.clone()));
        let value = analyze::postgres_cast(cast, schema, self.style()?, self.registry());
        let value = value.map(|cast| cast.data).map_err(plan_error)?;
        // What is too long for its column is refused where all rows are.
        Ok(if characters.is_some() { functions::character(value, None) } else { value })
    }
}

/// The text that becomes `char(n)`, or the array of texts that becomes one of them.
fn text_of_characters(target: &DataType) -> Option<DataType> {
    match target {
        DataType::List(element) => Some(DataType::new_list(text_of_characters(element.data_type())?, true)),
        target => (*target == CHAR).then_some(DataType::Utf8),
    }
}

fn check_standalone(expr: &Expr, purpose: Purpose) -> Result<()> {
    let mut problem = None;
    expr.apply(|node| {
        problem = match node {
            Expr::AggregateFunction(_) => Some((PlanErrorKind::GroupingError, "aggregate functions are not allowed")),
            Expr::WindowFunction(_) => Some((PlanErrorKind::GroupingError, "window functions are not allowed")),
            Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) => {
                Some((PlanErrorKind::FeatureNotSupported, "subqueries are not allowed"))
            }
            Expr::Placeholder(_) => Some((PlanErrorKind::InvalidDefinition, "parameters are not allowed")),
            Expr::Column(_) if purpose == Purpose::Default => {
                Some((PlanErrorKind::FeatureNotSupported, "columns are not allowed in a default"))
            }
            _ => None,
        };
        Ok(if problem.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })
    .map_err(plan_error)?;
    if let Some((kind, message)) = problem {
        return Err(PlanError::new(kind, format!("{message} {}", purpose.place())));
    }
    match purpose {
        Purpose::RowOnly => functions::check_use(expr, FunctionUse::Row),
        Purpose::Default | Purpose::Argument => Ok(()),
    }
}

/// Whether Postgres casts by itself on assignment.
fn assignable(source: &DataType, target: &DataType) -> bool {
    use DataType as T;
    if source.is_null() || (source.is_numeric() && target.is_numeric()) {
        return true;
    }
    match (source, target) {
        (T::List(from), T::List(to)) => {
            from.data_type() == to.data_type() || assignable(from.data_type(), to.data_type())
        }
        (T::LargeBinary, T::Utf8) => true,
        (_, T::Utf8) => !source.is_nested() && !source.is_binary(),
        (T::Date32 | T::Timestamp(..), T::Date32 | T::Timestamp(..)) => true,
        (T::Timestamp(..) | T::Interval(_), T::Time64(_)) => true,
        (_, T::Utf8View) => source.is_string() || assignable(source, &T::Utf8),
        (T::Utf8View, _) => assignable(&T::Utf8, target),
        (T::LargeUtf8, T::LargeBinary) | (T::LargeBinary, T::LargeUtf8) => true,
        (T::Struct(from), T::Struct(to)) => {
            from.len() == to.len()
                && from.iter().zip(to).all(|(from, to)| {
                    from.data_type() == to.data_type() || assignable(from.data_type(), to.data_type())
                })
        }
        _ => source.equals_datatype(target),
    }
}
