//! Where a component's machine code comes from: compiled once, shared, kept, and never believed unchecked.

use super::guest::Guest;
use super::*;
use std::path::Path;
use tempfile::TempDir;

fn sandbox(dir: &Path) -> Sandbox {
    let cache = CacheConfig { dir: dir.join("compiled"), ..CacheConfig::default() };
    Sandbox::new(SandboxConfig { cache: Some(cache), ..SandboxConfig::default() }).unwrap()
}

fn load(sandbox: &Sandbox, guest: &Guest) -> Plugin {
    sandbox.load(&guest.build(), "test", None, &limits()).unwrap()
}

/// A healthy strategy that differs from others of another number.
fn guest(number: u32) -> Guest {
    Guest { more: format!("(global i32 (i32.const {number}))"), ..Guest::default() }
}

#[test]
fn the_same_component_loaded_twice_is_compiled_once() {
    let sandbox = Sandbox::new(SandboxConfig::default()).unwrap();
    let first = load(&sandbox, &guest(1));
    let second = load(&sandbox, &guest(1));
    let other = load(&sandbox, &guest(2));
    let from = [&first, &second, &other].map(Plugin::compiled_from);
    assert_eq!(from, [CompiledFrom::Compiler, CompiledFrom::Memory, CompiledFrom::Compiler]);
    let stats = sandbox.compile_stats();
    assert_eq!((stats.compiled, stats.shared, stats.cache_misses), (2, 1, 0));
    assert_eq!(tick(&mut second.instantiate().unwrap()), Ok(vec![]));
    // The limits of one are not those of the other.
    drop(first);
    let small = SandboxLimits { fuel_per_call: 1, ..limits() };
    let third = sandbox.load(&guest(1).build(), "test", None, &small).unwrap();
    assert_eq!(third.compiled_from(), CompiledFrom::Memory);
    assert_eq!(kind(tick(&mut third.instantiate().unwrap())), TrapKind::Fuel);
}

#[test]
fn agents_that_start_at_once_compile_one_component_once() {
    let sandbox = Sandbox::new(SandboxConfig::default()).unwrap();
    let bytes = guest(3).build();
    let plugins: Vec<Plugin> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| sandbox.load(&bytes, "test", None, &limits()).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!((sandbox.compile_stats().compiled, plugins.len()), (1, 4));
}

#[test]
fn a_later_host_takes_what_an_earlier_one_compiled() {
    let dir = TempDir::new().unwrap();
    load(&sandbox(dir.path()), &guest(1));
    let later = sandbox(dir.path());
    let plugin = load(&later, &guest(1));
    assert_eq!(plugin.compiled_from(), CompiledFrom::Cache);
    assert_eq!(tick(&mut plugin.instantiate().unwrap()), Ok(vec![]));
    let stats = later.compile_stats();
    assert_eq!((stats.compiled, stats.cache_hits, stats.cache_misses), (0, 1, 0));
}

#[test]
fn what_was_compiled_before_the_hosts_folder_was_made_is_kept_afterwards() {
    let dir = TempDir::new().unwrap();
    let state = dir.path().join("state");
    let host = sandbox(&state);
    load(&host, &guest(1));
    assert!(!state.exists(), "a start that is refused leaves nothing behind");
    std::fs::create_dir(&state).unwrap();
    host.keep_compiled();
    assert_eq!(load(&sandbox(&state), &guest(1)).compiled_from(), CompiledFrom::Cache);
}

#[test]
fn another_stack_size_finds_the_same_code_and_another_engine_does_not() {
    let dir = TempDir::new().unwrap();
    load(&sandbox(dir.path()), &guest(1));
    // The stack of a call is no part of the machine code.
    let config = SandboxConfig { stack_bytes_max: 128 << 10, ..sandbox(dir.path()).config().clone() };
    let plugin = load(&Sandbox::new(config).unwrap(), &guest(1));
    assert_eq!(plugin.compiled_from(), CompiledFrom::Cache);
}

#[test]
fn whatever_is_wrong_with_the_cache_is_a_miss_that_is_counted_and_repaired() {
    let dir = TempDir::new().unwrap();
    load(&sandbox(dir.path()), &guest(1));
    let file = std::fs::read_dir(dir.path().join("compiled"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|it| it == "code"))
        .unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let later = sandbox(dir.path());
    let plugin = load(&later, &guest(1));
    assert_eq!(plugin.compiled_from(), CompiledFrom::Compiler);
    let stats = later.compile_stats();
    assert_eq!((stats.compiled, stats.cache_hits, stats.cache_misses, stats.cache_faults), (1, 0, 1, 1));
    assert_eq!(load(&sandbox(dir.path()), &guest(1)).compiled_from(), CompiledFrom::Cache);
}

#[test]
fn a_cache_that_cannot_be_used_at_all_only_costs_time() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("compiled"), "a file where the folder should be").unwrap();
    let host = sandbox(dir.path());
    let plugin = load(&host, &guest(1));
    assert_eq!(tick(&mut plugin.instantiate().unwrap()), Ok(vec![]));
    let stats = host.compile_stats();
    assert_eq!((stats.compiled, stats.cache_faults, stats.cache_put_faults), (1, 1, 1));
}

#[test]
fn a_component_whose_code_is_kept_is_still_checked_against_the_limits_of_now() {
    let dir = TempDir::new().unwrap();
    load(&sandbox(dir.path()), &guest(1));
    let few = SandboxLimits { functions_max: 1, ..limits() };
    let error = sandbox(dir.path()).load(&guest(1).build(), "test", None, &few).unwrap_err();
    assert!(matches!(error, PluginError::Scan { .. }), "{error}");
}

#[test]
fn what_the_compiler_refuses_is_the_components_fault() {
    // The body does not type-check; only the compiler looks into bodies.
    let mut module =
        b"\0asm\x01\0\0\0\x01\x05\x01\x60\0\x01\x7f\x03\x02\x01\0\x0a\x04\x01\x02\0\x0b".to_vec();
    let mut bytes = Guest::default().build();
    bytes.extend([0x01, module.len() as u8]);
    bytes.append(&mut module);
    let error = SANDBOX.load(&bytes, "test", None, &limits()).unwrap_err();
    assert!(matches!(error, PluginError::Compile { .. }), "{error}");
}
