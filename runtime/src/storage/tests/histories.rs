//! Random histories: commits, snapshots, trims, collections and take-overs under random faults. Whatever
//! happens, a new owner sees every acknowledged commit once and in order, and no refused one.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::faults::{Fault, Request};
use super::*;
use crate::error::ErrorKind;

struct History {
    seed: u64,
    random: StdRng,
    memory: Arc<InMemory>,
    storage: Arc<Storage>,
    store: Arc<FaultyStore>,
    /// Acknowledged commits with their entries, in order.
    acknowledged: Vec<(LogPosition, i64)>,
    next_tag: i64,
}

impl History {
    async fn start(seed: u64) -> Self {
        let memory = Arc::new(InMemory::new());
        let (storage, store) = server(&memory).await;
        storage.recover().await.unwrap();
        let random = StdRng::seed_from_u64(seed);
        Self { seed, random, memory, storage, store, acknowledged: Vec::new(), next_tag: 0 }
    }

    async fn step(&mut self) {
        self.add_faults();
        match self.random.random_range(0..10) {
            0..=5 => self.append().await,
            6 => self.snapshot().await,
            7 => drop(self.storage.collect(&[]).await),
            8 => self.take_over(true).await,
            _ => self.take_over(false).await,
        }
    }

    fn add_faults(&mut self) {
        for _ in 0..self.random.random_range(0..3) {
            match self.random.random_range(0..5) {
                0 => self.store.fault(Request::Create, "log/", Fault::Lost),
                1 => self.store.fault(Request::Create, "log/", Fault::AnswerLost),
                2 => self.store.fault(Request::Create, "log/", Fault::TakenByItself),
                3 => self.store.fault(Request::Create, "log/", Fault::Conflict),
                _ => self.store.fault(Request::Get, "log/", Fault::Lost),
            }
        }
    }

    fn tag(&mut self) -> i64 {
        self.next_tag += 1;
        self.next_tag
    }

    async fn append(&mut self) {
        let count = self.random.random_range(1..6);
        let tags: Vec<_> = (0..count).map(|_| self.tag()).collect();
        let appends = tags.iter().map(|tag| self.storage.append(commit(*tag)));
        let positions = futures::future::join_all(appends).await;
        for (tag, position) in tags.into_iter().zip(positions) {
            self.acknowledged.push((position.unwrap(), tag));
        }
    }

    async fn snapshot(&mut self) {
        let Some((last, _)) = self.acknowledged.last().copied() else { return };
        let position = LogPosition(self.random.random_range(1..=last.0));
        let covered = self.acknowledged.iter().filter(|(at, _)| *at <= position).map(|(_, tag)| *tag);
        let snapshot = snapshot_of(&covered.collect::<Vec<_>>());
        self.storage.write_snapshot(position, &snapshot).await.unwrap();
        let through = LogPosition(self.random.random_range(0..=last.0));
        self.storage.trim(through).await.unwrap();
    }

    /// Another server takes over, while the older one still lives, or after it is gone.
    async fn take_over(&mut self, older_lives: bool) {
        let (storage, store) = server(&self.memory).await;
        let older = std::mem::replace(&mut self.storage, storage);
        self.store = store;
        self.add_faults();
        let recovered = loop {
            match self.storage.recover().await {
                Ok(recovered) => break recovered,
                Err(error) if error.kind == ErrorKind::Unavailable => {}
                Err(error) => panic!("seed {}: {error}", self.seed),
            }
        };
        let expected: Vec<_> = self.acknowledged.iter().map(|(_, tag)| *tag).collect();
        assert_eq!(all_tags(&recovered), expected, "seed {}", self.seed);
        if older_lives {
            let refused = self.tag();
            let error = older.append(commit(refused)).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Fenced, "seed {}: {error}", self.seed);
        }
    }
}

#[tokio::test]
async fn random_histories_keep_every_acknowledged_commit_once() {
    for seed in 0..200 {
        let mut history = History::start(seed).await;
        for _ in 0..30 {
            history.step().await;
        }
        history.take_over(true).await;
    }
}
