//! `DROP` of relations: which ones go, and in which order.

use std::collections::BTreeSet;
use std::sync::Arc;

use millstream_runtime::plan::RelationId;

use crate::catalog::{Catalog, Relation};
use crate::error::{PlanError, PlanErrorKind, Result};
use crate::parse::ast::Name;
use crate::settings::PlanSettings;
use crate::statement::{Drop, ObjectKind, Statement};

use super::names::{described, lookup, must_be, unknown};

/// `DROP kind [IF EXISTS] names [CASCADE]`.
pub(crate) fn drop(
    object: ObjectKind,
    names: &[Name],
    if_exists: bool,
    cascade: bool,
    catalog: &Catalog,
    settings: &PlanSettings,
) -> Result<Statement> {
    let mut notices = Vec::new();
    let mut named: Vec<(Arc<Relation>, &Name)> = Vec::new();
    for name in names {
        match lookup(name, catalog, settings) {
            Some(relation) => {
                must_be(&relation, object, "DROP", name)?;
                named.push((relation, name));
            }
            None if if_exists => {
                let kind = object.sql().to_lowercase();
                notices.push(format!("{kind} \"{}\" does not exist, skipping", name.name));
            }
            None => {
                return Err(unknown(name, catalog));
            }
        }
    }
    let chosen: BTreeSet<RelationId> = named.iter().map(|(relation, _)| relation.id).collect();
    let order = dependents_first(named.iter().map(|(relation, _)| relation.id), catalog);
    let taken_along: Vec<&Arc<Relation>> =
        order.iter().filter(|id| !chosen.contains(id)).filter_map(|id| catalog.get(*id)).collect();
    if !taken_along.is_empty() {
        if !cascade {
            return Err(still_needed(object, &named, &chosen, catalog));
        }
        // As in Postgres: what one of them is, or how many they are and which.
        notices.extend(taken_along.iter().rev().map(|relation| format!("drop cascades to {}", described(relation))));
    }
    let named = chosen.into_iter().collect();
    Ok(Statement::Drop(Drop { object, relations: order, named, notices }))
}

/// `roots` and all that depends on them, everything before what it reads.
pub(super) fn dependents_first(roots: impl Iterator<Item = RelationId>, catalog: &Catalog) -> Vec<RelationId> {
    // A relation reads only what was there before it, but a view can be replaced: go by the edges, not by
    // the numbers. `waiting` holds those whose dependents are being listed.
    let mut listed = Vec::new();
    let mut seen = BTreeSet::new();
    for root in roots {
        let mut waiting = vec![(root, false)];
        while let Some((id, dependents_listed)) = waiting.pop() {
            if dependents_listed {
                listed.push(id);
            } else if seen.insert(id) {
                waiting.push((id, true));
                waiting.extend(catalog.dependents(id).iter().map(|dependent| (dependent.id, false)));
            }
        }
    }
    listed
}

fn still_needed(
    object: ObjectKind,
    named: &[(Arc<Relation>, &Name)],
    chosen: &BTreeSet<RelationId>,
    catalog: &Catalog,
) -> PlanError {
    // Every edge from a dependent that stays to what it needs, within all that would go.
    let going = dependents_first(named.iter().map(|(relation, _)| relation.id), catalog);
    let edges = going.iter().rev().filter_map(|id| catalog.get(*id)).flat_map(|needed| {
        let dependents = catalog.dependents(needed.id).into_iter().filter(|dependent| !chosen.contains(&dependent.id));
        dependents.map(|dependent| format!("{} depends on {}", described(&dependent), described(needed)))
    });
    let detail = edges.collect::<Vec<_>>().join("\n");
    let message = match named {
        [(relation, _)] => format!("cannot drop {} because other objects depend on it", described(relation)),
        _ => format!("cannot drop these {}s because other objects depend on them", object.sql().to_lowercase()),
    };
    PlanError::new(PlanErrorKind::DependentObjectsStillExist, message)
        .with_detail(detail)
        .with_hint("Use DROP ... CASCADE to drop the dependent objects too.")
        .at(named.first().map(|(_, name)| name.position))
}
