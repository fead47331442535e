# Debian 13's Rust, with its compilers for other processors: sourced after roots.sh.

# What this project calls a target, and what Debian, the GNU tools and Rust do.
declare -rA debian_name=([x86_64]=amd64 [i686]=i386 [aarch64]=arm64 [armhf]=armhf)
declare -rA gnu_name=([x86_64]=x86_64-linux-gnu [i686]=i686-linux-gnu [aarch64]=aarch64-linux-gnu [armhf]=arm-linux-gnueabihf)
declare -rA rust_name=([x86_64]=x86_64-unknown-linux-gnu [i686]=i686-unknown-linux-gnu [aarch64]=aarch64-unknown-linux-gnu
  [armhf]=armv7-unknown-linux-gnueabihf)
readonly rust_suite=trixie rust_packages=base-files,coreutils,dash,rustc,cargo,gcc,libc6-dev

# Runs Debian's cargo for a target, without a network, on the source as /source, with its crates in /crates:
# rust_in_root TARGET COMMAND [ARGUMENT]... RUSTFLAGS are from CARGO_ENCODED_RUSTFLAGS. What it builds is in $debian_target.
rust_in_root() {
  local target=$1 triple=${rust_name[$1]} root=$roots/rust-x86
  local variable=${triple//-/_} gcc=${gnu_name[$1]}-gcc
  shift
  case $target in
    x86_64 | i686)
      unpack_root rust-x86 $rust_suite "$rust_packages,gcc-i686-linux-gnu,libc6-dev-i386-cross,libstd-rust-dev:i386" \
        --architectures=amd64,i386
      ;;
    *)
      root=$roots/rust-arm
      unpack_root rust-arm $rust_suite "$rust_packages,gcc-aarch64-linux-gnu,gcc-arm-linux-gnueabihf,libc6-dev-arm64-cross,libc6-dev-armhf-cross,libstd-rust-dev:arm64,libstd-rust-dev:armhf" \
        --architectures=amd64,arm64,armhf
      ;;
  esac
  vendor_crates
  mkdir -p "$debian_target"
  in_root "$root" "$PWD=/source" "$vendored=/crates" "$debian_target=/target" -- /usr/bin/env -i \
    PATH=/usr/bin HOME=/target CARGO_HOME=/target/home CARGO_TARGET_DIR=/target CARGO_ENCODED_RUSTFLAGS="${CARGO_ENCODED_RUSTFLAGS-}" \
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=gcc HOST_CC=gcc "CC_$variable=$gcc" "CARGO_TARGET_${variable^^}_LINKER=$gcc" \
    /usr/bin/cargo --config 'source.crates-io.replace-with="vendored"' --config 'source.vendored.directory="/crates"' \
    "$1" --manifest-path /source/Cargo.toml --locked --offline --target "$triple" "${@:2}"
}

# The flags of a static binary, for CARGO_ENCODED_RUSTFLAGS, with other names for these folders: static_flags FOLDER=NAME...
# getrandom looks for its function in the shared libc, finds none here, and would read /dev/random instead, which an empty root
# does not have. Its backend named here calls what is linked in.
static_flags() {
  local IFS=$'\x1f'
  local flags=(-C target-feature=+crt-static --cfg 'getrandom_backend="linux_getrandom"' "${@/#/--remap-path-prefix=}")
  printf %s "${flags[*]}"
}

readonly vendored=${CARGO_TARGET_DIR:-target}/crates
readonly debian_target=${CARGO_TARGET_DIR:-target}/debian

# From cargo's cache, the network, or where the crates are vendored already; nothing if these are the ones.
vendor_crates() {
  if ! cmp --quiet Cargo.lock "$vendored.lock"; then
    cargo vendor --quiet --locked --versioned-dirs --respect-source-config "$vendored" >/dev/null
    cp Cargo.lock "$vendored.lock"
  fi
}
