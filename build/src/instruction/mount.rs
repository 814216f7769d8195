//! `RUN --mount` (moby/buildkit `frontend/dockerfile/instructions/commands_runmount.go`).

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Files of the context, a stage or an image.
    Bind,
    /// A directory that outlives the build.
    Cache,
    /// A directory in memory.
    Tmpfs,
    /// A file of the user's that no layer may have.
    Secret,
    /// The socket of an SSH agent.
    Ssh,
}

impl Kind {
    /// How `type` has it.
    fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }
}

/// What becomes of a cache that two commands want at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Both have it.
    Shared,
    /// Each has one of its own.
    Private,
    /// The second one waits.
    Locked,
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) kind: Kind,
    /// Where it appears; empty where that is not said.
    pub(crate) target: String,
    pub(crate) source: String,
    /// The stage or image with the files; empty for the context.
    pub(crate) from: String,
    pub(crate) writable: bool,
    /// The name of a cache, a secret or an agent.
    pub(crate) id: String,
    pub(crate) mode: Option<u32>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Whether a secret or an agent must be there.
    pub(crate) required: bool,
    /// The size of a directory in memory, in bytes; 0 for no bound.
    pub(crate) size: i64,
    /// The variable that a secret is in, besides or in the place of a file.
    pub(crate) env: String,
    pub(crate) sharing: Sharing,
}

impl Mount {
    /// Reads the value of a flag. An error is the reason.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut mount = Self {
            kind: Kind::Bind,
            target: String::new(),
            source: String::new(),
            from: String::new(),
            writable: false,
            id: String::new(),
            mode: None,
            uid: 0,
            gid: 0,
            required: false,
            size: 0,
            env: String::new(),
            sharing: Sharing::Shared,
        };
        let mut readonly = None;
        for field in text.split(',') {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_lowercase(), Some(value.trim_matches('"'))),
                None => (field.to_lowercase(), None),
            };
            let flag = || match value {
                None | Some("true" | "1") => Ok(true),
                Some("false" | "0") => Ok(false),
                Some(value) => Err(format!("invalid value for {key}: {value}")),
            };
            match key.as_str() {
                "readonly" | "ro" => readonly = Some(flag()?),
                "readwrite" | "rw" => readonly = Some(!flag()?),
                "required" => mount.required = flag()?,
                _ => mount
                    .set(&key, value.ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"))?)?,
            }
        }
        mount.writable = !readonly.unwrap_or(mount.kind == Kind::Bind);
        let shares = text.split(',').any(|field| field.to_lowercase().starts_with("sharing="));
        if shares && mount.kind != Kind::Cache {
            return Err(format!("invalid cache sharing set for {} mount", mount.kind.name()));
        }
        mount.complete()
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let number = || value.parse::<u32>().map_err(|_| format!("invalid value {value} for {key}"));
        match key {
            "type" => {
                self.kind = match value.to_lowercase().as_str() {
                    "bind" => Kind::Bind,
                    "cache" => Kind::Cache,
                    "tmpfs" => Kind::Tmpfs,
                    "secret" => Kind::Secret,
                    "ssh" => Kind::Ssh,
                    other => return Err(format!("unsupported mount type {}", docker_format::quoted(other))),
                };
            }
            "target" | "dst" | "destination" => value.clone_into(&mut self.target),
            "source" | "src" => value.clone_into(&mut self.source),
            "from" => value.clone_into(&mut self.from),
            "id" => value.clone_into(&mut self.id),
            "env" => value.clone_into(&mut self.env),
            "uid" => self.uid = number()?,
            "gid" => self.gid = number()?,
            "mode" => {
                let mode = u32::from_str_radix(value, 8).map_err(|_| format!("invalid value {value} for mode"))?;
                self.mode = Some(mode);
            }
            "size" => {
                let size = docker_format::size::ram_in_bytes(value);
                self.size = size.ok_or_else(|| format!("invalid value for size: {value}"))?;
            }
            "sharing" => match value {
                "shared" => self.sharing = Sharing::Shared,
                "private" => self.sharing = Sharing::Private,
                "locked" => self.sharing = Sharing::Locked,
                _ => return Err(format!("unsupported sharing value {}", docker_format::quoted(value))),
            },
            _ => return Err(format!("unexpected key '{key}' in '{key}={value}'")),
        }
        Ok(())
    }

    /// Fills in what follows from the rest.
    fn complete(mut self) -> Result<Self, String> {
        if self.required && !matches!(self.kind, Kind::Secret | Kind::Ssh) {
            return Err(format!("unexpected key 'required' for mount type '{}'", self.kind.name()));
        }
        match self.kind {
            Kind::Secret => {
                if self.id.is_empty() {
                    let path = if self.source.is_empty() { &self.target } else { &self.source };
                    self.id = path.rsplit('/').next().unwrap_or_default().to_owned();
                }
                if self.id.is_empty() {
                    return Err("invalid secret mount. one of source, target required".into());
                }
                if self.target.is_empty() && self.env.is_empty() {
                    self.target = format!("/run/secrets/{}", self.id);
                }
            }
            Kind::Ssh if self.id.is_empty() => self.id = "default".into(),
            Kind::Ssh => {}
            _ if self.target.is_empty() => return Err("invalid mount target \"\"".into()),
            Kind::Cache if self.id.is_empty() => self.id.clone_from(&self.target),
            _ => {}
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read() {
        let bind = Mount::parse("target=/x,from=a,source=b").unwrap();
        assert_eq!((bind.kind, bind.writable, bind.from.as_str()), (Kind::Bind, false, "a"));
        assert!(Mount::parse("type=bind,dst=/x,rw").unwrap().writable);
        let cache = Mount::parse("type=cache,target=/c,mode=0700,uid=5,sharing=locked").unwrap();
        assert_eq!((cache.id.as_str(), cache.writable, cache.mode, cache.uid), ("/c", true, Some(0o700), 5));
        assert_eq!(cache.sharing, Sharing::Locked);
        let secret = Mount::parse("type=secret,id=s").unwrap();
        assert_eq!(secret.target, "/run/secrets/s");
        assert_eq!(Mount::parse("type=secret,id=s,env=S").unwrap().target, "");
        assert_eq!(Mount::parse("type=secret,target=/etc/k,required").unwrap().id, "k");
        assert_eq!(Mount::parse("type=foo").unwrap_err(), "unsupported mount type \"foo\"");
        // As BuildKit of docker 28.5 says it.
        for (wrong, why) in [
            ("target=/x,ro=perhaps", "invalid value for ro: perhaps"),
            ("type=cache,target=/x,uid=y", "invalid value y for uid"),
            ("type=cache,target=/x,mode=9", "invalid value 9 for mode"),
            ("type=tmpfs,target=/x,size=y", "invalid value for size: y"),
            ("type=cache,target=/x,sharing=y", "unsupported sharing value \"y\""),
            ("type=bind,target=/x,sharing=locked", "invalid cache sharing set for bind mount"),
            ("type=cache,target=/x,required", "unexpected key 'required' for mount type 'cache'"),
            ("type=secret", "invalid secret mount. one of source, target required"),
            ("target", "invalid field 'target' must be a key=value pair"),
        ] {
            assert_eq!(Mount::parse(wrong).unwrap_err(), why, "{wrong}");
        }
        for wrong in ["type=bind", "type=cache,target=/x,foo=1"] {
            assert!(Mount::parse(wrong).is_err(), "{wrong}");
        }
    }
}
