//! Where a storage root is: in memory, in a local directory, or below a prefix of an S3 bucket.
//!
//! The rest of the storage asks only this file for objects, by names relative to the root. Errors say which
//! root and which object; a root's label never holds credentials, which come from the environment alone.

use std::collections::HashMap;
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    BackoffConfig, ClientConfigKey, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig,
    WriteMultipart,
};

use super::durable::DurableDirectory;
use crate::error::{Error, Result};
use crate::limits;

/// The objects of one storage root.
pub(crate) struct Backend {
    /// Retries what can be repeated.
    objects: Arc<dyn ObjectStore>,
    /// Never retries: what a log entry's create answers must be about that one request.
    entries: Arc<dyn ObjectStore>,
    /// The root as a person named it.
    pub(crate) label: String,
    /// No other server can write here, so that nobody has to look for one.
    pub(crate) exclusive: bool,
    /// Large objects go up in parts.
    multipart: bool,
    /// How long things wait.
    pub(crate) timing: Timing,
}

/// How long things wait; tests make it short.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Before the first repetition of a create with an unknown outcome.
    pub(crate) retry_first: Duration,
    /// The most between two repetitions.
    pub(crate) retry_most: Duration,
    /// An owner without commits looks for a newer term that often.
    pub(crate) look_every: Duration,
    /// A root that does not answer fails a start after that long.
    pub(crate) open_patience: Duration,
}

impl Timing {
    const STANDARD: Self = Self {
        retry_first: Duration::from_millis(20),
        retry_most: Duration::from_secs(2),
        look_every: Duration::from_secs(2),
        open_patience: Duration::from_secs(limits::STORAGE_OPEN_SECONDS),
    };
}

/// An object in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its name, relative to the root.
    pub(crate) name: String,
    /// Its size.
    pub(crate) bytes: u64,
}

impl Backend {
    /// Finds the root that `url` names, without writing anything but a local directory and its lock.
    pub(crate) fn open(url: &str) -> Result<Self> {
        match url.split_once("://") {
            Some(("memory", name)) => Ok(Self::memory(name)),
            Some(("s3", place)) => Self::s3(AmazonS3Builder::from_env(), url, place, Timing::STANDARD),
            Some(("file", _)) => Self::directory(&file_url(url)?),
            None if url.is_empty() => Err(unknown(url)),
            None => Self::directory(FilePath::new(url)),
            Some(_) => Err(unknown(url)),
        }
    }

    /// A root over any store, for tests that make it fail.
    #[cfg(test)]
    pub(crate) fn over(store: Arc<dyn ObjectStore>, timing: Timing) -> Self {
        let label = "memory://test".to_owned();
        Self { objects: Arc::clone(&store), entries: store, label, exclusive: false, multipart: false, timing }
    }

    fn memory(name: &str) -> Self {
        let store: Arc<dyn ObjectStore> = if name.is_empty() { Arc::new(InMemory::new()) } else { named_memory(name) };
        Self {
            objects: Arc::clone(&store),
            entries: store,
            label: format!("memory://{name}"),
            exclusive: name.is_empty(),
            multipart: false,
            timing: Timing::STANDARD,
        }
    }

    fn directory(root: &FilePath) -> Result<Self> {
        let store: Arc<dyn ObjectStore> = Arc::new(DurableDirectory::open(root)?);
        Ok(Self {
            label: root.display().to_string(),
            objects: Arc::clone(&store),
            entries: store,
            exclusive: true,
            multipart: false,
            timing: Timing::STANDARD,
        })
    }

    /// Below a prefix of a bucket that `builder` says how to reach.
    pub(crate) fn s3(builder: AmazonS3Builder, url: &str, place: &str, timing: Timing) -> Result<Self> {
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        if bucket.contains('@') || bucket.contains(':') {
            return Err(Error::invalid("a storage URL holds no credentials")
                .with_hint("Give them in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."));
        }
        if bucket.is_empty() {
            return Err(unknown(url));
        }
        // About 13 s: what can wait for longer says so meanwhile, and repeats the request itself.
        let backoff = BackoffConfig { max_backoff: Duration::from_secs(2), ..BackoffConfig::default() };
        let objects_retry = RetryConfig { backoff, ..RetryConfig::default() };
        let entries_retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        Ok(Self {
            objects: s3_store(builder.clone(), bucket, prefix, objects_retry, "120 seconds")?,
            entries: s3_store(builder, bucket, prefix, entries_retry, "8 seconds")?,
            label: format!("s3://{place}"),
            exclusive: false,
            multipart: true,
            timing,
        })
    }

    /// The bytes of an object, or `None` when there is none.
    pub(crate) async fn read(&self, name: &str) -> Result<Option<Bytes>> {
        self.read_from(&self.objects, name).await
    }

    /// Like [`Self::read`], without retries and with a short limit.
    pub(crate) async fn read_entry(&self, name: &str) -> Result<Option<Bytes>> {
        self.read_from(&self.entries, name).await
    }

    async fn read_from(&self, store: &Arc<dyn ObjectStore>, name: &str) -> Result<Option<Bytes>> {
        let read = async { store.get(&Path::from(name)).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(&format!("read \"{name}\""), &error)),
        }
    }

    /// Writes an object under a name that must not be taken, once. Any error can mean any outcome: whoever
    /// calls reads back.
    pub(crate) async fn create_entry(&self, name: &str, bytes: Bytes) -> object_store::Result<()> {
        let options = PutOptions::from(PutMode::Create);
        self.entries.put_opts(&Path::from(name), PutPayload::from(bytes), options).await.map(drop)
    }

    /// Writes an object, which is durable then.
    pub(crate) async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        let path = Path::from(name);
        let written = if self.multipart && bytes.len() > limits::UPLOAD_PART_BYTES {
            self.put_parts(&path, bytes).await
        } else {
            self.objects.put(&path, PutPayload::from(bytes)).await.map(drop)
        };
        written.map_err(|error| self.failed(&format!("write \"{name}\""), &error))
    }

    async fn put_parts(&self, path: &Path, bytes: Bytes) -> object_store::Result<()> {
        let upload = self.objects.put_multipart(path).await?;
        let mut write = WriteMultipart::new_with_chunk_size(upload, limits::UPLOAD_PART_BYTES);
        let mut rest = bytes;
        while !rest.is_empty() {
            write.wait_for_capacity(limits::UPLOAD_PARTS_AT_ONCE).await?;
            write.put(rest.split_to(rest.len().min(limits::UPLOAD_PART_BYTES)));
        }
        write.finish().await.map(drop)
    }

    /// The objects in a folder in the order of their names, from behind the name `after` if there is one.
    pub(crate) async fn list(&self, folder: &str, after: Option<&str>) -> Result<Vec<Listed>> {
        let folder_path = Path::from(folder);
        let stream = match after {
            Some(after) => self.objects.list_with_offset(Some(&folder_path), &Path::from(after)),
            None => self.objects.list(Some(&folder_path)),
        };
        let listed = stream.map_ok(|meta| Listed { name: meta.location.to_string(), bytes: meta.size });
        let mut listed: Vec<Listed> =
            listed.try_collect().await.map_err(|error| self.failed(&format!("list \"{folder}\""), &error))?;
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    /// Deletes objects, in no particular order; those that are gone already count as deleted.
    pub(crate) async fn delete(&self, names: Vec<String>) -> Result<()> {
        let paths: Vec<_> = names.iter().map(|name| Ok(Path::from(name.as_str()))).collect();
        let mut deletions = self.objects.delete_stream(futures::stream::iter(paths).boxed());
        while let Some(deletion) = deletions.next().await {
            match deletion {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.failed("delete objects", &error)),
            }
        }
        Ok(())
    }

    /// The error of a request to the store. It may always pass: a store comes back, and a disk gets room again.
    pub(crate) fn failed(&self, what: &str, error: &object_store::Error) -> Error {
        match disk_trouble(error) {
            Some(full) => Error::unavailable(format!("cannot {what} in {}: the disk is full: {full}", self.label))
                .with_hint("Make room: what waits for the storage goes on by itself."),
            None => Error::unavailable(format!("cannot {what} in {}: {error}", self.label)),
        }
    }
}

/// The operating system's word for a disk, or a share of one, that takes no more.
fn disk_trouble(error: &object_store::Error) -> Option<&io::Error> {
    let mut causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.find_map(|cause| cause.downcast_ref::<io::Error>()).filter(|error| {
        let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
        kinds.contains(&error.kind())
    })
}

fn unknown(url: &str) -> Error {
    Error::invalid(format!("\"{url}\" names no storage"))
        .with_hint("Storage is a path, file:///path, s3://bucket/prefix or memory://.")
}

fn file_url(url: &str) -> Result<PathBuf> {
    let parsed = url::Url::parse(url).map_err(|_| unknown(url))?;
    parsed.to_file_path().map_err(|()| unknown(url))
}

/// The stores behind `memory://NAME`, shared by everything in the process and kept until it ends: this is for
/// tests that stop an engine and start another one over the same state.
fn named_memory(name: &str) -> Arc<dyn ObjectStore> {
    static NAMED: LazyLock<Mutex<HashMap<String, Arc<InMemory>>>> = LazyLock::new(Mutex::default);
    let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(named.entry(name.to_owned()).or_default()) as Arc<dyn ObjectStore>
}

fn s3_store(
    builder: AmazonS3Builder,
    bucket: &str,
    prefix: &str,
    retry: RetryConfig,
    timeout: &str,
) -> Result<Arc<dyn ObjectStore>> {
    let store = builder
        .with_bucket_name(bucket)
        .with_retry(retry)
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::ConnectTimeout), "3 seconds")
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), timeout)
        .build()
        .map_err(|error| Error::invalid(format!("cannot use bucket \"{bucket}\": {error}")))?;
    Ok(Arc::new(PrefixStore::new(store, prefix)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn named_memory_is_shared_and_anonymous_memory_is_not() {
        let (a, b) = (Backend::open("memory://backend-test").unwrap(), Backend::open("memory://backend-test").unwrap());
        a.put("x", Bytes::from_static(b"1")).await.unwrap();
        assert_eq!(b.read("x").await.unwrap().unwrap(), "1");
        assert_eq!(Backend::open("memory://").unwrap().read("x").await.unwrap(), None);
    }

    #[test]
    fn what_names_no_storage_is_refused_with_the_ways_to_name_one() {
        for url in ["", "gs://bucket", "s3://", "file://host/path"] {
            let error = Backend::open(url).err().unwrap();
            assert!(error.hint.unwrap().contains("s3://bucket/prefix"), "{url}");
        }
    }

    #[test]
    fn credentials_in_a_url_are_refused_and_not_repeated() {
        let error = Backend::open("s3://key:geheim@bucket/prefix").err().unwrap();
        assert!(!error.to_string().contains("geheim"), "{error}");
    }

    #[tokio::test]
    async fn lists_are_ordered_and_start_behind_a_name() {
        let backend = Backend::open("memory://").unwrap();
        for name in ["log/3", "log/1", "log/2", "other/1"] {
            backend.put(name, Bytes::from_static(b"12")).await.unwrap();
        }
        let names = |listed: Vec<Listed>| listed.into_iter().map(|listed| listed.name).collect::<Vec<_>>();
        assert_eq!(names(backend.list("log", None).await.unwrap()), ["log/1", "log/2", "log/3"]);
        assert_eq!(names(backend.list("log", Some("log/1")).await.unwrap()), ["log/2", "log/3"]);
        backend.delete(vec!["log/1".into(), "log/9".into(), "log/2".into()]).await.unwrap();
        assert_eq!(names(backend.list("log", None).await.unwrap()), ["log/3"]);
    }
}
