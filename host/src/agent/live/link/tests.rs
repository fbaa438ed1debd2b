//! A venue over real HTTP that answers, and does not tell what becomes of orders.

use super::*;
use crate::market::Instruments;
use crate::resilience::{Gate, GateConfig};
use crate::venue::KeySource;
use crate::venue::http::{HttpVenue, HttpVenueConfig};
use axum::Router;
use axum::http::StatusCode;
use std::sync::Mutex as Shared;

const SILENCE_MS: u64 = 30_000;
const PAGE: &str = r#"{"updates":[],"through":0,"more":false}"#;

/// A server that gives every read the answer of the moment.
async fn serve(answer: Arc<Shared<(u16, String)>>) -> String {
    let say = move || {
        let (status, body) = answer.lock().unwrap().clone();
        async move { (StatusCode::from_u16(status).unwrap(), body) }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(say)).await });
    base_url
}

struct Deaf {
    link: Link,
    heard: crossbeam_channel::Receiver<Event>,
    answer: Arc<Shared<(u16, String)>>,
}

impl Deaf {
    async fn with(gate: GateConfig) -> Self {
        let answer = Arc::new(Shared::new((200, PAGE.to_owned())));
        let key = std::env::temp_dir().join(format!("ringfence-link-key-{}", std::process::id()));
        std::fs::write(&key, "secret").unwrap();
        let config = HttpVenueConfig {
            base_url: serve(Arc::clone(&answer)).await,
            key: KeySource::File(key),
            ..HttpVenueConfig::default()
        };
        let venue = HttpVenue::new(&config, Arc::new(Instruments::new(Vec::new()).unwrap())).unwrap();
        let (answers, heard) = crossbeam_channel::unbounded();
        let (samples, _) = crossbeam_channel::bounded(1);
        let handle =
            AgentHandle { samples, answers, looks: crossbeam_channel::bounded(1).0, backlog: Arc::default() };
        let link = Link {
            name: "deaf".into(),
            venue: Arc::new(venue),
            gate: SharedGate::new(Gate::new(gate, 1)),
            clock: SystemClock::start(),
            agents: vec![Member { index: 0, handle, compared: Vec::new() }],
            pace: Arc::new(Pace::new(1)),
            cursor: AtomicU64::new(0),
            lost: AtomicBool::new(false),
            reading: Mutex::new(()),
            updates_poll: Duration::from_millis(1),
            silence_max: Duration::from_millis(SILENCE_MS),
            heard_at: AtomicU64::new(0),
            unclaimed: std::sync::Mutex::default(),
        };
        Self { link, heard, answer }
    }

    /// Asks for the updates when this much time has passed.
    async fn poll(&self, ms: u64) -> Result<u64, Failure> {
        self.link.poll_updates_by(|| MonoNanos(ms * 1_000_000)).await
    }

    fn says(&self, status: u16, body: &str) {
        *self.answer.lock().unwrap() = (status, body.into());
    }

    fn told(&self) -> Vec<&'static str> {
        let name = |event| match event {
            Event::VenueLost => "lost",
            Event::VenueBack => "back",
            _ => "other",
        };
        self.heard.try_iter().map(name).collect()
    }
}

#[tokio::test]
async fn a_venue_that_answers_and_tells_nothing_is_lost_after_a_while_and_back_with_its_first_page() {
    for (status, body) in
        [(401, ""), (403, "<html>"), (404, "<html>"), (410, ""), (429, ""), (200, "<html>"), (301, "")]
    {
        let deaf = Deaf::with(GateConfig::default()).await;
        deaf.poll(5_000).await.unwrap();
        deaf.says(status, body);
        assert!(deaf.poll(5_000 + SILENCE_MS - 1).await.is_err());
        assert!(deaf.told().is_empty(), "{status}");
        assert!(deaf.poll(5_000 + SILENCE_MS).await.is_err());
        assert!(deaf.poll(9_000 + SILENCE_MS).await.is_err());
        assert_eq!(deaf.told(), ["lost"], "{status}");
        deaf.says(200, PAGE);
        deaf.poll(10_000 + SILENCE_MS).await.unwrap();
        assert_eq!(deaf.told(), ["back"], "{status}");
        deaf.says(status, body);
        assert!(deaf.poll(11_000 + SILENCE_MS).await.is_err());
        assert!(deaf.told().is_empty(), "the time counts from the page");
    }
}

#[tokio::test]
async fn reads_that_our_own_limit_holds_back_make_a_venue_lost_too() {
    let deaf = Deaf::with(GateConfig::default()).await;
    let limited = Failure::new(Class::Api, "rate_limited", Phase::NotSent, "scripted");
    for (ms, told) in [(SILENCE_MS - 1, [].as_slice()), (SILENCE_MS, &["lost"]), (SILENCE_MS + 1, &[])] {
        deaf.link.read_failed(&limited, MonoNanos(ms * 1_000_000));
        assert_eq!(deaf.told(), told, "{ms}");
    }
}

#[tokio::test]
async fn no_more_pages_are_read_than_an_agent_takes() {
    let deaf = Deaf::with(GateConfig::default()).await;
    let mut read = 0;
    loop {
        deaf.says(200, &format!(r#"{{"updates":[],"through":{},"more":false}}"#, read + 1));
        match deaf.poll(1_000).await {
            Ok(cursor) => read = cursor,
            Err(failure) => break assert_eq!(failure.code, "agent_behind"),
        }
    }
    deaf.link.tell(|| Event::GateChanged);
    deaf.link.tell(|| Event::GateChanged);
    assert_eq!(deaf.heard.len() as u64, read + 1, "pages, and one word of the gate");
    assert!(deaf.poll(SILENCE_MS).await.is_err());
    for event in deaf.heard.try_iter().collect::<Vec<_>>() {
        deaf.link.agents[0].handle.backlog.take(&event);
    }
    assert!(deaf.poll(SILENCE_MS + 1).await.is_ok(), "what it has taken makes room");
}
