//! `ringfence inspect`: what a component is, before it is let near anything.

use super::output::{CliError, Output};
use crate::agent::live::{StartError, check_pin, strategy_settings};
use crate::config::{AgentConfig, Config};
use crate::orders::AgentName;
use crate::plugin::{
    DescribedSetting, Finding, Plugin, PluginError, Preflight, Profile, Sandbox, SandboxConfig,
    SandboxLimits, SettingsError, Terms, WasiGrant,
};
use crate::resilience::{Class, Classified};
use clap::builder::TypedValueParser as _;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The component file. Without it, the one that the configuration names.
    #[arg(required_unless_present = "config")]
    component: Option<PathBuf>,
    /// The digest that it must have.
    #[arg(long, value_name = "HEX")]
    sha256: Option<crate::orders::Digest>,
    /// Look at it with the eyes of an agent of this configuration: its limits, grants, pin and settings.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Which agent; may be left out when there is one.
    #[arg(long, value_name = "NAME", requires = "config")]
    agent: Option<AgentName>,
    /// Whose limits it is held to without a configuration: those of a compiled strategy, or of one with an interpreter
    /// inside.
    #[arg(long, default_value_t, value_parser = profile(), conflicts_with = "config")]
    profile: Profile,
    /// What of WASI it is granted without a configuration: none or virtual.
    #[arg(long, value_name = "GRANT", default_value = "none", conflicts_with = "config")]
    wasi: WasiGrant,
    /// The folder that it is granted for reading without a configuration; it takes `--wasi virtual`.
    #[arg(long, value_name = "FOLDER", conflicts_with = "config")]
    wasi_read_folder: Option<PathBuf>,
}

pub(super) fn profile() -> impl clap::builder::TypedValueParser<Value = Profile> {
    let names = [Profile::Native, Profile::Managed].map(Profile::name);
    clap::builder::PossibleValuesParser::new(names).map(|name| match name.as_str() {
        "managed" => Profile::Managed,
        _ => Profile::Native,
    })
}

/// What the component is looked at with.
struct Eyes {
    component: PathBuf,
    terms: Terms,
    agent: Option<(Config, AgentConfig)>,
    sandbox: SandboxConfig,
}

impl Args {
    fn eyes(&self) -> Result<Eyes, CliError> {
        let Some(path) = &self.config else {
            let limits = SandboxLimits {
                wasi: self.wasi,
                wasi_read_folder: self.wasi_read_folder.clone(),
                ..SandboxLimits::of(self.profile)
            };
            return Ok(Eyes {
                component: self.component.clone().unwrap_or_default(),
                terms: Terms { pin: self.sha256, limits, ..Terms::default() },
                agent: None,
                sandbox: SandboxConfig::default(),
            });
        };
        let config = Config::load(path)?;
        let names = || config.agent.iter().map(|agent| agent.name.as_str()).collect::<Vec<_>>().join(", ");
        let agent = match (&self.agent, config.agent.as_slice()) {
            (None, [only]) => only,
            (Some(name), agents) => agents.iter().find(|agent| agent.name == *name).ok_or_else(|| {
                CliError::input("no_such_agent", format!("no agent {name}; there is {}", names()))
            })?,
            (None, _) => {
                let message = format!("name one with --agent: {}", names());
                return Err(CliError::input("which_agent", message));
            }
        };
        // Looking leaves nothing behind.
        let sandbox = SandboxConfig { cache: None, ..config.sandbox_config() };
        let mut terms = config.terms(agent);
        terms.pin = self.sha256.or(terms.pin);
        let component = self.component.clone().unwrap_or_else(|| agent.component.clone());
        let agent = Some((config.clone(), agent.clone()));
        Ok(Eyes { component, terms, agent, sandbox })
    }
}

/// What came of the look.
struct Looked {
    seen: Preflight,
    plugin: Result<Plugin, PluginError>,
    /// What its agent adds: a pin that is needed, settings that do not fit.
    agent: Option<Misfit>,
}

/// Why a component that is good in itself does not suit its agent.
enum Misfit {
    Pin(StartError),
    Settings(SettingsError),
}

impl Misfit {
    fn of(
        config: &Config,
        agent: &AgentConfig,
        plugin: &Plugin,
        terms: &Terms,
    ) -> Result<Option<Self>, CliError> {
        if let Err(error) = check_pin(config, agent, terms.pin, || plugin.digest()) {
            return Ok(Some(Self::Pin(error.into())));
        }
        Ok(plugin.check_settings(&strategy_settings(agent)?).err().map(Self::Settings))
    }

    fn wrong(&self) -> Vec<(Class, &'static str, String)> {
        match self {
            Self::Pin(error) => vec![(error.class(), error.code(), error.to_string())],
            Self::Settings(error) => {
                error.problems.iter().map(|it| (error.class(), error.code(), it.clone())).collect()
            }
        }
    }
}

pub(super) fn run(args: &Args, out: &Output) -> Result<ExitCode, CliError> {
    let eyes = args.eyes()?;
    let sandbox = Sandbox::new(eyes.sandbox.clone())?;
    let bytes = Sandbox::read(&eyes.component, &eyes.terms.limits)?;
    let seen = sandbox.preflight(&bytes, &eyes.terms);
    let plugin = sandbox.admit(&bytes, &eyes.component.display().to_string(), &eyes.terms);
    let agent = match (&eyes.agent, &plugin) {
        (Some((config, agent)), Ok(plugin)) => Misfit::of(config, agent, plugin, &eyes.terms)?,
        _ => None,
    };
    let looked = Looked { seen, plugin, agent };
    out.facts(&looked.facts(&eyes), |out| looked.page(&eyes, out));
    Ok(match (looked.plugin, looked.agent) {
        (Err(error), _) => out.complain(&error.into()),
        (Ok(_), Some(Misfit::Pin(error))) => out.complain(&error.into()),
        (Ok(_), Some(Misfit::Settings(error))) => out.complain(&error.into()),
        (Ok(_), None) => ExitCode::SUCCESS,
    })
}

impl Looked {
    /// What is wrong, one by one, as class, code and words.
    fn wrong(&self) -> Vec<(Class, &'static str, String)> {
        let told = |finding: &Finding| (finding.class(), finding.code(), finding.to_string());
        match (&self.plugin, &self.agent) {
            (Ok(_), None) => Vec::new(),
            (Ok(_), Some(misfit)) => misfit.wrong(),
            (Err(_), _) if !self.seen.findings.is_empty() => self.seen.findings.iter().map(told).collect(),
            (Err(error), _) => vec![(error.class(), error.code(), error.to_string())],
        }
    }

    fn facts(&self, eyes: &Eyes) -> Value {
        let Self { seen, plugin, .. } = self;
        let findings: Vec<Value> = (self.wrong().into_iter())
            .map(|(class, code, message)| json!({ "class": class, "code": code, "message": message }))
            .collect();
        let mismatches: Vec<Value> = (seen.findings.iter())
            .filter_map(|finding| match finding {
                Finding::Mismatch(mismatch) => serde_json::to_value(mismatch).ok(),
                _ => None,
            })
            .collect();
        let mut facts = json!({
            "taken": findings.is_empty(),
            "findings": findings,
            "mismatches": mismatches,
            "sha256": seen.digest,
            "bytes": seen.size_bytes,
            "granted": eyes.terms.grants,
            "imports": seen.imports.iter().map(|import| &import.name).collect::<Vec<_>>(),
            "links": seen.imports,
            "profile": eyes.terms.limits.profile,
            "wasi": eyes.terms.limits.wasi,
            "wasi_read_folder": eyes.terms.limits.wasi_read_folder,
            "wasi_gives": (seen.imports.iter())
                .filter_map(|import| Some((&import.name, import.gives?)))
                .collect::<BTreeMap<_, _>>(),
            "exports": seen.exports,
            "parts": seen.shape.map(|shape| shape.parts(&eyes.terms.limits).to_vec()),
            "agent": eyes.agent.as_ref().map(|(_, agent)| &agent.name),
        });
        if let Ok(plugin) = plugin {
            let metadata = plugin.metadata();
            let more = json!({
                "name": metadata.name,
                "version": metadata.version,
                "summary": metadata.summary,
                "wit": plugin.wit_version(),
                "state": plugin.has_state(),
                "bars": plugin.has_bars(),
                "batch": plugin.has_batch(),
                "state_schema": metadata.state_schema,
                "oldest_loadable_state": metadata.oldest_loadable_state,
                "needs": metadata.needs,
                "settings_schema": plugin.settings_schema().json(),
                "settings": plugin.settings_schema().settings(),
            });
            if let (Value::Object(facts), Value::Object(more)) = (&mut facts, more) {
                facts.extend(more);
            }
        }
        if let Err(error) = &self.plugin
            && let Value::Object(facts) = &mut facts
        {
            let error = json!({ "class": error.class(), "code": error.code(), "message": error.to_string() });
            facts.insert("error".into(), error);
        }
        facts
    }

    fn page(&self, eyes: &Eyes, out: &Output) -> String {
        let (Self { seen, plugin, .. }, terms) = (self, &eyes.terms);
        let mut page = Page(String::new());
        match plugin {
            Ok(plugin) => {
                let metadata = plugin.metadata();
                // Both are printable: the host has escaped them.
                page.0 = out.bold(&format!("{} {}", metadata.name, metadata.version));
                let _ = write!(page.0, "\n  {}\n", metadata.summary);
            }
            Err(_) => page.0 = format!("{}\n", out.bold(&eyes.component.display().to_string())),
        }
        match seen.digest {
            Some(digest) => {
                let pinned = if terms.pin == Some(digest) { ", as pinned" } else { "" };
                page.row("sha256", [format!("{digest}{pinned}")]);
                let max = grouped(terms.limits.component_bytes_max);
                page.row("size", [format!("{} of {max} bytes", grouped(seen.size_bytes))]);
            }
            None => {
                page.row("size", [format!("more than {} bytes", grouped(terms.limits.component_bytes_max))])
            }
        }
        if let Ok(plugin) = plugin {
            page.row("contract", [format!("ringfence:strategy@{}", plugin.wit_version())]);
        }
        let width = seen.imports.iter().map(|import| import.name.len()).max().unwrap_or(0);
        page.row(
            "imports",
            seen.imports.iter().map(|import| {
                let verdict = match (import.granted, import.grant, import.gives) {
                    (true, Some(_), _) => "granted".to_owned(),
                    (true, None, Some(gives)) => format!("granted: {gives}"),
                    (true, None, None) => "types alone".to_owned(),
                    (false, ..) => out.bad("refused"),
                };
                format!("{:width$}  {verdict}", import.name)
            }),
        );
        match (terms.limits.wasi, &terms.limits.wasi_read_folder) {
            (WasiGrant::None, _) => page.row("granted", ["nothing of WASI".to_owned()]),
            (WasiGrant::Virtual, None) => {
                page.row("granted", ["the virtual WASI, nothing of this machine".to_owned()])
            }
            (WasiGrant::Virtual, Some(folder)) => {
                let folder = folder.display().to_string().escape_debug().to_string();
                page.row(
                    "granted",
                    [format!("the virtual WASI, and the files in {folder} for reading as /data")],
                )
            }
        }
        page.row("exports", seen.exports.iter().cloned());
        if let Some(shape) = &seen.shape {
            let mut parts = shape.parts(&terms.limits).to_vec();
            // The nearest to their caps; the others are in the JSON form.
            parts.sort_by_key(|part| std::cmp::Reverse(part.found.saturating_mul(1_000) / part.max.max(1)));
            page.row(
                "limits",
                parts.iter().take(3).map(|part| {
                    let percent = part.found.saturating_mul(100) / part.max.max(1);
                    format!("{} {} of {} ({percent} %)", part.what, grouped(part.found), grouped(part.max))
                }),
            );
        }
        if let Ok(plugin) = plugin {
            page.describe(plugin);
        }
        // What is wrong with one that is not taken follows as the error.
        if plugin.is_ok() && self.agent.is_none() {
            let _ = write!(page.0, "\n\n  {}", out.good("this host takes it"));
        }
        page.0
    }
}

/// Text in two columns.
struct Page(String);

impl Page {
    fn row(&mut self, title: &str, lines: impl IntoIterator<Item = String>) {
        for (position, line) in lines.into_iter().enumerate() {
            let title = if position == 0 { title } else { "" };
            let _ = write!(self.0, "\n  {title:<9} {line}");
        }
    }

    fn describe(&mut self, plugin: &Plugin) {
        let (metadata, needs) = (plugin.metadata(), &plugin.metadata().needs);
        let reads = match (needs.trades, needs.quotes) {
            (true, true) => ", reads trades and quotes",
            (true, false) => ", reads trades",
            (false, true) => ", reads quotes",
            (false, false) => "",
        };
        let instruments = match (needs.instruments_min, needs.instruments_max) {
            (1, 1) => "one instrument".to_owned(),
            (min, max) if min == max => format!("{min} instruments"),
            (min, u32::MAX) => format!("{min} instruments or more"),
            (min, max) => format!("{min} to {max} instruments"),
        };
        self.row("trades", [format!("{instruments}{reads}")]);
        let (schema, oldest) = (metadata.state_schema, metadata.oldest_loadable_state);
        let state = match (plugin.has_state(), schema == oldest) {
            (false, _) => "keeps none".to_owned(),
            (true, true) => format!("schema {schema}"),
            (true, false) => format!("schema {schema}, loads {oldest} to {schema}"),
        };
        self.row("state", [state]);
        let settings = plugin.settings_schema().settings();
        let width = settings.iter().map(|setting| setting.key.chars().count()).max().unwrap_or(0);
        self.row(
            "settings",
            settings.iter().map(|setting| {
                let DescribedSetting { key, required, allowed, default, about } = setting;
                let default = match default {
                    Some(value) => format!(", default {value}"),
                    None if *required => ", has to be given".to_owned(),
                    None => String::new(),
                };
                let about = if about.is_empty() { String::new() } else { format!(": {about}") };
                format!("{key:width$}  {allowed}{default}{about}")
            }),
        );
    }
}

/// A number with its thousands set apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
