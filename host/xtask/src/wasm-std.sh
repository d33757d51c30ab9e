#!/usr/bin/env bash
# Makes the active Rust toolchain able to build wasm guests: wasm-std.sh <target>...
#   1. nothing to do where the target's std is there;
#   2. else `rustup target add`;
#   3. else std is built from Debian's rust-src of the very same version and put into the sysroot, so that
#      `cargo build --target ...` works as after step 2. Takes about a minute of CPU per target.
# EDGEWARD_WASM_STD=source skips step 2. Downloads are kept in ~/.cache/edgeward/wasm-std-<version>.
# A std from step 3 is a plain folder that rustup does not know of: `rm -r` it before a later `rustup target add`,
# or the compiler finds two candidates for each crate (E0464).
set -euo pipefail

targets=("$@")
sysroot=$(rustc --print sysroot)
version=$(rustc --version | cut -d' ' -f2)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/edgeward/wasm-std-$version

say() { echo "wasm-std: $*" >&2; }

# fail <what went wrong in step 3>: the one message when neither way works
fail() {
  cat >&2 <<EOF

error: guests cannot be built: rustc $version in $sysroot
  has no standard library for: ${missing[*]}
  1. rustup: ${rustup_outcome}
  2. Debian's rust-src of version $version: $1
Do one of these and try again:
  - with access to static.rust-lang.org:   rustup target add ${missing[*]}
  - with access to a Debian archive:       use a Rust version that Debian has (apt-cache policy rust-src)
  - with Debian's own rustc:               apt-get install libstd-rust-dev-wasm32
EOF
  exit 1
}

have() { compgen -G "$sysroot/lib/rustlib/$1/lib/libstd-*.rlib" >/dev/null; }

limited() { if command -v timeout >/dev/null; then timeout 120 "$@"; else "$@"; fi; }

# --- 2. rustup -------------------------------------------------------------------------------------------------
missing=()
rustup_outcome="not tried (EDGEWARD_WASM_STD=source)"
for target in "${targets[@]}"; do
  have "$target" && continue
  if [ "${EDGEWARD_WASM_STD:-}" = source ]; then
    missing+=("$target")
  elif ! command -v rustup >/dev/null; then
    rustup_outcome="not installed"
    missing+=("$target")
  elif RUST_BACKTRACE=0 RUSTUP_MAX_RETRIES=0 limited rustup -q target add "$target" && have "$target"; then
    say "$target installed by rustup"
  else
    rustup_outcome="'rustup target add $target' failed, see above"
    missing+=("$target")
  fi
done
[ ${#missing[@]} -gt 0 ] || exit 0

# --- 3. Debian's rust-src --------------------------------------------------------------------------------------
say "building std $version from Debian's rust-src for: ${missing[*]}"
for tool in apt-get dpkg-deb; do
  command -v $tool >/dev/null || fail "$tool not found, this is not a Debian system"
done
[ -w "$sysroot/lib/rustlib" ] || fail "$sysroot/lib/rustlib is not writable for $(id -un)"
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/$') ||
  fail "apt is not set up with a Debian archive"

mkdir -p "$cache"/{debs,src,stub/src} "$cache"/apt/{lists/partial,archives/partial}
if command -v flock >/dev/null; then # two builds at once: the second waits and finds everything done
  exec 9>"$cache/lock"
  flock 9
fi

# apt with its own lists and folders: the system's configuration is only read for the archive's address.
for suite in trixie trixie-updates trixie-backports forky sid; do
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main"
done >"$cache/apt/sources.list"
aptget() {
  apt-get -qq -o Dir::Etc::sourcelist="$cache/apt/sources.list" -o Dir::Etc::sourceparts=- \
    -o Dir::State::lists="$cache/apt/lists" -o Dir::Cache="$cache/apt" -o APT::Sandbox::User=root \
    -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@"
}

versions() { # versions <package>: those in the archive
  local all
  all=$(apt-cache -o Dir::Etc::sourcelist="$cache/apt/sources.list" -o Dir::Etc::sourceparts=- \
    -o Dir::State::lists="$cache/apt/lists" -o Dir::Cache="$cache/apt" madison "$1" | cut -d'|' -f2 | sort -u)
  echo ${all:-none}
}

# deb <package> <folder> <selector>...: extracts the package into the folder, of the first selector that exists
deb() {
  local package=$1 folder=$2 selector found=
  shift 2
  [ ! -e "$folder" ] || return 0
  for selector; do
    rm -f "$cache/debs/${package}"_*.deb
    if (cd "$cache/debs" && aptget download "$package$selector"); then found=1; break; fi
  done
  [ -n "$found" ] || return 1
  rm -rf "$folder.tmp"
  dpkg-deb -x "$cache/debs/${package}"_*.deb "$folder.tmp" && mv "$folder.tmp" "$folder"
}

# rustup's rust-src component, if it is there, is the same source
src=$sysroot/lib/rustlib/src/rust
if [ ! -e "$src/library/Cargo.lock" ]; then
  if [ ! -e "$cache/src/rust" ]; then
    aptget update || fail "apt-get update from $mirror failed, see above"
    deb rust-src "$cache/src/rust" "=$version+*" || fail "not in $mirror, which has: $(versions rust-src)"
  fi
  # where -Zbuild-std looks; taken away again at the end
  mkdir -p "${src%/*}"
  ln -sfn "$cache/src/rust/usr/src/rustc-$version" "$src"
  trap 'rm -f "$src"; rmdir "${src%/*}" 2>/dev/null || true' EXIT
fi

echo '#![no_std]' >"$cache/stub/src/lib.rs"
printf '[package]\nname = "stub"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n' >"$cache/stub/Cargo.toml"
rm -rf "$cache/target" # libraries of an earlier build would be copied along
sep=$'\x1f' # between flags, so that paths may have spaces
for target in "${missing[@]}"; do
  if have "$target"; then continue; fi # the other build of a moment ago
  # embed-bitcode: so that guests can use lto. remap-path-prefix: as rustup's std, paths that name no home.
  (cd "$cache/stub" && env -u CARGO_TARGET_DIR -u CARGO_BUILD_TARGET RUSTC_BOOTSTRAP=1 \
    CARGO_ENCODED_RUSTFLAGS="-Cembed-bitcode=yes$sep--remap-path-prefix=$src=/rustc/$version$sep--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo" \
    cargo build -q --release -Zbuild-std=std,panic_abort --target "$target" --target-dir "$cache/target") ||
    fail "std for $target does not build, see above"
  new=$sysroot/lib/rustlib/$target.new
  rm -rf "$new"
  mkdir -p "$new/lib"
  cp "$cache/target/$target"/release/deps/*.rlib "$new/lib/"
  rm "$new"/lib/libstub-*.rlib
  case $target in
    wasm32-wasip*) # libc.a and crt1
      [ -e "$cache/src/wasi-libc" ] || aptget update || fail "apt-get update from $mirror failed, see above"
      deb wasi-libc "$cache/src/wasi-libc" /trixie-backports /trixie || fail "$mirror has no wasi-libc"
      libc=${target/wasm32-wasip1/wasm32-wasi}
      mkdir "$new/lib/self-contained"
      cp "$cache/src/wasi-libc/usr/lib/$libc"/{libc.a,crt1-command.o,crt1-reactor.o} "$new/lib/self-contained/" ||
        fail "wasi-libc has no files for $target"
      ;;
  esac
  rm -rf "${new%.new}"
  mv "$new" "${new%.new}"
  say "$target built into ${new%.new}"
done
