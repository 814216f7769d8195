//! The verbs of a format and the arguments they take: flags, width, precision and explicit indices such as `%[2]d`.

use super::Value;
use super::pad::Spec;

/// Numbers beyond this are no width, precision or index (`fmt.tooLarge`).
const TOO_LARGE: usize = 1_000_000;

/// A part of a format.
#[derive(Debug)]
pub(super) enum Piece<'a> {
    /// To be printed as it is.
    Text(&'a str),
    /// What Go prints of a mistake.
    Bad(String),
    /// To be filled in.
    Verb(Directive<'a>),
}

/// A verb with its argument.
#[derive(Debug)]
pub(super) struct Directive<'a> {
    pub(super) verb: char,
    pub(super) spec: Spec,
    pub(super) arg: &'a Value,
}

/// Reads a format from its start to its end.
#[derive(Debug)]
pub(super) struct Verbs<'a> {
    rest: &'a str,
    args: &'a [Value],
    /// The next argument.
    next: usize,
    /// Whether an index was given somewhere: then arguments may well be left over.
    reordered: bool,
    /// Whether every index of this verb was good.
    good: bool,
    /// What is printed about a bad width or precision, before the verb is.
    mistakes: String,
    queued: Option<Piece<'a>>,
}

impl<'a> Verbs<'a> {
    pub(super) fn new(format: &'a str, args: &'a [Value]) -> Self {
        Self { rest: format, args, next: 0, reordered: false, good: true, mistakes: String::new(), queued: None }
    }

    /// Arguments that no verb has taken, if that is a mistake.
    pub(super) fn unused(&self) -> &'a [Value] {
        if self.reordered { &[] } else { self.args.get(self.next..).unwrap_or_default() }
    }

    /// The next piece.
    pub(super) fn read(&mut self) -> Option<Piece<'a>> {
        if let Some(piece) = self.queued.take() {
            return Some(piece);
        }
        let text = &self.rest[..self.rest.find('%').unwrap_or(self.rest.len())];
        if !text.is_empty() {
            self.rest = &self.rest[text.len()..];
            return Some(Piece::Text(text));
        }
        self.rest = self.rest.strip_prefix('%')?;
        let piece = self.directive();
        match std::mem::take(&mut self.mistakes) {
            none if none.is_empty() => Some(piece),
            // A bad width, and then what follows it.
            mistakes => {
                self.queued = Some(piece);
                Some(Piece::Bad(mistakes))
            }
        }
    }

    fn directive(&mut self) -> Piece<'a> {
        let mut spec = Spec::default();
        self.good = true;
        self.flags(&mut spec);
        let mut indexed = self.index();
        if self.take('*') {
            match self.number_from_argument() {
                Some(width) if width < 0 => {
                    (spec.width, spec.minus, spec.zero) = (usize::try_from(-width).ok(), true, false);
                }
                Some(width) => spec.width = usize::try_from(width).ok(),
                None => self.mistakes.push_str("%!(BADWIDTH)"),
            }
            indexed = false;
        } else {
            spec.width = self.number();
            // `%[3]2d`
            self.good &= !(indexed && spec.width.is_some());
        }
        if self.take('.') {
            // `%[3].2d`
            self.good &= !indexed;
            indexed = self.index();
            if self.take('*') {
                match self.number_from_argument() {
                    Some(precision) if precision >= 0 => spec.precision = usize::try_from(precision).ok(),
                    _ => self.mistakes.push_str("%!(BADPREC)"),
                }
                indexed = false;
            } else {
                spec.precision = Some(self.number().unwrap_or(0));
            }
        }
        if !indexed {
            self.index();
        }
        let Some(verb) = self.rest.chars().next() else { return Piece::Bad("%!(NOVERB)".into()) };
        self.rest = &self.rest[verb.len_utf8()..];
        if verb == '%' {
            return Piece::Text("%");
        }
        if !self.good {
            return Piece::Bad(format!("%!{verb}(BADINDEX)"));
        }
        let Some(arg) = self.args.get(self.next) else { return Piece::Bad(format!("%!{verb}(MISSING)")) };
        self.next += 1;
        Piece::Verb(Directive { verb, spec, arg })
    }

    fn flags(&mut self, spec: &mut Spec) {
        loop {
            match self.rest.bytes().next() {
                Some(b'-') => (spec.minus, spec.zero) = (true, false),
                Some(b'+') => spec.plus = true,
                Some(b'#') => spec.sharp = true,
                // Zeros go to the left only.
                Some(b'0') => spec.zero = !spec.minus,
                Some(b' ') => spec.space = true,
                _ => return,
            }
            self.rest = &self.rest[1..];
        }
    }

    fn take(&mut self, char: char) -> bool {
        let rest = self.rest.strip_prefix(char);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Reads `[n]`, which makes the nth argument the next one. Returns whether there was an index.
    fn index(&mut self) -> bool {
        if !self.rest.starts_with('[') {
            return false;
        }
        self.reordered = true;
        let Some(end) = self.rest.find(']').filter(|_| self.rest.len() >= 3) else {
            self.good = false;
            self.rest = &self.rest[1..];
            return false;
        };
        let inside = &self.rest[1..end];
        self.rest = &self.rest[end + 1..];
        let (number, left) = digits(inside);
        let number = number.filter(|_| left.is_empty());
        match number {
            Some(number) if (1..=self.args.len()).contains(&number) => self.next = number - 1,
            _ => self.good = false,
        }
        number.is_some()
    }

    /// Reads a number. Too many digits eat the rest of the format.
    fn number(&mut self) -> Option<usize> {
        let (number, rest) = digits(self.rest);
        self.rest = rest;
        number
    }

    fn number_from_argument(&mut self) -> Option<i64> {
        let arg = self.args.get(self.next)?;
        self.next += 1;
        match arg {
            Value::Int(value, _) if value.unsigned_abs() <= TOO_LARGE as u64 => Some(*value),
            _ => None,
        }
    }
}

/// The number that a text starts with, and what follows it (`fmt.parsenum`).
fn digits(text: &str) -> (Option<usize>, &str) {
    let mut number = None;
    for (at, byte) in text.bytes().enumerate() {
        if !byte.is_ascii_digit() {
            return (number, &text[at..]);
        }
        if number.is_some_and(|number| number > TOO_LARGE) {
            return (None, "");
        }
        number = Some(number.unwrap_or(0) * 10 + usize::from(byte - b'0'));
    }
    (number, "")
}
