use super::setup::{facts, ringfence, text, workspace};

#[test]
fn the_demo_survives_its_failures_and_its_books_equal_the_venues_ledger() {
    let out = tempfile::TempDir::new().unwrap();
    let components = workspace().join("target/components").display().to_string();
    let output = ringfence(&[
        "demo",
        "--format",
        "json",
        "--components",
        &components,
        "--out",
        &out.path().display().to_string(),
    ]);
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    let facts = facts(&output);
    let count = |key: &str| facts[key].as_u64().unwrap_or_else(|| panic!("{key} is missing: {facts}"));
    assert_eq!(count("events"), 5_105);
    assert_eq!((count("lost"), count("duplicated")), (0, 0), "{facts}");
    assert_eq!(facts["books_match"], true, "{facts}");
    assert_eq!(count("traps"), 1, "the faulty strategy traps once and is not called again");
    for key in
        ["intents", "orders", "fills", "retries", "breaker_trips", "mode_changes", "dead_letters", "injected"]
    {
        assert!(count(key) > 0, "{key} is zero: {facts}");
    }
    for key in ["final_equity", "max_drawdown"] {
        assert!(facts[key].is_string(), "{key} is missing: {facts}");
    }
    let page = std::fs::read_to_string(out.path().join("report.html")).unwrap();
    assert!(page.contains("Books equal the venue&#39;s ledger") && page.contains("<path class=\"equity\""));
    assert!(!page.contains("http://") && !page.contains("<script"), "the page needs nothing from outside");
}
