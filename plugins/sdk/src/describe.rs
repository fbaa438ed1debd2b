//! What a strategy says about itself before it runs.

use crate::Setting;
use crate::bindings::ringfence::strategy::types;
use crate::settings::json_schema;
use std::ops::RangeInclusive;

/// A strategy's name, settings and needs. Unless told otherwise, a strategy works with one instrument, takes
/// trades and quotes, asks for no bars and keeps no state.
#[derive(Clone, Debug)]
pub struct Description {
    pub(crate) name: &'static str,
    pub(crate) settings: Vec<Setting>,
    pub(crate) state: Option<RangeInclusive<u32>>,
    version: &'static str,
    summary: &'static str,
    instruments: RangeInclusive<u32>,
    trades: bool,
    quotes: bool,
    bar_seconds: Vec<u32>,
}

impl Description {
    /// A strategy with a name of at most 64 bytes, its version and one line about it.
    pub const fn new(name: &'static str, version: &'static str, summary: &'static str) -> Self {
        Self {
            name,
            version,
            summary,
            settings: Vec::new(),
            state: None,
            instruments: 1..=1,
            trades: true,
            quotes: true,
            bar_seconds: Vec::new(),
        }
    }

    /// Declares a setting. A configuration with any other, or one out of bounds, is refused before `init`.
    pub fn setting(mut self, setting: Setting) -> Self {
        self.settings.push(setting);
        self
    }

    /// How many instruments it works with.
    pub const fn instruments(mut self, count: RangeInclusive<u32>) -> Self {
        self.instruments = count;
        self
    }

    /// Reads trades and does without quotes.
    pub const fn trades_only(mut self) -> Self {
        self.quotes = false;
        self
    }

    /// Reads quotes and does without trades.
    pub const fn quotes_only(mut self) -> Self {
        self.trades = false;
        self
    }

    /// Asks for bars of a length, which arrive at [`crate::Strategy::on_bar`].
    pub fn bars(mut self, seconds: u32) -> Self {
        self.bar_seconds.push(seconds);
        self
    }

    /// Says which layouts of state it loads, from the oldest to the one it saves. Raise the upper number when
    /// [`crate::Strategy::save`] writes something else, and the lower when `load` no longer reads the oldest.
    pub const fn state(mut self, schemas: RangeInclusive<u32>) -> Self {
        self.state = Some(schemas);
        self
    }
}

impl From<Description> for types::Metadata {
    fn from(description: Description) -> Self {
        let state = description.state.unwrap_or(0..=0);
        Self {
            name: description.name.to_owned(),
            version: description.version.to_owned(),
            summary: description.summary.to_owned(),
            settings_schema: json_schema(&description.settings),
            state_schema: *state.end(),
            oldest_loadable_state: *state.start(),
            needs: types::DataNeeds {
                instruments_min: *description.instruments.start(),
                instruments_max: *description.instruments.end(),
                trades: description.trades,
                quotes: description.quotes,
                bar_seconds: description.bar_seconds,
            },
        }
    }
}
