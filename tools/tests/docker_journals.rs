//! A layer's journal in which a field has another form, or is there twice: `layerfs image save` writes the layer if `docker save` does.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use testkit::dockerd::Dockerd;
use testkit::root::RootContents;
use testkit::saved;

/// What goes before the first field of an entry. Fields of the entry come later, and go over these.
const BEFORE: &[&str] = &[
    r#""size":"x","#,
    r#""size":[],"size":[],"#,
    r#""size":{},"#,
    r#""size":1e2,"#,
    r#""size":1.0,"#,
    r#""size":null,"#,
    r#""size":7,"#,
    r#""size":99999999999999999999,"#,
    r#""position":"1","#,
    r#""position":null,"#,
    r#""type":"1","#,
    r#""type":2,"#,
    r#""name":[],"#,
    r#""name":5,"#,
    r#""name":"a\ud800b","#,
    "\"name\":\"a\tb\",",
    r#""name_raw":[],"name_raw":[],"#,
    r#""name_raw":{},"#,
    r#""name_raw":"","#,
    r#""name_raw":"!","#,
    r#""name_raw":[256],"name_raw":null,"#,
    r#""name_raw":[1.0],"name_raw":null,"#,
    r#""name_raw":["a"],"name_raw":null,"#,
    r#""name_raw":[null,1],"name_raw":null,"#,
    r#""name_raw":"bm8=","#,
    r#""payload":[1,2,null],"#,
    r#""payload":true,"#,
    r#""payload":"QR==","#,
    r#""other":{"size":"x"},"#,
    r#""\u0073ize":true,"#,
    r#""ſize":true,"#,
    r#""ſize":null,"#,
    r#""size":-0,"#,
    r#""type":-0,"#,
    r#""position":-0,"#,
    r#""size":-0.0,"#,
    r#""size":-0e1,"#,
    r#""size":-1e-999,"#,
    r#""size":-,"#,
    r#""size":00,"#,
    r#""size":-00,"#,
    r#""size":-9223372036854775808,"#,
    r#""size":-9223372036854775809,"#,
    r#""size":9223372036854775808,"#,
    r#""size":999999999999999999999999999999999999999999,"#,
    r#""size":"-0","#,
    r#""name_raw":[-0],"name_raw":null,"#,
    r#""name_raw":[0],"name_raw":null,"#,
    r#""other":-0.0e-0,"#,
    r#""other":01,"#,
    r#""other":1e999,"#,
    "\"name\":\"a\tb\\u0041\",",
    "\"name\":\"\\\\\u{1f}\",",
    "\"name\":\"\\\"\u{7f}\",",
    "\"name\":\"a\nb\\n\",",
    "\"other\":\"\t\\t\",",
    "\"other\":\"\0\",",
    "\"ot\ther\\u0041\":1,",
    "\"payload\":\"\t\\n\",",
    "\"other\":[\"\\u001f\", \t\r\n\"x\"],",
    "\"other\":\"[[[{{{\\\"]\",",
    "\"other\":[\u{b}1],",
    r#""other":"\ud800\udc00\udc00","#,
    r#""other":"\u12g4","#,
    r#""other":"\x","#,
    r#""other":"\/","#,
];

/// How many lists are in each other in a field that nobody needs, and the same with objects.
const DEEP: [usize; 4] = [200, 9_998, 9_999, 10_000];

/// What goes behind the last field: it goes over what is before it. `NAME` is the entry's name as numbers, `SIZE` its size.
const BEHIND: &[&str] = &[
    r#","size":SIZE"#,
    WRONG_SIZE,
    r#","size":null"#,
    r#","SIZE":SIZE"#,
    r#","name":"nothing""#,
    r#","name":"nothing","name_raw":[NAME]"#,
    r#","name":null"#,
    r#","name_raw":[NAME]"#,
    r#","name_raw":[NAME],"name_raw":[null,null,null,null,null,null,null,null,null,null]"#,
    r#","name_raw":[NAME],"name_raw":[null],"name_raw":[null,null,null,null,null,null,null,null,null,null]"#,
    r#","name_raw":[NAME],"name_raw":[]"#,
    r#","name_raw":[NAME],"name_raw":[],"name_raw":[null,null,null,null,null,null,null,null,null,null]"#,
    r#","name_raw":[NAME,0]"#,
    r#","NAME_RAW":[NAME],"name_raw":null"#,
    r#","payload":null"#,
    r#","payload":[]"#,
    r#","payload":"AAAA""#,
    r#","payload":[null,null,null,null,null,null,null,null]"#,
    r#","payload":[null,null,null,null,null,null,null]"#,
    r#","payload":[null,null,null,null,null,null,null,0]"#,
    r#","type":null"#,
    r#","type":9"#,
];

/// A wrong size, which docker does not look at: the length of the whole layer would not be known before all of it is read.
const WRONG_SIZE: &str = r#","size":7"#;

/// What is replaced in the entry.
const CHANGES: &[(&str, &str)] = &[
    // The bits that the last character has too many.
    ("=\",\"position", "LATER\",\"position"),
    ("=\",\"position", "\\n=\",\"position"),
    ("=\",\"position", "\",\"position"),
    ("\"size\"", "\"SiZe\""),
    ("\"size\"", "\"ſize\""),
    ("\"payload\"", "\"payLoad\""),
    ("\"payload\"", "\"payload \""),
    ("{\"type\":1", "null {\"type\":1"),
    ("{\"type\":1", "[] {\"type\":1"),
    ("{\"type\":1", "{} {\"type\":1"),
];

/// The entry after a change of its last base64 character, which does not change its bytes.
fn with_later_bits(line: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let at = line.find("LATER").unwrap() - 1;
    let value = ALPHABET.iter().position(|&known| known == line.as_bytes()[at]).unwrap();
    line.replace("LATER", "=").replacen(
        &line[at - 3..=at],
        &format!("{}{}", &line[at - 3..at], char::from(ALPHABET[value | 1])),
        1,
    )
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn docker_takes_the_same_journals() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let daemon = Dockerd::start(&root);
    daemon.load(&testkit::golden("layers-20.10.tar"));
    let layers = RootContents::read(&root).layers;
    let (chain, _) = layers.iter().find(|(chain, layer)| layer.diff_id.ends_with(chain.as_str())).unwrap();
    let journal = root.join("image/overlay2/layerdb/sha256").join(chain).join("tar-split.json.gz");
    let lines = testkit::succeeded("gunzip", Command::new("gunzip").arg("-c").arg(&journal).output().unwrap());
    let entry = lines.lines().find(|line| line.contains(r#""name":"etc/config","size":"#)).unwrap();
    let size = entry.split("\"size\":").nth(1).unwrap().split(',').next().unwrap();

    let mut entries: Vec<String> = Vec::new();
    entries.extend(BEFORE.iter().map(|fields| entry.replacen('{', &format!("{{{fields}"), 1)));
    entries.extend(DEEP.iter().flat_map(|&depth| {
        let lists = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let objects = format!("{}1{}", "{\"x\":".repeat(depth), "}".repeat(depth));
        [lists, objects].map(|deep| entry.replacen('{', &format!("{{\"other\":{deep},"), 1))
    }));
    entries.extend(BEHIND.iter().map(|fields| {
        let fields =
            fields.replace("[NAME", "[101,116,99,47,99,111,110,102,105,103").replace(":SIZE", &format!(":{size}"));
        entry.replacen('}', &format!("{fields}}}"), 1)
    }));
    entries.extend(CHANGES.iter().map(|(from, to)| {
        assert!(entry.contains(from), "{from} in {entry}");
        let changed = entry.replacen(from, to, 1);
        if changed.contains("LATER") { with_later_bits(&changed) } else { changed }
    }));

    let (mut report, mut taken) = (Vec::new(), 0);
    let image = &daemon.images()[0];
    let (ours, dockers) = (dir.path().join("ours.tar"), dir.path().join("dockers.tar"));
    for changed in &entries {
        let mut gzip = tarsplit::journal::gzip(fs::File::create(&journal).unwrap());
        gzip.write_all(lines.replacen(entry, changed, 1).as_bytes()).unwrap();
        gzip.finish().unwrap();
        let ours_ran = testkit::layerfs_on(&root, &["save", "-q", "-o", text(&ours), image]);
        let dockers_ran = daemon.docker(&["save", "-o", text(&dockers), image]);
        let [ours_took, docker_took] = [&ours_ran, &dockers_ran].map(|ran| ran.status.success());
        if changed.contains(WRONG_SIZE) && changed.ends_with("7}") {
            let said = String::from_utf8_lossy(&ours_ran.stderr);
            let named = said.contains(&format!("file etc/config: {size} bytes on disk, 7 in the journal"));
            assert!(docker_took && !ours_took && named, "{said}");
        } else if ours_took != docker_took {
            let [ours, dockers] = [&ours_ran, &dockers_ran].map(|ran| String::from_utf8_lossy(&ran.stderr));
            report.push(format!("{changed:.200}\n  ours {ours}  docker {dockers}"));
        } else if ours_took {
            taken += 1;
            report.extend(saved::check_layers(&ours).1);
            fs::remove_file(&ours).unwrap();
        }
    }
    testkit::assert_none("journals", &report);
    assert!(taken > 20 && taken < entries.len() - 20, "{taken} of {} were taken", entries.len());
}
