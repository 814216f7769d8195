use layerfs::Digest;

use super::waste::measure_chain;
use super::*;

/// Layers as lists of path and size; `-path` is a whiteout, `path/!` an opaque directory.
fn files(layers: &[&[(&str, u64)]]) -> (Files, Vec<ChainId>) {
    let mut files = Files::default();
    let mut chain = Vec::new();
    for (number, entries) in layers.iter().enumerate() {
        let id = ChainId(Digest::hash(&[u8::try_from(number).unwrap()]));
        let entries = entries.iter().map(|(path, size)| {
            let (path, what) = match (path.strip_prefix('-'), path.strip_suffix("/!")) {
                (Some(path), _) => (path, What::Whiteout),
                (_, Some(path)) => (path, What::Opaque),
                _ => (*path, What::File),
            };
            LayerFile { path: path.as_bytes().into(), what, size: *size, allocated: *size, inode: 0 }
        });
        let mut entries: Vec<LayerFile> = entries.collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        files.layers.insert(id, entries);
        chain.push(id);
    }
    (files, chain)
}

fn waste(layers: &[&[(&str, u64)]]) -> Waste {
    let (files, chain) = files(layers);
    measure_chain(&files, &chain)
}

#[test]
fn nothing_is_wasted_where_nothing_is_twice() {
    let waste = waste(&[&[("a", 10), ("b", 5)], &[("c", 3)]]);
    assert_eq!((waste.efficiency, waste.wasted, waste.user, waste.hidden), (1.0, 0, 3, 0));
    assert!(waste.repeated.is_empty());
    assert_eq!(self::waste(&[]).efficiency, 1.0);
}

#[test]
fn replaced_and_deleted() {
    // a: 10 + 4; d/x and d/y deleted with their directory: the path d has 7; b deleted: 5 + 0.
    let layers: [&[(&str, u64)]; 3] =
        [&[("a", 10), ("b", 5), ("d/x", 3), ("d/y", 4), ("d0", 1)], &[("a", 4)], &[("-d", 0), ("-b", 0)]];
    let waste = waste(&layers);
    let paths: Vec<_> = waste.repeated.iter().map(|path| (path.path.as_slice(), path.bytes, path.layers)).collect();
    assert_eq!(paths, [(b"a".as_slice(), 14, 2), (b"b", 5, 2)], "d itself was no file");
    assert_eq!((waste.wasted, waste.user), (19, 4));
    assert_eq!((waste.hidden, waste.hidden_files), (10 + 5 + 7, 4));
    // Needed: a 4, b 0, d/x 3, d/y 4, d0 1, d 7; of: 14 + 5 + 3 + 4 + 1 + 7.
    assert_eq!(waste.efficiency, 19.0 / 34.0);
}

#[test]
fn opaque_directories_hide_what_is_below_them_only() {
    let layers: [&[(&str, u64)]; 2] = [&[("d/old", 8), ("d/both", 2), ("e", 1)], &[("d/!", 0), ("d/both", 3)]];
    let waste = waste(&layers);
    assert_eq!((waste.hidden, waste.hidden_files), (10, 2));
    assert_eq!(waste.repeated.len(), 1);
    assert_eq!(waste.wasted, 5);
}

#[test]
fn a_file_in_the_place_of_a_directory_hides_it() {
    let layers: [&[(&str, u64)]; 2] = [&[("d/x", 8), ("d/y", 1)], &[("d", 2)]];
    assert_eq!((waste(&layers).hidden, waste(&layers).hidden_files), (9, 2));
}
