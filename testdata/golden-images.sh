# Sourced by make-goldens.sh: builds the images of the goldens in the daemon named v20.
# Takes $here, $out and $busybox from it.
# shellcheck shell=bash disable=SC2154,SC2016

stamp=1700000000    # mtime of everything these scripts write themselves

layer_tar() { python3 "$here/golden_layers.py" "$@"; }

# A tree as a tar that does not depend on the machine.
pack_tree() {
    tar -C "$1" --format=ustar --sort=name --mtime="@$stamp" --owner=0 --group=0 \
        --numeric-owner -cf - "${@:2}"
}

build_busybox() {
    local tree=$WORK/busybox-tree ctx=$WORK/busybox-ctx
    mkdir -p "$tree"/{bin,etc,var/log} "$ctx"
    install -d -m 0700 "$tree/root"
    install -d -m 1777 "$tree/tmp"
    install -m 0755 "$busybox" "$tree/bin/busybox"
    ln -s busybox "$tree/bin/sh"
    echo 'root:x:0:0:root:/root:/bin/sh' >"$tree/etc/passwd"
    echo 'root:x:0:' >"$tree/etc/group"
    echo 'deleted in the last layer' >"$tree/etc/removed"
    pack_tree "$tree" bin etc root tmp var | dk v20 import -m base - layerfs-test/busybox-base:1

    echo 'layerfs test image' >"$ctx/motd"
    touch -d "@$stamp" "$ctx/motd"
    # The label with <>&" and non-ASCII shows how the config is escaped.
    cat >"$ctx/Dockerfile" <<'DOCKERFILE'
FROM layerfs-test/busybox-base:1
ENV PATH=/bin LAYERFS=busybox EMPTY=
LABEL layerfs.test="busybox" layerfs.escape="<a href=\"x\">&amp;</a> back\\slash é 日本"
COPY motd /etc/motd
RUN /bin/busybox --install -s /bin && rm /etc/removed && echo built > /var/log/build && \
    find /bin /var ! -name busybox -exec touch -h -d @1700000000 {} + && \
    touch -d @1700000000 /etc
EXPOSE 8080/tcp
WORKDIR /root
CMD ["/bin/sh"]
DOCKERFILE
    dk v20 build -q --network none -t layerfs-test/busybox:1 "$ctx"
    dk v20 save -o "$out/busybox-20.10.tar" layerfs-test/busybox:1
}

build_layers() {
    local ctx=$WORK/layers-ctx t
    mkdir -p "$ctx"
    for t in base add foreign; do layer_tar "$t" "$WORK/$t.tar"; done

    # Layer 1: an import keeps the tar byte for byte.
    dk v20 import -m "import" "$WORK/base.tar" layerfs-test/layers-base:1
    # Layer 2: a real container's upper directory. busybox comes in below /dev, which is a
    # tmpfs in the container, so that nothing of it gets into the layer.
    dk v20 run --name edit --network none -v "$busybox:/dev/busybox:ro" \
        layerfs-test/layers-base:1 /dev/busybox sh -e -c '
            b=/dev/busybox
            $b rm /f /ln/abs
            $b rm -rf /gone
            $b rm -rf /opq; $b mkdir -m 0711 /opq; echo new > /opq/new
            $b rm -rf /repl-dir; echo file > /repl-dir
            $b rm /repl-file; $b mkdir /repl-file; echo x > /repl-file/x
            echo more >> /etc/config
            $b chmod 0600 /hl/b
            $b mkdir -p /new/deep; echo a > /new/a; $b ln /new/a /new/deep/b
            $b ln -s ../a /new/deep/l; $b mkfifo /new/fifo; $b touch /new/.dot /new/empty
            $b chown 2000000:3000000 /new/a; $b chmod 6711 /new/a
            $b find /opq /repl-dir /repl-file /etc/config /new -exec $b touch -h -d @1700000000 {} +'
    dk v20 commit -a "Layer Test <test@invalid>" -m "edit & <commit>" \
        -c 'CMD ["/nothing"]' edit layerfs-test/layers-edit:1
    dk v20 rm edit
    # Layer 3: unpacked by ADD and written again by the differ.
    cp "$WORK/add.tar" "$ctx/"
    cat >"$ctx/Dockerfile" <<'DOCKERFILE'
FROM layerfs-test/layers-edit:1
ADD add.tar /
USER 1000:1000
VOLUME ["/data", "/var/lib/x"]
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=5s --timeout=1s --retries=2 CMD ["/nothing", "-h"]
ONBUILD RUN ["/nothing"]
ENTRYPOINT ["/entry"]
DOCKERFILE
    dk v20 build -q --network none -t layerfs-test/layers:1 "$ctx"
    # Layer 4: from a builder that is not Docker, so it comes in through a load.
    dk v20 save -o "$WORK/three.tar" layerfs-test/layers:1
    layer_tar append "$WORK/three.tar" "$WORK/foreign.tar" "$WORK/four.tar"
    dk v20 load -i "$WORK/four.tar"
    dk v20 tag layerfs-test/layers:1 layerfs-alias:latest
    dk v20 save -o "$out/layers-20.10.tar" layerfs-test/layers:1 layerfs-alias:latest
}

build_shared() {
    local ctx=$WORK/shared-ctx f untagged
    mkdir -p "$ctx"
    for f in one two app other; do echo "$f" >"$ctx/$f"; touch -d "@$stamp" "$ctx/$f"; done
    layer_tar twice "$ctx/twice.tar"
    build() { cat >"$ctx/Dockerfile"; dk v20 build -q --network none "$@" "$ctx"; }
    build -t layerfs-test/shared-base:1 <<<$'FROM scratch\nCOPY one /\nCOPY two /'
    # One instruction only: base is then app's direct parent, which the archive records.
    build -t layerfs-test/app:1 <<<$'FROM layerfs-test/shared-base:1\nCOPY app /app'
    build -t layerfs-test/twice:1 <<<$'FROM layerfs-test/shared-base:1\nADD twice.tar /\nADD twice.tar /'
    untagged=$(build <<<$'FROM layerfs-test/shared-base:1\nCOPY other /\nENTRYPOINT ["/other"]')
    # dockerd writes the images in random order, and what `docker load` prints depends on the
    # last one; repeat until the order is the one given here.
    local want=layerfs-test/shared-base:1,layerfs-test/app:1,layerfs-test/twice:1,none
    for _ in $(seq 1000); do
        dk v20 save -o "$out/shared-20.10.tar" layerfs-test/shared-base:1 layerfs-test/app:1 \
            layerfs-test/twice:1 "$untagged"
        [ "$(tar -xOf "$out/shared-20.10.tar" manifest.json | python3 -c 'import json, sys
print(",".join((i["RepoTags"] or ["none"])[0] for i in json.load(sys.stdin)))')" != "$want" ] || return 0
    done
    die "docker save never gave the order $want"
}
