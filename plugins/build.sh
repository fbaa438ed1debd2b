#!/usr/bin/env bash
# Builds strategy components: target/components/NAME.wasm.
#
#   plugins/build.sh [--route auto|rustup|debian] [--out DIR] [NAME | FOLDER]...
#
# DIR is where components go, target/components of this workspace unless it is given.
# NAME is a folder of plugins/; FOLDER is the folder of any crate that depends on ringfence-sdk, or one with
# guest.env for another language. Without either, every example is built. The first run finds or makes a
# compiler for components (see toolchain/ensure-wasm-target.sh and toolchain/guests.sh); a run with nothing
# to do takes about a second.
#
# RINGFENCE_GUESTS names the languages of the examples that are built: "rust c python js" unless it is set.
#
# The same sources and the same compiler give the same bytes from Rust and C, whatever the folder or machine.
set -euo pipefail

readonly target=wasm32-unknown-unknown
here=$(cd "$(dirname "$0")" && pwd -P)
root=$(cd "$here/.." && pwd -P)
# Apart from the host's, which another compiler and linker would otherwise make cargo build anew.
target_dir=$root/target/wasm
out=$root/target/components
route=()
plugins=()
languages=${RINGFENCE_GUESTS:-rust c python js}

fail() { echo "plugins/build.sh: $*" >&2; exit 1; }

# Built by default: every crate in plugins/ that uses the SDK, and every folder in another language.
examples() {
    local manifest language
    for language in $languages; do
        case $language in
            rust)
                for manifest in "$here"/*/Cargo.toml; do
                    ! grep -q '^ringfence-sdk' "$manifest" || dirname "$manifest"
                done
                ;;
            c | python | js)
                for manifest in "$here"/*/guest.env; do
                    ! grep -q "^language=$language\$" "$manifest" || dirname "$manifest"
                done
                ;;
            *) fail "RINGFENCE_GUESTS has the language \"$language\", expected some of: rust c python js" ;;
        esac
    done
}

is_strategy() { [ -f "$1/Cargo.toml" ] || [ -f "$1/guest.env" ]; }

while [ $# -gt 0 ]; do
    case $1 in
        --route)
            [ $# -ge 2 ] || fail "--route needs auto, rustup or debian"
            route=(--route "$2")
            shift 2
            ;;
        --out)
            [ $# -ge 2 ] || fail "--out needs a folder"
            mkdir -p "$2"
            out=$(cd "$2" && pwd -P)
            shift 2
            ;;
        --help | -h)
            sed -n '2,15s/^# \{0,1\}//p' "$0"
            exit 0
            ;;
        -*) fail "unknown option $1, expected --route, --out or --help" ;;
        *)
            if is_strategy "$here/$1"; then
                plugins+=("$here/$1")
            elif is_strategy "$1"; then
                plugins+=("$(cd "$1" && pwd -P)")
            else
                fail "$1 is neither a strategy in plugins/ ($(examples | xargs -n1 basename | paste -sd' ' -)) nor a folder with a Cargo.toml or guest.env"
            fi
            shift
            ;;
    esac
done
if [ ${#plugins[@]} -eq 0 ]; then
    found=$(examples)
    while read -r folder; do plugins+=("$folder"); done <<<"$found"
fi

# Only Rust needs the target; its settings are looked up once, when the first crate comes.
sysroot=''
find_rust() {
    local env_file
    env_file=$("$here/toolchain/ensure-wasm-target.sh" ${route[@]+"${route[@]}"})
    # shellcheck source=/dev/null
    . "$env_file"
    # Folders of this machine that would otherwise stand in panic messages.
    sysroot=$("${RUSTC:-rustc}" --print sysroot)
}

sha256() { if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1; }

cargo_home=${CARGO_HOME:-$HOME/.cargo}

# $1: folder of the crate. Prints the file that cargo built.
compile() {
    local folder=$1 separator=$'\x1f' flags workspace target_dir=$target_dir
    workspace=$(dirname "$(cargo locate-project --workspace --message-format plain --manifest-path "$folder/Cargo.toml")")
    flags=--remap-path-prefix=$root=/ringfence
    flags=$flags$separator--remap-path-prefix=$cargo_home=/cargo
    flags=$flags$separator--remap-path-prefix=$sysroot/lib/rustlib/src/rust/library=/rust-std
    if [ "$workspace" != "$root" ]; then
        flags=$flags$separator--remap-path-prefix=$workspace=/plugin
        # Other flags: in one folder the two would make each other build the SDK anew.
        target_dir=$target_dir/$(echo "$workspace" | cksum | cut -d' ' -f1)
    fi
    # `cargo rustc` makes the cdylib, so that the crate itself stays an ordinary library that tests and
    # other crates can use. The profile is repeated here for crates of other workspaces.
    (
        cd "$folder"
        CARGO_ENCODED_RUSTFLAGS=$flags cargo rustc --quiet --lib --crate-type cdylib --target "$target" \
            --target-dir "$target_dir" --profile component --message-format json-render-diagnostics \
            --config 'profile.component.inherits="release"' \
            --config 'profile.component.opt-level=3' \
            --config 'profile.component.lto=true' \
            --config 'profile.component.codegen-units=1' \
            --config 'profile.component.incremental=false' \
            --config 'profile.component.debug=0' \
            --config 'profile.component.panic="abort"' \
            --config 'profile.component.strip=true' \
            --config 'profile.component.overflow-checks=true'
    ) | sed -n 's/.*"kind":\["cdylib"\].*"filenames":\["\([^"]*\.wasm\)".*/\1/p' | tail -1
}

# Bytes 4 to 7 tell a component from a core module.
is_component() { [ "$(od -An -tx1 -j4 -N4 "$1" | tr -d ' ')" = 0d000100 ]; }

# $1: what cargo built, $2: where the component goes. A linker without components leaves the last step to us.
install_component() {
    local built=$1 component=$2
    if is_component "$built"; then
        cp "$built" "$component.tmp"
    else
        "$here/toolchain/tools.sh" componentize "$built" "$component.tmp"
    fi
    # An unchanged file keeps its time, so that nothing that depends on it is made again.
    if cmp -s "$component.tmp" "$component"; then rm "$component.tmp"; else mv "$component.tmp" "$component"; fi
}

mkdir -p "$out"
for folder in "${plugins[@]}"; do
    name=$(basename "$folder")
    if [ -f "$folder/guest.env" ]; then
        "$here/toolchain/guests.sh" "$folder" "$out/$name.wasm"
    else
        [ -n "$sysroot" ] || find_rust
        built=$(compile "$folder")
        [ -n "$built" ] || fail "cargo built no component from $folder; its Cargo.toml needs a library"
        install_component "$built" "$out/$name.wasm"
    fi
    printf '%s  %7d bytes  %s\n' "$(sha256 "$out/$name.wasm")" "$(wc -c <"$out/$name.wasm")" "${out#"$root/"}/$name.wasm"
done
