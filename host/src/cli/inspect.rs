//! `ringfence inspect`: what a component is, before it is let near anything.

use super::output::{CliError, Output};
use crate::plugin::{Sandbox, SandboxConfig, SandboxLimits};
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The component file.
    component: PathBuf,
    /// The digest that it must have.
    #[arg(long, value_name = "HEX")]
    sha256: Option<crate::orders::Digest>,
}

pub(super) fn run(args: &Args, out: &Output) -> Result<ExitCode, CliError> {
    let sandbox = Sandbox::new(SandboxConfig::default())?;
    let plugin = sandbox.load_file(&args.component, args.sha256, &SandboxLimits::default())?;
    let metadata = plugin.metadata();
    // A schema that is no JSON is shown as the text it is.
    let schema = serde_json::from_str::<serde_json::Value>(&metadata.settings_schema)
        .unwrap_or_else(|_| serde_json::Value::String(metadata.settings_schema.clone()));
    let facts = serde_json::json!({
        "name": metadata.name,
        "version": metadata.version,
        "summary": metadata.summary,
        "sha256": plugin.digest(),
        "bytes": plugin.size_bytes(),
        "wit": plugin.wit_version(),
        "imports": plugin.imports(),
        "exports": plugin.exports(),
        "state": plugin.has_state(),
        "bars": plugin.has_bars(),
        "batch": plugin.has_batch(),
        "state_schema": metadata.state_schema,
        "oldest_loadable_state": metadata.oldest_loadable_state,
        "needs": metadata.needs,
        "settings_schema": schema,
    });
    out.facts(&facts, |out| {
        let escape = |text: &str| text.escape_debug().to_string();
        let mut text = out.bold(&format!("{} {}", escape(&metadata.name), escape(&metadata.version)));
        let _ = write!(text, "\n  {}\n", escape(&metadata.summary));
        let _ = write!(text, "\n  sha256    {}", plugin.digest());
        let _ = write!(text, "\n  size      {} bytes", plugin.size_bytes());
        let _ = write!(text, "\n  contract  ringfence:strategy@{}", plugin.wit_version());
        let _ = write!(text, "\n  imports   {}", plugin.imports().join("\n            "));
        let _ = write!(text, "\n  exports   {}", plugin.exports().join("\n            "));
        let needs = &metadata.needs;
        let _ = write!(
            text,
            "\n  trades    {} to {} instruments{}{}",
            needs.instruments_min,
            needs.instruments_max,
            if needs.trades { ", reads trades" } else { "" },
            if needs.quotes { ", reads quotes" } else { "" }
        );
        let state = if plugin.has_state() {
            format!("schema {}, loads {} and later", metadata.state_schema, metadata.oldest_loadable_state)
        } else {
            "keeps none".into()
        };
        let _ = write!(text, "\n  state     {state}");
        let properties = schema.get("properties").and_then(|properties| properties.as_object());
        for (key, value) in properties.into_iter().flatten() {
            let _ = write!(text, "\n  setting   {} {value}", escape(key));
        }
        let _ = write!(text, "\n\n  {}", out.good("this host takes it"));
        text
    });
    Ok(ExitCode::SUCCESS)
}
