use super::*;
use std::path::Path;

const GOOD: &str = r#"
data_dir = "state"

[venue.paper]
kind = "http"
base_url = "http://127.0.0.1:7070"
key = { env = "KEY" }

[[instrument]]
symbol = "SPX"
venue = "paper"
kind = "index"
quote_currency = "USD"
multiplier = "1"
tick_size = "0.01"
lot_size = "1"
min_lots = 1
max_lots = 1000

[feed]
kind = "files"
file = [{ path = "bars.csv", symbol = "SPX" }]

[[agent]]
name = "ema"
component = "ema-cross.wasm"
venue = "paper"
instruments = ["SPX"]
cash = "100000"
settings = { fast = 10, slow = 20 }
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("conf/host.toml"))
}

fn message(text: &str) -> String {
    parse(text).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn a_good_configuration_has_paths_relative_to_its_own_folder() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.data_dir, Path::new("conf/state"));
    assert_eq!(config.agent[0].component, Path::new("conf/ema-cross.wasm"));
    let FeedConfig::Files { file, pace, .. } = &config.feed else { panic!("expected files") };
    assert_eq!((file[0].path.as_path(), *pace), (Path::new("conf/bars.csv"), Pace::Lockstep));
}

#[test]
fn the_configuration_in_the_readme_is_accepted() {
    let readme = include_str!("../../../README.md");
    let text = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let config = parse(text).unwrap();
    assert_eq!(config.agent[0].name.as_str(), "trend");
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_right_one() {
    let text = GOOD.replace("instruments = [\"SPX\"]", "instrumets = [\"SPX\"]");
    let message = message(&text);
    assert!(message.starts_with("conf/host.toml:"), "{message}");
    assert!(message.contains("instrumets") && message.contains("did you mean `instruments`?"), "{message}");
}

#[test]
fn an_unknown_key_inside_a_venue_is_found_where_it_stands() {
    let text = GOOD.replace("env = \"KEY\" }\n", "env = \"KEY\" }\nrequest_timeout = 5\n");
    let message = message(&text);
    assert!(message.starts_with("conf/host.toml:8:1:"), "{message}");
    assert!(message.contains("did you mean `request_timeout_ms`?"), "{message}");
}

#[test]
fn a_value_of_the_wrong_type_is_named_with_its_line() {
    let message = message(&GOOD.replace("min_lots = 1\n", "min_lots = \"one\"\n"));
    assert!(message.contains(":17:") && message.contains("min_lots = \"one\""), "{message}");
}

#[test]
fn names_that_lead_nowhere_are_reported_with_the_nearest_one() {
    for (from, to, place, advice) in [
        (
            "venue = \"paper\"\ninstruments",
            "venue = \"papr\"\ninstruments",
            "agent \"ema\", venue",
            "did you mean paper?",
        ),
        ("instruments = [\"SPX\"]", "instruments = [\"SPXX\"]", "instruments", "did you mean SPX?"),
        ("symbol = \"SPX\" }]", "symbol = \"DAX\" }]", "symbol", "use one of SPX"),
        ("symbol = \"SPX\"\nvenue", "symbol = \"DAX\"\nvenue", "instruments", "use one of DAX"),
        ("instruments = [\"SPX\"]", "instruments = []", "instruments", "name at least one of SPX"),
        ("tick_size = \"0.01\"", "tick_size = \"0\"", "instrument \"SPX\"", "tick_size"),
    ] {
        let message = message(&GOOD.replace(from, to));
        assert!(message.contains(place) && message.contains(advice), "{message}");
    }
}

#[test]
fn two_agents_cannot_share_a_name_because_their_keys_would_collide() {
    let agent = GOOD.split("[[agent]]").nth(1).unwrap();
    let message = message(&format!("{GOOD}\n[[agent]]{agent}"));
    assert!(message.contains("give every agent its own name"), "{message}");
}

#[test]
fn a_missing_file_is_reported_with_its_path() {
    let error = Config::load(Path::new("no/such.toml")).unwrap_err();
    assert!(error.to_string().starts_with("no/such.toml: cannot read"), "{error}");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,400}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_cut_of_a_good_text_makes_the_parser_panic(at in 0_usize..GOOD.len()) {
        let _ = parse(GOOD.get(..at).unwrap_or_default());
    }
}
