//! The tools as processes, none of which runs for ever.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything takes that is not stuck.
const PATIENCE: Duration = Duration::from_secs(240);

/// How a process ended.
#[derive(Debug)]
pub struct Ran {
    /// `None` after a signal.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// From start to end.
    pub time: Duration,
}

/// Where standard input comes from.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// It is empty.
    Nothing,
    /// From a pipe that these bytes are written to.
    Pipe(&'a [u8]),
    /// From a file.
    File(&'a Path),
}

/// `layer-unpack ARGUMENTS`, to be run.
pub fn layer_unpack<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(super::program("layer-unpack"));
    command.args(arguments);
    command
}

/// `layerfs ARGUMENTS`, to be run.
pub fn layerfs<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(super::program("layerfs"));
    command.args(arguments);
    command
}

/// Starts a command whose output will be collected.
pub fn start(mut command: Command, input: Input<'_>) -> Child {
    let stdin = match input {
        Input::Nothing => Stdio::null(),
        Input::Pipe(_) => Stdio::piped(),
        Input::File(path) => File::open(path).unwrap().into(),
    };
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Runs a command to its end.
pub fn run(command: Command, input: Input<'_>) -> Ran {
    let started = Instant::now();
    let mut child = start(command, input);
    let pipe = child.stdin.take();
    std::thread::scope(|scope| {
        if let (Some(mut pipe), Input::Pipe(bytes)) = (pipe, input) {
            // Whoever has read enough hangs up.
            scope.spawn(move || drop(pipe.write_all(bytes)));
        }
        finish(child, started)
    })
}

/// Waits until something is so, as long as a busy machine may need. Returns whether it is so.
pub fn until(mut is_so: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        if is_so() {
            return true;
        }
        if begun.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for a process and collects what it wrote.
pub fn finish(mut child: Child, started: Instant) -> Ran {
    let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("still running after {} seconds: {}", PATIENCE.as_secs(), stderr.join().unwrap());
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let time = started.elapsed();
    Ran { code: status.code(), stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap(), time }
}

fn collect(from: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.into_iter().for_each(|mut from| drop(from.read_to_end(&mut bytes)));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

impl Ran {
    /// Must have succeeded.
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    /// What is wrong if it should have failed with status 1 and a message, of one line and with all of `words` in it.
    /// A word may be several with `|` between them, one of which will do.
    pub fn complaints<S: AsRef<str>>(&self, words: &[S]) -> Vec<String> {
        if self.code != Some(1) {
            return vec![format!("exit status {:?}: {}", self.code, self.stderr)];
        }
        let mut report = Vec::new();
        // Lines that may come before something goes wrong.
        let before = |line: &str| line.contains("warning: ") || line.contains(": new data-root ");
        let lines: Vec<&str> = self.stderr.lines().filter(|line| !before(line)).collect();
        if lines.len() != 1 {
            report.push(format!("not one line: {:?}", self.stderr));
        }
        let once = |line: &&&str| line.split(": ").is_sorted_by(|one, next| one != next);
        report.extend(lines.iter().filter(|line| !once(line)).map(|line| format!("says the same twice: {line}")));
        let said = |word: &&str| word.split('|').any(|word| lines.iter().any(|line| line.contains(word)));
        let unsaid = words.iter().map(AsRef::as_ref).filter(|word| !said(word));
        report.extend(unsaid.map(|word| format!("says nothing of {word:?}: {}", self.stderr.trim_end())));
        if !self.stdout.is_empty() {
            report.push(format!("standard output: {}", self.stdout));
        }
        report
    }
}
