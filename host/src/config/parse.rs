//! From bytes to a configuration, with the place of everything that is wrong.

use super::{Config, ConfigError};
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::Read;
use std::path::Path;

pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |reason: String| ConfigError::Read { file: path.to_owned(), reason };
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut text = String::new();
    file.take(Config::BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > Config::BYTES_MAX {
        return Err(unreadable(format!("it is larger than {} bytes", Config::BYTES_MAX)));
    }
    Ok(text)
}

pub(super) fn decode<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let reason = error.message().trim().replace('\n', "; ");
        let offset = error.span().map_or(0, |span| span.start.min(text.len()));
        let offset = place_of_unknown_key(text, offset, &reason).unwrap_or(offset);
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |tail| tail.chars().count()) + 1;
        ConfigError::Syntax {
            file: path.to_owned(),
            line,
            column,
            hint: nearest_key(&reason),
            reason,
            excerpt: text.lines().nth(line - 1).unwrap_or_default().chars().take(120).collect(),
        }
    })
}

/// A table that is read as one of several kinds is reported as a whole; the unknown key is somewhere in it.
fn place_of_unknown_key(text: &str, from: usize, reason: &str) -> Option<usize> {
    let key = reason.strip_prefix("unknown field `")?.split('`').next()?;
    let rest = text.get(from..)?;
    let is_key = |at: usize| {
        let before = rest.get(..at).and_then(|before| before.chars().next_back());
        let after = rest.get(at + key.len()..).map(|after| after.trim_start());
        before.is_none_or(|c| c.is_whitespace() || "{,.".contains(c))
            && after.is_some_and(|after| after.starts_with(['=', '.', ']']))
    };
    rest.match_indices(key).map(|(at, _)| at).find(|at| is_key(*at)).map(|at| from + at)
}

/// serde names the unknown key first and the known ones after it, each in backquotes.
fn nearest_key(reason: &str) -> String {
    if !reason.starts_with("unknown ") {
        return String::new();
    }
    let mut quoted = reason.split('`').skip(1).step_by(2);
    let Some(found) = quoted.next() else { return String::new() };
    let known: Vec<&str> = quoted.collect();
    match nearest(found, &known) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => String::new(),
    }
}

/// Advice for a name that is not among `all`.
pub(super) fn did_you_mean(found: &str, all: &[&str]) -> String {
    match nearest(found, all) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("use one of {}", all.join(", ")),
    }
}

fn nearest<'a>(found: &str, all: &[&'a str]) -> Option<&'a str> {
    let (distance, near) = all.iter().map(|name| (strsim::damerau_levenshtein(found, name), *name)).min()?;
    (distance <= (found.len() / 3).max(1)).then_some(near)
}
