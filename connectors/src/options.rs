//! Options of connectors and encodings, read with their types.
//!
//! A connector asks for every option that it knows and then calls [`Options::finish`]: what nobody asked for is
//! an error that lists the known names. Where RisingWave and Flink spell a thing differently both names are
//! asked for at once; giving both is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use millstream_runtime::source::{ConnectorSpec, FormatSpec};
use millstream_runtime::{Error, Result};

/// The options of one connector or encoding.
#[derive(Debug)]
pub struct Options<'a> {
    owner: String,
    values: &'a BTreeMap<String, String>,
    taken: BTreeSet<&'a str>,
    known: Vec<String>,
}

impl<'a> Options<'a> {
    /// The options of a relation's connector.
    pub fn of_connector(spec: &'a ConnectorSpec) -> Self {
        Self::new(format!("connector '{}'", spec.connector), &spec.options)
    }

    /// The options of an encoding.
    pub fn of_format(format: &'a FormatSpec) -> Self {
        Self::new(format!("ENCODE {}", format.encode), &format.options)
    }

    fn new(owner: String, values: &'a BTreeMap<String, String>) -> Self {
        Self { owner, values, taken: BTreeSet::new(), known: Vec::new() }
    }

    /// The value of an option under any of its names.
    pub fn text(&mut self, names: &[&str]) -> Result<Option<&'a str>> {
        self.known.extend(names.iter().map(|name| (*name).to_string()));
        let mut given = names.iter().filter_map(|name| self.values.get_key_value(*name));
        let Some((name, value)) = given.next() else {
            return Ok(None);
        };
        if let Some((other, _)) = given.next() {
            return Err(Error::invalid(format!("options \"{name}\" and \"{other}\" mean the same"))
                .with_hint("Give only one of them."));
        }
        self.taken.insert(name);
        Ok(Some(value))
    }

    /// The value of an option that must be there.
    pub fn required(&mut self, names: &[&str]) -> Result<&'a str> {
        let value = self.text(names)?;
        value.ok_or_else(|| self.missing(names))
    }

    /// The error for an option that has to be there: where one that is given was meant to be it, that is the mistake.
    fn missing(&self, names: &[&str]) -> Error {
        let given = self.values.keys().filter(|given| !self.taken.contains(given.as_str()));
        let meant = given.flat_map(|given| names.iter().map(move |name| (given, *name)));
        match meant.filter(|(given, name)| is_near(given, name)).min() {
            Some((given, name)) => Error::invalid(format!("{} has no option \"{given}\"", self.owner))
                .with_hint(format!("Perhaps you meant \"{name}\".")),
            None => Error::invalid(format!("{} needs option \"{}\"", self.owner, names[0])),
        }
    }

    /// A number; what its type can't hold is refused.
    pub fn number<T: FromStr>(&mut self, names: &[&str]) -> Result<Option<T>> {
        let expected = if T::from_str("0.5").is_ok() { "a number" } else { "a whole number in range" };
        match self.text(names)? {
            None => Ok(None),
            Some(value) => value.trim().parse().map(Some).map_err(|_| wrong(names[0], expected, value)),
        }
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, names: &[&str]) -> Result<Option<bool>> {
        self.choice(names, &[("true", true), ("false", false)])
    }

    /// One of a few words, in any case.
    pub fn choice<T: Copy>(&mut self, names: &[&str], choices: &[(&str, T)]) -> Result<Option<T>> {
        let Some(value) = self.text(names)? else {
            return Ok(None);
        };
        match choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(value)) {
            Some((_, choice)) => Ok(Some(*choice)),
            None => {
                let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
                Err(wrong(names[0], &format!("one of {}", words.join(", ")), value))
            }
        }
    }

    /// All options whose names begin with `prefix`, without it.
    pub fn prefixed(&mut self, prefix: &str) -> Vec<(&'a str, &'a str)> {
        self.known.push(format!("{prefix}*"));
        let found = self.values.iter().filter_map(|(name, value)| Some((name, name.strip_prefix(prefix)?, value)));
        let found: Vec<_> = found.collect();
        self.taken.extend(found.iter().map(|(name, ..)| name.as_str()));
        found.into_iter().map(|(_, rest, value)| (rest, value.as_str())).collect()
    }

    /// Refuses what nobody has asked for.
    pub fn finish(self) -> Result<()> {
        match self.values.keys().find(|name| !self.taken.contains(name.as_str())) {
            None => Ok(()),
            Some(name) => Err(unknown(name, &self.owner, &self.known)),
        }
    }
}

/// The error for an option that does not exist.
pub fn unknown(name: &str, owner: &str, known: &[String]) -> Error {
    let error = Error::invalid(format!("{owner} has no option \"{name}\""));
    if known.is_empty() {
        return error.with_hint("It takes no options.");
    }
    match known.iter().find(|known| is_near(name, known)) {
        Some(near) => error.with_hint(format!("It knows {}. Perhaps you meant \"{near}\".", known.join(", "))),
        None => error.with_hint(format!("It knows {}.", known.join(", "))),
    }
}

/// Whether two names differ by a slip: one letter put in, left out or exchanged, or two that changed places.
fn is_near(given: &str, name: &str) -> bool {
    let (given, name) = (given.as_bytes(), name.as_bytes());
    let same_start = given.iter().zip(name).take_while(|(left, right)| left == right).count();
    let ends = given.iter().rev().zip(name.iter().rev());
    let same_end = ends.take_while(|(left, right)| left == right).count();
    let (shorter, longer) = (given.len().min(name.len()), given.len().max(name.len()));
    let swapped = given.len() == name.len()
        && same_start + same_end + 2 == shorter
        && given[same_start] == name[same_start + 1]
        && given[same_start + 1] == name[same_start];
    shorter > 2 && given != name && (swapped || (longer - shorter <= 1 && same_start + same_end + 1 >= longer))
}

/// The error for a value that its option does not take.
pub fn wrong(name: &str, expected: &str, value: &str) -> Error {
    Error::invalid(format!("option \"{name}\" takes {expected}, not \"{value}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_near() {
        for (given, near) in [("topik", true), ("topi", true), ("topics", true), ("toipc", true), ("path", false)] {
            assert_eq!(is_near(given, "topic"), near, "{given}");
        }
        assert!(!is_near("topic", "topic"));
        assert!(!is_near("a", "b"));
    }

    fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string())).collect()
    }

    #[test]
    fn typed_values_in_either_spelling() {
        let values = values(&[("number-of-rows", "10"), ("mode", "Watch"), ("properties.a.b", "c"), ("on", "TRUE")]);
        let mut options = Options::new("connector 'x'".into(), &values);
        assert_eq!(options.number::<u64>(&["row.limit", "number-of-rows"]).unwrap(), Some(10));
        assert_eq!(options.choice(&["mode"], &[("bounded", 1), ("watch", 2)]).unwrap(), Some(2));
        assert_eq!(options.prefixed("properties."), [("a.b", "c")]);
        assert_eq!(options.boolean(&["on"]).unwrap(), Some(true));
        assert_eq!(options.text(&["absent"]).unwrap(), None);
        options.finish().unwrap();
    }

    #[test]
    fn mistakes_are_named() {
        let given = values(&[("a", "x"), ("b", "1"), ("c", "2")]);
        let mut options = Options::new("connector 'x'".into(), &given);
        let message = |error: Error| error.to_string();
        assert_eq!(
            message(options.number::<u64>(&["a"]).unwrap_err()),
            "option \"a\" takes a whole number in range, not \"x\""
        );
        assert_eq!(
            message(options.text(&["b", "c"]).unwrap_err()),
            "options \"b\" and \"c\" mean the same (Give only one of them.)"
        );
        assert_eq!(message(options.required(&["d"]).unwrap_err()), "connector 'x' needs option \"d\"");
        let misspelt = values(&[("topik", "t")]);
        let mut slip = Options::new("connector 'x'".to_string(), &misspelt);
        let error = message(slip.required(&["topic"]).unwrap_err());
        assert_eq!(error, "connector 'x' has no option \"topik\" (Perhaps you meant \"topic\".)");
        assert_eq!(message(options.finish().unwrap_err()), "connector 'x' has no option \"b\" (It knows a, b, c, d.)");
    }
}
