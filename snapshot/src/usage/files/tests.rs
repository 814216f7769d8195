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

/// The largest files are the same ones in whatever order, and by however many threads, they are found: also among files
/// of one size, and for a file with several links.
#[test]
fn the_largest_do_not_depend_on_the_order() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name);
    for name in ["a", "b", "c", "d", "e", "f"] {
        std::fs::write(place(name), [b'x'; 3000]).unwrap();
    }
    std::fs::write(place("big"), [b'x'; 9000]).unwrap();
    std::fs::hard_link(place("big"), place("same")).unwrap();
    std::fs::hard_link(place("e"), place("aa")).unwrap();
    let names = ["a", "aa", "b", "c", "d", "e", "f", "big", "same"];
    let found = names.map(|name| (name, rustix::fs::stat(place(name)).unwrap()));
    let collect = |order: &[usize]| {
        let layers = BTreeMap::new();
        let (home, content, directories) = (Vec::new(), Vec::new(), HashMap::new());
        let mut collector = Collector { home, content, directories, layers, largest: BTreeSet::new(), keep: 4 };
        for index in order {
            collector.rank(&found[*index].1, found[*index].0.as_bytes());
        }
        collector
    };
    for turn in 0..names.len() {
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.rotate_left(turn);
        for reversed in [false, true] {
            if reversed {
                order.reverse();
            }
            let (one, other) = order.split_at(turn);
            for threads in [vec![collect(&order)], vec![collect(one), collect(other)]] {
                let largest = Files::merge(threads, 4).largest;
                let paths: Vec<&[u8]> = largest.iter().map(|large| large.path.as_slice()).collect();
                assert_eq!(paths, [b"big".as_slice(), b"a", b"aa", b"b"], "{order:?}");
            }
        }
    }
}
