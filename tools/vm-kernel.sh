#!/usr/bin/env bash
# The kernel of the tests' virtual machine, and udev for it: Debian's packages, unpacked into DIR, never installed.
#
#     tools/vm-kernel.sh DIR
set -euo pipefail

dir=${1:?a directory to put it in}
ls "$dir"/boot/vmlinuz-*-cloud-amd64 "$dir"/udev/bin/udevadm >/dev/null 2>&1 && exit 0

package() { apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*-cloud-amd64\)$/\1/p' | head -n 1; }
# Where apt's lists were cleaned away it knows no package.
[ -n "$(package)" ] || apt-get -qq update
package=$(package)
[ -n "$package" ] || { echo "vm-kernel.sh: apt has no linux-image-cloud-amd64" >&2; exit 1; }

new=$dir.new
rm -rf "$new"
mkdir -p "$new/debs"
# udevd is linked to libkmod, which few machines without it have.
(cd "$new/debs" && apt-get -qq -o APT::Sandbox::User=root download "$package" udev libkmod2)
dpkg-deb -x "$new"/debs/linux-image-*.deb "$new"
for deb in "$new"/debs/{udev,libkmod2}_*.deb; do dpkg-deb -x "$deb" "$new/udev"; done
# The tests need the kernel and its modules, udevd and its library.
rm -rf "$new"/debs "$new"/usr/share "$new"/boot/System.map-* "$new"/udev/{etc,usr} "$dir"
mv "$new" "$dir"
