//! `cargo xtask capi`: builds the C interface and installs it as a packager expects it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::cargo::{cargo, succeed, workspace};
use crate::failure::Failure;

/// What a program linked with the static library needs besides.
const LIBS_PRIVATE: &str = "-lgcc_s -lpthread -lm -ldl -lc";

const HEADERS: &[&str] = &["hurd", "mach"];

/// Where everything goes.
#[derive(Debug)]
struct Plan {
    prefix: PathBuf,
    libdir: PathBuf,
    includedir: PathBuf,
    debug: bool,
    version: String,
}

/// What the shared library is called.
struct Names {
    /// With the whole version.
    full: String,
    /// With what of it programs are bound to: two numbers while the first is 0.
    soname: String,
}

impl Names {
    fn of_version(version: &str) -> Self {
        let bound = if version.starts_with("0.") { 2 } else { 1 };
        let bound: Vec<&str> = version.split('.').take(bound).collect();
        Self {
            full: format!("libactor_pager.so.{version}"),
            soname: format!("libactor_pager.so.{}", bound.join(".")),
        }
    }
}

/// Builds and installs.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let plan = Plan::from_arguments(arguments)?;
    let names = Names::of_version(&plan.version);
    let built = build(plan.debug, &names)?;
    install_libraries(&built, &names, &in_destdir(&plan.libdir))?;
    let headers = in_destdir(&plan.includedir).join("actor-pager");
    install_headers(&workspace().join("include"), &headers)?;
    for folder in HEADERS {
        install_headers(&workspace().join("include").join(folder), &headers.join(folder))?;
    }
    let pkgconfig = in_destdir(&plan.libdir).join("pkgconfig");
    make_folder(&pkgconfig)?;
    write(&pkgconfig.join("actor-pager.pc"), &plan.pkg_config()?)?;
    println!("installed the C interface in {}", plan.prefix.display());
    Ok(())
}

impl Plan {
    fn from_arguments(arguments: &[String]) -> Result<Self, Failure> {
        let (mut prefix, mut libdir, mut includedir, mut debug) = (None, None, None, false);
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let place = match argument.as_str() {
                "--debug" => {
                    debug = true;
                    continue;
                }
                "--prefix" => &mut prefix,
                "--libdir" => &mut libdir,
                "--includedir" => &mut includedir,
                _ => {
                    return Err(Failure::new(format!(
                        "capi does not know `{argument}`; see cargo xtask help"
                    )));
                }
            };
            let folder = rest.next().map(PathBuf::from);
            let folder = folder.filter(|folder| folder.is_absolute());
            let wanted = || Failure::new(format!("{argument} wants an absolute path"));
            *place = Some(folder.ok_or_else(wanted)?);
        }
        let prefix = prefix.unwrap_or_else(|| PathBuf::from("/usr/local"));
        let libdir = libdir.unwrap_or_else(|| prefix.join("lib"));
        let includedir = includedir.unwrap_or_else(|| prefix.join("include"));
        let version = version()?;
        Ok(Self {
            prefix,
            libdir,
            includedir,
            debug,
            version,
        })
    }

    fn pkg_config(&self) -> Result<String, Failure> {
        let template = workspace().join("actor-pager.pc.in");
        let text = fs::read_to_string(&template).map_err(|error| failed("read", &template, &error))?;
        let values = [
            ("@prefix@", self.prefix.display().to_string()),
            ("@libdir@", self.libdir.display().to_string()),
            ("@includedir@", self.includedir.display().to_string()),
            ("@version@", self.version.clone()),
            ("@libs_private@", LIBS_PRIVATE.to_owned()),
        ];
        Ok(values
            .iter()
            .fold(text, |text, (name, value)| text.replace(name, value)))
    }
}

/// The version in the manifest.
fn version() -> Result<String, Failure> {
    let manifest = workspace().join("Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(|error| failed("read", &manifest, &error))?;
    let line = text.lines().find_map(|line| line.strip_prefix("version = \""));
    let version = line.and_then(|rest| rest.strip_suffix('"'));
    version
        .map(str::to_owned)
        .ok_or_else(|| Failure::new("Cargo.toml names no version"))
}

/// Builds both libraries; the folder they are in.
fn build(debug: bool, names: &Names) -> Result<PathBuf, Failure> {
    // A folder of its own: another kind of library would push that of `cargo build` out.
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    let target = target.join("capi");
    let mut command = cargo(&["rustc", "--package", "actor-pager", "--lib"]);
    command.args(["--no-default-features", "--features", "capi"]);
    command.args(["--crate-type", "cdylib,staticlib"]);
    if !debug {
        command.arg("--release");
    }
    command.arg("--target-dir").arg(&target);
    command.args(["--", "-C", &format!("link-arg=-Wl,-soname,{}", names.soname)]);
    succeed("build the C interface", &mut command)?;
    Ok(target.join(if debug { "debug" } else { "release" }))
}

fn install_libraries(built: &Path, names: &Names, libdir: &Path) -> Result<(), Failure> {
    make_folder(libdir)?;
    copy(&built.join("libactor_pager.a"), &libdir.join("libactor_pager.a"))?;
    copy(&built.join("libactor_pager.so"), &libdir.join(&names.full))?;
    link(&names.full, &libdir.join(&names.soname))?;
    link(&names.soname, &libdir.join("libactor_pager.so"))
}

fn install_headers(from: &Path, to: &Path) -> Result<(), Failure> {
    make_folder(to)?;
    let entries = fs::read_dir(from).map_err(|error| failed("read", from, &error))?;
    for entry in entries {
        let path = entry.map_err(|error| failed("read", from, &error))?.path();
        if let (true, Some(name)) = (path.is_file(), path.file_name()) {
            copy(&path, &to.join(name))?;
        }
    }
    Ok(())
}

fn in_destdir(folder: &Path) -> PathBuf {
    match std::env::var_os("DESTDIR").filter(|destdir| !destdir.is_empty()) {
        None => folder.to_path_buf(),
        Some(destdir) => {
            let mut path: OsString = destdir;
            path.push(folder);
            PathBuf::from(path)
        }
    }
}

fn make_folder(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| failed("make", folder, &error))
}

/// Copies to a new file, so that a program that runs with the old one is not disturbed.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    // Nothing to remove at the first installation.
    let _ = fs::remove_file(to);
    fs::copy(from, to).map_err(|error| failed("write", to, &error))?;
    Ok(())
}

fn link(target: &str, link: &Path) -> Result<(), Failure> {
    // Nothing to remove at the first installation.
    let _ = fs::remove_file(link);
    symlink(target, link).map_err(|error| failed("link", link, &error))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| failed("write", path, &error))
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot {what} {}: {error}", path.display()))
}
