//! The scripts that find compilers for components, unpacked from the program to where they can run.
//!
//! They are those of `plugins/`, byte for byte, in a folder named after their digest: programs of several
//! releases on one machine do not disturb each other, and what they download is shared.

use super::language::text;
use super::write;
use crate::cli::output::CliError;
use crate::resilience::Class;
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

const FILES: &[(&str, &str)] = &[
    ("Cargo.lock", text!("Cargo.lock")),
    ("wit/v1/strategy.wit", text!("wit/v1/strategy.wit")),
    ("plugins/build.sh", text!("plugins/build.sh")),
    ("plugins/toolchain/Cargo.toml", text!("plugins/toolchain/Cargo.toml")),
    ("plugins/toolchain/src/bindings.rs", text!("plugins/toolchain/src/bindings.rs")),
    ("plugins/toolchain/src/component.rs", text!("plugins/toolchain/src/component.rs")),
    ("plugins/toolchain/src/lib.rs", text!("plugins/toolchain/src/lib.rs")),
    ("plugins/toolchain/src/main.rs", text!("plugins/toolchain/src/main.rs")),
    ("plugins/toolchain/debian.sh", text!("plugins/toolchain/debian.sh")),
    ("plugins/toolchain/ensure-wasm-target.sh", text!("plugins/toolchain/ensure-wasm-target.sh")),
    ("plugins/toolchain/guests.sh", text!("plugins/toolchain/guests.sh")),
    ("plugins/toolchain/tools.sh", text!("plugins/toolchain/tools.sh")),
    ("plugins/toolchain/c/requirements.txt", text!("plugins/toolchain/c/requirements.txt")),
    ("plugins/toolchain/python/requirements.txt", text!("plugins/toolchain/python/requirements.txt")),
    ("plugins/toolchain/js/package.json", text!("plugins/toolchain/js/package.json")),
    ("plugins/toolchain/js/package-lock.json", text!("plugins/toolchain/js/package-lock.json")),
];

/// Where the scripts are, and where what they download is kept.
pub(super) struct Toolchain {
    /// The folder that looks like a clone.
    pub root: PathBuf,
    pub wasm: PathBuf,
    pub guests: PathBuf,
}

impl Toolchain {
    /// Unpacks the scripts, unless they are there.
    ///
    /// # Errors
    /// When there is no place for them, or they cannot be written.
    pub fn unpack() -> Result<Self, CliError> {
        let cache = cache_folder().ok_or_else(|| {
            let words = "neither RINGFENCE_CACHE_DIR, XDG_CACHE_HOME nor HOME is set; set one to a folder that \
                         the compilers for components may be kept in";
            CliError::input("no_cache_folder", words)
        })?;
        let manifest = workspace(text!("Cargo.toml")).map_err(|words| {
            let words = format!("the manifest of the tools: {words}; this program was built wrongly");
            CliError::of(Class::Logic, "template", words)
        })?;
        let mut files = FILES.to_vec();
        files.push(("Cargo.toml", &manifest));
        let root = cache.join(format!("tools-{}", digest(&files)));
        if !root.is_dir() {
            unpack(&cache.join(format!("tools-{}.tmp", std::process::id())), &root, &files)?;
        }
        let kept = |variable: &str, name: &str| {
            env::var_os(variable).map_or_else(|| cache.join(name), PathBuf::from)
        };
        Ok(Self {
            root,
            wasm: kept("RINGFENCE_WASM_DIR", "wasm-toolchain"),
            guests: kept("RINGFENCE_GUESTS_DIR", "guests"),
        })
    }
}

/// Two programs may do it at once, and one must not run a script that the other is writing.
fn unpack(staging: &Path, root: &Path, files: &[(&str, &str)]) -> Result<(), CliError> {
    files.iter().try_for_each(|(name, text)| write(&staging.join(name), text))?;
    match fs::rename(staging, root) {
        Ok(()) => Ok(()),
        Err(_) if root.is_dir() => {
            // Only tidiness: the other was first, with the same files.
            let _ = fs::remove_dir_all(staging);
            Ok(())
        }
        Err(error) => {
            let words = format!("{}: {error}; is the disk full or read-only?", root.display());
            Err(CliError::system("cannot_write", words))
        }
    }
}

fn cache_folder() -> Option<PathBuf> {
    let named = |variable: &str| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("RINGFENCE_CACHE_DIR")
        .or_else(|| named("XDG_CACHE_HOME").map(|folder| folder.join("ringfence")))
        .or_else(|| named("HOME").map(|home| home.join(".cache/ringfence")))
}

fn digest(files: &[(&str, &str)]) -> String {
    let mut hash = Sha256::new();
    for (name, text) in files {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    HEXLOWER.encode(&hash.finalize()[..8])
}

/// The workspace with the tools as its only member.
fn workspace(text: &str) -> Result<String, String> {
    let mut manifest = text.parse::<Table>().map_err(|error| error.to_string())?;
    let workspace =
        manifest.get_mut("workspace").and_then(Value::as_table_mut).ok_or("there is no workspace")?;
    workspace.insert("members".to_owned(), vec!["plugins/toolchain"].into());
    workspace.remove("default-members");
    workspace.remove("exclude");
    toml::to_string(&manifest).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_toolchain_is_in_the_program_but_its_tests() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let known = |name: &str| FILES.iter().any(|(file, _)| *file == name);
        for folder in ["src", "c", "python", "js", "."] {
            for entry in fs::read_dir(root.join("plugins/toolchain").join(folder)).unwrap() {
                let entry = entry.unwrap();
                let name = Path::new("plugins/toolchain").join(folder).join(entry.file_name());
                let name = name.to_str().unwrap().replace("/./", "/");
                let expected = entry.path().is_file() && !name.ends_with("/test.sh");
                assert!(!expected || known(&name), "{name} is not in the program");
            }
        }
    }

    #[test]
    fn the_workspace_has_the_tools_alone_and_the_same_dependencies() {
        let ours: Table = workspace(text!("Cargo.toml")).unwrap().parse().unwrap();
        let theirs: Table = text!("Cargo.toml").parse().unwrap();
        assert_eq!(ours["workspace"]["members"].as_array().unwrap().len(), 1);
        assert_eq!(ours["workspace"]["dependencies"], theirs["workspace"]["dependencies"]);
    }
}
