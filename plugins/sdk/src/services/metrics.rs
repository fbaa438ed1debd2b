//! A strategy's own metrics, shown beside the host's.

use super::backend;
use crate::bindings::ringfence::strategy::metrics::Kind;

/// A registered metric. Register in `init` and keep it; the host drops values that are not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric(u32);

/// A number that only grows; each value is what it grew by.
pub fn counter(name: &str) -> Metric {
    Metric(backend::metrics::register(name, Kind::Counter))
}

/// A number that goes up and down.
pub fn gauge(name: &str) -> Metric {
    Metric(backend::metrics::register(name, Kind::Gauge))
}

/// A number whose distribution matters.
pub fn histogram(name: &str) -> Metric {
    Metric(backend::metrics::register(name, Kind::Histogram))
}

impl Metric {
    /// Reports one value.
    pub fn observe(self, value: f64) {
        backend::metrics::observe(self.0, value);
    }
}
