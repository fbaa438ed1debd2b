//! What a component may import: log, metrics, clock, random, account and kv, on top of the [`Services`]
//! that the core lends for one call.

use super::bindings::ringfence::strategy as wit;
use super::convert;
use crate::market::{InstrumentId, Money, UnixNanos};
use crate::plugin::store::StoreData;
use crate::plugin::trap::LimitHit;
use crate::plugin::{KvError, LogLevel, MetricKind, Services};
use rust_decimal::Decimal;
use wasmtime::Result;

impl wit::types::Host for StoreData {}

impl From<wit::log::Level> for LogLevel {
    fn from(level: wit::log::Level) -> Self {
        match level {
            wit::log::Level::Trace => Self::Trace,
            wit::log::Level::Debug => Self::Debug,
            wit::log::Level::Info => Self::Info,
            wit::log::Level::Warn => Self::Warn,
            wit::log::Level::Error => Self::Error,
        }
    }
}

impl wit::log::Host for StoreData {
    fn enabled(&mut self, at: wit::log::Level) -> Result<bool> {
        let least = self.call()?.telemetry.level;
        Ok(least.is_none_or(|least| LogLevel::from(at) >= least))
    }

    fn write(&mut self, at: wit::log::Level, message: String) -> Result<()> {
        self.call()?.telemetry.log(at.into(), &message);
        Ok(())
    }
}

impl wit::metrics::Host for StoreData {
    fn register(&mut self, name: String, kind: wit::metrics::Kind) -> Result<u32> {
        let kind = match kind {
            wit::metrics::Kind::Counter => MetricKind::Counter,
            wit::metrics::Kind::Gauge => MetricKind::Gauge,
            wit::metrics::Kind::Histogram => MetricKind::Histogram,
        };
        Ok(self.call()?.telemetry.register(&name, kind))
    }

    fn observe(&mut self, id: u32, value: f64) -> Result<()> {
        self.call()?.telemetry.observe(id, value);
        Ok(())
    }
}

impl wit::clock::Host for StoreData {
    fn now(&mut self) -> Result<u64> {
        Ok(self.call()?.now.0)
    }

    fn set_timer(&mut self, id: u32, at: u64) -> Result<()> {
        let services = self.call()?;
        if !services.set_timer(id, UnixNanos(at)) {
            // The contract gives no answer here, so the log does.
            let max = services.limits().timers_max;
            let line = format!("timer {id} was not set: a strategy has at most {max} (limit timers_max)");
            services.telemetry.log(LogLevel::Warn, &line);
        }
        Ok(())
    }

    fn cancel_timer(&mut self, id: u32) -> Result<()> {
        self.call()?.cancel_timer(id);
        Ok(())
    }
}

impl wit::random::Host for StoreData {
    fn next(&mut self) -> Result<u64> {
        Ok(self.call()?.random_next())
    }
}

fn decimal(what: &'static str, value: Decimal) -> Result<wit::types::Decimal> {
    Ok(convert::decimal_nearest(value).ok_or(LimitHit::Number(what))?)
}

impl wit::account::Host for StoreData {
    fn cash(&mut self) -> Result<wit::types::Decimal> {
        decimal("cash", self.call()?.books.cash().decimal())
    }

    fn equity(&mut self) -> Result<wit::types::Decimal> {
        let services = self.call()?;
        let equity = equity(services).ok_or(LimitHit::Number("equity"))?;
        decimal("equity", equity.decimal())
    }

    fn position(&mut self, instrument: u32) -> Result<wit::account::Holding> {
        let services = self.call()?;
        let id = InstrumentId(instrument);
        let holding = services.books.holding(id);
        let average = holding.average_price(&services.instruments, id).unwrap_or_default();
        let unrealized = services.books.unrealized(&services.instruments, id).unwrap_or_default();
        Ok(wit::account::Holding {
            quantity: holding.quantity.0,
            average_price: decimal("average price", average)?,
            unrealized: decimal("unrealized profit", unrealized.decimal())?,
            realized: decimal("realized profit", holding.realized.decimal())?,
        })
    }

    fn open_orders(&mut self, instrument: u32) -> Result<Vec<wit::account::WorkingOrder>> {
        let working = self.call()?.books.working();
        let of_instrument = working.iter().filter(|(_, order)| order.instrument.0 == instrument);
        let orders = of_instrument.map(|(id, order)| wit::account::WorkingOrder {
            id: id.0,
            instrument,
            side: convert::side_out(order.side),
            leaves: order.leaves.0,
            limit: order.limit.map(|limit| limit.0),
        });
        Ok(orders.collect())
    }
}

/// Cash plus every position at its last price, or at its cost before it has one.
fn equity(services: &Services) -> Option<Money> {
    let books = &services.books;
    books.holdings().try_fold(books.cash(), |sum, (id, holding)| {
        let profit = books.unrealized(&services.instruments, id).unwrap_or_default();
        sum.checked_add(holding.cost)?.checked_add(profit)
    })
}

impl From<KvError> for wit::kv::KvError {
    fn from(error: KvError) -> Self {
        match error {
            KvError::Quota => Self::Quota,
            KvError::TooLarge => Self::TooLarge,
        }
    }
}

impl wit::kv::Host for StoreData {
    fn get(&mut self, key: String) -> Result<Option<Vec<u8>>> {
        Ok(self.call()?.kv_get(&key).map(<[u8]>::to_vec))
    }

    fn set(&mut self, key: String, value: Vec<u8>) -> Result<std::result::Result<(), wit::kv::KvError>> {
        Ok(self.call()?.kv_set(&key, value).map_err(Into::into))
    }

    fn delete(&mut self, key: String) -> Result<std::result::Result<(), wit::kv::KvError>> {
        Ok(self.call()?.kv_delete(&key).map_err(Into::into))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{Instrument, InstrumentKind, Instruments, Lots, PriceTicks, Tick};
    use crate::orders::{Books, OrderId, Side};
    use crate::plugin::SandboxLimits;
    use crate::plugin::store::HostCalls;
    use std::sync::Arc;
    use wit::account::Host as _;

    fn data() -> StoreData {
        let instruments = Instruments::new(vec![Instrument {
            symbol: "X".into(),
            venue: "test".into(),
            kind: InstrumentKind::Spot,
            quote_currency: "USD".into(),
            multiplier: Decimal::ONE,
            tick_size: Decimal::ONE,
            lot_size: Decimal::ONE,
            min_lots: Lots(1),
            max_lots: Lots(100),
        }])
        .unwrap();
        let books = Books::new(Money::new(Decimal::from(1_000)), 1);
        let mut data = StoreData::new(
            &SandboxLimits::default(),
            &wasmtime_wasi::filesystem::WasiFilesystemCtx::default(),
        );
        data.services = Box::new(Services::new(books, Arc::new(instruments), 1));
        data.host_calls = HostCalls::new(100);
        data
    }

    #[test]
    fn a_position_without_a_price_counts_at_its_cost() {
        let mut data = data();
        let instruments = Arc::clone(&data.services.instruments);
        let bought = (OrderId(1), InstrumentId(0), Side::Buy);
        data.services.books.fill(&instruments, bought, Lots(3), PriceTicks(10), Money::ZERO).unwrap();
        let equity = data.equity().unwrap();
        assert_eq!((equity.coefficient, equity.scale), (1_000, 0));
        data.services.books.mark(&Tick { last_price: PriceTicks(12), ..Tick::default() });
        assert_eq!(data.equity().unwrap().coefficient, 1_006);
        let holding = data.position(0).unwrap();
        assert_eq!((holding.quantity, holding.average_price.coefficient), (3, 10));
        assert_eq!(holding.unrealized.coefficient, 6);
    }

    #[test]
    fn every_host_call_counts_and_the_one_beyond_the_cap_traps() {
        let mut data = data();
        data.host_calls = HostCalls::new(2);
        data.cash().unwrap();
        data.cash().unwrap();
        let error = data.cash().unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(LimitHit::HostCalls { max: 2 })), "{error:?}");
    }

    #[test]
    fn an_unknown_instrument_is_flat_and_has_no_orders() {
        let mut data = data();
        assert_eq!(data.position(9).unwrap().quantity, 0);
        assert!(data.open_orders(9).unwrap().is_empty());
    }
}
