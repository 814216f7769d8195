//! Users and groups as the files of a container name them.
//!
//! The rules are those of Docker's runtime (runc v1.1.5 `libcontainer/user/user.go`): a number is an id even if a user has
//! that name, files that are missing have no entries, numbers that cannot be read are 0.

use std::io::Read;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::again::retry;

/// What `/etc/passwd` and `/etc/group` of a container say.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    users: Vec<User>,
    groups: Vec<Group>,
}

#[derive(Debug)]
struct User {
    name: String,
    uid: i64,
    gid: i64,
    home: String,
}

#[derive(Debug)]
struct Group {
    name: String,
    gid: i64,
    members: Vec<String>,
}

/// The user and the groups that a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The primary group first, then the others.
    pub(crate) groups: Vec<u32>,
}

/// Why a user or a group cannot be used. The texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// Not a number, and no user has this name.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    /// Not a number, and no group has this name.
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
    /// Not a number, and no group has this name; the group was to be added (`--group-add`).
    #[error("Unable to find group {0}: no matching entries in group file")]
    NoAddedGroup(String),
    /// A number outside of the range of user and group ids.
    #[error("uids and gids must be in range 0-2147483647, not {0}")]
    Range(i64),
}

/// Files larger than this are not read to their end.
const LONGEST: u64 = 16 << 20;

impl Accounts {
    /// Reads the files of the container whose root is `root`. Links are followed inside of it.
    pub(crate) fn read(root: &Path) -> Self {
        Self::parse(&text(root, "etc/passwd"), &text(root, "etc/group"))
    }

    /// Reads the text of both files.
    pub(crate) fn parse(passwd: &str, group: &str) -> Self {
        Self { users: users(passwd), groups: groups(group) }
    }

    /// Finds the ids that `user[:group]` means; the groups `more` are added.
    pub(crate) fn identity(&self, wanted: &str, more: &[String]) -> Result<Identity, AccountError> {
        let (user, group) = wanted.split_once(':').unwrap_or((wanted, ""));
        let number = user.parse::<i64>().ok();
        let found = self.users.iter().find(|entry| match number {
            _ if user.is_empty() => entry.uid == 0,
            Some(number) => entry.uid == number,
            None => entry.name == user,
        });
        let (uid, mut gid) = match (found, number) {
            (Some(entry), _) => (entry.uid, entry.gid),
            (None, _) if user.is_empty() => (0, 0),
            (None, Some(number)) => (number, 0),
            (None, None) => return Err(AccountError::NoUser(user.to_owned())),
        };
        let mut others = Vec::new();
        if group.is_empty() {
            let name = found.map_or("", |entry| &entry.name);
            let of_user =
                self.groups.iter().filter(|entry| !name.is_empty() && entry.members.iter().any(|one| one == name));
            others.extend(of_user.map(|entry| entry.gid));
        } else {
            gid = self.group(group).ok_or_else(|| AccountError::NoGroup(group.to_owned()))?;
        }
        for group in more {
            others.push(self.group_or_number(group).ok_or_else(|| AccountError::NoAddedGroup(group.clone()))?);
        }
        let groups = std::iter::once(gid).chain(others).map(id).collect::<Result<_, _>>()?;
        Ok(Identity { uid: id(uid)?, gid: id(gid)?, groups })
    }

    /// The id of the group in `user:group`: a number is that id, and any other text is looked up as a name.
    fn group(&self, wanted: &str) -> Option<i64> {
        wanted.parse().ok().or_else(|| self.groups.iter().find(|entry| entry.name == wanted).map(|entry| entry.gid))
    }

    /// The id of a group that is added: unlike above, the text is looked up as a name first.
    fn group_or_number(&self, wanted: &str) -> Option<i64> {
        let named = self.groups.iter().find(|entry| entry.name == wanted).map(|entry| entry.gid);
        named.or_else(|| wanted.parse().ok())
    }

    /// The home directory of a user, `/` for one without an entry.
    pub(crate) fn home(&self, uid: u32) -> &str {
        let found = self.users.iter().find(|entry| entry.uid == i64::from(uid));
        found.map(|entry| entry.home.as_str()).filter(|home| !home.is_empty()).unwrap_or("/")
    }
}

fn id(number: i64) -> Result<u32, AccountError> {
    i32::try_from(number).ok().and_then(|number| u32::try_from(number).ok()).ok_or(AccountError::Range(number))
}

fn users(text: &str) -> Vec<User> {
    lines(text)
        .map(|line| {
            let mut parts = line.split(':');
            let mut next = || parts.next().unwrap_or_default();
            let (name, _password) = (next().to_owned(), next());
            let (uid, gid, _comment) = (number(next()), number(next()), next());
            User { name, uid, gid, home: next().to_owned() }
        })
        .collect()
}

fn groups(text: &str) -> Vec<Group> {
    lines(text)
        .map(|line| {
            let mut parts = line.split(':');
            let mut next = || parts.next().unwrap_or_default();
            let (name, _password, gid) = (next().to_owned(), next(), number(next()));
            let members = next().split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            Group { name, gid, members }
        })
        .collect()
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty())
}

fn number(text: &str) -> i64 {
    text.parse().unwrap_or(0)
}

/// The text of a regular file below `root`; empty if there is none.
fn text(root: &Path, name: &str) -> String {
    let open = || {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
        let root = rustix::fs::open(root, flags, Mode::empty())?;
        // A pipe with this name must not make us wait.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        retry(|| rustix::fs::openat2(&root, name, flags, Mode::empty(), resolve))
    };
    let mut bytes = Vec::new();
    if let Ok(file) = open().map(std::fs::File::from)
        && file.metadata().is_ok_and(|metadata| metadata.is_file())
    {
        // A file that cannot be read counts as one without entries.
        let _ = file.take(LONGEST).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            users: users("root:x:0:0:root:/root:/bin/sh\nal:x:5:7::/home/al:\n\n9:x:33:33:::\nbad\nneg:x:-1:1::/:\n"),
            groups: groups("root:x:0:root\ntwo:x:8:al,bo\nthree:x:9:al\nseven:x:7:\nwheel:x:10:root\n"),
        }
    }

    /// Measured with `docker run -u`, Docker 20.10.24.
    #[test]
    fn users_are_resolved_as_docker_resolves_them() {
        let accounts = accounts();
        for (wanted, more, uid, groups) in [
            ("", &[][..], 0, &[0, 0, 10][..]),
            ("al", &[], 5, &[7, 8, 9]),
            ("5", &[], 5, &[7, 8, 9]),
            ("al:two", &[], 5, &[8]),
            ("al:12", &[], 5, &[12]),
            (":8", &[], 0, &[8]),
            ("9", &[], 9, &[0]),
            ("1000", &["two", "99"], 1000, &[0, 8, 99]),
        ] {
            let more: Vec<String> = more.iter().map(|&text: &&str| text.to_owned()).collect();
            let found = accounts.identity(wanted, &more).expect("known");
            assert_eq!((found.uid, &found.groups[..]), (uid, groups), "{wanted}");
            assert_eq!(found.gid, groups[0], "{wanted}");
        }
        assert_eq!(accounts.identity("nosuch", &[]), Err(AccountError::NoUser("nosuch".into())));
        assert_eq!(accounts.identity("1:nosuch", &[]), Err(AccountError::NoGroup("nosuch".into())));
        assert_eq!(accounts.identity("0", &["nosuch".into()]), Err(AccountError::NoAddedGroup("nosuch".into())));
        assert_eq!(accounts.identity("4294967295", &[]), Err(AccountError::Range(4_294_967_295)));
        assert_eq!(accounts.identity("neg", &[]), Err(AccountError::Range(-1)));
        assert_eq!((accounts.home(5), accounts.home(33), accounts.home(77)), ("/home/al", "/", "/"));
    }
}
