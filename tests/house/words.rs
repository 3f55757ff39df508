//! What the documents say must be true: the tests they name exist.

use std::fs;
use std::path::Path;

/// Every `file::test` or `file.rs::test` of `docs/errors.md` that no test file has.
pub(crate) fn missing_tests() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/errors.md")).unwrap_or_default();
    let named = text.split('`').skip(1).step_by(2).filter(|word| {
        let test = word.rsplit("::").next().unwrap_or_default();
        word.contains("::")
            && word.starts_with(char::is_lowercase)
            && test.contains('_')
            && !word.contains(['(', ' '])
    });
    named
        .filter(|name| !exists(&root.join("tests"), name))
        .map(|name| format!("docs/errors.md names `{name}`, which is not in tests/"))
        .collect()
}

fn exists(tests: &Path, name: &str) -> bool {
    let Some((file, test)) = name.split_once("::") else {
        return false;
    };
    let path = tests.join(if file.ends_with(".rs") {
        file.to_owned()
    } else {
        format!("{file}.rs")
    });
    let text = fs::read_to_string(path).unwrap_or_default();
    text.contains(&format!("fn {test}("))
}
