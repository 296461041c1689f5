//! Following a relation, or the rows beside it that did not get through: all rows at one epoch, then the changes of every later one.
//!
//! A follower is a place in a history and holds no version: between two calls there is an epoch, and how much of the
//! next one was given. So whoever reads slowly keeps nothing alive, and is lost once what it needs has been let go
//! ([`History`](super::history::History)). The one exception is a difference that has to be computed in whole, because
//! rows moved between chunks: that is handed out to be computed where there are time and memory for it.
//!
//! The sum of what is given is what is shown, at every epoch that is given whole.

use std::sync::{Arc, Mutex};

use super::Graph;
use super::history::{Following, History, Series};
use super::shared::lock;
use crate::batch::ChangeBatch;
use crate::error::{Error, Result};
use crate::relation::{ChunkPlace, RelationVersion};
use crate::time::Epoch;

/// Somebody who follows a relation.
#[derive(Debug)]
pub struct Follower {
    series: Series,
    /// Everything up to here was given; `None`: nothing was.
    at: Option<Epoch>,
    under_way: Option<UnderWay>,
}

/// An epoch that is not given whole.
#[derive(Debug)]
enum UnderWay {
    /// Chunk by chunk, up to here.
    Chunks { to: Epoch, place: ChunkPlace },
    /// The follower was given what it takes to compute all of it.
    Whole { to: Epoch },
}

/// What a follower is given.
#[derive(Debug)]
pub enum Followed {
    /// Changes that the epoch brought; more of them may follow.
    Changes(Epoch, ChangeBatch),
    /// All that the epoch brought, still to be computed. When it was given [`Follower::gave`] says so.
    Whole(Difference),
    /// Everything up to and including the epoch was given.
    Complete(Epoch),
    /// Nothing has happened since.
    Nothing,
    /// What would have to be given next is not held any more.
    Lost,
}

/// Two versions of a relation of which all rows that differ have to be compared to know what has changed. It keeps both
/// alive.
#[derive(Debug)]
pub struct Difference {
    /// The epoch of the later one.
    pub epoch: Epoch,
    from: Arc<RelationVersion>,
    to: Arc<RelationVersion>,
    bytes: usize,
}

impl Difference {
    /// Bytes of the rows that are compared: computing it takes about three times as much memory for a moment.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many rows those are.
    pub fn rows(&self) -> usize {
        self.to.compared_rows(&self.from)
    }

    /// The changes, every row once. It takes as long as there are rows, and waits for nothing.
    pub fn compute(&self) -> Result<ChangeBatch> {
        self.to.net_since(&self.from)
    }
}

impl Follower {
    /// Follows a relation from what it holds at an epoch: first all rows that it has there.
    pub fn with_rows(series: impl Into<Series>, at: Epoch) -> Self {
        let under_way = UnderWay::Chunks { to: at, place: ChunkPlace::default() };
        Self { series: series.into(), at: None, under_way: Some(under_way) }
    }

    /// Follows a relation from an epoch on, whose rows are known.
    pub fn after(series: impl Into<Series>, at: Epoch) -> Self {
        Self { series: series.into(), at: Some(at), under_way: None }
    }

    /// Everything up to here was given.
    pub fn at(&self) -> Option<Epoch> {
        self.at
    }

    /// The oldest epoch whose rows it has to find to go on.
    pub fn needs(&self) -> Option<Epoch> {
        match &self.under_way {
            None => self.at,
            Some(UnderWay::Chunks { to, .. }) => self.at.or(Some(*to)),
            Some(UnderWay::Whole { to }) => Some(*to),
        }
    }

    /// Notes that a difference that was computed in whole was given.
    pub fn gave(&mut self, difference: Epoch) -> Followed {
        self.complete(difference)
    }

    /// The next that the graph has for it.
    pub fn next(&mut self, graph: &Graph) -> Result<Followed> {
        self.next_of(&graph.shared.history)
    }

    fn next_of(&mut self, history: &Mutex<History>) -> Result<Followed> {
        if self.under_way.is_none() {
            let Some(at) = self.at else { return Ok(Followed::Lost) };
            let following = lock(history).following(self.series, at);
            match following {
                Following::Lost => return Ok(Followed::Lost),
                Following::Unchanged(epoch) if epoch == at => return Ok(Followed::Nothing),
                Following::Unchanged(epoch) => return Ok(self.complete(epoch)),
                Following::Step { from, to, epoch } => {
                    let bytes = to.compared_bytes(&from);
                    if bytes > 0 {
                        self.under_way = Some(UnderWay::Whole { to: epoch });
                        return Ok(Followed::Whole(Difference { epoch, from, to, bytes }));
                    }
                    self.under_way = Some(UnderWay::Chunks { to: epoch, place: ChunkPlace::default() });
                }
            }
        }
        self.give(history)
    }

    /// A part of the epoch that is under way.
    fn give(&mut self, history: &Mutex<History>) -> Result<Followed> {
        let Some(UnderWay::Chunks { to: epoch, place }) = &mut self.under_way else {
            return Err(Error::internal("a difference that was to be computed was not given"));
        };
        let (from, to) = {
            let history = lock(history);
            let from = self.at.map(|at| history.at(self.series, at));
            (from, history.at(self.series, *epoch))
        };
        let Some(to) = to else { return Ok(Followed::Lost) };
        let from = from.unwrap_or_else(|| Some(RelationVersion::empty(Arc::clone(&to.schema))));
        let Some(from) = from else { return Ok(Followed::Lost) };
        let change = to.next_change(&from, place)?;
        let epoch = *epoch;
        Ok(match change {
            Some(change) => Followed::Changes(epoch, change),
            None => self.complete(epoch),
        })
    }

    fn complete(&mut self, epoch: Epoch) -> Followed {
        self.at = Some(epoch);
        self.under_way = None;
        Followed::Complete(epoch)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::{AsArray, Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::graph::Published;
    use crate::limits::{FOLLOWED_BYTES, FOLLOWED_VERSIONS};
    use crate::plan::RelationId;
    use crate::relation::RelationStore;

    const RELATION: RelationId = RelationId(7);

    fn rows(values: &[i64]) -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, false)]));
        RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(values.to_vec()))]).unwrap()
    }

    fn changes(values: &[i64], weight: i64) -> ChangeBatch {
        ChangeBatch::weighted(rows(values), Int64Array::from(vec![weight; values.len()]))
    }

    fn store_of(values: &[i64]) -> RelationStore {
        let mut store = RelationStore::new(rows(&[]).schema(), vec![]).unwrap();
        store.apply(&[ChangeBatch::append(rows(values))]).unwrap();
        store
    }

    fn epoch(counter: u64) -> Epoch {
        Epoch { term: 1, counter }
    }

    fn show(history: &Mutex<History>, counter: u64, version: Option<Arc<RelationVersion>>) {
        let mut published = Published::before_everything();
        published.epoch = epoch(counter);
        published.relations.extend(version.map(|version| (RELATION, version)));
        lock(history).push(&published);
    }

    fn counted(values: &[i64]) -> BTreeMap<i64, i64> {
        let mut counts = BTreeMap::new();
        values.iter().for_each(|value| *counts.entry(*value).or_default() += 1);
        counts
    }

    fn add(sum: &mut BTreeMap<i64, i64>, change: &ChangeBatch) {
        for (row, value) in change.rows.column(0).as_primitive::<Int64Type>().values().iter().enumerate() {
            *sum.entry(*value).or_default() += change.weight(row);
        }
        sum.retain(|_, weight| *weight != 0);
    }

    /// What a follower has added up.
    struct Reader {
        follower: Follower,
        sum: BTreeMap<i64, i64>,
        of_epoch: BTreeMap<i64, Vec<i64>>,
        with_rows: bool,
    }

    impl Reader {
        /// Takes some of what there is; every epoch that is given whole is held against what was shown.
        fn read(&mut self, history: &Mutex<History>, shown: &[Option<Vec<i64>>], most: usize, seed: u64) {
            for _ in 0..most {
                let mut followed = self.follower.next_of(history).unwrap();
                if let Followed::Whole(difference) = followed {
                    self.take(&difference.compute().unwrap());
                    followed = self.follower.gave(difference.epoch);
                }
                match followed {
                    Followed::Nothing => return,
                    Followed::Lost => panic!("everything is held, seed {seed}"),
                    Followed::Changes(_, change) => self.take(&change),
                    Followed::Whole(_) => panic!("it was computed, seed {seed}"),
                    Followed::Complete(at) => {
                        let values = shown[at.counter as usize].as_ref().expect("only what is shown is complete");
                        assert_eq!(self.sum, counted(values), "seed {seed}, epoch {at}");
                        for (value, weights) in std::mem::take(&mut self.of_epoch) {
                            let signs =
                                weights.iter().all(|weight| *weight > 0) || weights.iter().all(|weight| *weight < 0);
                            assert!(signs, "{value} came and went in one epoch: {weights:?}, seed {seed}, epoch {at}");
                        }
                        self.with_rows = true;
                    }
                }
            }
        }

        fn take(&mut self, change: &ChangeBatch) {
            add(&mut self.sum, change);
            for (row, value) in change.rows.column(0).as_primitive::<Int64Type>().values().iter().enumerate() {
                self.of_epoch.entry(*value).or_default().push(change.weight(row));
            }
        }
    }

    /// Random changes with restarts, gaps and a join; readers that begin anywhere and read in bits.
    #[test]
    fn the_sum_of_what_is_followed_is_what_is_shown() {
        for seed in 0..20 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut history = Mutex::new(History::default());
            let mut store = store_of(&[]);
            let mut held: Vec<i64> = Vec::new();
            let mut shown = vec![Some(held.clone())];
            show(&history, 0, Some(store.version()));
            let mut readers: Vec<Reader> = Vec::new();
            for counter in 1..80 {
                match random.random_range(0..20) {
                    // A restart: the same rows in another store; for a while it is not shown.
                    0 => store = store_of(&held),
                    1 => {
                        store = store_of(&held);
                        show(&history, counter, None);
                        shown.push(None);
                        continue;
                    }
                    2 => {
                        let mut other = History::default();
                        other.take_over(history.into_inner().unwrap());
                        history = Mutex::new(other);
                    }
                    _ => {}
                }
                let count = if random.random_bool(0.01) { 9_000 } else { random.random_range(0..5) };
                let gone: Vec<i64> = (0..random.random_range(0..=held.len().min(12)))
                    .map(|_| held.swap_remove(random.random_range(0..held.len())))
                    .collect();
                let come: Vec<i64> = (0..count).map(|_| random.random_range(0..9 + count)).collect();
                held.extend(&come);
                let parts = [changes(&come, 1), changes(&gone, -1)];
                // Several commits of one epoch: what one takes back another may bring again.
                for part in parts.iter().filter(|part| !part.is_empty()) {
                    store.apply(std::slice::from_ref(part)).unwrap();
                }
                show(&history, counter, Some(store.version()));
                shown.push(Some(held.clone()));
                if random.random_bool(0.1) {
                    let from = random.random_range(0..=counter);
                    if let Some(values) = &shown[from as usize] {
                        let with_rows = random.random_bool(0.5);
                        let (follower, sum) = match with_rows {
                            true => (Follower::with_rows(RELATION, epoch(from)), BTreeMap::new()),
                            false => (Follower::after(RELATION, epoch(from)), counted(values)),
                        };
                        readers.push(Reader { follower, sum, of_epoch: BTreeMap::new(), with_rows: false });
                    }
                }
                let most = random.random_range(0..4);
                readers.iter_mut().for_each(|reader| reader.read(&history, &shown, most, seed));
            }
            show(&history, 80, Some(store.version()));
            shown.push(Some(held));
            for reader in &mut readers {
                reader.read(&history, &shown, usize::MAX, seed);
                assert_eq!(reader.follower.at(), Some(epoch(80)), "seed {seed}");
                assert!(reader.with_rows && reader.follower.needs() == Some(epoch(80)));
            }
        }
    }

    #[test]
    fn what_is_held_is_bounded_and_who_comes_too_late_is_told() {
        let history = Mutex::new(History::default());
        let mut store = store_of(&[]);
        for counter in 0..(FOLLOWED_VERSIONS as u64 + 10) {
            store.apply(&[ChangeBatch::append(rows(&[counter as i64]))]).unwrap();
            show(&history, counter, Some(store.version()));
        }
        let (oldest, newest) = lock(&history).held(RELATION.into()).unwrap();
        assert_eq!((oldest.counter, newest.counter), (9, FOLLOWED_VERSIONS as u64 + 9));
        let next = |mut follower: Follower| follower.next_of(&history).unwrap();
        assert!(matches!(next(Follower::after(RELATION, epoch(8))), Followed::Lost));
        assert!(matches!(next(Follower::with_rows(RELATION, epoch(8))), Followed::Lost));
        assert!(matches!(next(Follower::after(RELATION, oldest)), Followed::Whole(_)), "its chunk was rewritten");
        assert!(matches!(next(Follower::after(RELATION, newest)), Followed::Nothing));
        assert!(matches!(next(Follower::after(RELATION, epoch(newest.counter + 1))), Followed::Lost), "not yet");
        assert!(matches!(next(Follower::after(RelationId(8), newest)), Followed::Lost));

        // By bytes: every epoch brings other rows in the place of all. Half of one is given when it has to go.
        let history = Mutex::new(History::default());
        let mut slow = Follower::with_rows(RELATION, epoch(0));
        for counter in 0..100_u64 {
            let many: Vec<i64> = (0..200_000).map(|value| value * 100 + counter as i64).collect();
            show(&history, counter, Some(store_of(&many).version()));
            assert!(lock(&history).bytes() <= FOLLOWED_BYTES);
            if counter == 0 {
                assert!(matches!(slow.next_of(&history).unwrap(), Followed::Changes(..)));
            }
        }
        let (oldest, _) = lock(&history).held(RELATION.into()).unwrap();
        assert!(oldest.counter > 50, "epochs from {oldest} on are held");
        assert!(matches!(slow.next_of(&history).unwrap(), Followed::Lost));
        let mut follower = Follower::after(RELATION, oldest);
        let Followed::Whole(difference) = follower.next_of(&history).unwrap() else { panic!("all rows are others") };
        let bytes = difference.bytes();
        assert!(bytes >= 2 * 200_000 * 8, "{bytes} bytes are compared");
        assert_eq!(difference.rows(), 400_000);
        assert!(follower.next_of(&history).is_err(), "it has to be given first");
        assert_eq!(follower.needs(), Some(difference.epoch), "the older version is held by the difference");
        assert!(lock(&history).shed());
        assert_eq!(difference.compute().unwrap().len(), 400_000);
        assert!(matches!(follower.gave(difference.epoch), Followed::Complete(at) if at == difference.epoch));
        assert!(matches!(follower.next_of(&history).unwrap(), Followed::Lost));
        assert_eq!(lock(&history).bytes(), 0);
        assert_eq!(lock(&history).held(RELATION.into()).unwrap().0, epoch(99));
        lock(&history).forget(RELATION);
        assert!(lock(&history).held(RELATION.into()).is_none());
    }
}
