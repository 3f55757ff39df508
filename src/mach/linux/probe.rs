//! What this machine's kernel can do, and how a userfaultfd is to be had.

use linux_raw_sys::general as raw;
use rustix::io::Errno;

use super::forks;
use super::uffd::Uffd;
use crate::mach::kernel::KernelError;

/// Without these nothing works; they came with the Linux version named.
const NEEDED: &[(u32, &str, &str)] = &[
    (
        raw::UFFD_FEATURE_MISSING_SHMEM,
        "missing faults on shared memory",
        "4.11",
    ),
    (raw::UFFD_FEATURE_EVENT_REMAP, "remap events", "4.11"),
    (raw::UFFD_FEATURE_EVENT_UNMAP, "unmap events", "4.11"),
    (
        raw::UFFD_FEATURE_MINOR_SHMEM,
        "minor faults on shared memory",
        "5.14",
    ),
    (raw::UFFD_FEATURE_PAGEFAULT_FLAG_WP, "write protection", "5.7"),
    (
        raw::UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
        "write protection of shared memory",
        "5.19",
    ),
    (raw::UFFD_FEATURE_POISON, "error markers (UFFDIO_POISON)", "6.6"),
];

/// How a userfaultfd is opened here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// The system call, with all rights.
    Call,
    /// `/dev/userfaultfd`, with all rights.
    Device,
    /// The system call, for faults from user mode only.
    UserMode,
}

/// What was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capabilities {
    pub(super) access: Access,
    /// Children that are forked can keep their mappings, and be served.
    pub(super) forks: bool,
    features: u64,
    /// Those that let the kernel lift write protections by itself, if it can.
    asynchronous: Option<u64>,
}

impl Capabilities {
    /// Looks for what is needed; an error says what is missing and what to do.
    pub(super) fn probe() -> Result<Self, KernelError> {
        let access = [Access::Call, Access::Device, Access::UserMode];
        let mut refusal = Errno::PERM;
        for access in access {
            match access.open() {
                Ok(uffd) => return Self::of(access, &uffd),
                Err(errno) => refusal = errno,
            }
        }
        Err(match refusal {
            Errno::NOSYS => unsupported(
                "this Linux kernel was built without userfaultfd",
                "use a kernel with CONFIG_USERFAULTFD",
            ),
            Errno::PERM | Errno::ACCESS => unsupported(
                "userfaultfd is forbidden here",
                "allow the userfaultfd system call in the container's seccomp profile, or grant access to /dev/userfaultfd",
            ),
            errno => KernelError::System {
                call: "userfaultfd",
                source: errno.into(),
            },
        })
    }

    fn of(access: Access, uffd: &Uffd) -> Result<Self, KernelError> {
        let offered = uffd.api(0).map_err(|errno| KernelError::System {
            call: "ioctl(UFFDIO_API)",
            source: errno.into(),
        })?;
        let mut features = 0;
        for &(feature, what, since) in NEEDED {
            if offered & u64::from(feature) == 0 {
                return Err(unsupported(
                    &format!("userfaultfd has no {what} here"),
                    &format!(
                        "use Linux {since} or newer (6.6 has all that is needed), built with CONFIG_USERFAULTFD and CONFIG_SHMEM"
                    ),
                ));
            }
            features |= u64::from(feature);
        }
        let lifting = u64::from(raw::UFFD_FEATURE_WP_ASYNC | raw::UFFD_FEATURE_WP_UNPOPULATED);
        let with_forks = features | u64::from(raw::UFFD_FEATURE_EVENT_FORK);
        let watched = forks::can_watch();
        let forks = watched && access.open().and_then(|uffd| uffd.api(with_forks)).is_ok();
        Ok(Self {
            access,
            forks,
            features: if forks { with_forks } else { features },
            asynchronous: (offered & lifting == lifting).then_some(features | lifting),
        })
    }

    /// A descriptor with all that was found.
    pub(super) fn open(&self) -> Result<Uffd, KernelError> {
        let open = || {
            let uffd = self.access.open()?;
            uffd.api(self.features)?;
            Ok(uffd)
        };
        open().map_err(|errno: Errno| KernelError::System {
            call: "userfaultfd",
            source: errno.into(),
        })
    }

    /// True if writes can be tracked without faults.
    pub(super) fn tracks_async(&self) -> bool {
        self.asynchronous.is_some()
    }

    /// A descriptor whose write protections the kernel lifts by itself; its mappings are not inherited by
    /// forked children.
    pub(super) fn open_async(&self) -> Result<Uffd, KernelError> {
        let features = self.asynchronous.unwrap_or(self.features);
        Self { features, ..*self }.open()
    }

    /// A descriptor that sends faults only: whoever owns the mappings neither moves nor shares them.
    pub(super) fn open_silent(&self) -> Result<Uffd, KernelError> {
        let events =
            raw::UFFD_FEATURE_EVENT_REMAP | raw::UFFD_FEATURE_EVENT_UNMAP | raw::UFFD_FEATURE_EVENT_FORK;
        let features = self.features & !u64::from(events);
        Self { features, ..*self }.open()
    }

    /// For people.
    pub(super) fn describe(&self) -> String {
        let access = match self.access {
            Access::Call => "userfaultfd",
            Access::Device => "/dev/userfaultfd",
            Access::UserMode => {
                "userfaultfd, user mode only: a system call that touches an absent page fails with EFAULT \
                 instead of waiting for it (run with CAP_SYS_PTRACE or grant access to /dev/userfaultfd)"
            }
        };
        let forks = if self.forks {
            "forked children can keep their mappings"
        } else {
            "forked children lose their mappings (with CAP_SYS_PTRACE they can keep them)"
        };
        format!("Linux: {access}; {forks}")
    }
}

impl Access {
    fn open(self) -> Result<Uffd, Errno> {
        match self {
            Self::Call => Uffd::open(false),
            Self::Device => Uffd::open_device(),
            Self::UserMode => Uffd::open(true),
        }
    }
}

fn unsupported(what: &str, remedy: &str) -> KernelError {
    KernelError::Unsupported {
        what: what.to_owned(),
        remedy: remedy.to_owned(),
    }
}
