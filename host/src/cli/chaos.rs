//! `ringfence chaos`: what a host has to survive, on real processes.

use super::components_folder;
use super::output::{CliError, Output, columns};
use crate::chaos::{FaultPlan, Scenario, ScenarioReport, Setting, Subject, run as run_plan};
use crate::config::read_toml;
use crate::resilience::Classified as _;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Scenarios by name, or all.
    #[arg(value_name = "SCENARIO", default_value = "all", conflicts_with = "component")]
    scenario: Vec<String>,
    /// Say what happens in each, and run nothing.
    #[arg(long)]
    list: bool,
    /// Where the example components are.
    #[arg(long, default_value = "target/components", value_name = "DIR")]
    components: PathBuf,
    /// Longest disturbance, in seconds: a partition takes 30 and everything at once 300 unless this is less.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    seconds_max: u64,
    /// Decides what is left to chance. Nothing decides when it happens.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep the folders of the scenarios here, for a look at what they left.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Put this component under a plan of faults, instead of the scenarios.
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// The plan, as TOML: failure_permille, latency_ms, error_codes, faults, duration_ms, seed.
    #[arg(long, value_name = "FILE", requires = "component")]
    plan: Option<PathBuf>,
    /// Settings of the component, as in a configuration.
    #[arg(long, value_name = "TABLE", requires = "component", default_value = "{}")]
    settings: String,
}

#[derive(Serialize)]
struct Facts {
    passed: bool,
    seed: u64,
    scenarios: Vec<ScenarioReport>,
    /// Scenarios that could not be carried out, and why.
    not_run: Vec<(String, String)>,
}

pub(super) fn run(args: &Args, out: &Output) -> Result<ExitCode, CliError> {
    if args.list {
        list(out);
        return Ok(ExitCode::SUCCESS);
    }
    let program = std::env::current_exe()
        .map_err(|error| CliError::system("no_program", format!("cannot find this program: {error}")))?;
    if let Some(component) = &args.component {
        return under_a_plan(args, component, &program, out);
    }
    let chosen = chosen(&args.scenario)?;
    let components = components_folder(&args.components)?;
    let setting = Setting {
        program,
        components,
        seed: args.seed,
        disturbance_max: Duration::from_secs(args.seconds_max.max(1)),
    };
    let mut facts = Facts { passed: true, seed: args.seed, scenarios: Vec::new(), not_run: Vec::new() };
    for scenario in chosen {
        out.line(format!("{}: {}", out.bold(scenario.name), scenario.about));
        let outcome = in_a_folder(args, scenario.name, |dir| Ok(scenario.run(&setting, dir)))?;
        match outcome {
            Ok(report) => {
                out.line(told(&report, out));
                facts.passed &= report.passed;
                facts.scenarios.push(report);
            }
            Err(error) => {
                out.line(format!("  {} {error}", out.bad("could not be carried out:")));
                tracing::error!(class = %error.class(), code = error.code(), scenario = scenario.name, "{error}");
                facts.passed = false;
                facts.not_run.push((scenario.name.to_owned(), error.to_string()));
            }
        }
    }
    out.facts(&facts, |out| table(&facts, out));
    Ok(if facts.passed { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn under_a_plan(args: &Args, component: &Path, program: &Path, out: &Output) -> Result<ExitCode, CliError> {
    let mut plan: FaultPlan = match &args.plan {
        Some(path) => read_toml(path)?,
        None => FaultPlan::default(),
    };
    plan.duration_ms = plan.duration_ms.min(args.seconds_max.saturating_mul(1_000));
    let component = std::fs::canonicalize(component)
        .map_err(|error| CliError::input("no_component", format!("{}: {error}", component.display())))?;
    let subject = Subject { program: program.to_owned(), component, settings: args.settings.clone() };
    let outcome = in_a_folder(args, "plan", |dir| Ok(run_plan(&subject, &plan, dir)?))?;
    let passed = outcome.lost == 0 && outcome.duplicated == 0;
    out.facts(&outcome, |out| {
        let verdict = if passed {
            out.good("Nothing is lost or there twice.")
        } else {
            out.bad(&format!(
                "{} lost, {} duplicated: {}",
                outcome.lost,
                outcome.duplicated,
                outcome.words.join("; ")
            ))
        };
        let mode = outcome.final_mode.map_or("unknown", crate::orders::Mode::name);
        format!(
            "{} faults in {} calls, {} of a thousand; {} intents; {mode} at the end\n{verdict}",
            outcome.injections, outcome.calls, outcome.actual_permille, outcome.intents
        )
    });
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// A folder that is gone afterwards, unless it was asked to be kept.
fn in_a_folder<T>(
    args: &Args,
    name: &str,
    work: impl FnOnce(&Path) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let failed = |path: &Path, error: &std::io::Error| {
        CliError::system(
            "chaos_folder",
            format!("{}: {error}; name another folder with --keep", path.display()),
        )
    };
    let base = args.keep.clone().unwrap_or_else(std::env::temp_dir);
    let dir = base.join(match &args.keep {
        Some(_) => name.to_owned(),
        None => format!("ringfence-chaos-{}-{name}", std::process::id()),
    });
    if dir.exists() {
        return Err(CliError::input(
            "chaos_folder",
            format!("{} is there already; remove it", dir.display()),
        ));
    }
    std::fs::create_dir_all(&dir).map_err(|error| failed(&dir, &error))?;
    let done = std::fs::canonicalize(&dir).map_err(|error| failed(&dir, &error)).and_then(|dir| work(&dir));
    if args.keep.is_none() {
        let _ = std::fs::remove_dir_all(&dir);
    }
    done
}

fn chosen(names: &[String]) -> Result<Vec<&'static Scenario>, CliError> {
    if names.iter().any(|name| name == "all") {
        return Ok(Scenario::ALL.iter().collect());
    }
    let find = |name: &String| {
        Scenario::named(name).ok_or_else(|| {
            let known: Vec<&str> = Scenario::ALL.iter().map(|scenario| scenario.name).collect();
            CliError::input(
                "no_scenario",
                format!("there is no scenario {name}; there are {}", known.join(", ")),
            )
        })
    };
    names.iter().map(find).collect()
}

fn list(out: &Output) {
    let facts: Vec<_> = Scenario::ALL.iter().map(|scenario| (scenario.name, scenario.about)).collect();
    out.facts(&facts, |out| {
        let rows = facts
            .iter()
            .map(|(name, about)| vec![(*name).to_owned(), (*about).to_owned()])
            .collect::<Vec<_>>();
        let heads = vec![vec!["scenario".to_owned(), "what happens".to_owned()]];
        columns(&[heads, rows].concat(), "", out)
    });
}

/// What was found is cut here for people; JSON has all of it.
const FOUND_CHARS_MAX: usize = 160;

fn told(report: &ScenarioReport, out: &Output) -> String {
    let mut text = String::new();
    for check in &report.checks {
        let verdict = if check.held { out.good("held") } else { out.bad("DID NOT HOLD") };
        let found: String = check.found.chars().take(FOUND_CHARS_MAX).collect();
        let found = match (found.is_empty(), found.len() < check.found.len()) {
            (true, _) => found,
            (false, false) => format!(" ({found})"),
            (false, true) => format!(" ({found}…)"),
        };
        let _ = writeln!(text, "  {verdict}  {}{found}", check.what);
    }
    text
}

fn table(facts: &Facts, out: &Output) -> String {
    let heads =
        ["scenario", "injected", "calls", "intents", "lost", "duplicated", "mode at the end", "seconds", ""];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for report in &facts.scenarios {
        rows.push(vec![
            report.name.to_owned(),
            report.injected.to_string(),
            report.calls.to_string(),
            report.intents.to_string(),
            report.lost.to_string(),
            report.duplicated.to_string(),
            report.final_mode.clone(),
            format!("{:.1}", report.seconds),
            if report.passed { out.good("passed") } else { out.bad("FAILED") },
        ]);
    }
    let mut text = columns(&rows, "", out);
    for (name, why) in &facts.not_run {
        let _ = write!(text, "\n{} {name}: {why}", out.bad("not run:"));
    }
    let sum = |of: fn(&ScenarioReport) -> u64| facts.scenarios.iter().map(of).sum::<u64>();
    let _ = write!(
        text,
        "\n\n{} scenarios, {} faults, {} intents: lost {}, duplicated {}",
        facts.scenarios.len(),
        sum(|report| report.injected),
        sum(|report| report.intents),
        sum(|report| report.lost),
        sum(|report| report.duplicated)
    );
    text
}
