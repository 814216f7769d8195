//! The process's umask, read without changing it.

/// The umask; all bits set if `/proc` does not tell, so that nobody relies on it.
pub(crate) fn current() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|digits| u32::from_str_radix(digits.trim(), 8).ok()).unwrap_or(0o777)
}
