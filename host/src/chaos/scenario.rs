//! What a scenario is, and how one is carried out.

use super::plan::{close, settled};
use super::report::{Checks, ScenarioReport};
use super::rig::{Rig, Subject};
use super::{ChaosRunError, scenarios};
use crate::orders::Mode;
use crate::venue::chaos::ChaosConfig;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How scenarios are carried out.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The `ringfence` program.
    pub program: PathBuf,
    /// The folder of the example components.
    pub components: PathBuf,
    /// Decides what is left to chance. Nothing decides when it happens.
    pub seed: u64,
    /// Longest disturbance; those that are longer by themselves are cut to it.
    pub disturbance_max: Duration,
}

/// Something that a host has to survive.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What happens, and what has to hold.
    pub about: &'static str,
    pub(super) trader: Trader,
    pub(super) carry_out: fn(&mut Stage<'_>) -> Result<(), ChaosRunError>,
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scenario").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What trades in a scenario.
#[derive(Clone, Copy)]
pub(super) enum Trader {
    /// The crossings of two averages: an order every few rows.
    Averages,
    /// The strategy that goes wrong, in this way.
    Faulty(&'static str),
}

/// What a scenario has at hand.
pub(super) struct Stage<'a> {
    pub rig: Rig,
    pub checks: Checks,
    pub setting: &'a Setting,
    /// Whether the journal and the books are compared at the end, and the mode has to be full.
    pub ends: Ends,
}

/// How the last life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// In order, in full mode.
    Well,
    /// The strategy is out of the game; the books agree all the same.
    WithoutStrategy,
}

impl Stage<'_> {
    /// How long a disturbance of this length goes on here.
    pub fn span(&self, seconds: u64) -> Duration {
        Duration::from_secs(seconds).min(self.setting.disturbance_max)
    }
}

impl Scenario {
    /// All of them.
    pub const ALL: &'static [Self] = scenarios::ALL;

    /// The one of a name.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|scenario| scenario.name == name)
    }

    /// Carries it out in an empty folder.
    ///
    /// # Errors
    /// When a process does not start or does not answer, so that nothing can be said.
    pub fn run(&self, setting: &Setting, dir: &Path) -> Result<ScenarioReport, ChaosRunError> {
        let (component, settings) = match self.trader {
            Trader::Averages => ("ema-cross.wasm", "{ fast = 2, slow = 5, quantity = 3 }".to_owned()),
            Trader::Faulty(fault) => ("faulty.wasm", format!("{{ fault = \"{fault}\", after = 100 }}")),
        };
        let subject = Subject {
            program: setting.program.clone(),
            component: setting.components.join(component),
            settings,
        };
        let (state, holder) = scenarios::place(self, dir)?;
        let chaos = ChaosConfig { seed: setting.seed, ..scenarios::rough() };
        let rig = Rig::new(&subject, dir, &state, chaos)?;
        let mut stage = Stage { rig, checks: Checks::default(), setting, ends: Ends::Well };
        stage.rig.set_plan(crate::venue::chaos::Plan::Pass)?;
        if let Some(disk) = holder {
            scenarios::on_a_small_disk(&mut stage, disk)?;
        } else {
            stage.rig.start()?;
            (self.carry_out)(&mut stage)?;
        }
        conclude(self.name, stage)
    }
}

/// Lets everything heal, and compares.
fn conclude(name: &'static str, stage: Stage<'_>) -> Result<ScenarioReport, ChaosRunError> {
    stage.rig.set_plan(crate::venue::chaos::Plan::Pass)?;
    let Stage { mut rig, mut checks, ends, .. } = stage;
    if rig.is_alive() {
        let status = close(&mut rig)?;
        if ends == Ends::Well {
            let said = status.map_or_else(|| "it was killed".to_owned(), |code| format!("exit code {code}"));
            checks.expect("the host ends in order", status == Some(0), said);
        }
    } else {
        checks.expect("the host runs until its data ends", false, rig.last_words());
    }
    let audit = settled(&rig)?;
    let mode = rig.mode;
    if ends == Ends::Well {
        checks.expect("the mode is full again", mode == Some(Mode::Full), name_of(mode));
    }
    let words = if audit.words.is_empty() { "nothing differs".to_owned() } else { audit.words.join("; ") };
    checks.expect(
        "nothing is lost, and the books equal the ledger",
        audit.lost + audit.open == 0,
        words.clone(),
    );
    checks.expect("nothing is there twice", audit.duplicated == 0, words);
    checks.expect("the venue was there all the time", rig.venue_runs(), "");
    let stats = rig.proxy.stats();
    let mut faults: BTreeMap<String, u64> = stats.injected.clone();
    if rig.injected > 0 {
        faults.insert("others".to_owned(), rig.injected);
    }
    let report = ScenarioReport {
        name,
        passed: checks.0.iter().all(|check| check.held),
        injected: faults.values().sum(),
        calls: stats.requests,
        lost: audit.lost + audit.open,
        duplicated: audit.duplicated,
        final_mode: name_of(mode),
        seconds: (rig.seconds() * 10.0).round() / 10.0,
        intents: audit.intents,
        faults,
        checks: checks.0,
    };
    rig.end();
    Ok(report)
}

fn name_of(mode: Option<Mode>) -> String {
    mode.map_or("unknown", Mode::name).to_owned()
}
