//! A local directory as an object store whose writes are durable when they return.
//!
//! `LocalFileSystem` of object_store 0.13 never calls fsync, so the writes are ours: the bytes go to a file
//! under `tmp/` that is synced, get their name by a hard link (create-only: exclusive by the file system's word)
//! or a rename (put: replaces as one step), and the directory that holds the name is synced. A reader never
//! sees half an object, and what a crash leaves is a file under `tmp/`, removed at the next start. Reading,
//! listing and deleting are `LocalFileSystem`'s.
//!
//! The directory is held by a lock on the file `lock` for as long as the store lives; the operating system lets
//! go of it when the process ends, however it ends.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};

use crate::error::{Error, Result};

/// A held directory. See the file's text.
#[derive(Debug)]
pub(crate) struct DurableDirectory {
    reads: LocalFileSystem,
    directory: Arc<Directory>,
}

#[derive(Debug)]
struct Directory {
    root: PathBuf,
    temporary: PathBuf,
    next_temporary: AtomicU64,
    /// Held, never read: dropping it lets go of the directory.
    _lock: File,
}

impl DurableDirectory {
    /// Makes the directory if there is none, and takes hold of it.
    pub(crate) fn open(root: &FilePath) -> Result<Self> {
        let failed = |error: io::Error| {
            Error::unavailable(format!("cannot use data directory \"{}\": {error}", root.display()))
                .with_hint("Name a directory that this user may write to.")
        };
        let root = std::path::absolute(root).map_err(failed)?;
        make_folder(&root).map_err(failed)?;
        let root = root.canonicalize().map_err(failed)?;
        let lock = File::create(root.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::unavailable(format!(
                    "data directory \"{}\" is held by another Millstream server",
                    root.display()
                ))
                .with_hint("Stop that server, or give this one another directory with --storage."));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let temporary = root.join("tmp");
        make_folder(&temporary).map_err(failed)?;
        for left_over in fs::read_dir(&temporary).map_err(failed)? {
            fs::remove_file(left_over.map_err(failed)?.path()).map_err(failed)?;
        }
        sync_directory(&root).map_err(failed)?;
        let reads = LocalFileSystem::new_with_prefix(&root).map_err(|error| failed(error.into()))?;
        let directory = Directory { root, temporary, next_temporary: AtomicU64::new(0), _lock: lock };
        Ok(Self { reads, directory: Arc::new(directory) })
    }
}

impl Directory {
    fn write(&self, location: &Path, payload: &PutPayload, create_only: bool) -> io::Result<()> {
        let target: PathBuf = location.parts().fold(self.root.clone(), |path, part| path.join(part.as_ref()));
        let folder = target.parent().expect("an object is below the root");
        make_folder(folder)?;
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = self.temporary.join(number.to_string());
        let written = self.write_temporary(&temporary, payload).and_then(|()| {
            if create_only { fs::hard_link(&temporary, &target) } else { fs::rename(&temporary, &target) }
        });
        if create_only || written.is_err() {
            // A left-over is removed at the next start: its removal may fail, and need not be durable.
            let _ = fs::remove_file(&temporary);
        }
        written?;
        sync_directory(folder)
    }

    fn write_temporary(&self, temporary: &FilePath, payload: &PutPayload) -> io::Result<()> {
        let mut file = File::create_new(temporary)?;
        for piece in payload {
            file.write_all(piece)?;
        }
        file.sync_all()
    }
}

/// Makes a folder and those above it that are missing, each durable in the one above it.
fn make_folder(folder: &FilePath) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().expect("only absolute paths come here, and / exists");
    make_folder(above)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    sync_directory(above)
}

fn sync_directory(folder: &FilePath) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

impl fmt::Display for DurableDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.directory.root.display())
    }
}

#[async_trait]
impl ObjectStore for DurableDirectory {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let create_only = match options.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => return Err(not_implemented("put_opts with an update")),
        };
        let directory = Arc::clone(&self.directory);
        let path = location.clone();
        let write = move || directory.write(&path, &payload, create_only);
        match tokio::task::spawn_blocking(write).await? {
            Ok(()) => Ok(PutResult { e_tag: None, version: None }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(object_store::Error::AlreadyExists { path: location.to_string(), source: Box::new(error) })
            }
            Err(error) => Err(object_store::Error::Generic { store: "data directory", source: Box::new(error) }),
        }
    }

    async fn put_multipart_opts(
        &self,
        _location: &Path,
        _options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        Err(not_implemented("put_multipart_opts"))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.reads.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.reads.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.reads.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.reads.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> object_store::Result<()> {
        Err(not_implemented("copy_opts"))
    }
}

fn not_implemented(operation: &str) -> object_store::Error {
    object_store::Error::NotImplemented { operation: operation.to_owned(), implementer: "data directory".to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures::TryStreamExt;
    use object_store::ObjectStoreExt;

    use super::*;

    fn create() -> PutOptions {
        PutOptions::from(PutMode::Create)
    }

    #[tokio::test]
    async fn a_second_holder_is_refused_and_told_which_directory() {
        let folder = tempfile::tempdir().unwrap();
        let first = DurableDirectory::open(folder.path()).unwrap();
        let error = DurableDirectory::open(folder.path()).unwrap_err();
        assert!(error.message.contains(&folder.path().canonicalize().unwrap().display().to_string()), "{error}");
        assert!(error.message.contains("held by another"), "{error}");
        drop(first);
        DurableDirectory::open(folder.path()).unwrap();
    }

    #[tokio::test]
    async fn create_only_has_one_winner() {
        let folder = tempfile::tempdir().unwrap();
        let store = DurableDirectory::open(folder.path()).unwrap();
        let path = Path::from("log/1");
        let tries = (0..8).map(|n| store.put_opts(&path, PutPayload::from(format!("writer {n}")), create()));
        let answers = futures::future::join_all(tries).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
        for answer in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            assert!(matches!(answer, object_store::Error::AlreadyExists { .. }), "{answer}");
        }
        let winner = answers.iter().position(Result::is_ok).unwrap();
        let stored = store.get(&path).await.unwrap().bytes().await.unwrap();
        assert_eq!(stored, format!("writer {winner}"));
        assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0, "nothing is left over");
    }

    #[tokio::test]
    async fn a_put_replaces_and_makes_its_folders() {
        let folder = tempfile::tempdir().unwrap();
        let store = DurableDirectory::open(folder.path()).unwrap();
        let path = Path::from("graph/3/7-x");
        store.put(&path, "one".into()).await.unwrap();
        store.put(&path, "two".into()).await.unwrap();
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "two");
        let listed: Vec<_> = store.list(Some(&Path::from("graph"))).try_collect().await.unwrap();
        assert_eq!(listed.len(), 1);
    }

    #[tokio::test]
    async fn what_a_crash_left_is_removed_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        drop(DurableDirectory::open(folder.path()).unwrap());
        fs::write(folder.path().join("tmp/0"), "half an ob").unwrap();
        let store = DurableDirectory::open(folder.path()).unwrap();
        store.put_opts(&Path::from("log/1"), "whole".into(), create()).await.unwrap();
        assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
    }
}
