//! The stages of unpacking a layer, one by one, over a synthetic layer in memory.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use layerfs::Hasher;
use layerfs::compress::Decoder;
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
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut gzip, &tar).expect("writing to memory");
        let gzip = gzip.finish().expect("writing to memory");
        group.bench_function("gunzip", |bencher| {
            bencher.iter_batched(
                || Decoder::new(gzip.as_slice()).expect("a gzip stream"),
                |mut decoder| std::io::copy(&mut decoder, &mut std::io::sink()),
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, stages);
criterion_main!(benches);
