#!/bin/sh
# build/deb/heartbus_VERSION_ARCH.deb, by dpkg-deb; `make deb` calls it. Needs no root.
#
# All Python packages that heartbus needs lie in /usr/lib/heartbus, nats-server among them: Debian's
# own are older, and a package of the system must not break a load balancer. They are compiled for
# one version of Python, so that the package depends on that one.
set -eu

cd "$(dirname "$0")/../.."
python=.venv/bin/python
stage=build/deb/stage
lib=usr/lib/heartbus
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
architecture=$(dpkg --print-architecture)
abi=$($python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
next_abi=$($python -c 'import sys; print("%d.%d" % (sys.version_info[0], sys.version_info[1] + 1))')
deb=build/deb/heartbus_${version}_${architecture}.deb

command -v dpkg-deb >/dev/null || { echo "make deb: no dpkg-deb here; it is of Debian" >&2; exit 3; }

rm -rf build/deb
mkdir -p "$stage"/DEBIAN "$stage"/usr/bin "$stage"/$lib "$stage"/etc/default "$stage"/etc/heartbus

echo "deb: Python packages for Python $abi"
$python -m pip install --quiet --disable-pip-version-check --no-compile --no-warn-script-location \
    --constraint constraints.txt --target "$stage"/$lib '.[checks]'
mv "$stage"/$lib/bin/nats-server "$stage"/usr/lib/heartbus/nats-server
# Where it was built is nobody's business, and would differ from build to build.
rm -rf "$stage"/$lib/bin "$stage"/$lib/heartbus-*.dist-info/direct_url.json
sed -i '/direct_url.json/d' "$stage"/$lib/heartbus-*.dist-info/RECORD

# Once for all: a service of a user of its own could not write it. Never compared with the source,
# as nobody but dpkg changes either.
$python -m compileall -q -j 0 -s "$stage" -p / --invalidation-mode unchecked-hash "$stage"/$lib >/dev/null || true

# name MODULE: a command that sees the packages above, and nothing that a user installed
command_file() {
    cat >"$stage/usr/bin/$1" <<END
#!/usr/bin/python3 -IS
import os
import sys

# Children of ours, such as checks, find nats-server here too; site packages are not wanted.
os.environ["PATH"] = os.environ.get("PATH", os.defpath) + ":/usr/lib/heartbus"
sys.path.insert(0, "/usr/lib/heartbus")
from $2 import main

sys.exit(main())
END
    chmod 755 "$stage/usr/bin/$1"
}
sed -n '/^\[project.scripts\]/,/^$/s/^\(heartbus[a-z-]*\) = "\(.*\):main"/\1 \2/p' pyproject.toml |
    while read -r name module; do command_file "$name" "$module"; done

# install_to DIRECTORY FILE...
install_to() {
    directory=$stage/$1
    shift
    mkdir -p "$directory"
    install -m 644 "$@" "$directory"
}
install_to usr/lib/systemd/system deploy/systemd/*
install_to usr/lib/sysusers.d deploy/sysusers.d/heartbus.conf
install_to usr/lib/tmpfiles.d deploy/tmpfiles.d/heartbus.conf
install_to usr/lib/modules-load.d deploy/modules-load.d/heartbus.conf
mkdir -p "$stage"/usr/lib/sysctl.d
install -m 644 deploy/sysctl.d/heartbus.conf "$stage"/usr/lib/sysctl.d/60-heartbus.conf
install_to usr/share/doc/heartbus README.md CHANGELOG.md docs/*.md docs/asyncapi.yaml
install -m 644 deploy/README.md "$stage"/usr/share/doc/heartbus/deploying.md
cp -r examples "$stage"/usr/share/doc/heartbus/examples
install_to usr/share/doc/heartbus/examples/udev deploy/udev/60-heartbus.rules
install_to usr/share/doc/heartbus/examples/systemd deploy/examples/*.conf
install -m 644 deploy/debian/copyright "$stage"/usr/share/doc/heartbus/copyright
install -m 644 deploy/debian/default "$stage"/etc/default/heartbus
chmod 750 "$stage"/etc/heartbus
# Man pages, and completion for bash, zsh and fish.
$python -m heartbus.cli.manual "$stage"/usr/share
find "$stage"/usr/share/man -type f -exec gzip -9n {} +

size=$(du -sk --exclude=DEBIAN "$stage" | cut -f1)
sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@SIZE@/$size/" \
    -e "s/@PYTHON@/$abi/" -e "s/@NEXT_PYTHON@/$next_abi/" deploy/debian/control >"$stage"/DEBIAN/control
echo /etc/default/heartbus >"$stage"/DEBIAN/conffiles
for script in preinst postinst prerm postrm; do
    [ -e deploy/debian/$script ] || continue
    install -m 755 deploy/debian/$script "$stage"/DEBIAN/$script
done
(cd "$stage" && find . -path ./DEBIAN -prune -o -type f -print0 | sort -z |
    xargs -0 md5sum | sed 's, \./, ,') >"$stage"/DEBIAN/md5sums

# HEARTBUS_DEB_ZIP=none: for who throws it away soon.
dpkg-deb --root-owner-group -Z"${HEARTBUS_DEB_ZIP:-xz}" --build "$stage" "$deb" >/dev/null
rm -rf "$stage"
echo "deb: $deb, $(du -h "$deb" | cut -f1)"
