//! Names of containers and volumes (moby v20.10.24 `daemon/names/names.go`, `daemon/names.go`).

use snapshot::catalog::{Catalog, Container};
use snapshot::ids::{CacheId, ContainerId};

use crate::ContainerError;

/// Adjectives and surnames of generated names. Docker has more of both; a name says nothing but that it was drawn.
const ADJECTIVES: [&str; 32] = [
    "amber", "brave", "brisk", "calm", "clear", "clever", "crisp", "eager", "early", "fair", "fond", "gentle", "glad",
    "grand", "happy", "keen", "kind", "light", "lively", "lucid", "merry", "mild", "neat", "plain", "proud", "quick",
    "quiet", "sharp", "solid", "sunny", "swift", "warm",
];
const SURNAMES: [&str; 32] = [
    "abel", "ampere", "bessel", "boole", "cantor", "cauchy", "clarke", "dalton", "euler", "fermat", "fourier", "gauss",
    "germain", "hertz", "hilbert", "hopper", "joule", "kelvin", "kepler", "laplace", "lovelace", "maxwell", "meitner",
    "newton", "noether", "ohm", "pascal", "planck", "riemann", "turing", "volta", "watt",
];

/// Whether Docker accepts a name: at least two of its characters.
#[must_use]
pub(crate) fn is_valid(name: &str) -> bool {
    let name = name.strip_prefix('/').unwrap_or(name);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    name.len() > 1 && name.bytes().all(plain) && name.as_bytes()[0].is_ascii_alphanumeric()
}

/// Refuses what dockerd refuses as the name of a volume (moby v20.10.24 `volume/local/local.go: validateName`).
pub(crate) fn check_volume(name: &str) -> Result<(), ContainerError> {
    let why = if name.len() == 1 {
        "volume name is too short, names should be at least two alphanumeric characters".to_owned()
    } else if !is_valid(name) || name.starts_with('/') {
        format!(
            "{name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If \
             you intended to pass a host directory, use absolute path"
        )
    } else {
        return Ok(());
    };
    Err(ContainerError::Invalid(format!("create {name}: {why}")))
}

/// The name of a new container, with its slash: the wanted one, or one that is drawn.
pub(crate) fn choose(catalog: &Catalog, wanted: Option<&str>, id: &ContainerId) -> Result<String, ContainerError> {
    if let Some(wanted) = wanted {
        return reserve(catalog, wanted);
    }
    for attempt in 0..6 {
        let random = CacheId::random();
        let number = |at: usize| usize::from_str_radix(&random.as_str()[at..at + 4], 16).unwrap_or_default();
        let digit = if attempt == 0 { String::new() } else { (number(8) % 10).to_string() };
        let name = format!("{}_{}{digit}", ADJECTIVES[number(0) % 32], SURNAMES[number(4) % 32]);
        if holder(catalog, &name).is_none() {
            return Ok(format!("/{name}"));
        }
    }
    Ok(format!("/{}", id.short()))
}

/// Checks that a name is one and that nobody has it; returns it with its slash.
pub(crate) fn reserve(catalog: &Catalog, wanted: &str) -> Result<String, ContainerError> {
    if !is_valid(wanted) {
        let message = format!("Invalid container name ({wanted}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
        return Err(ContainerError::Invalid(message));
    }
    let name = wanted.strip_prefix('/').unwrap_or(wanted);
    if let Some(holder) = holder(catalog, name) {
        let message = format!(
            "Conflict. The container name \"/{name}\" is already in use by container \"{}\". You have to remove (or rename) \
             that container to be able to reuse that name.",
            holder.id
        );
        return Err(ContainerError::Invalid(message));
    }
    Ok(format!("/{name}"))
}

/// All containers count, those too that dockerd would not show.
fn holder<'c>(catalog: &'c Catalog, name: &str) -> Option<&'c Container> {
    catalog.containers().iter().find(|container| container.name == name)
}

/// The container that a text means: its id, its name, or the beginning of only one id (moby v20.10.24
/// `daemon/container.go: GetContainer`).
///
/// # Errors
/// [`ContainerError::NoContainer`], [`ContainerError::Ambiguous`], and [`ContainerError::Damaged`] where only a container that
/// dockerd would not show is meant
pub fn find<'c>(catalog: &'c Catalog, text: &str) -> Result<&'c Container, ContainerError> {
    let all = || catalog.live_containers();
    let name = text.strip_prefix('/').unwrap_or(text);
    if let Some(found) = all().find(|one| one.id == text).or_else(|| all().find(|one| one.name == name)) {
        return Ok(found);
    }
    let mut matching = all().filter(|one| !text.is_empty() && one.id.starts_with(text));
    match (matching.next(), matching.next()) {
        (Some(found), None) => Ok(found),
        (Some(_), Some(_)) => Err(ContainerError::Ambiguous(text.to_owned())),
        (None, _) => {
            let is_meant = |one: &&Container| !text.is_empty() && (one.name == name || one.id.starts_with(text));
            let damaged = catalog.containers().iter().filter(is_meant).find_map(|one| one.damage.clone());
            Err(match damaged {
                Some(damage) => ContainerError::Damaged { text: text.to_owned(), damage },
                None => ContainerError::NoContainer(text.to_owned()),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_docker_s() {
        for good in ["ab", "/ab", "a_b.c-d", "0x"] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["", "a", "/a", "-ab", "a b", "a/b", "_ab", "ä1", "//ab"] {
            assert!(!is_valid(bad), "{bad}");
        }
    }
}
