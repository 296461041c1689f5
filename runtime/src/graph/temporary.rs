//! Temporary views: each is one reader's own, and there for as long as the reader holds its lease.
//!
//! They are filled and run as other views are, and count as state; but no checkpoint knows them, so that a graph that
//! starts again fills them anew, and nothing of them is left behind by a process that ends. Nothing depends on them,
//! and nothing fails for them: where state takes too much memory the largest of all graphs goes first, a graph that would
//! stand as failed goes on without them, and one that reads what is dropped ends with it. Whoever reads one that was ended is told why.
//!
//! Whether one is still wanted is said by its lease and not by a message, which a graph that joins another one could
//! lose: messages only make a graph look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::ViewDeployment;
use super::master::{Master, Message, View};
use super::memory::Largest;
use super::shared::ViewProgress;
use crate::error::{Error, Result};
use crate::plan::RelationId;
use crate::time::Epoch;

/// Keeps a temporary view: it goes when this is dropped.
#[derive(Debug, Default)]
pub struct Lease {
    needs: Mutex<Option<Epoch>>,
}

impl Lease {
    /// Says which epoch its reader needs next, so that a view whose reader has fallen behind for good can go, too.
    pub fn needs(&self, epoch: Option<Epoch>) {
        *self.needs.lock().unwrap_or_else(PoisonError::into_inner) = epoch;
    }

    fn needed(&self) -> Option<Epoch> {
        *self.needs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The leases of a graph's temporary views, those included that were ended and are still read.
pub(super) type Leases = BTreeMap<RelationId, Weak<Lease>>;

impl Master {
    /// Takes a temporary view in, unless nobody wants it any more.
    pub(super) fn take_temporary(&mut self, deployment: Arc<ViewDeployment>, lease: Weak<Lease>) {
        // Whoever did not hear the answer asks twice.
        if lease.strong_count() > 0 && !self.leases.contains_key(&deployment.id) {
            self.leases.insert(deployment.id, lease);
            self.wait_to_fill(deployment);
        }
    }

    /// Takes out the temporary views that nobody wants any more, and those that are to make room.
    pub(super) fn sweep(&mut self) -> Result<()> {
        self.give_way()?;
        let unwanted = |(id, lease): (&RelationId, &Weak<Lease>)| (lease.strong_count() == 0).then_some(*id);
        let unwanted: BTreeSet<RelationId> = self.leases.iter().filter_map(unwanted).collect();
        if unwanted.is_empty() {
            return Ok(());
        }
        self.remove(&unwanted)
    }

    /// Takes out those whose readers need versions that are not held any more: they will be told when they ask.
    pub(super) fn remove_lost_temporaries(&mut self) -> Result<()> {
        if self.leases.is_empty() {
            return Ok(());
        }
        let lost: BTreeSet<RelationId> = {
            let history = self.shared.history();
            let needed = |lease: &Weak<Lease>| lease.upgrade().and_then(|lease| lease.needed());
            let is_lost = |id: &RelationId, lease: &Weak<Lease>| {
                needed(lease).is_some_and(|at| history.at((*id).into(), at).is_none())
            };
            let lost = self.leases.iter().filter(|(id, lease)| self.views.contains_key(id) && is_lost(id, lease));
            lost.map(|(id, _)| *id).collect()
        };
        if lost.is_empty() { Ok(()) } else { self.remove(&lost) }
    }

    /// Ends the temporary views that read some relations, which are dropped.
    pub(super) fn end_readers_of(&mut self, relations: &BTreeSet<RelationId>) -> Result<()> {
        let reads = |deployment: &ViewDeployment| {
            deployment.id.is_temporary() && deployment.dataflow.inputs().iter().any(|input| relations.contains(input))
        };
        let running = self.views.values().map(|view| &view.deployment);
        let readers = running.chain(self.fills.values().map(|fill| &fill.deployment)).filter(|view| reads(view));
        let readers: BTreeSet<RelationId> = readers.map(|view| view.id).collect();
        self.end_temporaries(&readers, &Error::unavailable("a relation that the query reads was dropped"))
    }

    /// Ends all of them; whether there were any.
    pub(super) fn end_all_temporaries(&mut self, error: &Error) -> Result<bool> {
        let there = self.views.keys().chain(self.fills.keys()).copied();
        let all: BTreeSet<RelationId> = there.filter(|id| id.is_temporary()).collect();
        self.end_temporaries(&all, error)?;
        Ok(!all.is_empty())
    }

    /// Ends the one that takes most memory, here or in another graph, if that is so many bytes; whether there was one.
    pub(super) fn end_largest_temporary(&mut self, at_least: usize) -> Result<bool> {
        match self.config.memory.take_largest(self.config.id, at_least) {
            None => Ok(false),
            Some(Largest::Asked) => Ok(true),
            Some(Largest::Own(_)) => self.give_way().map(|()| true),
        }
    }

    /// Ends those that are to make room.
    pub(super) fn give_way(&mut self) -> Result<()> {
        let mut asked = self.config.memory.asked(self.config.id);
        if asked.is_empty() {
            return Ok(());
        }
        // Its reader may have gone since.
        asked.retain(|id| self.views.contains_key(id) || self.fills.contains_key(id));
        self.end_temporaries(&asked, &self.memory.exhausted())?;
        self.hold(false);
        Ok(())
    }

    /// Notes how much would go with each.
    pub(super) fn offer_temporaries(&mut self) {
        let running = self.views.iter_mut().map(|(id, view): (&RelationId, &mut View)| (*id, view.memory_bytes(false)));
        let sizes = running.chain(self.fills.iter().map(|(id, fill)| (*id, fill.memory_bytes())));
        let sizes: BTreeMap<RelationId, usize> = sizes.filter(|(id, _)| id.is_temporary()).collect();
        let sender = &self.sender;
        let wake = || {
            let sender = sender.clone();
            Box::new(move || drop(sender.send(Message::Sweep))) as Box<dyn Fn() + Send + Sync>
        };
        self.config.memory.offer(self.config.id, sizes, wake);
    }

    fn end_temporaries(&mut self, ended: &BTreeSet<RelationId>, error: &Error) -> Result<()> {
        self.take_out(ended)?;
        for id in ended {
            tracing::info!(graph = self.config.id.0, %error, "the view of a subscription is ended");
            // Whoever finds no history finds the reason.
            self.shared.set_progress(*id, ViewProgress::Failed(error.clone()));
            self.shared.history().forget(*id);
        }
        Ok(())
    }
}
