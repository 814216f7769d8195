//! Tars.

const BLOCK: usize = 512;

fn header(name: &str, typeflag: u8, size: usize) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..108].copy_from_slice(b"0000644\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[156] = typeflag;
    block[257..265].copy_from_slice(if typeflag == b'S' { b"ustar  \0" } else { b"ustar\x0000" });
    with_sum(block)
}

fn with_sum(mut block: Vec<u8>) -> Vec<u8> {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

fn record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len() + 1;
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    format!("{length}{rest}")
}

fn pax(records: &str) -> Vec<u8> {
    [header("PaxHeaders/0", b'x', records.len()), padded(records.into())].concat()
}

pub(crate) fn members(count: usize) -> Vec<u8> {
    (0..count).flat_map(|at| [header(&format!("d/{at}"), b'0', 3), padded(b"abc".to_vec())].concat()).collect()
}

pub(crate) fn map_in_body(runs: usize) -> Vec<u8> {
    let lines: String = (0..runs).map(|at| format!("{at}\n0\n")).collect();
    let map = padded(format!("{runs}\n{lines}").into());
    let records = ["major=1", "minor=0", "name=sparse", "realsize=99999999"];
    let records: String = records
        .iter()
        .map(|one| one.split_once('=').unwrap())
        .map(|(key, value)| record(&format!("GNU.sparse.{key}"), value))
        .collect();
    [pax(&records), header("f", b'0', map.len()), map].concat()
}

pub(crate) fn map_in_record(runs: usize) -> Vec<u8> {
    let map: Vec<String> = (0..runs).map(|at| format!("{at},0")).collect();
    let records = [
        record("GNU.sparse.size", "99999999"),
        record("GNU.sparse.numblocks", &runs.to_string()),
        record("GNU.sparse.map", &map.join(",")),
    ];
    [pax(&records.concat()), header("f", b'0', 0)].concat()
}

pub(crate) fn map_of_records(runs: usize) -> Vec<u8> {
    let run = |at: usize| record("GNU.sparse.offset", &at.to_string()) + &record("GNU.sparse.numbytes", "0");
    let map: String = (0..runs).map(run).collect();
    let size = record("GNU.sparse.size", "99999999") + &record("GNU.sparse.numblocks", &runs.to_string());
    [pax(&(size + &map)), header("f", b'0', 0)].concat()
}

pub(crate) fn gnu_map(runs: usize) -> Vec<u8> {
    let mut first = header("f", b'S', 0);
    first[482] = 1;
    first[483..495].copy_from_slice(b"00777777777\0");
    let mut tar = with_sum(first);
    let blocks = runs / 21;
    for number in 0..blocks {
        let mut block = vec![0; BLOCK];
        for run in 0..21 {
            block[24 * run..24 * run + 12].copy_from_slice(format!("{:011o}\0", number * 21 + run).as_bytes());
            block[24 * run + 12..24 * run + 24].copy_from_slice(b"00000000000\0");
        }
        block[504] = u8::from(number + 1 < blocks);
        tar.extend(block);
    }
    tar
}

pub(crate) fn records(count: usize) -> Vec<u8> {
    let records: String = (0..count).map(|at| record(&format!("SCHILY.xattr.user.{at}"), "v")).collect();
    [pax(&records), header("f", b'0', 0)].concat()
}

pub(crate) fn extensions(count: usize) -> Vec<u8> {
    let one = [pax(&record("path", "a")), header("L", b'L', 2), padded(b"b\0".to_vec())].concat();
    [one.repeat(count), header("f", b'0', 0)].concat()
}

pub(crate) fn deep_path(levels: usize) -> Vec<u8> {
    [pax(&record("path", &"a/../b/".repeat(levels))), header("f", b'0', 0)].concat()
}
