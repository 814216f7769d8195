#!/usr/bin/env bash
# Makes devicemapper/{ext4,xfs}.tar.xz: data-roots that dockerd 20.10 wrote with its driver devicemapper, in a virtual machine,
# since the driver needs a kernel with device mapper. Takes about 3 minutes on 2 cores, without KVM.
#
#   ext4  the daemon was stopped
#   xfs   the power was cut while a container was writing
#
# Each has, beside the store, what docker said of it: oracle/.
# Needs: qemu-system-x86 busybox-static cpio docker.io dmsetup thin-provisioning-tools xfsprogs e2fsprogs xz-utils, a working
# apt source, and root.
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD
work=$(mktemp -d "${TMPDIR:-/tmp}/make-devicemapper-XXXXXX")
trap 'mountpoint -q "$work/mounted" && umount "$work/mounted"; rm -rf "$work"' EXIT
cd "$work"

# A kernel, and udev, without which dockerd does not use the driver: unpacked, not installed.
kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2; exit }')
apt-get download -qq "$kernel" udev
for package in linux-image-*.deb udev_*.deb; do dpkg-deb -x "$package" "${package%%[-_]*}"; done
release=${kernel#linux-image-}

# The root file system: the programs with their libraries.
root=$work/root
mkdir -p "$root"/usr/{bin,sbin,lib,lib64} "$root"/{etc,proc,sys,dev,tmp,run,root,var/lib,images}
for dir in bin sbin lib lib64; do ln -s "usr/$dir" "$root/$dir"; done
ship() {
    local file library
    for file in "$@"; do
        file=$(command -v "$file")
        [ "${file#/usr/local/}" = "$file" ] || file=/usr/bin/${file##*/}
        mkdir -p "$root$(dirname "$file")"
        cp -L "$file" "$root$file"
        { ldd "$file" 2>/dev/null || true; } | grep -o '/[^ ]*' | while read -r library; do
            mkdir -p "$root$(dirname "$library")"
            cp -Ln "$library" "$root$library"
        done
    done
}
ship dockerd containerd containerd-shim-runc-v2 runc docker mkfs.xfs xfs_growfs mkfs.ext4 tune2fs resize2fs blkid ip iptables \
    dmsetup thin_dump thin_check thin_ls busybox
cp -a udev/lib/. "$root/usr/lib/"
cp -a udev/bin/. "$root/usr/bin/"
ldd udev/bin/udevadm | grep -o '/[^ ]*' | while read -r library; do cp -Ln "$library" "$root$library"; done
mkdir -p "$root/usr/lib/udev/rules.d"
cp /lib/udev/rules.d/*dm* "$root/usr/lib/udev/rules.d/"
for command in $(busybox --list); do
    [ -e "$root/bin/$command" ] || [ -e "$root/sbin/$command" ] || ln -s busybox "$root/usr/bin/$command"
done
cp /etc/passwd /etc/group "$root/etc/"
cp "$here"/goldens/{busybox,layers,shared}-20.10.tar "$root/images/"

# What runs in it. $1: the file system of layers; $2: its size; $3: how it ends.
cat >"$root/session" <<'SESSION'
#!/bin/sh
export PATH=/usr/sbin:/usr/bin HOME=/root
mount -t proc p /proc
mount -t sysfs s /sys
mount -t tmpfs t /run
mount -t tmpfs t /tmp
mkdir -p /dev/pts /dev/shm /var/lib/docker
mount -t devpts d /dev/pts
mount -t cgroup2 c /sys/fs/cgroup
mount /dev/vdb /var/lib/docker || exit 9
/lib/systemd/systemd-udevd --daemon
udevadm trigger
udevadm settle
dockerd -s devicemapper --bridge=none --iptables=false --ip6tables=false --storage-opt dm.fs="$1" --storage-opt dm.basesize="$2" \
    --storage-opt dm.loopdatasize=2G --storage-opt dm.loopmetadatasize=64M >/var/lib/docker/dockerd.log 2>&1 &
daemon=$!
until docker version >/dev/null 2>&1; do sleep 1; done
for image in /images/*.tar; do docker load -qi "$image"; done
docker run --name edited --network none layerfs-test/busybox:1 sh -c 'echo new >/new; rm /etc/motd; mkdir /dd
    dd if=/dev/zero of=/zeros bs=64k count=20; dd if=/dev/urandom of=/random bs=64k count=5'
docker commit -m made edited ours/edited:1
docker create --name fresh ours/edited:1 sh
said=/var/lib/docker/oracle
mkdir $said
docker run -d --name busy --network none layerfs-test/busybox:1 sh -c \
    'mkdir /w; i=0; while :; do i=$((i+1)); echo $i >/w/$i; rm -f /w/$((i-50)); done'
docker save -o $said/named.tar $(docker images --filter dangling=false --format '{{.Repository}}:{{.Tag}}')
for container in edited fresh; do
    docker export -o $said/$container.tar $container
    docker inspect $container >$said/$container.json
    docker diff $container >$said/$container.diff
done
docker images -a --no-trunc --format '{{.ID}} {{.Repository}}:{{.Tag}} {{.Size}}' >$said/images.txt
docker ps -a --size --no-trunc --filter status=exited --filter status=created --format '{{.ID}} {{.Names}} {{.Size}}' >$said/ps.txt
if [ "$3" = cut ]; then
    sync
    sleep 1
    echo b >/proc/sysrq-trigger
    sleep 60
fi
docker rm -f busy
docker system df --format '{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}' >$said/df.txt
kill $daemon
wait $daemon
thin_ls -o DEV,MAPPED_BLOCKS,EXCLUSIVE_BLOCKS,SHARED_BLOCKS,TRANSACTION /var/lib/docker/devicemapper/devicemapper/metadata \
    >$said/thin_ls.txt
sync
umount /var/lib/docker
SESSION
chmod +x "$root/session"
truncate -s 900M system.img
mkfs.ext4 -q -d "$root" system.img

# boot FILE-SYSTEM SIZE END: runs a session, and leaves its data-root in data.img.
boot() {
    local modules=$work/linux/lib/modules/$release/kernel module init=$work/init.$1
    mkdir -p "$init"/{bin,mod,proc,sys,dev,root}
    cp "$(command -v busybox)" "$init/bin/"
    for module in lib/libcrc32c drivers/virtio/{virtio_ring,virtio,virtio_pci_modern_dev,virtio_pci_legacy_dev,virtio_pci} \
        drivers/block/{virtio_blk,loop} drivers/md/{dm-mod,dm-bufio,persistent-data/dm-persistent-data,dm-bio-prison,dm-thin-pool} \
        fs/xfs/xfs; do
        cp "$modules/$module.ko" "$init/mod/"
        echo "${module##*/}" >>"$init/mod/order"
    done
    cat >"$init/init" <<INIT
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc p /proc
mount -t sysfs s /sys
mount -t devtmpfs d /dev
while read module; do insmod /mod/\$module.ko; done </mod/order
mount /dev/vda /root
mount --move /dev /root/dev
chroot /root /session $1 $2 $3
echo o >/proc/sysrq-trigger
sleep 10
INIT
    chmod +x "$init/init"
    (cd "$init" && find . -print0 | cpio -0 -o -H newc --quiet) >initrd
    cp --sparse=always system.img used.img
    rm -f data.img
    truncate -s 4G data.img
    mkfs.ext4 -q data.img
    timeout 1500 qemu-system-x86_64 -machine q35 -accel tcg -cpu max -m 2048 -nodefaults -display none -monitor none \
        -serial "file:serial.$1" -no-reboot -kernel linux/boot/vmlinuz-* -initrd initrd \
        -append "console=ttyS0 quiet panic=-1 rdinit=/init mitigations=off random.trust_cpu=on" \
        -drive if=virtio,format=raw,file=used.img,cache=unsafe -drive if=virtio,format=raw,file=data.img,cache=unsafe
}

pack() {
    mkdir -p mounted kept/docker
    mount -o loop data.img mounted
    for part in image containers devicemapper volumes oracle; do cp -a --sparse=always "mounted/$part" kept/docker/; done
    umount mounted
    chmod 710 kept/docker
    mkdir -p "$here/devicemapper"
    tar -C kept -cS --sort=name --numeric-owner -f - docker | xz -6 >"$here/devicemapper/$1.tar.xz"
    rm -rf kept
}

boot ext4 256M stop
pack ext4
boot xfs 512M cut
pack xfs
ls -l "$here/devicemapper"
