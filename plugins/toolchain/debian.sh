# The route of ensure-wasm-target.sh over Debian's packages; sourced by it, with its variables and functions.
#
# apt-get runs on lists and caches in $dir, so it needs no root and leaves the machine's own alone; its
# signature checks stay on. What is kept: a compiler under $dir/root and a wrapper $dir/bin/rustc.
# shellcheck shell=bash disable=SC2154

# Puts a compiler with std for the target into $dir, or returns 1 with the reason in why_not_debian.
debian_install() {
    local tool
    for tool in apt-get apt-cache dpkg-deb dpkg-query cargo; do
        if ! command -v "$tool" >/dev/null; then
            why_not_debian="there is no $tool on PATH"
            return 1
        fi
    done
    debian_apt_config
    say "reading Debian's package lists"
    if ! apt-get -qq update >"$dir/apt.log" 2>&1; then
        why_not_debian="\`apt-get update\` failed: $(tail -1 "$dir/apt.log")"
        return 1
    fi
    debian_choose && debian_download && debian_unpack && debian_std
}

debian_apt_config() {
    mkdir -p "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial"
    # The sandbox user of apt could not write here; a private run needs no other user than its own.
    cat >"$dir/apt/apt.conf" <<CONF
Dir::State::lists "$dir/apt/lists";
Dir::Cache "$dir/apt/cache";
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
CONF
    export APT_CONFIG=$dir/apt/apt.conf
}

candidate() { apt-cache policy "$1" 2>/dev/null | awk '/Candidate:/ && $2 != "(none)" { print $2 }'; }

depends() {
    apt-cache show "$1" 2>/dev/null | sed -n '1,/^$/ s/^Depends: //p' | tr ',' '\n' | sed 's/|.*//; s/^ *//; s/[ (:].*//'
}

# Debian has two compilers: `rustc`, frozen with the release, and `rustc-web`, kept new for its browsers.
debian_choose() {
    local family version minor
    for family in web plain; do
        case $family in
            web) compiler_package=rustc-web std_package=libstd-rust-web-dev source_package=rust-web-src tools_package=rust-web-llvm ;;
            plain) compiler_package=rustc std_package=libstd-rust-dev source_package=rust-src tools_package=rust-llvm ;;
        esac
        version=$(candidate "$compiler_package")
        minor=$(echo "$version" | sed -n 's/^1\.\([0-9][0-9]*\)\..*/\1/p')
        if [ -n "$minor" ] && [ "$minor" -ge "$rust_minor_min" ] && [ "$(candidate "$std_package")" = "$version" ]; then
            compiler_version=$version
            return 0
        fi
    done
    why_not_debian="the package sources of this machine have no rustc 1.$rust_minor_min or later (looked for rustc-web and rustc)"
    return 1
}

# The chosen packages and what they need that this machine does not have.
debian_download() {
    local llvm lld pending package seen=" " wanted=()
    llvm=$(depends "$std_package" | while read -r package; do depends "$package"; done | grep -m1 '^libllvm') || true
    if [ -z "$llvm" ]; then
        why_not_debian="no package of $std_package $compiler_version depends on libllvm, whose number the linker's package has"
        return 1
    fi
    lld=lld-${llvm#libllvm}
    wanted=("$compiler_package=$compiler_version" "$std_package=$compiler_version")
    # Debian ships the target's std from trixie on; before, it is built from the compiler's sources.
    prebuilt_std=
    if [ "$(candidate "$std_package-wasm32")" = "$compiler_version" ]; then
        prebuilt_std=yes
        wanted+=("$std_package-wasm32=$compiler_version")
    else
        wanted+=("$source_package=$compiler_version")
    fi
    # Carries wasm-component-ld and nothing else that is needed, so its own needs are left out.
    [ "$(candidate "$tools_package")" != "$compiler_version" ] || wanted+=("$tools_package=$compiler_version")
    pending="$(depends "$std_package") $lld"
    while [ -n "${pending// /}" ]; do
        read -r package pending <<<"$(echo $pending)"
        case $seen in *" $package "*) continue ;; esac
        seen="$seen$package "
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ] || continue
        wanted+=("$package")
        pending="$pending $(depends "$package" | tr '\n' ' ')"
    done
    rm -rf "$dir/packages" "$dir/root" "$dir/bin"
    mkdir -p "$dir/packages"
    say "downloading ${wanted[*]}"
    if ! (cd "$dir/packages" && apt-get -q download "${wanted[@]}" >>"$dir/apt.log" 2>&1); then
        why_not_debian="\`apt-get download\` failed: $(tail -1 "$dir/apt.log")"
        return 1
    fi
}

debian_unpack() {
    local package libraries host
    mkdir -p "$dir/root" "$dir/bin"
    say "unpacking"
    for package in "$dir"/packages/*.deb; do
        case ${package##*/} in
            rust*src_*) dpkg-deb --fsys-tarfile "$package" | tar -x -C "$dir/root" --wildcards './usr/src/*/library' --exclude='*/tests' ;;
            *) dpkg-deb --fsys-tarfile "$package" | tar -x -C "$dir/root" --exclude='./usr/share' ;;
        esac
    done
    rm -rf "$dir/packages" "$dir/apt/cache"
    rustlib=$dir/root/usr/lib/rustlib
    host=$(basename "$(find "$rustlib" -mindepth 1 -maxdepth 1 -name '*-linux-*' | head -1)")
    libraries=$(find "$dir/root" -name '*.so.*' -path '*-linux-gnu*' -not -path '*/rustlib/*' -exec dirname {} + | sort -u | tr '\n' ':')
    libraries=$libraries$(dirname "$(find "$dir/root/usr/lib" -name 'librustc_driver-*.so' | head -1)")
    cat >"$dir/bin/rustc" <<WRAPPER
#!/bin/sh
LD_LIBRARY_PATH="$libraries\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}" exec "$dir/root/usr/bin/rustc" "\$@"
WRAPPER
    chmod +x "$dir/bin/rustc"
    # rustc looks for the linkers of wasm here; Debian's package leaves lld to PATH.
    mkdir -p "$rustlib/$host/bin"
    ln -sfn "$(find "$dir/root/usr/lib" -path '*/bin/lld' | head -1)" "$rustlib/$host/bin/rust-lld"
}

# std for the target, from the vendored sources of the compiler, without a network.
debian_std() {
    [ -z "$prebuilt_std" ] || return 0
    local library build=$dir/std-build
    library=$(echo "$dir"/root/usr/src/*/library)
    mkdir -p "$rustlib/src" "$build/src" "$build/home"
    ln -sfn "$(dirname "$library")" "$rustlib/src/rust"
    : >"$build/src/lib.rs"
    printf '[package]\nname = "seed"\nedition = "2024"\n[workspace]\n' >"$build/Cargo.toml"
    printf '[source.crates-io]\nreplace-with = "vendored"\n[source.vendored]\ndirectory = "%s"\n' "$library/vendor" >"$build/home/config.toml"
    say "building std for $target (about a minute)"
    # Bitcode lets a component optimise across std; the remapped paths keep this machine out of its bytes.
    # build-std is a nightly feature of cargo, which the variable with the odd name opens for this call.
    if ! (
        cd "$build" && env -u RUSTC_WRAPPER -u CARGO_ENCODED_RUSTFLAGS -u CARGO_BUILD_TARGET_DIR -u CARGO_TARGET_DIR \
            CARGO_HOME="$build/home" RUSTC="$dir/bin/rustc" RUSTC_BOOTSTRAP=1 \
            RUSTFLAGS="--remap-path-prefix=$library=/rust-std --remap-path-prefix=$rustlib/src/rust/library=/rust-std -Cembed-bitcode=yes" \
            CARGO_PROFILE_RELEASE_PANIC=abort CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
            cargo build --offline --release --target "$target" -Zbuild-std=std,panic_abort >"$dir/std-build.log" 2>&1
    ); then
        why_not_debian="std for $target does not build (see $dir/std-build.log): $(grep -m1 '^error' "$dir/std-build.log")"
        return 1
    fi
    mkdir -p "$rustlib/$target/lib"
    find "$build/target/$target/release/deps" -name '*.rlib' ! -name 'libseed*' -exec cp {} "$rustlib/$target/lib/" \;
    rm -rf "$build" "$dir/root/usr/src" "$rustlib/src"
}
