//! What a later text of version 1 may be. Components built against the frozen text must run on every host of
//! version 1, so the rules of `docs/decisions/0001-wit-v1.md` are held by a check, and the check by made-up
//! texts.
//!
//! `wit_component::semver_check` says whether a component of one world can stand in for one of another: it
//! may import less and export more. Asked once in each direction, the second time about exports alone, it
//! leaves exports as they are and lets imports grow.

use crate::orders::Digest;
use wit_component::semver_check;
use wit_parser::{Resolve, WorldId, WorldItem};

/// The text of the first release, which the components in `tests/fixtures/v1` were built against.
const FROZEN: &str = include_str!("../../../../tests/fixtures/v1/strategy-1.0.0.wit");
/// The text that this host is built against.
const CURRENT: &str = include_str!("../../../../wit/v1/strategy.wit");

/// What every strategy is, and what one is that exports everything.
const LEAST: &str = "strategy-plugin";
const FULL: &str = "full-strategy-plugin";

/// Both texts, the old world and the new one.
struct Pair {
    resolve: Resolve,
    old: WorldId,
    new: WorldId,
}

impl Pair {
    fn of(old: &str, new: &str, world: &str) -> Self {
        let mut resolve = Resolve::default();
        // Two packages of one name need two versions; the check itself ignores them.
        let mut select = |text: &str, version: &str| {
            let (head, rest) = text.split_once(';').unwrap();
            let (name, _) = head.split_once('@').unwrap();
            let package =
                resolve.push_str(format!("{version}.wit"), &format!("{name}@{version};{rest}")).unwrap();
            resolve.select_world(&[package], Some(world)).unwrap()
        };
        let (old, new) = (select(old, "0.0.1"), select(new, "0.0.2"));
        Self { resolve, old, new }
    }

    fn exports(&self, world: WorldId) -> Vec<String> {
        let exports = self.resolve.worlds[world].exports.keys();
        exports.map(|key| self.resolve.name_world_key(key).split('@').next().unwrap().to_owned()).collect()
    }

    /// Leaves out of the new world what it exports besides: nobody who knows only the old one has it.
    fn without_new_exports(mut self) -> Self {
        let known = self.exports(self.old);
        let names: Vec<_> = self.exports(self.new).iter().map(|name| known.contains(name)).collect();
        let mut keep = names.into_iter();
        self.resolve.worlds[self.new].exports.retain(|_, _| keep.next().unwrap());
        self
    }

    /// Leaves out every import but types, which exports are written with.
    fn without_imports(mut self) -> Self {
        let Self { resolve, old, new } = &mut self;
        for world in [*old, *new] {
            let Resolve { worlds, interfaces, .. } = &mut *resolve;
            worlds[world].imports.retain(|_, item| match item {
                WorldItem::Interface { id, .. } => interfaces[*id].functions.is_empty(),
                _ => true,
            });
        }
        self
    }

    /// Components of the old world run where the new one is offered.
    fn forward(self) -> Result<(), String> {
        semver_check(self.resolve, self.old, self.new).map_err(|error| format!("{error:#}"))
    }

    /// Nothing that the old world exports is gone.
    fn backward(self) -> Result<(), String> {
        let Self { resolve, old, new } = self.without_imports();
        semver_check(resolve, new, old).map_err(|error| format!("{error:#}"))
    }
}

/// Whether components built against one text run on a host that is built against another.
fn check(old: &str, new: &str) -> Result<(), String> {
    let least = || Pair::of(old, new, LEAST);
    let full = || Pair::of(old, new, FULL).without_new_exports();
    least().forward()?;
    least().backward()?;
    full().forward()?;
    full().backward()
}

/// The frozen text with one part replaced, which must be there.
fn with(from: &str, to: &str) -> String {
    assert!(FROZEN.contains(from), "{from} is not in the text");
    FROZEN.replacen(from, to, 1)
}

#[test]
fn the_frozen_text_is_that_of_the_first_release() {
    let digest = "224c9ec44811077c8121e1d70bec4a304347cc574a37fbc9bddccf79c9e2e244";
    assert_eq!(Digest::of(FROZEN.as_bytes()).to_string(), digest);
}

#[test]
fn components_of_the_first_release_fit_the_text_of_now() {
    check(FROZEN, CURRENT).unwrap();
}

#[test]
fn what_would_break_a_component_is_found() {
    let audit = "interface audit { look: func(); }\nworld strategy-plugin {";
    let changes = [
        ("a field of a record", "    trades: u32,\n  }", "    trades: u32,\n    vwap: price-ticks,\n  }"),
        ("fields in another order", "coefficient: s64, scale: u8", "scale: u8, coefficient: s64"),
        ("a case of an enum", "observation, shutdown }", "observation, shutdown, paused }"),
        ("a case of an enum that is only imported", "warn, error }", "warn, error, fatal }"),
        ("a case of an enum less", "future, option-contract, equity", "future, equity"),
        ("a case of a variant", "    operator(string),\n", "    operator(string),\n    settled(funding),\n"),
        ("the payload of a case", "    timer(u32),", "    timer(u64),"),
        ("a flag", "snapshot, stale, auction }", "snapshot, stale, auction, implied }"),
        ("an alias of another number", "type instrument-id = u32;", "type instrument-id = u64;"),
        ("the type of a parameter", "cancel-timer: func(id: u32)", "cancel-timer: func(id: u64)"),
        ("the name of a parameter", "on-bar: func(bar: bar,", "on-bar: func(candle: bar,"),
        ("one more parameter", "  stop: func() ->", "  stop: func(why: string) ->"),
        ("a result", "next: func() -> u64;", "next: func() -> u32;"),
        ("a result that was none", "cancel-timer: func(id: u32);", "cancel-timer: func(id: u32) -> bool;"),
        ("an imported function less", "  cancel-timer: func(id: u32);\n", ""),
        ("an exported function less", "  stop: func() -> list<order-intent>;\n", ""),
        (
            "a function of an optional export less",
            "  load: func(previous: snapshot) -> result<_, fault>;\n",
            "",
        ),
        ("one more exported function", "  stop: func() ->", "  pause: func();\n  stop: func() ->"),
        (
            "one more function of an optional export",
            "  save: func() ->",
            "  size: func() -> u64;\n  save: func() ->",
        ),
        ("an import less", "  import random;\n", ""),
        ("the required export less", "  export strategy;\n", ""),
        ("an optional export less", "  export bars;\n", ""),
    ];
    for (what, from, to) in changes {
        assert!(check(FROZEN, &with(from, to)).is_err(), "{what} was not found");
    }
    let required = with("world strategy-plugin {", audit)
        .replace("  export strategy;\n", "  export strategy;\n  export audit;\n");
    assert!(check(FROZEN, &required).is_err(), "one more required export was not found");
}

#[test]
fn what_a_component_does_not_notice_is_allowed() {
    let function = (
        "next: func() -> u64;",
        "next: func() -> u64;\n  /// One below a bound.\n  below: func(bound: u64) -> u64;",
    );
    let import = ("  import kv;\n", "  import kv;\n  import history;\n");
    let history = (
        "interface random {",
        "interface history { use types.{bar, instrument-id}; record span { since: u64, until: u64 }
           past: func(instrument: instrument-id, over: span) -> list<bar>; }\ninterface random {",
    );
    let export = ("  export batch;\n", "  export batch;\n  export quotes;\n");
    let quotes = (
        "/// Optional: many ticks",
        "interface quotes { use types.{tick, order-intent, fault}; on-quote: func(tick: tick) -> result<list<order-intent>, fault>; }
        /// Optional: many ticks",
    );
    let named = ("  /// What a tick carries", "  record note { text: string }\n  /// What a tick carries");
    let words = ("/// The host's own books, as of this call.", "/// Other words.");
    let allowed: [(&str, &[(&str, &str)]); 7] = [
        ("nothing", &[]),
        ("a function of an imported interface", &[function]),
        ("an imported interface", &[import, history]),
        ("an optional interface to export", &[export, quotes]),
        ("a type that nothing old uses", &[named]),
        ("documentation", &[words]),
        ("all of it", &[function, import, history, export, quotes, named, words]),
    ];
    for (what, changes) in allowed {
        let mut text = FROZEN.replace("strategy@1.0.0", "strategy@1.1.0");
        for (from, to) in changes {
            assert!(text.contains(from), "{from} is not in the text");
            text = text.replacen(from, to, 1);
        }
        check(FROZEN, &text).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}
