# Recipes call the same cargo commands as .ci/run; the README needs cargo alone.

# Formatting, lints and documentation, as CI checks them.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# All tests this machine can run; what lacks its need is skipped with a reason.
test:
    cargo test --workspace

# All tests, and every tier must run: needs root and Debian's docker.io, chromium, strace, valgrind, qemu-system-x86 and busybox-static.
test-all: engines vm
    LAYERFS_REQUIRE=plain,root,docker,engines,browser,valgrind,vm cargo test --workspace

# Docker 26.1 and 28.5 for the tests of that tier: packages of Debian's trixie and sid, unpacked below target and never installed.
engines:
    tools/engines.sh target/engines

# Debian's kernel for the tests in a virtual machine: unpacked below target and never installed.
vm:
    tools/vm-kernel.sh target/vm/kernel

# bbolt reads and checks the databases that we write: needs Debian's golang-go and golang-github-coreos-bbolt-dev.
bbolt:
    cd snapshot/bolt/tests/bbolt && GO111MODULE=off GOPATH=/usr/share/gocode go build -o {{ justfile_directory() }}/target/bbolt-check check.go
    LAYERFS_BBOLT={{ quote(justfile_directory() / "target/bbolt-check") }} cargo test -p bolt

# podman reads what `save` writes and `push` pushes: needs root and podman, which no other test needs.
podman:
    LAYERFS_REQUIRE=podman,root cargo test -p tools --test podman_save

# Build the programs without debug information and install them with manual pages and completions: `just install ~/.local`.
install prefix="/usr/local":
    cargo build --locked --profile dist -p tools --bins
    tools/install.sh target/dist {{ quote(prefix) }}

# The long sweeps: 200 kills of an import and of each way out of a store, a full disk at every 2 % of the need, each system call of an import, a tag and an rm failing in turn, 45
# power cuts on ext4 and on XFS, 1,000 stores cleared
# of litter and 1,000 sound ones checked, every config, name and record of a store with each change that the tests know, an odd entry at each place
# of a store.
sweep:
    LAYERFS_SWEEP=full LAYERFS_REQUIRE=root,docker cargo test --release -p tools --test root_kill --test root_nospace --test root_faults --test root_repair --test root_power --test root_save --test root_ended_early --test root_gc --test root_gc_faults --test root_rm_faults --test root_gc_quarantine --test docker_configs --test docker_records --test docker_field_cases --test docker_field_stores --test docker_damaged --test root_hostile --test root_hostile_databases --test root_check
    LAYERFS_SWEEP=full cargo test --release -p fuzz-targets --test mutated

# What `sweep` does with failing calls and kills of one deed, such as `import`, `tag` or `remove`: root_faults.rs names all fifteen.
sweep-faults deed:
    LAYERFS_SWEEP=full LAYERFS_REQUIRE=root cargo test --release -p tools --test root_faults -- --nocapture {{ deed }}::

# Build an image of 1.4 GB and 63,000 files with a real dockerd, and import it with a real dockerd as judge.
big-image archive="/tmp/layerfs-big.tar":
    test -e {{ archive }} || testdata/make-big-image.sh {{ archive }}
    LAYERFS_BIG_IMAGE={{ archive }} LAYERFS_REQUIRE=root,docker cargo test --release -p tools --test docker_big -- --ignored --nocapture

# The picture of the page in the documentation, made again; more views of it are left in target/screenshots.
screenshots:
    mkdir -p target/screenshots
    LAYERFS_SCREENSHOTS={{ justfile_directory() }}/target/screenshots LAYERFS_REQUIRE=browser cargo test -p tools --test browser_page
    pngquant --force --output testdata/screenshots/image-du.png target/screenshots/tip.png

# The transcripts of a first hour and of errors, written anew; needs root. `git diff` shows what has changed.
transcript:
    LAYERFS_WRITE_TRANSCRIPT=1 LAYERFS_REQUIRE=root cargo test -p tools --test root_first_hour each

# Stages of the pipeline, one by one; flags are criterion's: `just bench --quick hash`.
bench *flags:
    cargo bench -p benches -- {{ flags }}

# What `just bench-peers` measures goes here, and stays in git.
raw := "benches/results/" + `date -u +%F` + ".json"

# layer-unpack against every peer that is installed, in turn: makes missing archives in DIR, measures, and writes BENCHMARKS.md. Needs root.
bench-peers dir runs="7": _root (bench-inputs dir)
    cargo build --release -p tools --bin layer-unpack
    target/release/peers run --runs {{ runs }} --out {{ raw }} {{ dir }}
    target/release/peers render {{ raw }} --into BENCHMARKS.md --plots benches/results

_root:
    @test `id -u` = 0 || { echo "run as root: every measurement mounts a fresh file system" >&2; exit 2; }

# The archives for bench-peers: those that DIR does not have yet, about 12 GB. A real image needs root, docker.io and debootstrap.
bench-inputs dir:
    cargo build --release -p benches
    target/release/peers inputs {{ dir }}

# Where one thread spends its time: perf on a fresh tmpfs. Needs root and perf; the data is left in target/perf.data.
perf archive:
    cargo build --release -p tools --bin layer-unpack
    unshare --mount benches/profile.sh perf {{ archive }}

# Instructions of one thread, function by function, which no other process disturbs: a small corpus will do. Needs root and valgrind.
callgrind archive:
    cargo build --release -p tools --bin layer-unpack
    unshare --mount benches/profile.sh callgrind {{ archive }}

# image-du against `du -s` on 200,000 files, and its memory with a million: needs root, hyperfine and python3.
bench-du runs="10":
    cargo build --release -p tools --bin image-du
    benches/du.sh {{ runs }}

# Deleting against `rm -rf`; with an archive (`just big-image`) also `layerfs image rm` against `docker rmi`. Needs root.
bench-delete runs="7" archive="":
    cargo build --release -p tools -p layerfs --bins --example delete
    benches/delete.sh {{ runs }} {{ archive }}

# A data-root with many images in DIR, which must not exist, for measuring: 5,000 images have 50,300 layers and take 2 GB of tmpfs.
big-store dir images="5000" containers="200":
    cargo run --release -p snapshot --example big-store -- {{ dir }} {{ images }} {{ containers }}

# What listings and image-du cost on stores of 100, 1,000 and 5,000 images: a table for BENCHMARKS.md. Needs root.
bench-store runs="5":
    cargo build --release -p tools -p snapshot --bins --example big-store
    benches/store.sh {{ runs }}

# What `image ls` costs on containerd's store of 1,000 images, which should be less than 200 ms by the clock: needs root.
bench-containerd-list runs="11" images="1000":
    cargo build --release -p tools --bin layerfs
    benches/containerd-list.sh {{ runs }} {{ images }}

# `system check` against sha256sum over the same tars, and on 100 images: needs root.
bench-check runs="7":
    cargo build --release -p tools -p benches -p snapshot --bin layerfs --bin corpus --example big-store
    benches/check.sh {{ runs }}

# Builds against docker's BuildKit and its classic builder, on tmpfs: rows for BENCHMARKS.md. Needs root, docker.io, pip and a Rust toolchain.
bench-build runs="7" files="50000" work="all":
    cargo build --release -p tools --bins
    benches/build.sh {{ runs }} {{ files }} {{ work }}

# Save, export, commit, diff and single files against docker and tar, on tmpfs: rows for BENCHMARKS.md. Needs root and docker.io.
bench-save runs="7":
    cargo build --release -p tools -p benches --bin layerfs --bin layer-unpack --bin corpus
    benches/save.sh {{ runs }}

# Pull and push against dockerd and a registry on the loopback interface, also over connections that are cut, and pulls against those of
# ctr, podman and umoci that are installed. Needs root, dockerd, docker-registry, skopeo and python3.
bench-pull runs="7":
    cargo build --release -p tools -p benches --bin layerfs --bin layer-unpack --bin corpus
    benches/pull.sh {{ runs }}

# A store of overlay2 into containerd's, against `docker save | docker load`, with the image of an archive: needs root and `just engines`.
bench-migrate archive runs="3":
    cargo build --release -p tools --bin layerfs
    benches/migrate.sh {{ runs }} {{ quote(archive) }}

# `layer-run` against `crun run`, `runc run` and `docker run`; with an archive also against `docker load` and `docker run`. Needs root.
bench-run runs="15" archive="":
    cargo build --release -p tools --bins
    benches/run.sh {{ runs }} {{ archive }}

# 1,000 runs in a row, 50 at once, 200 kills at random moments: no mount, process, directory or control group is left. Needs root and docker.io.
sweep-run:
    LAYERFS_SWEEP=full LAYERFS_REQUIRE=root,docker cargo test --release -p tools --test root_layer_run --test docker_run_kill --test root_run_escapes --test docker_same_inside --test docker_containers

# Limits where control groups have version 2 alone: a start of a virtual machine (two minutes; on a busy machine it may take its time, as
# only what it uses of the processors counts). Needs what `just vm` makes.
sweep-cgroup2:
    LAYERFS_REQUIRE=vm cargo test -p tools --test vm_cgroup2 -- --ignored vm_

# An image archive to measure on: benches/README.md lists the kinds and flags. `debian` needs what big-image needs.
corpus kind out *flags:
    {{ if kind == "debian" { "testdata/make-big-image.sh" } else { "cargo run --release -p benches --bin corpus -- " + kind } }} {{ quote(out) }} {{ flags }}

# Make testdata/goldens again with real dockerds.
goldens:
    testdata/make-goldens.sh

# Fuzz one parser, or all in turn, for so many minutes each. With cargo-fuzz (`cargo install cargo-fuzz`) a finding is left in
# fuzz/cargo-fuzz/artifacts, and what is found to be interesting is kept in fuzz/cargo-fuzz/target/found; without it kept inputs are
# changed at random, and a finding is printed. Mended, it belongs into fuzz/corpus.
fuzz target="all" minutes="10":
    #!/usr/bin/env bash
    set -euo pipefail
    if ! cargo fuzz --version >/dev/null 2>&1; then
        export LAYERFS_FUZZ_TARGET={{ quote(target) }} LAYERFS_FUZZ_SECONDS=$(( {{ minutes }} * 60 ))
        exec cargo test --release -p fuzz-targets --test mutated -- --ignored --nocapture fuzz_for_a_time
    fi
    # Without a sanitizer, and with what the stable compiler keeps for nightly ones: there is no unsafe code to be watched.
    export RUSTC_BOOTSTRAP=1
    targets={{ if target == "all" { "$(ls fuzz/corpus)" } else { target } }}
    for target in $targets; do
        mkdir -p fuzz/cargo-fuzz/target/found/$target
        cargo fuzz run --fuzz-dir fuzz/cargo-fuzz --sanitizer none $target fuzz/cargo-fuzz/target/found/$target fuzz/corpus/$target -- \
            -max_total_time=$(( {{ minutes }} * 60 )) -timeout=20 -rss_limit_mb=1024 -max_len=65536
    done

# Advisories, licences and sources of dependencies.
deny:
    cargo deny check

# All Dockerfiles of testdata, built by dockerd and here, and by each with the other's cache (about three minutes).
sweep-build:
    LAYERFS_SWEEP=full LAYERFS_REQUIRE=root,docker,engines cargo test --release -p tools --test docker_build --test engines_buildkit --test engines_build_projects

# containerd's store: every damage that is known, with docker as judge of what is said of it; 20 long walks through what its client can do,
# with a check after each step; and migrations killed 300 times, of which docker judges 200. About an hour and a half. Needs what the `engines_*` tests need.
sweep-containerd:
    LAYERFS_SWEEP=full LAYERFS_REQUIRE=root,engines cargo test --release -p tools --test engines_containerd_damaged --test engines_containerd_random --test engines_migrate -- --nocapture

# 40 power cuts of a machine that works on a store of devicemapper, pools that grow while containers run, what can go wrong with a pool,
# LVM, and how long an import and the opening of 1,000 devices take there beside dockerd; then 1,000 states in which a power cut could have
# left stores of devicemapper and overlay2, from a log of all writes (about an hour). Needs what the `vm_*` tests need, and lvm2.
sweep-devicemapper:
    LAYERFS_SWEEP=full LAYERFS_REQUIRE=root,vm cargo test --release -p snapshot --test driver_suite
    LAYERFS_SWEEP=full LAYERFS_REQUIRE=root,docker,vm cargo test --release -p tools --test vm_devicemapper --test vm_write_log -- --nocapture cut pools figures
