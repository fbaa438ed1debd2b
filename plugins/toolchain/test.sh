#!/usr/bin/env bash
# Tests of ensure-wasm-target.sh and guests.sh with stand-ins for rustup, rustc, apt-get, python3, node and npm: no
# network, nothing installed.
#
#   plugins/toolchain/test.sh
#
# The real Debian route is what `.ci/run` takes; the real rustup route is what a user's machine takes.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd -P)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=0

# One test: a machine with its own PATH, on which nothing but plain tools and the given stand-ins exist.
machine() {
    name=$1
    box=$scratch/$(echo "$name" | tr -c 'a-z0-9\n' -)
    mkdir -p "$box/path" "$box/sysroot/lib/rustlib/test-host/bin"
    : >"$box/calls"
    local tool
    for tool in bash sh sed grep awk tr cut head tail cat cmp cksum mktemp mkdir rm mv cp ln find xargs dirname basename id du sort env timeout tar; do
        ln -s "$(command -v "$tool")" "$box/path/$tool"
    done
}

# $1: name of the program, then its script; every call is noted.
stand_in() {
    { echo '#!/bin/sh'; echo "echo \"$1 \$*\" >>\"$box/calls\""; cat; } >"$box/path/$1"
    chmod +x "$box/path/$1"
}

# A compiler whose target is there once the folder of its std is.
rustc() {
    stand_in rustc <<SCRIPT
std="$box/sysroot/lib/rustlib/wasm32-unknown-unknown/lib"
case "\$*" in
    -V) echo "rustc 1.95.0 (stand-in)" ;;
    -vV) printf 'rustc 1.95.0\nhost: test-host\n' ;;
    "--print sysroot") echo "$box/sysroot" ;;
    "--print target-libdir"*) echo "\$std" ;;
    *)
        [ -f "\$std/libstd-1.rlib" ] || { echo "error: can't find crate for std" >&2; exit 1; }
        while [ \$# -gt 0 ]; do [ "\$1" = -o ] && echo wasm >"\$2"; shift; done ;;
esac
SCRIPT
}

add_std="mkdir -p \"\$box/sysroot/lib/rustlib/wasm32-unknown-unknown/lib\"
: >\"\$box/sysroot/lib/rustlib/wasm32-unknown-unknown/lib/libstd-1.rlib\""
add_std() { eval "$add_std"; }

run() {
    status=0
    PATH=$box/path RINGFENCE_WASM_DIR='' RINGFENCE_WASM_ROUTE='' \
        "$box/path/bash" "$here/ensure-wasm-target.sh" --dir "$box/kept" "$@" >"$box/out" 2>"$box/err" || status=$?
}

fail() {
    failures=$((failures + 1))
    echo "FAILED $name: $*"
    sed 's/^/    /' "$box/err"
}

expect_status() { [ "$status" = "$1" ] || fail "expected exit status $1, found $status"; }
expect_calls() { [ "$(grep -c -e "$1" "$box/calls")" = "$2" ] || fail "expected $2 calls of \"$1\", found $(grep -c -e "$1" "$box/calls")"; }
expect_words() { grep -qF -- "$1" "$box/err" || fail "expected the message to say \"$1\""; }
expect_env() {
    [ "$(cat "$box/out")" = "$box/kept/env.sh" ] || fail "expected the path of env.sh on stdout, found \"$(cat "$box/out")\""
    grep -qxF "$1" "$box/kept/env.sh" || fail "expected \"$1\" in env.sh, found: $(cat "$box/kept/env.sh")"
}

machine "a compiler with the target is used as it is"
rustc; add_std
stand_in rustup <<<'exit 1'
touch "$box/sysroot/lib/rustlib/test-host/bin/wasm-component-ld"
chmod +x "$box/sysroot/lib/rustlib/test-host/bin/wasm-component-ld"
run
expect_status 0
expect_calls '^rustup' 0
expect_env 'unset RUSTC'
expect_env 'export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-component-ld'

machine "rustup adds a missing target once"
rustc
stand_in rustup <<<"box='$box'
$add_std"
run --route rustup
expect_status 0
expect_calls '^rustup target add wasm32-unknown-unknown$' 1
expect_env 'unset RUSTC'
run --route rustup
expect_status 0
expect_calls '^rustup' 1
expect_calls '--crate-type cdylib' 1

machine "a compiler without the component linker leaves the last step to the build"
rustc; add_std
run
expect_status 0
expect_env 'unset CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER'

machine "an offline rustup ends in what to do"
rustc
stand_in rustup <<'SCRIPT'
echo "error: could not download file" >&2
exit 1
SCRIPT
run --route rustup
expect_status 1
expect_words "error: could not download file"
expect_words "RINGFENCE_WASM_ROUTE=debian"
[ ! -e "$box/kept/env.sh" ] || fail "expected no env.sh"

machine "a target that rustup added to another compiler is not believed"
rustc
stand_in rustup <<<'exit 0'
run --route rustup
expect_status 1
expect_words "is the rustc on PATH rustup's?"

machine "auto without any route names both reasons and what to do"
rustc
run
expect_status 1
expect_words "there is no rustup on PATH"
expect_words "there is no apt-get on PATH"
expect_words "rustup target add wasm32-unknown-unknown"

machine "a machine without a compiler is told so"
run --route rustup
expect_status 1
expect_words "there is no rustc on PATH"

# A Debian whose package sources have the versions given.
debian() {
    stand_in dpkg-deb <<<'exit 1'
    stand_in dpkg-query <<<'exit 1'
    stand_in cargo <<<'exit 1'
    stand_in apt-get <<<"${2:-exit 0}"
    stand_in apt-cache <<<"case \"\$1\" in policy) echo '  Candidate: $1' ;; show) echo 'Depends: libllvm22 (>= 1)' ;; esac"
}

machine "debian with an old compiler says which version is missing"
debian 1.63.0+dfsg1-2
run --route debian
expect_status 1
expect_words "no rustc 1.95 or later"

machine "debian without a network says what apt-get said"
debian '(none)' 'echo "E: could not resolve deb.debian.org" >&2; exit 100'
run --route debian
expect_status 1
expect_words "E: could not resolve deb.debian.org"

machine "a failed download leaves no compiler behind"
debian 1.96.0+dfsg1-1 'case "$*" in *download*) echo "E: 404" >&2; exit 100 ;; esac'
run --route debian
expect_status 1
expect_words "\`apt-get download\` failed: E: 404"
[ ! -e "$box/kept/env.sh" ] || fail "expected no env.sh"

machine "apt-get is run on its own lists only"
debian '(none)' 'cat "$APT_CONFIG" >&2; exit 100'
run --route debian
grep -q "Dir::State::lists \"$box/kept/apt/lists\";" "$box/kept/apt.log" || fail "expected private lists"

machine "an unknown route is a usage error"
run --route sideways
expect_status 2
expect_words 'unknown route "sideways", expected auto, rustup or debian'

# $1: a folder of plugins/, built for this machine.
build_guest() {
    status=0
    PATH=$box/path RINGFENCE_GUESTS_DIR=$box/kept "$box/path/bash" "$here/guests.sh" "$1" "$box/out.wasm" \
        >"$box/out" 2>"$box/err" || status=$?
}

# A Python whose pip installs a compiler that writes what it is asked for.
python() {
    stand_in python3 <<'SCRIPT'
case "$*" in
    *"-m pip --version"*) exit 0 ;;
    *"-m pip install"*) exit 0 ;;
    *componentize*) while [ $# -gt 0 ]; do [ "$1" = -o ] && echo wasm >"$2"; shift; done ;;
esac
exit 0
SCRIPT
}

machine "a strategy in python on a machine without python says how to get it and how to do without"
build_guest "$here/../ema-cross-python"
expect_status 1
expect_words "ema-cross-python is written in python, and there is no python3 on PATH"
expect_words "apt-get install python3 python3-pip"
expect_words 'make components RINGFENCE_GUESTS="rust ..."'

machine "a python without pip and without venv says which package is missing"
stand_in python3 <<<'exit 1'
build_guest "$here/../ema-cross-c"
expect_status 1
expect_words "python3 has neither pip nor venv"

machine "a compiler that cannot be fetched says so and leaves nothing behind"
stand_in python3 <<<'case "$*" in *install*) echo "ERROR: no matching distribution" >&2; exit 1 ;; esac'
build_guest "$here/../ema-cross-python"
expect_status 1
expect_words "ERROR: no matching distribution"
expect_words "is PyPI reached"
[ ! -e "$box/kept/python" ] || fail "expected no compiler"

machine "a compiler is fetched once and a component is built when its source changes"
python
cp -r "$here/../ema-cross-python" "$box/mine"
build_guest "$box/mine"
expect_status 0
build_guest "$box/mine"
expect_status 0
expect_calls '-m pip install.*--require-hashes' 1
expect_calls 'componentize' 1
echo "# changed" >>"$box/mine/ema_cross.py"
build_guest "$box/mine"
expect_calls '-m pip install' 1
expect_calls 'componentize' 2

machine "wasi is stubbed out unless the folder leaves it in"
python
build_guest "$here/../ema-cross-python"
expect_calls 'componentize.*--stub-wasi' 1
build_guest "$here/../wasi-python"
expect_status 0
expect_calls 'componentize' 2
expect_calls 'componentize.*--stub-wasi' 1

machine "a strategy in javascript on a machine without node says how to get it"
build_guest "$here/../ema-cross-js"
expect_status 1
expect_words "ema-cross-js is written in js, and there is no node on PATH: install Node.js 18 or later"

machine "a folder that says another language is told which there are"
mkdir "$box/mine"
printf 'language=cobol\nworld=w\nwasi=none\nsource=s\n' >"$box/mine/guest.env"
build_guest "$box/mine"
expect_status 1
expect_words 'expected language=python, js or c, found "cobol"'

[ "$failures" = 0 ] || { echo "plugins/toolchain/test.sh: $failures failed"; exit 1; }
echo "plugins/toolchain/test.sh: all passed"
