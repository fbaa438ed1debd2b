//! What a compiler's process writes to its output.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| ringfence::plugin::fuzzing::compiler_answer(bytes));
