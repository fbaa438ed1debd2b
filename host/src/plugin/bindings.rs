//! Rust types of WIT major version 1, generated from the frozen text.
//!
//! Only `convert`, `host` and `instance` use them: a second major version gets bindings and an adapter of
//! its own beside these and nothing else changes.

wasmtime::component::bindgen!({
    path: "../wit/v1",
    world: "full-strategy-plugin",
    imports: { default: trappable },
    include_component_type: true,
});
