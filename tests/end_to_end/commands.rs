use super::setup::{Plan, Rig, facts, ringfence, text};
use ringfence::market::UnixNanos;
use ringfence::venue::paper::MarketTick;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn check_says_that_a_configuration_is_good_and_starts_nothing() {
    let rig = Rig::new(Plan::default());
    let output = ringfence(&["run", &rig.path("host.toml"), "--check", "--format", "json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(facts(&output)["valid"], true);
    assert!(!rig.dir.path().join("state").exists());
}

#[test]
fn a_run_writes_its_report_as_one_page() {
    let rig = Rig::new(Plan { ticks: 80, ..Plan::default() });
    let page = rig.path("report.html");
    let output = ringfence(&["run", &rig.path("host.toml"), "--report", &page]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("equity at the end"), "{}", text(&output.stdout));
    assert!(!text(&output.stdout).contains('\u{1b}'), "colour only on a terminal");
    assert!(std::fs::read_to_string(page).unwrap().starts_with("<!doctype html>"));
}

#[test]
fn a_shutdown_is_latched_until_an_operator_releases_it() {
    // One lot bought above 1,000 puts the equity below its minimum at the first fee.
    let agent = "degradation = { equity_min = \"100000\", dwell_ms = 1, dwell_ms_max = 1 }";
    let rig = Rig::new(Plan { ticks: 300, ..Plan::default() });
    let good = std::fs::read_to_string(rig.path("host.toml")).unwrap();
    let usual = "degradation = { dwell_ms = 20, dwell_ms_max = 40 }";
    std::fs::write(rig.path("strict.toml"), good.replace(usual, agent)).unwrap();
    let quick = "degradation = { dwell_ms = 1, dwell_ms_max = 1 }";
    std::fs::write(rig.path("host.toml"), good.replace(usual, quick)).unwrap();
    let run = |file: &str, more: &[&str]| {
        let path = rig.path(file);
        let mut arguments = vec!["run", path.as_str(), "--format", "json"];
        arguments.extend(more);
        ringfence(&arguments)
    };
    let first = run("strict.toml", &[]);
    assert_eq!(first.status.code(), Some(1), "{}", text(&first.stderr));
    assert_eq!(facts(&first)["agents"][0]["mode"], "shutdown");
    let orders = rig.truth().orders.len();
    let second = run("host.toml", &[]);
    assert_eq!(facts(&second)["agents"][0]["mode"], "shutdown", "a restart releases nothing");
    assert_eq!(rig.truth().orders.len(), orders, "a latched agent trades nothing");
    let nobody = run("host.toml", &["--release", "nobody"]);
    assert!(text(&nobody.stderr).contains("no such agent"), "{}", text(&nobody.stderr));
    let released = run("host.toml", &["--release", "agent"]);
    assert!(released.status.success(), "{}", text(&released.stderr));
    assert!(rig.truth().orders.len() > orders, "a released agent trades again");
    rig.assert_nothing_twice();
}

#[test]
fn a_paper_venue_of_its_own_serves_a_host_of_its_own_with_real_trades() {
    let Some(trades) = super::components::recorded("btcusdt_20240809_trades.csv") else { return };
    let rig = Rig::new(Plan::default());
    // The capture trades in hundred-thousandths.
    let config = std::fs::read_to_string(rig.path("host.toml")).unwrap();
    let config = config.replace("lot_size = \"0.5\"", "lot_size = \"0.00001\"");
    std::fs::write(rig.path("own.toml"), &config).unwrap();
    let mut venue = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["venue", "paper", "--port", "0", "--format", "json"])
        .args(["--config", &rig.path("own.toml"), "--key-file", &rig.path("venue.key")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(venue.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let addr: serde_json::Value = serde_json::from_str(&line).unwrap();
    let base = format!("http://{}", addr["addr"].as_str().unwrap());
    let config = config
        .replace(&rig.proxy.base_url(), &base)
        .replace(&rig.venue.base_url(), &base)
        .replace("path = \"trades.csv\"", &format!("path = \"{}\"", trades.canonicalize().unwrap().display()))
        .replace("{ fast = 2, slow = 5, quantity = 3 }", "{ fast = 10, slow = 20, quantity = 1 }");
    std::fs::write(rig.path("own.toml"), config).unwrap();
    let output = ringfence(&["run", &rig.path("own.toml"), "--format", "json"]);
    venue.kill().unwrap();
    venue.wait().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let facts = facts(&output);
    assert_eq!(facts["events"], 10_147, "{facts}");
    assert_eq!(
        (&facts["orders"], &facts["fills"]),
        (&100.into(), &100.into()),
        "50 buys and 50 sells: {facts}"
    );
}

#[test]
fn a_replay_at_a_chosen_speed_sees_every_sample() {
    let rig = Rig::new(Plan { ticks: 100, ..Plan::default() });
    let config = std::fs::read_to_string(rig.path("host.toml")).unwrap();
    let fast = config.replace("pace = \"lockstep\"", "pace = { speed = 1000000 }");
    std::fs::write(rig.path("fast.toml"), fast).unwrap();
    let output = ringfence(&["run", &rig.path("fast.toml"), "--format", "json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let facts = facts(&output);
    assert_eq!((&facts["events"], &facts["dropped"]), (&100.into(), &0.into()), "{facts}");
    // 19 crossings need every tick to reach the strategy.
    assert!(facts["intents"].as_u64().unwrap() >= 15, "{facts}");
    rig.assert_nothing_twice();
}

#[test]
fn prices_polled_from_a_venue_drive_an_agent_until_it_is_told_to_end() {
    let rig = Rig::new(Plan { agent: "on_stop = \"flatten\"", ..Plan::default() });
    let config = std::fs::read_to_string(rig.path("host.toml")).unwrap();
    let (before, rest) = config.split_once("[feed]").unwrap();
    let agents = rest.split_once("[[agent]]").unwrap().1;
    let feed = "[feed]\nkind = \"venue\"\nvenue = \"main\"\npoll_ms = 1\n";
    std::fs::write(rig.path("polled.toml"), format!("{before}{feed}\n[[agent]]{agents}")).unwrap();
    let host = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["run", &rig.path("polled.toml"), "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The market moves until the host has traded on it.
    #[expect(clippy::disallowed_methods, reason = "live prices carry the wall clock's time")]
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let mut step = 0_u32;
    while rig.truth().executions.len() < 3 {
        step += 1;
        let wave = [0, 3, 7, 9, 7, 2, -3, -8, -9, -4][(step / 400) as usize % 10];
        let at = u64::try_from(now().as_nanos()).unwrap();
        rig.venue
            .push_market(&[MarketTick {
                symbol: "TEST".into(),
                at: UnixNanos(at),
                last: Some((1_000 + wave).into()),
                bid: None,
                ask: None,
            }])
            .unwrap();
        std::thread::yield_now();
        assert!(step < 50_000_000, "the host does not trade");
    }
    let pid = host.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let output = host.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    // As many prices as trades at the least, however seldom the host came to ask.
    assert!(facts(&output)["events"].as_u64().unwrap() >= 3);
    rig.assert_nothing_twice();
    let truth = rig.truth();
    assert!(
        truth.positions.values().all(|quantity| quantity.is_zero()),
        "a request to end flattens: {truth:?}"
    );
}
