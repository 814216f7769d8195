//! `layerfs image tag`: `docker image tag`, offline.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use jiff::Zoned;
use snapshot::catalog::Resolved;
use snapshot::edit::Edit;
use snapshot::reference::{Reference, ReferenceError};

use super::change::{change, reference_error};
use super::{no_such_image, stored};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image, by name or id
    #[arg(value_name = "SOURCE_IMAGE[:TAG]")]
    source: String,

    /// Its new name; another image that has it loses it
    #[arg(value_name = "TARGET_IMAGE[:TAG]")]
    target: String,
}

/// Docker's checks in docker's order (docker/cli v20.10.24 `client/image_tag.go`, moby `daemon/images/image_tag.go`).
pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let is_id = |text: &str| layerfs::Digest::from_hex(text.strip_prefix("sha256:").unwrap_or(text)).is_ok();
    match Reference::parse(&args.source) {
        // `sha256:` and some digits are the beginning of an id.
        Ok(_) | Err(ReferenceError::NamedLikeAlgorithm { .. }) => {}
        Err(_) if is_id(&args.source) => {}
        Err(error) => return Err(not_valid(&args.source, &error)),
    }
    let target = match Reference::parse(&args.target) {
        Ok(target) if target.digest().is_some() => bail!("refusing to create a tag with a digest reference"),
        Ok(target) => Ok(target.with_default_tag()),
        // dockerd's message. dockerd says this only after it has found the image.
        Err(ReferenceError::NamedLikeAlgorithm { .. }) => {
            Err("refusing to create an ambiguous tag using digest algorithm as name")
        }
        Err(error) => return Err(not_valid(&args.target, &error)),
    };
    let target = || target.map_err(|reason| anyhow!(reason));
    if stored::is_in_containerd(root, driver)? {
        stored::tag(&args.source, target, root, driver)?;
        return Ok(ExitCode::SUCCESS);
    }
    change(
        root,
        driver,
        |catalog, _, edits| {
            let Resolved::Image(image) = catalog.resolve(&args.source) else { return Err(no_such_image(&args.source)) };
            let reference = target()?;
            edits.push(Edit::SetTag { reference, image });
            edits.push(Edit::SetLastUpdated { image, time: rfc3339_nano(&Zoned::now()) });
            Ok(())
        },
        |(), _| Ok(ExitCode::SUCCESS),
    )
}

fn not_valid(text: &str, error: &ReferenceError) -> anyhow::Error {
    anyhow!("Error parsing reference: {text:?} is not a valid repository/tag: {}", reference_error(error))
}

/// A time as Go's `time.RFC3339Nano` prints it: in the local zone, without zeros at the end of the fraction.
pub(crate) fn rfc3339_nano(time: &Zoned) -> String {
    let text = time.strftime("%Y-%m-%dT%H:%M:%S%.f%:z").to_string();
    text.strip_suffix("+00:00").map(|text| format!("{text}Z")).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The right-hand sides are what Go 1.19 prints.
    #[test]
    fn times_are_printed_as_go_prints_them() {
        let cases = [
            ("2026-11-28T22:10:27.123456789+00:00[UTC]", "2026-11-28T22:10:27.123456789Z"),
            ("2026-11-28T22:10:27.120000000+00:00[UTC]", "2026-11-28T22:10:27.12Z"),
            ("2026-11-28T22:10:27+00:00[UTC]", "2026-11-28T22:10:27Z"),
            ("2026-11-28T22:10:27.5+05:30[+05:30]", "2026-11-28T22:10:27.5+05:30"),
            ("2026-11-28T22:10:27.000000001-08:00[-08:00]", "2026-11-28T22:10:27.000000001-08:00"),
        ];
        for (time, expected) in cases {
            assert_eq!(rfc3339_nano(&time.parse().unwrap()), expected);
        }
    }
}
