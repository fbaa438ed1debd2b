#!/usr/bin/env bash
# Runs ringfence-plugin-tools, built when it has to be. RINGFENCE_PLUGIN_TOOLS names one that is built already.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd -P)
if [ -n "${RINGFENCE_PLUGIN_TOOLS:-}" ]; then exec "$RINGFENCE_PLUGIN_TOOLS" "$@"; fi
# The host's compiler, not the one for components.
unset RUSTC
exec cargo run --quiet --release --manifest-path "$root/plugins/toolchain/Cargo.toml" -- "$@"
