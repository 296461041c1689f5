//! `char(n)` beside what takes text: its text, which has no blanks at its end, or for some what a client would see.
//!
//! How many blanks that are is traced through the plan ([`described`]); where a value has come from several columns of
//! different lengths nothing tells, and it has none.

use datafusion::logical_expr::expr::{AggregateFunction, Cast, ScalarFunction};
use datafusion::logical_expr::{Expr, ExprSchemable, Operator};

use arrow::datatypes::DataType;

use super::described;
use super::rewrite::Scope;
use crate::functions::{keeps_character, padded, shows_blanks};
use crate::reading::Reading;
use crate::types::CHAR;

/// Whether an operator matches a text against a pattern: Postgres has it see the blanks.
pub(super) fn is_pattern(operator: Operator) -> bool {
    use Operator::{
        ILikeMatch, LikeMatch, NotILikeMatch, NotLikeMatch, RegexIMatch, RegexMatch, RegexNotIMatch, RegexNotMatch,
    };
    let like = matches!(operator, LikeMatch | ILikeMatch | NotLikeMatch | NotILikeMatch);
    like || matches!(operator, RegexMatch | RegexIMatch | RegexNotMatch | RegexNotIMatch)
}

/// What becomes of `char(n)` in the expressions of a node.
pub(super) struct Characters<'a> {
    pub(super) scope: &'a Scope<'a>,
    /// Without, there is no `char(n)`, and DataFusion's own use of its Arrow type is text as ever.
    pub(super) reading: Reading,
}

impl Characters<'_> {
    /// The text of a `char(n)`, or the texts of an array of them; other values are left as they are.
    fn text(&self, expr: Expr, blanks: bool) -> Expr {
        let Some(target) =
            expr.get_type(self.scope.schema()).ok().filter(|_| self.reading >= Reading::BLANK_PADDED).and_then(text_of)
        else {
            return expr;
        };
        let width = if blanks { described::of_expression(&expr, self.scope.node).width } else { None };
        match width.and_then(|width| usize::try_from(width).ok()) {
            Some(width) => padded(expr, &target, width),
            None => Expr::Cast(Cast::new(Box::new(expr), target)),
        }
    }

    /// The same with the blanks that a client sees.
    pub(super) fn shown(&self, expr: Expr) -> Expr {
        self.text(expr, true)
    }

    /// A cast to what is no text reads what a client sees, as does one of an array to text.
    pub(super) fn cast(&self, mut cast: Cast) -> Cast {
        let reads = match cast.expr.get_type(self.scope.schema()) {
            Ok(DataType::List(_)) => cast.field.data_type().is_string(),
            _ => !cast.field.data_type().is_string(),
        };
        if reads {
            cast.expr = Box::new(self.shown(*cast.expr));
        }
        cast
    }

    /// A call with the texts of `char(n)`, unless it takes values of any type; what it gives is text then, whatever
    /// DataFusion makes of it.
    pub(super) fn call(&self, call: ScalarFunction) -> Expr {
        let ScalarFunction { func, args } = call;
        if keeps_character(func.name()) {
            return Expr::ScalarFunction(ScalarFunction { func, args });
        }
        let blanks = shows_blanks(func.name());
        let args = args.into_iter().map(|arg| self.text(arg, blanks)).collect();
        self.text(Expr::ScalarFunction(ScalarFunction { func, args }), false)
    }

    /// The same of an aggregate: all but one choose among values, gather or count them.
    pub(super) fn aggregate(&self, mut call: AggregateFunction) -> AggregateFunction {
        if call.func.name() == "string_agg" {
            call.params.args = call.params.args.into_iter().map(|arg| self.text(arg, false)).collect();
        }
        call
    }
}

/// The type of the text that `char(n)` is, or of the texts that an array of them has; `None` for other types.
fn text_of(data_type: DataType) -> Option<DataType> {
    match data_type {
        DataType::List(element) => Some(DataType::new_list(text_of(element.data_type().clone())?, true)),
        data_type => (data_type == CHAR).then_some(DataType::Utf8),
    }
}
