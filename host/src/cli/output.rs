//! What every command prints, and how it ends.

use crate::resilience::{Class, Classified};
use serde::Serialize;
use std::borrow::Cow;
use std::fmt;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// How facts are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// One JSON object as the last line.
    Json,
}

/// An error on its way to a person.
#[derive(Debug)]
pub(super) struct CliError {
    class: Class,
    code: Cow<'static, str>,
    message: String,
}

impl CliError {
    /// Something wrong with what the user gave.
    pub fn input(code: &'static str, message: impl Into<String>) -> Self {
        Self::of(Class::Data, code, message)
    }

    /// Something wrong with the machine.
    pub fn system(code: &'static str, message: impl Into<String>) -> Self {
        Self::of(Class::Resource, code, message)
    }

    /// Something that somebody else has classified.
    pub fn of(class: Class, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { class, code: code.into(), message: message.into() }
    }

    /// The same with advice at its end.
    pub fn advise(mut self, advice: &str) -> Self {
        self.message.push_str("; ");
        self.message.push_str(advice);
        self
    }
}

impl<E: Classified> From<E> for CliError {
    fn from(error: E) -> Self {
        Self::of(error.class(), error.code(), error.to_string())
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Standard output in the chosen form.
pub(super) struct Output {
    format: Format,
    colour: bool,
}

impl Output {
    pub fn new(format: Format) -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { format, colour }
    }

    /// For people, without colour.
    #[cfg(test)]
    pub fn plain() -> Self {
        Self { format: Format::Text, colour: false }
    }

    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// A line for people; nothing in JSON form.
    pub fn line(&self, text: impl fmt::Display) {
        if self.format == Format::Text {
            self.write(&text.to_string());
        }
    }

    /// The facts: `text` for people, or one JSON object.
    pub fn facts<T: Serialize>(&self, facts: &T, text: impl FnOnce(&Self) -> String) {
        match self.format {
            Format::Text => self.write(&text(self)),
            Format::Json => match serde_json::to_string(facts) {
                Ok(json) => self.write(&json),
                Err(error) => self.write(&format!("{{\"error\":\"{error}\"}}")),
            },
        }
    }

    /// One record of many, as JSON in either form.
    pub fn record<T: Serialize>(&self, record: &T) {
        if let Ok(json) = serde_json::to_string(record) {
            self.write(&json);
        }
    }

    pub fn good(&self, text: &str) -> String {
        self.paint("32", text)
    }

    pub fn bad(&self, text: &str) -> String {
        self.paint("31", text)
    }

    pub fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Prints an error and gives the exit code that its class has: 2 for bad input, 3 for damaged state,
    /// 4 for the machine or the network.
    pub fn fail(&self, error: &CliError) -> ExitCode {
        let code = self.complain(error);
        if self.format == Format::Json {
            let facts = serde_json::json!({
                "error": { "class": error.class, "code": error.code, "message": error.message }
            });
            self.write(&facts.to_string());
        }
        code
    }

    /// The same for a command that has printed its facts.
    pub fn complain(&self, error: &CliError) -> ExitCode {
        let label = if std::io::stderr().is_terminal() { "\x1b[31merror\x1b[0m" } else { "error" };
        let mut stderr = std::io::stderr().lock();
        // Nobody is left to tell when standard error is closed.
        let _ = writeln!(stderr, "{label} ({} {}): {}", error.class, error.code, error.message);
        ExitCode::from(match error.class {
            Class::Data | Class::Logic => 2,
            Class::State => 3,
            Class::Resource | Class::Network | Class::Api => 4,
        })
    }

    fn write(&self, text: &str) {
        let mut stdout = std::io::stdout().lock();
        // A closed pipe ends the output, not the command.
        let _ = writeln!(stdout, "{text}");
    }
}

/// Rows under each other, the first of which is the head.
pub(super) fn columns(rows: &[Vec<String>], indent: &str, out: &Output) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let line = |(number, row): (usize, &Vec<String>)| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let line = format!("{indent}{}", cells.join("  "));
        let line = line.trim_end();
        if number == 0 { out.bold(line) } else { line.to_owned() }
    };
    rows.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
}

/// Sends the log to standard error, where it does not mix with facts.
pub(super) fn start_log(filter: &str) -> Result<(), CliError> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .map_err(|error| CliError::input("log_filter", format!("--log {filter}: {error}")))?;
    let ansi = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi);
    log.try_init().map_err(|error| CliError::system("log", error.to_string()))
}
