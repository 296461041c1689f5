//! Where the keys of secrets come from: the environment or a file, never the command line, which others can read.

use std::path::{Path, PathBuf};

use clap::Args;

use super::CliError;
use crate::engine::SecretKeys;
use crate::wire::refuse_open_key;

/// The variable with the keys themselves.
const VARIABLE: &str = "MILLSTREAM_SECRET_KEY";

#[derive(Debug, Args)]
pub(super) struct SecretKeyArguments {
    /// The key that secrets are kept with, in a file readable by the server only: 32 bytes in base64 or hexadecimal. More
    /// lines are older keys, for what is still under them. MILLSTREAM_SECRET_KEY holds the same without a file.
    #[arg(long, env = "MILLSTREAM_SECRET_KEY_FILE")]
    secret_key_file: Option<PathBuf>,
}

impl SecretKeyArguments {
    /// The keys; none where none was given.
    pub(super) fn keys(&self) -> Result<SecretKeys, CliError> {
        let given = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty());
        match (given, self.secret_key_file.as_deref().filter(|path| !path.as_os_str().is_empty())) {
            (None, None) => Ok(SecretKeys::default()),
            (Some(text), None) => {
                SecretKeys::read(&text).map_err(|reason| CliError::new(format!("{VARIABLE} can't be used: {reason}")))
            }
            (None, Some(path)) => read(path),
            (Some(_), Some(_)) => {
                Err(CliError::new(format!("{VARIABLE} and --secret-key-file are both given: leave one of them out")))
            }
        }
    }
}

fn read(path: &Path) -> Result<SecretKeys, CliError> {
    refuse_open_key(path).map_err(CliError::new)?;
    let text = std::fs::read_to_string(path)
        .map_err(|error| CliError::new(format!("{} can't be read: {error}", path.display())))?;
    SecretKeys::read(&text).map_err(|reason| CliError::new(format!("{} can't be used: {reason}", path.display())))
}
