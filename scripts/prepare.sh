# shellcheck shell=bash
# What stands between a fresh clone and a program that runs: packages, a configured build directory,
# a build. Sourced by tests/run and demos/run. All it prints goes to stderr, and where there is
# nothing to do it prints nothing.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# shellcheck disable=SC2034 # for who sources this
build_packages=(g++ meson ninja-build libboost1.81-dev libboost-serialization1.81-dev libssl-dev)

# ccache, where it is there, also caches what is compiled with a precompiled header. The public headers count
# as they are, with their comments, which the preprocessed text has not: g++ takes one of which a comment has
# changed since the header was precompiled for another one, and includes it again in spite of #pragma once.
export CCACHE_SLOPPINESS=${CCACHE_SLOPPINESS:-pch_defines,time_macros}
CCACHE_EXTRAFILES=$(printf '%s:' "$root"/lib/include/kin/*.hpp "$root"/lib/include/kin/*/*.hpp)
export CCACHE_EXTRAFILES=${CCACHE_EXTRAFILES%:}

say() { printf 'kin: %s\n' "$*" >&2; }

# give_up_on_packages REASON PACKAGE...
give_up_on_packages() {
  say "$1"
  shift
  say "Needed are these packages of Debian 12, or what your system has in their place:"
  printf '  %s\n' "$@" >&2
  exit 1
}

# install_missing PACKAGE...: asks nothing, and needs no network, when all are there
install_missing() {
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    give_up_on_packages "This system has no apt, so nothing can be installed here." "$@"
  fi

  local installed package missing=()
  # shellcheck disable=SC2016 # the format is dpkg-query's
  installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "$@" 2>/dev/null)
  for package in "$@"; do
    grep -qxF "$package installed" <<<"$installed" || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0

  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get)
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null ||
      give_up_on_packages "Packages are missing, and this is neither root nor is there sudo." "$@"
    apt=(sudo "${apt[@]}")
  fi
  say "installing with apt-get: ${missing[*]}"
  # lists may be absent or old; what is installed counts, so a failing update alone is no error
  "${apt[@]}" -q update >&2 || say "apt-get update failed; trying to install all the same"
  # never at the price of a package that somebody uses (another version of Boost, say)
  "${apt[@]}" -q install -y --no-install-recommends --no-remove "${missing[@]}" >&2 ||
    give_up_on_packages "apt-get could not install: ${missing[*]}" "$@"
}

# configure DIRECTORY OPTION...: options add up, so that tests and demos can share a directory
configure() {
  local directory=$1 option wanted=()
  shift
  local known=$directory/kin-options log=$directory.log
  mkdir -p "${directory%/*}"
  if [ ! -f "$directory/build.ninja" ] || [ ! -f "$known" ]; then
    say "configuring ${directory#"$root/"}"
    rm -rf "$directory"
    if ! meson setup "$directory" "$root" "$@" >"$log" 2>&1; then
      cat "$log" >&2
      return 1
    fi
    printf '%s\n' "$@" >"$known"
    return 0
  fi
  for option in "$@"; do
    grep -qxF -e "$option" "$known" || wanted+=("$option")
  done
  [ ${#wanted[@]} -gt 0 ] || return 0
  # not `setup --reconfigure`: meson 1.0 forgets the compiler's arguments there
  if ! { meson configure "$directory" "${wanted[@]}" && ninja -C "$directory" build.ninja; } >"$log" 2>&1; then
    cat "$log" >&2
    return 1
  fi
  printf '%s\n' "${wanted[@]}" >>"$known"
}

# build DIRECTORY TARGET...
build() {
  local directory=$1 quiet=()
  shift
  [ "$(ninja -C "$directory" -n "$@" 2>/dev/null | tail -n 1)" != "ninja: no work to do." ] || return 0
  say "building ${*} in ${directory#"$root/"}"
  # on a terminal ninja's progress is one line
  [ -t 2 ] || quiet=(--quiet)
  ninja -C "$directory" "${quiet[@]}" "$@" >&2
}

# in_turn COMMAND...: two builds in one directory would spoil each other
in_turn() {
  mkdir -p "$root/build"
  {
    flock 9
    "$@" 9>&-
  } 9>"$root/build/.turn"
}
