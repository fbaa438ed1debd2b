//! A second major version, made up and tiny: what it takes to add one is what is in here, an adapter and its
//! bindings. Nothing outside of this file knows of it.

use super::guest::{Guest as Text, ZEROS};
use super::*;
use crate::market::{Bar, InstrumentId};
use crate::orders::{NewOrder, OrderId, OrderKind, OrderOptions, Side, StrategyEvent, TimeInForce};
use crate::plugin::adapters::{Adapter, Adapters, Guest, Linked, v1};
use crate::plugin::contract::{Contract, Exported};
use crate::plugin::instance::{BatchOutcome, Call, Intents};
use crate::plugin::store::StoreData;
use std::num::NonZeroI64;
use wasmtime::Store;
use wasmtime::component::{HasSelf, InstancePre, Linker};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

mod bindings {
    wasmtime::component::bindgen!({
        path: "src/plugin/tests/second.wit",
        imports: { default: trappable },
        include_component_type: true,
    });
}

use bindings::exports::ringfence::strategy::strategy as exports;

/// The same text, for the component.
const WIT: &str = include_str!("second.wit");

/// The adapter. In this version a strategy answers a price with the lots that it wants, and has nothing else.
struct V2(Contract);

impl Adapter for V2 {
    fn contract(&self) -> &Contract {
        &self.0
    }

    fn link_imports(&self, grants: &Grants, linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
        if !grants.has(Grant::Log) {
            return Ok(());
        }
        bindings::ringfence::strategy::log::add_to_linker::<_, HasSelf<_>>(linker, |data| data)
    }

    fn link(&self, pre: InstancePre<StoreData>, _: Exported) -> wasmtime::Result<Box<dyn Linked>> {
        Ok(Box::new(Component(exports::GuestIndices::new(&pre)?, pre)))
    }
}

impl bindings::ringfence::strategy::log::Host for StoreData {
    fn say(&mut self, number: i64) -> wasmtime::Result<()> {
        self.services.telemetry.log(LogLevel::Info, &number.to_string());
        Ok(())
    }
}

struct Component(exports::GuestIndices, InstancePre<StoreData>);

impl Linked for Component {
    fn instantiate(&self, store: &mut Store<StoreData>) -> wasmtime::Result<Box<dyn Guest>> {
        let instance = self.1.instantiate(&mut *store)?;
        Ok(Box::new(Exports(self.0.load(&mut *store, &instance)?)))
    }
}

struct Exports(exports::Guest);

impl Guest for Exports {
    fn describe(&self, call: Call<'_>) -> Result<Result<Metadata, MetadataError>, CallError> {
        let number = call.enter(|store| self.0.call_describe(store))?;
        Ok(Ok(Metadata {
            name: format!("second-{number}"),
            settings_schema: "{}".into(),
            ..Metadata::default()
        }))
    }

    fn init(&self, _: Call<'_>, _: &Session) -> Result<(), CallError> {
        Ok(())
    }

    fn on_tick(
        &self,
        call: Call<'_>,
        tick: &Tick,
        _: &TickContext,
        intents: Intents<'_>,
    ) -> Result<(), CallError> {
        let lots = call.enter(|store| self.0.call_on_price(store, tick.last_price.0))?;
        if let Some(lots) = NonZeroI64::new(lots) {
            intents.list.push(OrderIntent::Submit(NewOrder {
                id: OrderId(tick.seq),
                instrument: tick.instrument,
                side: if lots.is_positive() { Side::Buy } else { Side::Sell },
                quantity: Lots(lots.get().abs()),
                kind: OrderKind::Market,
                tif: TimeInForce::Ioc,
                options: OrderOptions::default(),
                tag: 0,
            }));
        }
        Ok(())
    }

    fn on_event(
        &self,
        _: Call<'_>,
        _: &StrategyEvent,
        _: &TickContext,
        _: Intents<'_>,
    ) -> Result<(), CallError> {
        Ok(())
    }

    fn on_bar(&self, _: Call<'_>, _: &Bar, _: &TickContext, _: Intents<'_>) -> Result<(), CallError> {
        Ok(())
    }

    fn run_batch(
        &self,
        _: Call<'_>,
        _: &[i64],
        _: u32,
        _: &TickContext,
        _: Intents<'_>,
    ) -> Result<BatchOutcome, CallError> {
        Err(CallError::Refused("this version has no batches".into()))
    }

    fn save(&self, _: Call<'_>, _: u32) -> Result<Option<StateSnapshot>, CallError> {
        Ok(None)
    }

    fn load(&self, _: Call<'_>, _: &StateSnapshot) -> Result<(), CallError> {
        Ok(())
    }

    fn stop(&self, _: Call<'_>, _: Intents<'_>) -> Result<(), CallError> {
        Ok(())
    }
}

/// A host of both versions.
fn sandbox() -> Sandbox {
    let adapters = Adapters::of(vec![
        Box::new(v1::V1::new().unwrap()),
        Box::new(V2(Contract::decode(bindings::COMPONENT_TYPE).unwrap())),
    ]);
    Sandbox::with(SandboxConfig::default(), adapters).unwrap()
}

/// A price at which the component never returns.
const ENDLESS: i64 = 13;

/// A component of version 2 that says each price and wants its half.
fn second(version: &str) -> Vec<u8> {
    let text = format!(
        "(module
            (import \"ringfence:strategy/log@{version}\" \"say\" (func $say (param i64)))
            (func (export \"ringfence:strategy/strategy@{version}#describe\") (result i32) (i32.const 7))
            (func (export \"ringfence:strategy/strategy@{version}#on-price\") (param i64) (result i64)
                (call $say (local.get 0))
                (if (i64.eq (local.get 0) (i64.const {ENDLESS})) (then (loop (br 0))))
                (i64.div_s (local.get 0) (i64.const 2))))"
    );
    let mut module = wat::parse_str(text).unwrap();
    let mut resolve = Resolve::default();
    let package = resolve.push_str("second.wit", &WIT.replace("@2.0.0", &format!("@{version}"))).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
}

#[test]
fn components_of_two_major_versions_run_side_by_side() {
    let sandbox = sandbox();
    let load = |bytes: &[u8]| sandbox.load(bytes, "test", None, &limits()).unwrap();
    let (first, second) = (load(&Text::default().build()), load(&second("2.0.0")));
    assert_eq!((first.wit_version(), second.wit_version()), ("1.0.0", "2.0.0"));
    assert_eq!((first.metadata().name.as_str(), second.metadata().name.as_str()), ("healthy", "second-7"));
    let (mut one, mut two) = (first.instantiate().unwrap(), second.instantiate().unwrap());
    assert_eq!(tick(&mut one), Ok(vec![]));
    let mut lent = services();
    let mut intents = Vec::new();
    let price =
        Tick { last_price: crate::market::PriceTicks(-8), instrument: InstrumentId(3), ..Tick::default() };
    two.on_tick(&price, &context(), &mut lent, &mut intents).unwrap();
    let [OrderIntent::Submit(order)] = intents[..] else { panic!("{intents:?}") };
    assert_eq!((order.side, order.quantity, order.instrument), (Side::Sell, Lots(4), InstrumentId(3)));
    assert_eq!(lent.telemetry.lines[0].text, "-8");
    assert!(two.fuel_used().unwrap() > 0, "what surrounds a call is the same for every version");
    assert_eq!(tick(&mut one), Ok(vec![]));
}

#[test]
fn a_budget_ends_a_call_of_any_version() {
    let plugin = sandbox().load(&second("2.0.0"), "test", None, &limits()).unwrap();
    let mut two = plugin.instantiate().unwrap();
    assert_eq!(tick(&mut two), Ok(vec![]));
    let price = Tick { last_price: crate::market::PriceTicks(ENDLESS), ..Tick::default() };
    assert_eq!(kind(two.on_tick(&price, &context(), &mut services(), &mut Vec::new())), TrapKind::Fuel);
    assert_eq!(tick(&mut two), Err(CallError::Dead));
}

#[test]
fn a_component_of_no_version_is_told_of_every_one() {
    let error = sandbox().load(&second("3.0.0"), "test", None, &limits()).unwrap_err();
    let takes = |error: &PluginError| match error {
        PluginError::Contract { mismatches, .. } => {
            let majors = mismatches.iter().filter_map(|found| match found {
                Mismatch::Major { takes, .. } => Some(*takes),
                _ => None,
            });
            majors.collect::<Vec<_>>()
        }
        other => panic!("expected mismatches, found {other}"),
    };
    assert_eq!(takes(&error), [2, 2, 1, 1], "{error}");
    // Without the second version, its component is told of the first.
    let error = SANDBOX.load(&second("2.0.0"), "test", None, &limits()).unwrap_err();
    assert_eq!(takes(&error), [1, 1], "{error}");
}

#[test]
fn a_difference_within_a_version_is_said_in_its_terms() {
    let functions = vec!["describe", "init", "strategy-tick", "on-event"];
    let wit = guest::WIT.replace("  stop: func() -> list<order-intent>;\n", "");
    let text = Text { wit, functions, stop: format!("i32.const {ZEROS}"), ..Text::default() };
    let error = sandbox().load(&text.build(), "test", None, &limits()).unwrap_err();
    let expected = "test: the component does not fit this host
  - the export ringfence:strategy/strategy@1.0.0 lacks the function stop";
    assert_eq!(error.to_string(), expected);
}
