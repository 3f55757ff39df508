//! The functions of a file and how long they are.

use std::fmt;

use crate::lexer;
use crate::source::Source;

/// A function with a body.
pub(crate) struct Function<'a> {
    path: &'a str,
    line: usize,
    name: &'a str,
    /// From the line with `fn` to that with the closing brace.
    pub(crate) lines: usize,
}

impl fmt::Display for Function<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            line,
            name,
            lines,
        } = self;
        write!(f, "{path}:{line}: `{name}` has {lines} lines")
    }
}

/// The functions of a file that have bodies, those within functions too.
pub(crate) fn of(source: &Source) -> Vec<Function<'_>> {
    let starts = source.code.match_indices("fn ");
    starts.filter_map(|(at, _)| function(source, at)).collect()
}

fn function(source: &Source, at: usize) -> Option<Function<'_>> {
    let code = &source.code;
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    if code[..at].ends_with(is_part) {
        return None;
    }
    let name = code[at + 3..].split(|c| !is_part(c)).next()?;
    let opening = body(code, at)?;
    let line = source.line_of(at);
    let lines = source.line_of(lexer::closing_brace(code, opening)?) - line + 1;
    let path = &source.path;
    (!name.is_empty()).then_some(Function {
        path,
        line,
        name,
        lines,
    })
}

/// Where the body begins; nothing for a declaration or a type.
fn body(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(at),
            b';' | b',' | b'=' if depth == 0 => return None,
            _ => {}
        }
        if depth < 0 {
            return None;
        }
    }
    None
}

#[test]
fn lengths_are_counted_from_fn_to_brace() {
    let text = "trait T {\n    fn d(&self, a: [u8; 3]);\n    fn e() {\n        {}\n    }\n}\n\
                fn g(f: fn (u8) -> u8) -> u8 { 1 }\n";
    let source = Source::new("a.rs".to_owned(), text);
    let found: Vec<_> = of(&source).iter().map(|f| (f.name.to_owned(), f.lines)).collect();
    assert_eq!(found, [("e".to_owned(), 3), ("g".to_owned(), 1)]);
}
