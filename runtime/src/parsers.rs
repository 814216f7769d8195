//! Parsers that only this crate uses, for those who feed them anything (`fuzz/targets`). No part of the interface.

use crate::accounts::Accounts;

/// As whom `user` runs, with the groups `more`, by these files of accounts: the user, the groups and the home; `None` if
/// that is an error.
#[must_use]
pub fn identity(passwd: &str, group: &str, user: &str, more: &[String]) -> Option<(u32, Vec<u32>, String)> {
    let accounts = Accounts::parse(passwd, group);
    let found = accounts.identity(user, more).ok()?;
    Some((found.uid, found.groups, accounts.home(found.uid).to_owned()))
}
