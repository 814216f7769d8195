//! `--chmod`: permissions as a number, or as `chmod` takes them.

/// What becomes of permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chmod {
    Number(u32),
    Changes(Vec<Change>),
}

/// One change, such as `go=rX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// The bits of the classes that it is about.
    who: u32,
    operator: char,
    what: String,
}

impl Chmod {
    /// Reads the value of the flag.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777");
        if text.starts_with(|char: char| char.is_ascii_digit()) {
            let number = u32::from_str_radix(text, 8).map_err(|_| wrong())?;
            return if number <= 0o7777 { Ok(Self::Number(number)) } else { Err(wrong()) };
        }
        let mut changes = Vec::new();
        for part in text.split(',') {
            let end = part.find(['+', '-', '=']).ok_or_else(wrong)?;
            let mut who = 0;
            for char in part[..end].chars() {
                who |= match char {
                    'u' => 0o4700,
                    'g' => 0o2070,
                    'o' => 0o1007,
                    'a' => 0o7777,
                    _ => return Err(wrong()),
                };
            }
            let mut rest = &part[end..];
            while let Some(operator) = rest.chars().next() {
                let next = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |at| at + 1);
                let what = &rest[1..next];
                if !what.chars().all(|char| "rwxXstugo".contains(char)) {
                    return Err(wrong());
                }
                changes.push(Change { who: if who == 0 { 0o7777 } else { who }, operator, what: what.to_owned() });
                rest = &rest[next..];
            }
        }
        Ok(Self::Changes(changes))
    }

    /// The permissions of something that has these ones.
    pub(super) fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Self::Number(number) => *number,
            Self::Changes(changes) => changes.iter().fold(mode, |now, change| change.apply(now, mode, is_directory)),
        }
    }
}

impl Change {
    fn apply(&self, now: u32, original: u32, is_directory: bool) -> u32 {
        let mut bits = 0;
        for char in self.what.chars() {
            let of_class = |shift: u32| ((now >> shift) & 7) * 0o111;
            bits |= match char {
                'r' => 0o444,
                'w' => 0o222,
                'x' => 0o111,
                'X' if is_directory || original & 0o111 != 0 => 0o111,
                's' => 0o6000,
                't' => 0o1000,
                'u' => of_class(6),
                'g' => of_class(3),
                'o' => of_class(0),
                _ => 0,
            };
        }
        bits &= self.who;
        match self.operator {
            '+' => now | bits,
            '-' => now & !bits,
            _ => now & !self.who | bits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_what_docker_makes_of_them() {
        for (text, mode, directory, expected) in [
            ("755", 0o4644, false, 0o755),
            ("u+x,go=rX", 0o644, false, 0o744),
            ("u+x,go=rX", 0o700, true, 0o755),
            ("a-w", 0o666, false, 0o444),
            ("+x", 0o644, false, 0o755),
            ("g=u", 0o640, false, 0o660),
            ("u+s,o+t", 0o755, false, 0o5755),
            ("u=rw,g-r+x", 0o740, false, 0o610),
        ] {
            assert_eq!(Chmod::parse(text).unwrap().apply(mode, directory), expected, "{text}");
        }
        for wrong in ["999", "10000", "u", "z+x", "u+q"] {
            assert!(Chmod::parse(wrong).is_err(), "{wrong}");
        }
    }
}
