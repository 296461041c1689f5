//! Where files are: a local path or an object-store URL, maybe with a pattern.
//!
//! `/data/x.json`, `data` (a folder with all below it), `data/2024-*/*.json`, `file:///data`, `s3://bucket/prefix`. In a
//! pattern `*` and `?` stay within one level and `**` goes through all. Names that begin with `.` or `_` are left out of
//! folders and patterns: writers use them for what is not yet there. Credentials of S3 come from the environment
//! (`AWS_...`), never from the statement.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use glob::{MatchOptions, Pattern};
use millstream_runtime::source::{CREATE_TIMEOUT_SECONDS, SplitId};
use millstream_runtime::{Error, Result};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, RetryConfig};
use url::Url;

/// `*` does not cross a `/`.
const MATCHING: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

/// How long a list may take: shorter than a CREATE, so that the error says which place it was.
const LIST_TIMEOUT: Duration = Duration::from_secs(CREATE_TIMEOUT_SECONDS - 1);

/// A place with files.
#[derive(Clone)]
pub(crate) struct Location {
    /// Where they are kept.
    pub(crate) store: Arc<dyn ObjectStore>,
    /// Whether that is a file system of this machine.
    pub(crate) is_local: bool,
    /// What stands before a path of the store in the names of splits: `/` or `s3://bucket/`.
    root: String,
    /// The file, or the folder that holds everything that can match.
    pub(crate) base: Path,
    pattern: Option<Pattern>,
    written: String,
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({})", self.written)
    }
}

impl Location {
    /// Reads a path or URL; touches neither disk nor network.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let invalid = |reason: &dyn fmt::Display| Error::invalid(format!("option \"path\": \"{text}\": {reason}"));
        let (fixed, pattern) = match text.find(['*', '?', '[']) {
            None => (text, None),
            Some(meta) => (&text[..text[..meta].rfind('/').map_or(0, |slash| slash + 1)], Some(text)),
        };
        if let Some(rest) = fixed.strip_prefix("s3://").or_else(|| fixed.strip_prefix("s3a://")) {
            let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
            let root = format!("s3://{bucket}/");
            let in_bucket = |text: &str| text.split_once("://").map_or(String::new(), |(_, rest)| rest.to_string());
            let store = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retries()).build();
            return Ok(Self {
                store: Arc::new(store.map_err(|error| invalid(&error))?),
                is_local: false,
                base: Path::parse(key).map_err(|error| invalid(&error))?,
                pattern: match pattern.map(in_bucket) {
                    None => None,
                    Some(path) => {
                        let key = path.split_once('/').map_or("", |(_, key)| key);
                        Some(Pattern::new(key).map_err(|error| invalid(&error))?)
                    }
                },
                root,
                written: text.to_string(),
            });
        }
        if let Some((scheme, _)) = text.split_once("://").filter(|(scheme, _)| *scheme != "file") {
            return Err(invalid(&format!("there is no scheme {scheme}"))
                .with_hint("Paths are local, or begin with file:// or s3://."));
        }
        Self::local(text, fixed, pattern).map_err(|error| invalid(&error.message))
    }

    fn local(text: &str, fixed: &str, pattern: Option<&str>) -> Result<Self> {
        let path = |text: &str| -> Result<std::path::PathBuf> {
            let plain = match text.strip_prefix("file://") {
                None => std::path::PathBuf::from(text),
                Some(_) => {
                    let url = Url::parse(text).map_err(|error| Error::invalid(error.to_string()))?;
                    url.to_file_path().map_err(|()| Error::invalid("a file URL names no other host"))?
                }
            };
            let plain = if plain.as_os_str().is_empty() { std::path::PathBuf::from(".") } else { plain };
            let absolute = std::path::absolute(plain).map_err(|error| Error::invalid(error.to_string()))?;
            Ok(without_parents(&absolute))
        };
        let base = path(fixed)?;
        let pattern = match pattern {
            None => None,
            // What follows the last fixed folder has the pattern; a file URL escapes nothing in it.
            Some(whole) => {
                let escaped = Pattern::escape(&base.to_string_lossy());
                let joined = format!("{}/{}", escaped.trim_end_matches('/'), &whole[fixed.len()..]);
                let pattern = Pattern::new(joined.trim_start_matches('/'));
                Some(pattern.map_err(|error| Error::invalid(error.to_string()))?)
            }
        };
        let base = Path::from_absolute_path(&base).map_err(|error| Error::invalid(error.to_string()))?;
        let store = Arc::new(LocalFileSystem::new());
        Ok(Self { store, is_local: true, root: "/".to_string(), base, pattern, written: text.to_string() })
    }

    /// Whether files are chosen by a pattern.
    pub(crate) fn has_pattern(&self) -> bool {
        self.pattern.is_some()
    }

    /// The files that are there, by name.
    pub(crate) async fn list(&self) -> Result<Vec<ObjectMeta>> {
        self.in_time(self.list_without_limit()).await
    }

    /// The outcome of a list, or an error when it takes too long.
    pub(crate) async fn in_time<T>(&self, listing: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::time::timeout(LIST_TIMEOUT, listing).await.unwrap_or_else(|_elapsed| {
            let (written, seconds) = (&self.written, LIST_TIMEOUT.as_secs());
            Err(Error::unavailable(format!("\"{written}\" could not be listed within {seconds} seconds"))
                .with_hint("Look at the endpoint (AWS_ENDPOINT_URL) and the network."))
        })
    }

    async fn list_without_limit(&self) -> Result<Vec<ObjectMeta>> {
        if self.pattern.is_none() {
            match self.store.head(&self.base).await {
                Ok(file) => return Ok(vec![file]),
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.error(&self.base, &error)),
            }
        }
        let listed = self.store.list(Some(&self.base)).try_collect::<Vec<_>>().await;
        let mut files = listed.map_err(|error| self.list_error(&error))?;
        files.retain(|file| self.wants(&file.location));
        files.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(files)
    }

    fn wants(&self, file: &Path) -> bool {
        let below = file.prefix_match(&self.base).is_some_and(|mut parts| {
            parts.all(|part| !part.as_ref().starts_with('.') && !part.as_ref().starts_with('_'))
        });
        below && self.pattern.as_ref().is_none_or(|pattern| pattern.matches_with(file.as_ref(), MATCHING))
    }

    /// The name of a file's split.
    pub(crate) fn split(&self, file: &Path) -> SplitId {
        SplitId(format!("{}{file}", self.root))
    }

    /// The file of a split.
    pub(crate) fn file(&self, split: &SplitId) -> Result<Path> {
        let path = split.0.strip_prefix(&self.root).and_then(|path| Path::parse(path).ok());
        path.ok_or_else(|| Error::data(format!("\"{}\" is no file below \"{}\"", split.0, self.written)))
    }

    /// What it means that a list can't be had. An empty folder has one; a bucket that is missing has none.
    pub(crate) fn list_error(&self, error: &object_store::Error) -> Error {
        match error {
            object_store::Error::NotFound { .. } => {
                Error::unavailable(format!("\"{}\" can't be listed: there is no such place", self.written))
            }
            error => self.error(&self.base, error),
        }
    }

    /// What a failed request means: a missing file is a matter of data, everything else may pass.
    pub(crate) fn error(&self, file: &Path, error: &object_store::Error) -> Error {
        use object_store::Error as E;
        let name = self.split(file).0;
        match error {
            E::NotFound { .. } => Error::data(format!("file \"{name}\" is not there")),
            E::Precondition { .. } | E::NotModified { .. } => replaced(&name),
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
                Error::unavailable(format!("no permission to use \"{name}\": {error}"))
            }
            E::InvalidPath { .. } | E::NotSupported { .. } | E::NotImplemented { .. } => {
                Error::invalid(error.to_string())
            }
            _ => Error::unavailable(format!("\"{name}\": {error}")),
        }
    }
}

/// The path with every `..` taken together with the folder before it, which paths of a store don't know.
fn without_parents(path: &std::path::Path) -> std::path::PathBuf {
    let mut plain = std::path::PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::ParentDir => _ = plain.pop(),
            other => plain.push(other),
        }
    }
    plain
}

/// The error for a file that is another one than it was.
pub(crate) fn replaced(name: &str) -> Error {
    Error::data(format!("file \"{name}\" has been replaced or changed since it was first read"))
        .with_hint("Create the source again to read it from the beginning; new data belongs into new files.")
}

/// A request that fails for longer is reported: the caller tries again.
fn retries() -> RetryConfig {
    RetryConfig {
        max_retries: 5,
        retry_timeout: Duration::from_secs(CREATE_TIMEOUT_SECONDS / 2),
        ..RetryConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn found(folder: &std::path::Path, path: &str) -> Vec<String> {
        let location = Location::parse(&format!("{}/{path}", folder.display())).unwrap();
        let prefix = format!("{}/", folder.display());
        let names = location.list().await.unwrap().into_iter().map(|file| location.split(&file.location).0);
        names.map(|name| name.strip_prefix(&prefix).unwrap().to_string()).collect()
    }

    #[tokio::test]
    async fn files_folders_and_patterns() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.json", "b.csv", "_c.json", "x/d.json", "x/.e.json", "x/y/f 1.json", "z[1]/g.json"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        assert_eq!(found(folder.path(), "a.json").await, ["a.json"]);
        assert_eq!(found(folder.path(), "x/y/../../a.json").await, ["a.json"]);
        assert_eq!(found(folder.path(), "*.json").await, ["a.json"]);
        assert_eq!(found(folder.path(), "x/../*.json").await, ["a.json"]);
        assert_eq!(found(folder.path(), "*/*.json").await, ["x/d.json", "z[1]/g.json"]);
        assert_eq!(found(folder.path(), "**/f ?.json").await, ["x/y/f 1.json"]);
        assert_eq!(found(folder.path(), "x").await, ["x/d.json", "x/y/f 1.json"]);
        assert_eq!(found(folder.path(), "nothing").await, Vec::<String>::new());
        let url = Location::parse(&format!("file://{}/x/*.json", folder.path().display())).unwrap();
        let files = url.list().await.unwrap();
        assert_eq!(files.len(), 1);
        assert_eq!(url.file(&url.split(&files[0].location)).unwrap(), files[0].location);
    }

    #[test]
    fn object_stores() {
        let location = Location::parse("s3://bucket/a/b-*/c.json").unwrap();
        assert_eq!(location.base, Path::from("a"));
        assert!(location.wants(&Path::from("a/b-1/c.json")));
        assert!(!location.wants(&Path::from("a/b-1/x/c.json")));
        assert_eq!(location.split(&Path::from("a/b-1/c.json")).0, "s3://bucket/a/b-1/c.json");
        let error = Location::parse("ftp://host/x").err().unwrap();
        assert!(error.message.contains("there is no scheme ftp"), "{error}");
    }
}
