//! Rust types of WIT major version 1, generated from the frozen text.
//!
//! Only this folder uses them: a second major version gets a folder of its own beside this one, and nothing
//! else changes.

wasmtime::component::bindgen!({
    path: "../wit/v1",
    world: "full-strategy-plugin",
    imports: { default: trappable },
    include_component_type: true,
});

#[cfg(test)]
mod tests {
    use crate::orders::Digest;

    #[test]
    fn the_text_of_version_1_is_frozen() {
        // Components built against it must run for ever. A change belongs into a new major version, or into
        // new interfaces beside these; docs/decisions/0001-wit-v1.md says what may be added.
        let text = include_bytes!("../../../../../wit/v1/strategy.wit");
        let frozen = "224c9ec44811077c8121e1d70bec4a304347cc574a37fbc9bddccf79c9e2e244";
        assert_eq!(Digest::of(text).to_string(), frozen);
    }
}
