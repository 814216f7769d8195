//! What a terminal of 80 columns shows: progress that fits a line, and nothing of it afterwards, also after a Ctrl-C.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use testkit::{program, synthetic};

/// How long anything may take on a busy machine.
const LONG: Duration = Duration::from_secs(120);

/// The columns of the terminal.
const WIDTH: usize = 80;

/// A terminal, and what has stood on it.
#[derive(Debug, Default)]
struct Screen {
    lines: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// All that was ever drawn, as it stood when the cursor left its line.
    drawn: Vec<String>,
}

impl Screen {
    fn show(text: &str) -> Self {
        let mut screen = Self::default();
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            match char {
                '\r' => screen.leave(0),
                '\n' => {
                    screen.leave(screen.column);
                    screen.row += 1;
                }
                '\u{1b}' => screen.control(&mut chars),
                char => {
                    screen.put(char);
                }
            }
        }
        screen
    }

    /// A line that is full goes on in the next one.
    fn put(&mut self, char: char) {
        if self.column == WIDTH {
            self.leave(0);
            self.row += 1;
        }
        let row = self.row;
        if self.lines.len() <= row {
            self.lines.resize(row + 1, Vec::new());
        }
        let line = &mut self.lines[row];
        if line.len() <= self.column {
            line.resize(self.column + 1, ' ');
        }
        line[self.column] = char;
        self.column += 1;
    }

    fn leave(&mut self, column: usize) {
        if let Some(line) = self.lines.get(self.row) {
            self.drawn.push(line.iter().collect::<String>().trim_end().to_owned());
        }
        self.column = column;
    }

    /// The part of a control sequence behind the escape.
    fn control(&mut self, chars: &mut impl Iterator<Item = char>) {
        assert_eq!(chars.next(), Some('['), "only control sequences are used");
        let mut number = String::new();
        let letter = loop {
            match chars.next().unwrap() {
                char @ ('0'..='9' | ';' | '?') => number.push(char),
                letter => break letter,
            }
        };
        let count = number.parse().unwrap_or(1);
        match letter {
            'A' => self.row = self.row.saturating_sub(count),
            'B' => self.row += count,
            'K' => {
                self.leave(self.column);
                if let Some(line) = self.lines.get_mut(self.row) {
                    line.truncate(if number == "2" { 0 } else { self.column });
                }
            }
            'C' => self.column += count,
            'D' => self.column = self.column.saturating_sub(count),
            // Colours, and the cursor shown or hidden.
            'm' | 'h' | 'l' => {}
            other => panic!("what does a terminal do with {number}{other}?"),
        }
    }

    /// What stands there at the end, without empty lines.
    fn rest(&self) -> Vec<String> {
        let lines = self.lines.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned());
        lines.filter(|line| !line.is_empty()).collect()
    }

    /// The lines of progress that were shown: those with a rate.
    fn progress(&self) -> Vec<&String> {
        // The path of a new data-root has a name that is drawn: it may end in `B`, before `/store`.
        self.drawn.iter().filter(|line| line.contains("B/s") && !line.contains("new data-root")).collect()
    }
}

/// A command on a terminal of 80 columns.
struct Session {
    keys: ChildStdin,
    output: Receiver<Vec<u8>>,
    seen: Vec<u8>,
    child: std::process::Child,
}

impl Session {
    /// Runs a line of a shell, in which the programs are called by their names. The shell lives on after a Ctrl-C.
    fn start(line: &str, place: &Path) -> Self {
        let path = format!("{}:{}", program("layerfs").parent().unwrap().display(), std::env::var("PATH").unwrap());
        let mut child = Command::new("script")
            .args(["-qec", &format!("stty cols 80 rows 24 -echo; trap : INT; {line}; echo status $?"), "/dev/null"])
            // Else `script` takes the caller's, and each shell has its own way after a Ctrl-C.
            .env("SHELL", "/bin/sh")
            .env("PATH", path)
            .env("TERM", "xterm")
            .env_remove("COLUMNS")
            .current_dir(place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (keys, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (send, output) = mpsc::channel();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(read @ 1..) = stdout.read(&mut piece) {
                if send.send(piece[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { keys, output, seen: Vec::new(), child }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Waits until something was shown.
    fn wait_for(&mut self, what: &str) {
        let end = Instant::now() + LONG;
        while !self.text().contains(what) {
            let left = end.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(piece) => self.seen.extend(piece),
                Err(error) => panic!("{what:?} is not shown ({error}): {:?}", self.text()),
            }
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// The screen at the end.
    fn end(mut self) -> Screen {
        self.wait_for("status ");
        self.child.wait().unwrap();
        self.seen.extend(self.output.iter().flatten());
        Screen::show(&self.text())
    }
}

fn is_possible() -> bool {
    testkit::is_root() && testkit::tier("root", Path::new("/usr/bin/script").exists(), "install bsdutils")
}

#[test]
fn a_line_of_progress_fits_and_is_gone_at_the_end() {
    if !is_possible() {
        return;
    }
    let dir = testkit::scratch();
    let archive = synthetic::archive(24 << 20, 1500);
    std::fs::write(dir.path().join("a.tar"), &archive).unwrap();
    for (line, last) in [
        ("layer-unpack a.tar --root store", "stored "),
        ("layerfs --root other load -i a.tar --no-sync", "Loaded image"),
        ("layer-unpack a.tar --rootfs tree --no-sync", ""),
        ("layerfs --root store save --all -o out.tar", ""),
        ("layerfs --root store save --all --compress zstd -o out.zst", ""),
        ("layerfs --root store system check --deep", ""),
        (
            "for f in store/overlay2/*/diff/*; do test -f $f && echo x >> $f; done; layerfs --root store system repair --from a.tar --apply",
            "",
        ),
        ("layerfs --root store image prune --all --force", "Total reclaimed space"),
        ("image-gc --root other --all --min-age 0 --apply", ""),
    ] {
        let screen = Session::start(line, dir.path()).end();
        let rest = screen.rest();
        assert!(rest.iter().all(|line| !line.contains("B/s") && !line.contains('━')), "{line}: {rest:#?}");
        assert!(rest.iter().any(|line| line.contains(last)), "{line}: {rest:#?}");
        // Each is a whole line: what is too wide would go on in the next one, and begin with something else.
        for shown in screen.progress() {
            assert!(
                shown.contains('/') && shown.chars().take(12).all(|char| char.is_ascii_hexdigit()),
                "{line}: {shown:?}"
            );
        }
    }
}

/// The archive's beginning comes, and then nothing: the lines stay until somebody presses Ctrl-C.
#[test]
fn ctrl_c_leaves_a_clean_line() {
    if !is_possible() {
        return;
    }
    let dir = testkit::scratch();
    let archive = synthetic::archive(24 << 20, 1500);
    let fifo = dir.path().join("fifo");
    for line in [
        "layer-unpack - --root store < fifo",
        "layerfs --root store load < fifo",
        "layer-unpack - --rootfs tree < fifo",
    ] {
        let _ = std::fs::remove_file(&fifo);
        let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
        assert!(made.success());
        let mut session = Session::start(line, dir.path());
        let mut pipe = File::options().write(true).open(&fifo).unwrap();
        pipe.write_all(&archive[..archive.len() / 2]).unwrap();
        session.wait_for("000000000000");
        session.press("\u{3}");
        let screen = session.end();
        drop(pipe);
        assert!(!screen.progress().is_empty(), "{line}: {:#?}", screen.drawn);
        assert!(
            screen.progress().iter().all(|line| line
                .trim_start_matches("^C")
                .chars()
                .next()
                .is_some_and(|first| first.is_ascii_hexdigit())),
            "{line}: {:#?}",
            screen.drawn
        );
        let rest = screen.rest();
        let said = rest.iter().filter(|line| !line.contains("new data-root")).map(|line| line.trim_start_matches("^C"));
        let name = line.split(' ').next().unwrap();
        let interrupted = format!("{name}: interrupted, nothing was changed");
        assert_eq!(said.collect::<Vec<_>>(), [interrupted.as_str(), "status 130"], "{line}");
    }
}
