//! The process's limits that stand in a pager's way.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lifts the soft limits on address space and open files to the hard ones, where there is a difference.
///
/// Every object takes address space of its own size, and two descriptors. A limit that may not be
/// lifted stays: whoever needs more hears of it from the call that fails.
pub fn lift_limits() {
    for resource in [Resource::As, Resource::Nofile] {
        let Rlimit { current, maximum } = getrlimit(resource);
        if current == maximum {
            continue;
        }
        if let Err(error) = setrlimit(
            resource,
            Rlimit {
                current: maximum,
                maximum,
            },
        ) {
            tracing::debug!(?resource, %error, "a limit cannot be lifted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_on_files_becomes_the_hard_one() {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let lower = Rlimit {
            current: current.map(|files| files.min(512)),
            maximum,
        };
        setrlimit(Resource::Nofile, lower).unwrap();
        lift_limits();
        assert_eq!(getrlimit(Resource::Nofile).current, maximum);
    }
}
