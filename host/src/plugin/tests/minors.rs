//! Components of other minor versions than the host's. Those of earlier ones are `tests/fixtures/v1`.

use super::guest::{Guest, WIT};
use super::*;

#[test]
fn a_component_of_a_later_minor_version_is_told_which_function_is_missing_here() {
    let wit = WIT
        .replace("strategy@1.0.0", "strategy@1.3.0")
        .replace("next: func() -> u64;", "next: func() -> u64;\n  below: func(bound: u64) -> u64;")
        .replace("  import kv;\n  export strategy;", "  import kv;\n  import history;\n  export strategy;")
        + "interface history { depth: func() -> u32; }";
    let uses = |imports: &str| Guest {
        wit: wit.clone(),
        version: "1.3.0",
        imports: imports.to_owned(),
        ..Guest::default()
    };
    let new = "(import \"ringfence:strategy/random@1.3.0\" \"next\" (func (result i64)))
        (import \"ringfence:strategy/random@1.3.0\" \"below\" (func (param i64) (result i64)))
        (import \"ringfence:strategy/history@1.3.0\" \"depth\" (func (result i32)))";
    let error = load(&uses(new)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "test: the component does not fit this host
  - the import ringfence:strategy/random@1.3.0 asks for the function below, which this host does not offer: it knows ringfence:strategy up to 1.0.0; a host that knows ringfence:strategy 1.3.0 takes it, or build it with an SDK of 1.0.0 or earlier
  - the import ringfence:strategy/history@1.3.0 is not offered by this host, which knows ringfence:strategy up to 1.0.0; a host that knows ringfence:strategy 1.3.0 takes it, or build it with an SDK of 1.0.0 or earlier"
    );
    // One that is built against the later text and uses nothing of it runs.
    let old = "(import \"ringfence:strategy/random@1.3.0\" \"next\" (func (result i64)))";
    assert_eq!(tick(&mut run(&uses(old))), Ok(vec![]));
}
