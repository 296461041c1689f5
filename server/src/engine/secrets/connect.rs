//! Connectors with secrets: the values are put into a connector's options whenever it connects anew.
//!
//! A source or sink that is given secrets stands behind a wrapper, which makes it from its options and the values of
//! that moment, and again once a value has changed. An error that quotes a value is masked before anybody sees it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};

use async_trait::async_trait;
use millstream_connectors::ConnectorContext;
use millstream_planner::secret::{MASK, SecretUses};
use millstream_runtime::batch::ChangeBatch;
use millstream_runtime::sink::{EncodedRows, Publisher, Sink, SinkIdentity};
use millstream_runtime::source::{ConnectorSpec, Position, Source, SourceReader, Split, SplitId, SplitRange};
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
        let sealed = self.values.of(&self.uses)?;
        let mut made = self.made.lock().expect("nothing panics while the connector is locked");
        if let Some(made) = &*made
            && made.sealed == sealed
        {
            return Ok(Arc::clone(&made.connector));
        }
        let spec = self.spec(&sealed)?;
        let connector = (self.make)(&spec, &self.context).map_err(|error| self.masked(error))?;
        *made = Some(Made { sealed, connector: Arc::clone(&connector) });
        Ok(connector)
    }

    /// The options with the values put in.
    fn spec(&self, sealed: &[Sealed]) -> Result<ConnectorSpec> {
        let mut spec = self.spec.clone();
        for ((option, oid), sealed) in self.uses.iter().zip(sealed) {
            let what = format!("the secret of option \"{option}\"");
            let value = self.values.keys.open(Place::Secret(*oid), sealed, &what)?;
            spec.options.insert(option.clone(), value);
        }
        Ok(spec)
    }

    /// An error without the values.
    fn masked(&self, mut error: Error) -> Error {
        let Ok(spec) = self.values.of(&self.uses).and_then(|sealed| self.spec(&sealed)) else { return error };
        for value in self.uses.keys().filter_map(|option| spec.options.get(option)).filter(|value| !value.is_empty()) {
            error.message = error.message.replace(value, MASK);
            error.hint = error.hint.map(|hint| hint.replace(value, MASK));
        }
        error
    }
}

struct SecretSource(Connecting<dyn Source>);

#[async_trait]
impl Source for SecretSource {
    async fn splits(&self) -> Result<Vec<Split>> {
        self.0.current()?.splits().await.map_err(|error| self.0.masked(error))
    }

    async fn ends(&self) -> Result<BTreeMap<SplitId, Position>> {
        self.0.current()?.ends().await.map_err(|error| self.0.masked(error))
    }

    async fn open(&self, ranges: Vec<SplitRange>, columns: Vec<usize>) -> Result<Box<dyn SourceReader>> {
        self.0.current()?.open(ranges, columns).await.map_err(|error| self.0.masked(error))
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
        self.0.current()?.open(identity).await.map_err(|error| self.0.masked(error))
    }
}
