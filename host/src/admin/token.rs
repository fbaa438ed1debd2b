//! The token: where it comes from, and where the host says that it listens.

use super::AdminError;
use crate::venue::{KeySource, Secret};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// The file in the data folder that says where a running host listens.
pub(crate) const ADDRESS_FILE: &str = "admin.address";

/// Random bytes of a token that the host makes: 256 bits, which nobody guesses.
const TOKEN_BYTES: usize = 32;

/// The token, which has to exist.
///
/// # Errors
/// When it is not there or cannot be a token.
pub(crate) fn load(source: &KeySource) -> Result<Secret, AdminError> {
    source.load().map_err(|error| AdminError::Token { place: source.to_string(), error })
}

/// The token of a host that starts. A file that does not exist is made.
pub(super) fn load_or_make(source: &KeySource) -> Result<Secret, AdminError> {
    if let KeySource::File(path) = source {
        match fs::metadata(path) {
            Ok(found) => {
                if found.permissions().mode() & 0o077 != 0 {
                    tracing::warn!(
                        class = "state",
                        code = "admin_token_readable",
                        "other users may read or change {}; give it mode 0600",
                        path.display()
                    );
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => make(path)?,
            // Reading it says what is wrong.
            Err(_) => {}
        }
    }
    load(source)
}

/// Makes a token's file. It has its name only when it is whole.
fn make(path: &Path) -> Result<(), AdminError> {
    let failed = |error: std::io::Error| AdminError::MakeToken { path: path.to_owned(), error };
    let mut random = [0_u8; TOKEN_BYTES];
    getrandom::fill(&mut random).map_err(|error| failed(std::io::Error::other(error)))?;
    let token = data_encoding::HEXLOWER.encode(&random);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let unnamed = folder.join(name);
    // Left behind by a host that died in the middle of this.
    let _ = fs::remove_file(&unnamed);
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unnamed)?;
        writeln!(file, "{token}")?;
        file.sync_all()?;
        // Fails when somebody made one meanwhile, which then counts.
        match fs::hard_link(&unnamed, path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            linked => linked?,
        }
        fs::remove_file(&unnamed)?;
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(failed)?;
    tracing::warn!(
        class = "state",
        code = "admin_token_made",
        "made the token of the admin API: {}, readable by this user only",
        path.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_does_not_exist_is_made_once_and_for_this_user_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.token");
        let source = KeySource::File(path.clone());
        assert!(load(&source).is_err(), "a client makes no token");
        let first = load_or_make(&source).unwrap();
        assert!(first.expose().len() >= 2 * TOKEN_BYTES);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
        assert!(load_or_make(&source).unwrap() == first && load(&source).unwrap() == first);
        fs::remove_file(&path).unwrap();
        assert!(load_or_make(&source).unwrap() != first, "it is random");
    }

    #[test]
    fn a_file_that_is_there_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.token");
        fs::write(&path, "\n").unwrap();
        assert!(load_or_make(&KeySource::File(path.clone())).is_err(), "an empty line is no token");
        assert_eq!(fs::read_to_string(&path).unwrap(), "\n");
    }
}
