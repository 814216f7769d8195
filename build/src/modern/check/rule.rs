//! The rules, and which of them count.

/// What BuildKit warns of (moby/buildkit `frontend/dockerfile/linter/ruleset.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    ConsistentInstructionCasing,
    CopyIgnoredFile,
    DuplicateStageName,
    ExposeInvalidFormat,
    ExposeProtoCasing,
    FromAsCasing,
    FromPlatformFlagConstDisallowed,
    InvalidDefaultArgInFrom,
    InvalidDefinitionDescription,
    JSONArgsRecommended,
    LegacyKeyValueFormat,
    MaintainerDeprecated,
    MultipleInstructionsDisallowed,
    NoEmptyContinuation,
    RedundantTargetPlatform,
    ReservedStageName,
    SecretsUsedInArgOrEnv,
    StageNameCasing,
    UndefinedArgInFrom,
    UndefinedVar,
    WorkdirRelativePath,
}

impl Rule {
    /// Its name, as docker has it.
    pub(super) fn name(self) -> String {
        format!("{self:?}")
    }

    /// Where docker explains it: at its name in small letters, with a dash before each word.
    pub(super) fn address(self) -> String {
        let name: Vec<char> = self.name().chars().collect();
        let mut words = String::new();
        for (at, char) in name.iter().enumerate() {
            let is_small = |at: Option<usize>| at.and_then(|at| name.get(at)).is_some_and(char::is_ascii_lowercase);
            if at > 0 && char.is_ascii_uppercase() && (is_small(at.checked_sub(1)) || is_small(Some(at + 1))) {
                words.push('-');
            }
            words.push(char.to_ascii_lowercase());
        }
        format!("https://docs.docker.com/go/dockerfile/rule/{words}/")
    }

    /// Whether it counts only where it is asked for.
    fn is_experimental(self) -> bool {
        matches!(self, Self::CopyIgnoredFile | Self::InvalidDefinitionDescription)
    }
}

/// The rules that count: what the directive `check` says, or the build argument `BUILDKIT_DOCKERFILE_CHECK` in its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rules {
    skipped: Words,
    asked: Words,
    /// Whether nothing is built where there is a warning.
    pub(super) refuse: bool,
}

/// Names of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Words {
    All,
    These(Vec<String>),
}

impl Default for Words {
    fn default() -> Self {
        Self::These(Vec::new())
    }
}

impl Words {
    fn parse(value: &str) -> Self {
        match value.trim() {
            "all" => Self::All,
            value => Self::These(value.split(',').map(|name| name.trim().to_owned()).collect()),
        }
    }

    fn have(&self, rule: Rule) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.contains(&rule.name()),
        }
    }
}

impl Rules {
    /// Reads what the directive or the argument says (moby/buildkit `frontend/dockerfile/linter/linter.go`).
    ///
    /// # Errors
    /// The reason, in docker's words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut rules = Self::default();
        let text = text.trim();
        if text.is_empty() {
            return Ok(rules);
        }
        let invalid = |word: &str| format!("invalid check option {}", docker_format::quoted(word));
        for part in text.splitn(3, ';') {
            let (key, value) = part.split_once('=').ok_or_else(|| invalid(part))?;
            match key.trim() {
                "skip" => rules.skipped = Words::parse(value),
                "experimental" => rules.asked = Words::parse(value),
                "error" => {
                    let value = value.trim();
                    let [part, quoted] = [part, value].map(docker_format::quoted);
                    rules.refuse = docker_format::parse_bool(value).ok_or_else(|| {
                        format!(
                            "failed to parse check option {part}: strconv.ParseBool: parsing {quoted}: invalid syntax"
                        )
                    })?;
                }
                key => return Err(invalid(key)),
            }
        }
        Ok(rules)
    }

    pub(super) fn count(&self, rule: Rule) -> bool {
        if rule.is_experimental() { self.asked.have(rule) } else { !self.skipped.have(rule) }
    }
}
