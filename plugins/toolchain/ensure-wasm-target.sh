#!/usr/bin/env bash
# Finds or makes a Rust compiler that can build strategy components, and writes its settings to env.sh.
#
#   plugins/toolchain/ensure-wasm-target.sh [--route auto|rustup|debian] [--dir DIR]
#
# The routes, and what each needs:
#   rustup   the active compiler; its wasm target is added by `rustup target add` when it is missing
#   debian   apt-get, but no root: the packages are unpacked in DIR and nothing is installed
#   auto     rustup, then debian (the default)
#
# DIR defaults to target/wasm-toolchain of this workspace. RINGFENCE_WASM_ROUTE and RINGFENCE_WASM_DIR set
# the same from outside; RINGFENCE_WASM_RUSTUP_SECONDS (60) bounds the wait for rustup's server.
# The only line on stdout is the path of env.sh, which a shell sources before it calls cargo. A run that
# finds everything in place takes well under a second.
set -euo pipefail

readonly target=wasm32-unknown-unknown
# Edition 2024 and wit-bindgen need 1.85; the workspace itself asks for more.
readonly rust_minor_min=95
here=$(cd "$(dirname "$0")" && pwd -P)
root=$(cd "$here/../.." && pwd -P)
route=${RINGFENCE_WASM_ROUTE:-auto}
dir=${RINGFENCE_WASM_DIR:-$root/target/wasm-toolchain}

say() { echo "wasm toolchain: $*" >&2; }
die() { say "$*"; exit 1; }

usage() {
    echo "usage: ${0##*/} [--route auto|rustup|debian] [--dir DIR]" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case $1 in
        --route) [ $# -ge 2 ] || usage; route=$2; shift 2 ;;
        --dir) [ $# -ge 2 ] || usage; dir=$2; shift 2 ;;
        *) usage ;;
    esac
done
case $route in auto | rustup | debian) ;; *) say "unknown route \"$route\", expected auto, rustup or debian"; usage ;; esac

mkdir -p "$dir"
dir=$(cd "$dir" && pwd -P)
readonly env_file=$dir/env.sh
# Relative paths of rustup's overrides are looked up from the workspace.
cd "$root"

if command -v flock >/dev/null; then
    exec 9>"$dir/lock"
    flock 9
fi

# Everything that makes an earlier answer void: another route, compiler, or version of this script.
stamp() {
    echo "$route $(cksum <"$here/ensure-wasm-target.sh") $1 $("${1:-rustc}" -vV 2>/dev/null | cksum)"
}

has_target() {
    local libraries
    libraries=$("$1" --print target-libdir --target "$target" 2>/dev/null) || return 1
    [ -n "$(find "$libraries" -name 'libstd-*.rlib' 2>/dev/null | head -1)" ]
}

# A target is there when std and the linker are: only linking something proves both.
links() {
    local scratch result=0
    scratch=$(mktemp -d "$dir/probe.XXXXXX")
    echo '#[unsafe(no_mangle)] pub extern "C" fn probe(n: usize) -> usize { vec![1_u8; n].len() }' >"$scratch/probe.rs"
    "$1" --edition 2024 --crate-type cdylib --target "$target" -O -C lto=fat -C panic=abort \
        -o "$scratch/probe.wasm" "$scratch/probe.rs" >"$dir/probe.log" 2>&1 || result=1
    [ -s "$scratch/probe.wasm" ] || result=1
    rm -rf "$scratch"
    return "$result"
}

# $1: the compiler, or nothing for the active one.
finish() {
    local compiler=${1:-rustc} host linker=
    host=$("$compiler" -vV | sed -n 's/^host: //p')
    # rustc looks for linkers in this folder of its own, too.
    [ ! -x "$("$compiler" --print sysroot)/lib/rustlib/$host/bin/wasm-component-ld" ] || linker=wasm-component-ld
    {
        echo "# stamp: $(stamp "${1:-}")"
        if [ -n "${1:-}" ]; then printf 'export RUSTC=%q\n' "$1"; else echo 'unset RUSTC'; fi
        if [ -n "$linker" ]; then
            echo "export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$linker"
        else
            # cargo then gives a core module, which plugins/build.sh turns into a component.
            echo 'unset CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER'
        fi
    } >"$env_file.tmp"
    mv "$env_file.tmp" "$env_file"
    echo "$env_file"
    exit 0
}

# $1: the compiler, or nothing. Ends the script when env.sh was written for the same one.
reuse() {
    [ -f "$env_file" ] && has_target "${1:-rustc}" || return 0
    [ "$(head -1 "$env_file")" != "# stamp: $(stamp "${1:-}")" ] || { echo "$env_file"; exit 0; }
}

why_not_rustup=
try_active() {
    if ! command -v rustc >/dev/null; then
        why_not_rustup="there is no rustc on PATH"
        return 0
    fi
    reuse
    if has_target rustc && links rustc; then
        say "$(rustc -V) has the target $target"
        finish
    fi
    why_not_rustup="$(rustc -V) lacks the target $target"
}

try_rustup() {
    if ! command -v rustup >/dev/null; then
        why_not_rustup="$why_not_rustup, and there is no rustup on PATH to add it"
        return 0
    fi
    local seconds=${RINGFENCE_WASM_RUSTUP_SECONDS:-60} bounded=
    ! command -v timeout >/dev/null || bounded="timeout $seconds"
    say "rustup target add $target"
    # shellcheck disable=SC2086 # two words or none
    if $bounded rustup target add "$target" >"$dir/rustup.log" 2>&1; then
        if has_target rustc && links rustc; then
            say "rustup added the target to $(rustc -V)"
            finish
        fi
        why_not_rustup="rustup added the target, but $(rustc -V) does not link for it (see $dir/probe.log); is the rustc on PATH rustup's?"
    else
        why_not_rustup="$why_not_rustup, and \`rustup target add\` failed or took over $seconds s: $(tail -1 "$dir/rustup.log")"
    fi
}

# What an earlier run unpacked.
try_kept() {
    [ -x "$dir/bin/rustc" ] || return 0
    reuse "$dir/bin/rustc"
    if has_target "$dir/bin/rustc" && links "$dir/bin/rustc"; then finish "$dir/bin/rustc"; fi
}

try_debian() {
    try_kept
    # shellcheck source=plugins/toolchain/debian.sh
    . "$here/debian.sh"
    if debian_install && links "$dir/bin/rustc"; then
        say "ready: $("$dir/bin/rustc" -V) in $dir, $(du -sm "$dir" | cut -f1) MB"
        finish "$dir/bin/rustc"
    fi
    : "${why_not_debian:=the compiler in $dir does not link for $target (see $dir/probe.log)}"
}

advice="Do one of these and run again: \`rustup target add $target\` where the internet is reached;
  RINGFENCE_WASM_ROUTE=debian on Debian 12 or later with package sources that answer;
  or put a rustc with the target $target on PATH."

why_not_debian=
case $route in
    rustup)
        try_active
        try_rustup
        die "no compiler for components by rustup: $why_not_rustup.
  $advice"
        ;;
    debian)
        try_debian
        die "no compiler for components from Debian's packages: $why_not_debian.
  $advice"
        ;;
    auto)
        try_active
        # It is there at once; rustup's server may have to time out first.
        try_kept
        try_rustup
        say "no compiler by rustup: $why_not_rustup"
        try_debian
        die "no compiler for components.
  rustup: $why_not_rustup.
  Debian: $why_not_debian.
  $advice"
        ;;
esac
