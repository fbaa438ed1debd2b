//! `ringfence-plugin-tools bindings` and `ringfence-plugin-tools componentize MODULE COMPONENT`.

use ringfence_plugin_tools::{BINDINGS_FILE, ToolError, WIT_FOLDER, componentize, generate_bindings};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["bindings"] => write_bindings(),
        ["componentize", module, component] => componentize(Path::new(module), Path::new(component)),
        _ => {
            eprintln!("usage: ringfence-plugin-tools bindings | componentize MODULE COMPONENT");
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
