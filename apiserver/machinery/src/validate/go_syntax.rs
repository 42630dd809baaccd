//! Go's regular expressions: whether a pattern is one, told as Go tells it, and the same pattern for our own engine.

use std::ops::Range;

/// Copies of one thing that repetitions within each other may ask for.
const COPIES_MAX: i64 = 1000;
const DEPTH_MAX: usize = 1000;
/// No text matches it.
const NOTHING: &str = r"[^\x{0}-\x{10FFFF}]";
const POSIX: [&str; 14] =
    ["alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word", "xdigit"];

/// A Go pattern for the crate `regex`.
pub(super) fn translated(source: &str) -> Result<String, String> {
    let mut parser = Parser { source, rest: source, out: String::with_capacity(source.len() + 16), flags: 0..0, groups: vec![Group::default()] };
    parser.parse().map_err(|Failure { code, text }| format!("error parsing regexp: {code}: `{text}`"))?;
    Ok(parser.out)
}

struct Failure<'a> {
    code: &'static str,
    text: &'a str,
}

fn fail<'a, T>(code: &'static str, text: &'a str) -> Result<T, Failure<'a>> {
    Err(Failure { code, text })
}

/// The counted repetitions in a part of the pattern, each with those within it.
#[derive(Default)]
struct Repeats(Vec<Repeat>);

struct Repeat {
    count: i64,
    within: Repeats,
}

impl Repeats {
    fn at_most(&self, copies: i64) -> bool {
        self.0.iter().all(|repeat| match repeat.count {
            0 => repeat.within.at_most(copies),
            count => count <= copies && repeat.within.at_most(copies / count),
        })
    }
}

/// A group that is open; the whole pattern is the first.
#[derive(Default)]
struct Group {
    /// What was parsed since the last `|`: to each operand what repeats in it.
    operands: Vec<Repeats>,
    /// What came before it.
    before: Repeats,
}

struct Parser<'a> {
    source: &'a str,
    rest: &'a str,
    out: String,
    /// Where the last flags lie in it, such as `(?i)`.
    flags: Range<usize>,
    groups: Vec<Group>,
}

/// The text from where `start` begins up to where `rest` does.
fn between<'a>(start: &'a str, rest: &str) -> &'a str {
    &start[..start.len() - rest.len()]
}

fn next(text: &mut &str) -> Option<char> {
    let c = text.chars().next()?;
    *text = &text[c.len_utf8()..];
    Some(c)
}

impl<'a> Parser<'a> {
    fn parse(&mut self) -> Result<(), Failure<'a>> {
        let mut last_repeat = None;
        while let Some(c) = self.rest.chars().next() {
            let start = self.rest;
            let last = last_repeat.take();
            match c {
                '(' if start.starts_with("(?") => self.perl_group()?,
                '(' => {
                    self.skip(1);
                    self.open()?;
                }
                '|' => {
                    self.skip(1);
                    self.out.push('|');
                    self.group().end_branch();
                }
                ')' => {
                    self.skip(1);
                    self.close()?;
                }
                '^' | '$' | '.' => {
                    self.skip(1);
                    self.out.push(c);
                    self.operand();
                }
                '[' => self.class()?,
                '*' | '+' | '?' => {
                    self.skip(1);
                    self.repeat(start, last, None)?;
                    last_repeat = Some(start);
                }
                '{' => match counts(start) {
                    Some((counts, rest)) => {
                        self.rest = rest;
                        let Counts { min, max } = counts;
                        if !(0..=COPIES_MAX).contains(&min) || max.is_some_and(|max| max > COPIES_MAX || min > max) {
                            return fail("invalid repeat count", between(start, rest));
                        }
                        self.repeat(start, last, Some(counts))?;
                        last_repeat = Some(start);
                    }
                    None => {
                        self.skip(1);
                        self.literal(c);
                    }
                },
                '\\' => self.escaped()?,
                c => {
                    self.skip(c.len_utf8());
                    self.literal(c);
                }
            }
        }
        if self.groups.len() > 1 { fail("missing closing )", self.source) } else { Ok(()) }
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    fn group(&mut self) -> &mut Group {
        self.groups.last_mut().expect("the pattern itself is a group")
    }

    fn operand(&mut self) {
        self.group().operands.push(Repeats::default());
    }

    fn literal(&mut self, c: char) {
        self.out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
        self.operand();
    }

    fn open(&mut self) -> Result<(), Failure<'a>> {
        if self.groups.len() > DEPTH_MAX {
            return fail("expression nests too deeply", self.source);
        }
        self.out.push_str("(?:");
        self.groups.push(Group::default());
        Ok(())
    }

    fn close(&mut self) -> Result<(), Failure<'a>> {
        if self.groups.len() == 1 {
            return fail("unexpected )", self.source);
        }
        let mut closed = self.groups.pop().unwrap_or_default();
        closed.end_branch();
        self.out.push(')');
        self.group().operands.push(closed.before);
        Ok(())
    }

    fn repeat(&mut self, start: &'a str, last: Option<&'a str>, counts: Option<Counts>) -> Result<(), Failure<'a>> {
        if self.rest.starts_with('?') {
            self.skip(1);
        }
        let text = between(start, self.rest);
        if let Some(last) = last {
            return fail("invalid nested repetition operator", between(last, self.rest));
        }
        let Some(operand) = self.group().operands.pop() else { return fail("missing argument to repetition operator", text) };
        let repeats = match counts {
            None => operand,
            Some(Counts { max: Some(0), .. }) => Repeats::default(),
            Some(Counts { min, max }) => {
                let repeats = Repeats(vec![Repeat { count: max.unwrap_or(min), within: operand }]);
                if (min >= 2 || max >= Some(2)) && !repeats.at_most(COPIES_MAX) {
                    return fail("invalid repeat count", text);
                }
                repeats
            }
        };
        // It repeats what is before the flags.
        let at = if self.flags.end == self.out.len() { self.flags.start } else { self.out.len() };
        self.out.insert_str(at, text);
        self.group().operands.push(repeats);
        Ok(())
    }

    /// `(?P<name>`, `(?i)`, `(?i-s:`.
    fn perl_group(&mut self) -> Result<(), Failure<'a>> {
        let start = self.rest;
        let named = start.strip_prefix("(?P<").or_else(|| start.strip_prefix("(?<")).filter(|name| !name.is_empty());
        if let Some(name) = named {
            let Some((name, rest)) = name.split_once('>') else { return fail("invalid named capture", start) };
            if name.is_empty() || !name.bytes().all(|c| c == b'_' || c.is_ascii_alphanumeric()) {
                return fail("invalid named capture", between(start, rest));
            }
            self.rest = rest;
            return self.open();
        }
        self.skip(2);
        let (mut negated, mut flagged) = (false, false);
        while let Some(c) = next(&mut self.rest) {
            match c {
                'i' | 'm' | 's' | 'U' => flagged = true,
                '-' if !negated => (negated, flagged) = (true, false),
                ':' | ')' if flagged || !negated => {
                    let text = between(start, self.rest);
                    if c == ')' {
                        let start = if self.flags.end == self.out.len() { self.flags.start } else { self.out.len() };
                        self.out.push_str(if text == "(?)" { "" } else { text });
                        self.flags = start..self.out.len();
                        return Ok(());
                    }
                    self.open()?;
                    self.out.truncate(self.out.len() - "(?:".len());
                    self.out.push_str(text);
                    return Ok(());
                }
                _ => break,
            }
        }
        fail("invalid or unsupported Perl syntax", between(start, self.rest))
    }

    /// What a backslash means outside of classes.
    fn escaped(&mut self) -> Result<(), Failure<'a>> {
        let start = self.rest;
        let two = start.get(..2).unwrap_or_default();
        match two {
            r"\A" | r"\z" => self.out.push_str(two),
            r"\b" => self.out.push_str(r"(?-u:\b)"),
            r"\B" => self.out.push_str(r"(?-u:\B)"),
            r"\C" => return fail("invalid escape sequence", two),
            r"\Q" => {
                let (literal, rest) = start[2..].split_once(r"\E").unwrap_or((&start[2..], ""));
                literal.chars().for_each(|c| self.literal(c));
                self.rest = rest;
                return Ok(());
            }
            _ => {
                if !self.named_class()? {
                    let c = self.escape_number()?;
                    self.out.push_str(&char::from_u32(c).map_or(NOTHING.to_owned(), |c| regex::escape(c.encode_utf8(&mut [0; 4]))));
                }
                self.operand();
                return Ok(());
            }
        }
        self.skip(2);
        self.operand();
        Ok(())
    }

    /// `\d` and `\p{Greek}`, in a class or outside; false where there is none.
    fn named_class(&mut self) -> Result<bool, Failure<'a>> {
        let start = self.rest;
        let class = match start.get(..2).unwrap_or_default() {
            r"\d" => "[0-9]",
            r"\D" => "[^0-9]",
            r"\w" => "[0-9A-Za-z_]",
            r"\W" => "[^0-9A-Za-z_]",
            r"\s" => r"[\t\n\f\r ]",
            r"\S" => r"[^\t\n\f\r ]",
            r"\p" | r"\P" => return self.unicode_class().map(|()| true),
            _ => return Ok(false),
        };
        self.skip(2);
        self.out.push_str(class);
        Ok(true)
    }

    fn unicode_class(&mut self) -> Result<(), Failure<'a>> {
        let start = self.rest;
        self.skip(2);
        let mut name = self.rest;
        match next(&mut self.rest) {
            Some('{') => {
                let Some((inner, rest)) = self.rest.split_once('}') else { return fail("invalid character class range", start) };
                (name, self.rest) = (inner, rest);
            }
            _ => name = between(name, self.rest),
        }
        let bare = name.strip_prefix('^').unwrap_or(name);
        let negated = start.starts_with(r"\P") != (bare.len() < name.len());
        let letter = if negated { 'P' } else { 'p' };
        let proper = !bare.is_empty() && bare.chars().all(|c| c.is_ascii_alphabetic() || "_- ".contains(c));
        let class =
            ["gc", "sc"].iter().map(|property| format!(r"\{letter}{{{property}={bare}}}")).find(|class| proper && regex::Regex::new(class).is_ok());
        let Some(class) = class else { return fail("invalid character class range", between(start, self.rest)) };
        self.out.push_str(&class);
        Ok(())
    }

    /// The number of one escaped character, which may be half of a surrogate pair.
    fn escape_number(&mut self) -> Result<u32, Failure<'a>> {
        let start = self.rest;
        self.skip(1);
        let Some(c) = next(&mut self.rest) else { return fail("trailing backslash at end of expression", "") };
        let octal = |rest: &str| rest.chars().next().and_then(|c| c.to_digit(8));
        match c {
            '0'..='7' if c == '0' || octal(self.rest).is_some() => {
                let mut number = u32::from(c) - u32::from('0');
                for _ in 0..2 {
                    let Some(digit) = octal(self.rest) else { break };
                    number = number * 8 + digit;
                    self.skip(1);
                }
                return Ok(number);
            }
            'x' => {
                if let Some(number) = self.hexadecimal() {
                    return Ok(number);
                }
            }
            'a' => return Ok(0x07),
            'f' => return Ok(0x0c),
            'n' => return Ok(0x0a),
            'r' => return Ok(0x0d),
            't' => return Ok(0x09),
            'v' => return Ok(0x0b),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => return Ok(c.into()),
            _ => {}
        }
        fail("invalid escape sequence", between(start, self.rest))
    }

    /// What follows `\x`.
    fn hexadecimal(&mut self) -> Option<u32> {
        let first = next(&mut self.rest)?;
        if first != '{' {
            let second = next(&mut self.rest);
            return Some(first.to_digit(16)? * 16 + second?.to_digit(16)?);
        }
        let mut number = None;
        loop {
            let c = next(&mut self.rest)?;
            if c == '}' {
                return number;
            }
            let longer = number.unwrap_or(0) * 16 + c.to_digit(16)?;
            number = (longer <= u32::from(char::MAX)).then_some(longer);
            number?;
        }
    }

    fn class(&mut self) -> Result<(), Failure<'a>> {
        let start = self.rest;
        self.skip(1);
        self.out.push('[');
        if self.rest.starts_with('^') {
            self.skip(1);
            self.out.push('^');
        }
        let empty = self.out.len();
        let mut first = true;
        while first || !self.rest.starts_with(']') {
            first = false;
            if self.posix_class()? || self.named_class()? {
                continue;
            }
            let range = self.rest;
            let low = self.class_character(start)?;
            let mut high = low;
            if self.rest.len() >= 2 && self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.skip(1);
                high = self.class_character(start)?;
                if high < low {
                    return fail("invalid character class range", between(range, self.rest));
                }
            }
            self.class_range(low, high);
        }
        self.skip(1);
        if self.out.len() == empty {
            self.out.push_str(NOTHING);
        }
        self.out.push(']');
        self.operand();
        Ok(())
    }

    fn posix_class(&mut self) -> Result<bool, Failure<'a>> {
        let start = self.rest;
        let Some((name, rest)) = start.strip_prefix("[:").and_then(|name| name.split_once(":]")) else { return Ok(false) };
        let text = between(start, rest);
        if !POSIX.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return fail("invalid character class range", text);
        }
        self.rest = rest;
        self.out.push_str(text);
        Ok(true)
    }

    fn class_character(&mut self, class: &'a str) -> Result<u32, Failure<'a>> {
        if self.rest.starts_with('\\') {
            return self.escape_number();
        }
        next(&mut self.rest).map_or_else(|| fail("missing closing ]", class), |c| Ok(c.into()))
    }

    /// Without the halves of surrogate pairs, which no text has.
    fn class_range(&mut self, low: u32, high: u32) {
        let low = if char::from_u32(low).is_some() { low } else { 0xe000 };
        let high = if char::from_u32(high).is_some() { high } else { 0xd7ff };
        if low <= high {
            self.out.push_str(&format!(r"\x{{{low:x}}}-\x{{{high:x}}}"));
        }
    }
}

impl Group {
    fn end_branch(&mut self) {
        self.before.0.extend(self.operands.drain(..).flat_map(|operand| operand.0));
    }
}

#[derive(Clone, Copy)]
struct Counts {
    /// Below zero where one of the two is no number that counts.
    min: i64,
    /// `None` without an end.
    max: Option<i64>,
}

/// `{min}`, `{min,}` or `{min,max}`; anything else is plain text.
fn counts(text: &str) -> Option<(Counts, &str)> {
    let (min, rest) = count(text.strip_prefix('{')?)?;
    let Some(rest) = rest.strip_prefix(',') else { return Some((Counts { min, max: Some(min) }, rest.strip_prefix('}')?)) };
    if let Some(rest) = rest.strip_prefix('}') {
        return Some((Counts { min, max: None }, rest));
    }
    let (max, rest) = count(rest)?;
    Some((Counts { min: if max < 0 { -1 } else { min }, max: Some(max) }, rest.strip_prefix('}')?))
}

/// A number without leading zeros; -1 where it is too long.
fn count(text: &str) -> Option<(i64, &str)> {
    let end = text.bytes().position(|c| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() || digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    Some((digits.parse().unwrap_or(-1), rest))
}
