# Makes the tar $1: what `tools.sh` makes, with this machine's apt, python3 with pip, and the Rust toolchain that `rustc` is of; and below
# $2 the contexts of `systems.txt`.
set -eu
umask 022
here=$(dirname "$0")
root=$(mktemp -d); trap 'rm -rf "$root" "$root.tar"' EXIT
sh "$here/tools.sh" "$root.tar"; tar -C "$root" -xf "$root.tar"
copy() { for file; do mkdir -p "$root$(dirname "$file")"; cp -L "$file" "$root$file"; done; }
libraries() { ldd "$@" 2>/dev/null | sed -n 's|.* \(/[^ ]*\) (.*|\1|p; s|^\t\(/[^ ]*\) (.*|\1|p' | sort -u | while read -r library; do copy "$library"; done; }
program() { rm -f "$root$1"; copy "$1"; libraries "$1"; }
for name in apt-get apt-cache python3; do program "$(command -v -p "$name")"; done
copy /usr/share/dpkg/cputable /usr/share/dpkg/ostable /usr/share/dpkg/tupletable
for name in file copy store; do program "/usr/lib/apt/methods/$name"; done
mkdir -p "$root/var/lib/apt/lists/partial" "$root/var/cache/apt/archives/partial" "$root/etc/apt/apt.conf.d" "$root/etc/apt/preferences.d" "$root/var/log/apt"
python=$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))' 2>/dev/null)
case $python in /usr/lib/*) ;; *) python=$(/usr/bin/python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))') ;; esac
mkdir -p "$root$python" "$root/usr/lib/python3/dist-packages"
tar -C "$python" --exclude=test --exclude=idlelib --exclude=__pycache__ --exclude='config-*' -cf - . | tar -C "$root$python" -xf -
libraries "$python"/lib-dynload/*.so
for name in pip setuptools pkg_resources wheel _distutils_hack; do cp -rL "/usr/lib/python3/dist-packages/$name" "$root/usr/lib/python3/dist-packages/"; done
find "$root/usr/lib" -name __pycache__ -prune -exec rm -r {} +
sys=$(rustc --print sysroot); mkdir -p "$root/rust/bin" "$root/rust/lib/rustlib"
cp "$sys/bin/rustc" "$sys/bin/cargo" "$root/rust/bin/"; cp -a "$sys"/lib/*.so* "$root/rust/lib/"; libraries "$sys/bin/cargo" "$sys"/lib/librustc_driver*.so
target=$(rustc -vV | sed -n 's/host: //p'); mkdir -p "$root/rust/lib/rustlib/$target"; cp -a "$sys/lib/rustlib/$target/lib" "$sys/lib/rustlib/$target/bin" "$root/rust/lib/rustlib/$target/"
for name in libm.a libutil.a librt.a libpthread.a libdl.a; do copy "$(realpath "$(gcc -print-file-name=$name)")"; done
grep -o '/[^ ]*\.a' "$(gcc -print-file-name=libm.a)" | while read -r library; do copy "$library"; done
program "$(gcc -print-prog-name=lto-wrapper)"; ln -sf gcc "$root/usr/bin/cc"
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@1500000000 -C "$root" -cf "$1" .

mkdir -p "$2/rust/src" "$2/python/repo" "$2/python/index/greet" "$2/python/app"; cd "$2"
printf '[package]\nname = "hello"\nversion = "0.1.0"\nedition = "2021"\n' >rust/Cargo.toml
printf 'mod greet;\nfn main() { println!("{}", greet::text("rust")); }\n' >rust/src/main.rs
printf 'pub fn text(name: &str) -> String { format!("hello {name}") }\n' >rust/src/greet.rs
# A package, and its repository.
mkdir -p deb/DEBIAN deb/usr/share/words; for n in $(seq 2000); do echo "word $n"; done >deb/usr/share/words/list
printf 'Package: words\nVersion: 2.0\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: words\n' >deb/DEBIAN/control
printf '#!/bin/sh\nwc -l </usr/share/words/list >/usr/share/words/count\n' >deb/DEBIAN/postinst; chmod 755 deb/DEBIAN/postinst
SOURCE_DATE_EPOCH=1600000000 dpkg-deb --root-owner-group -b deb python/repo/words.deb >/dev/null; rm -r deb
{ dpkg-deb -f python/repo/words.deb; echo Filename: ./words.deb; echo "Size: $(stat -c %s python/repo/words.deb)"; echo "SHA256: $(sha256sum <python/repo/words.deb | cut -d" " -f1)"; echo; } >python/repo/Packages
# A distribution of Python's as it lies in an index, and its wheel, which is a zip.
/usr/bin/python3 - python/index/greet <<'EOF'
import base64, hashlib, sys, zipfile
files = {
    "greet/__init__.py": b"def text(name):\n    return f'hello {name}'\n",
    "greet-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: greet\nVersion: 1.0\n",
    "greet-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "greet-1.0.dist-info/entry_points.txt": b"[console_scripts]\ngreet = greet:text\n",
}
digest = lambda data: base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
record = "greet-1.0.dist-info/RECORD"
files[record] = ("".join(f"{name},sha256={digest(data)},{len(data)}\n" for name, data in files.items()) + f"{record},,\n").encode()
with zipfile.ZipFile(sys.argv[1] + "/greet-1.0-py3-none-any.whl", "w") as wheel:
    for name, data in files.items():
        wheel.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), data)
EOF
echo '<a href="greet-1.0-py3-none-any.whl">greet-1.0-py3-none-any.whl</a>' >python/index/greet/index.html
printf 'greet==1.0\n' >python/requirements.txt; printf 'import greet\nprint(greet.text("python"))\n' >python/app/main.py
find . -depth -exec touch -h -d @1600000000 {} +
