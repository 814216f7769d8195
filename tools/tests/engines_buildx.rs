//! The words of docker's plugin buildx, and `builder prune`, on caches of the same build: buildx and the client of docker 28.5 for
//! BuildKit's, and ours.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod buildsupport;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use buildsupport::both::Both;
use buildsupport::write_dockerfile;
use regex::Regex;
use serde_json::Value;
use testkit::engines::Engine;

/// Two steps and a mount that end up in no image, two that do, and a cache of commands.
const STAGES: &str = "FROM layerfs-test/busybox:1 AS made
COPY one /one
RUN cat /one >/out
RUN --mount=type=cache,target=/c echo hello >/c/x
FROM layerfs-test/busybox:1
COPY --from=made /out /out
RUN cat /out >/last
";

/// What both have said, as far as it can be equal.
struct Said {
    ours: String,
    theirs: String,
    statuses: [Option<i32>; 2],
}

struct Caches {
    both: Both,
    engine: Engine,
}

impl Caches {
    fn start() -> Option<Self> {
        let (both, engine) = Both::with_buildx()?;
        std::fs::create_dir(&both.context).unwrap();
        std::fs::write(both.context.join("one"), "one\n").unwrap();
        write_dockerfile(&both.context, STAGES);
        Some(Self { both, engine })
    }

    fn ours(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(testkit::program("layerfs"));
        command.arg("--root").arg(self.both.root("ours")).args(arguments).current_dir(self.both.dir.path());
        command
    }

    /// buildx, called as docker calls it, or by its own name.
    fn buildx(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.engine.buildx);
        command.args(arguments).env("DOCKER_HOST", format!("unix://{}", self.both.daemon.socket().display()));
        command.env("HOME", self.both.dir.path()).env("DOCKER_CONFIG", self.both.dir.path());
        command.current_dir(self.both.dir.path());
        command
    }

    fn build(&self) {
        let (words, context) = (["-t", "built:1", "--network", "none"], self.both.context.to_str().unwrap());
        for (words, what) in [(&["build"][..], "buildx build"), (&["b"], "buildx b")] {
            let arguments = [words, &[context], &["-t", "built:1", "--network", "none"]].concat();
            testkit::succeeded(what, self.buildx(&arguments).output().unwrap());
        }
        for command in [["buildx", "build"], ["buildx", "b"], ["builder", "build"], ["image", "build"]] {
            let arguments = [&command[..], &["--no-sync", context], &words[..]].concat();
            testkit::succeeded(command[0], self.ours(&arguments).output().unwrap());
        }
    }

    /// The same words for both, after `buildx`.
    fn ask(&self, arguments: &[&str], answer: &str) -> Said {
        let ours = [&["buildx"], arguments].concat();
        compare([self.ours(&ours), self.buildx(arguments)], answer)
    }

    /// The same words for ours, and for docker's client without the plugin.
    fn ask_docker(&self, arguments: &[&str], answer: &str) -> Said {
        let arguments = [&["builder", "prune"], arguments].concat();
        compare([self.ours(&arguments), self.both.daemon.client(&arguments)], answer)
    }

    /// What `du` says in a format of each record.
    fn rows(&self, format: &str) -> [Vec<String>; 2] {
        let arguments = ["du", "--format", format];
        let ours = [&["buildx"], &arguments[..]].concat();
        [self.ours(&ours), self.buildx(&arguments)].map(|mut command| {
            let text = testkit::succeeded("du", command.output().unwrap());
            text.lines().map(str::to_owned).collect()
        })
    }

    /// The bytes that no image has.
    fn private(&self) -> [u64; 2] {
        self.rows("{{.Shared}} {{.Size}}").map(|rows| {
            let private = rows.iter().filter_map(|row| row.strip_prefix("false "));
            private.map(|size| size.strip_suffix('B').unwrap().parse::<u64>().unwrap()).sum()
        })
    }
}

/// Runs both with an answer to what they ask.
fn compare(commands: [Command; 2], answer: &str) -> Said {
    let [(ours, our_status), (theirs, their_status)] = commands.map(|mut command| {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (alike(&output), output.status.code())
    });
    Said { ours, theirs, statuses: [our_status, their_status] }
}

/// Both streams, without what names the program, ids and ages.
fn alike(output: &Output) -> String {
    let text = [&output.stdout, &output.stderr].map(|stream| String::from_utf8_lossy(stream)).concat();
    let text = Regex::new("(?m)^DEPRECATED: The legacy.*\n.*\n.*\n\n").unwrap().replace_all(&text, "").into_owned();
    let text = Regex::new("(?m)^(Error response from daemon|layerfs|ERROR): (rpc error: code = Unknown desc = )?")
        .unwrap()
        .replace_all(&text, "")
        .into_owned();
    let id = Regex::new(r"\b(?:[0-9a-f]{64}|[0-9a-f]{32}|[0-9a-z]{25})(\*?) *").unwrap();
    // The column is as wide as ids are, where there is one.
    let text = match id.replace_all(&text, "ID$1 ") {
        std::borrow::Cow::Owned(text) => Regex::new("(?m)^ID +").unwrap().replace_all(&text, "ID ").into_owned(),
        std::borrow::Cow::Borrowed(text) => text.to_owned(),
    };
    let ago = Regex::new(r"(Less than a second|\d+ seconds?|About a minute) ago").unwrap();
    // What 28.5 says in small letters, 20.10 and ours begin with a capital; buildx leaves a colon out.
    ago.replace_all(&text, "AGO")
        .replace("Invalid filter", "invalid filter")
        .replace("conflicting filters: ", "conflicting filters ")
}

#[test]
fn the_cache_is_shown_and_pruned_in_the_words_of_buildx() {
    let Some(caches) = Caches::start() else { return };
    caches.build();
    for (arguments, answer, says) in [
        (&["du", "--filter", "foo=1"][..], "", "ID        RECLAIMABLE   SIZE      LAST ACCESSED\n"),
        (&["du", "--filter", "shared=true"], "", "LAST ACCESSED\n"),
        (&["du", "--filter", "private=1"], "", "LAST ACCESSED\n"),
        (&["du", "--filter", "id=["], "", "LAST ACCESSED\n"),
        (&["du", "--filter", "parents=x"], "", "LAST ACCESSED\n"),
        (&["du", "--filter", "type=exec.cachemount"], "", "ID* true          6B        AGO\n"),
        (&["du", "--filter", "type~=^exec", "--filter", "shared!=true"], "", "ID* true          6B        AGO\n"),
        (&["du", "--filter", "shared="], "", "failed to parse diskusage filters [shared==]: filters: parse error"),
        (&["du", "--filter", "description=a b"], "", "[description==a >| |< b]: unexpected input:  : invalid argument"),
        (&["du", "--filter", "type=a", "--filter", "type=b"], "", "filters expect only one value\n"),
        (&["du", "--filter", "until=1"], "", "(e.g., '24h'): time: missing unit in duration \"1\"\n"),
        (&["du", "--verbose", "--format", "json"], "", "--format and --verbose cannot be used together\n"),
        (
            &["prune"],
            "n\n",
            "WARNING! This will remove all dangling build cache. Are you sure you want to continue? [y/N] ",
        ),
        (&["prune", "--all"], "", "WARNING! This will remove all build cache. Are you sure"),
        (&["prune", "-f", "--filter", "until=1h"], "", "Total:\t0B\n"),
        (&["prune", "-f", "--filter", "unused-for=1h", "--filter", "until=1h"], "", "conflicting filters"),
        (&["prune", "-f", "--filter", "inuse=1"], "", "Total:\t0B\n"),
        (&["prune", "-f", "--filter", "shared="], "", "failed to parse prune filters [shared==]"),
        (&["prune", "-f", "--max-used-space", "1GB"], "", "Total:\t0B\n"),
        (&["prune", "-f", "--max-used-space", "1", "--reserved-space", "1GB"], "", "Total:\t0B\n"),
        (&["prune", "-f", "--min-free-space", "900000TB", "--reserved-space", "1GB"], "", "Total:\t0B\n"),
    ] {
        let said = caches.ask(arguments, answer);
        assert_eq!(said.ours, said.theirs, "{arguments:?}");
        assert_eq!(said.statuses[0], said.statuses[1], "{arguments:?}: {}", said.ours);
        assert!(said.ours.contains(says), "{arguments:?}: {}", said.ours);
    }
    for flag in ["--reserved-space", "--max-used-space", "--min-free-space"] {
        let said = caches.ask(&["prune", flag, "x"], "");
        let expected = format!("invalid argument \"x\" for \"{flag}\" flag: invalid size: 'x'");
        assert!(said.ours.contains(&expected) && said.theirs.contains(&expected), "{} {}", said.ours, said.theirs);
    }
    let said = caches.ask(&["prune", "--filter", "shared"], "");
    let expected = "invalid argument \"shared\" for \"--filter\" flag: bad format of filter (expected name=value)";
    assert!(said.ours.contains(expected) && said.theirs.contains(expected), "{} {}", said.ours, said.theirs);
    // A record of each, in all forms.
    let cache = ["du", "--filter", "type=exec.cachemount", "--format"];
    for format in [
        "{{.ID}} {{.Type}} {{.Size}} {{.Mutable}} {{.Shared}} {{.Reclaimable}} {{.Parents}}",
        "table {{.ID}}\t{{.Type}}",
    ] {
        let said = caches.ask(&[&cache[..], &[format]].concat(), "");
        assert_eq!(said.ours, said.theirs, "{format}");
    }
    let said = caches.ask(&[&cache[..], &["json"]].concat(), "");
    let [ours, theirs] = [&said.ours, &said.theirs].map(|text| {
        let mut record: Value = serde_json::from_str(text).unwrap();
        ["CreatedAt", "Description", "UsageCount"].iter().for_each(|own| record[own] = Value::Null);
        record
    });
    assert_eq!(ours, theirs);
    let said = caches.ask(&["du", "--verbose", "--filter", "type=exec.cachemount"], "");
    let own = Regex::new("(?m)^(Created at|Description|Usage count): .*\n").unwrap();
    assert_eq!(own.replace_all(&said.ours, ""), own.replace_all(&said.theirs, ""));
    // Whose lines have which names, with parents; and what is below.
    let names = |text: &str| text.lines().map(|line| line.split(':').next().unwrap().to_owned()).collect::<Vec<_>>();
    let said = caches.ask(&["du", "--verbose", "--filter", "description~=cat"], "");
    let known = |text: &str| {
        names(text).into_iter().filter(|name| name != "Last used" && !name.contains("ID")).collect::<Vec<_>>()
    };
    assert!(names(&said.ours).contains(&"Parents".to_owned()), "{}", said.ours);
    assert_eq!(known(&said.ours)[..9], known(&said.theirs)[..9], "{}\n{}", said.ours, said.theirs);
    let said = caches.ask(&["du"], "");
    assert!(said.ours.ends_with("Shared:\t\t8B\nPrivate:\t14B\nReclaimable:\t22B\nTotal:\t\t22B\n"), "{}", said.ours);
    assert!(said.theirs.contains("\nShared:\t\t8B\nPrivate:\t"), "{}", said.theirs);

    // Of the steps that no image has, both give up the same.
    let sizes = |rows: &[String]| {
        let mut sizes: Vec<&str> = rows.iter().filter_map(|row| row.strip_prefix("regular false ")).collect();
        sizes.sort_unstable();
        sizes.join(" ")
    };
    let before = caches.rows("{{.Type}} {{.Shared}} {{.Size}}");
    assert_eq!((sizes(&before[0]), sizes(&before[1])), ("0B 4B 4B".into(), "0B 4B 4B".into()));
    let said = caches.ask(&["prune", "--filter", "type=exec.cachemount"], "y\n");
    assert_eq!(said.ours, said.theirs);
    assert!(said.ours.ends_with("ID* \ttrue \t\t6B        \tAGO\nTotal:\t6B\n"), "{}", said.ours);
    let said = caches.ask(&["prune", "-f"], "");
    assert!(said.ours.ends_with("\nTotal:\t8B\n"), "{}", said.ours);
    let after = caches.rows("{{.Type}} {{.Shared}} {{.Size}}");
    assert_eq!((sizes(&after[0]), sizes(&after[1])), (String::new(), String::new()));
    let said = caches.ask(&["prune", "-f"], "");
    assert_eq!((said.ours.as_str(), said.theirs.as_str()), ("Total:\t0B\n", "Total:\t0B\n"));

    // The bound itself is one too many.
    for flag in ["--max-used-space", "--reserved-space"] {
        caches.build();
        for (more, goes) in [(1, false), (0, true)] {
            for (place, bytes) in caches.private().into_iter().enumerate() {
                let bound = (bytes + more).to_string();
                let said = caches.ask(&["prune", "-f", flag, &bound], "");
                let said = [said.ours, said.theirs][place].clone();
                assert_eq!(said.starts_with("ID"), goes, "{flag} {bound} of {bytes}: {said}");
                // The other one's bound was not its own.
                caches.build();
            }
        }
    }
    // What cannot be reached takes all that may go.
    caches.build();
    let said = caches.ask(&["prune", "-f", "--min-free-space", "900000TB"], "");
    assert!(said.ours.ends_with("\nTotal:\t14B\n") && said.theirs.starts_with("ID"), "{}\n{}", said.ours, said.theirs);
    assert_eq!(caches.private()[0], 0);
    caches.both.daemon.stop();
}

#[test]
fn builder_prune_says_what_docker_28_says() {
    let Some(caches) = Caches::start() else { return };
    caches.build();
    for (arguments, answer, says) in [
        (&["-f", "--filter", "shared=true"][..], "", "Total reclaimed space: 0B\n"),
        (&["-f", "--filter", "private=true"], "", "Total reclaimed space: 0B\n"),
        (&["-f", "--filter", "inuse=true"], "", "Total reclaimed space: 0B\n"),
        (&["-f", "--filter", "id=["], "", "Total reclaimed space: 0B\n"),
        (&["-f", "--filter", "until=1h"], "", "Total reclaimed space: 0B\n"),
        (&["-f", "--filter", "shared="], "", "failed to prune build cache: failed to parse prune filters [shared==]"),
        (&["-f", "--filter", "description=x y"], "", "[description==x >| |< y]: unexpected input:  : invalid argument"),
        (&["-f", "--filter", "foo=1"], "", "failed to prune build cache: invalid filter 'foo'"),
        (&["-f", "--filter", "mutable=1"], "", "failed to prune build cache: invalid filter 'mutable'"),
        (&["-f", "--filter", "type=a", "--filter", "type=b"], "", "filters expect only one value"),
        (&["-f", "--filter", "until=1h", "--filter", "unused-for=1h"], "", "conflicting filters"),
        (&["-f", "--keep-storage", "1GB"], "", "Total reclaimed space: 0B\n"),
        (
            &["-f", "--filter", "type=exec.cachemount"],
            "",
            "Deleted build cache objects:\nID \n\nTotal reclaimed space: 6B\n",
        ),
    ] {
        let said = caches.ask_docker(arguments, answer);
        assert_eq!(said.ours, said.theirs, "{arguments:?}");
        assert_eq!(said.statuses[0], said.statuses[1], "{arguments:?}: {}", said.ours);
        assert!(said.ours.contains(says), "{arguments:?}: {}", said.ours);
    }
    caches.both.daemon.stop();
}
