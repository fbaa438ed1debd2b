//! A seed that failed, cut down to the fewest turns, faults and disturbances that still fail, and kept.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A run of the swarm: what a seed draws, less what was taken away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cut {
    /// Which of the swarm's runs.
    pub which: Which,
    pub seed: u64,
    /// No more turns than this.
    pub turns_max: u64,
    /// Kinds of faults that do not occur, as bits.
    pub without: u64,
    /// What does not happen at all.
    pub quiet: Vec<Quiet>,
}

/// The runs of the swarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Which {
    Keys,
    ClientIds,
    OpenIds,
    NoIds,
    Keeping,
    Exchanging,
    Sandboxed,
    Stored,
    Moody,
}

/// A disturbance that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Quiet {
    Deaths,
    HeldAcks,
    Checkpoints,
    Pauses,
    Clock,
    Polls,
    Reconnects,
    Observing,
    DiskFailures,
    BadSamples,
    Misbehaviour,
    Hours,
    Replies,
    Letters,
    Power,
    Operations,
    Damage,
    Headers,
}

impl Quiet {
    const ALL: [Self; 18] = [
        Self::Deaths,
        Self::HeldAcks,
        Self::Checkpoints,
        Self::Pauses,
        Self::Clock,
        Self::Polls,
        Self::Reconnects,
        Self::Observing,
        Self::DiskFailures,
        Self::BadSamples,
        Self::Misbehaviour,
        Self::Hours,
        Self::Replies,
        Self::Letters,
        Self::Power,
        Self::Operations,
        Self::Damage,
        Self::Headers,
    ];
}

impl Cut {
    /// More than any run has.
    const TURNS_MAX: u64 = 64;
    /// More than there are kinds.
    const FAULTS: u64 = 16;

    /// Everything that the seed draws.
    pub fn whole(which: Which, seed: u64) -> Self {
        Self { which, seed, turns_max: Self::TURNS_MAX, without: 0, quiet: Vec::new() }
    }

    /// The smallest cut that fails, of those that differ from it in one thing; then of those that differ from that.
    /// What else it draws stays where it was.
    pub fn shrink(self, fails: impl Fn(&Self) -> bool) -> Self {
        let mut best = self;
        loop {
            let before = best.clone();
            if let Some(turns_max) =
                (0..best.turns_max).find(|turns_max| fails(&Self { turns_max: *turns_max, ..best.clone() }))
            {
                best.turns_max = turns_max;
            }
            for kind in 0..Self::FAULTS {
                let smaller = Self { without: best.without | 1 << kind, ..best.clone() };
                if smaller != best && fails(&smaller) {
                    best = smaller;
                }
            }
            for what in Quiet::ALL {
                let mut smaller = best.clone();
                if !smaller.quiet.contains(&what) {
                    smaller.quiet.push(what);
                    if fails(&smaller) {
                        best = smaller;
                    }
                }
            }
            if best == before {
                return best;
            }
        }
    }

    /// Writes it where a person finds it.
    pub fn keep(&self) -> PathBuf {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/regressions");
        std::fs::create_dir_all(&dir).unwrap();
        let which = serde_json::to_value(self.which).unwrap();
        let path = dir.join(format!("{}-{}.json", which.as_str().unwrap(), self.seed));
        std::fs::write(&path, serde_json::to_string_pretty(self).unwrap() + "\n").unwrap();
        path
    }

    /// Those that were kept for good, with their names.
    pub fn kept() -> Vec<(String, Self)> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/regressions");
        let mut kept: Vec<(String, Self)> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "json"))
            .map(|path| {
                let text = std::fs::read_to_string(&path).unwrap();
                let cut =
                    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                (path.file_name().unwrap().to_string_lossy().into_owned(), cut)
            })
            .collect();
        kept.sort_by(|(a, _), (b, _)| a.cmp(b));
        kept
    }
}

#[test]
fn what_is_left_is_what_it_takes_to_fail() {
    // Fails from its seventh turn on, when fault 3 occurs and hosts die.
    let fails =
        |cut: &Cut| cut.turns_max >= 7 && cut.without >> 3 & 1 == 0 && !cut.quiet.contains(&Quiet::Deaths);
    let smallest = Cut::whole(Which::Keys, 5).shrink(fails);
    assert_eq!((smallest.turns_max, smallest.without), (7, 0xFFFF & !(1 << 3)));
    let all_but_deaths: Vec<Quiet> = Quiet::ALL.into_iter().filter(|quiet| *quiet != Quiet::Deaths).collect();
    assert_eq!(smallest.quiet, all_but_deaths);
}

#[test]
fn a_cut_survives_its_file() {
    let cut = Cut { quiet: vec![Quiet::Polls], ..Cut::whole(Which::NoIds, 7) };
    let text = serde_json::to_string(&cut).unwrap();
    assert_eq!(serde_json::from_str::<Cut>(&text).unwrap(), cut);
    assert!(serde_json::from_str::<Cut>(&text.replace("seed", "sead")).is_err());
}
