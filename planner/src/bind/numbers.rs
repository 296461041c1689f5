//! Numerics that become text or JSON: with the zeros that a client sees at their end.
//!
//! How many that are is traced through the plan ([`described`]), as the blanks of `char(n)` are; where nothing tells,
//! there are none.

use arrow::datatypes::DataType;
use datafusion::logical_expr::expr::{Cast, ScalarFunction};
use datafusion::logical_expr::{Expr, ExprSchemable};

use super::described;
use super::rewrite::Scope;
use super::whole_row::NAMED_STRUCT;
use crate::functions::{is_array_json, number_out};
use crate::reading::Reading;
use crate::types::JSON;

/// What becomes of numerics in the expressions of a node.
pub(super) struct Numbers<'a> {
    pub(super) scope: &'a Scope<'a>,
    /// How the text is read: in older ones texts of numerics have no zeros at their end.
    pub(super) reading: Reading,
}

/// What a numeric becomes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    /// As it stands in JSON.
    Json,
}

impl Numbers<'_> {
    /// The cast, of a numeric to text by its digits.
    pub(super) fn cast(&self, cast: Cast) -> Expr {
        let of_texts = match cast.field.data_type() {
            DataType::List(element) => element.data_type().is_string(),
            target => target.is_string(),
        };
        match of_texts {
            true => Expr::Cast(Cast { expr: Box::new(self.text(*cast.expr)), field: cast.field }),
            false => Expr::Cast(cast),
        }
    }

    /// The text of a numeric, or those of an array's, or of a row's; other values are left as they are.
    pub(super) fn text(&self, expr: Expr) -> Expr {
        if self.reading >= Reading::POSTGRES_DIGITS { self.written(expr, Form::Text) } else { expr }
    }

    /// What an aggregate gathers for JSON.
    pub(super) fn json(&self, expr: Expr) -> Expr {
        self.written(expr, Form::Json)
    }

    /// The operands of `||`, of which one is text.
    pub(super) fn concatenated(&self, left: Expr, right: Expr) -> (Expr, Expr) {
        let data_type = |expr: &Expr| expr.get_type(self.scope.schema()).ok();
        match (data_type(&left), data_type(&right)) {
            (Some(number), Some(text)) if number.is_decimal() && text.is_string() => (self.text(left), right),
            (Some(text), Some(number)) if number.is_decimal() && text.is_string() => (left, self.text(right)),
            _ => (left, right),
        }
    }

    /// A call that makes text or JSON of its arguments.
    pub(super) fn call(&self, mut call: ScalarFunction) -> ScalarFunction {
        if self.reading < Reading::POSTGRES_DIGITS {
            return call;
        }
        match call.func.name() {
            "concat" | "concat_ws" | "array_to_string" => {
                call.args = call.args.into_iter().map(|arg| self.written(arg, Form::Text)).collect();
            }
            // Names are texts.
            "json_build_object" | "jsonb_build_object" => {
                let form = |place: usize| if place.is_multiple_of(2) { Form::Text } else { Form::Json };
                let args = call.args.into_iter().enumerate();
                call.args = args.map(|(place, arg)| self.written(arg, form(place))).collect();
            }
            "to_json" | "to_jsonb" | "row_to_json" | "array_to_json" | "json_build_array" | "jsonb_build_array" => {
                call.args = call.args.into_iter().map(|arg| self.written(arg, Form::Json)).collect();
            }
            name if is_array_json(name) => {
                call.args = call.args.into_iter().map(|arg| self.written(arg, Form::Json)).collect();
            }
            _ => {}
        }
        call
    }

    fn written(&self, expr: Expr, form: Form) -> Expr {
        if let Expr::ScalarFunction(call) = expr {
            return match call.func.name() {
                "struct" | "row" => Expr::ScalarFunction(self.fields(call, form, |_| true)),
                // Names and values in turn.
                NAMED_STRUCT => Expr::ScalarFunction(self.fields(call, form, |place| !place.is_multiple_of(2))),
                _ => self.number(Expr::ScalarFunction(call), form),
            };
        }
        self.number(expr, form)
    }

    fn fields(&self, call: ScalarFunction, form: Form, is_value: impl Fn(usize) -> bool) -> ScalarFunction {
        let args = call.args.into_iter().enumerate();
        let args = args.map(|(place, arg)| if is_value(place) { self.written(arg, form) } else { arg });
        ScalarFunction { args: args.collect(), func: call.func }
    }

    fn number(&self, expr: Expr, form: Form) -> Expr {
        let element = if form == Form::Json { JSON } else { DataType::Utf8 };
        let target = match expr.get_type(self.scope.schema()) {
            Ok(data_type) if data_type.is_decimal() => element,
            Ok(DataType::List(elements)) if elements.data_type().is_decimal() => DataType::new_list(element, true),
            _ => return expr,
        };
        let digits = described::of_expression(&expr, self.scope.node).digits;
        number_out(expr, &target, digits)
    }
}
