//! Functions that wait: `pg_sleep` and those of advisory locks.
//!
//! How to wait and who holds which lock is the server's ([`ServerCalls`]); here arguments go in, row by row in order,
//! and an answer comes out. A statement that waits holds no thread, and a cancel ends it where it waits. They stand
//! only where a batch query computes its columns or its WHERE: a view has nothing to wait for. Two equal calls in one
//! list of columns are one call for each row.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, BooleanBuilder, StringBuilder};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use async_trait::async_trait;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

use super::SessionFacts;
use crate::bind::plan_error;
use crate::error::{PlanError, PlanErrorKind};

/// What a statement's functions may ask the server to do for its session.
#[async_trait]
pub trait ServerCalls: Debug + Send + Sync {
    /// Lets time pass.
    async fn sleep(&self, time: Duration);

    /// Takes or releases an advisory lock; whether it was there to be taken or released.
    async fn advisory(&self, call: AdvisoryCall) -> Result<bool>;
}

/// What an advisory lock is named by. The two spaces of names are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AdvisoryKey {
    /// One `bigint`.
    One(i64),
    /// Two `integer`s.
    Two(i32, i32),
}

/// A call of a function of advisory locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdvisoryCall {
    /// Takes a lock.
    Take {
        /// Which.
        key: AdvisoryKey,
        /// Whether others may share it.
        shared: bool,
        /// Whether it is released with the transaction; else with the session, or by [`AdvisoryCall::Release`].
        transaction: bool,
        /// Whether to wait for it.
        wait: bool,
    },
    /// Releases a lock of the session, once.
    Release {
        /// Which.
        key: AdvisoryKey,
        /// Whether it was taken to be shared.
        shared: bool,
    },
    /// Releases all locks of the session that are not the transaction's.
    ReleaseAll,
}

/// What a function answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Waits {
    Sleep,
    /// Answers nothing when it waits, else whether the lock was free.
    Take {
        shared: bool,
        transaction: bool,
        wait: bool,
    },
    Release {
        shared: bool,
    },
    ReleaseAll,
}

const fn take(shared: bool, transaction: bool, wait: bool) -> Waits {
    Waits::Take { shared, transaction, wait }
}

const FUNCTIONS: &[(&str, Waits)] = &[
    ("pg_sleep", Waits::Sleep),
    ("pg_advisory_lock", take(false, false, true)),
    ("pg_advisory_lock_shared", take(true, false, true)),
    ("pg_advisory_xact_lock", take(false, true, true)),
    ("pg_advisory_xact_lock_shared", take(true, true, true)),
    ("pg_try_advisory_lock", take(false, false, false)),
    ("pg_try_advisory_lock_shared", take(true, false, false)),
    ("pg_try_advisory_xact_lock", take(false, true, false)),
    ("pg_try_advisory_xact_lock_shared", take(true, true, false)),
    ("pg_advisory_unlock", Waits::Release { shared: false }),
    ("pg_advisory_unlock_shared", Waits::Release { shared: true }),
    ("pg_advisory_unlock_all", Waits::ReleaseAll),
];

/// The functions.
pub(super) fn functions() -> Vec<Arc<ScalarUDF>> {
    let made = FUNCTIONS.iter().map(|(name, waits)| {
        let signature = match waits {
            Waits::Sleep => TypeSignature::Exact(vec![DataType::Float64]),
            Waits::ReleaseAll => TypeSignature::Nullary,
            Waits::Take { .. } | Waits::Release { .. } => TypeSignature::OneOf(vec![
                TypeSignature::Exact(vec![DataType::Int64]),
                // Two integers: literals are bigint here, so their range is looked at.
                TypeSignature::Exact(vec![DataType::Int64, DataType::Int64]),
            ]),
        };
        let function =
            WaitingFunction { name, waits: *waits, signature: Signature::new(signature, Volatility::Volatile) };
        Arc::new(AsyncScalarUDF::new(Arc::new(function)).into_scalar_udf())
    });
    made.collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct WaitingFunction {
    name: &'static str,
    waits: Waits,
    signature: Signature,
}

impl WaitingFunction {
    /// Postgres' `void`, whose text is empty.
    fn answers_nothing(&self) -> bool {
        match self.waits {
            Waits::Sleep | Waits::ReleaseAll | Waits::Take { wait: true, .. } => true,
            Waits::Take { wait: false, .. } | Waits::Release { .. } => false,
        }
    }

    /// Does what a row asks for; `None` when an argument is NULL.
    async fn call(&self, server: &dyn ServerCalls, arguments: &[ArrayRef], row: usize) -> Result<Option<bool>> {
        if arguments.iter().any(|argument| argument.is_null(row)) {
            return Ok(None);
        }
        let key = || {
            let numbers: Vec<i64> = arguments.iter().map(|one| one.as_primitive::<Int64Type>().value(row)).collect();
            let integer = |number: i64| i32::try_from(number).map_err(|_| out_of_range());
            Ok::<_, DataFusionError>(match numbers.as_slice() {
                [one] => AdvisoryKey::One(*one),
                [one, two, ..] => AdvisoryKey::Two(integer(*one)?, integer(*two)?),
                [] => unreachable!("the signature has a key"),
            })
        };
        let call = match self.waits {
            Waits::Sleep => {
                server.sleep(seconds(arguments[0].as_primitive::<Float64Type>().value(row))).await;
                return Ok(Some(true));
            }
            Waits::Take { shared, transaction, wait } => AdvisoryCall::Take { key: key()?, shared, transaction, wait },
            Waits::Release { shared } => AdvisoryCall::Release { key: key()?, shared },
            Waits::ReleaseAll => AdvisoryCall::ReleaseAll,
        };
        server.advisory(call).await.map(Some)
    }
}

fn out_of_range() -> DataFusionError {
    let error = PlanError::new(PlanErrorKind::NumericValueOutOfRange, "integer out of range");
    DataFusionError::External(Box::new(error))
}

/// The first function of a plan that stands where nothing can wait, refused.
pub(crate) fn check_places(plan: &LogicalPlan) -> crate::error::Result<()> {
    let mut refused = None;
    plan.apply_with_subqueries(|node| {
        let waits = matches!(node, LogicalPlan::Projection(_) | LogicalPlan::Filter(_));
        if !waits {
            node.apply_expressions(|expr| {
                refused = refused.take().or(misplaced(expr)?);
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        Ok(if refused.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })
    .map_err(plan_error)?;
    refused.map_or(Ok(()), Err)
}

/// The error of an expression that waits, where it can't.
pub(super) fn misplaced(expr: &Expr) -> Result<Option<PlanError>> {
    let mut refused = None;
    expr.apply(|node| {
        if let Expr::ScalarFunction(call) = node
            && call.func.as_async().is_some()
        {
            let message = format!("{}() stands only in the columns and in the WHERE of a query", call.func.name());
            refused = Some(PlanError::unsupported(message));
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(refused)
}

/// No time for what is negative or no number, and for ever for what is too long for a clock.
fn seconds(seconds: f64) -> Duration {
    match seconds > 0.0 {
        true => Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX),
        false => Duration::ZERO,
    }
}

impl ScalarUDFImpl for WaitingFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(if self.answers_nothing() { DataType::Utf8 } else { DataType::Boolean })
    }

    fn invoke_with_args(&self, _arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(DataFusionError::Internal(format!("{}() waits and can't be called at once", self.name)))
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for WaitingFunction {
    async fn invoke_async_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let facts =
            arguments.config_options.extensions.get::<SessionFacts>().ok_or_else(|| {
                DataFusionError::Execution(format!("{}() works only where a statement runs", self.name))
            })?;
        let server = Arc::clone(&facts.server);
        let rows = arguments.number_rows;
        let columns = arguments.args.iter().map(|argument| argument.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let mut answers = Vec::new();
        for row in 0..rows {
            answers.push(self.call(server.as_ref(), &columns, row).await?);
        }
        let answers: ArrayRef = if self.answers_nothing() {
            let mut nothing = StringBuilder::new();
            answers.iter().for_each(|answer| nothing.append_option(answer.map(|_| "")));
            Arc::new(nothing.finish())
        } else {
            let mut known = BooleanBuilder::new();
            answers.iter().for_each(|answer| known.append_option(*answer));
            Arc::new(known.finish())
        };
        Ok(ColumnarValue::Array(answers))
    }
}
