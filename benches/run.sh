#!/usr/bin/env bash
# `layer-run IMAGE -- true` against `crun run` and `runc run` of the same bundle, and against `docker run --rm`; with an archive also
# `layer-run ARCHIVE -- true` against `docker load` and `docker run`. All take turns; everything is on tmpfs.
# Usage: run.sh [RUNS] [ARCHIVE]     Prints rows for BENCHMARKS.md. Needs root, docker.io, crun or runc, and python3.
set -euo pipefail
# shellcheck source=benches/lib.sh
. "$(dirname "$0")/lib.sh"
# crun refuses control groups of both versions at once.
if [ -z "${LAYERFS_BENCH_INSIDE:-}" ]; then
    LAYERFS_BENCH_INSIDE=1 exec unshare --mount "$0" "$@"
fi
umount /sys/fs/cgroup/unified 2>/dev/null || true
room 80
start_dockerd docker "$t/dockers"
python3 - "$here" "$t" "${1:-15}" "${2:-}" "$bin" "$(docker_of docker)" <<'PYTHON'
import json, os, shutil, statistics, subprocess, sys, time

here, base, runs, archive, bin, client = sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:]
image = "layerfs-test/busybox:1"
tool = lambda name: f"{bin}/{name}"
sh = lambda *words: subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
tar = f"{here}/testdata/busybox-20.10.tar"
for top, _, files in os.walk(f"{here}/testdata"):
    if "busybox-20.10.tar" in files:
        tar = f"{top}/busybox-20.10.tar"

def spent(words):
    """Wall and processor time in ms of a command and all it has waited for."""
    begun = time.perf_counter()
    child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = status
    if status:
        sys.exit(f"{words}: status {status}")
    return (time.perf_counter() - begun) * 1e3, (usage.ru_utime + usage.ru_stime) * 1e3

def in_turn(rows, runs):
    """Every command in each round; the first round warms up."""
    found = {name: [] for name in rows}
    for turn in range(runs + 1):
        for name, words in rows.items():
            measured = [spent(one) for one in words]
            if turn:
                found[name].append(tuple(map(sum, zip(*measured))))
    return found

median = lambda list, at: statistics.median(one[at] for one in list)

def report(found, peers_of):
    for name, list in found.items():
        line = f"| {name} | {median(list, 0):.1f} ms | {min(list)[0]:.1f} | {median(list, 1):.1f} |"
        for peer, own in peers_of:
            if name == peer:
                ratios = [one[0] / other[0] for one, other in zip(found[own], list)]
                line += f" {own}: {statistics.median(ratios):.2f} of this |"
        print(line)

root = f"{base}/root"
os.mkdir(root)
sh(tool("layerfs"), "--root", root, "load", "-q", "-i", tar)
# The bundle that dockerd would make, over a writable layer that is mounted already.
id = sh(tool("layerfs"), "--root", root, "run", "-d", "--runtime", "builtin", image, "sleep", "1000").strip()
spec = json.load(open(f"/run/layerfs/{id}/bundle/config.json"))
sh(tool("layerfs"), "--root", root, "rm", "-f", id)
lower, upper, work, merged, bundle = (f"{base}/{name}" for name in ("lower", "upper", "work", "merged", "bundle"))
for dir in (upper, work, merged, bundle):
    os.mkdir(dir)
sh(tool("layer-unpack"), tar, "--rootfs", lower, "-q")
sh("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", merged)
spec["root"]["path"], spec["process"]["args"] = merged, ["true"]
spec["linux"]["cgroupsPath"] = "/layerfs-bench"
# The network's files went with the container.
spec["mounts"] = [one for one in spec["mounts"] if not one["source"].startswith(root)]
json.dump(spec, open(f"{bundle}/config.json", "w"))

rows = {"`layer-run IMAGE -- true`": [[tool("layer-run"), "--root", root, image, "--", "true"]]}
peers = []
for name in ("crun", "/usr/local/libexec/crun", "runc"):
    program = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")
    if program:
        peer = os.path.basename(program)
        rows[f"`{peer} run`"] = [[program, "run", "-b", bundle, "layerfs-bench"]]
        rows[f"`layer-run --runtime {peer}`"] = [[tool("layer-run"), "--root", root, "--runtime", program, image, "--", "true"]]
        peers.append(f"`{peer} run`")
docker = lambda *words: [*client.split(), *words]
sh(*docker("load", "-q", "-i", tar))
rows["`docker run --rm --network none`"] = [docker("run", "--rm", "--network", "none", image, "true")]
peers.append("`docker run --rm --network none`")
print("| work | median | least | CPU, ms | |\n|---|---|---|---|---|")
report(in_turn(rows, runs), [(peer, "`layer-run IMAGE -- true`") for peer in peers])
if archive:
    manifest = json.loads(sh("tar", "-xOf", archive, "manifest.json"))
    name = (manifest[0].get("RepoTags") or ["sha256:" + manifest[0]["Config"].split("/")[-1].split(".")[0]])[0]
    own, theirs = "`layer-run ARCHIVE -- true`", "`docker load` and `docker run`"
    command = os.environ.get("LAYERFS_BENCH_COMMAND", "/bin/true")
    found = {own: [], theirs: []}
    for turn in range(min(runs, 5) + 1):
        one = spent([tool("layer-run"), archive, "--", command])
        load, run = spent(docker("load", "-q", "-i", archive)), spent(docker("run", "--rm", "--network", "none", name, command))
        sh(*docker("rmi", "-f", name))
        if turn:
            found[own].append(one)
            found[theirs].append((load[0] + run[0], load[1] + run[1]))
    report(found, [(theirs, own)])
PYTHON
