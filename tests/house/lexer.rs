//! As much of Rust's lexical grammar as it takes to tell code from comments and strings.

/// The text with comments and the insides of literals blanked out; every byte keeps its place.
pub(crate) fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = not_code(text, at);
        if end > at {
            code.push_str(&spaces(&text[at..end]));
            at = end;
        } else {
            let c = text[at..].chars().next().unwrap_or_default();
            code.push_str(if c.is_ascii() { &text[at..=at] } else { "  " });
            at += c.len_utf8().max(1);
        }
    }
    code
}

/// As many blanks as the text has bytes, with its line ends.
pub(crate) fn spaces(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte == b'\n' { '\n' } else { ' ' })
        .collect()
}

/// Where the brace that matches the one at `opening` is.
pub(crate) fn closing_brace(code: &str, opening: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(opening) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Where the comment or literal that begins at `at` ends; `at` itself if none begins there.
fn not_code(text: &str, at: usize) -> usize {
    let rest = &text[at..];
    let length = if rest.starts_with("//") {
        rest.find('\n').unwrap_or(rest.len())
    } else if rest.starts_with("/*") {
        block_comment(rest)
    } else if rest.starts_with('"') {
        quoted(rest, b'"')
    } else if rest.starts_with('\'') {
        character(rest)
    } else if rest.starts_with('r') && !follows_word(text, at) {
        raw_string(rest)
    } else {
        0
    };
    at + length
}

fn follows_word(text: &str, at: usize) -> bool {
    let before = text[..at].trim_end_matches(['b', 'c']);
    // `br"…"` and `cr"…"` are raw strings; `for r` and `bar"` are not.
    at - before.len() > 1 || before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        let two = rest.as_bytes().get(at..at + 2).unwrap_or_default();
        match two {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &str, quote: u8) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// A character literal, or nothing if it is a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    let first = chars.next().map(|(_, c)| c);
    let second = chars.next();
    match (first, second) {
        (Some('\\'), _) => quoted(rest, b'\''),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

fn raw_string(rest: &str) -> usize {
    let hashes = rest[1..].bytes().take_while(|&byte| byte == b'#').count();
    if rest.as_bytes().get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let start = 2 + hashes;
    rest[start..]
        .find(&end)
        .map_or(rest.len(), |at| start + at + end.len())
}

#[test]
fn comments_and_literals_are_blanked() {
    let text = "let a = \"un{safe\\\"\"; // unsafe\n/* unsafe /* } */ */ b('}', '\\'', r#\"{\"{\"#)";
    let code = blank(text);
    assert_eq!(code.len(), text.len());
    assert!(
        !code.contains("safe") && !code.contains('{') && !code.contains('}'),
        "{code}"
    );
    assert!(code.contains("let a =") && code.contains("b(") && code.contains('\n'));
}

#[test]
fn lifetimes_and_words_stay() {
    let text = "fn f<'a>(r: &'a str) -> for r in bar {}";
    assert_eq!(blank(text), text);
}
