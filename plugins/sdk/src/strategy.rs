//! The one trait that an author implements.

use crate::{
    Bar, Context, Description, Event, Fault, Instrument, InstrumentId, Intents, Settings, Tick, UnixNanos,
};

/// A trading strategy.
///
/// Calls come one at a time. A call that returns a [`Fault`] loses its intents, and the strategy is called
/// again; a call that panics loses its instance.
pub trait Strategy: Sized + 'static {
    /// What the strategy is and needs. Pure: it is called on a throw-away instance before anything runs.
    fn describe() -> Description;

    /// A strategy at the start of a session. The settings have been checked against `describe`.
    ///
    /// # Errors
    /// When the session does not suit the strategy.
    fn init(session: &Session) -> Result<Self, Fault>;

    /// One market update.
    ///
    /// # Errors
    /// A fault gives up the intents of this call.
    fn on_tick(&mut self, tick: &Tick, context: &Context, intents: &mut Intents) -> Result<(), Fault>;

    /// News about an order, a timer, the mode or the operator.
    ///
    /// # Errors
    /// A fault gives up the intents of this call.
    fn on_event(&mut self, event: &Event, context: &Context, intents: &mut Intents) -> Result<(), Fault> {
        let _ = (event, context, intents);
        Ok(())
    }

    /// A complete bar of a length that [`Description::bars`] asks for.
    ///
    /// # Errors
    /// A fault gives up the intents of this call.
    fn on_bar(&mut self, bar: &Bar, context: &Context, intents: &mut Intents) -> Result<(), Fault> {
        let _ = (bar, context, intents);
        Ok(())
    }

    /// Memory that a restart or the next version starts from; see [`crate::StateWriter`]. Declare it with
    /// [`Description::state`].
    ///
    /// # Errors
    /// When the memory cannot be saved now; the host keeps the last one.
    fn save(&self) -> Result<Vec<u8>, Fault> {
        Ok(Vec::new())
    }

    /// Takes over memory that `save` wrote, in a layout that [`Description::state`] admits. Called after
    /// `init` and before the first tick; after a fault the instance is not used.
    ///
    /// # Errors
    /// When the bytes are not what `save` writes.
    fn load(&mut self, schema: u32, data: &[u8]) -> Result<(), Fault> {
        let _ = (schema, data);
        Ok(())
    }

    /// Last words before removal.
    fn stop(&mut self, intents: &mut Intents) {
        let _ = intents;
    }
}

/// What a strategy is told once, before its first tick.
#[derive(Clone, Debug)]
pub struct Session {
    /// Number of this run.
    pub run_id: u64,
    /// Seed of the random numbers.
    pub seed: u64,
    /// Time at the start.
    pub now: UnixNanos,
    /// What may be traded; the position is the instrument's id.
    pub instruments: Vec<Instrument>,
    /// The strategy's settings.
    pub settings: Settings,
    /// Whether orders go to a venue.
    pub live: bool,
}

impl Session {
    /// The first instrument, the only one unless `describe` asks for more.
    ///
    /// # Errors
    /// When the host gave none.
    pub fn instrument(&self) -> Result<&Instrument, Fault> {
        self.instruments.first().ok_or_else(|| {
            Fault::Internal("expected at least one instrument in the session, found none".into())
        })
    }

    /// The instrument with this id.
    pub fn instrument_by_id(&self, id: InstrumentId) -> Option<&Instrument> {
        self.instruments.get(usize::try_from(id.0).ok()?)
    }
}
