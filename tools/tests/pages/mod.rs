//! A data-root made up for the page: some images as they are, and one whose author means no good.

use tools::html::{Page, PageNode, PageNodeKind};

/// Names and notes that try to leave their place, and how the page must show them.
pub(crate) const HOSTILE: [(&str, &str); 9] = [
    ("</script><script>window.pwned=1</script>", "</script><script>window.pwned=1</script>"),
    ("<img src=x onerror=window.pwned=1>", "<img src=x onerror=window.pwned=1>"),
    ("<!--<script>", "<!--<script>"),
    ("\"'`);window.pwned=1;//\\", "\"'`);window.pwned=1;//\\"),
    ("line\u{2028}break\u{2029}\nend", "line\\u{2028}break\\u{2029}\\nend"),
    ("bidi\u{202e}gpj.exe", "bidi\\u{202e}gpj.exe"),
    ("nul\0esc\x1b[31m", "nul\\u{0}esc\\u{1b}[31m"),
    ("{{script}}${window.pwned=1}&lt;b&gt;", "{{script}}${window.pwned=1}&lt;b&gt;"),
    ("__proto__ שלום lost \u{fffd}", "__proto__ שלום lost \u{fffd}"),
];

const MB: u64 = 1_000_000;

/// Sizes that do not look made up, the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// About 300 nodes.
pub(crate) fn page() -> Page {
    let mut dice = Dice(7);
    let debian = "ADD rootfs.tar.xz / # buildkit";
    let apt = "RUN /bin/sh -c apt-get update && apt-get install -y --no-install-recommends ca-certificates";
    let images = [
        (
            "postgres:17",
            &[(debian, 78), (apt, 46), ("RUN /bin/sh -c set -eux; apt-get install -y postgresql-17", 297)][..],
        ),
        ("python:3.13", &[(debian, 121), (apt, 64), ("RUN ./configure --enable-optimizations && make", 186)]),
        ("node:22-slim", &[(debian, 78), ("RUN /bin/sh -c curl -fsSLO node-v22-linux-x64.tar.xz", 141)]),
        (
            "registry.example.org/team/shop:2026-11",
            &[(debian, 78), (apt, 24), ("COPY --chown=app /build /srv/shop", 212)],
        ),
        ("nginx:1.29", &[(debian, 78), ("RUN /bin/sh -c apt-get install -y nginx", 114)]),
        ("redis:8-alpine", &[("ADD alpine-minirootfs.tar.gz /", 9), ("RUN apk add --no-cache redis", 52)]),
        ("busybox:latest", &[("ADD busybox.tar.xz /", 4)]),
    ];
    let images = images.iter().map(|(name, layers)| {
        let layer = |(place, (step, size)): (usize, &(&str, u64))| {
            let id = format!("{:06x}{:06x}", dice.roll(1 << 24), dice.roll(1 << 24));
            let made = tree(&mut dice, size * MB, if place == 0 { &SYSTEM } else { &SYSTEM[place % 2..] });
            noted(sum(step, PageNodeKind::Layer, made), &format!("{id} · {step}"))
        };
        let image = sum(name, PageNodeKind::Image, layers.iter().enumerate().map(layer).collect());
        let mut image = noted(image, &format!("tagged {name}"));
        image.unique = Some(image.allocated - image.children[0].allocated);
        image
    });
    let mut images = images.collect::<Vec<_>>();
    images.push(hostile());
    let mut images = sum("images", PageNodeKind::Images, images);
    images.allocated += 3 * MB;
    let containers = [("shop-web", 31), ("shop-db", 12), ("eager_curie", 2)].map(|(name, size)| {
        let logs = leaf("container-json.log", PageNodeKind::Logs, size * MB * 2 / 3, 1);
        sum(
            name,
            PageNodeKind::Container,
            vec![logs, sum("upper", PageNodeKind::Directory, tree(&mut dice, size * MB, &SYSTEM[3..]))],
        )
    });
    let volumes = [("shop_pgdata", 412), ("shop_uploads", 96), ("npm_cache", 61)];
    let volumes = volumes.map(|(name, size)| sum(name, PageNodeKind::Volume, tree(&mut dice, size * MB, &DATA)));
    let cache = (0..24).map(|number| {
        let record = leaf(&format!("mount {number:02} from exec"), PageNodeKind::BuildCache, dice.roll(14 * MB), 20);
        noted(record, "RUN --mount=type=cache,target=/root/.npm npm ci")
    });
    let cache = sum("build cache", PageNodeKind::BuildCache, cache.collect());
    let orphan = sum("overlay2/9f2c41d07b3e", PageNodeKind::Orphan, tree(&mut dice, 88 * MB, &SYSTEM));
    let orphan = noted(orphan, "no image, container or build record names this directory");
    let root = sum(
        "/var/lib/docker",
        PageNodeKind::DataRoot,
        vec![
            images,
            sum("containers", PageNodeKind::Container, containers.into()),
            sum("volumes", PageNodeKind::Volume, volumes.into()),
            cache,
            sum("orphans", PageNodeKind::Orphan, vec![orphan]),
            leaf("network, plugins, swarm", PageNodeKind::Other, MB / 2, 40),
        ],
    );
    let facts = [("Data-root", "/var/lib/docker"), ("Read", "2026-11-21 09:45 UTC"), ("Unaccounted", "0B")];
    let facts = facts.map(|(label, value)| (label.to_owned(), value.to_owned())).into();
    let rows = [
        ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"],
        ["Images", "8", "2", "1.573GB", "1.312GB (83%)"],
        ["Containers", "3", "1", "44.96MB", "2MB (4%)"],
        ["Local Volumes", "3", "2", "568.6MB", "61.04MB (10%)"],
        ["Build Cache", "24", "0", "168.2MB", "168.2MB"],
    ];
    let rows = rows.map(|row| row.map(str::to_owned)).into();
    Page { title: "Docker storage on harbour".to_owned(), facts, rows, root }
}

/// A directory with 20,000 files, most of them too small to see.
pub(crate) fn many() -> Page {
    let mut dice = Dice(11);
    let files = (0..20_000).map(|number| {
        let size = 1 + dice.roll(1000) * dice.roll(1000) * u64::from(number % 97 == 0) + dice.roll(50);
        leaf(&format!("file-{number:05}"), PageNodeKind::File, size * 512, 1)
    });
    let root = sum("many", PageNodeKind::Directory, files.collect());
    Page { title: "Many".to_owned(), facts: Vec::new(), rows: Vec::new(), root }
}

fn hostile() -> PageNode {
    let files = HOSTILE
        .iter()
        .zip(1..)
        .map(|(&(name, _), place)| noted(leaf(name, PageNodeKind::File, place * 100_000, 1), name));
    let layer = sum("bad0bad0bad0", PageNodeKind::Layer, files.collect());
    sum("mallory/</title>:1", PageNodeKind::Image, vec![layer])
}

/// A directory, its share of the whole, and what is in it.
type Place = (&'static str, u64, &'static [&'static str]);

const SYSTEM: [Place; 5] = [
    ("usr/lib", 46, &["x86_64-linux-gnu", "python3", "locale", "gcc"]),
    ("usr/share", 21, &["doc", "zoneinfo", "perl"]),
    ("usr/bin", 15, &["perl", "openssl", "git"]),
    ("var/lib", 9, &["dpkg", "apt"]),
    ("etc", 2, &[]),
];

const DATA: [Place; 4] = [
    ("base", 60, &["16384", "16385", "5"]),
    ("wal", 25, &["000000010000000000000007", "000000010000000000000008"]),
    ("uploads", 12, &["2026-10", "2026-11"]),
    ("tmp", 3, &[]),
];

/// These places in their shares of `size`.
fn tree(dice: &mut Dice, size: u64, places: &[Place]) -> Vec<PageNode> {
    let whole = places.iter().map(|(_, share, _)| share).sum::<u64>();
    let nodes = places.iter().map(|(name, share, within)| {
        let size = size * share / whole;
        let parts = within.len() as u64 + 1;
        let part = |name: &&str| leaf(name, PageNodeKind::File, size / parts / 2 + dice.roll(size / parts + 1), 1);
        let within = within.iter().map(part).collect::<Vec<_>>();
        if within.is_empty() {
            leaf(name, PageNodeKind::Directory, size, 30)
        } else {
            sum(name, PageNodeKind::Directory, within)
        }
    });
    nodes.collect()
}

fn leaf(name: &str, kind: PageNodeKind, size: u64, files: u64) -> PageNode {
    let allocated = size.next_multiple_of(4096);
    PageNode {
        name: name.to_owned(),
        kind,
        allocated,
        apparent: size,
        files,
        unique: None,
        note: None,
        children: Vec::new(),
    }
}

fn sum(name: &str, kind: PageNodeKind, children: Vec<PageNode>) -> PageNode {
    let mut node = leaf(name, kind, 0, 0);
    for child in &children {
        node.allocated += child.allocated;
        node.apparent += child.apparent;
        node.files += child.files;
    }
    node.children = children;
    node
}

fn noted(mut node: PageNode, note: &str) -> PageNode {
    node.note = Some(note.to_owned());
    node
}
