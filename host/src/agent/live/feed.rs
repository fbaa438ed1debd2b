//! The feed's thread: takes samples from files or a venue, shows them to the paper venue when it is
//! asked to, and hands them to the agents.

use super::clock::SystemClock;
use super::link::Link;
use super::pace::Pace;
use super::runner::AgentHandle;
use crate::agent::core::Event;
use crate::config::Pace as Speed;
use crate::market::{
    FileFeed, InstrumentId, Instruments, Merge, MonoNanos, PriceTicks, RowError, Sample, Tick, UnixNanos,
};
use crate::resilience::Classified;
use crate::venue::feed::PriceFeed;
use crate::venue::http::HttpVenue;
use crate::venue::paper::MarketTick;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// How far the feed has come, for a progress bar.
#[derive(Debug, Default)]
pub struct FeedProgress {
    samples: AtomicU64,
    faults: AtomicU64,
    event_time: AtomicU64,
    bytes: AtomicU64,
    broken: AtomicBool,
    stop: AtomicBool,
    stopped: Notify,
}

impl FeedProgress {
    /// Samples handed over so far.
    pub fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    /// Bytes of the recorded data read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether the data could not be read to its end.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Rows that were no samples.
    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    /// Time of the last sample, by the data's clock.
    pub fn event_time(&self) -> UnixNanos {
        UnixNanos(self.event_time.load(Ordering::Relaxed))
    }

    /// Asks the feed to end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.stopped.notify_one();
    }

    /// Whether the feed has been asked to end.
    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Who gets the samples of one instrument: the agent's number, its handle, and its own id for the instrument.
pub(super) struct Route {
    pub agent: usize,
    pub handle: AgentHandle,
    pub instrument: InstrumentId,
}

/// Everything the feed's thread works with.
pub(super) struct FeedRunner {
    /// By the instrument's number in the configuration.
    pub routes: Vec<Vec<Route>>,
    pub pace: Arc<Pace>,
    pub progress: Arc<FeedProgress>,
    pub clock: SystemClock,
    pub runtime: tokio::runtime::Handle,
    /// The paper venue that is shown every sample first.
    pub publish: Option<Publisher>,
    pub settle_max: Duration,
}

/// Shows samples to a paper venue.
pub(super) struct Publisher {
    pub market: HttpVenue,
    pub instruments: Arc<Instruments>,
    /// The venues whose agents may trade on it; accounts of one paper venue share its sequence.
    pub links: Vec<Arc<Link>>,
}

impl FeedRunner {
    /// Replays recorded samples, once the agents' books have been held against their venues. Instruments of the samples are numbers of the configuration.
    pub fn replay(&self, mut samples: Merge<FileFeed>, speed: Speed) {
        self.pace.wait_ready();
        let mut first: Option<(UnixNanos, MonoNanos)> = None;
        while let Some(sample) = samples.next() {
            if self.progress.is_stopping() || self.pace.all_stopped() {
                break;
            }
            match sample {
                Ok(Sample { tick, .. }) => {
                    if let Speed::Speed(times) = speed {
                        let start = *first.get_or_insert((tick.event_time, self.clock.now().mono));
                        self.wait_for(&tick, start, times);
                    }
                    self.publish(&tick);
                    self.hand_over(&tick);
                    self.progress.event_time.store(tick.event_time.0, Ordering::Relaxed);
                }
                Err(RowError::Dropped(fault)) => {
                    self.progress.faults.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(class = "data", "{fault}");
                    self.hand_over_dropped();
                }
                Err(RowError::Broken(error)) => {
                    tracing::error!(class = %error.class(), code = error.code(), "{error}");
                    self.progress.broken.store(true, Ordering::Relaxed);
                    break;
                }
            }
            self.progress.bytes.store(samples.bytes_read(), Ordering::Relaxed);
            self.progress.samples.fetch_add(1, Ordering::Relaxed);
            if speed == Speed::Lockstep {
                self.pace.settle(self.settle_max);
            }
        }
    }

    /// Takes a venue's prices as they come, until told to stop.
    pub fn live(&self, mut feed: PriceFeed) {
        self.pace.wait_ready();
        while !self.progress.is_stopping() && !self.pace.all_stopped() {
            let next = async {
                tokio::select! {
                    prices = feed.next() => Some(prices),
                    () = self.progress.stopped.notified() => None,
                }
            };
            let Some(prices) = self.runtime.block_on(next) else { continue };
            let prices = match prices {
                Ok(prices) => prices,
                Err(failure) => {
                    // The feed's age tells the agents; here it is only said.
                    tracing::warn!(class = %failure.class, code = %failure.code, "no prices: {failure}");
                    continue;
                }
            };
            for failure in &prices.dropped {
                self.progress.faults.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(class = %failure.class, code = %failure.code, "{failure}");
                self.hand_over_dropped();
            }
            for tick in &prices.ticks {
                self.hand_over(tick);
                self.progress.samples.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Waits until the data's own time, sped up, has come.
    fn wait_for(&self, tick: &Tick, (start, began): (UnixNanos, MonoNanos), times: u32) {
        let due = began.after(tick.event_time.since(start) / times.max(1));
        let now = self.clock.now().mono;
        if due > now {
            // Data that pauses over a weekend must not hold up an operator who wants to stop.
            self.runtime.block_on(async {
                tokio::select! {
                    () = tokio::time::sleep(due.since(now)) => {}
                    () = self.progress.stopped.notified() => {}
                }
            });
        }
    }

    fn publish(&self, tick: &Tick) {
        let Some(publisher) = &self.publish else { return };
        let Some(shown) = market_tick(&publisher.instruments, tick) else { return };
        let newest = match self.runtime.block_on(publisher.market.publish(&[shown])) {
            Ok(newest) => newest,
            Err(failure) => {
                tracing::error!(class = %failure.class, code = %failure.code, "{failure}");
                return;
            }
        };
        // A resting order was filled by this sample: the agents learn of it before they see the sample.
        for link in &publisher.links {
            if newest > link.cursor.load(Ordering::Acquire) {
                // One that fails is asked again by the link itself.
                let _ = self.runtime.block_on(link.poll_updates());
            }
        }
        self.pace.settle(self.settle_max);
    }

    fn hand_over(&self, tick: &Tick) {
        let position = usize::try_from(tick.instrument.0).unwrap_or(usize::MAX);
        for route in self.routes.get(position).into_iter().flatten() {
            self.pace.give(route.agent);
            let tick = Tick { instrument: route.instrument, ..*tick };
            if !route.handle.sample(Event::Sample(Ok(tick))) {
                self.pace.stop(route.agent);
            }
        }
    }

    fn hand_over_dropped(&self) {
        for route in self.routes.iter().flatten() {
            self.pace.give(route.agent);
            if !route.handle.sample(Event::Dropped) {
                self.pace.stop(route.agent);
            }
        }
    }
}

/// A sample as the paper venue is shown it: prices in units; what the sample leaves out stays as it was.
fn market_tick(instruments: &Instruments, tick: &Tick) -> Option<MarketTick> {
    let instrument = instruments.get(tick.instrument)?;
    let price = |ticks: PriceTicks| if ticks.0 > 0 { instrument.price(ticks) } else { None };
    Some(MarketTick {
        symbol: instrument.symbol.clone(),
        at: tick.event_time,
        last: price(tick.last_price),
        bid: price(tick.bid_price),
        ask: price(tick.ask_price),
    })
}
