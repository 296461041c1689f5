//! Objects: fields by name, in any order, mostly in the order of the record before.
//!
//! A field is found by its exact name, else by its name in lower case; an exact one beats the other. Unknown
//! fields are ignored, of duplicates the last one counts (as in Postgres' jsonb), whatever the others were.

use std::collections::HashMap;

use super::scan::{Quoted, Scanned, Scanner, unescape};
use super::value::read;
use crate::formats::fault::Fault;
use crate::formats::node::Node;

/// Reads objects into nodes.
#[derive(Debug)]
pub(crate) struct ObjectReader {
    /// The declared fields.
    pub(crate) nodes: Vec<Node>,
    exact: HashMap<String, usize>,
    folded: HashMap<String, usize>,
    /// The keys of the object before, in order: the guess for the next one.
    guesses: Vec<Guess>,
    /// By field: how the current object has named it.
    seen: Vec<Seen>,
    scratch: Vec<u8>,
}

/// A key as it stood in the object before.
#[derive(Debug, Default)]
struct Guess {
    /// With its quotes, as written.
    quoted: Vec<u8>,
    target: Option<Target>,
}

/// The field that a key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Target {
    field: usize,
    seen: Seen,
}

/// How a field was named; later ones beat earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    Not,
    Folded,
    Exact,
}

/// Fields of one object that are no values of their columns, by field.
type Faults = Vec<(usize, Fault)>;

impl ObjectReader {
    /// A reader of objects with these fields.
    pub(crate) fn new(nodes: Vec<Node>) -> Self {
        let mut exact = HashMap::new();
        let mut folded = HashMap::new();
        for (index, node) in nodes.iter().enumerate() {
            exact.entry(node.name.clone()).or_insert(index);
            folded.entry(node.name.to_lowercase()).or_insert(index);
        }
        let seen = vec![Seen::Not; nodes.len()];
        Self { nodes, exact, folded, guesses: Vec::new(), seen, scratch: Vec::new() }
    }

    /// Reads an object whose brace comes next. All fields have `length` values before and `length + 1` after;
    /// with a fault their lengths are open, and whoever asked cuts them back.
    pub(crate) fn read(&mut self, scanner: &mut Scanner<'_>, length: usize) -> Scanned<Result<(), Fault>> {
        scanner.enter()?;
        self.seen.fill(Seen::Not);
        let mut faults = Faults::new();
        let mut found = 0;
        if !scanner.take_close(b'}') {
            let mut ordinal = 0;
            loop {
                match self.target(scanner, ordinal)? {
                    Some(target) if target.seen >= self.seen[target.field] => {
                        found += usize::from(self.seen[target.field] == Seen::Not);
                        self.field(scanner, target, length, &mut faults)?;
                    }
                    Some(_) | None => scanner.skip()?,
                }
                if !scanner.another(b'}')? {
                    break;
                }
                ordinal += 1;
            }
        }
        if found < self.nodes.len() {
            self.fill_missing(&mut faults);
        }
        match faults.into_iter().min_by_key(|(field, _)| *field) {
            None => Ok(Ok(())),
            Some((_, fault)) => Ok(Err(fault)),
        }
    }

    /// Reads one field's value; what an earlier duplicate left is taken back.
    #[inline]
    fn field(&mut self, scanner: &mut Scanner<'_>, target: Target, length: usize, faults: &mut Faults) -> Scanned<()> {
        let node = &mut self.nodes[target.field];
        if self.seen[target.field] != Seen::Not {
            node.truncate(length);
            faults.retain(|(field, _)| *field != target.field);
        }
        self.seen[target.field] = target.seen;
        if let Err(fault) = read(scanner, node)? {
            faults.push((target.field, fault.at(&node.name)));
        }
        Ok(())
    }

    #[cold]
    fn fill_missing(&mut self, faults: &mut Faults) {
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if self.seen[index] != Seen::Not {
                continue;
            }
            if node.nullable {
                node.push_null();
            } else {
                faults.push((index, Fault::not_null("the field is missing").at(&node.name)));
            }
        }
    }

    /// Takes the next key and says which field it names.
    #[inline]
    fn target(&mut self, scanner: &mut Scanner<'_>, ordinal: usize) -> Scanned<Option<Target>> {
        if let Some(guess) = self.guesses.get(ordinal)
            && scanner.take_key(&guess.quoted)
        {
            return Ok(guess.target);
        }
        let key = scanner.key()?;
        Ok(self.look_up(key, ordinal))
    }

    /// Finds a key that was not guessed, and makes it the guess for the next object.
    fn look_up(&mut self, key: Quoted<'_>, ordinal: usize) -> Option<Target> {
        self.scratch.clear();
        unescape(key.raw, &mut self.scratch);
        let name = std::str::from_utf8(&self.scratch).expect("an unescaped string is UTF-8");
        let target = match self.exact.get(name) {
            Some(&field) => Some(Target { field, seen: Seen::Exact }),
            None => self.folded.get(&name.to_lowercase()).map(|&field| Target { field, seen: Seen::Folded }),
        };
        // Objects with ever new keys (a map in disguise) must not make the list of guesses grow.
        let limit = 2 * self.nodes.len() + 16;
        if ordinal < limit {
            if self.guesses.len() <= ordinal {
                self.guesses.resize_with(ordinal + 1, Guess::default);
            }
            let guess = &mut self.guesses[ordinal];
            guess.quoted.clear();
            guess.quoted.push(b'"');
            guess.quoted.extend_from_slice(key.raw.as_bytes());
            guess.quoted.push(b'"');
            guess.target = target;
        }
        target
    }
}
