//! `--platform`: one platform of an image, as the client of Docker 28.5 asks for it (containerd's platforms v1.0 `platforms.go: Parse`;
//! moby v28.5.2 `daemon/containerd/{image_inspect,image_history,image_push}.go`, `daemon/images/image.go`).

use anyhow::{anyhow, bail};
use snapshot::catalog::{Catalog, Image};
use snapshot::containerd::content::BlobFault;
use snapshot::containerd::images::{StoredImage, StoredManifest};
use snapshot::platform::Platform;

/// A platform that the user asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) platform: Platform,
    /// As docker writes it in its answers.
    text: String,
}

impl Wanted {
    /// Reads what was typed; nothing is no platform. An error is in docker's words.
    pub(super) fn parse(typed: &str) -> Result<Option<Self>, String> {
        if typed.is_empty() {
            return Ok(None);
        }
        let parts: Vec<&str> = typed.split('/').collect();
        let valid = |part: &str, dot: bool| {
            let other = |byte| b"_-".contains(&byte) || (dot && byte == b'.');
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || other(byte))
        };
        if !valid(parts[0], false) {
            const OS: &str = r"^([A-Za-z0-9_-]+)(?:\\(([A-Za-z0-9_.%-]*)((?:\\+[A-Za-z0-9_.%-]+)*)\\))?$";
            let os = parts[0];
            return Err(format!(
                "{os:?} is an invalid OS component of {typed:?}: OSAndVersion specifier component must match \"{OS}\": invalid argument"
            ));
        }
        if let Some(part) = parts[1..].iter().find(|part| !valid(part, true)) {
            return Err(format!(
                "{part:?} is an invalid component of {typed:?}: platform specifier component must match \"^[A-Za-z0-9_.-]+$\": invalid argument"
            ));
        }
        let platform = match parts[..] {
            [_] => registry::platform_of(typed)
                .map_err(|_| format!("{typed:?}: unknown operating system or architecture: invalid argument"))?,
            [os, architecture] => Platform::new(os, architecture, None),
            [os, architecture, variant] => Platform::new(os, architecture, Some(variant)),
            _ => return Err(format!("{typed:?}: cannot parse platform specifier: invalid argument")),
        };
        // What goes without saying is written all the same where it was typed.
        let variant = match platform.architecture.as_str() {
            "arm" if parts.len() == 3 && platform.variant.is_none() => "/v7",
            "arm64" if parts.len() == 3 && platform.variant.is_none() => "/v8",
            _ => "",
        };
        let text = format!("{platform}{variant}");
        Ok(Some(Self { platform, text }))
    }

    /// That an image of containerd's store is not there for this platform.
    pub(super) fn missing(&self, reference: &str) -> anyhow::Error {
        let text = &self.text;
        anyhow!("image with reference {reference} was found but does not provide the specified platform ({text})")
    }

    /// Expects that the only platform of a storage driver's image is this one.
    pub(super) fn expect(&self, reference: &str, image: &Image) -> anyhow::Result<()> {
        let fields = &image.config;
        let own = Platform::new(&fields.os, &fields.architecture, Some(&fields.variant));
        if self.platform.rank(&own).is_none() {
            let text = &self.text;
            bail!(
                "image with reference {reference} was found but its platform ({own}) does not match the specified platform ({text})"
            );
        }
        Ok(())
    }

    /// The manifest for this very platform with its config, as `inspect` shows it.
    pub(super) fn to_inspect<'s>(
        &self,
        reference: &str,
        catalog: &Catalog,
        stored: &'s StoredImage,
    ) -> anyhow::Result<(Image, &'s StoredManifest)> {
        let same = |part: &&StoredManifest| part.platform.as_ref().is_some_and(|own| self.platform.is_same(own));
        let images = stored.manifests.iter().filter(|part| !part.is_attestation()).filter(same);
        let found = images.filter_map(|part| Some((catalog.image_of_manifest(stored, part).ok()?, part))).next();
        found.ok_or_else(|| self.missing(reference))
    }

    /// The image for the manifest that suits this platform best, as `history` shows it.
    pub(super) fn to_tell(&self, reference: &str, catalog: &Catalog, stored: &StoredImage) -> anyhow::Result<Image> {
        let rank = |part: &StoredManifest| self.platform.rank(part.platform.as_ref()?);
        let images = stored.manifests.iter().enumerate();
        let images = images.filter(|(_, part)| !part.is_attestation() && part.manifest.is_some());
        let ranked = images.filter_map(|(at, part)| Some((rank(part)?, std::cmp::Reverse(at), part)));
        let best = ranked.max_by_key(|(rank, at, _)| (*rank, *at)).map(|(_, _, part)| part);
        let part = best.ok_or_else(|| self.missing(reference))?;
        catalog.image_of_manifest(stored, part).map_err(|(digest, fault)| match fault {
            BlobFault::NoRecord => {
                anyhow!("failed to read config content: NotFound: content digest {digest}: not found")
            }
            fault => anyhow!("failed to read config content: blob {digest}: {fault}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Wanted;

    fn written(typed: &str) -> String {
        Wanted::parse(typed).unwrap().map_or_else(String::new, |wanted| wanted.text)
    }

    /// As Docker 28.5 wrote them in its answers.
    #[test]
    fn platforms_are_written_as_docker_writes_them() {
        let host = snapshot::platform::Platform::host().architecture;
        for (typed, expected) in [
            ("", ""),
            ("linux/arm/v7", "linux/arm/v7"),
            ("linux/arm", "linux/arm"),
            ("arm64", "linux/arm64"),
            ("linux/amd64/v2", "linux/amd64/v2"),
            ("linux", &format!("linux/{host}")),
        ] {
            assert_eq!(written(typed), expected, "{typed}");
        }
        for (typed, said) in [
            (
                "bad/",
                r#""" is an invalid component of "bad/": platform specifier component must match "^[A-Za-z0-9_.-]+$": invalid argument"#,
            ),
            ("foo", r#""foo": unknown operating system or architecture: invalid argument"#),
            ("a/b/c/d", r#""a/b/c/d": cannot parse platform specifier: invalid argument"#),
            (
                "a b",
                r#""a b" is an invalid OS component of "a b": OSAndVersion specifier component must match "^([A-Za-z0-9_-]+)(?:\\(([A-Za-z0-9_.%-]*)((?:\\+[A-Za-z0-9_.%-]+)*)\\))?$": invalid argument"#,
            ),
        ] {
            assert_eq!(Wanted::parse(typed).unwrap_err(), said, "{typed}");
        }
    }
}
