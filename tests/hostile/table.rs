//! The list of all attacks, as the documentation has it.

use crate::attack::Attack;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

const SECTIONS: [(&str, &[Attack]); 9] = [
    ("Code that does not end", crate::loops::ATTACKS),
    ("More and more of something", crate::bombs::ATTACKS),
    ("Answers that are no values", crate::values::ATTACKS),
    ("Misuse of what the host lends", crate::services::ATTACKS),
    ("After a trap, and on another instance", crate::after::ATTACKS),
    ("States that are not what they should be", crate::state::ATTACKS),
    ("Components that no host should take", crate::preflight::ATTACKS),
    ("Much work for the compiler", crate::compile::ATTACKS),
    ("Intents that no account should see", crate::intents::ATTACKS),
];

/// All attacks.
pub fn attacks() -> impl Iterator<Item = &'static Attack> {
    SECTIONS.iter().flat_map(|(_, attacks)| attacks.iter())
}

fn table() -> String {
    let mut out = String::from(
        "<!-- Made by `cargo test -p ringfence --test hostile table`: run it with RINGFENCE_UPDATE_DOCS=1. -->\n",
    );
    for (title, attacks) in SECTIONS {
        let _ = write!(out, "\n## {title}\n\n| attack | verdict | what it can spend |\n|---|---|---|\n");
        for attack in attacks {
            let name = attack.name.replace('_', " ");
            let _ = writeln!(out, "| {name} | `{}` | {} |", attack.verdict, attack.budget.text());
        }
    }
    out
}

#[test]
fn the_documentation_lists_every_attack_and_its_verdict() {
    const MARK: &str = "<!-- Made by";
    let table = table();
    println!("{table}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/hostile.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (words, listed) = page.split_at(page.find(MARK).unwrap());
    if std::env::var_os("RINGFENCE_UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{words}{table}")).unwrap();
        return;
    }
    let first = listed.lines().zip(table.lines()).find(|(listed, made)| listed != made);
    assert!(
        listed == table,
        "docs/hostile.md is not what the suite holds, first {first:?}: run `RINGFENCE_UPDATE_DOCS=1 cargo test \
         --release -p ringfence --test hostile table`"
    );
}

#[test]
fn there_are_at_least_forty_attacks_and_no_two_share_a_name() {
    let names: BTreeSet<_> = attacks().map(|attack| attack.name).collect();
    assert_eq!(names.len(), attacks().count());
    assert!(names.len() >= 40, "{}", names.len());
}
