//! A strategy that remembers everything it was ever told and shown: two of them are equal only when all of
//! it was. What it does is decided by what it remembers, and by nothing else.

use super::*;
use crate::market::{Bar, Tick, UnixNanos};
use crate::orders::{AmendOrder, Digest, StrategyEvent};
use crate::plugin::{
    CallError, DataNeeds, Fault, Metadata, Services, Session, StateSnapshot, Strategy, TickContext, TrapKind,
};
use serde::Serialize;

#[derive(Debug, Default)]
pub(super) struct Keeper {
    /// Digest of everything so far; all that it saves.
    memory: Vec<u8>,
    /// Counted from what it was told at its start, as the SDK does.
    next_order: u64,
    metadata: Metadata,
    /// Whether something that it was not told moves it, too.
    moody: bool,
    /// The tick on which it traps.
    traps_at: Option<u64>,
    /// Whether it traps now and then.
    fragile: bool,
    /// Whether it takes more than it is given now and then.
    greedy: bool,
    /// Where every tick is noted that this instance is given, and its place there.
    seen: Option<(Seen, usize)>,
}

/// Numbers of the ticks that instances of a component were given, by instance.
pub(super) type Seen = std::sync::Arc<std::sync::Mutex<Vec<Vec<u64>>>>;

impl Keeper {
    fn new() -> Self {
        let metadata = Metadata { state_schema: 1, oldest_loadable_state: 1, ..Metadata::default() };
        Self { metadata, ..Self::default() }
    }

    pub(super) fn fresh() -> Box<dyn Strategy> {
        Box::new(Self::new())
    }

    /// One that decides otherwise when it is asked again.
    pub(super) fn moody() -> Box<dyn Strategy> {
        Box::new(Self { moody: true, ..Self::new() })
    }

    /// One that traps on this tick.
    pub(super) fn brittle(tick: u64) -> Box<dyn Strategy> {
        Box::new(Self { traps_at: Some(tick), ..Self::new() })
    }

    /// One that traps now and then, by what it remembers.
    pub(super) fn fragile() -> Box<dyn Strategy> {
        Box::new(Self { fragile: true, ..Self::new() })
    }

    /// One that now and then wants far more than a call may want, or runs out of fuel or memory.
    pub(super) fn greedy() -> Box<dyn Strategy> {
        Box::new(Self { greedy: true, ..Self::new() })
    }

    /// One that tells the test which ticks it was given.
    pub(super) fn watched(seen: &Seen, traps_at: Option<u64>) -> Box<dyn Strategy> {
        let mut instances = seen.lock().unwrap();
        instances.push(Vec::new());
        Box::new(Self { seen: Some((seen.clone(), instances.len() - 1)), traps_at, ..Self::new() })
    }

    /// One that asks for bars of one and of three seconds.
    pub(super) fn of_bars() -> Box<dyn Strategy> {
        let needs = DataNeeds { trades: true, bar_seconds: vec![3, 1], ..DataNeeds::default() };
        Box::new(Self { metadata: Metadata { needs, ..Metadata::default() }, ..Self::default() })
    }

    fn take_in(&mut self, what: &impl Serialize) {
        let mut bytes = self.memory.clone();
        ciborium::into_writer(what, &mut bytes).unwrap();
        self.memory = Digest::of(&bytes).as_bytes().to_vec();
    }

    /// The next number that the memory decides.
    fn draw(&self, place: usize, below: u64) -> u64 {
        u64::from(u16::from_le_bytes([self.memory[place * 2], self.memory[place * 2 + 1]])) % below
    }

    fn call(
        &mut self,
        input: &impl Serialize,
        wants_percent: u64,
        context: &TickContext,
        services: &mut Services,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        self.take_in(input);
        self.take_in(context);
        self.take_in(&services.books);
        self.take_in(&services.now);
        self.take_in(&services.kv_get("k").map(<[u8]>::to_vec));
        if self.fragile && self.draw(14, 25) == 0 {
            services.kv_set("spoiled", self.memory.clone()).unwrap();
            return Err(script::trap());
        }
        if self.greedy && self.draw(14, 25) == 0 {
            match self.draw(12, 4) {
                0 => return Err(script::trap_of(TrapKind::Fuel)),
                1 => return Err(script::trap_of(TrapKind::Memory)),
                _ => intents.extend((0..10_000).map(|id| buy(self.next_order + id, 1))),
            }
        }
        if self.draw(0, 4) == 0 {
            services.kv_set("k", self.memory.clone()).unwrap();
        }
        if self.draw(1, 5) == 0 {
            let drawn = services.random_next();
            self.take_in(&drawn);
        }
        let timer = self.draw(2, 3) as u32;
        let fires_at = UnixNanos(context.now.0 + self.draw(4, 3_000) * 1_000_000);
        match self.draw(3, 12) {
            0 => services.cancel_timer(timer),
            1 | 2 => assert!(services.set_timer(timer, fires_at)),
            _ => {}
        }
        if self.draw(5, 40) == 0 {
            return Err(Fault::NotReady.into());
        }
        if self.draw(6, 100) >= wants_percent {
            return Ok(());
        }
        for place in 8..9 + self.draw(7, 2) as usize {
            intents.push(self.intent(place));
        }
        if self.moody {
            intents.push(OrderIntent::Cancel(OrderId(7_777)));
        }
        Ok(())
    }

    fn intent(&mut self, place: usize) -> OrderIntent {
        let lots = 1 + self.draw(place + 2, 9) as i64;
        let price = 85 + self.draw(place + 4, 31) as i64;
        let earlier = OrderId(1 + self.draw(place + 2, self.next_order));
        match self.draw(place, 12) {
            0 | 1 => OrderIntent::Cancel(earlier),
            2 => {
                let limit = Some(PriceTicks(price));
                OrderIntent::Amend(AmendOrder { id: earlier, quantity: Lots(lots), limit })
            }
            3 => OrderIntent::CancelAll(X),
            kind => {
                let id = self.next_order;
                self.next_order += 1;
                let side = if self.draw(place + 3, 2) == 0 { Side::Buy } else { Side::Sell };
                let kind = if kind < 7 { OrderKind::Market } else { OrderKind::Limit(PriceTicks(price)) };
                OrderIntent::Submit(order(id, side, lots, kind))
            }
        }
    }
}

impl Strategy for Keeper {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn init(&mut self, session: &Session, services: &mut Box<Services>) -> Result<(), CallError> {
        self.next_order = session.next_order_id.0;
        self.take_in(&session.now);
        services.kv_set("began", session.now.0.to_le_bytes().to_vec()).unwrap();
        services.set_timer(9, UnixNanos(session.now.0 + 700_000_000));
        Ok(())
    }

    fn on_tick(
        &mut self,
        tick: &Tick,
        context: &TickContext,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        if let Some((seen, place)) = &self.seen {
            seen.lock().unwrap()[*place].push(tick.seq);
        }
        assert!(tick.seq != rig::UNTRUE && tick.last_price.0 > 0, "the strategy was shown {tick:?}");
        if self.traps_at == Some(tick.seq) {
            services.kv_set("spoiled", vec![1]).unwrap();
            return Err(script::trap());
        }
        self.call(tick, 60, context, services, intents)
    }

    fn on_event(
        &mut self,
        event: &StrategyEvent,
        context: &TickContext,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        self.call(event, 12, context, services, intents)
    }

    fn on_bar(
        &mut self,
        bar: &Bar,
        context: &TickContext,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        self.call(bar, 60, context, services, intents)
    }

    fn keeps_state(&self) -> bool {
        true
    }

    fn save(&mut self, _: &mut Box<Services>) -> Result<Option<StateSnapshot>, CallError> {
        Ok(Some(StateSnapshot { schema: 1, data: self.memory.clone() }))
    }

    fn load(&mut self, state: &StateSnapshot, _: &mut Box<Services>) -> Result<(), CallError> {
        self.memory.clone_from(&state.data);
        Ok(())
    }
}
