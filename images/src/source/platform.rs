//! Which platform a config of an archive is for.

use snapshot::platform::Platform;

use super::error::ArchiveError;
use super::json::{self, object};

object!(last
    /// The fields of a config that select an image.
    struct ConfigFields {
        os: String = "os",
        architecture: String = "architecture",
        variant: String = "variant",
    }
);

/// The platform that the config in `file` says it is for; docker takes an empty `os` for Linux.
pub(super) fn of_config(file: &str, config: &[u8]) -> Result<Platform, ArchiveError> {
    let fields: ConfigFields = json::whole(file, config)?;
    let text = |field: &json::Field<String>| field.as_ref().cloned().unwrap_or_default();
    let os = Some(text(&fields.os)).filter(|os| !os.is_empty());
    let variant = fields.variant.as_ref().map(String::as_str);
    Ok(Platform::new(os.as_deref().unwrap_or("linux"), &text(&fields.architecture), variant))
}
