//! What the client knows after each fault, and what the venue has really done.

use super::key;
use super::setup::{Three, about, client, market, paper_config, words};
use crate::venue::chaos::{ChaosConfig, ChaosProxy, Fault, Plan, Scope};
use crate::venue::paper::PaperVenue;
use crate::venue::{RetryAfterHeader, Venue as _};
use std::sync::Arc;

/// What one order became under a fault: the outcome, executions, and the outcome and executions of the same
/// request sent again over a mended network.
async fn survive(fault: Fault) -> (String, usize, String, usize) {
    let three = Three::with(paper_config(), |config| {
        // Short only where silence is the fault: every other answer comes at once.
        let silent = matches!(fault, Fault::BlackHole | Fault::SwallowReply | Fault::DelayReply(_));
        if silent {
            (config.connect_timeout_ms, config.request_timeout_ms) = (500, 1_000);
        }
    })
    .await;
    let name = fault.name();
    three.fault(fault).await;
    let first = words(&three.venue.send(&market(1, 10)).await.outcome);
    let executed = three.executed(key(1));
    assert_eq!(three.proxy.stats().injected.get(name), Some(&1), "{name}");
    three.pass().await;
    let again = words(&three.venue.send(&market(1, 10)).await.outcome);
    (first, executed, again, three.executed(key(1)))
}

#[tokio::test]
async fn no_fault_loses_or_repeats_an_order() {
    let done = "done accepted filled";
    let cases = [
        (Fault::BlackHole, "ambiguous network timeout", 0),
        (Fault::ResetBefore, "ambiguous network reset", 0),
        (Fault::DropReply, "ambiguous network reset", 1),
        (Fault::SwallowReply, "ambiguous network timeout", 1),
        (Fault::DelayReply(600_000), "ambiguous network timeout", 1),
        (Fault::ErrorBefore(500), "ambiguous api http_500", 0),
        (Fault::ErrorAfter(502), "ambiguous api http_502", 1),
        (Fault::ErrorAfter(503), "ambiguous api http_503", 1),
        (Fault::ErrorBefore(504), "ambiguous api http_504", 0),
        (Fault::Truncate, "ambiguous network incomplete", 1),
        (Fault::Corrupt, "ambiguous data reply_undecodable", 1),
        (Fault::Duplicate, done, 1),
        (Fault::Delay(1), done, 1),
        (Fault::Trickle(0), done, 1),
    ];
    for (fault, outcome, executed) in cases {
        let name = fault.name();
        let expected = (outcome.to_owned(), executed, done.to_owned(), 1);
        assert_eq!(survive(fault).await, expected, "{name}");
    }
}

#[tokio::test]
async fn a_dropped_reply_is_given_again_under_the_same_key() {
    let three = Three::start().await;
    three.proxy.set_plan(Plan::Script(vec![Some(Fault::DropReply)], Scope::Writes)).await.unwrap();
    let lost = three.venue.send(&market(1, 10)).await;
    assert_eq!(words(&lost.outcome), "ambiguous network reset");
    three.last(200);
    let stored = three.venue.send(&market(1, 10)).await;
    assert_eq!(words(&stored.outcome), "done accepted filled");
    assert_eq!(stored.outcome, three.venue.query(&about(&market(1, 10))).await.outcome);
    let account = three.paper.truth().accounts.remove(0);
    assert_eq!((account.executions.len(), account.repeats), (1, 1));
    assert_eq!(account.executions[0].price, 100.into(), "the price of then, not of now");
}

#[tokio::test]
async fn a_refused_connection_proves_that_nothing_was_sent() {
    let three = Three::start().await;
    three.proxy.set_plan(Plan::Refuse).await.unwrap();
    assert_eq!(words(&three.venue.send(&market(1, 10)).await.outcome), "not-sent network connect");
    assert_eq!(words(&three.venue.query(&about(&market(1, 10))).await.outcome), "ambiguous network connect");
    assert_eq!(three.venue.probe().await.unwrap_err().code, "connect");
    assert_eq!(three.proxy.stats().requests, 0);
    three.pass().await;
    assert_eq!(words(&three.venue.send(&market(1, 10)).await.outcome), "done accepted filled");
}

#[tokio::test]
async fn a_venue_that_is_not_there_was_sent_nothing() {
    // Bound and not listening, so that no other test can be there.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = client(format!("http://{}", socket.local_addr().unwrap()), |_| ());
    assert_eq!(words(&nobody.send(&market(1, 10)).await.outcome), "not-sent network connect");
}

#[tokio::test]
async fn too_many_requests_proves_something_only_by_contract() {
    for (proof, expected) in [(false, "ambiguous api http_429"), (true, "not-sent api http_429")] {
        let three = Three::with(paper_config(), |config| config.refusal_is_proof = proof).await;
        three.fault(Fault::TooManyRequests { retry_after: "120".into() }).await;
        let reply = three.venue.send(&market(1, 10)).await;
        assert_eq!(words(&reply.outcome), expected);
        assert_eq!(reply.retry_after, Some(RetryAfterHeader { value: "120".into(), date: None }));
        assert_eq!(three.executed(key(1)), 0);
    }
}

#[tokio::test]
async fn a_partition_swallows_everything_and_ends() {
    let three = Three::with(paper_config(), |config| {
        (config.connect_timeout_ms, config.request_timeout_ms) = (250, 500);
    })
    .await;
    three.proxy.partition(true);
    assert_eq!(words(&three.venue.send(&market(1, 10)).await.outcome), "ambiguous network timeout");
    assert_eq!(words(&three.venue.query(&about(&market(1, 10))).await.outcome), "ambiguous network timeout");
    assert_eq!(three.proxy.stats().forwarded, 0);
    three.proxy.partition(false);
    assert_eq!(words(&three.venue.send(&market(1, 10)).await.outcome), "done accepted filled");
    assert_eq!(three.executed(key(1)), 1);
}

#[tokio::test]
async fn a_request_swallowed_by_a_partition_is_cut_when_it_ends() {
    let Three { paper, proxy, venue } = Three::start().await;
    proxy.partition(true);
    let held = tokio::spawn(async move { venue.send(&market(1, 10)).await });
    while proxy.stats().requests == 0 {
        tokio::task::yield_now().await;
    }
    // The request is counted just before it is held; the end of the partition must reach it in both cases.
    proxy.partition(false);
    let outcome = held.await.unwrap().outcome;
    assert_eq!(words(&outcome), "ambiguous network reset");
    assert!(paper.truth().accounts[0].executions.is_empty());
}

#[tokio::test]
async fn prices_that_a_fault_invents_are_dropped_and_counted() {
    use crate::venue::feed::{PriceFeed, PriceFeedConfig};
    let Three { paper: _paper, proxy, venue } = Three::start().await;
    let mut feed = PriceFeed::new(Arc::new(venue), PriceFeedConfig::default());
    let prices = |last: &str| Fault::Answer {
        status: 200,
        body: format!(
            r#"{{"prices":[{{"symbol":"SPX","sequence":9,"at_ns":{},"last":{last}}}]}}"#,
            last.len()
        ),
    };
    for last in ["\"NaN\"", "null", "1e308", "\"-5\"", "\"0\""] {
        proxy.set_plan(Plan::Always(prices(last), Scope::Reads)).await.unwrap();
        let got = feed.poll().await.unwrap_or_else(|failure| panic!("{last}: {failure}"));
        // Texts of one length look like the same row; what counts is that none becomes a tick.
        assert!(got.ticks.is_empty(), "{last}");
    }
    proxy.set_plan(Plan::Always(prices("NaN"), Scope::Reads)).await.unwrap();
    assert_eq!(feed.poll().await.unwrap_err().code, "reply_undecodable");
}

#[tokio::test]
async fn random_faults_repeat_with_their_seed_and_execute_nothing_twice() {
    let run = async || {
        let paper = PaperVenue::start(paper_config()).await.unwrap();
        let config = ChaosConfig {
            seed: 7,
            failure_permille: 400,
            faults: vec![Fault::ResetBefore, Fault::DropReply, Fault::ErrorAfter(500), Fault::Truncate],
            ..ChaosConfig::default()
        };
        let proxy = ChaosProxy::start(paper.addr(), config).await.unwrap();
        let tick = r#"{"symbol":"SPX","at_ns":1,"last":"100"}"#;
        paper.push_market(&[serde_json::from_str(tick).unwrap()]).unwrap();
        let venue = client(proxy.base_url(), |_| ());
        let mut outcomes = Vec::new();
        for call in 0..40 {
            let mut words = words(&venue.send(&market(call, 10)).await.outcome);
            for _ in 0..50 {
                if words.starts_with("done") {
                    break;
                }
                outcomes.push(words);
                words = self::words(&venue.send(&market(call, 10)).await.outcome);
            }
            assert_eq!(words, "done accepted filled");
        }
        let truth = paper.truth();
        assert_eq!((truth.accounts[0].executions.len(), truth.duplicated()), (40, 0));
        (outcomes, proxy.stats().injected)
    };
    let first = run().await;
    assert!(first.1.len() >= 5 && first.0.len() > 10, "{first:?}");
    assert_eq!(first, run().await);
}

#[tokio::test]
async fn the_statistics_add_up() {
    let three = Three::start().await;
    three.pass().await;
    for call in 0..5 {
        let _ = three.venue.send(&market(call, 10)).await;
    }
    three.fault(Fault::Duplicate).await;
    let _ = three.venue.send(&market(9, 10)).await;
    three.fault(Fault::ErrorBefore(500)).await;
    let _ = three.venue.send(&market(10, 10)).await;
    let stats = three.proxy.stats();
    assert_eq!((stats.requests, stats.forwarded, stats.connections), (7, 7, 1));
    assert_eq!((stats.injected_total(), stats.unreadable), (2, 0));
    assert_eq!(three.paper.truth().accounts[0].repeats, 1, "the duplicate");
}

#[tokio::test]
async fn a_proxy_outlives_a_restart_of_the_venue() {
    let three = Three::start().await;
    let port = three.paper.addr().port();
    let _ = three.venue.send(&market(1, 10)).await;
    three.paper.shutdown().await;
    assert_eq!(words(&three.venue.send(&market(2, 10)).await.outcome), "ambiguous network reset");
    let again = crate::venue::paper::PaperConfig { port, ..paper_config() };
    let paper = PaperVenue::start(again).await.unwrap();
    assert_eq!(words(&three.venue.send(&market(2, 10)).await.outcome), "refused api no_market");
    paper.shutdown().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_turned_away() {
    let paper = PaperVenue::start(paper_config()).await.unwrap();
    let config = ChaosConfig { connections_max: 1, ..ChaosConfig::default() };
    let proxy = ChaosProxy::start(paper.addr(), config).await.unwrap();
    let first = client(proxy.base_url(), |_| ());
    first.probe().await.unwrap();
    let second = client(proxy.base_url(), |_| ());
    assert!(second.probe().await.is_err());
    assert_eq!(proxy.stats().turned_away, 1);
}
