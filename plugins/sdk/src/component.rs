//! The exports of a component, on top of [`Runner`].

use crate::bindings::exports::ringfence::strategy as exports;
use crate::bindings::ringfence::strategy::types;
use crate::runner::Opening;
pub use crate::runner::Runner;
use crate::{Intent, OrderId, Strategy, UnixNanos, log};
use std::marker::PhantomData;

/// Where [`crate::export!`] keeps the one instance of a component.
pub trait Instance {
    /// The author's strategy.
    type Strategy: Strategy;

    /// Lends the instance out. The host never calls a component while it is in a call.
    fn with<R>(run: impl FnOnce(&mut Runner<Self::Strategy>) -> R) -> R;
}

/// Implements the exported interfaces for an [`Instance`].
pub struct Exports<I>(PhantomData<I>);

impl<I: Instance> exports::strategy::Guest for Exports<I> {
    fn describe() -> types::Metadata {
        log_panics();
        I::Strategy::describe().into()
    }

    fn init(session: types::Session) -> Result<(), types::Fault> {
        log_panics();
        let settings = session.settings.into_iter();
        I::with(|runner| {
            runner.init(Opening {
                run_id: session.run_id,
                seed: session.seed,
                now: UnixNanos(session.now),
                next_order_id: OrderId(session.next_order_id),
                instruments: session.instruments.into_iter().map(Into::into).collect(),
                settings: settings.map(|setting| (setting.key, setting.value.into())).collect(),
                live: session.live,
            })
        })
    }

    #[inline]
    fn strategy_tick(
        tick: types::Tick,
        context: types::TickContext,
    ) -> Result<Vec<types::OrderIntent>, types::Fault> {
        I::with(|runner| runner.tick(&tick.into(), &context.into())).map(lower)
    }

    fn on_event(
        event: types::Event,
        context: types::TickContext,
    ) -> Result<Vec<types::OrderIntent>, types::Fault> {
        I::with(|runner| runner.event(&event.into(), &context.into())).map(lower)
    }

    fn stop() -> Vec<types::OrderIntent> {
        lower(I::with(Runner::stop))
    }
}

impl<I: Instance> exports::state::Guest for Exports<I> {
    fn save() -> Result<exports::state::Snapshot, types::Fault> {
        I::with(|runner| runner.save()).map(|(schema, data)| exports::state::Snapshot { schema, data })
    }

    fn load(previous: exports::state::Snapshot) -> Result<(), types::Fault> {
        I::with(|runner| runner.load(previous.schema, &previous.data))
    }
}

impl<I: Instance> exports::bars::Guest for Exports<I> {
    fn on_bar(bar: types::Bar, context: types::TickContext) -> Result<Vec<types::OrderIntent>, types::Fault> {
        I::with(|runner| runner.bar(&bar.into(), &context.into())).map(lower)
    }
}

impl<I: Instance> exports::batch::Guest for Exports<I> {
    fn run(rows: Vec<i64>, context: types::TickContext) -> exports::batch::Outcome {
        let outcome = I::with(|runner| runner.batch(&rows, &context.into()));
        exports::batch::Outcome {
            consumed: u32::try_from(outcome.consumed).unwrap_or(u32::MAX),
            intents: lower(outcome.intents),
            fault: outcome.fault,
        }
    }
}

#[inline]
fn lower(intents: Vec<Intent>) -> Vec<types::OrderIntent> {
    // Nearly every tick asks for nothing, and this path then allocates nothing.
    if intents.is_empty() { Vec::new() } else { intents.into_iter().map(Into::into).collect() }
}

/// Says in the log why the instance is about to trap; the trap itself carries no words.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let words = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        log::write(log::Level::Error, &format!("panic at {place}: {words}"));
    }));
}

/// Makes a component of a type that implements [`Strategy`]: one line per crate.
///
/// It does nothing in a native build but check the type, so that several strategies can be linked into one
/// native program.
#[macro_export]
macro_rules! export {
    ($strategy:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            ::std::thread_local! {
                static RUNNER: ::std::cell::RefCell<$crate::component::Runner<$strategy>> =
                    const { ::std::cell::RefCell::new($crate::component::Runner::new()) };
            }

            struct Component;

            impl $crate::component::Instance for Component {
                type Strategy = $strategy;

                #[inline]
                fn with<R>(run: impl FnOnce(&mut $crate::component::Runner<$strategy>) -> R) -> R {
                    RUNNER.with_borrow_mut(run)
                }
            }

            type Exports = $crate::component::Exports<Component>;
    $crate::bindings::export_bindings!(Exports with_types_in $crate::bindings);
        };

        #[cfg(not(target_arch = "wasm32"))]
        const _: $crate::component::Runner<$strategy> = $crate::component::Runner::new();
    };
}
