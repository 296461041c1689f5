//! Random renames, swaps, moves, creates and drops against a model, in and out of transactions, over restarts.
//!
//! Names are few, so that each soon stands for something else. Whatever reads a table shows its rows and no others,
//! under whatever name; a name that is free is free, and one that is taken is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::random::seeds;
use super::{Client, open};
use crate::engine::Engine;

const STEPS: usize = 90;
const OBJECTS_MAX: usize = 14;
const NAMES: [&str; 6] = ["a", "b", "c", "\"D e\"", "\"select\"", "f"];
const SCHEMAS: [&str; 4] = ["public", "s", "\"T\"", "u"];

type Name = (&'static str, &'static str);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Table,
    View,
    MaterializedView,
}

impl Kind {
    fn sql(self) -> &'static str {
        match self {
            Self::Table => "TABLE",
            Self::View => "VIEW",
            Self::MaterializedView => "MATERIALIZED VIEW",
        }
    }
}

#[derive(Clone, Debug)]
struct Object {
    kind: Kind,
    name: Name,
    /// What it reads; a table reads nothing.
    reads: Option<usize>,
    /// The rows of a table.
    rows: BTreeSet<i32>,
}

/// What there is, by numbers that are never used twice.
#[derive(Clone)]
struct Model {
    objects: BTreeMap<usize, Object>,
    schemas: BTreeSet<&'static str>,
    path: Vec<&'static str>,
    next: usize,
}

impl Model {
    fn new() -> Self {
        Self { objects: BTreeMap::new(), schemas: BTreeSet::from(["public"]), path: vec!["public"], next: 0 }
    }

    fn find(&self, name: Name) -> Option<usize> {
        self.objects.iter().find(|(_, object)| object.name == name).map(|(number, _)| *number)
    }

    /// As a statement may name an object: without the schema where the path leads to it.
    fn said(&self, number: usize, random: &mut StdRng) -> String {
        let (schema, name) = self.objects[&number].name;
        let found = self.path.iter().find_map(|schema| self.find((schema, name)));
        match found == Some(number) && random.random_bool(0.6) {
            true => name.to_string(),
            false => format!("{schema}.{name}"),
        }
    }

    fn any(&self, random: &mut StdRng) -> Option<usize> {
        let numbers: Vec<usize> = self.objects.keys().copied().collect();
        numbers.choose(random).copied()
    }

    fn any_schema(&self, random: &mut StdRng) -> &'static str {
        let schemas: Vec<&'static str> = self.schemas.iter().copied().collect();
        schemas.choose(random).copied().unwrap_or("public")
    }

    fn table_under(&self, mut number: usize) -> usize {
        while let Some(read) = self.objects[&number].reads {
            number = read;
        }
        number
    }

    /// Takes an object out, and all that reads it.
    fn forget(&mut self, number: usize) {
        self.objects.remove(&number);
        let readers = self.objects.iter().filter(|(_, object)| object.reads == Some(number));
        for reader in readers.map(|(reader, _)| *reader).collect::<Vec<_>>() {
            self.forget(reader);
        }
    }

    /// A statement and what it leads to; `Err` with the SQLSTATE that refuses it.
    fn step(&mut self, random: &mut StdRng, value: i32) -> (String, Result<(), &'static str>) {
        match random.random_range(0..20) {
            0..=4 if self.objects.len() < OBJECTS_MAX => self.create(random),
            5..=7 => self.insert(random, value),
            8..=10 => self.rename(random),
            11..=13 => self.swap(random),
            14..=15 => self.set_schema(random),
            16 => self.schema(random),
            17 => {
                let mut path = SCHEMAS.to_vec();
                path.retain(|_| random.random_bool(0.6));
                self.path = path;
                let list = if self.path.is_empty() { "''".to_string() } else { self.path.join(", ") };
                (format!("SET search_path = {list}"), Ok(()))
            }
            _ => match self.any(random) {
                Some(number) => {
                    let sql =
                        format!("DROP {} {} CASCADE", self.objects[&number].kind.sql(), self.said(number, random));
                    self.forget(number);
                    (sql, Ok(()))
                }
                None => self.create(random),
            },
        }
    }

    fn create(&mut self, random: &mut StdRng) -> (String, Result<(), &'static str>) {
        let place = (self.any_schema(random), *NAMES.choose(random).expect("there are names"));
        let read = self.any(random).filter(|_| random.random_bool(0.75));
        let name = format!("{}.{}", place.0, place.1);
        let (kind, sql) = match read {
            None => (Kind::Table, format!("CREATE TABLE {name} (n INT PRIMARY KEY)")),
            Some(read) => {
                let kind = if random.random_bool(0.5) { Kind::View } else { Kind::MaterializedView };
                let from = self.said(read, random);
                // The name as a qualifier, too: it stays what the text says.
                let last = self.objects[&read].name.1;
                (kind, format!("CREATE {} {name} AS SELECT {last}.n FROM {from} WHERE {last}.n >= 0", kind.sql()))
            }
        };
        if self.find(place).is_some() {
            return (sql, Err("42P07"));
        }
        self.objects.insert(self.next, Object { kind, name: place, reads: read, rows: BTreeSet::new() });
        self.next += 1;
        (sql, Ok(()))
    }

    fn insert(&mut self, random: &mut StdRng, value: i32) -> (String, Result<(), &'static str>) {
        let Some(any) = self.any(random) else { return self.create(random) };
        let table = self.table_under(any);
        let sql = format!("INSERT INTO {} VALUES ({value})", self.said(table, random));
        self.objects.get_mut(&table).expect("it was found").rows.insert(value);
        (sql, Ok(()))
    }

    fn alter(&self, number: usize, random: &mut StdRng) -> String {
        format!("ALTER {} {}", self.objects[&number].kind.sql(), self.said(number, random))
    }

    fn rename(&mut self, random: &mut StdRng) -> (String, Result<(), &'static str>) {
        let Some(number) = self.any(random) else { return self.create(random) };
        let to = (self.objects[&number].name.0, *NAMES.choose(random).expect("there are names"));
        let sql = format!("{} RENAME TO {}", self.alter(number, random), to.1);
        if self.find(to).is_some() {
            return (sql, Err("42P07"));
        }
        self.objects.get_mut(&number).expect("it was found").name = to;
        (sql, Ok(()))
    }

    fn swap(&mut self, random: &mut StdRng) -> (String, Result<(), &'static str>) {
        let (Some(one), Some(two)) = (self.any(random), self.any(random)) else { return self.create(random) };
        let (first, second) = (self.objects[&one].clone(), self.objects[&two].clone());
        let sql = format!("{} SWAP WITH {}", self.alter(one, random), self.said(two, random));
        let outcome = match () {
            () if first.kind == Kind::Table && second.kind != Kind::Table => Err("42809"),
            () if first.kind != second.kind => Err("42809"),
            () if one == two => Err("42P16"),
            () if first.name.0 != second.name.0 => Err("0A000"),
            () => Ok(()),
        };
        if outcome.is_ok() {
            self.objects.get_mut(&one).expect("it was found").name = second.name;
            self.objects.get_mut(&two).expect("it was found").name = first.name;
        }
        (sql, outcome)
    }

    fn set_schema(&mut self, random: &mut StdRng) -> (String, Result<(), &'static str>) {
        let Some(number) = self.any(random) else { return self.create(random) };
        let to = (self.any_schema(random), self.objects[&number].name.1);
        let sql = format!("{} SET SCHEMA {}", self.alter(number, random), to.0);
        if self.find(to).is_some_and(|found| found != number) {
            return (sql, Err("42P07"));
        }
        self.objects.get_mut(&number).expect("it was found").name = to;
        (sql, Ok(()))
    }

    /// A schema is made, dropped or renamed.
    fn schema(&mut self, random: &mut StdRng) -> (String, Result<(), &'static str>) {
        let (schema, other) = (self.any_schema(random), *SCHEMAS.choose(random).expect("there are schemas"));
        if self.schemas.len() < 2 || (!self.schemas.contains(other) && random.random_bool(0.4)) {
            let taken = self.schemas.contains(other);
            self.schemas.insert(other);
            return (format!("CREATE SCHEMA {other}"), if taken { Err("42P06") } else { Ok(()) });
        }
        if random.random_bool(0.4) {
            let inside = self.objects.iter().filter(|(_, object)| object.name.0 == schema);
            for number in inside.map(|(number, _)| *number).collect::<Vec<_>>() {
                self.forget(number);
            }
            self.schemas.remove(schema);
            return (format!("DROP SCHEMA {schema} CASCADE"), Ok(()));
        }
        let sql = format!("ALTER SCHEMA {schema} RENAME TO {other}");
        if self.schemas.contains(other) {
            return (sql, Err("42P06"));
        }
        self.schemas.remove(schema);
        self.schemas.insert(other);
        for object in self.objects.values_mut().filter(|object| object.name.0 == schema) {
            object.name.0 = other;
        }
        (sql, Ok(()))
    }

    /// Everything shows the rows of the table below it, and nothing else is there.
    async fn check(&self, client: &mut Client) {
        for (number, object) in &self.objects {
            let (schema, name) = object.name;
            let rows = &self.objects[&self.table_under(*number)].rows;
            let expected: Vec<String> = rows.iter().map(i32::to_string).collect();
            let found = client.rows(&format!("SELECT n FROM {schema}.{name} ORDER BY n")).await;
            assert_eq!(found, expected, "{schema}.{name} is {object:?}");
        }
        let plain = |text: &str| text.trim_matches('"').to_string();
        let mut expected: Vec<String> = self
            .objects
            .values()
            .map(|object| format!("{}|{}|{}", plain(object.name.0), plain(object.name.1), relkind(object.kind)))
            .collect();
        expected.sort();
        let sql = "SELECT n.nspname, c.relname, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'v', 'm') AND c.oid >= 16384";
        let mut found = client.rows(sql).await;
        found.sort();
        assert_eq!(found, expected);
    }
}

fn relkind(kind: Kind) -> &'static str {
    match kind {
        Kind::Table => "r",
        Kind::View => "v",
        Kind::MaterializedView => "m",
    }
}

/// The server stops or dies and opens its storage anew, with or without a snapshot of its log.
async fn restart(name: &str, old: Arc<Engine>, random: &mut StdRng) -> Arc<Engine> {
    if random.random_bool(0.6) {
        Client::new(&old).tag("CHECKPOINT").await;
    }
    let stops = random.random_bool(0.5);
    if stops {
        old.stop().await;
    }
    let engine = open(name).await;
    if !stops {
        old.stop().await;
    }
    engine
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_reads_a_relation_follows_it_through_all_of_its_names() {
    for seed in seeds() {
        eprintln!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let name = format!("random_renames_{seed}");
        let mut engine = open(&name).await;
        let mut client = Client::new(&engine);
        let (mut model, mut value) = (Model::new(), 0);
        for _ in 0..STEPS {
            if random.random_ratio(1, 12) {
                engine = restart(&name, engine, &mut random).await;
                client = Client::new(&engine);
                model.path = vec!["public"];
                model.check(&mut client).await;
            }
            let in_block = random.random_bool(0.4);
            let before = model.clone();
            let steps = if in_block { random.random_range(1..6) } else { 1 };
            if in_block {
                client.tag("BEGIN").await;
            }
            let mut failed = false;
            for _ in 0..steps {
                value += 1;
                let (sql, expected) = model.step(&mut random, value);
                eprintln!("{sql} -- {expected:?}");
                match (client.run(&sql).await, expected) {
                    (Ok(_), Ok(())) => {}
                    (Err(error), Err(sqlstate)) => {
                        assert_eq!(error.sqlstate, sqlstate, "{sql}: {error:?}");
                        failed = true;
                        break;
                    }
                    (outcome, _) => panic!("{sql}: {:?}", outcome.map(drop)),
                }
            }
            if in_block {
                let commits = !failed && random.random_bool(0.8);
                client.tag(if commits { "COMMIT" } else { "ROLLBACK" }).await;
                if !commits {
                    model = before;
                }
            }
            model.check(&mut client).await;
        }
        engine.stop().await;
    }
}
