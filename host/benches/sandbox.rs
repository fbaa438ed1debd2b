//! One tick through the sandbox against the bare call below it and a native strategy above it.
//!
//! `cargo bench -p ringfence --bench sandbox`; the figures to compare are `on_tick` and `bare_tick`: what
//! the host adds to a typed component call with the same flags and the same arming of the store.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run has nothing to say")]

use divan::{Bencher, black_box};
use ringfence::market::{InstrumentId, Instruments, Lots, Marks, PriceTicks, Tick, UnixNanos};
use ringfence::orders::{Books, Mode, OrderId, OrderIntent, StrategyEvent};
use ringfence::plugin::{
    CallError, Compiler, ComponentStrategy, Metadata, Sandbox, SandboxConfig, SandboxLimits, Services,
    Session, Strategy, TickContext, batch_row,
};
use std::sync::Arc;
use wasmtime::component::{Component, HasSelf, Instance, Linker};
use wasmtime::{Config, Engine, Store};

#[path = "../src/plugin/tests/guest.rs"]
mod guest;

mod wit {
    wasmtime::component::bindgen!({ path: "../wit/v1", world: "full-strategy-plugin" });
}

use guest::{FREE, Guest, words};

fn main() {
    divan::main();
}

fn tick() -> Tick {
    Tick {
        instrument: InstrumentId(0),
        seq: 1,
        event_time: UnixNanos(1_723_161_600_000_000_000),
        bid_price: PriceTicks(6_000_000),
        bid_size: Lots(10),
        ask_price: PriceTicks(6_000_010),
        ask_size: Lots(12),
        last_price: PriceTicks(6_000_005),
        last_size: Lots(1),
        volume: Lots(1),
        marks: Marks::TRADE.with(Marks::QUOTE),
    }
}

fn context() -> TickContext {
    TickContext {
        now: UnixNanos(1_723_161_600_000_000_000),
        position: Lots(0),
        open_orders: 0,
        intents_left: 64,
        mode: Mode::Full,
    }
}

fn services() -> Box<Services> {
    Box::new(Services::new(Books::default(), Arc::new(Instruments::default()), 1))
}

/// A guest that returns this many intents from each tick, and consumes whole batches.
fn component(intents: u32) -> Vec<u8> {
    let more = format!(
        "(data (i32.const 256) \"{}\")
         (func (export \"ringfence:strategy/state@1.0.0#save\") (result i32) unreachable)
         (func (export \"ringfence:strategy/state@1.0.0#load\") (param i32 i32 i32) (result i32) unreachable)
         (func (export \"ringfence:strategy/bars@1.0.0#on-bar\")
            (param i32 i64 i32 i64 i64 i64 i64 i64 i32 i64 i64 i32 i32 i32) (result i32) unreachable)
         (func (export \"ringfence:strategy/batch@1.0.0#run\")
            (param i32 i32 i64 i64 i32 i32 i32) (result i32)
            (global.set $heap (i32.const 4096))
            (i32.store (i32.const 384) (i32.div_u (local.get 1) (i32.const 11))) (i32.const 384))",
        words(&[0, FREE, intents])
    );
    let tick = "i32.const 256".into();
    Guest { world: "full-strategy-plugin", pages: 16, more, tick, ..Guest::default() }.build()
}

fn strategy(intents: u32) -> ComponentStrategy {
    let sandbox =
        Sandbox::new(SandboxConfig { compiler: Compiler::InProcess, ..SandboxConfig::default() }).unwrap();
    let limits = SandboxLimits::default();
    sandbox.load(&component(intents), "bench", None, &limits).unwrap().instantiate().unwrap()
}

/// An engine with the flags of the sandbox.
fn engine() -> Engine {
    let mut config = Config::new();
    config.consume_fuel(true).epoch_interruption(true).cranelift_nan_canonicalization(true);
    config.max_wasm_stack(256 << 10);
    Engine::new(&config).unwrap()
}

struct Host;

impl wit::ringfence::strategy::types::Host for Host {}

fn bare(bytes: &[u8]) -> (Store<Host>, Instance) {
    let engine = engine();
    let mut linker = Linker::new(&engine);
    wit::ringfence::strategy::types::add_to_linker::<_, HasSelf<_>>(&mut linker, |host: &mut Host| host)
        .unwrap();
    let component = Component::from_binary(&engine, bytes).unwrap();
    let mut store = Store::new(&engine, Host);
    arm(&mut store);
    let instance = linker.instantiate(&mut store, &component).unwrap();
    (store, instance)
}

fn arm(store: &mut Store<Host>) {
    store.set_fuel(10_000_000).unwrap();
    store.set_hostcall_fuel(128 << 10);
    store.set_epoch_deadline(101);
}

/// A component call with nothing to carry.
#[divan::bench(sample_size = 2_000)]
fn bare_nop(bencher: Bencher<'_, '_>) {
    let text = "(component
        (core module $m (func (export \"f\")))
        (core instance $i (instantiate $m))
        (func (export \"nop\") (canon lift (core func $i \"f\"))))";
    let (mut store, instance) = bare(&wat::parse_str(text).unwrap());
    let nop = instance.get_typed_func::<(), ()>(&mut store, "nop").unwrap();
    bencher.bench_local(|| {
        arm(&mut store);
        nop.call(&mut store, ()).unwrap();
    });
}

/// The call that the sandbox makes for a tick, without the sandbox.
#[divan::bench(args = [0, 1], sample_size = 2_000)]
fn bare_tick(bencher: Bencher<'_, '_>, intents: u32) {
    use wit::ringfence::strategy::types as t;
    let (mut store, instance) = bare(&component(intents));
    let interface = instance.get_export_index(&mut store, None, "ringfence:strategy/strategy@1.0.0").unwrap();
    let function = instance.get_export_index(&mut store, Some(&interface), "strategy-tick").unwrap();
    let call = instance
        .get_typed_func::<(t::Tick, t::TickContext), (Result<Vec<t::OrderIntent>, t::Fault>,)>(
            &mut store, function,
        )
        .unwrap();
    let seen = tick();
    let given = t::Tick {
        instrument: 0,
        seq: seen.seq,
        event_time: seen.event_time.0,
        bid_price: seen.bid_price.0,
        bid_size: seen.bid_size.0,
        ask_price: seen.ask_price.0,
        ask_size: seen.ask_size.0,
        last_price: seen.last_price.0,
        last_size: seen.last_size.0,
        volume: seen.volume.0,
        marks: t::TickMarks::TRADE | t::TickMarks::QUOTE,
    };
    let context =
        t::TickContext { now: 1, position: 0, open_orders: 0, intents_left: 64, mode: t::Mode::Full };
    bencher.bench_local(|| {
        arm(&mut store);
        call.call(&mut store, (black_box(given), black_box(context))).unwrap().0.unwrap().len()
    });
}

/// One tick through the sandbox, as the core calls it.
#[divan::bench(args = [0, 1], sample_size = 2_000)]
fn on_tick(bencher: Bencher<'_, '_>, intents: u32) {
    let mut strategy: Box<dyn Strategy> = Box::new(strategy(intents));
    drive(bencher, &mut *strategy);
}

/// The same tick into a native strategy.
#[divan::bench(sample_size = 2_000)]
fn native_tick(bencher: Bencher<'_, '_>) {
    let mut strategy: Box<dyn Strategy> = Box::new(Native(Metadata::default()));
    drive(bencher, black_box(&mut *strategy));
}

fn drive(bencher: Bencher<'_, '_>, strategy: &mut dyn Strategy) {
    let (tick, context, mut services) = (tick(), context(), services());
    let mut intents = Vec::with_capacity(64);
    bencher.bench_local(|| {
        intents.clear();
        strategy.on_tick(black_box(&tick), black_box(&context), &mut services, &mut intents).unwrap();
        intents.len()
    });
}

/// Ticks in one crossing; divide by the number of rows.
#[divan::bench(args = [8, 64, 1024])]
fn batch(bencher: Bencher<'_, '_>, rows: usize) {
    let mut strategy = strategy(0);
    let (tick, context, mut services) = (tick(), context(), services());
    let (mut packed, mut intents) = (Vec::with_capacity(rows * 11), Vec::new());
    bencher.counter(divan::counter::ItemsCount::new(rows)).bench_local(|| {
        packed.clear();
        for _ in 0..rows {
            packed.extend_from_slice(&batch_row(black_box(&tick)));
        }
        strategy.run_batch(&packed, &context, &mut services, &mut intents).unwrap()
    });
}

/// A fresh instance from a loaded plugin.
#[divan::bench(sample_size = 20)]
fn instantiate(bencher: Bencher<'_, '_>) {
    let plugin = strategy(0).plugin().clone();
    bencher.bench_local(|| plugin.instantiate().unwrap());
}

struct Native(Metadata);

impl Strategy for Native {
    fn metadata(&self) -> &Metadata {
        &self.0
    }

    fn init(&mut self, _: &Session, _: &mut Box<Services>) -> Result<(), CallError> {
        Ok(())
    }

    fn on_tick(
        &mut self,
        tick: &Tick,
        _: &TickContext,
        _: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        if tick.last_price.0 < 0 {
            intents.push(OrderIntent::Cancel(OrderId(1)));
        }
        Ok(())
    }

    fn on_event(
        &mut self,
        _: &StrategyEvent,
        _: &TickContext,
        _: &mut Box<Services>,
        _: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        Ok(())
    }
}
