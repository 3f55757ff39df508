//! Checks the dependencies: none needs a newer compiler than we promise; which come twice.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cargo::cargo;
use crate::failure::Failure;

/// A package, as far as we look at it.
#[derive(Debug)]
struct Package {
    name: String,
    version: String,
    rust_version: Option<Version>,
    ours: bool,
}

/// Major, minor, patch.
type Version = [u32; 3];

/// Fails if a dependency's `rust-version` is above ours; lists what comes in several versions.
pub(crate) fn check() -> Result<(), Failure> {
    eprintln!("==> dependencies");
    let packages = read(&metadata()?);
    let ours = packages.iter().filter(|package| package.ours);
    let Some(promised) = ours.filter_map(|package| package.rust_version).min() else {
        return Err(Failure::new(
            "no package of ours states its rust-version in Cargo.toml",
        ));
    };
    for line in duplicates(&packages) {
        println!("note: {line}");
    }
    too_new(&packages, promised)
}

fn metadata() -> Result<Value, Failure> {
    let output = cargo(&["metadata", "--format-version", "1", "--locked"])
        .output()
        .map_err(|error| Failure::new(format!("cannot start cargo metadata: {error}")))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("cargo metadata failed: {}", reason.trim())));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| Failure::new(format!("cargo metadata printed no JSON: {error}")))
}

fn read(metadata: &Value) -> Vec<Package> {
    let packages = metadata["packages"].as_array().map(Vec::as_slice);
    packages.unwrap_or_default().iter().map(package).collect()
}

fn package(value: &Value) -> Package {
    Package {
        name: value["name"].as_str().unwrap_or_default().to_owned(),
        version: value["version"].as_str().unwrap_or_default().to_owned(),
        rust_version: value["rust_version"].as_str().map(version),
        ours: value["source"].is_null(),
    }
}

fn version(text: &str) -> Version {
    let mut numbers = text.split('.').map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| numbers.next().unwrap_or(0))
}

fn duplicates(packages: &[Package]) -> Vec<String> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages {
        versions.entry(&package.name).or_default().push(&package.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    versions
        .iter()
        .map(|(name, versions)| format!("{name} comes in versions {}", versions.join(", ")))
        .collect()
}

fn too_new(packages: &[Package], promised: Version) -> Result<(), Failure> {
    let [major, minor, patch] = promised;
    let late: Vec<String> = packages
        .iter()
        .filter(|package| package.rust_version.is_some_and(|needed| needed > promised))
        .map(|package| format!("{} {}", package.name, package.version))
        .collect();
    if late.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "these need a compiler newer than the promised {major}.{minor}.{patch}: {}; use older versions of them",
        late.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn packages(needed: &str) -> Vec<Package> {
        read(&json!({"packages": [
            {"name": "a", "version": "1.0.0", "rust_version": needed, "source": "registry"},
            {"name": "a", "version": "2.0.0", "rust_version": null, "source": "registry"},
            {"name": "us", "version": "0.1.0", "rust_version": "1.88", "source": null},
        ]}))
    }

    #[test]
    fn a_dependency_that_needs_a_newer_compiler_is_named() {
        assert!(too_new(&packages("1.88.0"), version("1.88")).is_ok());
        let failure = too_new(&packages("1.88.1"), version("1.88")).unwrap_err();
        assert!(failure.to_string().contains("a 1.0.0"), "{failure}");
    }

    #[test]
    fn a_dependency_that_comes_twice_is_named() {
        assert_eq!(duplicates(&packages("1.0")), ["a comes in versions 1.0.0, 2.0.0"]);
    }
}
