//! A stage while it is built: its layers, its config and its history.

use images::source::Platform;
use layerfs::DiffId;
use serde_json::Value;
use snapshot::ids::ImageId;
use snapshot::schema::config::ImageConfig;
use snapshot::schema::runconfig::RunConfig;

use crate::instruction::CommandLine;

/// The search path of an image that has none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A step in the history.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// One that an image had before, as its config has it.
    Old(Value),
    /// One of this build.
    New {
        /// When its layer was made; `None` for a step without a layer.
        created: Option<String>,
        /// What was done.
        text: String,
    },
}

/// A stage.
#[derive(Debug, Clone)]
pub(super) struct Built {
    /// Its layers, base first.
    pub(super) layers: Vec<DiffId>,
    /// An image that has these layers; `None` while there are none.
    pub(super) image: Option<ImageId>,
    /// The record of the cache that has these layers, if its last layer was made here.
    pub(super) record: Option<ImageId>,
    /// What its containers will run with.
    pub(super) run: RunConfig,
    /// How often the health check is made at first, in nanoseconds.
    pub(super) start_interval: i64,
    pub(super) author: String,
    pub(super) history: Vec<Step>,
    /// What commands and variables see: the config's environment, and arguments.
    pub(super) env: Vec<String>,
    /// The arguments that were named, in order.
    pub(super) arguments: Vec<String>,
    /// The stage has a `CMD`.
    pub(super) command_set: bool,
    pub(super) platform: Platform,
    /// When the image that it stands on was made.
    pub(super) created: Option<String>,
}

impl Built {
    /// A stage that stands on nothing.
    pub(super) fn scratch(platform: &Platform) -> Self {
        let run = RunConfig { working_dir: "/".into(), ..RunConfig::default() };
        let mut built = Self {
            layers: Vec::new(),
            image: None,
            record: None,
            run,
            start_interval: 0,
            author: String::new(),
            history: Vec::new(),
            env: Vec::new(),
            arguments: Vec::new(),
            command_set: false,
            platform: platform.clone(),
            created: None,
        };
        built.begin();
        built
    }

    /// A stage that stands on an image, whose config's bytes are given, too.
    pub(super) fn on_image(image: ImageId, bytes: &[u8], config: ImageConfig, layers: Vec<DiffId>) -> Self {
        // It was read as a config before.
        let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let interval = &value["config"]["Healthcheck"]["StartInterval"];
        let fields = config.fields;
        let history = value["history"].as_array().cloned().unwrap_or_default();
        let or_host = |text: &str, host: String| if text.is_empty() { host } else { text.to_owned() };
        let host = Platform::host();
        let variant = Some(fields.variant.clone()).filter(|variant| !variant.is_empty());
        let mut built = Self {
            layers,
            image: Some(image),
            run: fields.config.unwrap_or_default(),
            start_interval: interval.as_i64().unwrap_or_default(),
            author: fields.author,
            history: history.into_iter().map(Step::Old).collect(),
            created: value["created"].as_str().map(str::to_owned),
            platform: Platform {
                os: or_host(&fields.os, host.os),
                architecture: or_host(&fields.architecture, host.architecture),
                variant,
            },
            ..Self::scratch(&Platform::host())
        };
        built.env.clear();
        built.begin();
        built
    }

    /// A stage that stands on this one. It sees its arguments.
    pub(super) fn child(&self) -> Self {
        let mut built = Self { command_set: false, ..self.clone() };
        built.begin();
        built
    }

    fn begin(&mut self) {
        let env = self.run.env.get_or_insert_default();
        if !env.iter().any(|entry| name_of(entry) == "PATH") {
            env.push(format!("PATH={PATH}"));
        }
        for entry in env.clone() {
            set(&mut self.env, entry);
        }
    }

    /// A variable of the image.
    pub(super) fn set_env(&mut self, entry: String) {
        set(self.run.env.get_or_insert_default(), entry.clone());
        set(&mut self.env, entry);
    }

    /// An argument of the build.
    pub(super) fn add_argument(&mut self, name: &str, value: Option<&str>) {
        if !self.arguments.iter().any(|known| known == name) {
            self.arguments.push(name.to_owned());
        }
        if let Some(value) = value {
            set(&mut self.env, format!("{name}={value}"));
        }
    }

    /// A step without a layer.
    pub(super) fn note(&mut self, text: String) {
        self.history.push(Step::New { created: None, text });
    }

    /// The shell.
    fn shell(&self) -> Vec<String> {
        match &self.run.shell.0 {
            Some(shell) if !shell.is_empty() => shell.clone(),
            _ => vec!["/bin/sh".into(), "-c".into()],
        }
    }

    /// The words of a command.
    pub(super) fn words(&self, command: &CommandLine) -> Vec<String> {
        let mut words = if command.shell { self.shell() } else { Vec::new() };
        words.extend(command.words.iter().cloned());
        words
    }

    /// A command with the arguments that it can see in front, as the history has it.
    pub(super) fn command_text(&self, words: &[String]) -> String {
        let mut all = Vec::new();
        if !self.arguments.is_empty() {
            all.push(format!("|{}", self.arguments.len()));
        }
        for name in &self.arguments {
            let value = self.env.iter().find(|entry| name_of(entry) == name);
            all.push(value.cloned().unwrap_or_else(|| format!("{name}=")));
        }
        all.extend(words.iter().cloned());
        all.join(" ")
    }
}

/// The name of a variable in `NAME=value`.
pub(super) fn name_of(entry: &str) -> &str {
    entry.split('=').next().unwrap_or_default()
}

/// Sets a variable, in the place of one of the same name.
fn set(env: &mut Vec<String>, entry: String) {
    match env.iter_mut().find(|known| name_of(known) == name_of(&entry)) {
        Some(known) => *known = entry,
        None => env.push(entry),
    }
}
