//! The host's side: starts the compiler, feeds it, waits with a deadline, and buries it.

use super::super::compiled::EngineHash;
use super::super::text::printable;
use super::answer::{Answer, HEADER_BYTES};
use super::{ChildCompiler, CompilerError};
use crate::orders::Digest;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// What is kept of what the compiler says on its standard error; the rest is read and forgotten.
const WORDS_BYTES_MAX: u64 = 2_048;
/// The exit code of a Rust program that panicked.
const PANICKED: i32 = 101;
/// Processor time used up (`SIGXCPU`), and what `abort` raises.
const SIGXCPU: i32 = 24;
const SIGABRT: i32 = 6;

/// One component to compile.
pub(super) struct Job {
    pub engine: EngineHash,
    pub component: Digest,
    pub bytes: Arc<[u8]>,
    pub stack_bytes_max: usize,
}

/// What the threads that read from the child have to say.
enum Heard {
    Output(io::Result<Vec<u8>>),
    Words(Vec<u8>),
}

/// A child that is killed and buried however this ends.
struct Started(Child);

impl Started {
    /// Ends it, if it has not ended by itself, and says how it did.
    fn end(&mut self) -> io::Result<ExitStatus> {
        // Fails when it has ended already.
        let _ = self.0.kill();
        self.0.wait()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

impl ChildCompiler {
    pub(super) fn compile(&self, job: &Job) -> Result<Answer, CompilerError> {
        let program = self.program()?;
        let shown = printable(&program.display().to_string(), 256);
        let failed = |source: io::Error| CompilerError::Start { program: shown.clone(), source };
        let deadline = now() + Duration::from_millis(self.timeout_ms.into());
        // The standard library opens everything so that children do not get it. What came into this process from
        // its own parent, or from a library in C, may still be open to them.
        close_fds::set_fds_cloexec_threadsafe(3, &[]);
        let child = Command::new(&program)
            .args(self.arguments(job))
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let mut child = Started(child);
        let heard = self.listen(&mut child.0, Arc::clone(&job.bytes)).map_err(failed)?;

        let (mut output, mut words) = (None, None);
        while output.is_none() || words.is_none() {
            let left = deadline.saturating_duration_since(now());
            match heard.recv_timeout(left) {
                Ok(Heard::Output(read)) => {
                    let read = read.map_err(failed)?;
                    if read.len() as u64 > self.output_bytes_max() {
                        return Err(CompilerError::TooLarge { bytes: self.artifact_bytes_max });
                    }
                    output = Some(read);
                }
                Ok(Heard::Words(read)) => words = Some(read),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(CompilerError::Timeout { ms: self.timeout_ms });
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(failed(io::Error::other("its pipes broke")));
                }
            }
        }
        // Nothing more can come from it. Killing one that has ended does not change how it ended.
        let status = child.end().map_err(failed)?;
        match Answer::decode(output.unwrap_or_default(), job.engine, job.component) {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.verdict(&shown, status, &words.unwrap_or_default(), &error.to_string())),
        }
    }

    fn program(&self) -> Result<PathBuf, CompilerError> {
        if let Some(program) = &self.program {
            return Ok(program.clone());
        }
        let own = std::env::current_exe()
            .map_err(|source| CompilerError::Start { program: "this program".into(), source })?;
        beside(&own).ok_or_else(|| CompilerError::NoProgram { program: own.display().to_string() })
    }

    fn arguments(&self, job: &Job) -> Vec<OsString> {
        let limits = [
            ("--memory-bytes-max", self.memory_bytes_max),
            ("--cpu-s-max", self.cpu_s_max.into()),
            ("--stack-bytes-max", u64::try_from(job.stack_bytes_max).unwrap_or(u64::MAX)),
        ];
        let limits = limits.into_iter().flat_map(|(flag, value)| [flag.into(), value.to_string().into()]);
        std::iter::once("compile-component".into()).chain(limits).collect()
    }

    fn output_bytes_max(&self) -> u64 {
        self.artifact_bytes_max.saturating_add(HEADER_BYTES as u64)
    }

    /// One thread for each pipe, since any of them may be full. They end with the child.
    fn listen(&self, child: &mut Child, bytes: Arc<[u8]>) -> io::Result<mpsc::Receiver<Heard>> {
        let (Some(mut stdin), Some(stdout), Some(mut stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("it has no pipes"));
        };
        let (say, heard) = mpsc::channel();
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        // A compiler that does not read to the end has ended or will say why.
        thread("compile-in").spawn(move || drop(stdin.write_all(&bytes)))?;
        thread("compile-out").spawn({
            let (say, bytes_max) = (say.clone(), self.output_bytes_max());
            move || {
                let mut output = Vec::new();
                let read = stdout.take(bytes_max.saturating_add(1)).read_to_end(&mut output);
                let _ = say.send(Heard::Output(read.map(|_| output)));
            }
        })?;
        thread("compile-err").spawn(move || {
            let mut words = Vec::new();
            let _ = (&mut stderr).take(WORDS_BYTES_MAX).read_to_end(&mut words);
            // Read to the end, so that the child is not held up by a full pipe.
            let _ = io::copy(&mut stderr, &mut io::sink());
            let _ = say.send(Heard::Words(words));
        })?;
        Ok(heard)
    }

    /// What it means that there is no answer.
    fn verdict(&self, program: &str, status: ExitStatus, words: &[u8], wrong: &str) -> CompilerError {
        let words = String::from_utf8_lossy(words);
        let detail = match words.trim() {
            "" => "it said nothing".to_owned(),
            words => printable(words, 512),
        };
        match (status.signal(), status.code()) {
            (Some(SIGXCPU), _) => CompilerError::Cpu { s: self.cpu_s_max },
            // What Rust says before it aborts because an allocation failed.
            (Some(SIGABRT), _) if words.contains("memory allocation of") => {
                CompilerError::Memory { bytes: self.memory_bytes_max, detail }
            }
            (Some(signal), _) => CompilerError::Killed { signal, detail },
            (None, Some(PANICKED)) => CompilerError::Panic { detail },
            (None, Some(code)) if code != 0 => CompilerError::Failed { code, detail },
            _ => CompilerError::Foreign { program: program.to_owned(), detail: wrong.to_owned() },
        }
    }
}

/// The `ringfence` that belongs to this program: itself, or one beside it; cargo puts tests and benchmarks one
/// folder below.
fn beside(own: &Path) -> Option<PathBuf> {
    let name = own.file_name()?.to_string_lossy();
    // A program that was replaced while it ran is still there under this name, and still the same version.
    let running = Path::new("/proc/self/exe");
    if name.trim_end_matches(" (deleted)") == "ringfence" {
        return Some(if running.exists() { running.to_owned() } else { own.to_owned() });
    }
    let folder = own.parent()?;
    let above = folder.parent().filter(|_| folder.file_name().is_some_and(|name| name == "deps"));
    [Some(folder), above].into_iter().flatten().map(|folder| folder.join("ringfence")).find(|it| it.is_file())
}

#[expect(clippy::disallowed_methods, reason = "a shell: the wall time of a child process is what is limited")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn the_compiler_is_this_program_or_the_one_beside_it() {
        let dir = TempDir::new().unwrap();
        let place = |name: &str| dir.path().join(name);
        std::fs::create_dir(place("deps")).unwrap();
        assert_eq!(beside(&place("deps/end_to_end-1")), None);
        assert_eq!(beside(&place("embedder")), None);
        std::fs::write(place("ringfence"), "").unwrap();
        assert_eq!(beside(&place("embedder")), Some(place("ringfence")));
        assert_eq!(beside(&place("deps/end_to_end-1")), Some(place("ringfence")));
        assert_eq!(beside(&place("ringfence")), Some("/proc/self/exe".into()));
        assert_eq!(beside(&place("ringfence (deleted)")), Some("/proc/self/exe".into()));
    }
}
