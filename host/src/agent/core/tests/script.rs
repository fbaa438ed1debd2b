//! A strategy that does what a test says and remembers what it was told.

use crate::market::{Tick, UnixNanos};
use crate::orders::{OrderIntent, StrategyEvent};
use crate::plugin::{
    CallError, Fault, Metadata, Services, Session, StateSnapshot, Strategy, TickContext, TrapKind,
};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

/// What one call does.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Want(Vec<OrderIntent>),
    /// Touches the services, then succeeds without an intent.
    Touch(fn(&mut Services)),
    /// Touches the services and wants these, then fails.
    Spoil(fn(&mut Services), CallError),
}

impl Step {
    pub(super) fn trap() -> Self {
        Self::Spoil(|_| {}, trap())
    }

    pub(super) fn fault() -> Self {
        Self::Spoil(|_| {}, CallError::Fault(Fault::NotReady))
    }
}

pub(super) fn trap() -> CallError {
    trap_of(TrapKind::Unreachable)
}

pub(super) fn trap_of(kind: TrapKind) -> CallError {
    CallError::Trap { kind, detail: "scripted".into() }
}

#[derive(Debug, Default)]
pub(super) struct Script {
    /// One step per tick; nothing when empty.
    pub(super) ticks: VecDeque<Step>,
    /// Steps for events, whatever they are.
    pub(super) events: VecDeque<Step>,
    /// What it wants whenever it hears something, besides.
    pub(super) answer: Option<fn(&StrategyEvent) -> Vec<OrderIntent>>,
    pub(super) heard: Vec<StrategyEvent>,
    pub(super) ticks_seen: u64,
    /// When the newest tick of this life of it was made.
    last_stamp: UnixNanos,
    pub(super) session: Option<Session>,
    pub(super) state: Option<StateSnapshot>,
    pub(super) loaded: Option<StateSnapshot>,
    pub(super) save_traps: bool,
    /// Why it does not start.
    pub(super) init_error: Option<CallError>,
    pub(super) load_error: Option<CallError>,
    pub(super) starts: u32,
    pub(super) stops: u32,
}

/// A handle that outlives the core, as a test does.
#[derive(Clone, Debug, Default)]
pub(super) struct Scripted(Arc<Mutex<Script>>, Metadata);

impl Scripted {
    /// One that keeps a state of this schema, and loads those from `oldest` on.
    pub(super) fn keeping(schema: u32, oldest: u32) -> Self {
        let metadata =
            Metadata { state_schema: schema, oldest_loadable_state: oldest, ..Metadata::default() };
        let scripted = Self(Arc::default(), metadata);
        scripted.script().state = Some(StateSnapshot { schema, data: b"state".to_vec() });
        scripted
    }

    pub(super) fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }
}

fn act(step: Option<Step>, services: &mut Services, intents: &mut Vec<OrderIntent>) -> Result<(), CallError> {
    match step {
        None => Ok(()),
        Some(Step::Want(wanted)) => {
            intents.extend(wanted);
            Ok(())
        }
        Some(Step::Touch(touch)) => {
            touch(services);
            Ok(())
        }
        Some(Step::Spoil(touch, error)) => {
            touch(services);
            intents.push(super::buy(999, 1));
            Err(error)
        }
    }
}

impl Strategy for Scripted {
    fn metadata(&self) -> &Metadata {
        &self.1
    }

    fn init(&mut self, session: &Session, _: &mut Box<Services>) -> Result<(), CallError> {
        let mut script = self.script();
        script.session = Some(session.clone());
        script.starts += 1;
        script.last_stamp = UnixNanos::default();
        script.init_error.clone().map_or(Ok(()), Err)
    }

    fn on_tick(
        &mut self,
        tick: &Tick,
        _: &TickContext,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        let step = {
            let mut script = self.script();
            let follows = script.last_stamp <= tick.event_time && tick.seq != super::rig::UNTRUE;
            assert!(follows, "the strategy was shown {tick:?}");
            script.last_stamp = tick.event_time;
            script.ticks_seen += 1;
            script.ticks.pop_front()
        };
        act(step, services, intents)
    }

    fn on_event(
        &mut self,
        event: &StrategyEvent,
        _: &TickContext,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        let step = {
            let mut script = self.script();
            script.heard.push(event.clone());
            intents.extend(script.answer.map(|answer| answer(event)).unwrap_or_default());
            script.events.pop_front()
        };
        act(step, services, intents)
    }

    fn keeps_state(&self) -> bool {
        self.script().state.is_some()
    }

    fn save(&mut self, _: &mut Box<Services>) -> Result<Option<StateSnapshot>, CallError> {
        let script = self.script();
        if script.save_traps { Err(trap()) } else { Ok(script.state.clone()) }
    }

    fn load(&mut self, state: &StateSnapshot, _: &mut Box<Services>) -> Result<(), CallError> {
        let mut script = self.script();
        script.loaded = Some(state.clone());
        script.load_error.clone().map_or(Ok(()), Err)
    }

    fn stop(&mut self, _: &mut Box<Services>, _: &mut Vec<OrderIntent>) -> Result<(), CallError> {
        self.script().stops += 1;
        Ok(())
    }
}
