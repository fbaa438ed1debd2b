//! From a core module to a component, for toolchains without `wasm-component-ld`.

use crate::ToolError;
use std::path::Path;
use wit_component::ComponentEncoder;

/// Wraps the core module `module` as the component that its embedded WIT describes.
///
/// # Errors
/// When a file cannot be read or written, or the module was not built with the SDK.
pub fn componentize(module: &Path, component: &Path) -> Result<(), ToolError> {
    let bytes = std::fs::read(module).map_err(ToolError::file(module))?;
    let encoded = ComponentEncoder::default()
        .module(&bytes)
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|error| ToolError::Module { path: module.to_owned(), reason: format!("{error:#}") })?;
    std::fs::write(component, encoded).map_err(ToolError::file(component))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_module_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let (module, component) = (folder.path().join("in.wasm"), folder.path().join("out.wasm"));
        std::fs::write(&module, b"text").unwrap();
        let error = componentize(&module, &component).unwrap_err().to_string();
        assert!(error.contains("in.wasm: expected a core module built with ringfence-sdk"), "{error}");
        assert!(!component.exists());
    }

    #[test]
    fn a_module_without_an_embedded_world_becomes_an_empty_component() {
        let folder = tempfile::tempdir().unwrap();
        let (module, component) = (folder.path().join("in.wasm"), folder.path().join("out.wasm"));
        std::fs::write(&module, b"\0asm\x01\0\0\0").unwrap();
        componentize(&module, &component).unwrap();
        // The version field tells a component (layer 1) from a module (layer 0).
        assert_eq!(std::fs::read(component).unwrap().get(..8), Some(b"\0asm\x0d\0\x01\0".as_slice()));
    }
}
