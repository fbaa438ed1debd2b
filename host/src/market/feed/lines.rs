//! Lines of a stream through one buffer that is allocated once.

use std::io::{self, Read};

/// One line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Text(&'a [u8]),
    /// Longer than the limit; passed over up to its end.
    TooLong,
}

/// Splits a stream at `\n` or `\r\n`. Memory is bounded by the buffer however long a line is.
#[derive(Debug)]
pub(super) struct Lines<R> {
    source: R,
    /// `buffer[start..end]` is read and not yet given out.
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Where the line given out last begins.
    last: usize,
    line_bytes_max: usize,
    /// Number of the line given out last, counted from one.
    number: u64,
    at_end: bool,
}

impl<R: Read> Lines<R> {
    /// Large enough that a read costs nothing against its parsing, small enough for the second-level cache.
    const BUFFER_BYTES_MIN: usize = 256 * 1024;

    pub(super) fn new(source: R, line_bytes_max: usize) -> Self {
        // Room for a whole line behind the one before it, and for its end.
        let length = Self::BUFFER_BYTES_MIN.max(line_bytes_max.saturating_mul(2).saturating_add(2));
        let buffer = vec![0; length].into_boxed_slice();
        Self { source, buffer, start: 0, end: 0, last: 0, line_bytes_max, number: 0, at_end: false }
    }

    /// Number of the line given out last, counted from one.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Where the bytes come from.
    pub(super) const fn source(&self) -> &R {
        &self.source
    }

    /// Takes back the line given out last, so that it comes again. Only right after it was given out.
    pub(super) const fn give_back(&mut self) {
        if self.number > 0 {
            self.start = self.last;
            self.number -= 1;
        }
    }

    /// The next line, or `None` at the end.
    ///
    /// # Errors
    /// When the source cannot be read.
    #[inline]
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        let first = self.start;
        if let Some(length) = memchr::memchr(b'\n', self.buffer.get(first..self.end).unwrap_or_default()) {
            self.start = first + length + 1;
            self.number += 1;
            return Ok(Some(self.line(first, length)));
        }
        self.next_across_reads()
    }

    #[cold]
    fn next_across_reads(&mut self) -> io::Result<Option<Line<'_>>> {
        let mut too_long = false;
        // Bytes from `start` on that are known to hold no line end.
        let mut scanned = self.end - self.start;
        while !self.at_end {
            if scanned > self.line_bytes_max.saturating_add(1) {
                // The line cannot become valid any more: its beginning is not worth its memory.
                too_long = true;
                self.start = self.end;
                scanned = 0;
            }
            self.fill()?;
            let window = self.buffer.get(self.start + scanned..self.end).unwrap_or_default();
            if let Some(more) = memchr::memchr(b'\n', window) {
                let (first, length) = (self.start, scanned + more);
                self.start = first + length + 1;
                self.number += 1;
                return Ok(Some(if too_long { Line::TooLong } else { self.line(first, length) }));
            }
            scanned += window.len();
        }
        let (first, length) = (self.start, self.end - self.start);
        self.start = self.end;
        if length == 0 && !too_long {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(if too_long { Line::TooLong } else { self.line(first, length) }))
    }

    #[inline]
    fn line(&mut self, first: usize, length: usize) -> Line<'_> {
        self.last = first;
        let text = self.buffer.get(first..first + length).unwrap_or_default();
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.len() > self.line_bytes_max { Line::TooLong } else { Line::Text(text) }
    }

    /// Moves what is left to the front and reads once behind it.
    fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let free = self.buffer.get_mut(self.end..).unwrap_or_default();
        let room = free.len();
        let count = loop {
            match self.source.read(free) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?.min(room),
            }
        };
        self.at_end = count == 0;
        self.end += count;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Gives out a few bytes at a time, and is interrupted in between.
    struct Trickle<'a> {
        bytes: &'a [u8],
        step: usize,
        interrupt: bool,
    }

    impl Read for Trickle<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.interrupt = !self.interrupt;
            if self.interrupt {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let step = self.step.min(out.len());
            (&mut self.bytes).take(step as u64).read(out)
        }
    }

    fn collect(bytes: &[u8], step: usize, line_bytes_max: usize) -> Vec<Option<Vec<u8>>> {
        let mut lines = Lines::new(Trickle { bytes, step, interrupt: false }, line_bytes_max);
        // A small buffer brings its edges into the tests.
        lines.buffer = vec![0; line_bytes_max * 2 + 2].into_boxed_slice();
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push(match line {
                Line::Text(text) => Some(text.to_vec()),
                Line::TooLong => None,
            });
        }
        assert_eq!(lines.number(), all.len() as u64);
        all
    }

    #[test]
    fn both_line_ends_and_a_missing_last_one_are_read() {
        let text = |text: &str| Some(text.as_bytes().to_vec());
        for step in 1..9 {
            assert_eq!(collect(b"ab\r\n\nc\r\r\nd", step, 8), [text("ab"), text(""), text("c\r"), text("d")]);
            assert_eq!(collect(b"ab\n", step, 8), [text("ab")]);
            assert_eq!(collect(b"", step, 8), []);
        }
    }

    #[test]
    fn a_line_above_the_limit_is_passed_over_and_the_next_one_read() {
        let long = [&b"12345678\r\n"[..], &[b'x'; 1_000], b"\nend"].concat();
        for step in [1, 3, 7, 50, 5_000] {
            assert_eq!(collect(&long, step, 8), [Some(b"12345678".to_vec()), None, Some(b"end".to_vec())]);
            assert_eq!(collect(&[b'x'; 100], step, 8), [None]);
        }
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_the_bytes_arrive(
            text in prop::collection::vec(prop::sample::select(b"ab\r\n".to_vec()), 0..200),
            step in 1_usize..40,
        ) {
            let mut expected: Vec<Option<Vec<u8>>> = text
                .split(|byte| *byte == b'\n')
                .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
                .map(|line| (line.len() <= 5).then(|| line.to_vec()))
                .collect();
            if text.is_empty() || text.ends_with(b"\n") {
                expected.pop();
            }
            prop_assert_eq!(collect(&text, step, 5), expected);
        }
    }
}
