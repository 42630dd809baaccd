//! Says why a text is not JSON, in Go's words. Only ever reads texts that the decoder has refused, so it is written for clarity.

use crate::codec::DEPTH_MAX;
use crate::text;

/// The message, or `None` if there is nothing wrong.
pub(super) fn diagnose(bytes: &[u8]) -> Option<String> {
    Scan { bytes, at: 0 }.document().err()
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn document(&mut self) -> Result<(), String> {
        // What is open, outermost first.
        let mut open: Vec<u8> = Vec::new();
        loop {
            if self.value_begins(&mut open)? {
                continue;
            }
            if self.value_ended(&mut open)? {
                return Ok(());
            }
        }
    }

    /// Takes a scalar, an empty container or the start of one; true if a value must follow.
    fn value_begins(&mut self, open: &mut Vec<u8>) -> Result<bool, String> {
        self.space();
        match self.bytes.get(self.at) {
            Some(b'{') => {
                self.push(open, b'{')?;
                if self.next_is(b'}') {
                    open.pop();
                    return Ok(false);
                }
                self.key()?;
                Ok(true)
            }
            Some(b'[') => {
                self.push(open, b'[')?;
                if self.next_is(b']') {
                    open.pop();
                    return Ok(false);
                }
                Ok(true)
            }
            Some(b'"') => self.string().map(|()| false),
            Some(b'-' | b'0'..=b'9') => self.number().map(|()| false),
            Some(b't') => self.literal("true").map(|()| false),
            Some(b'f') => self.literal("false").map(|()| false),
            Some(b'n') => self.literal("null").map(|()| false),
            _ => Err(self.unexpected("looking for beginning of value")),
        }
    }

    /// After a value: takes closing brackets and a comma; true at the end of the document.
    fn value_ended(&mut self, open: &mut Vec<u8>) -> Result<bool, String> {
        loop {
            self.space();
            let next = self.bytes.get(self.at);
            match (open.last(), next) {
                (None, None) => return Ok(true),
                (None, Some(_)) => return Err(self.unexpected("after top-level value")),
                (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']')) => {
                    self.at += 1;
                    open.pop();
                }
                (Some(b'{'), Some(b',')) => {
                    self.at += 1;
                    self.space();
                    self.key()?;
                    return Ok(false);
                }
                (Some(_), Some(b',')) => {
                    self.at += 1;
                    return Ok(false);
                }
                (Some(b'{'), _) => return Err(self.unexpected("after object key:value pair")),
                (Some(_), _) => return Err(self.unexpected("after array element")),
            }
        }
    }

    fn push(&mut self, open: &mut Vec<u8>, bracket: u8) -> Result<(), String> {
        self.at += 1;
        open.push(bracket);
        if open.len() > DEPTH_MAX { Err("exceeded max depth".to_owned()) } else { Ok(()) }
    }

    fn next_is(&mut self, byte: u8) -> bool {
        self.space();
        let is = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(is);
        is
    }

    fn key(&mut self) -> Result<(), String> {
        if self.bytes.get(self.at) != Some(&b'"') {
            return Err(self.unexpected("looking for beginning of object key string"));
        }
        self.string()?;
        if self.next_is(b':') { Ok(()) } else { Err(self.unexpected("after object key")) }
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.bytes.get(self.at) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
                        Some(b'u') => {
                            self.at += 1;
                            for _ in 0..4 {
                                self.one(|byte| byte.is_ascii_hexdigit(), "in \\u hexadecimal character escape")?;
                            }
                        }
                        _ => return Err(self.unexpected("in string escape code")),
                    }
                }
                Some(0x20..) => self.at += 1,
                _ => return Err(self.unexpected("in string literal")),
            }
        }
    }

    fn number(&mut self) -> Result<(), String> {
        self.at += usize::from(self.bytes[self.at] == b'-');
        if self.bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits("in numeric literal")?;
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(())
    }

    fn digits(&mut self, context: &str) -> Result<(), String> {
        self.one(|byte| byte.is_ascii_digit(), context)?;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        Ok(())
    }

    fn literal(&mut self, word: &str) -> Result<(), String> {
        for expected in word.bytes() {
            self.one(|byte| byte == expected, &format!("in literal {word} (expecting '{}')", char::from(expected)))?;
        }
        Ok(())
    }

    fn one(&mut self, fits: impl Fn(u8) -> bool, context: &str) -> Result<(), String> {
        match self.bytes.get(self.at) {
            Some(&byte) if fits(byte) => {
                self.at += 1;
                Ok(())
            }
            _ => Err(self.unexpected(context)),
        }
    }

    fn unexpected(&self, context: &str) -> String {
        match self.bytes.get(self.at) {
            None => "unexpected end of JSON input".to_owned(),
            Some(b'\'') => format!(r"invalid character '\'' {context}"),
            Some(b'"') => format!("invalid character '\"' {context}"),
            Some(&byte) => {
                let quoted = text::quote(char::from(byte).encode_utf8(&mut [0; 4]));
                format!("invalid character '{}' {context}", quoted.trim_matches('"'))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_gos() {
        let check = |text: &str, expect: &str| assert_eq!(diagnose(text.as_bytes()).as_deref().unwrap_or("fine"), expect, "{text}");
        check(r#"{"a":[1,-2.5e+3,"x\u00e9\n",true,false,null,{}],"b":{}} "#, "fine");
        check("", "unexpected end of JSON input");
        check("{", "unexpected end of JSON input");
        check(r#"{"a""#, "unexpected end of JSON input");
        check("x", "invalid character 'x' looking for beginning of value");
        check("'", r"invalid character '\'' looking for beginning of value");
        check("[1 2]", "invalid character '2' after array element");
        check("[1,]", "invalid character ']' looking for beginning of value");
        check("{,", "invalid character ',' looking for beginning of object key string");
        check(r#"{"a":1,}"#, "invalid character '}' looking for beginning of object key string");
        check(r#"{"a" 1}"#, "invalid character '1' after object key");
        check(r#"{"a":1 "b"}"#, "invalid character '\"' after object key:value pair");
        check("{} x", "invalid character 'x' after top-level value");
        check("tru e", "invalid character ' ' in literal true (expecting 'e')");
        check("-x", "invalid character 'x' in numeric literal");
        check("1.x", "invalid character 'x' after decimal point in numeric literal");
        check("1ex", "invalid character 'x' in exponent of numeric literal");
        check("01", "invalid character '1' after top-level value");
        check("\"\n\"", r"invalid character '\n' in string literal");
        check(r#""\x""#, "invalid character 'x' in string escape code");
        check(r#""\u12x""#, "invalid character 'x' in \\u hexadecimal character escape");
        check("\u{e9}", "invalid character 'Ã' looking for beginning of value");
        check(&"[".repeat(DEPTH_MAX + 1), "exceeded max depth");
    }
}
