//! Tests that need something of the machine, and what happens where it is missing.
#![allow(dead_code)]

/// Whether this tier can run. Skips with a printed reason, or fails where the tier is required.
pub(crate) fn tier(name: &str, available: bool, need: &str) -> bool {
    let required = std::env::var("LAYERFS_REQUIRE").is_ok_and(|tiers| tiers.split(',').any(|tier| tier == name));
    assert!(available || !required, "tier {name} is required: {need}");
    if !available {
        eprintln!("skipped: tier {name}: {need}");
    }
    available
}

pub(crate) fn is_root() -> bool {
    tier("root", rustix::process::geteuid().is_root(), "run as root")
}
