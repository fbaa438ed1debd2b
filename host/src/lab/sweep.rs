//! Many runs over the same data, on all cores.
//!
//! Reading costs more than most strategies do, so the data is read once for many runs: whoever reads hands every
//! window of rows to all threads, and each thread shows it to its runs one after the other. A run has an instance, a
//! core and an exchange of its own and sees what it would see alone. Memory is that of the runs of one pass and of a
//! few windows, however long the data is.

use super::{Dataset, Lab, LabConfig, Metered, Summary};
use crate::market::{DataFault, FeedError, RowError, Sample};
use crate::plugin::Plugin;
use crate::resilience::{Classified, Failure, Phase};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// What became of one run.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It went to its end.
    Done(Box<Summary>),
    /// It did not start.
    Failed(Failure),
}

/// Runs that share a component and data.
#[derive(Clone, Copy, Debug)]
pub struct Sweep<'a> {
    /// What they are shown.
    pub data: &'a Dataset,
    /// What runs.
    pub plugin: &'a Plugin,
    /// Threads that run strategies; one more reads.
    pub jobs: NonZeroUsize,
}

/// Rows that are handed over together, with those that were dropped before them.
#[derive(Debug, Default)]
struct Window {
    rows: Vec<Sample>,
    dropped: Vec<DataFault>,
}

/// What became of the run with this position; `None` when it is void in batches.
type Ended = (usize, Option<Outcome>);

/// One run on its thread.
struct Seat {
    index: usize,
    run: Result<Lab, Failure>,
}

impl Sweep<'_> {
    /// Runs of one pass over the data: some hundred megabytes, if each has a few of its own.
    pub const RUNS_A_PASS_MAX: usize = 256;
    /// As many rows as the largest crossing takes.
    const ROWS_MAX: usize = 1_024;
    /// Windows that may wait for a thread: enough that neither waits for the other over a slow stretch.
    const WINDOWS_AHEAD: usize = 8;

    /// How often the data is read, when no run has to be made again.
    pub const fn passes(runs: usize) -> usize {
        runs.div_ceil(Self::RUNS_A_PASS_MAX)
    }

    /// Makes the runs. What became of each, in their order; `progress` is told the bytes read so far.
    ///
    /// # Errors
    /// When the data cannot be read.
    pub fn run(
        &self,
        configs: &[LabConfig],
        progress: &mut dyn FnMut(u64),
    ) -> Result<Vec<Outcome>, FeedError> {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; configs.len()];
        let all: Vec<usize> = (0..configs.len()).collect();
        let (mut void, mut before) = (Vec::new(), 0);
        for wave in all.chunks(Self::RUNS_A_PASS_MAX) {
            let (done, bytes) = self.pass(configs, wave, true, &mut |bytes| progress(before + bytes))?;
            before += bytes;
            for (index, outcome) in done {
                match outcome {
                    Some(outcome) => *outcomes.get_mut(index).unwrap_or(&mut None) = Some(outcome),
                    None => void.push(index),
                }
            }
        }
        // What has trapped among many updates runs again, one call each.
        void.sort_unstable();
        for wave in void.chunks(Self::RUNS_A_PASS_MAX) {
            let (done, _) = self.pass(configs, wave, false, &mut |_| {})?;
            for (index, outcome) in done {
                *outcomes.get_mut(index).unwrap_or(&mut None) = outcome;
            }
        }
        Ok(outcomes.into_iter().flatten().collect())
    }

    /// Reads the data once for some runs. `None` for a run that is void in batches.
    fn pass(
        &self,
        configs: &[LabConfig],
        wave: &[usize],
        batch: bool,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(Vec<Ended>, u64), FeedError> {
        let jobs = self.jobs.get().min(wave.len()).max(1);
        let mut seats: Vec<Vec<Seat>> = (0..jobs).map(|_| Vec::new()).collect();
        for (position, index) in wave.iter().copied().enumerate() {
            let Some(config) = configs.get(index) else { continue };
            let config = LabConfig { batch: batch && config.batch, ..config.clone() };
            if let Some(thread) = seats.get_mut(position % jobs) {
                thread.push(Seat { index, run: self.sit_down(config) });
            }
        }
        thread::scope(|scope| {
            let (mut windows, mut threads) = (Vec::new(), Vec::new());
            for seats in seats {
                let (sender, receiver) = sync_channel(Self::WINDOWS_AHEAD);
                windows.push(sender);
                threads.push(scope.spawn(move || work(seats, &receiver)));
            }
            let bytes = self.read(&windows, progress);
            drop(windows);
            let mut done = Vec::with_capacity(wave.len());
            for thread in threads {
                match thread.join() {
                    Ok(outcomes) => done.extend(outcomes),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Ok((done, bytes?))
        })
    }

    fn sit_down(&self, config: LabConfig) -> Result<Lab, Failure> {
        self.plugin.check_settings(&config.settings).map_err(|error| failure(&error))?;
        let instance = self.plugin.instantiate().map_err(|error| failure(&error))?;
        let (strategy, meter) = Metered::new(instance);
        Ok(Lab::new(config, Box::new(strategy), meter, self.plugin.digest()))
    }

    fn read(
        &self,
        threads: &[SyncSender<Arc<Window>>],
        progress: &mut dyn FnMut(u64),
    ) -> Result<u64, FeedError> {
        let mut samples = self.data.open()?;
        let mut window = Window::default();
        loop {
            let row = samples.next();
            let ended = row.is_none();
            match row {
                Some(Ok(sample)) => window.rows.push(sample),
                Some(Err(RowError::Dropped(fault))) => window.dropped.push(fault),
                Some(Err(RowError::Broken(error))) => return Err(error),
                None => {}
            }
            if ended || window.rows.len() >= Self::ROWS_MAX || window.dropped.len() >= Self::ROWS_MAX {
                let whole = Arc::new(std::mem::take(&mut window));
                for thread in threads {
                    // One that has ended has panicked, which its end tells.
                    let _ = thread.send(Arc::clone(&whole));
                }
                progress(samples.bytes_read());
                if ended {
                    return Ok(samples.bytes_read());
                }
            }
        }
    }
}

fn failure<E: Classified>(error: &E) -> Failure {
    Failure::new(error.class(), error.code(), Phase::NotSent, error.to_string())
}

fn work(mut seats: Vec<Seat>, windows: &Receiver<Arc<Window>>) -> Vec<Ended> {
    // What a run warns of is counted in its summary; hundreds of them at once tell a person nothing.
    let silent = tracing::subscriber::NoSubscriber::new();
    tracing::subscriber::with_default(silent, || {
        while let Ok(window) = windows.recv() {
            for seat in &mut seats {
                show(seat, &window);
            }
        }
        seats.into_iter().map(rise).collect()
    })
}

fn show(seat: &mut Seat, window: &Window) {
    let Ok(lab) = &mut seat.run else { return };
    if lab.is_void() {
        return;
    }
    window.dropped.iter().for_each(|fault| lab.dropped(fault));
    if let Err(error) = lab.samples(&window.rows) {
        seat.run = Err(failure(&error));
        return;
    }
    lab.take_intents();
    lab.take_executions();
}

fn rise(seat: Seat) -> Ended {
    let outcome = match seat.run {
        Ok(lab) if lab.is_void() => None,
        Ok(mut lab) => Some(Outcome::Done(Box::new(lab.finish()))),
        Err(failure) => Some(Outcome::Failed(failure)),
    };
    (seat.index, outcome)
}
