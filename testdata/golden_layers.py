"""Layer tars for make-goldens.sh.

    golden_layers.py base|add|foreign|twice OUT.tar
    golden_layers.py append IN-ARCHIVE LAYER.tar OUT-ARCHIVE
"""
import hashlib
import io
import json
import sys
import tarfile

from tar_writer import Layer, T

# vfs_cap_data, revision 2, effective: cap_net_raw, and cap_net_bind_service.
CAP_NET_RAW = bytes.fromhex("0100000200200000000000000000000000000000")
CAP_NET_BIND = bytes.fromhex("0100000200040000000000000000000000000000")
CAPABILITY = "SCHILY.xattr.security.capability"


def base():
    """Imported verbatim, so everything a tar can say to dockerd is possible here."""
    t = Layer()
    t.pax({"comment": "a global header, as git archive writes"}, b"g", b"pax_global_header")
    for d in ("etc/", "gone/", "gone/sub/", "opq/", "opq/olddir/", "opq2/", "repl-dir/"):
        t.add(d)
    t.add("dd/", mode=0o750, uid=7, gid=8)
    t.add("tmp/", mode=0o1777)
    for name in ("etc/config", "f", "gone/a", "gone/sub/b", "opq/old", "opq/olddir/x", "opq2/old",
                 "repl-dir/x", "repl-file", "dd/old", "early", "late"):
        t.add(name, b"base " + name.encode() + b"\n")
    t.add("empty")
    # modes and owners
    for name, mode in (("suid", 0o4755), ("sgid", 0o2755), ("none", 0), ("read", 0o444),
                       ("all", 0o7777), ("typed", 0o100640)):
        t.add("mode/" + name, b"#!x\n", mode=mode, uid=100, gid=50)
    t.add("mode/sgiddir/", mode=0o2775, gid=50)
    t.add("mode/closed/", mode=0)
    t.add("owner/million", b"1", uid=2000000, gid=2000000)
    t.add("owner/base256", b"2", uid=3000000, gid=4000000000)
    t.add("owner/pax", b"3", pax={"uid": 4294967294, "gid": 2097152})
    # links and special files
    t.add("hl/a", b"hard\n")
    t.add("hl/b", kind=b"1", link="hl/a")
    t.add("other/c", kind=b"1", link="./hl/a")
    t.add("ln/abs", link="/etc/config")
    t.add("ln/rel", link="../etc/config")
    t.add("ln/dangling", link="nowhere/at/all")
    t.add("ln/dir", link="../dd")
    t.add("ln/up", link="../../../../outside")
    t.add("ln/pax", link="p" * 130)
    t.add("ln/gnu", link="g" * 130, gnu=True)
    t.add("ln/hard", kind=b"1", link="ln/rel")
    t.add("special/fifo", kind=b"6", mode=0o600)
    t.add("special/null", kind=b"3", mode=0o666, dev=(1, 3))
    t.add("special/loop", kind=b"4", mode=0o660, gid=6, dev=(7, 0))
    # extended attributes
    t.add("xattr/user", b"x", pax={"SCHILY.xattr.user.layerfs": b"bin\0\n\xff=end"})
    t.add("xattr/dir/", pax={"SCHILY.xattr.user.on-dir": "yes"})
    t.add("xattr/cap", b"c", mode=0o755, pax={CAPABILITY: CAP_NET_RAW})
    t.add("xattr/cap-suid", b"c", mode=0o6755, uid=9, gid=9, pax={CAPABILITY: CAP_NET_BIND})
    # names
    for name in (b"caf\xe9", "日本".encode(), b"new\nline", b"\"double\" 'single'", b"<a>&b",
                 b"back\\slash", b"trail ", b"-dash", b"ctl\x01\x7f", "ls\u2028ps".encode(), b"..dots",
                 b".wh", b"*?[x]"):
        t.add(b"names/" + name, name)
    t.add(b"names/x", b"latin-1 in PAX", pax={"path": b"names/pax-\xe9\xfc"})
    t.add("name100/" + "n" * 92, b"fits")
    t.add("short", b"prefix field", prefix=b"long/" + b"d" * 145)
    t.add("long/" + "c" * 255, b"longest component")
    t.add("/".join(["long"] + ["p" * 60] * 5), b"pax path")
    t.add("/".join(["long"] + ["g" * 60] * 5), b"gnu path", gnu=True)
    # times
    t.add("time/subsecond", b"t", pax={"mtime": f"{T}.123456789"})
    t.add("time/dir/", pax={"mtime": f"{T}.5", "atime": f"{T + 60}.25"})
    t.add("time/before-epoch", b"t", pax={"mtime": "-1.5"})
    t.add("time/2100", b"t", mtime=4102444800)
    t.add("time/link", link="subsecond", pax={"mtime": f"{T}.000000001"})
    # a parent no entry names: dockerd makes it 0755 root:root
    t.add("implied/deep/file", b"implied\n", uid=5)
    return t.done(10240)


def add():
    """Unpacked by ADD in a build, so it comes back as dockerd's own differ writes it."""
    t = Layer()
    t.add("add/")
    t.add("add/cap", b"c", mode=0o755, pax={CAPABILITY: CAP_NET_RAW})
    t.add("add/suid", b"s", mode=0o4711, uid=2000000, gid=3000000)
    t.add("add/a", b"hard\n")
    t.add("add/b", kind=b"1", link="add/a")
    t.add("add/fifo", kind=b"6")
    t.add(b"add/caf\xe9", b"latin-1\n")
    t.add("add/new\nline \"<&>\"", b"odd\n")
    t.add("add/" + "l" * 140 + "/")
    t.add("add/" + "l" * 140 + "/" + "m" * 140, b"long\n")
    t.add("add/link", link="../dd/old")
    return t.done()


def foreign():
    """As image builders other than Docker write layers: ./ names, no parents, PAX times."""
    t = Layer()
    t.add("./", mode=0o700, uid=9)
    t.add("./.wh.early", mode=0, uid=5, gid=6)
    t.add("./opq2/.wh..wh..opq", mode=0)
    t.add("./opq2/new", b"new\n")
    t.add("./tmp/new", b"implied parent over a 1777 directory\n")
    t.add("./dd/new", b"implied parent over a 0750 directory\n")
    t.add("./up/", mode=0o711, uid=3, pax={"mtime": f"{T}.75"})
    t.add("./up/user", b"x", pax={"mtime": f"{T}.987654321", "SCHILY.xattr.user.upper": "1"})
    t.add("./up/hard", kind=b"1", link="./up/user", pax={"mtime": f"{T}.987654321"})
    t.add("./.wh.late", mode=0)
    return t.done()


def twice():
    t = Layer()
    t.add("twice/")
    t.add("twice/file", b"the same layer two times\n")
    return t.done()


def append(archive, layer_path, out):
    """Put one more layer on the only image of a docker save archive; tags stay."""
    layer = open(layer_path, "rb").read()
    with tarfile.open(archive) as src:
        item = json.load(src.extractfile("manifest.json"))[0]
        config = json.load(src.extractfile(item["Config"]))
        blobs = [src.extractfile(name).read() for name in item["Layers"]] + [layer]
    config["rootfs"]["diff_ids"].append("sha256:" + hashlib.sha256(layer).hexdigest())
    config["history"].append({"created": "2023-11-14T22:13:20Z", "created_by": "another builder"})
    config = json.dumps(config, separators=(",", ":"), sort_keys=True).encode()
    files = {hashlib.sha256(config).hexdigest() + ".json": config}
    files |= {f"{i}.tar": blob for i, blob in enumerate(blobs)}
    item = {"Config": next(iter(files)), "RepoTags": item["RepoTags"], "Layers": list(files)[1:]}
    files["manifest.json"] = json.dumps([item]).encode()
    with tarfile.open(out, "w") as dst:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            dst.addfile(info, io.BytesIO(data))


if __name__ == "__main__":
    if sys.argv[1] == "append":
        append(*sys.argv[2:])
    else:
        open(sys.argv[2], "wb").write(globals()[sys.argv[1]]())
