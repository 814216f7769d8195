//! `--chown`: users and groups by the files of the image (moby v20.10.24 `builder/dockerfile/internals_linux.go:
//! parseChownFlag`).

use crate::upper::Owner;

/// The owner that `USER[:GROUP]` means; `passwd` and `group` are those of the image.
///
/// # Errors
/// The reason, in docker's words.
pub(crate) fn parse(text: &str, passwd: &str, group: &str) -> Result<Owner, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (user, of_group) = match parts.as_slice() {
        [user] => (*user, *user),
        [user, group] => (*user, *group),
        _ => return Err(format!("invalid chown string format: {text}")),
    };
    let uid = number(user).or_else(|| third(passwd, user));
    let uid = uid.ok_or_else(|| format!("can't find uid for user {user}: no such user: {user}"))?;
    let gid = number(of_group).or_else(|| third(group, of_group));
    let gid = gid.ok_or_else(|| format!("can't find gid for group {of_group}: no such group: {of_group}"))?;
    Ok((uid, gid))
}

/// The owner that `USER[:GROUP]` means in BuildKit's way: whom the image does not know is root, and a group that it does not know
/// is that of the user (moby/buildkit `client/llb/fileop.go: WithUser`, `solver/llbsolver/file/user_linux.go`).
pub(crate) fn parse_modern(text: &str, passwd: &str, group: &str) -> Owner {
    let (user, of_group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    // A negative number is taken for one, and means nobody.
    let id =
        |text: &str| if text == "root" { Some(0) } else { text.parse::<i32>().ok().map(|id| i64::from(id.max(0))) };
    let (uid, own) = match id(user) {
        Some(uid) => (uid, uid),
        None => (field(passwd, user, 2).unwrap_or(0), field(passwd, user, 3).unwrap_or(0)),
    };
    let gid = match of_group {
        None => own,
        Some("") => 0,
        Some(name) => id(name).or_else(|| field(group, name, 2)).unwrap_or(own),
    };
    (uid, gid)
}

fn number(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// The third field of the line that begins with a name; a number that cannot be read is 0.
fn third(file: &str, name: &str) -> Option<i64> {
    field(file, name, 2)
}

/// A field of the line that begins with a name.
fn field(file: &str, name: &str, number: usize) -> Option<i64> {
    let fields = |line: &str| line.trim().split(':').map(str::to_owned).collect::<Vec<_>>();
    let line = file.lines().map(fields).find(|fields| fields[0] == name)?;
    Some(line.get(number).and_then(|field| field.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:77:88::/:\n";
    const GROUP: &str = "root:x:0:\nstaff:x:88:\napp:x:99:\n";

    /// Measured with docker 28.5.
    #[test]
    fn whom_an_image_does_not_know_is_root() {
        for (text, expected) in [
            ("app:staff", (77, 88)),
            ("app", (77, 88)),
            ("app:app", (77, 99)),
            ("5", (5, 5)),
            ("nouser", (0, 0)),
            ("nouser:7", (0, 7)),
            ("7:nogroup", (7, 7)),
            ("7:", (7, 0)),
            (":7", (0, 7)),
            ("1:x:y", (1, 1)),
            ("-1", (0, 0)),
            ("5:-1", (5, 0)),
            ("2147483647", (2_147_483_647, 2_147_483_647)),
            ("2147483648:7", (0, 7)),
            ("5:4294967294", (5, 5)),
        ] {
            assert_eq!(parse_modern(text, PASSWD, GROUP), expected, "{text}");
        }
    }

    /// Measured with docker 20.10.24.
    #[test]
    fn names_come_from_the_image_and_numbers_from_nowhere() {
        for (text, expected) in [
            ("app:staff", Ok((77, 88))),
            ("app", Ok((77, 99))),
            ("5", Ok((5, 5))),
            ("5:staff", Ok((5, 88))),
            ("nouser", Err("can't find uid for user nouser: no such user: nouser")),
            ("0:nogroup", Err("can't find gid for group nogroup: no such group: nogroup")),
            ("a:b:c", Err("invalid chown string format: a:b:c")),
        ] {
            assert_eq!(
                parse(text, PASSWD, GROUP).as_ref().map_err(String::as_str),
                expected.as_ref().map_err(|text| *text)
            );
        }
    }
}
