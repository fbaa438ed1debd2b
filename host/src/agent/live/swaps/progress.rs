//! How far a swap has come, as an operator sees it.

use super::super::view::ComponentView;
use crate::agent::core::{ShadowReport, SwapEvent, SwapStage};
use crate::orders::SwapReason;
use crate::resilience::{Class, Classified};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One swap: what was ordered, and what became of it so far.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SwapView {
    /// Its number, unique within a run of the host.
    pub number: u64,
    /// Why it happens.
    pub reason: SwapReason,
    /// The file that the candidate comes from.
    pub file: String,
    /// The component before.
    pub from: ComponentView,
    /// The candidate, once it is vetted.
    pub to: Option<ComponentView>,
    /// The candidate's settings.
    pub settings: Map<String, Value>,
    /// Ticks for which it runs beside the strategy first.
    pub shadow_ticks: u64,
    /// Ticks in which the component before comes back by itself.
    pub probation_ticks: u64,
    /// The operator's words.
    pub note: String,
    /// How far it has come.
    #[serde(flatten)]
    pub progress: SwapProgress,
    /// How the candidate's intents differed, once the shadow has ended, or as far as it has come.
    pub shadow: Option<ShadowReport>,
    /// The last call before the switch.
    pub switched_after_call: Option<u64>,
    /// For how long the agent called nothing for it.
    #[serde(default)]
    pub paused_us: Option<u64>,
}

/// How far a swap has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "kebab-case")]
pub enum SwapProgress {
    /// The candidate is compiled and looked at, beside the agent.
    Vetting,
    /// It is vetted, and waits for the agent to take it.
    Handed,
    /// It runs beside the strategy.
    Shadowing {
        /// Ticks that are left.
        ticks_left: u64,
    },
    /// The switch is being made durable.
    Switching,
    /// It has taken over; the component before can come back.
    Probation {
        /// Ticks that are left.
        ticks_left: u64,
    },
    /// It stays.
    Committed,
    /// The component before is back.
    Returned {
        /// Why.
        returned_because: SwapReason,
        /// In words.
        returned_note: String,
    },
    /// Nothing was changed.
    Refused {
        /// What kind of thing was wrong.
        class: Class,
        /// Its stable name.
        code: String,
        /// In words: what was found, where, and what to do.
        message: String,
    },
}

impl SwapProgress {
    /// What something that describes itself refuses.
    pub(super) fn refused<E: Classified>(error: &E) -> Self {
        let (class, code) = (error.class(), error.code().to_owned());
        Self::Refused { class, code, message: error.to_string() }
    }

    /// An operator has thought better of it.
    pub(super) fn abandoned(note: &str) -> Self {
        let message = format!("an operator gave it up before it was vetted: {note}");
        Self::Refused { class: Class::State, code: "swap_abandoned".to_owned(), message }
    }

    /// Whether nothing more comes.
    pub const fn is_over(&self) -> bool {
        matches!(self, Self::Committed | Self::Returned { .. } | Self::Refused { .. })
    }

    /// In a word.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Vetting => "vetting",
            Self::Handed => "handed over",
            Self::Shadowing { .. } => "shadow",
            Self::Switching => "switching",
            Self::Probation { .. } => "probation",
            Self::Committed => "committed",
            Self::Returned { .. } => "returned",
            Self::Refused { .. } => "refused",
        }
    }
}

impl SwapView {
    /// Takes the agent's news in.
    pub(super) fn take(&mut self, event: &SwapEvent) {
        match event {
            SwapEvent::Shadowing => {
                self.progress = SwapProgress::Shadowing { ticks_left: self.shadow_ticks };
            }
            SwapEvent::Shadowed(report) => {
                self.shadow = Some(report.clone());
                self.progress = SwapProgress::Switching;
            }
            SwapEvent::Switched { call, probation_ticks, paused_us, .. } => {
                self.paused_us = Some(*paused_us);
                self.switched_after_call = Some(*call);
                self.progress = SwapProgress::Probation { ticks_left: *probation_ticks };
            }
            SwapEvent::Committed { .. } => self.progress = SwapProgress::Committed,
            SwapEvent::Returned { reason, note, .. } => {
                let (returned_because, returned_note) = (*reason, note.clone());
                self.progress = SwapProgress::Returned { returned_because, returned_note };
            }
            SwapEvent::Refused(failure) => {
                self.progress = SwapProgress::Refused {
                    class: failure.class,
                    code: failure.code.to_string(),
                    message: failure.message.clone(),
                };
            }
        }
    }

    /// Brings what changes with every tick up to date.
    pub(in super::super) fn refresh(&mut self, stage: &SwapStage) {
        match stage {
            SwapStage::Shadowing { number, ticks_left, report, .. } if *number == self.number => {
                self.shadow = Some(report.clone());
                self.progress = SwapProgress::Shadowing { ticks_left: *ticks_left };
            }
            SwapStage::Probation { number, ticks_left, .. } if *number == self.number => {
                self.progress = SwapProgress::Probation { ticks_left: *ticks_left };
            }
            SwapStage::None
            | SwapStage::Switching { .. }
            | SwapStage::Shadowing { .. }
            | SwapStage::Probation { .. } => {}
        }
    }
}
