//! Strategies written in WebAssembly text: a healthy one, every part of which a test can replace.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The contract's own text.
pub const WIT: &str = include_str!("../../../../wit/v1/strategy.wit");
/// Where the text of a guest finds zeros: an `ok` with an empty list.
pub const ZEROS: u32 = 512;
/// Where it finds the seven letters `healthy`.
pub const NAME: u32 = 1_024;
/// Zeroed memory that nothing else uses, up to the end of the second page.
pub const FREE: u32 = 16_384;

/// A component in the making; the bodies are WebAssembly text.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The WIT text it is built against.
    pub wit: String,
    /// The world of that text.
    pub world: &'static str,
    /// Version in the names of its exports.
    pub version: &'static str,
    /// Imports.
    pub imports: String,
    /// Pages of memory at the start.
    pub pages: u32,
    /// More functions, tables, globals, data, exports.
    pub more: String,
    /// `(param i32 i32 i32 i32) (result i32)`
    pub realloc: String,
    /// `(result i32)`
    pub describe: String,
    /// Nine values of the session, then `(result i32)`.
    pub init: String,
    /// The sixteen values of a tick, then `(result i32)`.
    pub tick: String,
    /// `(param i32)`
    pub post_tick: String,
    /// Fifteen values, then `(result i32)`.
    pub event: String,
    /// `(result i32)`
    pub stop: String,
    /// The functions it exports.
    pub functions: Vec<&'static str>,
}

impl Default for Guest {
    fn default() -> Self {
        let zeros = format!("i32.const {ZEROS}");
        Self {
            wit: WIT.to_owned(),
            world: "strategy-plugin",
            version: "1.0.0",
            imports: String::new(),
            pages: 2,
            more: String::new(),
            realloc: "(local $at i32)
                (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
                (global.set $heap (i32.add (local.get $at) (local.get 3)))
                (local.get $at)"
                .to_owned(),
            describe: "i32.const 64".to_owned(),
            init: zeros.clone(),
            tick: zeros.clone(),
            post_tick: String::new(),
            event: zeros.clone(),
            stop: zeros,
            functions: vec!["describe", "init", "strategy-tick", "on-event", "stop"],
        }
    }
}

/// Bytes of a data segment that hold these numbers.
pub fn words(numbers: &[u32]) -> String {
    numbers.iter().flat_map(|number| number.to_le_bytes()).map(|byte| format!("\\{byte:02x}")).collect()
}

impl Guest {
    /// The binary component.
    pub fn build(&self) -> Vec<u8> {
        let mut module = wat::parse_str(self.module()).unwrap();
        let mut resolve = Resolve::default();
        let package = resolve.push_str("strategy.wit", &self.wit).unwrap();
        let world = resolve.select_world(&[package], Some(self.world)).unwrap();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
    }

    fn module(&self) -> String {
        let Self { imports, pages, more, realloc, post_tick, .. } = self;
        let name = format!("ringfence:strategy/strategy@{}", self.version);
        let signature = [
            ("describe", "", &self.describe),
            ("init", "i64 i64 i64 i64 i32 i32 i32 i32 i32", &self.init),
            ("strategy-tick", "i32 i64 i64 i64 i64 i64 i64 i64 i64 i64 i32 i64 i64 i32 i32 i32", &self.tick),
            ("on-event", "i32 i64 i64 i32 i64 i64 i64 i64 i32 i32 i64 i64 i32 i32 i32", &self.event),
            ("stop", "", &self.stop),
        ];
        let mut exports = String::new();
        for (function, params, body) in signature {
            if self.functions.contains(&function) {
                exports += &format!(
                    "(func $\"{function}\" (export \"{name}#{function}\") (param {params}) (result i32) {body})\n"
                );
            }
        }
        let metadata = words(&[NAME, 7, 1_040, 5, 0, 0, 1_056, 2, 1, 1, 1, 1, 0x0101, 0, 0]);
        format!(
            "(module
                {imports}
                (memory (export \"memory\") {pages})
                (global $heap (mut i32) (i32.const 4096))
                {more}
                (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) {realloc})
                {exports}
                (func (export \"cabi_post_{name}#strategy-tick\") (param i32) {post_tick})
                (data (i32.const 64) \"{metadata}\")
                (data (i32.const {NAME}) \"healthy\")
                (data (i32.const 1040) \"1.0.0\")
                (data (i32.const 1056) \"{{}}\"))"
        )
    }
}
