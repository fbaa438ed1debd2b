//! Line charts as SVG, drawn by hand: one file that opens anywhere, without scripts.

use std::fmt::Write;

/// One line of a chart: x and y of each point, x ascending.
pub(in crate::cli) struct Series {
    pub points: Vec<(f64, f64)>,
    pub class: &'static str,
}

/// Something that happened at a point, drawn as a small triangle.
pub(in crate::cli) struct Dot {
    pub at: (f64, f64),
    pub up: bool,
    pub class: &'static str,
}

/// A stretch of the x axis that is shaded, such as the time in a restricted mode.
#[derive(Clone)]
pub(in crate::cli) struct Band {
    pub from: f64,
    pub to: f64,
    pub class: &'static str,
}

/// A moment that is marked with a line over the whole height.
pub(in crate::cli) struct Mark {
    pub at: f64,
    pub label: String,
    pub class: &'static str,
}

/// What a chart shows.
pub(in crate::cli) struct Chart {
    pub title: String,
    pub series: Vec<Series>,
    pub bands: Vec<Band>,
    pub marks: Vec<Mark>,
    pub dots: Vec<Dot>,
    /// Labels of the x axis: position and text.
    pub x_labels: Vec<(f64, String)>,
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 26.0;

impl Chart {
    /// The chart as an SVG element.
    pub fn svg(&self) -> String {
        let all = || self.series.iter().flat_map(|series| series.points.iter());
        let Some((x_range, y_range)) = range(all().map(|p| p.0)).zip(range(all().map(|p| p.1))) else {
            return format!("<p class=\"empty\">{}: no data</p>", escape(&self.title));
        };
        let y_range = padded(y_range);
        let x = |value: f64| LEFT + (value - x_range.0) / width(x_range) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - (value - y_range.0) / width(y_range) * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escape(&self.title)
        );
        for band in &self.bands {
            let (from, to) = (x(band.from.max(x_range.0)), x(band.to.min(x_range.1)));
            let _ = write!(
                svg,
                "<rect class=\"{}\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                band.class,
                (to - from).max(1.0),
                HEIGHT - TOP - BOTTOM
            );
        }
        for value in ticks(y_range) {
            let at = y(value);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"axis\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                at + 4.0,
                grouped(value)
            );
        }
        for (value, label) in &self.x_labels {
            let _ = write!(
                svg,
                "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                x(*value),
                HEIGHT - 8.0,
                escape(label)
            );
        }
        for series in &self.series {
            let mut path = String::new();
            for (index, (px, py)) in series.points.iter().enumerate() {
                let verb = if index == 0 { 'M' } else { 'L' };
                let _ = write!(path, "{verb}{:.1} {:.1}", x(*px), y(*py));
            }
            let _ = write!(svg, "<path class=\"{}\" d=\"{path}\"/>", series.class);
        }
        for Dot { at, up, class } in &self.dots {
            let (px, py, tip) = (x(at.0), y(at.1), if *up { -4.5 } else { 4.5 });
            let _ = write!(
                svg,
                "<path class=\"{class}\" d=\"M{:.1} {:.1}h7l-3.5 {:.1}z\"/>",
                px - 3.5,
                py - tip,
                tip * 2.0
            );
        }
        for mark in &self.marks {
            let at = x(mark.at);
            let _ = write!(
                svg,
                "<line class=\"{}\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"><title>{}</title></line>",
                mark.class,
                HEIGHT - BOTTOM,
                escape(&mark.label)
            );
        }
        svg.push_str("</svg>");
        svg
    }
}

fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|value| value.is_finite()).fold(None, |range, value| match range {
        None => Some((value, value)),
        Some((low, high)) => Some((value.min(low), value.max(high))),
    })
}

fn width((low, high): (f64, f64)) -> f64 {
    if high > low { high - low } else { 1.0 }
}

/// Room above and below, so that a flat line is not on the edge.
fn padded((low, high): (f64, f64)) -> (f64, f64) {
    let pad = if high > low { (high - low) * 0.05 } else { high.abs().max(1.0) * 0.01 };
    (low - pad, high + pad)
}

/// Round values within a range, four to six of them.
fn ticks((low, high): (f64, f64)) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| (high - low) / step <= 6.0)
        .unwrap_or(rough);
    let first = (low / step).ceil();
    (0..8).map(|n| (first + f64::from(n)) * step).take_while(|value| *value <= high).collect()
}

/// A number with thousands separated by thin spaces.
fn grouped(value: f64) -> String {
    let text = if value.abs() < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") };
    let (digits, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('\u{2009}');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{rest}")
}

/// Text as it may stand in HTML and SVG.
pub(in crate::cli) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within_the_range() {
        assert_eq!(ticks((0.0, 10.0)), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks((99_000.0, 101_000.0)).len(), 5);
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(1_234_567.0), "1\u{2009}234\u{2009}567");
        assert_eq!(grouped(-12.5), "-12.50");
    }

    #[test]
    fn a_label_cannot_break_out_of_the_page() {
        let chart = Chart {
            title: "<script>".into(),
            series: vec![Series { points: vec![(0.0, 1.0), (1.0, 1.0)], class: "line" }],
            bands: Vec::new(),
            marks: vec![Mark { at: 0.5, label: "\"><img>".into(), class: "mark" }],
            dots: Vec::new(),
            x_labels: Vec::new(),
        };
        let svg = chart.svg();
        assert!(!svg.contains("<script>") && !svg.contains("<img>"), "{svg}");
    }

    #[test]
    fn a_chart_without_points_says_so() {
        let chart = Chart {
            title: "equity".into(),
            series: Vec::new(),
            bands: Vec::new(),
            marks: Vec::new(),
            dots: Vec::new(),
            x_labels: Vec::new(),
        };
        assert!(chart.svg().contains("no data"));
    }
}
