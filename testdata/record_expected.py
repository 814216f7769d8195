"""Record what a real dockerd made of a loaded archive.

    record_expected.py ARCHIVE-NAME DATA-ROOT SOCKET STARTED LOAD-OUTPUT GOLDENS-DIR

Adds the archive to EXPECTED.json and its layers to TREES.json (one line per file, keyed by
chain id). STARTED is the Unix time before the load: later mtimes were not in the archive and
are written as "now".
"""
import base64
import gzip
import hashlib
import json
import os
import stat
import subprocess
import sys

name, root, socket, started, load_output, goldens = sys.argv[1:]
started = float(started)
image_store = os.path.join(root, "image/overlay2")


def read(*parts):
    with open(os.path.join(image_store, *parts)) as f:
        return f.read()


def text(key, raw):
    """UTF-8 as it is; other bytes in base64 under another key, as tar-split does."""
    try:
        return {key: raw.decode()}
    except UnicodeDecodeError:
        return {key + "_raw": base64.b64encode(raw).decode()}


def entry(top, path):
    full = os.path.join(top, path) if path else top
    st = os.lstat(full)
    kind = {stat.S_IFDIR: "dir", stat.S_IFREG: "file", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo",
            stat.S_IFCHR: "char", stat.S_IFBLK: "block"}[stat.S_IFMT(st.st_mode)]
    out = text("path", path or b".") | {"type": kind, "mode": f"{stat.S_IMODE(st.st_mode):04o}",
                                        "uid": st.st_uid, "gid": st.st_gid}
    late = st.st_mtime >= started and st.st_mtime < started + 3600
    out["mtime"] = "now" if late else "%d.%09d" % divmod(st.st_mtime_ns, 10**9)
    if kind != "dir":
        out |= {"size": st.st_size, "nlink": st.st_nlink}
    if kind == "file":
        with open(full, "rb") as f:
            out["sha256"] = hashlib.sha256(f.read()).hexdigest()
    if kind == "symlink":
        out |= text("target", os.readlink(full))
    if kind in ("char", "block"):
        out["device"] = f"{os.major(st.st_rdev)}:{os.minor(st.st_rdev)}"
    xattrs = {k: base64.b64encode(os.getxattr(full, k, follow_symlinks=False)).decode()
              for k in sorted(os.listxattr(full, follow_symlinks=False))}
    # The kernel's own marks of a mounted overlay are no part of the layer.
    for k in ("trusted.overlay.origin", "trusted.overlay.impure", "trusted.overlay.uuid"):
        xattrs.pop(k, None)
    return out | ({"xattrs": xattrs} if xattrs else {})


def tree(top):
    paths = [b""]
    for here, dirs, files in os.walk(top):
        rel = os.path.relpath(here, top)
        paths += [os.path.normpath(os.path.join(rel, n)) for n in dirs + files]
    return [entry(top, p) for p in sorted(paths)]


def chain_ids(diff_ids):
    chains = diff_ids[:1]
    for diff in diff_ids[1:]:
        chains.append("sha256:" + hashlib.sha256(f"{chains[-1]} {diff}".encode()).hexdigest())
    return chains


def layer(diff_id, chain_id, trees):
    db = ("layerdb/sha256", chain_id.removeprefix("sha256:"))
    assert read(*db, "diff") == diff_id
    with gzip.open(os.path.join(image_store, *db, "tar-split.json.gz")) as f:
        split = f.read()
    found = tree(os.fsencode(os.path.join(root, "overlay2", read(*db, "cache-id"), "diff")))
    if trees.setdefault(chain_id, found) != found:
        sys.exit(f"{name}: tree of {chain_id} differs from the one of an earlier archive")
    return {"diff_id": diff_id, "chain_id": chain_id, "size": int(read(*db, "size")),
            "tar_split": {"lines": split.count(b"\n"), "sha256": hashlib.sha256(split).hexdigest()}}


def image(image_id, tags, trees):
    docker = os.environ.get("DOCKER_BIN", "/usr/bin/docker")
    inspect, = json.loads(subprocess.check_output(
        [docker, "-H", f"unix://{socket}", "image", "inspect", image_id]))
    inspect["GraphDriver"].pop("Data")  # paths with random names
    diff_ids = inspect["RootFS"]["Layers"]
    config = read("imagedb/content", image_id.replace(":", "/"))
    assert "sha256:" + hashlib.sha256(config.encode()).hexdigest() == image_id
    return {"id": image_id, "config_bytes": len(config.encode()), "repo_tags": tags,
            "layers": [layer(d, c, trees) for d, c in zip(diff_ids, chain_ids(diff_ids))],
            "inspect": inspect}


def load(file):
    path = os.path.join(goldens, file)
    return json.load(open(path)) if os.path.exists(path) else {}


expected, trees = load("EXPECTED.json"), load("TREES.json")
tags = {}
for repository in json.loads(read("repositories.json"))["Repositories"].values():
    for tag, image_id in repository.items():
        tags.setdefault(image_id, []).append(tag)
ids = sorted("sha256:" + i for i in os.listdir(os.path.join(image_store, "imagedb/content/sha256")))
with open(os.path.join(goldens, name), "rb") as f:
    digest = hashlib.sha256(f.read()).hexdigest()
expected[name] = {"archive_sha256": digest, "load_output": load_output.splitlines(),
                  "images": [image(i, sorted(tags.get(i, [])), trees) for i in ids]}
with open(os.path.join(goldens, "EXPECTED.json"), "w") as f:
    f.write(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")
with open(os.path.join(goldens, "TREES.json"), "w") as f:
    f.write("{" + ",".join(
        f"\n {json.dumps(c)}: [\n  " + ",\n  ".join(json.dumps(e, ensure_ascii=False) for e in t) + "\n ]"
        for c, t in sorted(trees.items())) + "\n}\n")
