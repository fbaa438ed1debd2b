use super::*;

fn declared() -> Vec<Setting> {
    let price = |text: &str| text.parse::<Decimal>().unwrap();
    vec![
        Setting::integer("fast", 1..=100).default(10).about("periods of the \"fast\" average"),
        Setting::real("band", 0.5..=5.0).default(2.0),
        Setting::exact("floor", price("0.01")..=price("100000")),
        Setting::one_of("kind", &["a", "b"]).default("a"),
        Setting::boolean("hedge").default(false),
        Setting::text("note").default(""),
    ]
}

fn check(given: &[(&str, SettingValue)]) -> Result<Settings, Fault> {
    let given = given.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    Settings::check(declared(), given)
}

fn refusal(given: &[(&str, SettingValue)]) -> String {
    match check(given) {
        Err(Fault::InvalidSettings(words)) => words,
        other => panic!("expected a refusal, found {other:?}"),
    }
}

#[test]
fn values_that_are_not_given_are_the_declared_defaults() {
    let settings = check(&[("floor", 1.into())]).unwrap();
    assert_eq!(settings.integer("fast").unwrap(), 10);
    assert_eq!(settings.lots("fast").unwrap(), Lots(10));
    assert_eq!(settings.count("fast").unwrap(), 10);
    assert_eq!(settings.real("band").unwrap(), 2.0);
    assert_eq!(settings.text("kind").unwrap(), "a");
    assert!(!settings.boolean("hedge").unwrap());
}

#[test]
fn numbers_convert_only_where_nothing_is_lost() {
    let settings = check(&[("floor", 0.05.into()), ("band", 3.into())]).unwrap();
    assert_eq!(settings.exact("floor").unwrap().to_string(), "0.05");
    assert_eq!(settings.real("band").unwrap(), 3.0);
    assert_eq!(check(&[("floor", "12.50".into())]).unwrap().exact("floor").unwrap().to_string(), "12.5");
    assert!(refusal(&[("floor", 1.into()), ("fast", 10.0.into())]).contains("expected a whole number"));
}

#[test]
fn every_problem_is_in_one_message() {
    let words = refusal(&[
        ("fast", 101.into()),
        ("band", f64::NAN.into()),
        ("kind", "c".into()),
        ("hedge", 1.into()),
        ("fsat", 3.into()),
    ]);
    for part in [
        "fast: expected a whole number from 1 to 100, found 101",
        "band: expected a number from 0.5 to 5, found NaN",
        "kind: expected one of a, b, found \"c\"",
        "hedge: expected true or false, found 1",
        "floor: is required and has no default",
        "fsat: is not a setting of this strategy, which has fast, band, floor, kind, hedge, note",
    ] {
        assert!(words.contains(part), "{part} is missing in: {words}");
    }
}

#[test]
fn a_setting_given_twice_is_refused_once() {
    let words = refusal(&[("floor", 1.into()), ("fast", 1.into()), ("fast", 2.into())]);
    assert_eq!(words, "fast: expected one value, found several");
}

#[test]
fn reading_what_was_not_declared_is_the_strategy_s_own_fault() {
    let settings = check(&[("floor", 1.into())]).unwrap();
    assert!(matches!(settings.integer("slow"), Err(Fault::Internal(words)) if words.contains("\"slow\"")));
    assert!(matches!(settings.text("fast"), Err(Fault::Internal(_))));
}

#[test]
fn the_schema_says_what_is_declared() {
    let schema = json_schema(&declared());
    for part in [
        r#""fast":{"type":"integer","minimum":1,"maximum":100,"description":"periods of the \"fast\" average","default":10}"#,
        r#""floor":{"type":"number","minimum":0.01,"maximum":100000}"#,
        r#""kind":{"type":"string","enum":["a","b"],"default":"a"}"#,
        r#""required":["floor"]"#,
    ] {
        assert!(schema.contains(part), "{part} is missing in: {schema}");
    }
}
