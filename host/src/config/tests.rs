use super::*;
use crate::plugin::Profile;
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
fn a_strategy_is_supervised_without_a_word_about_it_and_each_word_counts() {
    let agent = |text: &str| parse(text).unwrap().agent[0].clone();
    let plain = agent(GOOD);
    let supervision = plain.supervision;
    assert_eq!((supervision.strikes_max.get(), supervision.strike_window_s), (5, 600));
    assert_eq!((supervision.backoff_ms, supervision.backoff_ms_max), (1_000, 60_000));
    let limits = plain.limits;
    assert_eq!((limits.shadow_ticks_max, limits.probation_ticks_max), (1_000_000, 1_000_000));
    assert_eq!((limits.calls_kept_max, limits.letter_calls_max), (65_536, 4_096));
    let journal = parse(GOOD).unwrap().journal;
    assert!(limits.swap_record_bytes_max < journal.record_bytes_max as usize, "a swap fits into a record");
    let section = |lines: &str| format!("{GOOD}\n[agent.supervision]\n{lines}\n");
    let strict = agent(&section("strikes_max = 1\nbackoff_ms = 7")).supervision;
    assert_eq!((strict.strikes_max.get(), strict.backoff_ms, strict.strike_window_s), (1, 7, 600));
    assert!(
        message(&section("strikes_max = 0")).contains("strikes_max"),
        "{}",
        message(&section("strikes_max = 0"))
    );
    assert!(message(&section("strike_max = 3")).contains("strike_max"));
}

#[test]
fn the_configurations_in_the_readme_are_accepted() {
    let readme = include_str!("../../../README.md");
    let texts = readme.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let configs: Vec<Config> = texts.map(|text| parse(text).unwrap()).collect();
    assert!(configs.iter().all(|config| config.agent[0].name.as_str() == "trend"));
    let kinds = configs.iter().map(|config| config.venue.values().next().unwrap());
    let fleas: Vec<bool> = kinds.map(|venue| matches!(venue, VenueConfig::PurpleFlea(_))).collect();
    assert_eq!(fleas, [false, true]);
}

#[test]
fn two_names_of_one_coin_are_refused() {
    let flea = flea();
    let instrument = flea.split("[[instrument]]").nth(1).unwrap().split("[feed]").next().unwrap();
    for name in ["spx", "xyz:SPX"] {
        let twin = instrument.replace("\"SPX\"", &format!("\"{name}\""));
        let message = message(&flea.replace("[feed]", &format!("[[instrument]]{twin}[feed]")));
        assert!(message.contains(name) && message.contains("the same coin"), "{message}");
    }
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

fn flea() -> String {
    GOOD.replace("kind = \"http\"\nbase_url = \"http://127.0.0.1:7070\"", "kind = \"purpleflea\"")
}

#[test]
fn a_purple_flea_venue_needs_no_more_than_a_key() {
    let config = parse(&flea().replace("{ env = \"KEY\" }", "{ file = \"flea.key\" }")).unwrap();
    let VenueConfig::PurpleFlea(flea) = &config.venue["paper"] else { panic!("expected purpleflea") };
    assert_eq!(flea.base_url, "https://trading.purpleflea.com");
    assert_eq!(flea.key, KeySource::File(Path::new("conf/flea.key").into()));
    let http = config.venue["paper"].http("paper");
    assert_eq!((http.base_url, http.key), (flea.base_url.clone(), flea.key.clone()), "for a paper venue");
}

#[test]
fn what_a_purple_flea_venue_cannot_mean_is_refused_with_its_place() {
    for (from, to, place, advice) in [
        ("env = \"KEY\" }\n", "env = \"KEY\" }\nleverage = 0\n", "venue \"paper\", leverage", "1 to 100"),
        (
            "kind = \"purpleflea\"",
            "kind = \"purpleflea\"\nbase_url = \"http://venue.example\"",
            "venue \"paper\", base_url: found http://venue.example",
            "use https",
        ),
        ("multiplier = \"1\"", "multiplier = \"10\"", "instrument \"SPX\", multiplier", "give 1"),
        ("lot_size = \"1\"", "lot_size = \"5\"", "instrument \"SPX\", lot_size", "szDecimals"),
        (
            "symbol = \"SPX\"\nvenue = \"paper\"",
            "symbol = \"SPX\"\nvenue = \"other\"",
            "agent \"ema\", instruments: found SPX, whose venue is other",
            "set venue = \"paper\"",
        ),
        ("env = \"KEY\" }\n", "env = \"KEY\" }\nleverag = 2\n", ":7:1:", "did you mean `leverage`?"),
    ] {
        let message = message(&flea().replace(from, to));
        assert!(message.contains(place) && message.contains(advice), "{message}");
    }
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

#[test]
fn a_venue_of_kind_http_says_what_it_does_with_keys() {
    let with = |lines: &str| GOOD.replace("kind = \"http\"", &format!("kind = \"http\"\n{lines}"));
    let capability = |text: &str| parse(text).unwrap().venue["paper"].capability("paper");
    let window = |seconds| Capability::IdempotentKeys { window: std::time::Duration::from_secs(seconds) };
    assert_eq!(capability(GOOD), window(72_000));
    assert_eq!(capability(&with("key_window_s = 60")), window(60));
    assert_eq!(capability(&with("capability = \"query-by-client-id\"")), Capability::QueryByClientId);
    assert_eq!(capability(&with("capability = \"unique-while-open\"")), Capability::UniqueWhileOpen);
    let text = message(&with("capability = \"unique-while-open\"\nkey_window_s = 60"));
    assert!(text.contains("conf/host.toml: venue.paper.key_window_s: found 60"), "{text}");
    assert!(parse(&with("capability = \"delta-only\"")).is_err(), "the client of this kind asks by id");
}

#[test]
fn two_agents_share_an_instrument_only_where_the_venue_tells_their_orders_apart() {
    let second = r#"
[[agent]]
name = "second"
component = "ema-cross.wasm"
venue = "paper"
instruments = ["SPX"]
cash = "100000"
"#;
    let config = parse(&format!("{GOOD}{second}")).unwrap();
    assert_eq!(sharing::find(&config.agent, |_| false), None);
    assert_eq!(sharing::find(&config.agent[..1], |_| true), None);
    let shared = sharing::find(&config.agent, |venue| venue == "paper").unwrap();
    assert_eq!((shared.symbol.as_str(), shared.place().as_str()), ("SPX", "agent \"second\", instruments"));
    assert!(shared.advice().contains("agent \"ema\" trades it too"), "{}", shared.advice());
}

#[test]
fn limits_that_make_no_sense_are_refused_where_they_stand() {
    for (section, place, advice) in [
        ("[sandbox]\nfuel_per_call = 0", "sandbox.fuel_per_call: found 0", "give 1000 to 1000000000000"),
        ("[sandbox]\nmemory_bytes_max = 1", "sandbox.memory_bytes_max: found 1", "give 65536 to 4294901760"),
        ("[engine]\nepoch_tick_us = 0", "engine.epoch_tick_us: found 0", "give 50 to 100000"),
        ("[engine]\nstack_bytes_max = 99999999", "engine.stack_bytes_max: found 99999999", "give 16384 to"),
    ] {
        let message = message(&GOOD.replace("[feed]", &format!("{section}\n[feed]")));
        assert!(message.contains(place) && message.contains(advice), "{message}");
    }
    let message = message(&format!("{GOOD}sandbox = {{ handles_max = 0 }}\n"));
    assert!(message.contains("agent \"ema\", sandbox.handles_max: found 0; give 1 to"), "{message}");
    let message = self::message(&format!("{GOOD}limits = {{ services = {{ kv_keys_max = 0 }} }}\n"));
    assert!(message.contains("agent \"ema\", limits.services.kv_keys_max: found 0; give 1 to"), "{message}");
    let message = self::message(&format!("{GOOD}risk = {{ open_orders_max = 0 }}\n"));
    assert!(message.contains("agent \"ema\", risk.open_orders_max: found 0; give 1 to"), "{message}");
}

#[test]
fn an_agent_names_the_profile_of_its_component_and_replaces_single_limits() {
    let config = parse(&format!("{GOOD}sandbox = {{ profile = \"managed\", deadline_ms = 900 }}\n")).unwrap();
    let limits = config.agent[0].sandbox.as_ref().unwrap();
    assert_eq!((limits.profile, limits.deadline_ms), (Profile::Managed, 900));
    assert_eq!(limits.component_bytes_max, 64 << 20);
    assert_eq!(config.sandbox.profile, Profile::Native);
    let message = message(&format!("{GOOD}sandbox = {{ fuel_per_cal = 1 }}\n"));
    assert!(message.contains("did you mean `fuel_per_call`?"), "{message}");
}

#[test]
fn wasi_is_granted_to_one_agent_by_a_line_of_its_own() {
    let config = parse(&format!("{GOOD}sandbox = {{ wasi = \"virtual\" }}\n")).unwrap();
    assert_eq!(config.agent[0].sandbox.as_ref().unwrap().wasi, WasiGrant::Virtual);
    let refused = message(&format!("sandbox = {{ wasi = \"virtual\" }}\n{GOOD}"));
    assert!(refused.contains("sandbox.wasi") && refused.contains("agent that needs it"), "{refused}");
    let config = parse(&format!("{GOOD}sandbox = {{ wasi = \"virtual\", wasi_read_folder = \"models\" }}\n"));
    let folder = config.unwrap().agent[0].sandbox.as_ref().unwrap().wasi_read_folder.clone();
    assert_eq!(folder.as_deref(), Some(Path::new("conf/models")));
    let alone = message(&format!("{GOOD}sandbox = {{ wasi_read_folder = \"models\" }}\n"));
    assert!(alone.contains("set wasi = \"virtual\" as well"), "{alone}");
    let unknown = message(&format!("{GOOD}sandbox = {{ wasi = \"real\" }}\n"));
    assert!(unknown.contains("virtual"), "{unknown}");
}

#[test]
fn the_admin_api_listens_on_loopback_only() {
    let with = |listen: &str| {
        GOOD.replace("[feed]", &format!("[admin]\nlisten = \"{listen}\"\ntoken = {{ file = \"t\" }}\n[feed]"))
    };
    for listen in ["127.0.0.1:7071", "127.8.9.1:0", "[::1]:7071"] {
        let admin = parse(&with(listen)).unwrap().admin.unwrap();
        assert_eq!(admin.listen.to_string(), listen);
        assert_eq!(admin.token, KeySource::File(Path::new("conf/t").into()), "relative to the configuration");
    }
    for listen in ["0.0.0.0:7071", "[::]:7071", "192.0.2.7:7071", "[::ffff:127.0.0.1]:7071"] {
        let message = message(&with(listen));
        assert!(message.contains(&format!("admin.listen: found {listen}")), "{message}");
        assert!(message.contains("ssh -L"), "{message}");
    }
    let token = message(&with("127.0.0.1:7071").replace("{ file = \"t\" }", "\"sesame\""));
    assert!(parse(GOOD).unwrap().admin.is_none() && token.contains("conf/host.toml:"), "{token}");
}

#[test]
fn a_pinned_component_cannot_be_watched() {
    let with = |lines: &str| GOOD.replace("cash = \"100000\"", &format!("cash = \"100000\"\n{lines}"));
    let config = parse(&with("watch = true\nswap = { probation_ticks = 7 }")).unwrap();
    let agent = &config.agent[0];
    assert_eq!((agent.watch, agent.swap.probation_ticks, agent.swap.shadow_ticks), (true, 7, 0));
    let pinned = with(&format!("watch = true\nsha256 = \"{}\"", "ab".repeat(32)));
    assert!(message(&pinned).contains("agent \"ema\", watch"), "{}", message(&pinned));
}

#[test]
fn a_file_is_not_watched_where_real_money_may_be_at_stake() {
    let watched = GOOD.replace("cash = \"100000\"", "cash = \"100000\"\nwatch = true");
    assert!(parse(&watched).unwrap().agent[0].watch);
    let message = message(&watched.replace("http://127.0.0.1:7070", "https://trade.example"));
    assert!(message.contains("agent \"ema\", watch: found true with a venue at trade.example"), "{message}");
    assert!(message.contains("ringfence swap"), "{message}");
}

#[test]
fn every_address_but_loopback_counts_as_real_money() {
    let host = |address: &str| {
        let config = parse(&GOOD.replace("http://127.0.0.1:7070", address)).unwrap();
        config.venue["paper"].remote_host()
    };
    for rehearsal in ["http://127.0.0.1:7070", "https://localhost", "http://[::1]:80", "http://127.9.9.9"] {
        assert_eq!(host(rehearsal), None, "{rehearsal}");
    }
    for (real, name) in [
        ("https://trade.example/x", "trade.example"),
        ("http://10.0.0.1:7070", "10.0.0.1"),
        ("https://localhost.example", "localhost.example"),
        ("https://127.0.0.1.example", "127.0.0.1.example"),
        ("https://0.0.0.0", "0.0.0.0"),
    ] {
        assert_eq!(host(real).as_deref(), Some(name));
    }
    let real = "kind = \"purpleflea\"\nkey = { env = \"KEY\" }";
    let venue: VenueConfig = toml::from_str(real).unwrap();
    assert_eq!(venue.remote_host().as_deref(), Some("trading.purpleflea.com"), "its default address");
}

#[test]
fn an_agent_is_granted_everything_virtual_unless_it_says_less() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.terms(&config.agent[0]).grants, Grants::default());
    let config = parse(&format!("{GOOD}grants = [\"log\"]\nsha256 = \"{}\"", "ab".repeat(32))).unwrap();
    let terms = config.terms(&config.agent[0]);
    assert_eq!(terms.grants.to_string(), "log");
    assert_eq!(terms.pin.unwrap().to_string(), "ab".repeat(32));
    let message = message(&format!("{GOOD}grants = [\"metrics\", \"lgo\"]"));
    assert!(message.contains("`lgo`") && message.contains("did you mean `log`?"), "{message}");
}

#[test]
fn compiled_components_are_kept_with_the_state_unless_told_otherwise() {
    let cache = |text: &str| parse(text).unwrap().sandbox_config().cache.unwrap();
    assert_eq!(cache(GOOD).dir, Path::new("conf/state/compiled"));
    assert_eq!(cache(&format!("{GOOD}[compile_cache]\ndir = \"shared\"")).dir, Path::new("conf/shared"));
    let config = parse(&format!("{GOOD}[compile]\nprogram = \"bin/ringfence\"\ntimeout_ms = 5")).unwrap();
    let Compiler::Child(child) = config.sandbox_config().compiler else { panic!("expected a child") };
    assert_eq!((child.program.unwrap().as_path(), child.timeout_ms), (Path::new("conf/bin/ringfence"), 5));
}

#[test]
fn the_keys_in_the_page_about_intake_are_the_defaults() {
    let page = include_str!("../../../docs/intake.md");
    let block = page.split("```toml\n").nth(1).unwrap().split("[[agent]]").next().unwrap();
    let (told, usual) = (parse(&format!("{GOOD}{block}")).unwrap(), parse(GOOD).unwrap());
    assert_eq!((told.compile, told.compile_cache), (usual.compile, usual.compile_cache));
    assert_eq!(told.sandbox, usual.sandbox);
    let grants = page.lines().find(|line| line.starts_with("grants = ")).unwrap();
    let config = parse(&format!("{GOOD}{grants}")).unwrap();
    assert_eq!(config.agent[0].grants, Grants::default());
}
