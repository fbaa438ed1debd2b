//! A strategy that minds its own business on a thread of its own while another is attacked from within.

use crate::attack::{SANDBOX, limits};
use crate::guest::{FREE, Guest, words};
use ringfence::market::{Instruments, Lots, Tick, UnixNanos};
use ringfence::orders::{Books, Mode, OrderIntent};
use ringfence::plugin::{Plugin, Services, Strategy as _, TickContext};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;

/// A running neighbour.
pub struct Neighbour {
    ticks: Arc<AtomicU64>,
    leave: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// It orders as many lots as the tick's number says, so that a wrong answer shows.
static PLUGIN: LazyLock<Plugin> = LazyLock::new(|| {
    let more = format!("(data (i32.const 256) \"{}\")", words(&[0, FREE, 1]));
    let tick = format!("(i64.store (i32.const {}) (local.get 1)) (i32.const 256)", FREE + 24);
    let guest = Guest { more, tick, ..Guest::default() };
    SANDBOX.load(&guest.build(), "neighbour", None, &limits()).unwrap()
});

impl Neighbour {
    /// Lets it run, and returns when it has ticked.
    pub fn start() -> Self {
        let (ticks, leave) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let thread = std::thread::spawn({
            let (ticks, leave) = (Arc::clone(&ticks), Arc::clone(&leave));
            move || trade(&ticks, &leave)
        });
        let neighbour = Self { ticks, leave, thread };
        neighbour.wait_for(1);
        neighbour
    }

    /// How many ticks it has had.
    pub fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::SeqCst)
    }

    /// Returns when it has had this many.
    pub fn wait_for(&self, ticks: u64) {
        while self.ticks() < ticks {
            assert!(!self.thread.is_finished(), "the neighbour has stopped");
            std::thread::yield_now();
        }
    }

    /// Sends it away. A call of it that was refused, ended or answered wrongly is a failure here.
    pub fn leave(self) {
        self.leave.store(true, Ordering::SeqCst);
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

fn trade(ticks: &AtomicU64, leave: &AtomicBool) {
    let mut strategy = PLUGIN.instantiate().unwrap();
    let mut services = Box::new(Services::new(Books::default(), Arc::new(Instruments::default()), 7));
    let mut intents = Vec::new();
    for seq in 1_i64.. {
        let tick = Tick { seq: seq.cast_unsigned(), ..Tick::default() };
        let context = TickContext {
            now: UnixNanos(tick.seq),
            position: Lots(0),
            open_orders: 0,
            intents_left: 64,
            mode: Mode::Full,
        };
        intents.clear();
        strategy.on_tick(&tick, &context, &mut services, &mut intents).unwrap();
        let [OrderIntent::Submit(order)] = intents.as_slice() else {
            panic!("one order expected: {intents:?}")
        };
        assert_eq!(order.quantity, Lots(seq));
        ticks.store(tick.seq, Ordering::SeqCst);
        if leave.load(Ordering::SeqCst) {
            return;
        }
    }
}
