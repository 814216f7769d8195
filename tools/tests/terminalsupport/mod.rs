//! A terminal, what has stood on it, and a command on it.

#![allow(dead_code, reason = "each test uses a part")]

use std::io::{Read, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use testkit::program;

/// How long anything may take on a busy machine.
const LONG: Duration = Duration::from_secs(120);

/// The columns of the terminal.
const WIDTH: usize = 80;

/// A terminal, and what has stood on it.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    lines: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// All that was ever drawn, as it stood when the cursor left its line.
    pub(crate) drawn: Vec<String>,
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
    pub(crate) fn rest(&self) -> Vec<String> {
        let lines = self.lines.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned());
        lines.filter(|line| !line.is_empty()).collect()
    }

    /// The lines of progress that were shown: those with a rate.
    pub(crate) fn progress(&self) -> Vec<&String> {
        // The path of a new data-root has a name that is drawn: it may end in `B`, before `/store`.
        self.drawn.iter().filter(|line| line.contains("B/s") && !line.contains("new data-root")).collect()
    }
}

/// A command on a terminal of 80 columns.
pub(crate) struct Session {
    keys: ChildStdin,
    output: Receiver<Vec<u8>>,
    seen: Vec<u8>,
    child: std::process::Child,
}

impl Session {
    /// Runs a line of a shell, in which the programs are called by their names. The shell lives on after a Ctrl-C.
    pub(crate) fn start(line: &str, place: &Path) -> Self {
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
    pub(crate) fn wait_for(&mut self, what: &str) {
        let end = Instant::now() + LONG;
        while !self.text().contains(what) {
            let left = end.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(piece) => self.seen.extend(piece),
                Err(error) => panic!("{what:?} is not shown ({error}): {:?}", self.text()),
            }
        }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// The screen at the end.
    pub(crate) fn end(mut self) -> Screen {
        self.wait_for("status ");
        self.child.wait().unwrap();
        self.seen.extend(self.output.iter().flatten());
        Screen::show(&self.text())
    }
}

pub(crate) fn is_possible() -> bool {
    testkit::is_root() && testkit::tier("root", Path::new("/usr/bin/script").exists(), "install bsdutils")
}
