//! `ringfence vet`: what a component does when markets and hosts do what they do.

use super::inspect::profile;
use super::lab::set;
use super::output::{CliError, Output, columns};
use crate::lab::vet::{FindingKind, Session, Verdict, scenarios, vet};
use crate::orders::Digest;
use crate::plugin::{Plugin, Profile, Sandbox, SandboxConfig, SandboxLimits};
use indicatif::ProgressBar;
use serde::Serialize;
use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The component file.
    component: PathBuf,
    /// The digest that it must have.
    #[arg(long, value_name = "HEX")]
    sha256: Option<Digest>,
    /// A setting of the strategy.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Seed of the sessions.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Sessions of everything at once, as the seed draws it.
    #[arg(long, value_name = "COUNT", default_value_t = 16)]
    sessions: u32,
    /// Only scenarios with this in their name.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Where the smallest sessions that show a failure are written; made when there is one.
    #[arg(long, value_name = "DIR", default_value = "vet-failures")]
    out: PathBuf,
    /// Run a session that was written there again, instead of the scenarios.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["settings", "seed", "sessions", "only"])]
    replay: Option<PathBuf>,
    /// Name the scenarios and what happens in them, and run none.
    #[arg(long, conflicts_with = "replay")]
    list: bool,
    /// The budgets that are held against it, as in a host's configuration: native or managed.
    #[arg(long, value_name = "PROFILE", default_value = "native", value_parser = profile())]
    profile: Profile,
}

/// Questions that are asked to make one session smaller. A session of 600 steps needs some dozens.
const SHRINK_TRIES_MAX: usize = 400;

#[derive(Serialize)]
struct Facts {
    component: String,
    sha256: Digest,
    seed: u64,
    passed: bool,
    scenarios: Vec<Row>,
    seconds: f64,
}

#[derive(Serialize)]
struct Row {
    name: String,
    about: &'static str,
    passed: bool,
    events: u64,
    intents: u64,
    refused: u64,
    /// Why the component did not take the settings, which is its right.
    #[serde(skip_serializing_if = "Option::is_none")]
    declined: Option<String>,
    failures: Vec<Failure>,
}

#[derive(Serialize)]
struct Failure {
    kind: FindingKind,
    at_event: usize,
    detail: String,
    /// Steps of the smallest session that shows it.
    steps: usize,
    saved: Option<PathBuf>,
    command: Option<String>,
}

pub(super) fn run(args: &Args, out: &Output) -> Result<ExitCode, CliError> {
    let sandbox = Sandbox::new(SandboxConfig::default())?;
    let plugin = sandbox.load_file(&args.component, args.sha256, &SandboxLimits::of(args.profile))?;
    let replayed = args.replay.as_deref().map(read_session).transpose()?;
    let given = set(Vec::new(), &args.settings)?;
    plugin.check_settings(&given)?;
    let listed: Vec<(String, &'static str, Session)> = match replayed {
        Some(session) => vec![(session.scenario.clone(), "a session from a file", session)],
        None => (scenarios(&plugin, &given, args.seed, args.sessions).into_iter())
            .filter(|it| args.only.as_ref().is_none_or(|text| it.name.contains(text.as_str())))
            .map(|it| (it.name, it.about, it.session))
            .collect(),
    };
    if listed.is_empty() {
        let text = args.only.clone().unwrap_or_default();
        let text = format!("no scenario has {text:?} in its name; see them with --list");
        return Err(CliError::input("vet_scenario", text));
    }
    if args.list {
        let rows: Vec<Vec<String>> = std::iter::once(vec!["scenario".to_owned(), "what happens".to_owned()])
            .chain(listed.into_iter().map(|(name, about, _)| vec![name, about.to_owned()]))
            .collect();
        out.line(columns(&rows, "  ", out));
        return Ok(ExitCode::SUCCESS);
    }
    let clock = crate::agent::live::SystemClock::start();
    let results = run_all(&plugin, &listed, out);
    let mut rows = Vec::new();
    for ((name, about, _), result) in listed.iter().zip(results) {
        let (verdict, sessions) = result?;
        rows.push(row(args, name, about, verdict, &sessions)?);
    }
    if let Some(words) = rows.iter().map(|row| row.declined.as_deref()).collect::<Option<Vec<_>>>() {
        let words = words.first().copied().unwrap_or_default();
        let text = format!(
            "it took no part in anything, because it declined its settings: {words}; give others with --set"
        );
        return Err(CliError::input("vet_declined", text));
    }
    let metadata = plugin.metadata();
    let facts = Facts {
        component: format!("{} {}", metadata.name, metadata.version),
        sha256: plugin.digest(),
        seed: args.seed,
        passed: rows.iter().all(|row| row.passed),
        scenarios: rows,
        seconds: (clock.now().mono.0 as f64 / 1e6).round() / 1e3,
    };
    out.facts(&facts, |out| facts.table(out));
    Ok(if facts.passed { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

type Vetted = Result<(Verdict, Vec<Session>), CliError>;

/// Every session by itself, on all cores; the results in the order of the sessions.
fn run_all(plugin: &Plugin, listed: &[(String, &'static str, Session)], out: &Output) -> Vec<Vetted> {
    let jobs = std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(listed.len());
    let bar = match out.is_json() || !std::io::stderr().is_terminal() {
        true => ProgressBar::hidden(),
        false => ProgressBar::new(listed.len() as u64),
    };
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(listed.len())));
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                // What a scenario makes a strategy say and a host warn of is what it is for.
                let silent = tracing::subscriber::NoSubscriber::new();
                tracing::subscriber::with_default(silent, || {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some((.., session)) = listed.get(index) else { return };
                        let result = vet(plugin, session, SHRINK_TRIES_MAX).map_err(CliError::from);
                        done.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
                        bar.inc(1);
                    }
                });
            });
        }
    });
    bar.finish_and_clear();
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

fn row(
    args: &Args,
    name: &str,
    about: &'static str,
    verdict: Verdict,
    sessions: &[Session],
) -> Result<Row, CliError> {
    let mut failures = Vec::new();
    for (finding, session) in verdict.findings.iter().zip(sessions) {
        // A session that came from a file is there already.
        let saved = match &args.replay {
            Some(_) => None,
            None => Some(save(&args.out, name, finding.kind, session)?),
        };
        let command = saved
            .as_ref()
            .map(|path| format!("ringfence vet {} --replay {}", args.component.display(), path.display()));
        failures.push(Failure {
            kind: finding.kind,
            at_event: finding.step,
            detail: finding.detail.escape_debug().to_string(),
            steps: session.steps.len(),
            saved,
            command,
        });
    }
    Ok(Row {
        name: name.to_owned(),
        about,
        passed: failures.is_empty(),
        events: verdict.ticks,
        intents: verdict.intents,
        refused: verdict.refused,
        declined: verdict.declined,
        failures,
    })
}

fn save(dir: &Path, name: &str, kind: FindingKind, session: &Session) -> Result<PathBuf, CliError> {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(80).collect();
    let path = dir.join(format!("{plain}.{}.session", kind.name()));
    std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&path, session.encode())).map_err(|error| {
        CliError::system("vet_out", format!("cannot write {}: {error}; give another --out", path.display()))
    })?;
    Ok(path)
}

/// Bytes of a session file: a million steps of a line each.
const SESSION_BYTES_MAX: u64 = 512 * 1024 * 1024;

fn read_session(path: &Path) -> Result<Session, CliError> {
    let unread = |reason: String| CliError::input("vet_replay", format!("{}: {reason}", path.display()));
    let bytes = std::fs::metadata(path).map_err(|error| unread(error.to_string()))?.len();
    if bytes > SESSION_BYTES_MAX {
        return Err(unread(format!("{bytes} bytes, a session has at most {SESSION_BYTES_MAX}")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unread(error.to_string()))?;
    Session::decode(&text).map_err(|error| unread(error.to_string()))
}

impl Facts {
    fn table(&self, out: &Output) -> String {
        let head = ["scenario", "updates", "intents", "refused", ""].map(str::to_owned).to_vec();
        let mut rows = vec![head];
        for row in &self.scenarios {
            let word = match (&row.declined, row.failures.first()) {
                (_, Some(failure)) => out.bad(failure.kind.name()),
                (Some(words), None) => format!("declined: {words}"),
                (None, None) => out.good("ok"),
            };
            let numbers = [row.events, row.intents, row.refused].map(|number| number.to_string());
            rows.push([vec![row.name.clone()], numbers.to_vec(), vec![word]].concat());
        }
        let mut text = format!(
            "\n{}\n\n{}\n",
            out.bold(&self.component.escape_debug().to_string()),
            columns(&rows, "  ", out)
        );
        for row in &self.scenarios {
            for failure in &row.failures {
                text.push_str(&format!(
                    "\n  {} in {}, after step {}\n    {}\n",
                    out.bad(failure.kind.name()),
                    row.name,
                    failure.at_event,
                    failure.detail
                ));
                if let Some(command) = &failure.command {
                    text.push_str(&format!("    {} steps show it: {command}\n", failure.steps));
                }
            }
        }
        let failed = self.scenarios.iter().filter(|row| !row.passed).count();
        let end = match failed {
            0 => out.good(&format!("passed {} scenarios", self.scenarios.len())),
            _ => out.bad(&format!("failed {failed} of {} scenarios", self.scenarios.len())),
        };
        text.push_str(&format!("\n  {end}, seed {}, {:.1} s", self.seed, self.seconds));
        text
    }
}
