//! `pg_proc`: the functions that can be called, and those that read and write types.

use super::{Row, row};
use crate::pg_catalog::CatalogView;
use crate::pg_catalog::objects::{INFORMATION_SCHEMA_OID, OWNER_OID, Objects, PG_CATALOG_OID};
use crate::pg_catalog::sql::datum::Datum;
use crate::pg_catalog::sql::functions::{self, ProcedureRow};

/// The language of functions that are part of the server.
pub(super) const INTERNAL_OID: u32 = 12;

/// `pg_proc`
pub(super) fn procedures(_: &CatalogView, _: &Objects) -> Vec<Row> {
    functions::procedures().iter().map(procedure).collect()
}

fn oids(oids: impl Iterator<Item = u32>) -> Datum {
    Datum::Array(oids.map(Datum::from).collect())
}

fn procedure(procedure: &ProcedureRow) -> Row {
    let outputs = &procedure.outputs;
    let inputs = procedure.arguments.iter().copied();
    let (all, modes, names) = if outputs.is_empty() {
        (Datum::Null, Datum::Null, Datum::Null)
    } else {
        let modes = procedure.arguments.iter().map(|_| "i").chain(outputs.iter().map(|_| "o"));
        let names = procedure.arguments.iter().map(|_| "").chain(outputs.iter().map(|(name, _)| *name));
        (oids(inputs.clone().chain(outputs.iter().map(|(_, oid)| *oid))), Datum::texts(modes), Datum::texts(names))
    };
    row! {
        "oid": procedure.oid,
        "proname": procedure.name,
        "pronamespace": if procedure.schema == PG_CATALOG_OID { PG_CATALOG_OID } else { INFORMATION_SCHEMA_OID },
        "proowner": OWNER_OID,
        "prolang": INTERNAL_OID,
        "procost": Datum::Float(1.0),
        "prorows": Datum::Float(if procedure.returns_set { 1_000.0 } else { 0.0 }),
        "provariadic": procedure.variadic,
        "prosupport": 0u32,
        "prokind": procedure.kind,
        "prosecdef": false,
        "proleakproof": false,
        "proisstrict": procedure.strict,
        "proretset": procedure.returns_set,
        "provolatile": procedure.volatility,
        "proparallel": "s",
        "pronargs": procedure.arguments.len(),
        "pronargdefaults": procedure.defaults,
        "prorettype": procedure.result,
        "proargtypes": oids(inputs),
        "proallargtypes": all,
        "proargmodes": modes,
        "proargnames": names,
        "prosrc": procedure.name,
    }
}
