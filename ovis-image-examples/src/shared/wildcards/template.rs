//! Parser of prompts with wildcards.
//!
//! Braces are alternatives only in pairs with a `|` between them: `{hello}`, `a { b` and `a | b`
//! are text, so that most prompts that hold braces mean what they say.

use anyhow::{Result, ensure};

use crate::shared::usage::UsageError;

/// Number of alternatives that may be nested in one another.
pub const MOST_NESTED: usize = 32;

/// A parsed prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Template(Vec<Part>);

/// A piece of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Text that stands as it is.
    Text(String),
    /// `{a|b}`: one of its alternatives.
    Choice(Vec<Alternative>),
    /// `__name__`: a line of a file.
    Wildcard(String),
}

/// One of several pieces to choose from.
#[derive(Debug, Clone, PartialEq)]
pub struct Alternative {
    /// Relative weight, 1 unless written as `WEIGHT::`.
    pub weight: f64,
    /// The pieces.
    pub parts: Vec<Part>,
}

impl Template {
    /// Parses a prompt. Every prompt is text at least.
    ///
    /// # Errors
    /// Returns an error if alternatives are nested too deeply, and for `N$$`, by which dynamic
    /// prompts choose several alternatives at once.
    pub fn parse(prompt: &str) -> Result<Self> {
        Ok(Self(Parser::new(prompt).parts()?))
    }

    /// The pieces, in order.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// Finds the first wildcard, also within alternatives.
    pub fn first_wildcard(&self) -> Option<&str> {
        first_wildcard(&self.0)
    }
}

impl Alternative {
    /// Parses a line of a wildcard file: a prompt, perhaps with a weight before it.
    ///
    /// # Errors
    /// Like [`Template::parse`].
    pub fn parse(line: &str) -> Result<Self> {
        Ok(Self::new(Parser::new(line).parts()?))
    }

    /// Takes the weight from the beginning of the pieces.
    fn new(mut parts: Vec<Part>) -> Self {
        let mut weight = 1.0;
        if let Some(Part::Text(text)) = parts.first_mut()
            && let Some((number, rest)) = split_weight(text)
        {
            (weight, *text) = (number, rest.to_owned());
        }
        Self { weight, parts }
    }
}

fn first_wildcard(parts: &[Part]) -> Option<&str> {
    parts.iter().find_map(|part| match part {
        Part::Text(_) => None,
        Part::Wildcard(name) => Some(name.as_str()),
        Part::Choice(alternatives) => alternatives
            .iter()
            .find_map(|alternative| first_wildcard(&alternative.parts)),
    })
}

/// Splits `WEIGHT::` from a text. A weight has digits and a point only.
fn split_weight(text: &str) -> Option<(f64, &str)> {
    const MOST: f64 = 1e9;
    let (number, rest) = text.split_once("::")?;
    let number = number.trim();
    let is_plain = number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let weight = number.parse().ok().filter(|_| is_plain)?;
    (0.0..=MOST).contains(&weight).then_some((weight, rest))
}

/// Whether a text begins with `N$$` or `N-M$$`.
fn chooses_several(text: &str) -> bool {
    text.split_once("$$").is_some_and(|(count, _)| {
        let is_count = |c: char| c.is_ascii_digit() || c == '-' || c == ' ';
        count.contains(|c: char| c.is_ascii_digit()) && count.chars().all(is_count)
    })
}

/// A prompt in tokens, with the braces that are alternatives.
struct Parser {
    tokens: Vec<Token>,
    /// For each opening brace that has one, its closing brace, and the bars between them.
    groups: Vec<Option<Group>>,
}

#[derive(Debug, PartialEq)]
enum Token {
    Text(String),
    Wildcard(String),
    Open,
    Bar,
    Close,
}

#[derive(Default)]
struct Group {
    bars: Vec<usize>,
    close: usize,
}

impl Parser {
    fn new(prompt: &str) -> Self {
        let tokens = tokens(prompt);
        let mut groups: Vec<Option<Group>> = tokens.iter().map(|_| None).collect();
        let mut open: Vec<(usize, Group)> = Vec::new();
        for (index, token) in tokens.iter().enumerate() {
            match token {
                Token::Open => open.push((index, Group::default())),
                Token::Bar => {
                    if let Some((_, group)) = open.last_mut() {
                        group.bars.push(index);
                    }
                }
                Token::Close => {
                    if let Some((start, group)) = open.pop()
                        && !group.bars.is_empty()
                    {
                        groups[start] = Some(Group {
                            close: index,
                            ..group
                        });
                    }
                }
                Token::Text(_) | Token::Wildcard(_) => {}
            }
        }
        Self { tokens, groups }
    }

    fn parts(&self) -> Result<Vec<Part>> {
        self.parts_between(0, self.tokens.len(), 0)
    }

    fn parts_between(&self, start: usize, end: usize, nested: usize) -> Result<Vec<Part>> {
        ensure!(
            nested <= MOST_NESTED,
            UsageError(format!(
                "the prompt has more than {MOST_NESTED} alternatives nested in one another"
            ))
        );
        let mut parts = Vec::new();
        let mut index = start;
        while index < end {
            let text = match &self.tokens[index] {
                Token::Text(text) => text,
                Token::Bar => "|",
                Token::Close => "}",
                Token::Open => {
                    if let Some(group) = &self.groups[index] {
                        parts.push(self.choice(index, group, nested + 1)?);
                        index = group.close + 1;
                        continue;
                    }
                    "{"
                }
                Token::Wildcard(name) => {
                    parts.push(Part::Wildcard(name.clone()));
                    index += 1;
                    continue;
                }
            };
            match parts.last_mut() {
                Some(Part::Text(before)) => before.push_str(text),
                _ => parts.push(Part::Text(text.to_owned())),
            }
            index += 1;
        }
        Ok(parts)
    }

    fn choice(&self, open: usize, group: &Group, nested: usize) -> Result<Part> {
        let mut alternatives = Vec::with_capacity(group.bars.len() + 1);
        let mut start = open + 1;
        for end in group.bars.iter().chain([&group.close]) {
            let parts = self.parts_between(start, *end, nested)?;
            if let (true, Some(Part::Text(text))) = (alternatives.is_empty(), parts.first()) {
                ensure!(
                    !chooses_several(text),
                    UsageError(format!(
                        "`$$` in `{{{text}|…}}` chooses several alternatives in dynamic prompts, which \
                         is not supported: write one {{…}} for each"
                    ))
                );
            }
            alternatives.push(Alternative::new(parts));
            start = end + 1;
        }
        Ok(Part::Choice(alternatives))
    }
}

/// Splits a prompt into braces, bars, wildcards and the text between them. `\{`, `\}`, `\|` and
/// `\__` are text without the backslash. `\\` is one backslash there, and two anywhere else.
fn tokens(prompt: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut text = String::new();
    let mut rest = prompt;
    while let Some(first) = rest.chars().next() {
        let backslashes = rest.len() - rest.trim_start_matches('\\').len();
        let after = &rest[backslashes..];
        if backslashes > 0 {
            let special = special(after);
            match special {
                Some(length) => {
                    text.push_str(&rest[..backslashes / 2]);
                    let escaped = if backslashes % 2 == 1 { length } else { 0 };
                    text.push_str(&after[..escaped]);
                    rest = &after[escaped..];
                }
                None => {
                    text.push_str(&rest[..backslashes]);
                    rest = after;
                }
            }
            continue;
        }
        let (token, length) = match first {
            '{' => (Token::Open, 1),
            '}' => (Token::Close, 1),
            '|' => (Token::Bar, 1),
            _ => match wildcard(rest) {
                Some(name) => (Token::Wildcard(name.to_owned()), name.len() + 4),
                None => {
                    text.push(first);
                    rest = &rest[first.len_utf8()..];
                    continue;
                }
            },
        };
        if !text.is_empty() {
            tokens.push(Token::Text(std::mem::take(&mut text)));
        }
        tokens.push(token);
        rest = &rest[length..];
    }
    if !text.is_empty() {
        tokens.push(Token::Text(text));
    }
    tokens
}

/// Length of what a backslash makes text.
fn special(text: &str) -> Option<usize> {
    match text.as_bytes() {
        [b'{' | b'}' | b'|', ..] => Some(1),
        [b'_', b'_', ..] => Some(2),
        _ => None,
    }
}

/// Returns the name of a wildcard at the beginning of a text. A row of underscores is none.
fn wildcard(text: &str) -> Option<&str> {
    let text = text.strip_prefix("__")?;
    let is_inside = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '/' | '.' | '*');
    let end = text.find(|c| !is_inside(c)).unwrap_or(text.len());
    let name = &text[..text[..end].find("__")?];
    (!name.is_empty() && !name.starts_with('_')).then_some(name)
}
