//! The SDK as a folder of a project, so that a strategy in Rust needs nothing that only a clone of Ringfence has.

use super::language::{ProjectFile, text};
use crate::cli::output::CliError;
use crate::resilience::Class;
use toml::{Table, Value};

macro_rules! text_of {
    ($name:literal) => {
        include_str!(concat!("../../../../plugins/sdk/src/", $name))
    };
}

const SOURCES: &[(&str, &str)] = &[
    ("bindings.rs", text_of!("bindings.rs")),
    ("component.rs", text_of!("component.rs")),
    ("describe.rs", text_of!("describe.rs")),
    ("event.rs", text_of!("event.rs")),
    ("instrument.rs", text_of!("instrument.rs")),
    ("intents.rs", text_of!("intents.rs")),
    ("lib.rs", text_of!("lib.rs")),
    ("market.rs", text_of!("market.rs")),
    ("number.rs", text_of!("number.rs")),
    ("order.rs", text_of!("order.rs")),
    ("runner.rs", text_of!("runner.rs")),
    ("runner_tests.rs", text_of!("runner_tests.rs")),
    ("services/account.rs", text_of!("services/account.rs")),
    ("services/clock.rs", text_of!("services/clock.rs")),
    ("services/fake.rs", text_of!("services/fake.rs")),
    ("services/kv.rs", text_of!("services/kv.rs")),
    ("services/log.rs", text_of!("services/log.rs")),
    ("services/metrics.rs", text_of!("services/metrics.rs")),
    ("services/mod.rs", text_of!("services/mod.rs")),
    ("services/random.rs", text_of!("services/random.rs")),
    ("settings.rs", text_of!("settings.rs")),
    ("settings_tests.rs", text_of!("settings_tests.rs")),
    ("state.rs", text_of!("state.rs")),
    ("strategy.rs", text_of!("strategy.rs")),
    ("test.rs", text_of!("test.rs")),
];

/// The files of the SDK, below `sdk/`.
pub(super) fn sdk() -> Result<Vec<ProjectFile>, CliError> {
    let manifest = manifest(text!("plugins/sdk/Cargo.toml"), text!("Cargo.toml")).map_err(|words| {
        let words = format!("the manifest of the SDK: {words}; this program was built wrongly");
        CliError::of(Class::Logic, "template", words)
    })?;
    let mut files = vec![("sdk/Cargo.toml".to_owned(), manifest)];
    files.extend(SOURCES.iter().map(|(name, text)| (format!("sdk/src/{name}"), (*text).to_owned())));
    Ok(files)
}

/// A manifest that stands without its workspace: what it inherits is written out. Its lints and the dependencies
/// of its tests stay behind.
fn manifest(text: &str, workspace: &str) -> Result<String, String> {
    let parsed = |text: &str| text.parse::<Table>().map_err(|error| error.to_string());
    let (mut manifest, workspace) = (parsed(text)?, parsed(workspace)?);
    let workspace = workspace.get("workspace").and_then(Value::as_table).ok_or("there is no workspace")?;
    manifest.remove("lints");
    manifest.remove("dev-dependencies");
    for (section, shared) in [("package", "package"), ("dependencies", "dependencies")] {
        let Some(Value::Table(section)) = manifest.get_mut(section) else { continue };
        for (key, value) in section.iter_mut() {
            if value.get("workspace") != Some(&Value::Boolean(true)) {
                continue;
            }
            let shared = workspace.get(shared).and_then(|table| table.get(key));
            *value = shared.ok_or_else(|| format!("{key} is not in the workspace"))?.clone();
        }
    }
    toml::to_string(&manifest).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn listed(folder: &Path, below: &Path, names: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                listed(&path, below, names);
            } else {
                names.push(path.strip_prefix(below).unwrap().to_str().unwrap().to_owned());
            }
        }
    }

    #[test]
    fn every_source_of_the_sdk_is_in_the_program() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/sdk/src");
        let mut names = Vec::new();
        listed(&folder, &folder, &mut names);
        names.sort();
        assert_eq!(names, SOURCES.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>());
    }

    #[test]
    fn the_manifest_stands_alone() {
        let files = sdk().unwrap();
        let manifest: Table = files[0].1.parse().unwrap();
        assert_eq!(manifest["package"]["version"].as_str(), Some(env!("CARGO_PKG_VERSION")));
        assert!(manifest["dependencies"]["wit-bindgen"]["version"].is_str());
        assert!(!files[0].1.contains("workspace"));
    }
}
