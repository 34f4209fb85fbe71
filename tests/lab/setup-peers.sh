#!/bin/sh
# Fetches Debian packages and unpacks them under build/lab/root, with the libraries that this
# machine lacks. Nothing is installed, so nothing starts by itself.
#
#     setup-peers.sh PACKAGE PROGRAM WHY [MORE…]     PROGRAM: a path, with a leading slash
#
# MORE: packages that are unpacked beside it (its plugins, its data), each with its libraries.
# Prints the LD_LIBRARY_PATH that the program needs. Asks the network nothing if it is there.
set -eu

cd "$(dirname "$0")/../.."
PATH="$PATH:/usr/sbin:/sbin"
package=$1
program=$2
why=$3
shift 3
root=build/lab/$package
archives=$root.archives

say() { echo "setup: $*" >&2; }
fail() {
    say "$*"
    exit 1
}

# Some programs keep libraries of their own beside those of the machine.
library_path() {
    find "$(pwd)/$root/usr/lib" "$(pwd)/$root/lib" -name 'lib*.so*' -printf '%h\n' 2>/dev/null |
        sort -u | paste -sd:
}

fetch() {
    (cd "$archives" && apt-get download -q -o APT::Sandbox::User=root "$@" >/dev/null 2>&1)
}

# Those of some packages that apt can fetch: not virtual ones, nor alternatives it does not have.
known() {
    apt-cache policy "$@" 2>/dev/null |
        awk '/^[^ ]/ { sub(":$", "", $1); name = $1 } /^ +Candidate: [^(]/ { print name }'
}

# Libraries that the unpacked packages ask for, and that neither they nor this machine have.
wanted_libraries() {
    for archive in "$archives"/*.deb; do dpkg-deb -f "$archive" Depends; done |
        tr ',|' '\n\n' | sed -n 's/^ *\(lib[^ (:]*\).*/\1/p' | sort -u |
        while read -r library; do
            ls "$archives/${library}"_*.deb >/dev/null 2>&1 ||
                dpkg-query -W -f '${db:Status-Status}' "$library" 2>/dev/null | grep -q '^installed' ||
                echo "$library"
        done
}

if ! [ -e "$root$program" ]; then
    command -v apt-get >/dev/null || fail "there is no apt-get here to fetch $package with"
    say "fetching $package with apt-get into $root (not installed): $why"
    rm -rf "$archives" "$root.new"
    mkdir -p "$archives" "$root.new"
    fetch "$package" || {
        say "apt-get update, because $package was not found"
        if [ "$(id -u)" = 0 ]; then apt-get update -q >&2; else sudo apt-get update -q >&2; fi
        fetch "$package" || fail "apt-get could not fetch $package; try: apt-get download $package"
    }
    [ $# = 0 ] || fetch "$@" || fail "apt-get could not fetch $*, which $package needs"
    for _round in 1 2 3 4; do
        libraries=$(wanted_libraries)
        # shellcheck disable=SC2086 # several packages are several words
        [ -z "$libraries" ] || libraries=$(known $libraries)
        [ -n "$libraries" ] || break
        # shellcheck disable=SC2086
        fetch $libraries || fail "apt-get could not fetch all of" $libraries
    done
    for archive in "$archives"/*.deb; do dpkg-deb -x "$archive" "$root.new"; done
    rm -rf "$archives" "$root"
    mv "$root.new" "$root"
    LD_LIBRARY_PATH=$(library_path) ldd "$root$program" 2>/dev/null | grep 'not found' >&2 &&
        fail "libraries that $package needs are missing; see above"
fi
library_path
