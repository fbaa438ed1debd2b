//! The numbers as Prometheus reads them.
//!
//! Everything that is counted is counted by the agents themselves; a scrape writes down what they say. So nothing
//! is registered, and nothing outlives the answer.

use super::server::{Control, Served};
use crate::agent::live::{AgentView, HostControl};
use crate::orders::Mode;
use crate::resilience::{BreakerState, BreakerStats};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use metrics::{counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::PrometheusBuilder;
use rust_decimal::prelude::ToPrimitive as _;
use std::sync::Arc;

pub(super) async fn show(Control(control): Control, State(served): State<Arc<Served>>) -> Response {
    let agents = control.views(served.look_timeout).await;
    let text = render(&control, &agents);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

fn render(control: &HostControl, agents: &[AgentView]) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        describe();
        agents.iter().for_each(agent);
        for (venue, gate) in control.gates() {
            breaker(&venue, "write", gate.write_state, &gate.write);
            breaker(&venue, "read", gate.read_state, &gate.read);
            counter!("ringfence_rate_limited_total", "venue" => venue.clone()).absolute(gate.rate_limited);
            counter!("ringfence_retry_budget_refused_total", "venue" => venue).absolute(gate.budget_refused);
        }
        let journal = control.journal();
        gauge!("ringfence_journal_segments").set(as_float(journal.segments));
        counter!("ringfence_journal_last_record").absolute(journal.last_record);
        gauge!("ringfence_journal_failed").set(if journal.failure.is_some() { 1.0 } else { 0.0 });
        counter!("ringfence_recordings_lost_total").absolute(control.recordings_lost());
        let letters = control.letter_counts();
        gauge!("ringfence_dead_letters", "state" => "dead").set(as_float(letters.dead));
        gauge!("ringfence_dead_letters", "state" => "ambiguous").set(as_float(letters.ambiguous));
    });
    recorder.handle().render()
}

/// A counter of an agent: its name, what it counts, and where that is.
type Counter = (&'static str, &'static str, fn(&AgentView) -> u64);

const COUNTERS: &[Counter] = &[
    ("ringfence_ticks_total", "Samples that reached the strategy.", |a| a.stats.ticks),
    ("ringfence_samples_dropped_total", "Samples that were none.", |a| a.stats.samples_dropped),
    ("ringfence_calls_total", "Calls into the strategy.", |a| a.stats.calls),
    ("ringfence_intents_total", "Intents of the strategy.", |a| a.stats.intents),
    ("ringfence_orders_total", "Orders to be sent.", |a| a.stats.orders),
    ("ringfence_suppressed_total", "Intents that the mode held back.", |a| a.stats.suppressed),
    ("ringfence_refused_total", "Intents that the risk gate refused.", |a| a.stats.refused),
    ("ringfence_attempts_total", "Attempts to send.", |a| a.stats.attempts),
    ("ringfence_retries_total", "Attempts after the first.", |a| a.stats.retries),
    ("ringfence_fills_total", "Fills.", |a| a.stats.fills),
    ("ringfence_rejected_total", "Orders that the venue refused.", |a| a.stats.rejected),
    ("ringfence_dead_letters_total", "Intents that were given up on.", |a| a.stats.dead_letters),
    ("ringfence_traps_total", "Calls that the sandbox ended.", |a| a.stats.traps),
    ("ringfence_faults_total", "Calls that the strategy refused.", |a| a.stats.faults),
    ("ringfence_strikes_total", "Failures that cost the instance.", |a| a.stats.strikes),
    ("ringfence_restarts_total", "New instances after a failure.", |a| a.stats.restarts),
    ("ringfence_quarantines_total", "Times that the strategy was quarantined.", |a| a.stats.quarantines),
    ("ringfence_swaps_total", "Components that took over.", |a| a.stats.swaps),
    ("ringfence_swaps_refused_total", "Candidates that did not take over.", |a| a.stats.swaps_refused),
    ("ringfence_rollbacks_total", "Components that came back.", |a| a.stats.rollbacks),
    ("ringfence_shadow_calls_total", "Calls into candidates beside the strategy.", |a| a.stats.shadow_calls),
    ("ringfence_shadow_differences_total", "Those that a candidate answered otherwise.", |a| {
        a.stats.shadow_differences
    }),
    ("ringfence_mode_changes_total", "Changes of the mode.", |a| a.stats.mode_changes),
    ("ringfence_checkpoints_total", "Checkpoints written.", |a| a.stats.checkpoints),
    ("ringfence_fuel_total", "Instructions of all calls.", |a| a.stats.fuel_total),
];

const MODES: [Mode; 4] = [Mode::Full, Mode::ReadOnly, Mode::Observation, Mode::Shutdown];

fn describe() {
    describe_counter!("ringfence_recordings_lost_total", "Stretches of calls that no recording holds.");
    for (name, help, _) in COUNTERS {
        describe_counter!(*name, *help);
    }
    describe_gauge!("ringfence_fuel_max", "Instructions of the costliest call.");
    describe_gauge!("ringfence_mode", "1 for the mode that the agent is in.");
    describe_gauge!("ringfence_strategy", "1 for what the strategy is doing.");
    describe_gauge!("ringfence_strikes", "Failures of the strategy within the window.");
    describe_gauge!(
        "ringfence_equity",
        "Cash and positions at their last prices; absent while a price is unknown."
    );
    describe_gauge!("ringfence_component", "1 for the component that runs.");
    describe_gauge!("ringfence_agent_answers", "Whether the agent answered the scrape.");
    describe_gauge!("ringfence_open_intents", "Intents that have not come to an end.");
    describe_gauge!("ringfence_breaker_closed", "Whether the venue's breaker lets everything pass.");
    describe_counter!("ringfence_breaker_trips_total", "Times that it opened.");
    describe_counter!("ringfence_breaker_refused_total", "Calls that it refused.");
    describe_counter!("ringfence_breaker_failures_total", "Calls that failed.");
    describe_counter!("ringfence_breaker_successes_total", "Calls that succeeded.");
    describe_counter!("ringfence_rate_limited_total", "Calls that the rate limit refused.");
    describe_counter!("ringfence_retry_budget_refused_total", "Retries that the budget refused.");
    describe_gauge!("ringfence_journal_segments", "Files of the journal.");
    describe_counter!("ringfence_journal_last_record", "Number of the last durable record.");
    describe_gauge!("ringfence_journal_failed", "Whether the journal takes no more records.");
    describe_gauge!("ringfence_dead_letters", "Dead letters that wait for an operator.");
}

fn agent(agent: &AgentView) {
    let name = agent.name.to_string();
    for (metric, _, of) in COUNTERS {
        counter!(*metric, "agent" => name.clone()).absolute(of(agent));
    }
    let shown = |is: bool| if is { 1.0 } else { 0.0 };
    for mode in MODES {
        gauge!("ringfence_mode", "agent" => name.clone(), "mode" => mode.name())
            .set(shown(mode == agent.mode));
    }
    gauge!("ringfence_strategy", "agent" => name.clone(), "state" => agent.strategy.state.clone()).set(1.0);
    let component = agent.component.sha256.to_string();
    gauge!("ringfence_component", "agent" => name.clone(), "sha256" => component).set(1.0);
    gauge!("ringfence_agent_answers", "agent" => name.clone()).set(shown(agent.answered));
    gauge!("ringfence_open_intents", "agent" => name.clone()).set(as_float(agent.open_intents));
    gauge!("ringfence_strikes", "agent" => name.clone()).set(agent.strikes);
    gauge!("ringfence_fuel_max", "agent" => name.clone()).set(as_float(agent.stats.fuel_max));
    if let Some(equity) = agent.equity.and_then(|equity| equity.decimal().to_f64()) {
        gauge!("ringfence_equity", "agent" => name).set(equity);
    }
}

fn breaker(venue: &str, traffic: &'static str, state: BreakerState, stats: &BreakerStats) {
    let closed = if state == BreakerState::Closed { 1.0 } else { 0.0 };
    let labels = || [("venue", venue.to_owned()), ("traffic", traffic.to_owned())];
    gauge!("ringfence_breaker_closed", &labels()).set(closed);
    counter!("ringfence_breaker_trips_total", &labels()).absolute(stats.trips);
    counter!("ringfence_breaker_refused_total", &labels()).absolute(stats.rejected);
    counter!("ringfence_breaker_failures_total", &labels()).absolute(stats.failures);
    counter!("ringfence_breaker_successes_total", &labels()).absolute(stats.successes);
}

/// A gauge has no whole numbers; above 2^53 nobody reads the last digit.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
fn as_float(count: u64) -> f64 {
    count as f64
}
