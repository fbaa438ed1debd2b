//! The languages that a new strategy can be written in, and the files that a project of each begins with.
//!
//! Rust has a template of its own; the other projects are the examples of `plugins/`, under another name.

use super::sdk::sdk;
use crate::cli::output::CliError;

/// A text of the repository, by its path from the root.
macro_rules! text {
    ($path:literal) => {
        include_str!(concat!("../../../../", $path))
    };
}
pub(super) use text;

/// What a strategy is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Language {
    /// Compiled, with an SDK and a native test harness; the fastest to run.
    Rust,
    /// CPython inside the component: 18 MB, microseconds a call.
    Python,
    /// QuickJS inside the component: 1.7 MB, microseconds a call.
    Js,
    /// Compiled, without a C library; the smallest.
    C,
}

/// A file of a project: its path, and its text.
pub(super) type ProjectFile = (String, String);

impl Language {
    #[cfg(test)]
    pub const ALL: [Self; 4] = [Self::Rust, Self::Python, Self::Js, Self::C];

    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::Python => "Python",
            Self::Js => "JavaScript",
            Self::C => "C",
        }
    }

    /// Whether an interpreter is inside, which needs the wider limits.
    pub fn is_managed(self) -> bool {
        matches!(self, Self::Python | Self::Js)
    }

    /// The command that runs the strategy's own tests.
    pub fn tests(self) -> &'static str {
        match self {
            Self::Rust => "cargo test --quiet",
            Self::Python => "python3 -m unittest discover --start-directory tests",
            Self::Js => "node --test tests/",
            Self::C => {
                "${CC:-cc} -std=c17 -Wall -I build/bindings -o build/strategy_test tests/strategy_test.c\nbuild/strategy_test"
            }
        }
    }

    /// What the files are, for the project's README.
    pub fn describes(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Rust => &[
                (
                    "src/lib.rs",
                    "the strategy: settings, orders, and what it remembers over a restart or a swap",
                ),
                ("src/tests.rs", "its tests, native: `cargo test`"),
                ("sdk/", "the SDK that it is written with, as this release of Ringfence has it"),
            ],
            Self::Python => &[
                (
                    "strategy.py",
                    "the strategy: settings, orders, and what it remembers over a restart or a swap",
                ),
                (
                    "tests/",
                    "its tests, native, against the types that `ringfence build` writes to build/bindings",
                ),
                ("world.wit", "what it imports and exports; an operator sees each import"),
            ],
            Self::Js => &[
                (
                    "strategy.js",
                    "the strategy: settings, orders, and what it remembers over a restart or a swap",
                ),
                ("tests/", "its tests, native: `node --test tests/`"),
                ("world.wit", "what it imports and exports; an operator sees each import"),
            ],
            Self::C => &[
                (
                    "strategy.c",
                    "the strategy: settings, orders, and what it remembers over a restart or a swap",
                ),
                (
                    "tests/",
                    "its tests, native, against the header that `ringfence build` writes to build/bindings",
                ),
                ("libc/", "the few functions of the C library that it uses"),
                ("world.wit", "what it imports and exports; an operator sees each import"),
            ],
        }
    }

    /// The files of its own, for a strategy of this name.
    ///
    /// # Errors
    /// When an example no longer has what has to be renamed in it.
    pub fn files(self, name: &str) -> Result<Vec<ProjectFile>, CliError> {
        let file = |path: &str, text: &str| (path.to_owned(), text.replace("@NAME@", name));
        match self {
            Self::Rust => {
                let mut files = vec![
                    file("Cargo.toml", text!("plugins/templates/rust/Cargo.toml.in")),
                    file("src/lib.rs", text!("plugins/templates/rust/src/lib.rs")),
                    file("src/tests.rs", text!("plugins/templates/rust/src/tests.rs")),
                ];
                files.extend(sdk()?);
                Ok(files)
            }
            Self::Python => Ok(vec![
                example(
                    "strategy.py",
                    text!("plugins/ema-cross-python/ema_cross.py"),
                    &[("ema-cross-python", name), EVERY_EMA_CROSS],
                )?,
                example("guest.env", text!("plugins/ema-cross-python/guest.env"), &[SOURCE_PY, WORLD])?,
                example("world.wit", text!("plugins/ema-cross-python/world.wit"), &[PACKAGE, WORLD_WIT])?,
                file("tests/test_strategy.py", text!("plugins/templates/python/tests/test_strategy.py")),
            ]),
            Self::Js => Ok(vec![
                example(
                    "strategy.js",
                    text!("plugins/ema-cross-js/ema_cross.js"),
                    &[("ema-cross-js", name), EVERY_EMA_CROSS],
                )?,
                file("package.json", "{ \"name\": \"@NAME@\", \"private\": true, \"type\": \"module\" }\n"),
                example("guest.env", text!("plugins/ema-cross-js/guest.env"), &[SOURCE_JS, WORLD])?,
                example("world.wit", text!("plugins/ema-cross-js/world.wit"), &[PACKAGE, WORLD_WIT])?,
                file("tests/strategy.test.mjs", text!("plugins/templates/js/tests/strategy.test.mjs")),
            ]),
            Self::C => Ok(vec![
                example(
                    "strategy.c",
                    text!("plugins/ema-cross-c/ema_cross.c"),
                    &[
                        ("\"ema-cross-c\"", &format!("\"{name}\"")),
                        EVERY_EMA_CROSS,
                        ("ema_cross.h", "plugin.h"),
                        ("ema_cross_", "plugin_"),
                    ],
                )?,
                file("libc/libc.c", text!("plugins/ema-cross-c/libc/libc.c")),
                file("libc/stdlib.h", text!("plugins/ema-cross-c/libc/stdlib.h")),
                file("libc/string.h", text!("plugins/ema-cross-c/libc/string.h")),
                example("guest.env", text!("plugins/ema-cross-c/guest.env"), &[WORLD])?,
                example("world.wit", text!("plugins/ema-cross-c/world.wit"), &[PACKAGE, WORLD_WIT])?,
                file("tests/strategy_test.c", text!("plugins/templates/c/tests/strategy_test.c")),
            ]),
        }
    }
}

type Renamed<'a> = (&'a str, &'a str);

const EVERY_EMA_CROSS: Renamed =
    (": the layout of every ema-cross here, so that one can replace another.", ".");
const SOURCE_PY: Renamed = ("source=ema_cross", "source=strategy");
const SOURCE_JS: Renamed = ("source=ema_cross.js", "source=strategy.js");
const WORLD: Renamed = ("world=ema-cross", "world=plugin");
const PACKAGE: Renamed = ("package ringfence-examples:ema-cross", "package strategies:plugin");
const WORLD_WIT: Renamed = ("world ema-cross", "world plugin");

/// A file of an example, with other names in it.
fn example(path: &str, text: &str, renamed: &[Renamed<'_>]) -> Result<ProjectFile, CliError> {
    let mut text = text.to_owned();
    for (from, to) in renamed {
        if !text.contains(from) {
            let words = format!("the template of {path} has no \"{from}\"; this program was built wrongly");
            return Err(CliError::of(crate::resilience::Class::Logic, "template", words));
        }
        text = text.replace(from, to);
    }
    Ok((path.to_owned(), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_language_leaves_another_name_or_a_placeholder_behind() {
        for language in Language::ALL {
            let files = language.files("my-own").unwrap();
            for (path, text) in &files {
                let own = !path.starts_with("sdk/");
                assert!(!text.contains("@NAME@") && !path.contains('@'), "{language:?} {path}");
                assert!(
                    !own || !text.contains("ema-cross") && !text.contains("ema_cross"),
                    "{language:?} {path}"
                );
            }
            assert!(files.iter().any(|(_, text)| text.contains("\"my-own\"")), "{language:?}");
            for (path, _) in language.describes() {
                assert!(files.iter().any(|(file, _)| file.starts_with(path)), "{language:?} has no {path}");
            }
        }
    }
}
