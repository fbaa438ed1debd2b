use super::*;
use crate::orders::journal::{Journal, JournalConfig};
use crate::resilience::{
    CheckpointConfig, CheckpointPoint, CheckpointStore, DiskFile, Fault, FaultDisk, FaultKind, Loaded,
    RealDisk,
};
use proptest::prelude::*;
use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::channel;

/// Of each agent, the numbers and places of its records.
type Records = BTreeMap<AgentName, Vec<(u64, u64)>>;

fn agents(count: usize) -> Vec<AgentName> {
    (0..count).map(|n| format!("agent-{n}").parse().unwrap()).collect()
}

fn journal_config() -> JournalConfig {
    JournalConfig {
        segment_bytes_max: 4_096 + 256,
        record_bytes_max: 64,
        segments_kept_min: 1.try_into().unwrap(),
        ..JournalConfig::default()
    }
}

/// A folder with a journal and checkpoints, as a host has it open.
struct Rig {
    journal: Arc<FileJournal>,
    stores: Vec<AgentStore>,
    loaded: Vec<Loaded>,
    compactor: Compactor,
    /// Number of each agent's first record in the journal.
    first: Vec<u64>,
    /// Number and place of each agent's last record.
    last: Vec<(u64, u64)>,
}

impl Rig {
    /// Opens everything in the order in which a host does it; `running` of the agents run.
    fn open(dir: &Path, running: &[AgentName], disk: &Arc<dyn Disk>) -> Result<Self, String> {
        let mut stores = Vec::new();
        let mut loaded = Vec::new();
        for agent in running {
            let config =
                CheckpointConfig { generations_max: 2.try_into().unwrap(), ..CheckpointConfig::default() };
            let folder = dir.join("checkpoints").join(agent.as_str());
            let (checkpoints, found) =
                CheckpointStore::open(&folder, agent.as_str(), config, Arc::clone(disk))
                    .map_err(|e| e.to_string())?;
            stores.push(AgentStore { incarnation: 1, checkpoints, first_seq: 0 });
            loaded.push(found);
        }
        let mut records = Records::new();
        let opened = FileJournal::open(
            &dir.join("journal"),
            journal_config(),
            Arc::clone(disk),
            &mut |seq, payload| {
                add(&mut records, seq, payload);
                Ok(())
            },
        );
        let (journal, summary) = opened.map_err(|error| error.to_string())?;
        let journal = Arc::new(journal);
        let first_seqs = records.iter().map(|(agent, records)| (agent.clone(), records[0].1)).collect();
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for (agent, store) in running.iter().zip(&mut stores) {
            let own = records.get(agent);
            store.first_seq = own.map_or(summary.next_seq, |own| own[0].1);
            first.push(own.map_or(0, |own| own[0].0));
            last.push(own.and_then(|own| own.last().copied()).unwrap_or((0, 0)));
        }
        let others = journal_holds(dir, &first_seqs, &running.iter().cloned().collect(), &**disk)
            .map_err(|error| error.to_string())?;
        let compactor = Compactor::new(Arc::clone(&journal), &others);
        Ok(Self { journal, stores, loaded, compactor, first, last })
    }

    fn append(&mut self, index: usize, agent: &AgentName) -> bool {
        let number = self.last[index].0 + 1;
        let (answer, answers) = channel();
        let done = Box::new(move |outcome| answer.send(outcome).unwrap_or_default());
        if self.journal.append(format!("{agent} {number}").into_bytes(), done).is_err() {
            return false;
        }
        let Ok(Ok(seq)) = answers.recv() else { return false };
        self.last[index] = (number, seq);
        true
    }

    fn checkpoint(&mut self, index: usize) -> bool {
        let (number, journal_seq) = self.last[index];
        if number == 0 {
            return true;
        }
        let point = CheckpointPoint { tick: number, journal_seq, incarnation: 1, plugin: [0; 32] };
        let written = self.stores[index].checkpoints.write(point, &number.to_le_bytes()).is_ok();
        written && self.compactor.run(&mut self.stores).is_ok()
    }
}

fn add(records: &mut Records, seq: u64, payload: &[u8]) {
    let text = String::from_utf8(payload.to_vec()).unwrap();
    let (agent, number) = text.split_once(' ').unwrap();
    records.entry(agent.parse().unwrap()).or_default().push((number.parse().unwrap(), seq));
}

/// The journal goes on, without a gap and to the end, from every checkpoint that can be read.
fn assert_every_generation_can_be_continued(dir: &Path, all: &[AgentName], last: &BTreeMap<AgentName, u64>) {
    let mut records = Records::new();
    let summary = crate::orders::journal::read(&dir.join("journal"), &RealDisk, &mut |seq, payload| {
        add(&mut records, seq, payload);
        Ok(())
    });
    let first_seq = summary.unwrap().first_seq;
    for agent in all {
        let Ok(verified) = checkpoint::verify(&dir.join("checkpoints").join(agent.as_str()), &RealDisk)
        else {
            continue;
        };
        for header in verified.into_iter().filter_map(|file| file.result.ok()) {
            let (from, seq) = (header.point.tick, header.point.journal_seq);
            assert!(first_seq <= seq, "{agent}: the journal starts with {first_seq}, {header:?}");
            let own = records.get(agent).into_iter().flatten();
            let after: Vec<u64> = own.filter(|(_, at)| *at > seq).map(|(number, _)| *number).collect();
            assert_eq!(after, (from + 1..=last[agent]).collect::<Vec<_>>(), "{agent}: {header:?}");
        }
    }
}

fn generations(dir: &Path, agent: &AgentName) -> Vec<PathBuf> {
    let folder = dir.join("checkpoints").join(agent.as_str());
    let names = RealDisk.list(&folder).unwrap_or_default();
    names.into_iter().filter(|name| name.ends_with(".ck")).map(|name| folder.join(name)).collect()
}

/// A disk that loses nothing because nobody takes its power away: the tests here are about what is removed.
struct Unsynced;

struct UnsyncedFile(Box<dyn DiskFile>);

impl DiskFile for UnsyncedFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.0.write_at(offset, bytes)
    }
    fn sync_data(&mut self) -> Result<(), DiskError> {
        Ok(())
    }
}

impl Disk for Unsynced {
    fn create_dir(&self, path: &Path) -> Result<(), DiskError> {
        RealDisk.create_dir(path)
    }
    fn create_new(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        Ok(Box::new(UnsyncedFile(RealDisk.create_new(path)?)))
    }
    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        Ok(Box::new(UnsyncedFile(RealDisk.open(path)?)))
    }
    fn read(&self, path: &Path, bytes_max: u64) -> Result<Vec<u8>, DiskError> {
        RealDisk.read(path, bytes_max)
    }
    fn list(&self, dir: &Path) -> Result<Vec<String>, DiskError> {
        RealDisk.list(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        RealDisk.remove(path)
    }
    fn sync_dir(&self, _: &Path) -> Result<(), DiskError> {
        Ok(())
    }
}

fn unsynced() -> Arc<dyn Disk> {
    Arc::new(Unsynced)
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Checkpoint(usize),
    /// The host dies and starts again with this many of the agents.
    Restart(usize),
    /// One generation of an agent loses a byte.
    Rot(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..3_usize).prop_map(Step::Append),
        4 => (0..3_usize).prop_map(Step::Checkpoint),
        1 => (1..4_usize).prop_map(Step::Restart),
        1 => (0..3_usize, 0..2_usize).prop_map(|(agent, which)| Step::Rot(agent, which)),
    ];
    proptest::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_is_compacted_every_kept_generation_can_be_continued_and_nobody_becomes_a_first_run(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let all = agents(3);
        let mut last: BTreeMap<AgentName, u64> = all.iter().map(|agent| (agent.clone(), 0)).collect();
        let mut running = 3;
        let mut rig = Rig::open(dir.path(), &all, &unsynced()).unwrap();
        for step in steps {
            match step {
                Step::Append(index) if index < running => {
                    prop_assert!(rig.append(index, &all[index]));
                    last.insert(all[index].clone(), rig.last[index].0);
                }
                Step::Checkpoint(index) if index < running => prop_assert!(rig.checkpoint(index)),
                Step::Append(_) | Step::Checkpoint(_) => {}
                Step::Restart(count) => {
                    drop(rig);
                    running = count;
                    rig = Rig::open(dir.path(), &all[..running], &unsynced()).unwrap();
                    for (index, agent) in all[..running].iter().enumerate() {
                        if last[agent] == 0 {
                            continue;
                        }
                        // Its records or its checkpoints tell that it ran before, whatever has rotted.
                        prop_assert_eq!(rig.last[index].0, last[agent], "{}", agent);
                        let rebuilt = rig.first[index] == 1;
                        prop_assert!(rebuilt || !matches!(rig.loaded[index], Loaded::FirstRun), "{}", agent);
                    }
                }
                Step::Rot(index, which) => {
                    if let Some(path) = generations(dir.path(), &all[index]).get(which) {
                        let mut bytes = fs::read(path).unwrap();
                        // Damage that a second one cannot undo.
                        bytes.pop();
                        fs::write(path, bytes).unwrap();
                    }
                }
            }
            assert_every_generation_can_be_continued(dir.path(), &all, &last);
        }
    }
}

/// A folder in which two agents have written, and checkpointed once a record.
fn busy(dir: &Path, disk: &Arc<dyn Disk>, all: &[AgentName], rounds: usize) -> Result<Rig, String> {
    let mut rig = Rig::open(dir, all, disk)?;
    for _ in 0..rounds {
        for (index, agent) in all.iter().enumerate() {
            rig.append(index, agent);
            rig.checkpoint(index);
        }
    }
    Ok(rig)
}

fn starts_with(dir: &Path) -> u64 {
    crate::orders::journal::verify(&dir.join("journal"), &RealDisk).unwrap().first_seq
}

#[test]
fn the_journal_shrinks_while_agents_run_and_stands_still_for_one_that_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let all = agents(2);
    drop(busy(dir.path(), &unsynced(), &all, 20).unwrap());
    let before = starts_with(dir.path());
    assert!(before > 20, "{before}");
    // The second agent is not configured any more: the journal waits for it where its oldest checkpoint is.
    drop(busy(dir.path(), &unsynced(), &all[..1], 20).unwrap());
    let holds = journal_holds(dir.path(), &BTreeMap::new(), &BTreeSet::new(), &RealDisk).unwrap();
    assert_eq!((&holds[0].agent, holds[0].generation), (&all[1], Some(19)));
    assert!(starts_with(dir.path()) <= holds[0].from_seq && holds[0].from_seq < 41, "{holds:?}");
}

#[test]
fn an_agent_whose_checkpoints_are_all_gone_holds_the_journal_at_its_first_record() {
    let dir = tempfile::tempdir().unwrap();
    let all = agents(2);
    let mut rig = Rig::open(dir.path(), &all, &unsynced()).unwrap();
    rig.append(1, &all[1]);
    drop(rig);
    drop(busy(dir.path(), &unsynced(), &all[..1], 30).unwrap());
    assert_eq!(starts_with(dir.path()), 1);
    let first_seqs = BTreeMap::from([(all[1].clone(), 1)]);
    let holds = journal_holds(dir.path(), &first_seqs, &BTreeSet::new(), &RealDisk).unwrap();
    assert_eq!(holds[0], JournalHold { agent: all[1].clone(), from_seq: 1, generation: None });
}

#[test]
fn a_generation_that_rots_while_the_host_runs_is_neither_counted_nor_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let all = agents(1);
    let mut rig = busy(dir.path(), &unsynced(), &all, 3).unwrap();
    let newest = generations(dir.path(), &all[0]).pop().unwrap();
    let good = fs::read(&newest).unwrap();
    fs::write(&newest, &good[..good.len() - 1]).unwrap();
    rig.stores[0].checkpoints.verify_kept().unwrap();
    assert_eq!(rig.stores[0].checkpoints.oldest_journal_seq(), Some(2));
    for _ in 0..20 {
        rig.append(0, &all[0]);
        assert!(rig.checkpoint(0));
    }
    assert!(newest.exists(), "what is damaged is evidence");
}

#[test]
fn whichever_operation_fails_no_acknowledged_record_and_no_way_back_is_lost() {
    let all = agents(2);
    for kind in [FaultKind::Io, FaultKind::Full, FaultKind::ShortWrite] {
        for lasting in [false, true] {
            for operation in 0.. {
                let dir = tempfile::tempdir().unwrap();
                let disk = FaultDisk::new(unsynced(), Some(Fault { operation, kind, lasting }));
                let mut last: BTreeMap<AgentName, u64> = all.iter().map(|agent| (agent.clone(), 0)).collect();
                if let Ok(mut rig) = Rig::open(dir.path(), &all, &(Arc::new(disk.clone()) as Arc<dyn Disk>)) {
                    let mut broken = false;
                    for _ in 0..10 {
                        for (index, agent) in all.iter().enumerate() {
                            let acknowledged = rig.append(index, agent);
                            assert!(
                                !(broken && acknowledged),
                                "a record after a failure, operation {operation}"
                            );
                            broken |= !acknowledged;
                            rig.checkpoint(index);
                        }
                    }
                    assert_eq!(broken, rig.journal.failure().is_some(), "operation {operation}");
                    for (agent, (number, _)) in all.iter().zip(&rig.last) {
                        last.insert(agent.clone(), *number);
                    }
                }
                let clean = disk.operations() <= operation;
                let rig = Rig::open(dir.path(), &all, &unsynced()).unwrap();
                for (agent, (number, _)) in all.iter().zip(&rig.last) {
                    // A record that nobody was told about may be there too.
                    assert!(
                        (last[agent]..=last[agent] + 1).contains(number),
                        "operation {operation}, {agent}"
                    );
                    last.insert(agent.clone(), *number);
                }
                assert_every_generation_can_be_continued(dir.path(), &all, &last);
                if clean {
                    break;
                }
            }
        }
    }
}
