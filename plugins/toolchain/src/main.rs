//! `ringfence-plugin-tools bindings`, `ringfence-plugin-tools c-bindings WIT_FOLDER WORLD FOLDER` and
//! `ringfence-plugin-tools componentize MODULE COMPONENT`.

use ringfence_plugin_tools::{
    BINDINGS_FILE, ToolError, WIT_FOLDER, componentize, generate_bindings, generate_c_bindings,
};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["bindings"] => write_bindings(),
        ["c-bindings", wit, world, folder] => generate_c_bindings(Path::new(wit), world, Path::new(folder)),
        ["componentize", module, component] => componentize(Path::new(module), Path::new(component)),
        _ => {
            eprintln!(
                "usage: ringfence-plugin-tools bindings | c-bindings WIT_FOLDER WORLD FOLDER | componentize MODULE COMPONENT"
            );
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringfence-plugin-tools: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write_bindings() -> Result<(), ToolError> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let file = root.join(BINDINGS_FILE);
    let text = generate_bindings(&root.join(WIT_FOLDER))?;
    std::fs::write(&file, text).map_err(ToolError::file(&file))
}
