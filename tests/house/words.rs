//! What the documents say must be true: the tests they name exist.

use std::fs;
use std::path::Path;

use crate::source::Source;

const ERRORS: &str = "docs/errors.md";

fn errors(root: &Path) -> String {
    fs::read_to_string(root.join(ERRORS)).unwrap_or_default()
}

/// Every `file::test` or `file.rs::test` of `docs/errors.md` that is not there, and every row without one.
pub(crate) fn missing_tests() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = errors(root);
    let missing = named(&text).filter(|name| !exists(root, name));
    let missing = missing.map(|name| format!("{ERRORS} names `{name}`, which does not exist"));
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let bare = rows.filter(|row| {
        let last = row
            .trim_end_matches([' ', '|'])
            .rsplit('|')
            .next()
            .unwrap_or_default();
        last.trim() != "the same" && named(last).next().is_none()
    });
    let bare = bare.map(|row| format!("{ERRORS} has a row without a test: {row}"));
    missing.chain(bare).collect()
}

fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2).filter(|word| {
        let test = word.rsplit("::").next().unwrap_or_default();
        word.contains("::")
            && word.starts_with(char::is_lowercase)
            && test.contains('_')
            && !word.contains(['(', ' '])
    })
}

fn exists(root: &Path, name: &str) -> bool {
    let Some((file, test)) = name.split_once("::") else {
        return false;
    };
    let path = match (file.starts_with("src/"), file.ends_with(".rs")) {
        (true, _) => root.join(file),
        (false, true) => root.join("tests").join(file),
        (false, false) => root.join("tests").join(format!("{file}.rs")),
    };
    let text = fs::read_to_string(path).unwrap_or_default();
    text.contains(&format!("fn {test}("))
}

/// Every variant of a public error that `docs/errors.md` does not name.
pub(crate) fn missing_errors(sources: &[Source]) -> Vec<String> {
    let text = errors(Path::new(env!("CARGO_MANIFEST_DIR")));
    let variants = sources.iter().flat_map(variants);
    let missing = variants.filter(|variant| !text.contains(&format!("`{variant}`")));
    missing
        .map(|variant| format!("{ERRORS} does not say what `{variant}` comes of"))
        .collect()
}

/// `Error::Variant` for each variant of a public error enum: what derives `thiserror::Error`.
fn variants(source: &Source) -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&source.path));
    let text = text.unwrap_or_default();
    let mut variants = Vec::new();
    for (at, _) in text.match_indices("thiserror::Error)]") {
        let rest = &text[at..];
        let Some((head, body)) = rest.split_once('{') else {
            continue;
        };
        let Some(name) = head.rsplit_once("pub enum ").map(|(_, name)| name.trim()) else {
            continue;
        };
        let body = body.split("\n}").next().unwrap_or_default();
        // Variants stand one level in, and begin with a capital.
        let lines = body.lines().filter_map(|line| line.strip_prefix("    "));
        let named = lines.filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()));
        variants.extend(named.filter_map(|line| {
            let end = line.find(|letter: char| !letter.is_alphanumeric())?;
            Some(format!("{name}::{}", &line[..end]))
        }));
    }
    variants
}
