use super::*;
use proptest::prelude::*;

/// What the SDK writes.
const SCHEMA: &str = r#"{"type":"object","additionalProperties":false,"properties":{
    "fast":{"type":"integer","minimum":1,"maximum":500,"description":"bars of the fast average","default":10},
    "side":{"type":"string","enum":["long","both"]},
    "limit":{"type":"number","minimum":0.5,"maximum":2}},
    "required":["fast","side"]}"#;

fn setting(key: &str, value: SettingValue) -> Setting {
    Setting { key: key.into(), value }
}

fn refused(text: &str) -> SchemaError {
    SettingsSchema::parse(text).unwrap_err()
}

#[test]
fn settings_that_fit_are_taken_in_every_type() {
    let schema = SettingsSchema::parse(SCHEMA).unwrap();
    let given = [
        setting("fast", SettingValue::Integer(500)),
        setting("side", SettingValue::Text("both".into())),
        setting("limit", SettingValue::Exact("0.5".parse().unwrap())),
    ];
    assert_eq!(schema.check(&given), Ok(()));
    let given = [given[0].clone(), given[1].clone(), setting("limit", SettingValue::Real(2.0))];
    assert_eq!(schema.check(&given), Ok(()));
    SettingsSchema::parse("{}").unwrap().check(&given).unwrap();
}

#[test]
fn everything_wrong_is_said_with_the_value_and_what_is_allowed() {
    let schema = SettingsSchema::parse(SCHEMA).unwrap();
    let given = [
        setting("fast", SettingValue::Integer(0)),
        setting("sied", SettingValue::Text("long".into())),
        setting("limit", SettingValue::Real(2.5)),
    ];
    assert_eq!(
        schema.check(&given).unwrap_err().to_string(),
        "the settings do not fit what the component takes
  - setting \"fast\" is 0: give a whole number from 1 to 500
  - setting \"limit\" is 2.5: give a number from 0.5 to 2
  - setting \"side\" is missing: give one of \"long\", \"both\"
  - setting \"sied\" is not known: did you mean \"side\"?"
    );
}

#[test]
fn a_value_of_another_type_is_told_the_right_one() {
    let schema = SettingsSchema::parse(SCHEMA).unwrap();
    let given =
        [setting("fast", SettingValue::Text("ten".into())), setting("side", SettingValue::Boolean(true))];
    let problems = schema.check(&given).unwrap_err().problems;
    assert_eq!(problems.first().unwrap(), "setting \"fast\" is \"ten\": give a whole number from 1 to 500");
    assert_eq!(problems.last().unwrap(), "setting \"side\" is true: give one of \"long\", \"both\"");
}

#[test]
fn the_settings_are_described_for_people() {
    let fast = SettingsSchema::parse(SCHEMA).unwrap().settings().remove(0);
    assert_eq!((fast.key.as_str(), fast.required), ("fast", true));
    assert_eq!(fast.allowed, "a whole number from 1 to 500");
    assert_eq!((fast.default, fast.about.as_str()), (Some("10".into()), "bars of the fast average"));
}

#[test]
fn references_inside_of_the_schema_are_followed() {
    let text =
        r##"{"properties":{"a":{"$ref":"#/$defs/small"}},"$defs":{"small":{"type":"integer","maximum":3}}}"##;
    let schema = SettingsSchema::parse(text).unwrap();
    assert_eq!(schema.check(&[setting("a", SettingValue::Integer(3))]), Ok(()));
    assert!(schema.check(&[setting("a", SettingValue::Integer(4))]).is_err());
}

#[test]
fn nothing_is_fetched() {
    for reference in ["https://example.com/x.json", "file:///etc/passwd", "other.json", "//host/x", "#name"] {
        let text = format!("{{\"properties\":{{\"a\":{{\"$ref\":\"{reference}\"}}}}}}");
        let error = refused(&text);
        assert!(matches!(error, SchemaError::Remote { .. }), "{reference}: {error}");
    }
    // A dialect of its own would have to be fetched as well.
    let error = refused(r#"{"$schema":"https://example.com/dialect"}"#);
    assert!(matches!(&error, SchemaError::Broken(_)), "{error}");
    let error = refused(r#"{"properties":{"a":{"$id":"https://example.com/","$ref":"x"}}}"#);
    assert!(matches!(error, SchemaError::Keyword(_)), "{error}");
}

#[test]
fn a_schema_that_is_broken_is_refused() {
    assert!(matches!(refused(""), SchemaError::NotJson(_)));
    assert!(matches!(refused("{"), SchemaError::NotJson(_)));
    assert!(matches!(refused(r#"{"type":"integral"}"#), SchemaError::Broken(_)));
    assert!(matches!(refused(r#"{"minimum":"one"}"#), SchemaError::Broken(_)));
    assert!(matches!(refused(r#"{"pattern":"("}"#), SchemaError::Broken(_)));
    let nowhere = refused(r##"{"allOf":[{"$ref":"#/nowhere"}]}"##);
    assert!(matches!(nowhere, SchemaError::Reference { problem: "leads nowhere", .. }), "{nowhere}");
}

#[test]
fn a_reference_that_leads_back_to_itself_is_refused() {
    for text in [
        r##"{"$ref":"#"}"##,
        r##"{"properties":{"a":{"$ref":"#"}}}"##,
        r##"{"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"}"##,
    ] {
        let error = refused(text);
        assert!(matches!(error, SchemaError::Reference { problem: "leads back to itself", .. }), "{error}");
    }
}

#[test]
fn references_that_double_at_each_level_are_refused_before_they_are_followed() {
    let mut defs = vec!["\"d0\":{\"type\":\"integer\"}".to_owned()];
    for level in 1..20 {
        let below = format!("{{\"$ref\":\"#/$defs/d{}\"}}", level - 1);
        defs.push(format!("\"d{level}\":{{\"allOf\":[{below},{below},{below},{below}]}}"));
    }
    let text = format!("{{\"$defs\":{{{}}},\"$ref\":\"#/$defs/d19\"}}", defs.join(","));
    let error = refused(&text);
    assert!(matches!(error, SchemaError::TooMuchWork | SchemaError::TooDeep), "{error}");
}

#[test]
fn a_schema_that_is_too_large_in_any_way_is_refused() {
    assert!(matches!(refused(&" ".repeat(BYTES_MAX + 1)), SchemaError::TooLong { .. }));
    let deep = format!("{}{{}}{}", "{\"not\":".repeat(40), "}".repeat(40));
    assert_eq!(refused(&deep), SchemaError::TooDeep);
    let very_deep = format!("{}{{}}{}", "{\"not\":".repeat(4_000), "}".repeat(4_000));
    assert!(matches!(refused(&very_deep), SchemaError::NotJson(_)), "the parser has a bound of its own");
    let wide = format!("{{\"allOf\":[{}]}}", vec!["{}"; 20_000].join(","));
    assert_eq!(refused(&wide), SchemaError::TooMuchWork);
    let patterns: Vec<String> = (0..17).map(|it| format!("\"{it}\":{{\"pattern\":\"a\"}}")).collect();
    let patterns = format!("{{\"properties\":{{{}}}}}", patterns.join(","));
    assert_eq!(refused(&patterns), SchemaError::TooManyPatterns);
}

#[test]
fn a_setting_may_have_the_name_of_a_keyword() {
    let text =
        r#"{"properties":{"$ref":{"type":"integer"},"id":{"type":"boolean"}},"additionalProperties":false}"#;
    let schema = SettingsSchema::parse(text).unwrap();
    assert_eq!(schema.check(&[setting("id", SettingValue::Boolean(true))]), Ok(()));
}

fn json_text() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec!["integer", "#", "#/$defs/a", "object", "(a+)+$", "0", ""])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        let key = prop::sample::select(vec![
            "type",
            "$ref",
            "properties",
            "$defs",
            "a",
            "allOf",
            "not",
            "enum",
            "pattern",
            "multipleOf",
            "minimum",
            "required",
            "items",
            "if",
            "then",
            "$schema",
            "$id",
            "propertyNames",
            "oneOf",
            "format",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..6)
                .prop_map(|map| map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_schema_makes_the_host_panic(schema in json_text(), value in any::<i64>()) {
        if let Ok(schema) = SettingsSchema::parse(&schema.to_string()) {
            let _ = schema.settings();
            let _ = schema.check(&[setting("a", SettingValue::Integer(value))]);
        }
    }
}
