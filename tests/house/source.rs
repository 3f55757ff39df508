//! A source file: its code without comments, strings and tests.

use std::fs;
use std::path::{Path, PathBuf};

use crate::lexer;

/// One file, with what the checks look at.
pub(crate) struct Source {
    /// Path within the project, with slashes.
    pub(crate) path: String,
    /// The code: comments, strings and tests are blanked out, lines are kept.
    pub(crate) code: String,
    /// How many lines the file has, its tests not counted.
    pub(crate) lines_without_tests: usize,
}

impl Source {
    /// The file of this path and text.
    pub(crate) fn new(path: String, text: &str) -> Self {
        let mut code = lexer::blank(text);
        let mut test_lines = 0;
        while let Some((start, end)) = test_block(&code) {
            test_lines += code[start..end].lines().count();
            let blanks = lexer::spaces(&code[start..end]);
            code.replace_range(start..end, &blanks);
        }
        Self {
            path,
            lines_without_tests: text.lines().count() - test_lines,
            code,
        }
    }

    /// `path:line` for each line of the code that has `text` in it.
    pub(crate) fn lines_with(&self, text: &str) -> Vec<String> {
        self.lines_where(|line| line.contains(text))
    }

    /// `path:line` for each line of the code that has `word` in it as a whole word.
    pub(crate) fn lines_with_word(&self, word: &str) -> Vec<String> {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        self.lines_where(|line| line.split(|c| !is_part(c)).any(|found| found == word))
    }

    /// The number of the line that holds this byte of the code.
    pub(crate) fn line_of(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }

    fn lines_where(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let lines = self.code.lines().enumerate().filter(|(_, line)| wanted(line));
        lines.map(|(at, _)| format!("{}:{}", self.path, at + 1)).collect()
    }
}

/// Where the next `#[cfg(test)]` item begins and ends.
fn test_block(code: &str) -> Option<(usize, usize)> {
    let start = code
        .find("#[cfg(test)]")
        .or_else(|| code.find("#[cfg(all(test"))?;
    let opening = start + code[start..].find(['{', ';'])?;
    let end = match code.as_bytes()[opening] {
        b'{' => lexer::closing_brace(code, opening)?,
        _ => opening,
    };
    Some((start, end + 1))
}

/// The `.rs` files below these folders of the project, but those that hold only tests.
pub(crate) fn all(folders: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in folders {
        collect(&root.join(folder), &mut files);
    }
    files.sort();
    files.iter().map(|file| read(root, file)).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if name == "tests" || name.ends_with("_tests") {
            continue;
        }
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn read(root: &Path, file: &Path) -> Source {
    let path = file
        .strip_prefix(root)
        .unwrap_or(file)
        .to_string_lossy()
        .replace('\\', "/");
    Source::new(path, &fs::read_to_string(file).unwrap_or_default())
}

#[test]
fn tests_are_not_counted() {
    let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { x.unwrap() }\n}\nfn c() {}\n";
    let source = Source::new("a.rs".to_owned(), text);
    assert_eq!(source.lines_without_tests, 2);
    assert!(source.lines_with("unwrap").is_empty());
    assert_eq!(source.lines_with("fn c"), ["a.rs:6"]);
}
