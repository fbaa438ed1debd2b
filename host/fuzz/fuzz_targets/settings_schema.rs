//! The schema that a component gives for its settings, and a setting held against it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfence::plugin::{Setting, SettingValue, SettingsSchema};

fuzz_target!(|text: &str| {
    if let Ok(schema) = SettingsSchema::parse(text) {
        let _ = schema.settings();
        let _ = schema.check(&[Setting { key: "a".into(), value: SettingValue::Integer(1) }]);
    }
});
