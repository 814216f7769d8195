//! A stage while it is built: what the next image of it will be made of.

use snapshot::ids::ImageId;
use snapshot::schema::gojson::StrSlice;
use snapshot::schema::runconfig::RunConfig;

use crate::arguments::Arguments;
use crate::instruction::CommandLine;

/// The search path of an image that has none.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A stage while it is built.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// The image as far as it is; `None` while there is nothing.
    pub(crate) image: Option<ImageId>,
    /// What its containers run with.
    pub(crate) run: RunConfig,
    pub(crate) arguments: Arguments,
    pub(crate) maintainer: String,
    /// The stage has a `CMD`.
    pub(crate) command_set: bool,
    /// A step was not found in the cache: none after it is looked for.
    pub(crate) missed: bool,
    /// The working directory that is known to exist.
    pub(crate) made_dir: Option<String>,
}

impl State {
    /// A stage that stands on an image, or on nothing.
    pub(crate) fn new(image: Option<ImageId>, run: RunConfig, arguments: Arguments) -> Self {
        let mut state = Self { image, run, arguments, ..Self::default() };
        let env = state.run.env.get_or_insert_default();
        if !env.iter().any(|entry| entry.split('=').next() == Some("PATH")) {
            env.push(PATH.to_owned());
        }
        (state.run.open_stdin, state.run.stdin_once) = (false, false);
        state.name_image();
        state
    }

    /// Says in the config which image comes before the next one.
    pub(crate) fn name_image(&mut self) {
        self.run.image = self.image.map(|id| id.to_string()).unwrap_or_default();
    }

    /// What variables are expanded with; of two values, the first counts.
    pub(crate) fn variables(&self) -> Vec<String> {
        let env = self.run.env.clone().unwrap_or_default();
        let arguments = self.arguments.without(&env);
        env.into_iter().chain(arguments).collect()
    }

    /// The config with a comment in the place of the command; `apart` as most steps have it, in two words.
    pub(crate) fn commented(&self, comment: &str, apart: bool) -> RunConfig {
        let mut cmd = shell(&self.run);
        if apart {
            cmd.extend(["#(nop) ".to_owned(), comment.to_owned()]);
        } else {
            cmd.push(format!("#(nop) {comment}"));
        }
        RunConfig { cmd: StrSlice(Some(cmd)), ..self.run.clone() }
    }
}

/// The shell that runs commands.
fn shell(run: &RunConfig) -> Vec<String> {
    match &run.shell.0 {
        Some(shell) if !shell.is_empty() => shell.clone(),
        _ => vec!["/bin/sh".into(), "-c".into()],
    }
}

/// The words of a command.
pub(crate) fn words(run: &RunConfig, command: &CommandLine) -> Vec<String> {
    let mut words = if command.shell { shell(run) } else { Vec::new() };
    words.extend(command.words.iter().cloned());
    words
}
