//! Octets of a master file to entries: lines joined by parentheses, cut into tokens, comments gone (RFC 1035 section 5.1).
//!
//! Tokens stay as they are written, escapes and quotes included. After an error it goes on at the next line, so that one slip
//! hides no other. It runs once over the octets and never fails as a whole.

use std::ops::Range;

/// One entry: a directive or a record.
#[derive(Debug)]
pub(super) struct Entry {
    /// Line of the first token, from 1.
    pub(super) line: u32,
    /// Whether the line starts with white space: the owner is that of the entry before.
    pub(super) indented: bool,
    pub(super) tokens: Vec<Token>,
}

/// One token, as a range of the source.
#[derive(Debug, Clone)]
pub(super) struct Token {
    /// Where it is written, without its quotes.
    pub(super) range: Range<usize>,
    pub(super) quoted: bool,
    /// Whether no white space lies between this token and the one before, as in `alpn="h2"`.
    pub(super) glued: bool,
}

/// An entry that cannot be cut into tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) line: u32,
    pub(super) found: &'static str,
    pub(super) expected: &'static str,
}

/// Cuts a master file into entries.
#[derive(Debug)]
pub(super) struct Splitter<'a> {
    source: &'a [u8],
    at: usize,
    line: u32,
}

impl<'a> Splitter<'a> {
    pub(super) fn new(source: &'a [u8]) -> Self {
        let at = if source.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        Self { source, at, line: 1 }
    }

    fn peek(&self) -> Option<u8> {
        self.source.get(self.at).copied()
    }

    /// Moves behind the end of the current line.
    fn skip_line(&mut self) {
        while let Some(octet) = self.peek() {
            self.at += 1;
            if octet == b'\n' {
                self.line += 1;
                return;
            }
        }
    }

    fn broken(&mut self, found: &'static str, expected: &'static str) -> Result<Option<Entry>, Broken> {
        let line = self.line;
        self.skip_line();
        Err(Broken { line, found, expected })
    }

    /// The next entry that has a token; `None` at the end of the file.
    pub(super) fn next_entry(&mut self) -> Result<Option<Entry>, Broken> {
        let mut entry = Entry { line: self.line, indented: false, tokens: Vec::new() };
        let mut open: Vec<u32> = Vec::new();
        let mut at_line_start = true;
        let mut glued = false;
        loop {
            let Some(octet) = self.peek() else {
                if let Some(&line) = open.first() {
                    return Err(Broken { line, found: "'(' without its ')'", expected: "a ')' before the end of the file" });
                }
                return Ok((!entry.tokens.is_empty()).then_some(entry));
            };
            match octet {
                b'\n' => {
                    self.at += 1;
                    self.line += 1;
                    glued = false;
                    if open.is_empty() {
                        if !entry.tokens.is_empty() {
                            return Ok(Some(entry));
                        }
                        entry.indented = false;
                        at_line_start = true;
                        continue;
                    }
                }
                b' ' | b'\t' | b'\r' => {
                    entry.indented |= at_line_start && entry.tokens.is_empty();
                    self.at += 1;
                    glued = false;
                }
                b';' => {
                    while self.peek().is_some_and(|octet| octet != b'\n') {
                        self.at += 1;
                    }
                }
                b'(' => {
                    open.push(self.line);
                    self.at += 1;
                    glued = false;
                }
                b')' => {
                    if open.pop().is_none() {
                        return self.broken("')' without its '('", "a '(' before it");
                    }
                    self.at += 1;
                    glued = false;
                }
                _ => {
                    if entry.tokens.is_empty() {
                        entry.line = self.line;
                    }
                    let quoted = octet == b'"';
                    let Some(range) = (if quoted { self.quoted() } else { self.unquoted() }) else {
                        return if quoted {
                            self.broken("a quoted string that does not end on its line", "a closing '\"'")
                        } else {
                            self.broken("'\\' at the end of a line", "a character after it")
                        };
                    };
                    entry.tokens.push(Token { range, quoted, glued });
                    glued = true;
                }
            }
            at_line_start = false;
        }
    }

    /// Reads up to the closing quote; `None` when the line ends before.
    fn quoted(&mut self) -> Option<Range<usize>> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(start..self.at - 1);
                }
                b'\n' => return None,
                b'\\' => self.escape()?,
                _ => self.at += 1,
            }
        }
    }

    fn unquoted(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        while let Some(octet) = self.peek() {
            match octet {
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' | b')' | b'"' => break,
                b'\\' => self.escape()?,
                _ => self.at += 1,
            }
        }
        Some(start..self.at)
    }

    /// Moves behind a backslash and the character after it, which no line end may be.
    fn escape(&mut self) -> Option<()> {
        self.at += 1;
        if self.peek()? == b'\n' {
            return None;
        }
        self.at += 1;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    /// Every entry as `line[>]:token|token`, every error as `line!found`.
    fn dump(source: &str) -> Vec<String> {
        let mut splitter = Splitter::new(source.as_bytes());
        let mut lines = Vec::new();
        loop {
            match splitter.next_entry() {
                Ok(None) => return lines,
                Ok(Some(entry)) => {
                    let tokens: Vec<&str> = entry.tokens.iter().map(|token| &source[token.range.clone()]).collect();
                    let mark = if entry.indented { ">" } else { "" };
                    lines.push(format!("{}{mark}:{}", entry.line, tokens.join("|")));
                }
                Err(broken) => lines.push(format!("{}!{}", broken.line, broken.found)),
            }
        }
    }

    #[test]
    fn entries() {
        let check = |source: &str, expect: &[&str]| assert_eq!(dump(source), expect, "{source:?}");
        check("", &[]);
        check("a b c", &["1:a|b|c"]);
        check("; comment\n\n  \na\tb;c\n c\r\n", &["4:a|b", "5>:c"]);
        check("a (b\n c ; x\n) d\ne", &["1:a|b|c|d", "4:e"]);
        check("a ( (b)\n)\nc", &["1:a|b", "3:c"]);
        check("a \"b ; (c\" d", &["1:a|b ; (c|d"]);
        check(r#"a "b\"c" d\;e"#, &[r#"1:a|b\"c|d\;e"#]);
        check("a b=\"c d\"", &["1:a|b=|c d"]);
        check(
            "a \"b\nc d\ne )\nf",
            &["1!a quoted string that does not end on its line", "2:c|d", "3!')' without its '('", "4:f"],
        );
        check("a\n(b\nc", &["1:a", "2!'(' without its ')'"]);
        check("a \\\nb", &["1!'\\' at the end of a line", "2:b"]);
    }

    proptest! {
        #[test]
        fn it_ends_on_anything(source in "[a \\\\\"();\n]{0,60}") {
            dump(&source);
        }
    }
}
