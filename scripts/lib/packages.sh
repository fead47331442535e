# How the scripts install what they need from this system's packages: sourced by those, which have a `fail`.

# Installs what is missing of these packages, or says how.
install_packages() {
  local missing
  read -ra missing <<<"$(missing_packages "$@")"
  if ((${#missing[@]} == 0)); then
    echo "all there: $*"
    return
  fi
  may_install || fail "these packages are missing, install them with:
  apt-get update && apt-get install --no-install-recommends ${missing[*]}"
  echo "installing: ${missing[*]}"
  apt-get update -qq
  without_daemons env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -o Dpkg::Use-Pty=0 "${missing[@]}"
}

missing_packages() {
  local package
  for package in "$@"; do
    # dpkg-query fails for a package that it never heard of: that is missing too.
    [[ $(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
      printf '%s ' "$package"
  done
  echo
}

may_install() {
  ((EUID == 0)) && command -v apt-get >/dev/null
}

# No daemon starts by itself: the tests start their own, on ports of their own.
without_daemons() {
  local policy=/usr/sbin/policy-rc.d made= status=0
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    made=yes
  fi
  "$@" || status=$?
  [[ -z $made ]] || rm "$policy"
  return "$status"
}
