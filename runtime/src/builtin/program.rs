//! The program: where it is, and its start in place of the stage.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::execve;
use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::error::Stage;

/// A program that is there.
#[derive(Debug)]
pub(super) struct Program {
    path: PathBuf,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

/// Finds the program as Docker's runtime does (Go's `exec.LookPath`): a name without a slash in `PATH`. The texts are Go's.
pub(super) fn find(arguments: &[String], environment: &[String]) -> Result<Program, (Stage, String)> {
    let name = arguments.first().map_or("", String::as_str);
    let path = if name.contains('/') {
        runs(Path::new(name)).map_err(|error| {
            let (stage, what) = match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                    (Stage::NotThere, format!("stat {name}: {}", crate::words(&error)))
                }
                _ => (Stage::NotExecutable, crate::words(&error)),
            };
            (stage, format!("exec: {name:?}: {what}"))
        })?;
        PathBuf::from(name)
    } else {
        let variable = environment.iter().rev().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or_default();
        let dirs = variable.split(':').filter(|dir| !dir.is_empty() && !name.is_empty());
        let found = dirs.map(|dir| Path::new(dir).join(name)).find(|path| runs(path).is_ok());
        found.ok_or_else(|| (Stage::NotThere, format!("exec: {name:?}: executable file not found in $PATH")))?
    };
    let strings = |texts: &[String]| {
        let strings = texts.iter().map(|text| CString::new(text.as_str())).collect::<Result<Vec<_>, _>>();
        strings.map_err(|_| (Stage::Setup, "an argument or a variable holds a zero".to_owned()))
    };
    Ok(Program { path, arguments: strings(arguments)?, environment: strings(environment)? })
}

fn runs(path: &Path) -> io::Result<()> {
    if std::fs::metadata(path)?.is_dir() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)?)
}

impl Program {
    /// Takes the place of this process, or says on the container's standard error why it cannot.
    pub(super) fn run(&self) -> ! {
        let failed = CString::new(self.path.as_os_str().as_bytes())
            .map(|path| execve(&path, &self.arguments, &self.environment))
            .map_or_else(io::Error::other, |Err(errno)| errno.into());
        // This is said in the container, as Docker's runtime does it.
        let line = format!("exec {}: {}\n", self.path.display(), crate::words(&failed));
        let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
        std::process::exit(1)
    }
}
