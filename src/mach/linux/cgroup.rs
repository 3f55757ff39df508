//! The memory that the control group of this process may have, whichever version of control groups.
//!
//! A group with a hard limit and no bound on pages would come to a stop: the system refuses memory, or
//! kills, before anybody knows that pages should go. So a bucket that was given no bound takes half of
//! what its group may have: the other half is for the program itself, the system's tables, and the cache of
//! the files behind the pages.

use std::fs;
use std::path::{Path, PathBuf};

/// A bound is at least this, so that pages of every size can be had.
const LEAST: u64 = 16 << 20;
/// Where control groups are mounted: version 2 alone, version 2 beside version 1, version 1.
const ROOTS: [&str; 3] = [
    "/sys/fs/cgroup",
    "/sys/fs/cgroup/unified",
    "/sys/fs/cgroup/memory",
];
/// The files that limit memory.
const FILES: [&str; 3] = ["memory.max", "memory.high", "memory.limit_in_bytes"];

/// Half of what the control group of this process may have, in bytes; none where that is no less than the
/// machine has.
pub fn control_group_share() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let machine = fs::read_to_string("/proc/meminfo").ok()?;
    let limit = ROOTS
        .iter()
        .filter_map(|root| limit_under(Path::new(root), &groups))
        .min()?;
    (limit < machine_bytes(&machine)?).then(|| (limit / 2).max(LEAST))
}

/// What the first line of `/proc/meminfo` says.
fn machine_bytes(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?;
    kib.checked_mul(1024)
}

/// The lowest limit of a group of this process, or of one above it, whose files lie under `root`. `groups`
/// is what `/proc/self/cgroup` says.
fn limit_under(root: &Path, groups: &str) -> Option<u64> {
    let folders = groups.lines().filter_map(|line| {
        // Number, controllers, path; version 2 has no controllers here.
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let concerned = controllers.is_empty() || controllers.split(',').any(|name| name == "memory");
        concerned.then(|| root.join(path.trim_start_matches('/')))
    });
    folders.filter_map(|folder| lowest(root, folder)).min()
}

/// The lowest limit from a folder up to the root. Within a container the path may be that of the host: then
/// the root is the process's own group.
fn lowest(root: &Path, folder: PathBuf) -> Option<u64> {
    let groups = folder.ancestors().take_while(|folder| folder.starts_with(root));
    groups
        .flat_map(|group| FILES.map(|file| group.join(file)))
        .filter_map(|file| limit_in(&file))
        .min()
}

/// A number of bytes; none where there is no such file, or no limit ("max", or version 1's largest number).
fn limit_in(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files with these contents under a folder of its own; gone at the end.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("cgroup-{name}-{}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(root)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_lowest_limit_on_the_way_up_counts() {
        let files = [
            ("a/memory.max", "800000000\n"),
            ("a/b/memory.max", "max\n"),
            ("a/b/memory.high", "500000000\n"),
            ("a/b/c/memory.max", "600000000\n"),
            ("a/b/c/memory.high", "max\n"),
            ("a/other/memory.max", "1\n"),
        ];
        let tree = Tree::new("two", &files);
        assert_eq!(limit_under(&tree.0, "0::/a/b/c\n"), Some(500_000_000));
        assert_eq!(limit_under(&tree.0, "0::/a\n"), Some(800_000_000));
        assert_eq!(limit_under(&tree.0, "0::/\n"), None);
        // Only the memory's hierarchy of version 1 matters.
        assert_eq!(limit_under(&tree.0, "3:cpu:/a/other\n0::/a\n"), Some(800_000_000));
    }

    #[test]
    fn the_first_version_and_containers_are_known() {
        let files = [
            ("memory.limit_in_bytes", "700000000\n"),
            ("inside/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        let tree = Tree::new("one", &files);
        for path in ["/inside", "/docker/0123"] {
            let groups = format!("5:cpu:/x\n4:cpuacct,memory:{path}\n");
            assert_eq!(limit_under(&tree.0, &groups), Some(700_000_000), "{path}");
        }
    }

    #[test]
    fn the_memory_of_the_machine_is_read() {
        let text = "MemTotal:       24683520 kB\nMemFree:        1 kB\n";
        assert_eq!(machine_bytes(text), Some(24_683_520 * 1024));
        assert_eq!(machine_bytes("nothing"), None);
    }
}
