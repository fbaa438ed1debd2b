use super::rig::{Running, call, piped, said};
use crate::setup::{Plan, Rig, ringfence, text};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;

#[test]
fn nobody_sees_or_changes_anything_without_the_token() {
    let mut running = Running::new(Plan::default());
    let address = running.address();
    let part = running.token().split_off(1);
    for (method, path) in [
        ("GET", "/metrics"),
        ("GET", "/v1/agents"),
        ("GET", "/v1/agents/agent"),
        ("POST", "/v1/agents/agent/swap"),
        ("POST", "/v1/agents/agent/rollback"),
        ("POST", "/v1/agents/agent/release"),
        ("POST", "/v1/agents/agent/floor"),
        ("POST", "/v1/agents/agent/say"),
        ("GET", "/v1/dlq"),
        ("GET", "/v1/dlq/x"),
        ("POST", "/v1/dlq/x/replay"),
        ("POST", "/v1/dlq/x/reissue"),
        ("POST", "/v1/dlq/x/resolve"),
        ("POST", "/v1/stop"),
    ] {
        for token in [None, Some(""), Some("another"), Some(part.as_str())] {
            let (status, body) = call(&address, token, method, path, None);
            assert_eq!(status, 401, "{method} {path} {token:?}: {body}");
            assert!(body.contains("\"code\":\"unauthorized\""), "{body}");
            assert!(!body.contains(&running.token()), "{body}");
        }
    }
    for path in ["/healthz", "/readyz"] {
        running.until("it is well and ready", |_| {
            (call(&address, None, "GET", path, None).0 == 200).then_some(())
        });
    }
    assert_eq!(running.call("GET", "/v1/nothing", None).0, 404);
    assert_eq!(running.call("GET", "/v1/stop", None).0, 405);
    running.feed(5);
    running.settle();
    assert!(!running.log().contains(&running.token()), "the token is in the log");
    running.finish();
}

#[test]
fn the_token_is_made_for_this_user_only_and_another_one_is_refused_with_its_place() {
    let mut running = Running::new(Plan::default());
    let path = running.rig.path("admin.token");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(running.token().len() >= 64);
    assert!(running.command(&["status"]).status.success());
    let good = running.token();
    std::fs::write(&path, "not-the-token").unwrap();
    let refused = running.command(&["status"]);
    assert_eq!(refused.status.code(), Some(4), "{}", said(&refused));
    let told = text(&refused.stderr);
    assert!(told.contains("unauthorized") && told.contains("admin.token"), "{told}");
    std::fs::write(&path, good).unwrap();
    running.finish();
    let ended = running.command(&["status"]);
    assert_eq!(ended.status.code(), Some(4), "{}", said(&ended));
    assert!(text(&ended.stderr).contains("ringfence run"), "{}", said(&ended));
}

#[test]
fn an_address_that_others_can_reach_is_refused_before_anything_starts() {
    let host = "[admin]\nlisten = \"0.0.0.0:0\"\ntoken = { file = \"admin.token\" }\n";
    let rig = Rig::new(Plan::default());
    let good = std::fs::read_to_string(rig.path("host.toml")).unwrap();
    std::fs::write(rig.path("host.toml"), good.replace("[venue.main]", &format!("{host}[venue.main]")))
        .unwrap();
    let output = rig.run();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(text(&output.stderr).contains("admin.listen: found 0.0.0.0:0"), "{}", said(&output));
    assert!(!rig.dir.path().join("state").exists() && !rig.dir.path().join("admin.token").exists());
    let none = Rig::new(Plan::default());
    let status = ringfence(&["status", "--config", &none.path("host.toml")]);
    assert_eq!(status.status.code(), Some(2), "{}", said(&status));
    assert!(text(&status.stderr).contains("no [admin] section"), "{}", said(&status));
}

#[test]
fn a_port_that_somebody_has_is_refused_before_anything_starts() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let host = format!("[admin]\nlisten = \"{address}\"\ntoken = {{ file = \"admin.token\" }}\n");
    let rig = Rig::new(Plan { host: &host, ..Plan::default() });
    let output = rig.run();
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(text(&output.stderr).contains(&address.to_string()), "{}", said(&output));
    assert!(!rig.dir.path().join("state").exists() && !rig.dir.path().join("admin.token").exists());
}

#[test]
fn a_request_that_is_too_large_or_makes_no_sense_is_refused() {
    let mut running = Running::new(Plan::default());
    let large = format!("{{ \"words\": \"{}\" }}", "x".repeat(70_000));
    let (status, body) = running.call("POST", "/v1/agents/agent/say", Some(&large));
    assert_eq!(status, 413, "{body}");
    let long = format!("{{ \"words\": \"{}\" }}", "x".repeat(2_000));
    for body in [&long, "", "{", "{\"word\": \"x\"}", "[]", "{\"words\": \"two\\nlines\"}"] {
        let (status, answer) = running.call("POST", "/v1/agents/agent/say", Some(body));
        assert!(status == 400 && answer.contains("\"class\":\"data\""), "{body}: {status} {answer}");
    }
    assert_eq!(running.call("POST", "/v1/agents/agent/say", Some("{\"words\": \"hello\"}")).0, 202);
    assert!(running.log().contains("say") && running.log().contains("hello"), "{}", running.log());
    running.finish();
}

#[test]
fn one_request_too_many_one_that_does_not_end_and_one_that_does_not_come_are_sent_away() {
    let rig = piped(Plan::default());
    let limits = "requests_max = 1\nrequest_timeout_ms = 2000\nheader_timeout_ms = 2000\ntoken = {";
    rig.reconfigure("token = {", limits);
    let mut running = Running::start(rig);
    let (address, token) = (running.address(), running.token());
    let well = move || call(&address, None, "GET", "/healthz", None).0;
    let mut slow = TcpStream::connect(running.address()).unwrap();
    let head = format!(
        "POST /v1/agents/agent/say HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Length: 100\r\n\r\n{{"
    );
    slow.write_all(head.as_bytes()).unwrap();
    running.until("there is no room for another", |_| (well() == 503).then_some(()));
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("admin_timeout"), "{answer}");
    running.until("there is room again", |_| (well() == 200).then_some(()));
    // A client that connects and asks nothing is sent away; this would wait for ever otherwise.
    let mut idle = TcpStream::connect(running.address()).unwrap();
    idle.write_all(b"GET /healthz HT").unwrap();
    let mut answer = Vec::new();
    let _ = idle.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    running.finish();
}

#[test]
fn the_numbers_are_there_for_prometheus() {
    let mut running = Running::new(Plan::default());
    running.feed(40);
    running.settle();
    let (status, text) = running.call("GET", "/metrics", None);
    assert_eq!(status, 200, "{text}");
    for line in [
        "ringfence_ticks_total{agent=\"agent\"} 40",
        "ringfence_traps_total{agent=\"agent\"} 0",
        "ringfence_mode{agent=\"agent\",mode=\"full\"} 1",
        "ringfence_mode{agent=\"agent\",mode=\"shutdown\"} 0",
        "ringfence_strategy{agent=\"agent\",state=\"running\"} 1",
        "ringfence_breaker_closed{venue=\"main\",traffic=\"write\"} 1",
        "ringfence_journal_failed 0",
        "# TYPE ringfence_ticks_total counter",
        "# HELP ringfence_equity",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let orders = running.rig.truth().orders.len();
    assert!(
        text.contains(&format!("ringfence_orders_total{{agent=\"agent\"}} {orders}")),
        "{orders}\n{text}"
    );
    let (status, body) = running.call("POST", "/v1/stop", None);
    assert_eq!(status, 202, "{body}");
    let facts = running.finish();
    assert_eq!(facts["events"], 40, "{facts}");
}
