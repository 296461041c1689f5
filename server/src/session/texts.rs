//! Queries that are sent as text and looked up by index, kept for texts that differ in their values only.
//!
//! Parsing and planning such a text takes several times what looking its rows up does, and most clients send the same
//! few texts with other values. What is kept is a plan as a prepared statement has one ([`Template`]); whether it may be
//! used is asked as for those: it rests on a catalog and on settings that bear on planning, roles count when it runs.
//! Kept is what comes a second time. All sessions share it, and a new catalog begins it anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use datafusion::common::ScalarValue;
use millstream_planner::catalog::Catalog;
use millstream_planner::parse::LiteralsOut;
use millstream_planner::statement::{Statement, StatementText};
use millstream_planner::template::{Template, Values};

use super::prepare::{Planned, Work};
use super::{Prepared, Session};

/// Texts without their literals that are known: the texts of some applications, at 2 KiB each half a MiB.
const TEXTS_MAX: usize = 256;

/// Plans of one text: those that differ in settings, or in literals that are no values (an OFFSET, say). With more of
/// them it is planned each time.
const PLANS_MAX: usize = 4;

/// A text's own values and words, with a plan that it shares with others.
#[derive(Debug)]
pub(super) struct OwnText {
    pub(super) text: StatementText,
    pub(super) values: Vec<ScalarValue>,
}

/// The texts that all sessions of an engine have sent.
#[derive(Debug, Default)]
pub struct KnownTexts(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// What all plans rest on.
    catalog: Option<Arc<Catalog>>,
    texts: HashMap<String, KnownText>,
}

/// A text without its literals.
#[derive(Debug, Default)]
struct KnownText {
    plans: Vec<Kept>,
    /// It is planned each time.
    refused: bool,
}

/// One plan of a text.
#[derive(Debug)]
struct Kept {
    values: Values,
    /// The literals that are no values.
    fixed: Vec<String>,
    prepared: Prepared,
}

impl Kept {
    fn of(template: Template, text: &StatementText, out: &LiteralsOut, prepared: &Prepared) -> Self {
        let values = template.values().clone();
        let fixed = values.fixed(&out.literals).into_iter().map(str::to_string).collect();
        let planned = &prepared.inner;
        let shared = Planned {
            text: text.clone(),
            work: Work::Statement(Statement::Query(Box::new(template.query))),
            types: Vec::new(),
            catalog: Arc::clone(&planned.catalog),
            settings: planned.settings.clone(),
        };
        Self { values, fixed, prepared: Prepared { inner: Arc::new(shared), ..prepared.clone() } }
    }

    fn serves(&self, out: &LiteralsOut) -> bool {
        self.values.fixed(&out.literals) == self.fixed
    }
}

impl Session {
    /// The plan of a text that is known but for its values.
    pub(super) fn known_text(&self, text: &StatementText, out: &LiteralsOut) -> Option<Prepared> {
        let state = self.state();
        let settings = self.plan_settings();
        let known = self.engine.texts().0.lock().expect("no panic while the texts are locked");
        if !known.catalog.as_ref().is_some_and(|catalog| Arc::ptr_eq(catalog, &state.catalog.view)) {
            return None;
        }
        let kept = &known.texts.get(&out.key)?.plans;
        let serves = |kept: &&Kept| kept.prepared.inner.settings == settings && kept.serves(out);
        let kept = kept.iter().find(serves)?;
        let values = kept.values.of(&out.literals)?;
        let own = Some(Arc::new(OwnText { text: text.clone(), values }));
        Some(Prepared { own, ..kept.prepared.clone() })
    }

    /// Keeps the plan of a text, if it comes again.
    pub(super) fn keep_text(&self, text: &StatementText, out: LiteralsOut, prepared: &Prepared) {
        let Work::Statement(Statement::Query(query)) = &prepared.inner.work else { return };
        // A transaction's own catalog goes with it.
        if query.look_up.is_none() || !query.parameters.is_empty() || self.transaction.state().is_some() {
            return;
        }
        let planned = &prepared.inner;
        let lock = || self.engine.texts().0.lock().expect("no panic while the texts are locked");
        {
            let mut known = lock();
            if !known.catalog.as_ref().is_some_and(|catalog| Arc::ptr_eq(catalog, &planned.catalog)) {
                *known = Known { catalog: Some(Arc::clone(&planned.catalog)), texts: HashMap::new() };
            }
            match known.texts.get(&out.key) {
                // It comes for the first time.
                None => {
                    if known.texts.len() == TEXTS_MAX {
                        known.texts.clear();
                    }
                    known.texts.insert(out.key, KnownText::default());
                    return;
                }
                Some(text) if text.refused || text.plans.len() == PLANS_MAX => return,
                Some(_) => {}
            }
        }
        let template = Template::of(text, &out, query, &planned.catalog, &planned.settings);
        let kept = template.map(|template| Kept::of(template, text, &out, prepared));
        let mut known = lock();
        let same = known.catalog.as_ref().is_some_and(|catalog| Arc::ptr_eq(catalog, &planned.catalog));
        let Some(known) = known.texts.get_mut(&out.key).filter(|_| same) else { return };
        match kept {
            Some(kept) if known.plans.len() < PLANS_MAX => known.plans.push(kept),
            Some(_) => {}
            None => known.refused = true,
        }
    }
}
