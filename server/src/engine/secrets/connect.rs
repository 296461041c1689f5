//! Connectors with secrets: the values are put into a connector's options whenever it connects anew.
//!
//! A source or sink that is given secrets stands behind a wrapper, which makes it from its options and the values of
//! that moment, and again once a value has changed. An error that quotes a value is masked before anybody sees it: that
//! of a reader or a publisher, too, with the values that it was made with.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use millstream_connectors::ConnectorContext;
use millstream_planner::secret::{MASK, SecretUses};
use millstream_runtime::batch::ChangeBatch;
use millstream_runtime::sink::{EncodedRows, Publisher, Sink, SinkIdentity};
use millstream_runtime::source::{
    ConnectorSpec, Position, Source, SourceEvent, SourceReader, Split, SplitId, SplitRange,
};
use millstream_runtime::{Error, Result};

use super::keys::{Place, Sealed, SecretKeys};

/// The encrypted values of all secrets, by OID.
pub type SealedSecrets = Arc<BTreeMap<u32, Sealed>>;

/// The values of the secrets as they are now.
#[derive(Clone, Debug, Default)]
pub struct SecretValues {
    keys: SecretKeys,
    sealed: Arc<RwLock<SealedSecrets>>,
}

impl SecretValues {
    /// Values under these keys.
    pub fn new(keys: SecretKeys, sealed: SealedSecrets) -> Self {
        Self { keys, sealed: Arc::new(RwLock::new(sealed)) }
    }

    /// The keys.
    pub fn keys(&self) -> &SecretKeys {
        &self.keys
    }

    /// Takes up the values of a newer catalog: connections that are made from here on get them.
    pub fn replace(&self, sealed: SealedSecrets) {
        *self.sealed.write().expect("nothing panics while the values are locked") = sealed;
    }

    /// The same keys with the values of a catalog that is not committed yet.
    pub fn with(&self, sealed: SealedSecrets) -> Self {
        Self::new(self.keys.clone(), sealed)
    }

    /// The value of an option.
    fn opened(&self, option: &str, oid: u32, sealed: &Sealed) -> Result<String> {
        self.keys.open(Place::Secret(oid), sealed, &format!("the secret of option \"{option}\""))
    }

    fn of(&self, uses: &SecretUses) -> Result<Vec<Sealed>> {
        let sealed = self.sealed.read().expect("nothing panics while the values are locked");
        let found = uses.values().map(|oid| sealed.get(oid).cloned());
        found.collect::<Option<_>>().ok_or_else(|| Error::internal("a connector uses a secret that is not there"))
    }

    /// The source that a relation declares, with its secrets.
    pub fn source(
        &self,
        spec: &ConnectorSpec,
        uses: Option<&SecretUses>,
        context: &ConnectorContext,
    ) -> Result<Arc<dyn Source>> {
        match uses {
            None => millstream_connectors::source(spec, context),
            Some(uses) => {
                let connecting = self.connecting(spec, uses, context, millstream_connectors::source);
                connecting.current()?;
                Ok(Arc::new(SecretSource(connecting)))
            }
        }
    }

    /// The sink that a statement declares, with its secrets.
    pub fn sink(
        &self,
        spec: &ConnectorSpec,
        uses: Option<&SecretUses>,
        context: &ConnectorContext,
    ) -> Result<Arc<dyn Sink>> {
        match uses {
            None => millstream_connectors::sink(spec, context),
            Some(uses) => {
                let connecting = self.connecting(spec, uses, context, millstream_connectors::sink);
                connecting.current()?;
                Ok(Arc::new(SecretSink(connecting)))
            }
        }
    }

    fn connecting<T: ?Sized>(
        &self,
        spec: &ConnectorSpec,
        uses: &SecretUses,
        context: &ConnectorContext,
        make: Make<T>,
    ) -> Connecting<T> {
        let (spec, uses, context) = (spec.clone(), uses.clone(), context.clone());
        Connecting { spec, uses, context, make, values: self.clone(), made: Mutex::default() }
    }
}

type Make<T> = fn(&ConnectorSpec, &ConnectorContext) -> Result<Arc<T>>;

/// What makes a source or a sink, and the one that it made last.
struct Connecting<T: ?Sized> {
    spec: ConnectorSpec,
    uses: SecretUses,
    context: ConnectorContext,
    make: Make<T>,
    values: SecretValues,
    made: Mutex<Option<Made<T>>>,
}

struct Made<T: ?Sized> {
    sealed: Vec<Sealed>,
    connector: Arc<T>,
}

impl<T: ?Sized> Connecting<T> {
    /// The connector with the values of now.
    fn current(&self) -> Result<Arc<T>> {
        self.current_with().map(|(connector, _)| connector)
    }

    /// The same, with what masks its errors.
    fn current_with(&self) -> Result<(Arc<T>, Mask)> {
        let sealed = self.values.of(&self.uses)?;
        let mask = Mask { values: self.values.clone(), uses: self.uses.clone(), used: sealed.clone() };
        let mut made = self.made.lock().expect("nothing panics while the connector is locked");
        if let Some(made) = &*made
            && made.sealed == sealed
        {
            return Ok((Arc::clone(&made.connector), mask));
        }
        let spec = self.spec(&sealed)?;
        let connector = (self.make)(&spec, &self.context).map_err(|error| mask.masked(error))?;
        *made = Some(Made { sealed, connector: Arc::clone(&connector) });
        Ok((connector, mask))
    }

    /// The options with the values put in.
    fn spec(&self, sealed: &[Sealed]) -> Result<ConnectorSpec> {
        let mut spec = self.spec.clone();
        for ((option, oid), sealed) in self.uses.iter().zip(sealed) {
            spec.options.insert(option.clone(), self.values.opened(option, *oid, sealed)?);
        }
        Ok(spec)
    }
}

/// Takes the values that a connector was given out of what it says, however much later it says it.
#[derive(Clone)]
struct Mask {
    values: SecretValues,
    uses: SecretUses,
    used: Vec<Sealed>,
}

impl Mask {
    /// An error without the values.
    fn masked(&self, mut error: Error) -> Error {
        let used = self.uses.iter().zip(&self.used);
        let opened = used.filter_map(|((option, oid), sealed)| self.values.opened(option, *oid, sealed).ok());
        let mut values: Vec<String> = opened.filter(|value| !value.is_empty()).collect();
        // One may be a part of another.
        values.sort_by_key(|value| Reverse(value.len()));
        for value in values {
            error.message = error.message.replace(&value, MASK);
            error.hint = error.hint.map(|hint| hint.replace(&value, MASK));
        }
        error
    }
}

struct SecretSource(Connecting<dyn Source>);

#[async_trait]
impl Source for SecretSource {
    async fn splits(&self) -> Result<Vec<Split>> {
        let (source, mask) = self.0.current_with()?;
        source.splits().await.map_err(|error| mask.masked(error))
    }

    async fn ends(&self) -> Result<BTreeMap<SplitId, Position>> {
        let (source, mask) = self.0.current_with()?;
        source.ends().await.map_err(|error| mask.masked(error))
    }

    async fn open(&self, ranges: Vec<SplitRange>, columns: Vec<usize>) -> Result<Box<dyn SourceReader>> {
        let (source, mask) = self.0.current_with()?;
        match source.open(ranges, columns).await {
            Ok(reader) => Ok(Box::new(Masked { inside: reader, mask })),
            Err(error) => Err(mask.masked(error)),
        }
    }

    fn bounded(&self) -> bool {
        // It was made before, and secrets bear on connecting only.
        self.0.current().is_ok_and(|source| source.bounded())
    }
}

struct SecretSink(Connecting<dyn Sink>);

#[async_trait]
impl Sink for SecretSink {
    fn encode(&self, changes: &ChangeBatch) -> Result<EncodedRows> {
        self.0.current()?.encode(changes)
    }

    async fn open(&self, identity: &SinkIdentity) -> Result<Box<dyn Publisher>> {
        let (sink, mask) = self.0.current_with()?;
        match sink.open(identity).await {
            Ok(publisher) => Ok(Box::new(Masked { inside: publisher, mask })),
            Err(error) => Err(mask.masked(error)),
        }
    }
}

/// What a source or a sink with secrets has opened.
struct Masked<T: ?Sized> {
    inside: Box<T>,
    mask: Mask,
}

#[async_trait]
impl SourceReader for Masked<dyn SourceReader> {
    async fn next(&mut self) -> Result<Option<SourceEvent>> {
        self.inside.next().await.map_err(|error| self.mask.masked(error))
    }

    async fn committed(&mut self, positions: &BTreeMap<SplitId, Position>) -> Result<()> {
        self.inside.committed(positions).await.map_err(|error| self.mask.masked(error))
    }
}

#[async_trait]
impl Publisher for Masked<dyn Publisher> {
    async fn progress(&mut self) -> Result<Option<u64>> {
        self.inside.progress().await.map_err(|error| self.mask.masked(error))
    }

    async fn publish(&mut self, sequence: u64, outbox: &[Bytes]) -> Result<()> {
        self.inside.publish(sequence, outbox).await.map_err(|error| self.mask.masked(error))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use arrow::array::RecordBatch;
    use arrow::datatypes::{Schema, SchemaRef};

    use super::*;
    use crate::engine::clock::ServerClock;

    const LONG: &str = "hunter2-and-more";
    const PART: &str = "hunter2";

    /// Says all that it was given whenever it is asked.
    struct Talkative(String);

    impl Talkative {
        fn error<T>(&self) -> Result<T> {
            Err(Error::unavailable(format!("connected with {}", self.0)).with_hint(format!("Look at {}.", self.0)))
        }
    }

    #[async_trait]
    impl Source for Talkative {
        async fn splits(&self) -> Result<Vec<Split>> {
            self.error()
        }

        async fn ends(&self) -> Result<BTreeMap<SplitId, Position>> {
            self.error()
        }

        async fn open(&self, ranges: Vec<SplitRange>, _columns: Vec<usize>) -> Result<Box<dyn SourceReader>> {
            if ranges.is_empty() { self.error() } else { Ok(Box::new(Self(self.0.clone()))) }
        }

        fn bounded(&self) -> bool {
            false
        }
    }

    #[async_trait]
    impl SourceReader for Talkative {
        async fn next(&mut self) -> Result<Option<SourceEvent>> {
            self.error()
        }

        async fn committed(&mut self, _positions: &BTreeMap<SplitId, Position>) -> Result<()> {
            self.error()
        }
    }

    #[async_trait]
    impl Sink for Talkative {
        fn encode(&self, _changes: &ChangeBatch) -> Result<EncodedRows> {
            Ok(EncodedRows::default())
        }

        async fn open(&self, identity: &SinkIdentity) -> Result<Box<dyn Publisher>> {
            if identity.timeline == 1 { self.error() } else { Ok(Box::new(Self(self.0.clone()))) }
        }
    }

    #[async_trait]
    impl Publisher for Talkative {
        async fn progress(&mut self) -> Result<Option<u64>> {
            self.error()
        }

        async fn publish(&mut self, _sequence: u64, _outbox: &[Bytes]) -> Result<()> {
            self.error()
        }
    }

    fn talkative(spec: &ConnectorSpec) -> Talkative {
        Talkative(format!("{:?}", spec.options))
    }

    fn schema() -> SchemaRef {
        Arc::new(Schema::empty())
    }

    fn connecting<T: ?Sized>(make: Make<T>) -> Connecting<T> {
        let keys = SecretKeys::random().unwrap();
        let sealed = [(7, PART), (8, LONG)].map(|(oid, value)| (oid, keys.seal(Place::Secret(oid), value).unwrap()));
        let values = SecretValues::new(keys, Arc::new(BTreeMap::from(sealed)));
        let spec = ConnectorSpec {
            relation: "s".into(),
            connector: "talkative".into(),
            options: BTreeMap::from([("topic".into(), "events".into())]),
            format: None,
            schema: schema(),
            origins: Vec::new(),
            primary_key: Vec::new(),
            keeps_raw: false,
        };
        let uses = SecretUses::from([("a.user".to_string(), 7), ("b.password".to_string(), 8)]);
        values.connecting(&spec, &uses, &ConnectorContext::with_clock(Arc::new(ServerClock::default())), make)
    }

    /// What is told, and no value.
    fn assert_masked<T>(outcome: Result<T>, what: &str) {
        let Err(error) = outcome else { panic!("{what} fails") };
        let told = error.to_string();
        assert!(told.contains("connected with") && told.contains("events") && told.contains("Look at"), "{told}");
        assert_eq!(told.matches(MASK).count(), 4, "{what}: {told}");
        assert!(!told.contains(PART) && !told.contains("and-more"), "{what}: {told}");
    }

    #[tokio::test]
    async fn whatever_a_connector_says_is_masked() {
        let source = SecretSource(connecting(|spec, _| Ok(Arc::new(talkative(spec)) as Arc<dyn Source>)));
        assert_masked(source.splits().await, "splits");
        assert_masked(source.ends().await, "ends");
        assert_masked(source.open(Vec::new(), Vec::new()).await.map(drop), "open");
        let split = Split { id: SplitId("0".into()), start: Position(0), incarnation: String::new() };
        let range = SplitRange { split, from: Position(0), until: None };
        let mut reader = source.open(vec![range], Vec::new()).await.unwrap();
        // Another value meanwhile: the reader was given the one before.
        let keys = source.0.values.keys().clone();
        let other = [7, 8].map(|oid| (oid, keys.seal(Place::Secret(oid), "another value").unwrap()));
        source.0.values.replace(Arc::new(BTreeMap::from(other)));
        assert_masked(reader.next().await.map(drop), "next");
        assert_masked(reader.committed(&BTreeMap::new()).await, "committed");

        let sink = SecretSink(connecting(|spec, _| Ok(Arc::new(talkative(spec)) as Arc<dyn Sink>)));
        let identity = |timeline| SinkIdentity { id: "k".into(), timeline };
        assert_masked(sink.open(&identity(1)).await.map(drop), "open");
        let mut publisher = sink.open(&identity(0)).await.unwrap();
        assert_masked(publisher.progress().await, "progress");
        assert_masked(publisher.publish(1, &[]).await, "publish");
        assert!(sink.encode(&ChangeBatch::append(RecordBatch::new_empty(schema()))).is_ok());

        let refused = connecting::<dyn Source>(|spec, _| talkative(spec).error());
        assert_masked(refused.current().map(drop), "making it");
    }
}
