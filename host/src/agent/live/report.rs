//! What a run has done, for people and for tests.

use crate::agent::core::{Alert, Core, ReconcileStage, Stats, Status};
use crate::market::{DataCounts, Money, UnixNanos};
use crate::orders::{AgentName, Books, Ledger, Mode};
use crate::plugin::LogLevel;
use crate::resilience::ModeCause;
use rust_decimal::Decimal;

/// Equity over time, thinned so that it never holds more than a screen can show.
#[derive(Clone, Debug)]
pub struct Curve {
    points: Vec<(UnixNanos, Money)>,
    stride: u64,
    seen: u64,
}

impl Default for Curve {
    fn default() -> Self {
        Self { points: Vec::new(), stride: 1, seen: 0 }
    }
}

impl Curve {
    /// More points than this are thinned to half of them.
    pub const POINTS_MAX: usize = 2_048;

    /// Takes one sample.
    pub fn push(&mut self, at: UnixNanos, equity: Money) {
        if self.seen.is_multiple_of(self.stride) {
            if self.points.len() >= Self::POINTS_MAX {
                let mut keep = false;
                self.points.retain(|_| {
                    keep = !keep;
                    keep
                });
                self.stride *= 2;
            }
            self.points.push((at, equity));
        }
        self.seen += 1;
    }

    /// The points, oldest first.
    pub fn points(&self) -> &[(UnixNanos, Money)] {
        &self.points
    }
}

/// One agent's part of a report.
#[derive(Clone, Debug)]
pub struct AgentReport {
    /// Its name.
    pub name: AgentName,
    /// What it trades; the position is the instrument's id.
    pub symbols: Vec<String>,
    /// What it did.
    pub stats: Stats,
    /// What it holds.
    pub books: Books,
    /// What it ordered.
    pub ledger: Ledger,
    /// Samples that were dropped, by fault.
    pub data: DataCounts,
    /// Equity over time.
    pub curve: Curve,
    /// Equity at the end.
    pub equity: Option<Money>,
    /// Deepest fall of equity below its peak, as a share of the peak.
    pub max_drawdown: Decimal,
    /// How far the books were held against the venue at the end.
    pub reconciliation: ReconcileStage,
    /// Mode at the end.
    pub mode: Mode,
    /// Every mode change, with the data's time, at most [`AgentReport::ALERTS_MAX`].
    pub modes: Vec<(UnixNanos, Mode)>,
    /// What a person should know, with the data's time.
    pub alerts: Vec<(UnixNanos, Alert)>,
    /// What the strategy logged last.
    pub said: Vec<(LogLevel, String)>,
    /// Whether the strategy does not run: it failed and waits for a new instance, or is quarantined.
    pub halted: bool,
    /// Why the mode changed last.
    pub mode_cause: Option<ModeCause>,
    /// Its incarnation.
    pub incarnation: u32,
    /// Which component it runs, and how that goes.
    pub status: Status,
    /// Intents that have not come to an end.
    pub open_intents: u64,
    /// Whether the agent has finished.
    pub stopped: bool,
}

impl AgentReport {
    /// Alerts kept; the newest are the ones that explain the end.
    pub const ALERTS_MAX: usize = 256;
    /// Log lines kept.
    pub const LINES_MAX: usize = 64;

    /// A report of a core that has done nothing yet.
    pub fn new(core: &Core) -> Self {
        Self {
            name: core.config().name.clone(),
            symbols: (core.config().instruments.iter())
                .map(|(_, instrument)| instrument.symbol.clone())
                .collect(),
            stats: core.stats(),
            books: core.books().clone(),
            ledger: Ledger::default(),
            data: *core.data_counts(),
            curve: Curve::default(),
            equity: core.equity(),
            max_drawdown: core.max_drawdown(),
            reconciliation: core.reconciliation(),
            mode: core.mode(),
            modes: vec![(UnixNanos(0), core.mode())],
            alerts: Vec::new(),
            said: Vec::new(),
            halted: core.is_halted(),
            mode_cause: None,
            incarnation: core.config().incarnation,
            status: core.status(),
            open_intents: 0,
            stopped: false,
        }
    }

    /// Brings the numbers up to date.
    pub fn refresh(&mut self, core: &Core) {
        self.stats = core.stats();
        self.data = *core.data_counts();
        self.reconciliation = core.reconciliation();
        self.equity = core.equity();
        self.max_drawdown = core.max_drawdown();
        if self.mode != core.mode() {
            self.mode = core.mode();
            if self.modes.len() < Self::ALERTS_MAX {
                self.modes.push((core.market_now(), self.mode));
            }
        }
        self.halted = core.is_halted();
    }

    /// Takes in what somebody wants to see who looks at the running agent: all but the ledger, which may be large.
    pub fn look(&mut self, core: &Core) {
        self.refresh(core);
        self.books = core.books().clone();
        self.status = core.status();
        self.open_intents = u64::try_from(core.ledger().open_count()).unwrap_or(u64::MAX);
    }

    /// Takes the books and the ledger in, at the end.
    pub fn finish(&mut self, core: &Core) {
        self.look(core);
        self.ledger = core.ledger().clone();
        self.stopped = true;
    }

    /// Keeps an alert.
    pub fn alert(&mut self, at: UnixNanos, alert: Alert) {
        if self.alerts.len() >= Self::ALERTS_MAX {
            self.alerts.remove(0);
        }
        self.alerts.push((at, alert));
    }

    /// Keeps a line.
    pub fn say(&mut self, level: LogLevel, text: String) {
        if self.said.len() >= Self::LINES_MAX {
            self.said.remove(0);
        }
        self.said.push((level, text));
    }
}
