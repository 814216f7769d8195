#!/usr/bin/env bash
# layer-unpack with one thread under a profiler, onto a tmpfs of its own; the report goes to standard output.
# Usage: profile.sh perf|callgrind ARCHIVE     Called by `just perf` and `just callgrind`, in a mount namespace.
set -euo pipefail
[ $# = 2 ] || { sed -n 2,3p "$0" >&2; exit 2; }
tool=$1 archive=$(realpath "$2")
# shellcheck source=benches/lib.sh
. "$(dirname "$0")/lib.sh"
command -v "${tool/callgrind/valgrind}" >/dev/null || die "${tool/callgrind/valgrind} is not installed"
unpack=${LAYER_UNPACK:-$bin/layer-unpack}
out=$here/target/$tool.data

room 90
cp "$archive" "$t/archive"

# A bare layer has no manifest.
to=--layers
case $(tar -tf "$archive" 2>/dev/null | grep -cxE '(\./)?(manifest|index)\.json' || true) in 0) ;; *) to=--root ;; esac
run=("$unpack" "$t/archive" "$to" "$t/to" --threads 1 -q)

case $tool in
perf)
    perf record -q -g --call-graph dwarf,16384 -F 499 -o "$out" -- "${run[@]}"
    perf report -i "$out" --no-children --percent-limit 0.5 -g none --stdio 2>/dev/null
    ;;
callgrind)
    # Valgrind does not know every system call, and says so each time; the program has other ways then.
    valgrind -q --log-file="$out.log" --tool=callgrind --callgrind-out-file="$out" "${run[@]}"
    # Nor the SHA instructions: hashing is most of it here, and what matters is in the rest.
    callgrind_annotate --auto=no --threshold=99.5 "$out" | sed -n 1,80p
    ;;
*) echo "profile.sh: $tool is neither perf nor callgrind" >&2; exit 2 ;;
esac
