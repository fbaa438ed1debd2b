//! Settings with several values: `--set fast=5..50:5 --set slow=20,50,200` is a grid.

use super::output::CliError;
use crate::plugin::{Setting, SettingValue};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

/// One setting and the values that it takes, in the order in which they were given.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    pub key: String,
    pub values: Vec<SettingValue>,
}

/// Values of one setting: far more than a person looks at.
const VALUES_MAX: usize = 10_000;

impl Axis {
    /// Reads `KEY=VALUE`; `None` when it has one value. A range is `a..b` or `a..b:step`, with `b` among its values
    /// when a step meets it; a list is numbers, or true and false, between commas.
    pub fn parse(text: &str) -> Result<Option<Self>, CliError> {
        let Some((key, value)) = text.split_once('=') else { return Ok(None) };
        let (exact, value) = match value.strip_prefix("decimal:") {
            Some(value) => (true, value),
            None => (false, value),
        };
        let values = if let Some((from, rest)) = value.split_once("..") {
            let (to, step) = rest.split_once(':').unwrap_or((rest, "1"));
            let Some(numbers) = number(from).zip(number(to)).zip(number(step)) else {
                // A text may have two dots in it.
                return Ok(None);
            };
            let ((from, to), step) = numbers;
            range(from, to, step)
                .map_err(|reason| CliError::input("lab_range", format!("--set {text}: {reason}")))?
                .into_iter()
                .map(|value| setting(value, exact, [from, to, step].iter().all(Decimal::is_integer)))
                .collect::<Option<Vec<_>>>()
        } else if value.contains(',') {
            let one = |part: &str| match part.trim() {
                "true" => Some(SettingValue::Boolean(true)),
                "false" => Some(SettingValue::Boolean(false)),
                part => number(part).and_then(|value| setting(value, exact, !part.contains('.'))),
            };
            value.split(',').map(one).collect()
        } else {
            None
        };
        Ok(values.map(|values| Self { key: key.to_owned(), values }))
    }
}

fn number(text: &str) -> Option<Decimal> {
    text.trim().parse().ok()
}

fn setting(value: Decimal, exact: bool, whole: bool) -> Option<SettingValue> {
    Some(match (exact, whole) {
        (true, _) => SettingValue::Exact(value.normalize()),
        (false, true) => SettingValue::Integer(value.to_i64()?),
        (false, false) => SettingValue::Real(value.to_f64()?),
    })
}

fn range(from: Decimal, to: Decimal, step: Decimal) -> Result<Vec<Decimal>, String> {
    if step <= Decimal::ZERO {
        return Err(format!("the step {step} is not above zero, give one that is, as 5..50:5"));
    }
    if from > to {
        return Err(format!("the range starts at {from} and ends below it, at {to}; exchange the two"));
    }
    let mut values = Vec::new();
    let mut next = Some(from);
    while let Some(value) = next.filter(|value| *value <= to) {
        if values.len() == VALUES_MAX {
            return Err(format!("the range has more than {VALUES_MAX} values; take larger steps"));
        }
        values.push(value);
        next = value.checked_add(step);
    }
    Ok(values)
}

/// Every combination, the last axis fastest.
pub(super) fn combinations(axes: &[Axis], runs_max: u64) -> Result<Vec<Vec<Setting>>, CliError> {
    let count = axes.iter().try_fold(1_u64, |count, axis| count.checked_mul(axis.values.len() as u64));
    if count.is_none_or(|count| count > runs_max) {
        let found = count.map_or("more than can be counted".to_owned(), |count| count.to_string());
        return Err(CliError::input(
            "lab_runs",
            format!(
                "{found} runs were asked for, {runs_max} are allowed; take larger steps, or raise --runs-max"
            ),
        ));
    }
    let mut points = vec![Vec::new()];
    for Axis { key, values } in axes {
        points = (points.iter())
            .flat_map(|point: &Vec<Setting>| {
                values.iter().map(move |value| {
                    let mut point = point.clone();
                    point.push(Setting { key: key.clone(), value: value.clone() });
                    point
                })
            })
            .collect();
    }
    Ok(points)
}

/// A value as a person reads it.
pub(super) fn show(value: &SettingValue) -> String {
    match value {
        SettingValue::Boolean(value) => value.to_string(),
        SettingValue::Integer(value) => value.to_string(),
        SettingValue::Real(value) => value.to_string(),
        SettingValue::Exact(value) => value.to_string(),
        SettingValue::Text(text) => text.escape_debug().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SettingValue::{Boolean, Exact, Integer, Real};

    fn values(text: &str) -> Vec<SettingValue> {
        Axis::parse(text).unwrap().unwrap().values
    }

    #[test]
    fn a_range_holds_its_end_where_a_step_meets_it() {
        assert_eq!(values("fast=5..15:5"), [5, 10, 15].map(Integer));
        assert_eq!(values("fast=5..14:5"), [5, 10].map(Integer));
        assert_eq!(values("fast=-1..1"), [-1, 0, 1].map(Integer));
        // Tenths add up exactly.
        assert_eq!(values("band=0.1..0.3:0.1"), [0.1, 0.2, 0.3].map(Real));
        assert_eq!(values("band=1..2:0.5"), [1.0, 1.5, 2.0].map(Real));
        let exact = [Decimal::new(1, 1), Decimal::new(2, 1)].map(Exact);
        assert_eq!(values("band=decimal:0.1..0.2:0.1"), exact);
    }

    #[test]
    fn a_list_holds_what_was_given_in_its_order() {
        assert_eq!(values("fast=50,5, 7"), [50, 5, 7].map(Integer));
        assert_eq!(values("band=1.5,2"), [Real(1.5), Integer(2)]);
        assert_eq!(values("on=true,false"), [true, false].map(Boolean));
    }

    #[test]
    fn what_has_one_value_is_no_axis_and_what_is_no_range_is_refused() {
        for one in ["fast=5", "name=a,b", "path=../x", "name=a..b", "fast", "x=1..2:y"] {
            assert_eq!(Axis::parse(one).unwrap(), None, "{one}");
        }
        for wrong in ["fast=5..1", "fast=1..5:0", "fast=1..5:-1", "fast=1..1000000"] {
            assert!(Axis::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_last_axis_turns_fastest_and_too_many_are_refused() {
        let axes = ["a=1,2", "b=1..3"].map(|text| Axis::parse(text).unwrap().unwrap());
        let points = combinations(&axes, 6).unwrap();
        let shown: Vec<String> =
            points.iter().map(|point| point.iter().map(|it| show(&it.value)).collect()).collect();
        assert_eq!(shown, ["11", "12", "13", "21", "22", "23"]);
        assert!(combinations(&axes, 5).is_err());
    }
}
