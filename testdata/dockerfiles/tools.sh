# Makes the tar $1: a root file system with this machine's C compiler, dpkg and perl, and a shell of busybox.
set -eu
umask 022
root=$(mktemp -d); trap 'rm -rf "$root"' EXIT
mkdir -p "$root/tmp" "$root/out" "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates" "$root/var/lib/dpkg/triggers" "$root/var/log" "$root/etc"
chmod 1777 "$root/tmp"
for name in bin sbin lib lib64; do mkdir -p "$root/usr/$name"; ln -s "usr/$name" "$root/$name"; done
copy() { for file; do mkdir -p "$root$(dirname "$file")"; cp -L "$file" "$root$file"; done; }
program() {
    path=$(command -v "$1"); copy "$path"
    ldd "$path" 2>/dev/null | grep -o '/[^ ]*' | while read -r library; do copy "$library"; done
}
busybox=$(command -v busybox); cp -L "$busybox" "$root/usr/bin/busybox"
for name in $("$busybox" --list); do [ "$name" = busybox ] || ln -s busybox "$root/usr/bin/$name"; done
for name in tar dpkg dpkg-deb dpkg-split dpkg-query dpkg-trigger perl gcc; do rm -f "$root/usr/bin/$name"; program "$name"; done
for name in ldconfig start-stop-daemon; do rm -f "$root/usr/bin/$name"; ln -s /usr/bin/true "$root/usr/sbin/$name"; done
for name in cc1 collect2 as ld; do program "$(gcc -print-prog-name=$name)"; done
plugin=$(gcc -print-file-name=liblto_plugin.so); copy "$(realpath "$plugin")"
for name in crt1.o crti.o crtbeginT.o crtend.o crtn.o libc.a libgcc.a libgcc_eh.a; do copy "$(realpath "$(gcc -print-file-name=$name)")"; done
for header in $(echo '#include <stdio.h>' | gcc -O1 -M -x c - | tr -d '\\'); do case $header in /*) copy "$header" ;; esac; done
copy $(perl -e 'use strict; print $INC{"strict.pm"}')
: >"$root/var/lib/dpkg/status"; echo root:x:0:0::/root:/bin/sh >"$root/etc/passwd"; echo root:x:0: >"$root/etc/group"
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@1500000000 -C "$root" -cf "$1" .
