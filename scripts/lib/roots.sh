# Folders with a whole Debian in them, for `chroot`: sourced by the scripts that need another one than this machine's, after
# packages.sh and a `fail`. They lie in the target folder and touch nothing else; no script of a package runs in them.

readonly roots=${CARGO_TARGET_DIR:-target}/roots

# Unpacks `suite` with these packages into $roots/FOLDER, unless the same is there: unpack_root FOLDER SUITE PACKAGES [OPTION]...
# Prints nothing but what it does.
unpack_root() {
  local suite=$2 packages=$3 root=$roots/$1 wanted
  shift 3
  wanted="$suite $packages $*"
  if [[ -e $root && $(cat "$root.is" 2>/dev/null) == "$wanted" ]]; then
    return
  fi
  local unpack=(mmdebstrap --mode=root --variant=extract --format=directory --quiet --include="$packages"
    --aptopt='APT::Install-Recommends "false"' --keyring=/usr/share/keyrings/debian-archive-keyring.gpg "$@"
    "$suite" "$root.new" "$(debian_mirror)")
  may_install || fail "$root is missing, unpack it as root with:
  mkdir -p $roots && ${unpack[*]@Q} && mv $root.new $root && echo ${wanted@Q} >$root.is"
  command -v mmdebstrap >/dev/null || install_packages mmdebstrap >&2
  echo "unpacking into $root, from $suite: $packages" >&2
  rm -rf --one-file-system "$root" "$root.new"
  mkdir -p "$roots"
  "${unpack[@]}"
  mv "$root.new" "$root"
  echo "$wanted" >"$root.is"
}

# The mirror that this machine's own packages come from.
debian_mirror() {
  local mirrors
  mirrors=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p' \
    /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list /etc/apt/sources.list 2>/dev/null || true)
  mirrors=$(grep -v -m 1 security <<<"$mirrors") || fail "no Debian mirror in /etc/apt/sources.list.d"
  echo "$mirrors"
}

# Runs a command in a root, with this machine's /proc and /dev, and with these folders in it: in_root ROOT [FOLDER=PLACE]... -- COMMAND
# It has mounts and processes of its own, of which nothing is left, and no network but loopback.
in_root() {
  local root=$1
  shift
  local mounts=(/proc="$root/proc" /dev="$root/dev")
  while [[ $1 != -- ]]; do
    mounts+=("${1%%=*}=$root${1#*=}")
    mkdir -p "$root${1#*=}"
    shift
  done
  shift
  # shellcheck disable=SC2016
  unshare --net --mount --fork --kill-child bash -c '
    set -e
    # Of the network there is loopback alone; a build needs none of it.
    ip link set lo up 2>/dev/null || true
    root=$1 count=$2
    shift 2
    for mount in "${@:1:count}"; do
      mount --rbind "${mount%%=*}" "${mount#*=}"
    done
    shift "$count"
    exec chroot "$root" "$@"' in_root "$root" "${#mounts[@]}" "${mounts[@]}" "$@"
}
