#!/usr/bin/env bash
# Builds a strategy that is not written in Rust: a folder with guest.env and world.wit, for plugins/build.sh.
#
#   plugins/toolchain/guests.sh FOLDER COMPONENT
#
# guest.env says the language (python, js or c), the world of world.wit, and whether WASI is left in (wasi=virtual)
# or stubbed out (wasi=none). For Python source= is the module with the exports and modules= a folder of others;
# for JavaScript source= is the file with the exports; a strategy in C is every .c of the folder.
# RINGFENCE_BINDINGS_DIR names a folder for what the contract looks like in Python or C, for tests of one's own.
#
# The compilers come from PyPI and npm, pinned by hash, and are kept in target/guests: nothing is installed
# anywhere else, and a second build needs no network; RINGFENCE_GUESTS_DIR names another folder. A component whose
# sources and compiler have not changed is not built again.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd -P)
root=$(cd "$here/../.." && pwd -P)
work=${RINGFENCE_GUESTS_DIR:-$root/target/guests}
bindings=${RINGFENCE_BINDINGS_DIR:-}

fail() { echo "plugins/build.sh: $*" >&2; exit 1; }

[ $# -eq 2 ] || fail "expected guests.sh FOLDER COMPONENT, found $# arguments"
folder=$(cd "$1" && pwd -P)
component=$2
name=$(basename "$folder")

language='' world='' wasi='' source='' modules=''
# shellcheck source=/dev/null
. "$folder/guest.env"
case $wasi in none | virtual) ;; *) fail "$folder/guest.env: expected wasi=none or wasi=virtual, found \"$wasi\"" ;; esac
[ -n "$world" ] || fail "$folder/guest.env: expected world=NAME of a world in world.wit"
[ -n "$source" ] || [ "$language" = c ] || fail "$folder/guest.env: expected source=, the module with the exports"

how_without="or build the other languages alone: make components RINGFENCE_GUESTS=\"rust ...\""

# $1: a command, $2: how to get it.
need() {
    command -v "$1" >/dev/null || fail "$name is written in $language, and there is no $1 on PATH: $2, $how_without"
}

# $1: python or c. Installs the wheels of its requirements; prints the folder to import from.
wheels() {
    local requirements=$here/$1/requirements.txt site=$work/$1 pip
    need python3 "install Python 3.9 or later (Debian: apt-get install python3 python3-pip)"
    if ! cmp -s "$requirements" "$site/requirements.txt"; then
        rm -rf "$site" "$site.tmp"
        mkdir -p "$site.tmp"
        # Either of the two brings pip; Debian packages them apart from python3.
        if python3 -m pip --version >/dev/null 2>&1; then
            pip=python3
        elif python3 -m venv "$site.tmp/venv" >/dev/null 2>&1; then
            pip=$site.tmp/venv/bin/python3
        else
            fail "python3 has neither pip nor venv: install one (Debian: apt-get install python3-pip), $how_without"
        fi
        echo "installing the compiler for $1 into target/guests" >&2
        "$pip" -m pip install --quiet --no-input --disable-pip-version-check --no-deps --only-binary :all: \
            --require-hashes --target "$site.tmp" -r "$requirements" >&2 \
            || fail "pip installs no compiler for $1: is PyPI reached, and is there a wheel for this platform?"
        rm -rf "$site.tmp/venv"
        cp "$requirements" "$site.tmp/requirements.txt"
        mv "$site.tmp" "$site"
    fi
    echo "$site"
}

# Installs the packages of js/package-lock.json; prints the folder.
packages() {
    local site=$work/js
    need node "install Node.js 18 or later"
    need npm "it comes with Node.js"
    if ! cmp -s "$here/js/package-lock.json" "$site/package-lock.json"; then
        rm -rf "$site" "$site.tmp"
        mkdir -p "$site.tmp"
        cp "$here/js/package.json" "$here/js/package-lock.json" "$site.tmp/"
        echo "installing the compiler for js into target/guests" >&2
        (cd "$site.tmp" && npm ci --silent --ignore-scripts --no-audit --no-fund >&2) \
            || fail "npm installs no compiler for js: is the registry reached?"
        mv "$site.tmp" "$site"
    fi
    echo "$site"
}

# Everything that decides what comes out.
stamp() {
    {
        cat "$folder/guest.env" "$folder/world.wit" "$root"/wit/v1/*.wit "$here/guests.sh" "$here/$language"/*.*
        find "$folder" ${uses[@]+"${uses[@]}"} -path "$folder/build" -prune -o -type f \( -name '*.py' -o -name '*.js' -o -name '*.c' -o -name '*.h' \) -print0 \
            | LC_ALL=C sort -z | xargs -0 cat
    } | cksum
}

# Folders of other examples whose modules this one uses.
uses=()
[ -z "$modules" ] || uses=("$folder/$modules")

# Two strategies of one name in two folders are two strategies.
kept=$work/build/$name-$(printf %s "$folder" | cksum | cut -d' ' -f1)
[ -d "$here/$language" ] || fail "$folder/guest.env: expected language=python, js or c, found \"$language\""
now=$(stamp)
if [ -f "$component" ] && { [ -z "$bindings" ] || [ -d "$bindings" ] || [ "$language" = js ]; } \
    && [ "$(cat "$kept/stamp" 2>/dev/null)" = "$now" ]; then exit 0; fi

rm -rf "$kept"
mkdir -p "$kept/wit/deps/ringfence"
cp "$folder/world.wit" "$kept/wit/"
cp "$root"/wit/v1/*.wit "$kept/wit/deps/ringfence/"
built=$kept/component.wasm

case $language in
    python)
        site=$(wheels python)
        # The Python that loads them leaves its bytecode beside the sources.
        mkdir "$kept/source"
        for used in "$folder" ${uses[@]+"${uses[@]}"}; do cp "$used"/*.py "$kept/source/"; done
        stub=()
        [ "$wasi" = virtual ] || stub=(--stub-wasi)
        PYTHONPATH=$site PYTHONDONTWRITEBYTECODE=1 python3 -c 'import componentize_py; componentize_py.script()' \
            -d "$kept/wit" -w "$world" componentize -p "$kept/source" ${stub[@]+"${stub[@]}"} -o "$built" "$source" >"$kept/log" 2>&1 \
            || fail "componentize-py refuses $name: $(cat "$kept/log")"
        [ -z "$bindings" ] || PYTHONPATH=$site python3 -c 'import componentize_py; componentize_py.script()' \
            -d "$kept/wit" -w "$world" bindings "$kept/bindings" >"$kept/log" 2>&1 \
            || fail "componentize-py writes no bindings for $name: $(cat "$kept/log")"
        ;;
    js)
        site=$(packages)
        stub=()
        [ "$wasi" = virtual ] || stub=(--stub-wasi)
        # --sync: the asynchronous ABI is refused by the host.
        node "$site/node_modules/componentize-qjs/bin/componentize-qjs" --sync ${stub[@]+"${stub[@]}"} --wit "$kept/wit" \
            --world "$world" --module-root "$folder/.." --js "$folder/$source" --output "$built" >"$kept/log" 2>&1 \
            || fail "componentize-qjs refuses $name: $(cat "$kept/log")"
        ;;
    c)
        [ "$wasi" = none ] || fail "$folder/guest.env: a strategy in C is built without WASI, write wasi=none"
        site=$(wheels c)
        "$here/tools.sh" c-bindings "$kept/wit" "$world" "$kept/bindings"
        shopt -s nullglob
        sources=("$folder"/*.c "$folder"/libc/*.c "$kept"/bindings/*.c "$kept"/bindings/*.o)
        # No entry and no standard library: the component is what world.wit says and nothing else. The compiler
        # must not make a call of memcpy out of the loop that is memcpy, nor one rounding out of two.
        PYTHONPATH=$site ZIG_GLOBAL_CACHE_DIR=$work/zig-cache ZIG_LOCAL_CACHE_DIR=$work/zig-cache \
            python3 -m ziglang cc -target wasm32-freestanding -std=c17 -O2 -Wall -Wextra -Werror \
            -nostdlib -ffreestanding -fno-builtin -fno-sanitize=undefined -ffp-contract=off \
            -isystem "$folder/libc" -I "$kept/bindings" \
            -Wl,--no-entry -Wl,--strip-all -o "$kept/core.wasm" "${sources[@]}" >"$kept/log" 2>&1 \
            || fail "the C compiler refuses $name: $(cat "$kept/log")"
        "$here/tools.sh" componentize "$kept/core.wasm" "$built"
        ;;
esac
if [ -n "$bindings" ] && [ -d "$kept/bindings" ]; then
    rm -rf "$bindings"
    cp -R "$kept/bindings" "$bindings"
fi
mv "$built" "$component"
echo "$now" >"$kept/stamp"
