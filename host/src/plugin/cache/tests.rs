use super::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use tempfile::TempDir;
use wasmtime::Engine;

fn component(number: u32) -> Vec<u8> {
    wat::parse_str(format!("(component (core module (func (result i32) (i32.const {number}))))")).unwrap()
}

struct Fixture {
    dir: TempDir,
    engine: Engine,
    cache: CompileCache,
}

impl Fixture {
    fn new() -> Self {
        Self::bounded(CacheConfig::default())
    }

    fn bounded(config: CacheConfig) -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        let engine = Engine::default();
        let config = CacheConfig { dir: dir.path().join("state").join("compiled"), ..config };
        let cache = CompileCache::new(config, EngineHash::of(&engine), 1 << 20);
        Self { dir, engine, cache }
    }

    fn folder(&self) -> &Path {
        &self.cache.config.dir
    }

    fn keep(&self, number: u32) -> Digest {
        let bytes = component(number);
        let digest = Digest::of(&bytes);
        self.cache.put(digest, &Artifact::compile(&self.engine, &bytes).unwrap()).unwrap();
        digest
    }

    fn file(&self, digest: Digest) -> PathBuf {
        self.folder().join(self.cache.file(digest))
    }

    fn is_kept(&self, digest: Digest) -> bool {
        self.cache.get(digest).unwrap().is_some()
    }

    fn fault(&self, digest: Digest) -> String {
        match self.cache.get(digest) {
            Err(fault) => fault.to_string(),
            Ok(found) => panic!("expected a fault, found {:?}", found.map(|artifact| artifact.len())),
        }
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_was_kept_is_found_and_loads() {
    let fixture = Fixture::new();
    assert!(fixture.cache.get(Digest::of(b"x")).unwrap().is_none(), "there is no folder yet");
    assert!(!fixture.folder().exists(), "looking makes nothing");
    let digest = fixture.keep(1);
    fixture.cache.get(digest).unwrap().unwrap().load(&fixture.engine).unwrap();
    assert!(fixture.cache.get(Digest::of(b"x")).unwrap().is_none());
}

#[test]
fn the_folder_and_everything_in_it_is_for_this_user_alone() {
    let fixture = Fixture::new();
    let digest = fixture.keep(1);
    assert_eq!(mode(fixture.folder()), 0o700);
    assert_eq!(mode(&fixture.folder().join("key")), 0o600);
    assert_eq!(mode(&fixture.file(digest)), 0o600);
    assert_eq!(fs::read_dir(fixture.folder()).unwrap().count(), 2, "nothing half written is left");
}

#[test]
fn a_folder_key_or_file_that_others_can_get_at_is_not_used() {
    let fixture = Fixture::new();
    let digest = fixture.keep(1);
    for (path, own) in [
        (fixture.folder().to_owned(), 0o700),
        (fixture.folder().join("key"), 0o600),
        (fixture.file(digest), 0o600),
    ] {
        for others in [0o040, 0o020, 0o004, 0o002, 0o001] {
            set_mode(&path, own | others);
            let fault = fixture.fault(digest);
            assert!(fault.contains("others can get at it") && fault.contains("remove it"), "{fault}");
        }
        set_mode(&path, own);
        assert!(fixture.is_kept(digest));
    }
    set_mode(fixture.folder(), 0o755);
    let artifact = Artifact::compile(&fixture.engine, &component(2)).unwrap();
    assert!(
        fixture.cache.put(Digest::of(&component(2)), &artifact).is_err(),
        "nothing is written there either"
    );
}

#[test]
fn links_are_not_followed() {
    let fixture = Fixture::new();
    let digest = fixture.keep(1);
    let elsewhere = fixture.dir.path().join("elsewhere");
    for path in [fixture.folder().to_owned(), fixture.folder().join("key"), fixture.file(digest)] {
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        let fault = fixture.fault(digest);
        assert!(fault.contains("link"), "{fault}");
        fs::remove_file(&path).unwrap();
        fs::rename(&elsewhere, &path).unwrap();
        assert!(fixture.is_kept(digest));
    }
}

#[test]
fn a_folder_in_the_place_of_a_file_is_a_fault_and_not_a_crash() {
    let fixture = Fixture::new();
    let digest = fixture.keep(1);
    fs::remove_file(fixture.file(digest)).unwrap();
    fs::create_dir(fixture.file(digest)).unwrap();
    assert!(fixture.fault(digest).contains("no file"));
}

#[test]
fn code_of_another_component_under_this_ones_name_is_a_fault() {
    let fixture = Fixture::new();
    let (one, two) = (fixture.keep(1), fixture.keep(2));
    fs::copy(fixture.file(two), fixture.file(one)).unwrap();
    assert!(fixture.fault(one).contains("another component"));
    assert!(fixture.is_kept(two));
}

#[test]
fn code_for_another_engine_is_not_even_found_and_under_the_right_name_a_fault() {
    let fixture = Fixture::new();
    let digest = fixture.keep(1);
    let newer = EngineHash([9; 32]);
    let other = CompileCache::new(fixture.cache.config.clone(), newer, 1 << 20);
    assert!(other.get(digest).unwrap().is_none());
    fs::rename(fixture.file(digest), fixture.folder().join(other.file(digest))).unwrap();
    assert!(matches!(other.get(digest), Err(CacheFault::Seal { source: SealError::OtherEngine, .. })));
}

#[test]
fn another_key_is_a_fault_until_the_file_is_written_anew() {
    let fixture = Fixture::new();
    let digest = fixture.keep(1);
    fs::write(fixture.folder().join("key"), [1; 32]).unwrap();
    assert!(fixture.fault(digest).contains("seal"));
    fixture.keep(1);
    assert!(fixture.is_kept(digest));
    fs::write(fixture.folder().join("key"), [1; 31]).unwrap();
    assert!(fixture.fault(digest).contains("32 bytes"));
    fs::remove_file(fixture.folder().join("key")).unwrap();
    assert!(!fixture.is_kept(digest), "without a key nothing is believed");
}

#[test]
fn damage_and_a_missing_end_are_faults_that_writing_repairs() {
    let fixture = Fixture::new();
    let digest = fixture.keep(1);
    let good = fs::read(fixture.file(digest)).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    fs::write(fixture.file(digest), bad).unwrap();
    assert!(fixture.fault(digest).contains("seal"));
    fs::write(fixture.file(digest), &good[..good.len() - 9]).unwrap();
    assert!(fixture.fault(digest).contains("breaks off"));
    fixture.keep(1);
    assert!(fixture.is_kept(digest));
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let fixture = Fixture::new();
    let digest = fixture.keep(1);
    let small = CompileCache { artifact_bytes_max: 10, ..fixture.cache.clone() };
    assert!(small.get(digest).unwrap_err().to_string().contains("more than"));
}

#[test]
fn the_files_that_were_used_longest_ago_go_first() {
    let fixture = Fixture::bounded(CacheConfig { entries_max: 3, ..CacheConfig::default() });
    let age = |digest: Digest, seconds: u64| {
        let file = fs::File::options().write(true).open(fixture.file(digest)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
    };
    let digests: Vec<Digest> = (0..3).map(|number| fixture.keep(number)).collect();
    (0..3).for_each(|at| age(digests[at], 1_000 + at as u64));
    // Used now, although it was written first.
    assert!(fixture.is_kept(digests[0]));
    let newest = fixture.keep(3);
    let kept: Vec<bool> = digests.iter().map(|digest| fixture.is_kept(*digest)).collect();
    assert_eq!(kept, [true, false, true]);
    assert!(fixture.is_kept(newest));
}

#[test]
fn the_bytes_of_all_files_are_bounded_and_one_that_alone_is_too_large_is_not_kept() {
    let fixture = Fixture::new();
    let size = fs::metadata(fixture.file(fixture.keep(1))).unwrap().len();
    let config = CacheConfig { bytes_max: 2 * size + size / 2, ..fixture.cache.config.clone() };
    let bounded = Fixture { cache: CompileCache { config, ..fixture.cache.clone() }, ..fixture };
    (2..6).for_each(|number| _ = bounded.keep(number));
    let files = fs::read_dir(bounded.folder()).unwrap().count();
    assert_eq!(files, 1 + 2, "the key and two files");
    let tiny = Fixture::bounded(CacheConfig { bytes_max: 100, ..CacheConfig::default() });
    let digest = tiny.keep(1);
    assert!(!tiny.is_kept(digest) && !tiny.folder().exists());
    let none = Fixture::bounded(CacheConfig { entries_max: 0, ..CacheConfig::default() });
    let digest = none.keep(1);
    assert!(!none.is_kept(digest) && !none.folder().exists());
}

#[test]
fn a_disk_that_is_nearly_full_is_left_to_what_needs_it_more() {
    let full = Fixture::bounded(CacheConfig { free_bytes_min: u64::MAX, ..CacheConfig::default() });
    let artifact = Artifact::compile(&full.engine, &component(1)).unwrap();
    assert_eq!(full.cache.put(Digest::of(b"x"), &artifact).unwrap(), Kept::No);
    assert!(!full.is_kept(Digest::of(b"x")));
}

#[test]
fn the_folder_above_is_not_the_caches_to_make() {
    let fixture = Fixture::new();
    let state = fixture.dir.path().join("state");
    fs::remove_dir(&state).unwrap();
    let artifact = Artifact::compile(&fixture.engine, &component(1)).unwrap();
    assert_eq!(fixture.cache.put(Digest::of(b"x"), &artifact).unwrap(), Kept::Later);
    assert!(!state.exists());
}

#[test]
fn what_a_dead_process_left_half_written_goes_after_a_while() {
    let fixture = Fixture::new();
    fixture.keep(1);
    let (old, new) = (fixture.folder().join("new-1-0-a"), fixture.folder().join("new-2-0-b"));
    fs::write(&new, "half").unwrap();
    fs::File::create(&old).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    fixture.keep(2);
    assert!(!old.exists() && new.exists());
}

#[test]
fn many_writers_and_readers_at_once_never_see_half_a_file() {
    let fixture = Fixture::new();
    let bytes = component(1);
    let digest = Digest::of(&bytes);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                // Each its own, as hosts have; they race for the key as well.
                let cache = fixture.cache.clone();
                let artifact = Artifact::compile(&fixture.engine, &bytes).unwrap();
                for _ in 0..5 {
                    cache.put(digest, &artifact).unwrap();
                    cache.get(digest).unwrap().unwrap();
                }
            });
        }
    });
    assert_eq!(fs::read_dir(fixture.folder()).unwrap().count(), 2);
}
