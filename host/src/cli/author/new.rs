//! `ringfence new`: a strategy, its tests and its CI, in one folder.

use super::language::{Language, ProjectFile, text};
use super::write;
use crate::cli::output::{CliError, Output};
use crate::random::SplitMix64;
use serde_json::json;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// crates.io and npm allow as much, and it has to be a file name with `.wasm` behind it.
const NAME_BYTES_MAX: usize = 64;
const SAMPLE_ROWS: u64 = 5_000;

#[derive(clap::Args)]
pub(in crate::cli) struct Args {
    /// Name of the strategy: lower-case words of letters and digits with dashes between them.
    name: String,
    /// What it is written in.
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    lang: Language,
    /// The folder that the project is made in. Default: the name, here.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(in crate::cli) fn new(args: &Args, out: &Output) -> Result<ExitCode, CliError> {
    check_name(&args.name)?;
    let folder = args.dir.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    let empty = match folder.read_dir() {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => !folder.exists(),
    };
    if !empty {
        let words = format!("{} exists and is no empty folder; choose another with --dir", folder.display());
        return Err(CliError::input("folder_in_use", words));
    }
    let files = project(&args.name, args.lang)?;
    files.iter().try_for_each(|(path, text)| write(&folder.join(path), text))?;
    let paths: Vec<&String> = files.iter().map(|(path, _)| path).collect();
    out.facts(&json!({"folder": folder, "language": args.lang.name(), "files": paths}), |_| {
        let (place, language) = (folder.display(), args.lang.name());
        let next = commands(&args.name, args.lang).map(|command| format!("  {command}\n")).concat();
        format!(
            "{place} is a strategy in {language}. Next:\n\n  cd {place}\n{next}\n./check.sh does all of it and runs the \
             strategy's own tests; README.md says what the files are."
        )
    });
    Ok(ExitCode::SUCCESS)
}

fn profile(language: Language) -> &'static str {
    if language.is_managed() { " --profile managed" } else { "" }
}

fn commands(name: &str, language: Language) -> [String; 3] {
    let profile = profile(language);
    [
        "ringfence build".to_owned(),
        format!("ringfence test build/{name}.wasm --data data/sample.csv{profile}"),
        format!("ringfence vet build/{name}.wasm{profile}"),
    ]
}

fn check_name(name: &str) -> Result<(), CliError> {
    let word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    // The names that cargo gives to something else.
    let taken = [
        "test",
        "std",
        "core",
        "alloc",
        "proc-macro",
        "ringfence-sdk",
        "build",
        "deps",
        "examples",
        "incremental",
    ];
    if name.len() <= NAME_BYTES_MAX && name.split('-').all(word) && !taken.contains(&name) {
        return Ok(());
    }
    let words = format!(
        "\"{name}\" is no name for a strategy: expected at most {NAME_BYTES_MAX} bytes of lower-case words with dashes between \
         them, each beginning with a letter, such as new-high, and none of {}",
        taken.join(", ")
    );
    Err(CliError::input("bad_name", words))
}

fn project(name: &str, language: Language) -> Result<Vec<ProjectFile>, CliError> {
    let mut files = language.files(name)?;
    let argument = profile(language);
    let mut described = String::new();
    for (path, what) in language.describes() {
        let _ = writeln!(described, "| `{path}` | {what} |");
    }
    let filled = |text: &str| {
        text.replace("@NAME@", name)
            .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
            .replace("@LANGUAGE@", language.name())
            .replace("@TESTS@", language.tests())
            .replace(" @PROFILE@", argument)
            .replace("@PROFILE_ARGUMENT@", argument)
            .replace("@FILES@\n", &described)
    };
    let own = [
        ("README.md", text!("plugins/templates/README.md.in")),
        ("check.sh", text!("plugins/templates/check.sh.in")),
        (".github/workflows/strategy.yml", text!("plugins/templates/ci.yml.in")),
        (".gitignore", text!("plugins/templates/gitignore")),
    ];
    files.extend(own.map(|(path, text)| (path.to_owned(), filled(text))));
    files.push(("data/sample.csv".to_owned(), sample()));
    Ok(files)
}

/// Trades of a random walk, one a second, the same for everybody.
fn sample() -> String {
    let mut random = SplitMix64(20_261_127);
    let mut price = 10_000_u64;
    let mut text = String::from("timestamp,price,quantity\n");
    for row in 0..SAMPLE_ROWS {
        price = (price + random.below(41)).saturating_sub(20).max(100);
        let second = 1_767_225_600 + row;
        let _ = writeln!(text, "{second},{}.{:02},{}", price / 100, price % 100, 1 + random.below(20));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn made(name: &str, dir: &Path) -> Result<ExitCode, CliError> {
        let args = Args { name: name.to_owned(), lang: Language::C, dir: Some(dir.to_owned()) };
        new(&args, &Output::plain())
    }

    #[test]
    fn names_that_no_tool_takes_are_refused() {
        for name in ["", "Up", "a_b", "-a", "a-", "1a", "a-1b", "test", "é", "../x", &"a".repeat(65)] {
            let refused = check_name(name).unwrap_err();
            assert!(refused.to_string().contains("is no name for a strategy"), "{name}: {refused}");
        }
        for name in ["a", "new-high", "ema2-cross3"] {
            check_name(name).unwrap();
        }
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("mine");
        made("mine", &folder).unwrap();
        std::fs::write(folder.join("strategy.c"), "mine").unwrap();
        assert!(made("mine", &folder).unwrap_err().to_string().contains("no empty folder"));
        assert_eq!(std::fs::read_to_string(folder.join("strategy.c")).unwrap(), "mine");
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        for language in Language::ALL {
            for (path, text) in project("mine", language).unwrap() {
                let text = text
                    .replace("actions/cache@v4", "")
                    .replace("checkout@v4", "")
                    .replace("artifact@v4", "");
                let open = text
                    .split('@')
                    .skip(1)
                    .step_by(2)
                    .any(|word| word.chars().all(|c| c.is_ascii_uppercase()) && !word.is_empty());
                assert!(!open, "{language:?} {path}");
            }
        }
    }
}
