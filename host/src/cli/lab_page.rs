//! The page of a run in the lab: numbers, charts and the budget, in one file without scripts or a network.

use super::report::{Band, Chart, Dot, Mark, STYLE, Series, escape};
use super::test::Facts;
use crate::lab::Charts;
use crate::market::{InstrumentId, Instruments, UnixNanos};
use crate::orders::{Mode, Side};
use rust_decimal::prelude::ToPrimitive;
use std::fmt::Write;

/// The whole page.
pub(super) fn page(facts: &Facts, charts: &Charts, instruments: &Instruments) -> String {
    let title = escape(&facts.strategy);
    let span = facts.first.map_or(String::new(), |first| format!("{first} to {}, ", facts.last));
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}{OWN_STYLE}</style></head><body><h1>{title}</h1>\
         <p>{span}{} events, {} intents, {} fills; component {}</p>",
        facts.events, facts.intents, facts.fills, facts.component_sha256
    );
    let (class, words) = verdict(facts);
    let _ = write!(html, "<div class=\"{class}\">{}</div><div class=\"columns\">", escape(&words));
    for (heading, lines) in facts.blocks() {
        let _ = write!(html, "<div><h2>{heading}</h2><table>");
        for (label, value) in lines {
            let _ = write!(html, "<tr><td>{label}</td><td>{}</td></tr>", escape(&value));
        }
        html.push_str("</table></div>");
    }
    html.push_str("</div>");
    let axis = Axis::of(charts);
    let bands = mode_bands(charts, &axis);
    chart(
        &mut html,
        "Equity",
        Chart {
            title: "equity".into(),
            series: vec![Series { points: equity(charts, |point| point.equity), class: "equity" }],
            bands: bands.clone(),
            marks: Vec::new(),
            dots: Vec::new(),
            x_labels: axis.labels(),
        },
    );
    chart(
        &mut html,
        "Drawdown from the peak, in percent",
        Chart {
            title: "drawdown".into(),
            series: vec![Series {
                points: equity(charts, |point| -point.drawdown * 100.0),
                class: "drawdown",
            }],
            bands,
            marks: Vec::new(),
            dots: Vec::new(),
            x_labels: axis.labels(),
        },
    );
    html.push_str(
        "<p class=\"key\"><span style=\"background:var(--band)\"></span>read-only\
         <span style=\"background:var(--stop)\"></span>observation or shutdown</p>",
    );
    for (id, terms) in instruments.iter() {
        prices(&mut html, &terms.symbol, id, charts, instruments, &axis);
    }
    chart(
        &mut html,
        &format!("Fuel of an event, of {} that a call may use", facts.fuel_cap),
        Chart {
            title: "fuel".into(),
            series: vec![Series { points: equity(charts, |point| point.fuel as f64), class: "equity" }],
            bands: Vec::new(),
            marks: Vec::<Mark>::new(),
            dots: Vec::new(),
            x_labels: axis.labels(),
        },
    );
    data(&mut html, facts);
    html.push_str("</body></html>\n");
    html
}

const OWN_STYLE: &str = "
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(330px, 1fr)); gap: 0 36px }
.columns td:last-child { white-space: normal }
.price { fill: none; stroke: var(--soft); stroke-width: 1.1 } .buy { fill: var(--good) } .sell { fill: var(--bad) }
";

fn verdict(facts: &Facts) -> (&'static str, String) {
    let gain = facts.results.total_return * 100.0;
    if !facts.books_match {
        return ("verdict bad", "The agent's books and the exchange's account differ: report this.".into());
    }
    if facts.traps > 0 {
        return (
            "verdict bad",
            format!("The strategy trapped and was halted; until then it returned {gain:+.2} %."),
        );
    }
    let stopped = facts.stopped_at.map(|event| format!(" The host shut it down at event {event}."));
    let words = format!(
        "Returned {gain:+.2} % over {} round trips.{}",
        facts.results.trades,
        stopped.clone().unwrap_or_default()
    );
    (if stopped.is_some() { "verdict bad" } else { "verdict" }, words)
}

fn chart(html: &mut String, heading: &str, chart: Chart) {
    let _ = write!(html, "<h2>{}</h2>{}", escape(heading), chart.svg());
}

fn equity(charts: &Charts, value: impl Fn(&crate::lab::EquityPoint) -> f64) -> Vec<(f64, f64)> {
    charts.equity.points().iter().map(|point| (seconds(point.at), value(point))).collect()
}

fn prices(
    html: &mut String,
    symbol: &str,
    id: InstrumentId,
    charts: &Charts,
    instruments: &Instruments,
    axis: &Axis,
) {
    let line = usize::try_from(id.0).ok().and_then(|index| charts.prices.get(index));
    let points =
        line.map(|line| line.points().iter().map(|point| (seconds(point.at), point.price)).collect());
    let terms = instruments.get(id);
    let executions = charts.executions.points();
    let dots: Vec<Dot> = executions
        .iter()
        .filter(|execution| execution.instrument == id)
        .filter_map(|execution| {
            let price = terms?.price(execution.price)?.to_f64()?;
            let buys = execution.side == Side::Buy;
            Some(Dot {
                at: (seconds(execution.at), price),
                up: buys,
                class: if buys { "buy" } else { "sell" },
            })
        })
        .collect();
    let shown = match charts.executions.seen() as usize {
        all if all > executions.len() => format!(" ({} of {all} fills are shown)", executions.len()),
        _ => String::new(),
    };
    chart(
        html,
        &format!("Trades on the price of {symbol}{shown}"),
        Chart {
            title: format!("price of {symbol}"),
            series: vec![Series { points: points.unwrap_or_default(), class: "price" }],
            bands: Vec::new(),
            marks: Vec::new(),
            dots,
            x_labels: axis.labels(),
        },
    );
    html.push_str(
        "<p class=\"key\"><span style=\"background:var(--good)\"></span>bought\
         <span style=\"background:var(--bad)\"></span>sold</p>",
    );
}

fn data(html: &mut String, facts: &Facts) {
    let quality = &facts.quality;
    let _ = write!(
        html,
        "<h2>Data</h2><p>{} rows, {} unusable, {} repeated, {} backward in time, {} gaps</p>",
        quality.rows,
        quality.dropped.total(),
        quality.duplicates,
        quality.backward,
        quality.gaps
    );
    for words in facts.notes.iter().chain(&quality.examples).chain(&quality.longest) {
        let _ = write!(html, "<p>{}</p>", escape(words));
    }
    let _ = write!(html, "<p>intents sha256 {}</p>", facts.intents_sha256);
}

fn seconds(at: UnixNanos) -> f64 {
    at.0 as f64 / 1e9
}

fn mode_bands(charts: &Charts, axis: &Axis) -> Vec<Band> {
    let ends = charts.modes.iter().skip(1).map(|(at, _)| seconds(*at)).chain([axis.to]);
    charts
        .modes
        .iter()
        .zip(ends)
        .filter_map(|((at, mode), to)| {
            let class = match mode {
                Mode::Full => return None,
                Mode::ReadOnly => "band",
                Mode::Observation | Mode::Shutdown => "stop",
            };
            Some(Band { from: seconds(*at), to, class })
        })
        .collect()
}

/// The time that the charts span.
struct Axis {
    from: f64,
    to: f64,
}

impl Axis {
    fn of(charts: &Charts) -> Self {
        let points = charts.equity.points();
        let at = |point: Option<&crate::lab::EquityPoint>| point.map_or(0.0, |point| seconds(point.at));
        Self { from: at(points.first()), to: at(points.last()) }
    }

    /// Five moments, as fine as the span asks for.
    fn labels(&self) -> Vec<(f64, String)> {
        let span = self.to - self.from;
        let label = |at: f64| {
            let text = UnixNanos((at.max(0.0) * 1e9) as u64).to_string();
            let part = match span {
                span if span >= 5.0 * 86_400.0 => text.get(..10),
                span if span >= 3_600.0 => text.get(5..16),
                _ => text.get(11..19),
            };
            part.unwrap_or(&text).replace('T', " ")
        };
        (0..5)
            .map(|step| self.from + span * (f64::from(step) + 0.5) / 5.0)
            .map(|at| (at, label(at)))
            .collect()
    }
}
