//! The report as one HTML page that opens in any browser without a network.

use super::chart::{Band, Chart, Mark, Series, escape};
use super::{Facts, money, percent};
use crate::agent::live::{AgentReport, RunReport};
use crate::cli::settle::Settlement;
use crate::market::UnixNanos;
use crate::orders::Mode;
use rust_decimal::prelude::ToPrimitive;
use std::fmt::Write;

/// How the pages look, in a light and a dark room.
pub(in crate::cli) const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1b2430; --soft: #5c6878; --line: #d7dde5; --paper: #ffffff; --equity: #1f6feb;
  --drawdown: #b4540a; --good: #1a7f37; --bad: #c0262d; --band: #f4d8a8; --stop: #f3b6b6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf2; --soft: #98a4b3; --line: #323c49; --paper: #10161d;
  --equity: #5aa0ff; --drawdown: #f0a15a; --good: #4cc26b; --bad: #ff6b70; --band: #5a4420; --stop: #5c2b2d; } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 1040px; padding: 32px 20px 64px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, \"Segoe UI\", sans-serif; }
h1 { font-size: 24px; margin: 0 0 4px } h2 { font-size: 17px; margin: 36px 0 6px } p { margin: 4px 0; color: var(--soft) }
.verdict { margin: 20px 0; padding: 12px 16px; border-left: 4px solid var(--good); background: color-mix(in srgb, var(--good) 9%, transparent); color: var(--ink) }
.verdict.bad { border-color: var(--bad); background: color-mix(in srgb, var(--bad) 9%, transparent) }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { padding: 5px 10px; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left } th { font-weight: 600; color: var(--soft) }
td.text { text-align: left; white-space: normal }
svg { width: 100%; height: auto; display: block; margin: 4px 0 }
.equity { fill: none; stroke: var(--equity); stroke-width: 1.6 } .drawdown { fill: none; stroke: var(--drawdown); stroke-width: 1.3 }
.grid { stroke: var(--line) } .axis { fill: var(--soft); font-size: 11px } .band { fill: var(--band); opacity: .6 } .stop { fill: var(--stop); opacity: .6 }
.mark { stroke: var(--bad); stroke-width: 1.2; stroke-dasharray: 3 3 }
.key { font-size: 13px } .key span { display: inline-block; width: 14px; height: 10px; margin: 0 5px 0 14px; vertical-align: baseline }
";

/// The whole page.
pub(in crate::cli) fn page(
    title: &str,
    facts: &Facts,
    report: &RunReport,
    settlement: Option<&Settlement>,
) -> String {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{0}</title><style>{STYLE}</style></head><body><h1>{0}</h1><p>{1} events, {2} intents, {3} orders, {4} fills \
         in {5:.1} s; {6} failures injected</p>",
        escape(title),
        facts.events,
        facts.intents,
        facts.orders,
        facts.fills,
        facts.seconds,
        facts.injected
    );
    if let Some(settlement) = settlement {
        let class = if settlement.balances() { "verdict" } else { "verdict bad" };
        let _ = write!(html, "<div class=\"{class}\">{}</div>", escape(&settlement.sentence()));
    }
    html.push_str("<div class=\"scroll\">");
    summary(&mut html, facts);
    html.push_str("</div><p class=\"key\"><span style=\"background:var(--equity)\"></span>equity<span style=\"background:var(--drawdown)\"></span>\
        drawdown from the peak<span style=\"background:var(--band)\"></span>read-only<span style=\"background:var(--stop)\"></span>\
        observation or shutdown<span style=\"background:var(--bad);height:2px\"></span>strategy halted</p>");
    for agent in &report.agents {
        agent_section(&mut html, agent);
    }
    html.push_str("</body></html>\n");
    html
}

fn summary(html: &mut String, facts: &Facts) {
    html.push_str("<table><tr><th></th>");
    for agent in &facts.agents {
        let _ = write!(html, "<th>{}</th>", escape(&agent.name));
    }
    html.push_str("</tr>");
    let mut row = |label: &str, of: &dyn Fn(&super::AgentFacts) -> String| {
        let _ = write!(html, "<tr><td>{label}</td>");
        for agent in &facts.agents {
            let _ = write!(html, "<td>{}</td>", escape(&of(agent)));
        }
        html.push_str("</tr>");
    };
    row("intents", &|agent| agent.intents.to_string());
    row("orders", &|agent| agent.orders.to_string());
    row("fills", &|agent| agent.fills.to_string());
    row("refused by the risk gate", &|agent| agent.refused.to_string());
    row("attempts (retries)", &|agent| format!("{} ({})", agent.attempts, agent.retries));
    row("dead letters", &|agent| agent.dead_letters.to_string());
    row("traps", &|agent| agent.traps.to_string());
    row("mode at the end (changes)", &|agent| format!("{} ({})", agent.mode, agent.mode_changes));
    row("fees", &|agent| money(Some(agent.fees)));
    row("equity at the end", &|agent| money(agent.equity));
    row("deepest drawdown", &|agent| percent(agent.max_drawdown));
    row("fuel a call (most)", &|agent| format!("{} ({})", agent.fuel_per_call, agent.fuel_max));
    html.push_str("</table>");
}

fn agent_section(html: &mut String, agent: &AgentReport) {
    let halted = if agent.halted { ", halted" } else { "" };
    let _ = write!(html, "<h2>{}{halted}</h2>", escape(agent.name.as_str()));
    let equity: Vec<(f64, f64)> = (agent.curve.points().iter())
        .map(|(at, equity)| (seconds(*at), equity.decimal().to_f64().unwrap_or_default()))
        .collect();
    let mut peak = f64::MIN;
    let drawdown = (equity.iter())
        .map(|(at, value)| {
            peak = peak.max(*value);
            (*at, if peak > 0.0 { -(peak - value) / peak * 100.0 } else { 0.0 })
        })
        .collect();
    let end = equity.last().map_or(0.0, |point| point.0);
    let bands = || bands(agent, end);
    let marks = || -> Vec<Mark> {
        (agent.alerts.iter())
            .filter(|(_, alert)| alert.code.starts_with("trap_") || alert.code == "strategy_fault")
            .map(|(at, alert)| Mark { at: seconds(*at), label: alert.text.clone(), class: "mark" })
            .collect()
    };
    let labels = years(equity.first().map_or(0.0, |point| point.0), end);
    let chart = |title: &str, points: Vec<(f64, f64)>, class| Chart {
        title: format!("{title} of {}", agent.name),
        series: vec![Series { points, class }],
        bands: bands(),
        marks: marks(),
        dots: Vec::new(),
        x_labels: labels.clone(),
    };
    html.push_str(&chart("equity", equity, "equity").svg());
    html.push_str(&chart("drawdown in percent", drawdown, "drawdown").svg());
    const SHOWN: usize = 12;
    let shown: Vec<_> = agent.alerts.iter().rev().take(SHOWN).collect();
    if !shown.is_empty() {
        html.push_str("<div class=\"scroll\"><table><tr><th>data time</th><th>code</th><th style=\"text-align:left\">what happened</th></tr>");
        for (at, alert) in shown.into_iter().rev() {
            let _ = write!(
                html,
                "<tr><td>{at}</td><td>{}</td><td class=\"text\">{}</td></tr>",
                escape(&alert.code),
                escape(&alert.text)
            );
        }
        html.push_str("</table></div>");
    }
}

/// Stretches in a restricted mode, from the alerts of mode changes.
fn bands(agent: &AgentReport, end: f64) -> Vec<Band> {
    let mut bands = Vec::new();
    let mut since: Option<(f64, &'static str)> = None;
    for (at, mode) in &agent.modes {
        let at = seconds(*at);
        if let Some((from, class)) = since.take() {
            bands.push(Band { from, to: at, class });
        }
        since = match mode {
            Mode::Full => None,
            Mode::ReadOnly => Some((at, "band")),
            Mode::Observation | Mode::Shutdown => Some((at, "stop")),
        };
    }
    if let Some((from, class)) = since {
        bands.push(Band { from, to: end, class });
    }
    bands
}

fn seconds(at: UnixNanos) -> f64 {
    at.0 as f64 / 1e9
}

/// Labels at round dates: years when there are several, else the stamps of both ends.
fn years(from: f64, to: f64) -> Vec<(f64, String)> {
    const YEAR: f64 = 365.2425 * 86_400.0;
    let label = |at: f64| UnixNanos((at.max(0.0) * 1e9) as u64).to_string();
    if to - from < 2.0 * YEAR {
        let text = |at: f64| label(at).get(..16).unwrap_or_default().replace('T', " ");
        let inset = (to - from) * 0.06;
        return vec![(from + inset, text(from)), (to - inset, text(to))];
    }
    let first = 1970 + (from / YEAR).ceil() as i64;
    let last = 1970 + (to / YEAR).floor() as i64;
    let step = ((last - first) / 10 + 1).max(1);
    (first..=last)
        .step_by(usize::try_from(step).unwrap_or(1))
        .map(|year| ((year - 1970) as f64 * YEAR, year.to_string()))
        .collect()
}
