//! The lexical half of the JSON decoder: spaces, strings, numbers, and skipping what nobody wants.
//!
//! It only says *that* a text is not JSON, by [`Malformed`]; `diagnose.rs` reads the text again to say where and why.

use crate::codec::DEPTH_MAX;
use std::borrow::Cow;

/// The text is not JSON, or nests too deeply.
#[derive(Debug)]
pub(super) struct Malformed;

pub(super) struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

/// A value's first byte, for telling its sort.
pub(super) const END: u8 = 0;

impl<'a> Reader<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, bytes: text.as_bytes(), at: 0, depth: 0 }
    }

    /// The next byte that is not a space, without taking it; [`END`] at the end.
    pub fn peek(&mut self) -> u8 {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at += 1,
                Some(&byte) => return byte,
                None => return END,
            }
        }
    }

    /// Takes a byte that [`Reader::peek`] has just seen.
    fn take(&mut self) {
        self.at += 1;
    }

    /// Where the next byte lies.
    pub fn position(&self) -> usize {
        self.at
    }

    pub fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    /// Takes `{` or `[`, which [`Reader::peek`] has seen.
    pub fn enter(&mut self) -> Result<(), Malformed> {
        self.take();
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(Malformed) } else { Ok(()) }
    }

    /// Takes the closing bracket if the object or list is empty.
    pub fn leave_empty(&mut self, close: u8) -> bool {
        let empty = self.peek() == close;
        if empty {
            self.take();
            self.depth -= 1;
        }
        empty
    }

    /// After an element: takes a comma and says true, or the closing bracket and says false.
    pub fn more(&mut self, close: u8) -> Result<bool, Malformed> {
        let byte = self.peek();
        if byte == b',' {
            self.take();
            return Ok(true);
        }
        if byte == close {
            self.take();
            self.depth -= 1;
            return Ok(false);
        }
        Err(Malformed)
    }

    /// Takes a key and its colon.
    pub fn key(&mut self) -> Result<Cow<'a, str>, Malformed> {
        if self.peek() != b'"' {
            return Err(Malformed);
        }
        let key = self.string()?;
        if self.bytes.get(self.at) != Some(&b':') && self.peek() != b':' {
            return Err(Malformed);
        }
        self.take();
        Ok(key)
    }

    pub fn end(&mut self) -> Result<(), Malformed> {
        if self.peek() == END && self.at == self.bytes.len() { Ok(()) } else { Err(Malformed) }
    }

    /// Takes a string, whose opening quote has been seen.
    pub fn string(&mut self) -> Result<Cow<'a, str>, Malformed> {
        let start = self.at + 1;
        self.at = plain_end(self.bytes, start);
        match self.bytes.get(self.at) {
            Some(b'"') => {
                self.at += 1;
                Ok(Cow::Borrowed(&self.text[start..self.at - 1]))
            }
            Some(b'\\') => self.escaped(start).map(Cow::Owned),
            _ => Err(Malformed),
        }
    }

    #[cold]
    fn escaped(&mut self, start: usize) -> Result<String, Malformed> {
        let mut out = String::from(&self.text[start..self.at]);
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape(&mut out)?;
                }
                _ => return Err(Malformed),
            }
            let plain = self.at;
            self.at = plain_end(self.bytes, plain);
            out.push_str(&self.text[plain..self.at]);
        }
    }

    fn escape(&mut self, out: &mut String) -> Result<(), Malformed> {
        let char = match self.bytes.get(self.at).ok_or(Malformed)? {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.hex(self.at + 1)?;
                self.at += 5;
                out.push(self.unicode(unit));
                return Ok(());
            }
            _ => return Err(Malformed),
        };
        self.at += 1;
        out.push(char);
        Ok(())
    }

    /// A UTF-16 unit, with its second half where it has one; half a pair is replaced, as Go does.
    fn unicode(&mut self, unit: u32) -> char {
        if let Some(char) = char::from_u32(unit) {
            return char;
        }
        if unit < 0xdc00
            && self.bytes[self.at..].starts_with(b"\\u")
            && let Ok(low @ 0xdc00..=0xdfff) = self.hex(self.at + 2)
        {
            self.at += 6;
            return char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00)).unwrap_or(char::REPLACEMENT_CHARACTER);
        }
        char::REPLACEMENT_CHARACTER
    }

    fn hex(&self, at: usize) -> Result<u32, Malformed> {
        let digits = self.bytes.get(at..at + 4).ok_or(Malformed)?;
        digits.iter().try_fold(0, |sum, &digit| Ok(sum * 16 + char::from(digit).to_digit(16).ok_or(Malformed)?))
    }

    /// Takes a number, of which the first byte has been seen.
    pub fn number(&mut self) -> Result<&'a str, Malformed> {
        let start = self.at;
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        match self.bytes.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return Err(Malformed),
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(self.since(start))
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.bytes.get(self.at) {
            self.at += 1;
        }
        if self.at == start { Err(Malformed) } else { Ok(()) }
    }

    /// Takes `true`, `false` or `null`, of which the first byte has been seen.
    pub fn word(&mut self) -> Result<Word, Malformed> {
        let (text, word) = match self.bytes[self.at] {
            b't' => ("true", Word::True),
            b'f' => ("false", Word::False),
            _ => ("null", Word::Null),
        };
        if !self.bytes[self.at..].starts_with(text.as_bytes()) {
            return Err(Malformed);
        }
        self.at += text.len();
        Ok(word)
    }

    /// Takes any value.
    pub fn skip(&mut self) -> Result<(), Malformed> {
        match self.peek() {
            b'"' => drop(self.string()?),
            b'-' | b'0'..=b'9' => drop(self.number()?),
            b't' | b'f' | b'n' => drop(self.word()?),
            b'[' => {
                self.enter()?;
                if !self.leave_empty(b']') {
                    self.skip()?;
                    while self.more(b']')? {
                        self.skip()?;
                    }
                }
            }
            b'{' => {
                self.enter()?;
                if !self.leave_empty(b'}') {
                    self.key()?;
                    self.skip()?;
                    while self.more(b'}')? {
                        self.key()?;
                        self.skip()?;
                    }
                }
            }
            _ => return Err(Malformed),
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    True,
    False,
    Null,
}

/// The first byte from `at` on that a string does not hold as it is: a quote, a backslash or a control character.
fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // Eight bytes at a time: a byte of `zero(x)` has its high bit set where x has a zero byte (bytes above the first may err; the first never does).
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let found = zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\'))) | control;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(&byte) = bytes.get(at) {
        if byte == b'"' || byte == b'\\' || byte < 0x20 {
            break;
        }
        at += 1;
    }
    at
}
