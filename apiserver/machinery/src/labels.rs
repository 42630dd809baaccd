//! Label selectors: the grammar of `labelSelector` parameters, metav1.LabelSelector, and matching.
//!
//! ```
//! use apiserver_machinery::labels::Selector;
//! let selector = Selector::parse("app in (web,api),!canary,tier!=cache").unwrap();
//! assert_eq!(selector.to_string(), "app in (api,web),!canary,tier!=cache");
//! assert!(selector.matches(|key| (key == "app").then_some("web")));
//! ```

use crate::Str;
use crate::field::{self, Path};
use crate::names;
use crate::schema::Schema;
use crate::tree::Struct;
use std::fmt;

/// Upstream's text of what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text does not follow the grammar.
    #[error("{0}")]
    Syntax(String),
    /// A key, operator or value is wrong.
    #[error("{}", field::aggregate(.0))]
    Requirement(Vec<field::Error>),
    #[error("{} is not a valid label selector operator", crate::text::quote(.0))]
    Operator(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    In,
    NotIn,
    Equals,
    DoubleEquals,
    NotEquals,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// As messages list them.
const BINARY_OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    key: Str,
    operator: Operator,
    values: Vec<Str>,
}

impl Requirement {
    pub fn new(key: &str, operator: Operator, values: Vec<Str>) -> Result<Self, Error> {
        use Operator::*;
        let mut errors = Vec::new();
        let (key_path, values_path) = (Path::new("key"), Path::new("values"));
        errors.extend(check_key(key, &key_path));
        let shown: Vec<&str> = values.iter().map(Str::as_str).collect();
        let mut count_is_wrong = |detail: &str| {
            let shown = if shown.is_empty() {
                field::BadValue::json(if operator == In || operator == NotIn { "null" } else { "[]" })
            } else {
                shown.as_slice().into()
            };
            errors.push(field::Error::invalid(&values_path, shown, detail));
        };
        match operator {
            In | NotIn if values.is_empty() => count_is_wrong("for 'in', 'notin' operators, values set can't be empty"),
            Equals | DoubleEquals | NotEquals if values.len() != 1 => count_is_wrong("exact-match compatibility requires one single value"),
            Exists | DoesNotExist if !values.is_empty() => count_is_wrong("values set must be empty for exists and does not exist"),
            GreaterThan | LessThan if values.len() != 1 => count_is_wrong("for 'Gt', 'Lt' operators, exactly one value is required"),
            _ => {}
        }
        if matches!(operator, GreaterThan | LessThan) {
            for (at, value) in values.iter().enumerate().filter(|(_, value)| value.parse::<i64>().is_err()) {
                errors.push(field::Error::invalid(&values_path.index(at), value, "for 'Gt', 'Lt' operators, the value must be an integer"));
            }
        }
        for (at, value) in values.iter().enumerate() {
            let messages = names::label_value(value);
            if !messages.is_empty() {
                errors.push(field::Error::invalid(&values_path.index(at).key(key), value, messages.join("; ")));
            }
        }
        if errors.is_empty() { Ok(Self { key: key.into(), operator, values }) } else { Err(Error::Requirement(errors)) }
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn operator(&self) -> Operator {
        self.operator
    }

    pub fn values(&self) -> &[Str] {
        &self.values
    }

    /// Whether a label's value, or its absence, satisfies this.
    pub fn accepts(&self, value: Option<&str>) -> bool {
        use Operator::*;
        let listed = |value: &str| self.values.iter().any(|own| own == value);
        match (self.operator, value) {
            (In | Equals | DoubleEquals, Some(value)) => listed(value),
            (NotIn | NotEquals, Some(value)) => !listed(value),
            (Exists, value) => value.is_some(),
            (DoesNotExist, value) => value.is_none(),
            (NotIn | NotEquals, None) => true,
            (GreaterThan | LessThan, Some(value)) => {
                let bound = self.values.first().and_then(|bound| bound.parse::<i64>().ok());
                let (Ok(value), Some(bound)) = (value.parse::<i64>(), bound) else { return false };
                if self.operator == GreaterThan { value > bound } else { value < bound }
            }
            (In | Equals | DoubleEquals | GreaterThan | LessThan, None) => false,
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut values: Vec<&str> = self.values.iter().map(Str::as_str).collect();
        values.sort_unstable();
        let (key, values) = (&self.key, values.join(","));
        match self.operator {
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
        }
    }
}

/// Requirements that must all hold, ordered by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl Selector {
    pub fn everything() -> Self {
        Self { requirements: Vec::new(), nothing: false }
    }

    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements, nothing: false }
    }

    /// The `labelSelector` parameter.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Parser { tokens: lex(text), at: 0 }.parse().map(Self::new)
    }

    /// Exactly these labels, unchecked: a ReplicationController's or Service's selector.
    pub fn of_labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let equals = |(key, value): (&str, &str)| Requirement { key: key.into(), operator: Operator::Equals, values: vec![value.into()] };
        Self::new(labels.into_iter().map(equals).collect())
    }

    /// A metav1.LabelSelector. None selects nothing, an empty one everything.
    pub fn of_label_selector(schema: &Schema, selector: Option<&Struct>) -> Result<Self, Error> {
        let Some(selector) = selector else { return Ok(Self::nothing()) };
        let mut requirements = Vec::new();
        let labels = selector.at(schema, "matchLabels").and_then(|labels| labels.as_map());
        for (key, value) in labels.into_iter().flat_map(|labels| labels.iter()) {
            requirements.push(Requirement::new(key, Operator::Equals, vec![value.as_str().unwrap_or_default().into()])?);
        }
        for expression in selector.list_at(schema, "matchExpressions").iter().filter_map(|item| item.as_struct()) {
            let operator = match expression.str_at(schema, "operator").unwrap_or_default() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(Error::Operator(other.to_owned())),
            };
            let values = expression.list_at(schema, "values").iter().filter_map(|value| value.as_str().map(Str::from)).collect();
            requirements.push(Requirement::new(expression.str_at(schema, "key").unwrap_or_default(), operator, values)?);
        }
        Ok(Self::new(requirements))
    }

    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|requirement| requirement.accepts(label(&requirement.key)))
    }

    /// Whether everything matches.
    pub fn is_empty(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// The one value that a label must have to match, if there is one.
    pub fn exact_match(&self, key: &str) -> Option<&str> {
        let requirement = self.requirements.iter().find(|requirement| requirement.key == key)?;
        match (requirement.operator, &requirement.values[..]) {
            (Operator::Equals | Operator::DoubleEquals | Operator::In, [value]) => Some(value),
            _ => None,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, requirement) in self.requirements.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

fn check_key(key: &str, at: &Path<'_>) -> Option<field::Error> {
    let messages = names::qualified_name(key);
    (!messages.is_empty()).then(|| field::Error::invalid(at, key, messages.join("; ")))
}

/// Labels of an object's metadata: keys and values, each by its own message.
pub fn validate<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>, at: &Path<'_>) -> Vec<field::Error> {
    let mut errors = Vec::new();
    for (key, value) in labels {
        errors.extend(names::qualified_name(key).into_iter().map(|message| field::Error::invalid(at, key, message)));
        errors.extend(names::label_value(value).into_iter().map(|message| field::Error::invalid(at, value, message)));
    }
    errors
}

/// A metav1.LabelSelector in an object's spec.
pub fn validate_selector(schema: &Schema, selector: &Struct, at: &Path<'_>) -> Vec<field::Error> {
    let labels = selector.at(schema, "matchLabels").and_then(|labels| labels.as_map());
    let labels = labels.into_iter().flat_map(|labels| labels.iter()).map(|(key, value)| (key, value.as_str().unwrap_or_default()));
    let mut errors = validate(labels, &at.child("matchLabels"));
    for (number, item) in selector.list_at(schema, "matchExpressions").iter().enumerate() {
        let Some(expression) = item.as_struct() else { continue };
        let expressions = at.child("matchExpressions");
        let at = expressions.index(number);
        let values = expression.list_at(schema, "values");
        let operator = expression.str_at(schema, "operator").unwrap_or_default();
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                errors.push(field::Error::required(&at.child("values"), "must be specified when `operator` is 'In' or 'NotIn'"));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                errors.push(field::Error::forbidden(&at.child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errors.push(field::Error::invalid(&at.child("operator"), operator, "not a valid selector operator")),
        }
        let key = expression.str_at(schema, "key").unwrap_or_default();
        errors.extend(names::qualified_name(key).into_iter().map(|message| field::Error::invalid(&at.child("key"), key, message)));
        for (number, value) in values.iter().enumerate() {
            let value = value.as_str().unwrap_or_default();
            let messages = names::label_value(value).into_iter();
            errors.extend(messages.map(|message| field::Error::invalid(&at.child("values").index(number), value, message)));
        }
    }
    errors
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    End,
    Close,
    Comma,
    Not,
    DoubleEquals,
    Equals,
    Greater,
    Identifier,
    In,
    Less,
    NotEquals,
    NotIn,
    Open,
}

fn symbol(text: &[u8]) -> Option<Token> {
    Some(match text {
        b")" => Token::Close,
        b"," => Token::Comma,
        b"!" => Token::Not,
        b"==" => Token::DoubleEquals,
        b"=" => Token::Equals,
        b">" => Token::Greater,
        b"<" => Token::Less,
        b"!=" => Token::NotEquals,
        b"(" => Token::Open,
        _ => return None,
    })
}

/// The tokens with their texts; the last one is [`Token::End`]. A zero byte ends the text, as upstream.
fn lex(text: &str) -> Vec<(Token, String)> {
    let special = |byte: u8| b"=!(),><".contains(&byte);
    let space = |byte: u8| b" \t\r\n".contains(&byte);
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        while at < bytes.len() && space(bytes[at]) {
            at += 1;
        }
        let start = at;
        match bytes.get(at) {
            None | Some(0) => {
                tokens.push((Token::End, String::new()));
                return tokens;
            }
            Some(byte) if special(*byte) => {
                // The longer symbol wins: `==` before `=`.
                let pair = bytes.get(start..start + 2).and_then(symbol);
                let (token, length) = match pair {
                    Some(token) => (token, 2),
                    None => (symbol(&bytes[start..=start]).unwrap_or(Token::End), 1),
                };
                at += length;
                tokens.push((token, text[start..at].to_owned()));
            }
            Some(_) => {
                while at < bytes.len() && bytes[at] != 0 && !special(bytes[at]) && !space(bytes[at]) {
                    at += 1;
                }
                let token = match &text[start..at] {
                    "in" => Token::In,
                    "notin" => Token::NotIn,
                    _ => Token::Identifier,
                };
                tokens.push((token, text[start..at].to_owned()));
                // The zero byte that ends an identifier is read with it.
                at += usize::from(bytes.get(at) == Some(&0));
            }
        }
    }
}

struct Parser {
    tokens: Vec<(Token, String)>,
    at: usize,
}

impl Parser {
    /// The next token; `in` and `notin` are identifiers where a value or key is expected.
    fn peek(&self) -> (Token, String) {
        let (token, text) = self.tokens.get(self.at).cloned().unwrap_or((Token::End, String::new()));
        match token {
            Token::In | Token::NotIn => (Token::Identifier, text),
            other => (other, text),
        }
    }

    fn next(&mut self) -> (Token, String) {
        let next = self.peek();
        self.at += 1;
        next
    }

    fn parse(mut self) -> Result<Vec<Requirement>, Error> {
        let mut requirements = Vec::new();
        loop {
            let (token, text) = self.peek();
            match token {
                Token::Identifier | Token::Not => {
                    let requirement = self.requirement();
                    requirements.push(requirement.map_err(|error| Error::Syntax(format!("unable to parse requirement: {error}")))?);
                    match self.next() {
                        (Token::End, _) => return Ok(requirements),
                        (Token::Comma, _) => match self.peek() {
                            (Token::Identifier | Token::Not, _) => {}
                            (_, text) => return Err(Error::Syntax(format!("found '{text}', expected: identifier after ','"))),
                        },
                        (_, text) => return Err(Error::Syntax(format!("found '{text}', expected: ',' or 'end of string'"))),
                    }
                }
                Token::End => return Ok(requirements),
                _ => return Err(Error::Syntax(format!("found '{text}', expected: !, identifier, or 'end of string'"))),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, Error> {
        let (mut token, mut key) = self.next();
        let negated = token == Token::Not;
        if negated {
            (token, key) = self.next();
        }
        if token != Token::Identifier {
            return Err(Error::Syntax(format!("found '{key}', expected: identifier")));
        }
        if let Some(error) = check_key(&key, &Path::NIL) {
            return Err(Error::Syntax(error.to_string()));
        }
        if negated {
            return Requirement::new(&key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Requirement::new(&key, Operator::Exists, Vec::new());
        }
        let (token, text) = self.tokens.get(self.at).cloned().unwrap_or((Token::End, String::new()));
        self.at += 1;
        let operator = match token {
            Token::In => Operator::In,
            Token::NotIn => Operator::NotIn,
            Token::Equals => Operator::Equals,
            Token::DoubleEquals => Operator::DoubleEquals,
            Token::NotEquals => Operator::NotEquals,
            Token::Greater => Operator::GreaterThan,
            Token::Less => Operator::LessThan,
            _ => return Err(Error::Syntax(format!("found '{text}', expected: {BINARY_OPERATORS}"))),
        };
        let mut values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.exact_value()?],
        };
        values.sort_unstable();
        values.dedup();
        Requirement::new(&key, operator, values)
    }

    fn values(&mut self) -> Result<Vec<Str>, Error> {
        let (token, text) = self.next();
        if token != Token::Open {
            return Err(Error::Syntax(format!("found '{text}' expected: '('")));
        }
        let (token, text) = self.peek();
        match token {
            Token::Identifier | Token::Comma => {
                let values = self.identifiers()?;
                match self.next() {
                    (Token::Close, _) => Ok(values),
                    // Upstream shows the first token of the list here.
                    _ => Err(Error::Syntax(format!("found '{text}', expected: ')'"))),
                }
            }
            Token::Close => {
                self.at += 1;
                Ok(vec![Str::default()])
            }
            _ => Err(Error::Syntax(format!("found '{text}', expected: ',', ')' or identifier"))),
        }
    }

    fn identifiers(&mut self) -> Result<Vec<Str>, Error> {
        let mut values: Vec<Str> = Vec::new();
        loop {
            match self.next() {
                (Token::Identifier, text) => {
                    values.push(text.into());
                    match self.peek() {
                        (Token::Comma, _) => {}
                        (Token::Close, _) => return Ok(values),
                        (_, text) => return Err(Error::Syntax(format!("found '{text}', expected: ',' or ')'"))),
                    }
                }
                (Token::Comma, _) => {
                    if values.is_empty() {
                        values.push(Str::default());
                    }
                    match self.peek().0 {
                        Token::Close => {
                            values.push(Str::default());
                            return Ok(values);
                        }
                        Token::Comma => values.push(Str::default()),
                        _ => {}
                    }
                }
                (_, text) => return Err(Error::Syntax(format!("found '{text}', expected: ',', or identifier"))),
            }
        }
    }

    fn exact_value(&mut self) -> Result<Str, Error> {
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(Str::default());
        }
        match self.next() {
            (Token::Identifier, text) => Ok(text.into()),
            (_, text) => Err(Error::Syntax(format!("found '{text}', expected: identifier"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asked of Go's labels.Parse: the text, then the selector's text or `!` and the error, both as JSON strings.
    const PARSED: &str = include_str!("../testdata/labels.tsv");

    #[test]
    fn selectors_parse_as_upstreams_do() {
        let mut wrong = Vec::new();
        for line in PARSED.lines() {
            let columns: Vec<_> = line.split('\t').collect();
            let text: String = serde_json::from_str(columns[0]).unwrap();
            let expect: String = serde_json::from_str(columns[1]).unwrap();
            let got = Selector::parse(&text).map_or_else(|error| format!("!{error}"), |selector| selector.to_string());
            if got != expect {
                wrong.push(format!("{text:?}: expected {expect}\n  got {got}"));
            }
        }
        assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    }

    #[test]
    fn requirements_match_values_and_absence() {
        let check = |selector: &str, labels: &[(&str, &'static str)], expect: bool| {
            let selector = Selector::parse(selector).unwrap();
            let lookup = |key: &str| labels.iter().find(|(own, _)| *own == key).map(|(_, value)| *value);
            assert_eq!(selector.matches(lookup), expect, "{selector} on {labels:?}");
        };
        check("", &[], true);
        check("a", &[("a", "")], true);
        check("!a", &[("a", "1")], false);
        check("a=1", &[("a", "1")], true);
        check("a!=1", &[], true);
        check("a!=1", &[("a", "1")], false);
        check("a in (1,2)", &[("a", "2")], true);
        check("a in (1,2)", &[], false);
        check("a notin (1,2)", &[], true);
        check("a>5", &[("a", "6")], true);
        check("a>5", &[("a", "x")], false);
        check("a<5", &[("a", "-6")], true);
        check("a=1,b=2", &[("a", "1")], false);
        assert!(!Selector::nothing().matches(|_| Some("x")));
    }

    #[test]
    fn an_exact_match_is_one_value() {
        let selector = Selector::parse("a in (x),b in (x,y),c=z").unwrap();
        assert_eq!(selector.exact_match("a"), Some("x"));
        assert_eq!(selector.exact_match("b"), None);
        assert_eq!(selector.exact_match("c"), Some("z"));
        assert_eq!(selector.exact_match("d"), None);
    }

    #[test]
    fn counts_of_values_are_checked() {
        let check = |operator, values: &[&str], expect: &str| {
            let values = values.iter().map(|value| Str::from(*value)).collect();
            assert_eq!(Requirement::new("k", operator, values).unwrap_err().to_string(), expect);
        };
        check(Operator::In, &[], "values: Invalid value: null: for 'in', 'notin' operators, values set can't be empty");
        check(Operator::Exists, &["a"], r#"values: Invalid value: ["a"]: values set must be empty for exists and does not exist"#);
        check(Operator::GreaterThan, &["a"], r#"values[0]: Invalid value: "a": for 'Gt', 'Lt' operators, the value must be an integer"#);
    }
}
