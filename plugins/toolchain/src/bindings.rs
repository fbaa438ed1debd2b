//! Bindings, generated from the WIT: those of the SDK, and those of a strategy in C.

use crate::ToolError;
use std::path::Path;
use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator};

/// The WIT package, from the root of the workspace.
pub const WIT_FOLDER: &str = "wit/v1";
/// The checked-in bindings, from the root of the workspace.
pub const BINDINGS_FILE: &str = "plugins/sdk/src/bindings.rs";

/// Everything optional is exported, with defaults.
const WORLD: &str = "full-strategy-plugin";

const HEADER: &str = "\
// Generated from wit/v1/strategy.wit; `cargo run -p ringfence-plugin-tools -- bindings` writes it anew.
";

/// The text of the bindings for a WIT package.
///
/// # Errors
/// When the package does not parse or lacks the world.
pub fn generate_bindings(wit_folder: &Path) -> Result<String, ToolError> {
    let options = wit_bindgen_rust::Opts {
        format: true,
        // Plugins are other crates than the SDK, so the macro that exports them must leave it.
        pub_export_macro: true,
        export_macro_name: Some("export_bindings".into()),
        default_bindings_module: Some("ringfence_sdk::bindings".into()),
        additional_derive_attributes: vec!["PartialEq".into()],
        ..wit_bindgen_rust::Opts::default()
    };
    let files = generate(wit_folder, WORLD, &mut options.build())?;
    let mut texts = files.iter().map(|(_, bytes)| std::str::from_utf8(bytes));
    match (texts.next(), texts.next()) {
        (Some(Ok(text)), None) => Ok(format!("{HEADER}{text}")),
        _ => Err(ToolError::Generator(format!("{} files", files.iter().count()))),
    }
}

/// Writes header, source and object file of the bindings in C for a world into a folder.
///
/// # Errors
/// When the package does not parse or lacks the world, or the folder cannot be written.
pub fn generate_c_bindings(wit_folder: &Path, world: &str, folder: &Path) -> Result<(), ToolError> {
    let files = generate(wit_folder, world, &mut *wit_bindgen_c::Opts::default().build())?;
    std::fs::create_dir_all(folder).map_err(ToolError::file(folder))?;
    files.iter().try_for_each(|(name, bytes)| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(ToolError::file(&path))
    })
}

fn generate(wit_folder: &Path, world: &str, generator: &mut dyn WorldGenerator) -> Result<Files, ToolError> {
    let refuse =
        |reason: String| ToolError::Wit { path: wit_folder.to_owned(), world: world.to_owned(), reason };
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(wit_folder).map_err(|error| refuse(format!("{error:#}")))?;
    let world = resolve.select_world(&[package], Some(world)).map_err(|error| refuse(error.to_string()))?;
    let mut files = Files::default();
    generator.generate(&mut resolve, world, &mut files).map_err(|error| refuse(format!("{error:#}")))?;
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checked_in_bindings_are_what_the_wit_generates() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let checked_in = std::fs::read_to_string(root.join(BINDINGS_FILE)).unwrap();
        let generated = generate_bindings(&root.join(WIT_FOLDER)).unwrap();
        assert!(
            checked_in == generated,
            "{BINDINGS_FILE} differs from what {WIT_FOLDER} generates; \
             run `cargo run -p ringfence-plugin-tools -- bindings` and commit the result"
        );
    }

    #[test]
    fn a_folder_without_the_world_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("other.wit"), "package a:b;\nworld c {}\n").unwrap();
        let error = generate_bindings(folder.path()).unwrap_err().to_string();
        assert!(error.contains("expected a WIT package with the world full-strategy-plugin"), "{error}");
    }

    #[test]
    fn bindings_in_c_declare_the_exports_of_a_world() {
        let folder = tempfile::tempdir().unwrap();
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(WIT_FOLDER);
        generate_c_bindings(&wit, "strategy-plugin", folder.path()).unwrap();
        let header = std::fs::read_to_string(folder.path().join("strategy_plugin.h")).unwrap();
        assert!(header.contains("void exports_ringfence_strategy_strategy_describe("), "{header}");
        for file in ["strategy_plugin.c", "strategy_plugin_component_type.o"] {
            assert!(folder.path().join(file).is_file(), "{file}");
        }
    }
}
