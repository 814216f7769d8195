//! The stages of unpacking a layer, one by one, over a synthetic layer in memory; and what a warm import looks up.

use std::hint::black_box;
use std::io::Write;
use std::path::Path;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use layerfs::apply::{Ownership, Target, WhiteoutMode};
use layerfs::compress::Decompressor;
use layerfs::{ChainId, DiffId, Digest, Hasher, Source, Unpacking};
use snapshot::dir::Dir;
use snapshot::schema::layer::LayerStore;
use tarsplit::crc64::Crc64;
use tarsplit::disassemble::{Disassembler, Keep, Sink};
use tarsplit::frame::Framer;
use tarsplit::member::Member;

/// A layer of `files` files of `size` bytes, content that neither compresses well nor badly.
fn layer(files: usize, size: usize) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut state = 1u64;
    let mut body = vec![0; size];
    for number in 0..files {
        for byte in &mut body {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = b'a' + (state >> 60) as u8;
        }
        let mut header = tar::Header::new_ustar();
        header.set_size(size as u64);
        header.set_mode(0o644);
        header.set_cksum();
        let name = format!("usr/share/doc/package-{}/file-{number}", number / 50);
        builder.append_data(&mut header, name, body.as_slice()).expect("writing to memory");
    }
    builder.into_inner().expect("writing to memory")
}

/// Takes every body as one that stands on disk.
struct Discard;

impl Sink for Discard {
    type Error = std::convert::Infallible;

    fn member(&mut self, _member: Box<Member>, _first: bool) -> Result<Keep, Self::Error> {
        Ok(Keep::OnDisk)
    }

    fn body(&mut self, data: &[u8], _at: usize, _last: bool) -> Result<(), Self::Error> {
        black_box(data);
        Ok(())
    }
}

fn stages(criterion: &mut Criterion) {
    for (name, tar) in [("small", layer(20_000, 2_000)), ("large", layer(4, 10 << 20))] {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(tar.len() as u64)).sample_size(20);
        group.bench_function("sha256", |bencher| {
            bencher.iter(|| {
                let mut hasher = Hasher::default();
                hasher.update(&tar);
                hasher.finish()
            });
        });
        group.bench_function("sha256, four streams", |bencher| {
            let quarters: Vec<&[u8]> = tar.chunks(tar.len().div_ceil(4)).collect();
            bencher.iter(|| {
                let mut hashers = vec![Hasher::default(); quarters.len()];
                let mut streams: Vec<_> = hashers.iter_mut().zip(&quarters).map(|(to, from)| (to, *from)).collect();
                Hasher::update_together(&mut streams);
                hashers.into_iter().map(Hasher::finish).collect::<Vec<_>>()
            });
        });
        group.bench_function("crc64", |bencher| {
            bencher.iter(|| {
                let mut crc = Crc64::default();
                crc.update(&tar);
                crc.finish()
            });
        });
        group.bench_function("frame", |bencher| {
            bencher.iter(|| {
                let mut framer = Framer::new();
                let mut at = 0;
                while let (taken, Some(frame)) = framer.next(&tar[at..]).expect("a valid tar") {
                    at += taken;
                    black_box(frame);
                }
            });
        });
        group.bench_function("frame and journal", |bencher| {
            bencher.iter(|| {
                let mut disassembler = Disassembler::new(Some(tarsplit::journal::gzip(std::io::sink())));
                disassembler.push(&tar, &mut Discard).expect("a valid tar");
                disassembler
                    .finish::<std::convert::Infallible>()
                    .expect("a valid tar")
                    .map(flate2::write::GzEncoder::finish)
            });
        });
        group.bench_function("apply in memory", |bencher| {
            let scratch = || tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
            bencher.iter_batched_ref(scratch, |directory| apply(&tar, directory.path()), BatchSize::PerIteration);
        });
        for (codec, compressed) in compressed(&tar) {
            group.bench_function(codec, |bencher| {
                bencher.iter_batched(
                    || Decompressor::new(compressed.as_slice()).expect("a compressed stream"),
                    |mut decoder| std::io::copy(&mut decoder, &mut std::io::sink()),
                    BatchSize::SmallInput,
                );
            });
        }
        group.finish();
    }
}

/// Unpacks a layer below `directory` on this thread, without a journal.
fn apply(tar: &[u8], directory: &Path) {
    let open = |path: &Path| Dir::open(path).expect("a directory").owned_fd().expect("a descriptor");
    std::fs::create_dir(directory.join("diff")).expect("a scratch directory");
    let target = Target {
        root: open(&directory.join("diff")),
        scratch: open(directory),
        whiteouts: WhiteoutMode::Record,
        ownership: Ownership::Caller,
        defer_directories: false,
    };
    let unpacking = Unpacking::begin(Source::Slice(tar), target, None).expect("a new directory");
    black_box(unpacking.run(1).expect("a valid layer"));
}

/// The layer as each codec's own encoder writes it, at the level most layers have.
fn compressed(tar: &[u8]) -> [(&'static str, Vec<u8>); 4] {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(tar).expect("writing to memory");
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
    bzip2.write_all(tar).expect("writing to memory");
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(tar).expect("writing to memory");
    [
        ("gunzip", gzip.finish().expect("writing to memory")),
        ("unzstd", zstd::encode_all(tar, 3).expect("writing to memory")),
        ("unxz", xz.finish().expect("writing to memory")),
        ("bunzip2", bzip2.finish().expect("writing to memory")),
    ]
}

/// Layers of the deepest image that overlay2 mounts, about.
const LAYERS: usize = 100;

/// What a warm import does: the names of all layers, and whether the store has them.
fn lookups(criterion: &mut Criterion) {
    let diff_ids: Vec<DiffId> = (0..LAYERS).map(|layer| DiffId(Digest::hash(&layer.to_le_bytes()))).collect();
    let mut group = criterion.benchmark_group("100 layers");
    group.throughput(Throughput::Elements(LAYERS as u64));
    group.bench_function("chain ids", |bencher| bencher.iter(|| ChainId::chain(black_box(&diff_ids))));
    let root = tempfile::tempdir().expect("a scratch directory");
    let chain = ChainId::chain(&diff_ids);
    register(root.path(), &diff_ids, &chain);
    let store = LayerStore::open(&Dir::open(root.path()).expect("the directory")).expect("a layerdb");
    group.bench_function("look up", |bencher| {
        bencher.iter(|| {
            for id in &chain {
                black_box(store.get(*id).expect("a sound record").expect("a registered layer"));
            }
        });
    });
    group.bench_function("look up, none there", |bencher| {
        let absent = ChainId(Digest::hash(b"absent"));
        bencher.iter(|| (0..LAYERS).all(|_| store.get(black_box(absent)).is_ok_and(|record| record.is_none())));
    });
    group.finish();
}

/// Records as dockerd writes them, in a `layerdb` below `root`.
fn register(root: &Path, diff_ids: &[DiffId], chain: &[ChainId]) {
    for (layer, (diff_id, id)) in diff_ids.iter().zip(chain).enumerate() {
        let directory = root.join("layerdb/sha256").join(id.0.hex());
        std::fs::create_dir_all(&directory).expect("a scratch directory");
        let write = |name: &str, text: String| std::fs::write(directory.join(name), text).expect("a scratch file");
        write("diff", diff_id.to_string());
        write("cache-id", format!("{layer:064x}"));
        write("size", "1000".to_owned());
        if let Some(below) = layer.checked_sub(1) {
            write("parent", chain[below].to_string());
        }
    }
}

criterion_group!(benches, stages, lookups);
criterion_main!(benches);
