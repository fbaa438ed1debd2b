//! The shell's disk: the journal, the checkpoints and the compaction that a host has, over a disk in memory. Its
//! operations fail one by one, it loses its power, and what it holds changes behind everybody's back.

use super::rig::Rig;
use super::script::Scripted;
use super::shrink::Quiet;
use super::weather::{Stream, Weather};
use crate::agent::core::*;
use crate::agent::live::{AgentStore, Compactor, Remembered, StartError, Stories, check_story, load_state};
use crate::config::Config;
use crate::orders::Entry;
use crate::orders::journal::{FileJournal, Journal, JournalError, JournalSummary, NewRecord};
use crate::resilience::{
    Classified, DirLock, Disk, Fault, FaultDisk, FaultKind, Gate, MemoryDisk, SharedGate, checkpoint,
};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tempfile::TempDir;

const HOST: &str = r#"
data_dir = "state"

[venue.sim]
kind = "http"
base_url = "http://127.0.0.1:1"
key = { env = "KEY" }

[[instrument]]
symbol = "X"
venue = "sim"
kind = "spot"
quote_currency = "USD"
multiplier = "1"
tick_size = "1"
lot_size = "1"
min_lots = 1
max_lots = 1000

[feed]
kind = "files"
file = [{ path = "x.csv", symbol = "X" }]

[[agent]]
name = "agent"
component = "x.wasm"
venue = "sim"
instruments = ["X"]
cash = "1000000"

[journal]
# So little that a run fills several segments.
segment_bytes_max = 16384
record_bytes_max = 12000
"#;

pub(super) struct Storage {
    config: Config,
    memory: MemoryDisk,
    disk: FaultDisk,
    open: Option<Open>,
    /// The bytes of every record that was promised.
    promised: Vec<Vec<u8>>,
    /// Those after them that were handed over before the last death, or waited to be.
    handed: Vec<Vec<u8>>,
    /// How many of the promised ones a later write or a start says are there: damage to the others cannot be told from
    /// a write that was cut short.
    vouched: usize,
    /// Every checkpoint that was begun.
    begun: Vec<Snapshot>,
    /// The locks are on the machine's own disk, and nothing else.
    _locks: TempDir,
}

struct Open {
    /// Held before anything is touched, as a host does.
    _lock: DirLock,
    journal: Arc<FileJournal>,
    /// Does what the journal's thread does.
    write: Box<dyn FnMut()>,
    store: Vec<AgentStore>,
    compactor: Compactor,
}

/// What a start finds.
pub(super) struct Found {
    pub(super) state: Option<State>,
    pub(super) entries: Vec<Entry>,
    summary: JournalSummary,
    /// Every record, whoever needs it.
    records: Vec<(u64, Vec<u8>)>,
}

impl Storage {
    pub(super) fn new(segments_kept_min: u32, generations_max: u32) -> Self {
        let locks = tempfile::tempdir().unwrap();
        let mut config = Config::parse(HOST, Path::new("host.toml")).unwrap();
        config.data_dir = locks.path().to_owned();
        std::fs::create_dir(config.data_dir.join("journal")).unwrap();
        config.journal.segments_kept_min = segments_kept_min.try_into().unwrap();
        config.checkpoints.generations_max = generations_max.try_into().unwrap();
        let memory = MemoryDisk::default();
        Self {
            config,
            disk: FaultDisk::new(Arc::new(memory.clone()), None),
            memory,
            open: None,
            promised: Vec::new(),
            handed: Vec::new(),
            vouched: 0,
            begun: Vec::new(),
            _locks: locks,
        }
    }

    /// Opens everything as a host does at its start.
    fn open(&mut self) -> Result<Found, StartError> {
        self.open = None;
        let lock = DirLock::acquire(&self.config.data_dir)?;
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let agent = &self.config.agent[0];
        let (remembered, mut store) = load_state(&self.config, agent, Arc::clone(&disk))?;
        let remembered = [remembered];
        let (mut stories, mut records) = (Stories::default(), Vec::new());
        let mut gather = stories.gather(&self.config, &remembered);
        let mut visit = |seq, payload: &[u8]| {
            records.push((seq, payload.to_vec()));
            gather(seq, payload)
        };
        let dir = self.config.data_dir.join("journal");
        let opened = FileJournal::open_stepwise(&dir, self.config.journal.clone(), disk, &mut visit);
        drop(gather);
        let (journal, summary, write) = opened?;
        store.first_seq = stories.first_seqs.get(&agent.name).copied().unwrap_or(summary.next_seq);
        let story = stories.by_agent.remove(&agent.name).unwrap_or_default();
        check_story(agent, &remembered[0], &story, &summary)?;
        let journal = Arc::new(journal);
        let compactor = Compactor::new(Arc::clone(&journal), &[]);
        self.open =
            Some(Open { _lock: lock, journal, write: Box::new(write), store: vec![store], compactor });
        let [Remembered { state, .. }] = remembered;
        Ok(Found { state: state.map(|(state, _)| state), entries: story.entries, summary, records })
    }

    /// Writes records. Returns how many of them are durable, and why the others are not.
    pub(super) fn write(&mut self, records: &[Vec<u8>]) -> (usize, Option<JournalError>) {
        let Some(open) = &mut self.open else { return (0, None) };
        let answers = Arc::new(Mutex::new(Vec::new()));
        let record = |payload: &Vec<u8>| {
            let answers = Arc::clone(&answers);
            let done = move |answer| answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
            NewRecord { payload: payload.clone(), done: Box::new(done) }
        };
        if let Err(error) = open.journal.append_all(records.iter().map(record).collect()) {
            assert_eq!(error.code(), "journal_failed");
            return (0, Some(error));
        }
        (open.write)();
        let answers = std::mem::take(&mut *answers.lock().unwrap());
        assert_eq!(answers.len(), records.len(), "a record without an answer");
        let durable = answers.iter().take_while(|answer| answer.is_ok()).count();
        if durable > 0 {
            self.vouched = self.promised.len();
        }
        self.promised.extend_from_slice(&records[..durable]);
        (durable, answers.into_iter().find_map(Result::err))
    }

    pub(super) fn checkpoint(&mut self, snapshot: &Snapshot) -> Result<(), Failure> {
        self.begun.push(snapshot.clone());
        let open = self.open.as_mut().expect("the host runs");
        open.store[0].write(snapshot, snapshot.number)?;
        // What fails here is logged, and tried again after the next start.
        let _ = open.compactor.run(&mut open.store);
        Ok(())
    }

    /// The process dies with some records handed over, and others that it did not come to.
    pub(super) fn die(&mut self, records: Vec<Vec<u8>>, handed_over: usize) {
        let before = (self.promised.len(), self.vouched);
        self.write(&records[..handed_over.min(records.len())]);
        // Nobody was told.
        self.promised.truncate(before.0);
        self.vouched = before.1;
        self.handed = records;
        self.open = None;
        self.disk.set_fault(None);
    }

    /// Somebody starts another host on the same state.
    pub(super) fn check_alone(&self) {
        if self.open.is_some() {
            let second = DirLock::acquire(&self.config.data_dir).map(|_| ());
            assert_eq!(second.map_err(|error| error.code()), Err("directory_in_use"));
        }
    }

    pub(super) fn heal(&self) {
        self.disk.set_fault(None);
    }

    /// One of the next operations fails, or all from then on.
    pub(super) fn fail_soon(&self, within: u64, kind: u64, lasting: bool) {
        let kind = [FaultKind::Io, FaultKind::Full, FaultKind::ShortWrite][kind as usize];
        self.disk.set_fault(Some(Fault { operation: self.disk.operations() + within, kind, lasting }));
    }

    pub(super) fn operations(&self) -> u64 {
        self.disk.operations()
    }

    /// The power goes, and with it all that was not synced.
    pub(super) fn lose_all(&self) {
        self.memory.lose_all();
    }

    /// Files of the journal, or checkpoints, oldest first.
    fn files(&self, end: &str) -> Vec<PathBuf> {
        let is_one = |path: &PathBuf| path.extension().is_some_and(|found| found == end);
        self.memory.files().into_keys().filter(is_one).collect()
    }

    /// Something changes files that are durable.
    fn damage(&self, mut below: impl FnMut(u64) -> u64) {
        let checkpoints = self.files("ck");
        let flip = |path: &Path, bit: u64| {
            self.memory.damage(path, |bytes| {
                let bits = bytes.len() as u64 * 8;
                bytes[(bit % bits / 8) as usize] ^= 1 << (bit % 8);
            });
        };
        let newest = checkpoints.last().filter(|_| below(2) == 0);
        match (below(5), newest) {
            (0, Some(newest)) => self.memory.remove_durably(newest),
            (1, Some(newest)) => {
                let kept = below(2) * below(5_000);
                self.memory.damage(newest, |bytes| bytes.truncate(kept as usize));
            }
            (2, Some(newest)) => flip(newest, below(u64::MAX)),
            (3, Some(_)) => checkpoints.iter().for_each(|path| self.memory.remove_durably(path)),
            (4, Some(_)) => checkpoints.iter().for_each(|path| flip(path, below(u64::MAX))),
            (_, _) => {
                let segments = self.files("wal");
                let Some(segment) = segments.get(below(segments.len().max(1) as u64) as usize) else {
                    return;
                };
                // Most of a segment may be empty.
                let used =
                    self.memory.files()[segment].iter().rposition(|byte| *byte != 0).unwrap_or(0) as u64;
                let bit = below((used + 1) * 8);
                flip(segment, bit);
            }
        }
    }

    /// I17 and I18: what was promised is there as it was, nothing was made up, and nobody's journal begins too late.
    fn check(&self, found: &Found) {
        let mut expected = self.promised.iter().chain(&self.handed).enumerate();
        let first = found.summary.first_seq;
        for (seq, payload) in &found.records {
            let (_, written) =
                expected.find(|(index, _)| *index as u64 + 1 == *seq).expect("a record that nobody wrote");
            assert!(written == payload, "record {seq} is another one");
        }
        let oldest = self.open.as_ref().and_then(|open| open.store[0].checkpoints.oldest_journal_seq());
        assert!(
            oldest.is_none_or(|oldest| first <= oldest),
            "the journal begins with {first}, after {oldest:?}"
        );
        let state = found.state.as_ref().map(|state| state.number);
        assert_eq!(state, self.checkpoints().last().map(|newest| newest.number), "not the newest checkpoint");
    }

    /// The checkpoints that another start may go on from, oldest first.
    fn checkpoints(&self) -> Vec<Snapshot> {
        let read = |path: &PathBuf| checkpoint::inspect(path, &self.memory).unwrap().payload;
        let kept: Vec<Vec<u8>> = self.files("ck").iter().map(read).collect();
        let begun = |payload: &Vec<u8>| self.begun.iter().rfind(|begun| begun.payload == *payload).cloned();
        kept.iter().map(|payload| begun(payload).expect("a checkpoint that nobody wrote")).collect()
    }

    /// How many of the promised records are there.
    fn kept(&self, found: &Found) -> usize {
        self.promised.len().min(found.summary.next_seq as usize - 1)
    }

    /// Opens a disk that is well.
    fn reopen(&mut self) -> Found {
        let found = self.open().unwrap_or_else(|error| panic!("{}: {error}", error.code()));
        self.check(&found);
        assert_eq!(self.kept(&found), self.promised.len(), "promised records are gone");
        found
    }

    /// After a death: the machine loses its power or does not, something is damaged or is not, and the disk may fail
    /// once more. An operator starts the host again until it runs, and brings back from a copy what it says is damaged.
    fn rise(&mut self, weather: &mut Weather) -> Found {
        let loses_power = weather.below(Stream::Stored, 2) == 0;
        if weather.lets(Quiet::Power) && loses_power {
            self.memory.lose_power(|bound| weather.below(Stream::Stored, bound));
        }
        let copy = self.memory.copy();
        let damaged = weather.happens(Stream::Damage, weather.damage) && weather.lets(Quiet::Damage);
        if damaged {
            self.damage(|bound| weather.below(Stream::Damage, bound));
        }
        let fails = weather.happens(Stream::Operations, weather.operations);
        let (within, kind) = (weather.below(Stream::Operations, 20), weather.below(Stream::Operations, 3));
        if fails && weather.lets(Quiet::Operations) {
            self.fail_soon(within, kind, weather.below(Stream::Operations, 2) == 0);
            let failed = self.open();
            self.heal();
            match failed {
                // What it could not do was of no consequence, or it came to it later.
                Ok(found) if !damaged => {
                    self.check(&found);
                    self.open = None;
                }
                Ok(_) => self.open = None,
                Err(error) if !damaged => assert_eq!(error.class(), Class::Resource, "{error}"),
                Err(_) => {}
            }
            if weather.lets(Quiet::Power) && loses_power {
                self.memory.lose_power(|bound| weather.below(Stream::Operations, bound));
            }
        }
        if damaged && let Some(found) = self.open_damaged() {
            return found;
        }
        if damaged {
            self.memory.restore(&copy);
        }
        self.reopen()
    }

    /// Opens a disk on which something was damaged: that is found and refused, or it did not matter.
    fn open_damaged(&mut self) -> Option<Found> {
        let journal = |storage: &Self| {
            let files = storage.memory.files().into_iter();
            files.filter(|(path, _)| path.extension().is_some_and(|end| end == "wal")).collect::<Vec<_>>()
        };
        let before = journal(self);
        match self.open() {
            Ok(found) => {
                self.check(&found);
                let kept = self.kept(&found);
                assert!(kept >= self.vouched, "{kept} records of {} are there", self.promised.len());
                (kept == self.promised.len()).then_some(found)
            }
            Err(error) => {
                let named = ["journal_corrupt", "no_state", "journal_behind"];
                assert!(named.contains(&error.code()), "{}: {error}", error.code());
                let untouched = error.code() != "journal_corrupt" || journal(self) == before;
                assert!(untouched, "a corrupt journal was changed");
                None
            }
        }
    }
}

impl Rig {
    /// The machine starts again, and the host on it.
    pub(super) fn rise(&mut self, weather: &mut Weather) {
        let Some(mut storage) = self.storage.take() else { return self.start() };
        let found = storage.rise(weather);
        self.storage = Some(storage);
        self.start_found(found);
    }

    /// Starts on a disk that may fail meanwhile. Then the power goes, too, and the host starts once the disk is well.
    pub(super) fn start_on_a_failing_disk(&mut self) {
        let storage = self.storage.as_mut().expect("it has one");
        let found = match storage.open() {
            Ok(found) => found,
            Err(error) => {
                assert_eq!(error.class(), Class::Resource, "{error}");
                storage.heal();
                storage.lose_all();
                storage.reopen()
            }
        };
        self.start_found(found);
    }

    /// Starts from a disk that is well.
    pub(super) fn start_stored(&mut self) {
        let found = self.storage.as_mut().expect("it has one").reopen();
        self.start_found(found);
    }

    fn start_found(&mut self, found: Found) {
        let storage = self.storage.as_mut().expect("it has one");
        for (seq, payload) in &found.records {
            if *seq as usize > self.journal.len() {
                self.journal.push(Entry::decode(*seq, payload).unwrap());
                storage.promised.push(payload.clone());
            }
        }
        self.checkpoints = storage.checkpoints();
        storage.handed.clear();
        storage.vouched = storage.promised.len();
        self.gate = SharedGate::new(Gate::new(self.gate_config, 1));
        let core = self.recover_from(self.strategy.clone(), found.state, &found.entries).unwrap();
        self.start_core(core);
    }

    /// What the disk holds gives what runs.
    pub(super) fn check_stored(&mut self) {
        let expected = self.journaled_state(self.core());
        let found = self.storage.as_mut().expect("it has one").reopen();
        let core = self.recover_from(Scripted::default(), found.state, &found.entries).unwrap();
        assert!(self.journaled_state(&core) == expected, "the disk's checkpoint and the records after it");
    }
}
