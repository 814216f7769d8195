//! `--attest`, `--provenance` and `--sbom` (docker/buildx `util/buildflags/attests.go`): what turns attestations off is accepted, since
//! there are none, and what asks for one is refused.

use docker_format::quoted;

use crate::flags::parse_bool;

/// The flags.
#[derive(Debug, clap::Args)]
pub(super) struct AttestFlags {
    /// Attestations are not made: only type=TYPE,disabled=true is accepted
    #[arg(long, value_name = "ATTESTATION")]
    attest: Vec<String>,

    /// Accepted with =false: no provenance is recorded
    #[arg(long, value_name = "false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    provenance: Option<String>,

    /// Accepted with =false: no list of software is made
    #[arg(long, value_name = "false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sbom: Option<String>,
}

impl AttestFlags {
    /// Fails if an attestation is asked for, or if a flag cannot be read.
    pub(super) fn check(&self) -> Result<(), String> {
        let short = [("provenance", &self.provenance), ("sbom", &self.sbom)];
        let short = short.into_iter().filter_map(|(kind, value)| Some((kind, canonical(kind, value.as_ref()?))));
        let long = self.attest.iter().map(|value| ("attest", value.clone()));
        for (flag, value) in long.chain(short) {
            let (kind, disabled) = parse(&value)?;
            if !disabled {
                return Err(format!("--{flag}: attestations of type {} are not made here", quoted(&kind)));
            }
        }
        Ok(())
    }
}

/// As `--attest` would have it.
fn canonical(kind: &str, value: &str) -> String {
    match parse_bool(value) {
        Ok(on) => format!("type={kind},disabled={}", !on),
        Err(_) => format!("type={kind},{value}"),
    }
}

/// The type, and whether it is turned off.
fn parse(text: &str) -> Result<(String, bool), String> {
    let (mut kind, mut disabled) = (String::new(), false);
    for field in text.split(',') {
        let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid value {field}"))?;
        match key.trim().to_lowercase().as_str() {
            "type" => value.clone_into(&mut kind),
            "disabled" => {
                let invalid = |_| format!("strconv.ParseBool: parsing {}: invalid syntax", quoted(value));
                disabled = parse_bool(value).map_err(invalid)?;
            }
            _ => {}
        }
    }
    if kind.is_empty() {
        return Err("attestation type not specified".into());
    }
    Ok((kind, disabled))
}
