#!/bin/sh
# Everything that make test and make demo need on a Debian or Ubuntu machine, saying what and why.
# Does nothing, and asks the network nothing, where all is there already.
#
#     setup.sh demo       only what make demo needs
#     PYTHON=python3.12   use this interpreter for the virtual environment
set -eu

cd "$(dirname "$0")/../.."
PATH="$PATH:/usr/sbin:/sbin"
root=build/lab/root
all=yes
[ "${1:-}" != demo ] || all=no

say() { echo "setup: $*"; }
fail() {
    echo "setup: $*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "root is needed for: $* (run this as root, or install sudo)"
    fi
}

updated=no
update_lists() {
    [ "$updated" = no ] || return 1
    say "apt-get update, because a package was not found"
    as_root apt-get update -q
    updated=yes
}

# install WHY PACKAGE...
install() {
    why=$1
    shift
    say "installing $* with apt-get: $why"
    command -v apt-get >/dev/null || fail "there is no apt-get here; install by hand: $*"
    install_once "$@" || { update_lists && install_once "$@"; } ||
        fail "apt-get could not install $*; see its messages above"
}

install_once() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
        -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 "$@"
}

# needs COMMAND PACKAGES WHY
needs() {
    # shellcheck disable=SC2086 # several packages are several words
    command -v "$1" >/dev/null || install "$3" $2
}

# --- Debian packages ---------------------------------------------------------------------------

needs ip iproute2 "hosts of the lab are network namespaces"
needs modprobe kmod "loads ip_vs and the network devices of the lab"
needs ipvsadm ipvsadm "the tests read the kernel's table with a program that is not ours"
has_ipvs() { [ -e /proc/net/ip_vs ] || modprobe -n -q ip_vs 2>/dev/null; }
has_ipvs || needs linux.uml user-mode-linux "this kernel has no ip_vs, and a kernel with it runs as a program"
if [ $all = yes ]; then
    needs linux.uml user-mode-linux "machines that boot with a systemd of their own"
    needs mke2fs e2fsprogs "their disks"
    needs iptables-legacy iptables "directors that are real servers too mark what clients send"
    needs debootstrap debootstrap "the Debian package is installed into a system that has nothing else"
    needs gcc "gcc libc6-dev" "spin, the model checker, preprocesses with it and writes a C program"
    needs systemd-analyze systemd "what the units let a service do is judged by systemd"
    needs openssl openssl "the certificates of the bus are read with a program that is not ours"
    needs node nodejs "an observer of the bus that is written in another language is tested"
    needs npm npm "fetches the NATS and msgpack packages of that observer"
    needs podman "podman runc" "images of heartbus are built and run, in directories of their own"
fi

# --- Python ------------------------------------------------------------------------------------

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

make_venv() {
    [ -n "${PYTHON:-}" ] || needs python3 "python3 python3-venv" "heartbus is written in Python"
    if ! python=$(find_python); then
        [ -z "${PYTHON:-}" ] || fail "$PYTHON is not a Python 3.11 or later"
        install "heartbus needs Python 3.11 or later, and python3 is older" python3.11 python3.11-venv
        python=$(find_python) || fail "still no Python 3.11 or later; name one: make setup PYTHON=PATH"
    fi
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
        install "$python cannot make virtual environments" "$version-venv"
    fi
    say "making the virtual environment .venv with $python"
    "$python" -m venv --clear .venv
}

wanted="$(pwd) $(cat pyproject.toml constraints.txt | cksum)"
stamp=.venv/setup-stamp
if [ "$(cat $stamp 2>/dev/null)" != "$wanted" ]; then
    new_enough .venv/bin/python && [ "$(.venv/bin/python -c 'import sys; print(sys.prefix)')" = "$(pwd)/.venv" ] ||
        make_venv
    say "installing heartbus and its development tools into .venv: pyproject.toml or constraints.txt is new"
    .venv/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]' ||
        fail "pip could not install; see its messages above"
    echo "$wanted" >$stamp
fi

# --- nginx, unpacked and not installed: an installed one would start a web server here -----------

# fetch DIRECTORY PACKAGE: the archive of a package, from the lists that apt has
fetch() {
    (cd "$1" && apt-get download -q -o APT::Sandbox::User=root "$2" >/dev/null 2>&1)
}

unpack_nginx() {
    say "fetching nginx with apt-get into $root: the web server of the lab's real servers (not installed)"
    command -v apt-get >/dev/null || fail "there is no apt-get here; install nginx by hand"
    archives=build/lab/archives
    mkdir -p $root $archives
    fetch $archives nginx || { update_lists && fetch $archives nginx; } ||
        fail "apt-get could not fetch nginx; try: apt-get download nginx"
    dpkg-deb -x $archives/nginx_*.deb $root
    package=nginx
    # Older releases have the program in a package of its own.
    if ! [ -x $root/usr/sbin/nginx ]; then
        package=nginx-light
        fetch $archives $package || fail "apt-get could not fetch $package, which has the nginx program"
        dpkg-deb -x $archives/${package}_*.deb $root
    fi
    if ldd $root/usr/sbin/nginx | grep -q 'not found'; then
        for library in $(dpkg-deb -f $archives/${package}_*.deb Depends | tr ',' '\n' | sed -n 's/^ *\(lib[^ ]*\).*/\1/p'); do
            fetch $archives "$library" || fail "apt-get could not fetch $library, which nginx needs"
            dpkg-deb -x "$(ls $archives/"$library"_*.deb)" $root
        done
    fi
    rm -rf $archives
}

command -v nginx >/dev/null || [ -x $root/usr/sbin/nginx ] || unpack_nginx

[ $all = yes ] || exit 0

# --- Node packages: an observer of the bus, as a user would write it --------------------------------

wanted="$(cat tests/observer/package.json tests/observer/package-lock.json | cksum)"
stamp=build/observer/setup-stamp
if [ "$(cat $stamp 2>/dev/null)" != "$wanted" ]; then
    say "fetching with npm into build/observer what tests/observer/package-lock.json pins"
    mkdir -p build/observer
    cp tests/observer/package.json tests/observer/package-lock.json build/observer/
    (cd build/observer && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) ||
        fail "npm could not install; see its messages above"
    echo "$wanted" >$stamp
fi

# --- spin, unpacked: the tests of the model are its only users ------------------------------------

unpack_spin() {
    say "fetching spin with apt-get into $root: checks the model of who may hold a VIP (not installed)"
    command -v apt-get >/dev/null || fail "there is no apt-get here; install spin by hand"
    archives=build/lab/archives
    mkdir -p $root $archives
    fetch $archives spin || { update_lists && fetch $archives spin; } ||
        fail "apt-get could not fetch spin; try: apt-get download spin"
    dpkg-deb -x $archives/spin_*.deb $root
    rm -rf $archives
}

command -v spin >/dev/null || [ -x $root/usr/bin/spin ] || unpack_spin

# --- OCF agents, unpacked: a test calls Debian's Dummy --------------------------------------------

unpack_agents() {
    say "fetching resource-agents with apt-get into $root: OCF agents that are not ours (not installed)"
    command -v apt-get >/dev/null || fail "there is no apt-get here; install resource-agents by hand"
    archives=build/lab/archives
    mkdir -p $root $archives
    fetch $archives resource-agents || { update_lists && fetch $archives resource-agents; } ||
        fail "apt-get could not fetch resource-agents; try: apt-get download resource-agents"
    dpkg-deb -x $archives/resource-agents_*.deb $root
    rm -rf $archives
}

[ -x $root/usr/lib/ocf/resource.d/heartbeat/Dummy ] || unpack_agents
