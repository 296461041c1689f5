//! The functions that catalog queries call.
//!
//! What they are declared as comes from `procedures.txt`, which holds Postgres' own declarations of them, so that
//! `pg_proc` and the choice between functions of one name are Postgres'. What they do stands in the files here,
//! by name. The functions that read and write types are declared, too: drivers join them; nobody calls them.

mod arrays;
mod definitions;
mod json;
mod privileges;
mod server;
mod sets;
mod sizes;
mod strings;
mod times;

use std::collections::HashMap;
use std::sync::LazyLock;

use millstream_planner::error::{PlanError, PlanErrorKind, Result};

use super::Context;
use super::datum::Datum;
use super::types::{self, Type};

pub(super) use arrays::concatenated;
pub(super) use json::{get as json_get, of_datum as json_of, text_of as json_text};
pub(super) use strings::{like, regex_matches};

/// A function as `pg_proc` describes it.
#[derive(Debug)]
pub(in crate::pg_catalog) struct ProcedureRow {
    pub(in crate::pg_catalog) oid: u32,
    pub(in crate::pg_catalog) name: &'static str,
    /// `f`unction, `a`ggregate or `w`indow function.
    pub(in crate::pg_catalog) kind: &'static str,
    pub(in crate::pg_catalog) strict: bool,
    pub(in crate::pg_catalog) returns_set: bool,
    pub(in crate::pg_catalog) volatility: &'static str,
    pub(in crate::pg_catalog) result: u32,
    /// The element type of a variadic last argument, 0 without.
    pub(in crate::pg_catalog) variadic: u32,
    /// How many of the last arguments can be left out.
    pub(in crate::pg_catalog) defaults: usize,
    /// `pg_catalog`, or `information_schema` for its own few.
    pub(in crate::pg_catalog) schema: u32,
    pub(in crate::pg_catalog) arguments: Vec<u32>,
    /// Names and types of the columns of a record.
    pub(in crate::pg_catalog) outputs: Vec<(&'static str, u32)>,
}

impl ProcedureRow {
    /// The types of its arguments as SQL writes them.
    pub(in crate::pg_catalog) fn argument_names(&self) -> String {
        let names =
            self.arguments.iter().map(|oid| Type::of_oid(*oid).map_or_else(|| "???".to_owned(), |ty| ty.sql_name()));
        names.collect::<Vec<_>>().join(", ")
    }
}

static PROCEDURES: LazyLock<Vec<ProcedureRow>> = LazyLock::new(|| {
    let lines = include_str!("../procedures.txt").lines().filter(|line| !line.starts_with('#'));
    let rows = lines.map(|line| read(line).unwrap_or_else(|| panic!("procedures.txt is part of the program: {line}")));
    rows.collect()
});

fn read(line: &'static str) -> Option<ProcedureRow> {
    let words: Vec<&str> = line.split(' ').collect();
    let number = |index: usize| words.get(index)?.parse::<u32>().ok();
    let list = |index: usize| words.get(index).map(|list| list.split(',').filter(|item| !item.is_empty()));
    let arguments: Option<Vec<u32>> = list(10)?.map(|oid| oid.parse().ok()).collect();
    let output = |item: &'static str| item.split_once(':').and_then(|(name, oid)| Some((name, oid.parse().ok()?)));
    let outputs: Option<Vec<_>> = list(11)?.map(output).collect();
    Some(ProcedureRow {
        oid: number(0)?,
        name: words.get(1)?,
        kind: words.get(2)?,
        strict: *words.get(3)? == "t",
        returns_set: *words.get(4)? == "t",
        volatility: words.get(5)?,
        result: number(6)?,
        variadic: number(7)?,
        defaults: usize::try_from(number(8)?).ok()?,
        schema: number(9)?,
        arguments: arguments?,
        outputs: outputs?,
    })
}

/// All functions that are declared, by OID.
pub(in crate::pg_catalog) fn procedures() -> &'static [ProcedureRow] {
    &PROCEDURES
}

/// The function with an OID.
pub(in crate::pg_catalog) fn procedure(oid: u32) -> Option<&'static ProcedureRow> {
    PROCEDURES.binary_search_by_key(&oid, |row| row.oid).ok().map(|index| &PROCEDURES[index])
}

/// A call of a function over one row.
pub(super) struct Call<'a> {
    pub(super) context: &'a Context,
    pub(super) arguments: &'a [Datum],
    pub(super) types: &'a [Type],
}

impl Call<'_> {
    fn datum(&self, index: usize) -> &Datum {
        self.arguments.get(index).unwrap_or(&Datum::Null)
    }

    fn given(&self, index: usize) -> bool {
        !self.datum(index).is_null()
    }

    fn int(&self, index: usize) -> i64 {
        match self.datum(index) {
            Datum::Int(value) => *value,
            Datum::Float(value) => *value as i64,
            _ => 0,
        }
    }

    fn float(&self, index: usize) -> f64 {
        match self.datum(index) {
            Datum::Int(value) => *value as f64,
            Datum::Float(value) => *value,
            _ => 0.0,
        }
    }

    fn oid(&self, index: usize) -> u32 {
        u32::try_from(self.int(index)).unwrap_or_default()
    }

    fn text(&self, index: usize) -> &str {
        match self.datum(index) {
            Datum::Text(text) => text,
            _ => "",
        }
    }

    fn is_true(&self, index: usize) -> bool {
        self.datum(index).is_true()
    }

    fn items(&self, index: usize) -> &[Datum] {
        match self.datum(index) {
            Datum::Array(items) => items,
            _ => &[],
        }
    }

    fn ty(&self, index: usize) -> &Type {
        self.types.get(index).unwrap_or(&Type::Unknown)
    }

    /// An argument as its text, whatever its type.
    fn shown(&self, index: usize) -> String {
        super::text::output(self.datum(index), self.ty(index), self.context)
    }
}

/// What a function does.
#[derive(Clone, Copy)]
pub(super) enum Body {
    Value(fn(&Call<'_>) -> Result<Datum>),
    /// One value per row: a record where it has several columns.
    Set(fn(&Call<'_>) -> Result<Vec<Datum>>),
}

/// A function that can be called.
pub(super) struct Function {
    pub(super) row: &'static ProcedureRow,
    pub(super) body: Body,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.row.name)
    }
}

type Values = &'static [(&'static str, fn(&Call<'_>) -> Result<Datum>)];

type Sets = &'static [(&'static str, fn(&Call<'_>) -> Result<Vec<Datum>>)];

const VALUES: &[Values] = &[
    arrays::FUNCTIONS,
    definitions::FUNCTIONS,
    json::FUNCTIONS,
    privileges::FUNCTIONS,
    server::FUNCTIONS,
    sizes::FUNCTIONS,
    strings::FUNCTIONS,
    times::FUNCTIONS,
];

static FUNCTIONS: LazyLock<HashMap<&'static str, Vec<Function>>> = LazyLock::new(|| {
    let values = VALUES.iter().flat_map(|list| list.iter()).map(|(name, body)| (*name, Body::Value(*body)));
    let sets = sets::FUNCTIONS.iter().map(|(name, body)| (*name, Body::Set(*body)));
    let bodies: HashMap<&str, Body> = values.chain(sets).collect();
    let mut functions: HashMap<&'static str, Vec<Function>> = HashMap::new();
    for row in procedures() {
        if let Some(body) = bodies.get(row.name).filter(|_| row.kind == "f") {
            functions.entry(row.name).or_default().push(Function { row, body: *body });
        }
    }
    functions
});

/// Whether there is a function of that name.
pub(in crate::pg_catalog) fn is_known(name: &str) -> bool {
    FUNCTIONS.contains_key(name)
}

/// The function that a call means.
pub(super) fn resolve(name: &str, arguments: &[Type]) -> Result<&'static Function> {
    let candidates = FUNCTIONS.get(name).map_or(&[][..], Vec::as_slice);
    let fitting = candidates.iter().filter_map(|function| Some((fit(function.row, arguments)?, function)));
    fitting
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, function)| function)
        .ok_or_else(|| undefined(name, arguments))
}

/// The error for a call that nothing takes.
pub(super) fn undefined(name: &str, arguments: &[Type]) -> PlanError {
    let types: Vec<String> = arguments.iter().map(Type::sql_name).collect();
    let message = format!("function {name}({}) does not exist", types.join(", "));
    PlanError::new(PlanErrorKind::UndefinedFunction, message)
        .with_hint("No function matches the given name and argument types. You might need to add explicit type casts.")
}

fn fit(row: &ProcedureRow, arguments: &[Type]) -> Option<u32> {
    let declared = row.arguments.len();
    let variadic = row.variadic != 0;
    let fixed = if variadic { declared - 1 } else { declared };
    let least = if variadic { fixed } else { declared - row.defaults };
    if arguments.len() < least || !variadic && arguments.len() > declared {
        return None;
    }
    let distances = arguments.iter().enumerate().map(|(index, given)| {
        let oid = if index < fixed { row.arguments[index] } else { row.variadic };
        types::distance(given, &Type::of_oid(oid)?)
    });
    distances.sum::<Option<u32>>()
}

/// The type in which an argument is handed over; any type stays as it is.
pub(super) fn argument_type(row: &ProcedureRow, index: usize, given: &Type) -> Type {
    let fixed = if row.variadic != 0 { row.arguments.len() - 1 } else { row.arguments.len() };
    let oid = if index < fixed { row.arguments[index] } else { row.variadic };
    match oid {
        2276 | 2277 | 2283 | 2776 | 5077 | 5078 | 2249 => match given {
            Type::Unknown if matches!(oid, 2277 | 5078) => Type::Array(25),
            Type::Unknown => types::TEXT,
            given => given.clone(),
        },
        oid => Type::of_oid(oid).unwrap_or(types::TEXT),
    }
}

/// The type of a call's value.
pub(super) fn result_type(row: &ProcedureRow, arguments: &[Type]) -> Type {
    let array = arguments.iter().zip(&row.arguments).find(|(_, oid)| matches!(**oid, 2277 | 5078)).map(|(ty, _)| ty);
    let element = arguments.iter().zip(&row.arguments).find(|(_, oid)| matches!(**oid, 2283 | 5077)).map(|(ty, _)| ty);
    let element = element.cloned().or_else(|| array?.element());
    match row.result {
        2283 | 5077 => element.unwrap_or(types::TEXT),
        2277 | 5078 => array.cloned().or_else(|| element?.array_of()).unwrap_or(Type::Array(25)),
        2249 if !row.outputs.is_empty() => {
            let field = |(name, oid): &(&str, u32)| {
                let ty = match oid {
                    2283 => element.clone().unwrap_or(types::TEXT),
                    oid => Type::of_oid(*oid).unwrap_or(types::TEXT),
                };
                ((*name).to_owned(), ty)
            };
            Type::Record(row.outputs.iter().map(field).collect())
        }
        oid => Type::of_oid(oid).unwrap_or(types::TEXT),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_implementation_is_declared_and_every_declaration_is_read() {
        assert!(procedures().is_sorted_by_key(|row| row.oid));
        let names = VALUES.iter().flat_map(|list| list.iter()).map(|(name, _)| *name);
        for name in names.chain(sets::FUNCTIONS.iter().map(|(name, _)| *name)) {
            assert!(is_known(name), "{name} is declared nowhere");
        }
    }

    #[test]
    fn the_nearest_declaration_is_called() {
        let resolved = |name: &str, types: &[Type]| resolve(name, types).map(|function| function.row.argument_names());
        assert_eq!(resolved("format_type", &[types::OID, types::INT4]).unwrap(), "oid, integer");
        assert_eq!(resolved("pg_get_viewdef", &[types::REGCLASS]).unwrap(), "oid");
        assert_eq!(resolved("pg_get_viewdef", &[Type::Unknown, types::BOOL]).unwrap(), "text, boolean");
        let refused = resolve("format_type", &[types::BOOL]).unwrap_err();
        assert_eq!(refused.message, "function format_type(boolean) does not exist");
    }
}
