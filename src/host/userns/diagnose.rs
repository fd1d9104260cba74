//! Why a user namespace was refused, and the mend. Pure: settings of the kernel come through a reader.

use std::fmt;

use super::message::Step;

/// What on this host stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `kernel.unprivileged_userns_clone` is 0 (Debian's kernels up to 10, hardened ones).
    CloneForbidden,
    /// `user.max_user_namespaces` is 0 (RHEL 7, hardened hosts).
    NoneAllowed,
    /// All that `user.max_user_namespaces` allows are in use, or they nest more than 32 deep.
    TooMany,
    /// AppArmor takes away the capabilities inside (Ubuntu 23.10 and newer).
    AppArmor,
    /// unshare(2) is refused for a reason that no setting names: a container's seccomp filter, a chroot.
    Sandboxed,
    /// The kernel was built without CONFIG_USER_NS.
    NotBuilt,
    /// The keeper's namespace cannot be entered: it is another user's.
    NotOurs,
    /// Neither a mount nor a copy in memory of the running binary is to be had that containers cannot write to.
    Unsealed,
    /// The process that was to enter has threads, which the kernel does not allow: our own fault.
    Threads,
}

impl Refusal {
    /// Finds the reason from the step, the errno and `setting`, which reads a file below `/proc/sys`.
    pub(super) fn find(step: Step, errno: i32, setting: impl Fn(&str) -> Option<String>) -> Refusal {
        let is = |name: &str, value: &str| setting(name).is_some_and(|text| text.trim() == value);
        match (step, errno) {
            (Step::Join, libc::EINVAL) => Refusal::Threads,
            (Step::Join, _) => Refusal::NotOurs,
            (Step::Seal, _) => Refusal::Unsealed,
            (Step::UseCapability, _) => {
                if is(APPARMOR, "1") {
                    Refusal::AppArmor
                } else {
                    Refusal::Sandboxed
                }
            }
            (Step::Unshare, _) if is("kernel/unprivileged_userns_clone", "0") => Refusal::CloneForbidden,
            (Step::Unshare, _) if is("user/max_user_namespaces", "0") => Refusal::NoneAllowed,
            (Step::Unshare, libc::ENOSPC | libc::EUSERS) => Refusal::TooMany,
            (Step::Unshare, libc::EINVAL | libc::ENOSYS) => {
                if setting("user/max_user_namespaces").is_none() {
                    Refusal::NotBuilt
                } else {
                    Refusal::Threads
                }
            }
            (Step::Unshare, _) if is(APPARMOR, "1") => Refusal::AppArmor,
            (Step::Unshare, _) => Refusal::Sandboxed,
        }
    }

    /// Says what to do; each line stands alone.
    pub fn mends(self) -> Vec<String> {
        let line = |text: &str| vec![text.to_owned()];
        match self {
            Refusal::CloneForbidden => line(
                "as an administrator, run `sysctl -w kernel.unprivileged_userns_clone=1`, and put that setting into \
                 /etc/sysctl.d/50-rcompose.conf to keep it",
            ),
            Refusal::NoneAllowed => line(
                "as an administrator, run `sysctl -w user.max_user_namespaces=15000`, and put that setting into \
                 /etc/sysctl.d/50-rcompose.conf to keep it",
            ),
            Refusal::TooMany => {
                line("as an administrator, raise it: `sysctl -w user.max_user_namespaces=100000`")
            }
            Refusal::AppArmor => {
                let binary = std::env::current_exe().unwrap_or_else(|_| "/usr/local/bin/rcompose".into());
                vec![
                    format!(
                        "as an administrator, write `abi <abi/4.0>, profile rcompose {} flags=(unconfined) {{ userns, \
                         }}` into /etc/apparmor.d/rcompose and run `apparmor_parser -r /etc/apparmor.d/rcompose`",
                        binary.display()
                    ),
                    "or lift the restriction for all programs: `sysctl -w \
                     kernel.apparmor_restrict_unprivileged_userns=0`"
                        .into(),
                ]
            }
            Refusal::Sandboxed => line(
                "inside a container, start that container with `--security-opt seccomp=unconfined --security-opt \
                 apparmor=unconfined --security-opt systempaths=unconfined`; inside a chroot, leave it",
            ),
            Refusal::NotBuilt => line("boot a kernel with CONFIG_USER_NS=y"),
            Refusal::NotOurs => {
                line("run the command as the user who started the other projects, and not inside a sandbox")
            }
            Refusal::Unsealed => line(
                "if this file was replaced while it ran, run the command again; otherwise install rcompose where only an \
                 administrator can write to it, as in /usr/local/bin",
            ),
            Refusal::Threads => line("this is a fault of rcompose: please report it"),
        }
    }
}

/// The switch of Ubuntu's restriction, below `/proc/sys`.
pub(super) const APPARMOR: &str = "kernel/apparmor_restrict_unprivileged_userns";

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::CloneForbidden => "`kernel.unprivileged_userns_clone` is 0",
            Refusal::NoneAllowed => "`user.max_user_namespaces` is 0",
            Refusal::TooMany => "all namespaces that `user.max_user_namespaces` allows are in use",
            Refusal::AppArmor => {
                "AppArmor takes away their capabilities (`kernel.apparmor_restrict_unprivileged_userns` is 1)"
            }
            Refusal::Sandboxed => "this process runs in a sandbox that forbids it",
            Refusal::NotBuilt => "this kernel has no user namespaces",
            Refusal::NotOurs => "the namespace of the running projects cannot be entered",
            Refusal::Unsealed => "the rcompose that runs cannot be kept from being written to by containers",
            Refusal::Threads => "the process that was to enter it has threads, or is in it already",
        })
    }
}

/// Reads a setting of the running kernel.
pub(super) fn setting(name: &str) -> Option<String> {
    std::fs::read_to_string(format!("/proc/sys/{name}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(step: Step, errno: i32, settings: &[(&str, &str)], expected: Refusal) {
        let found = Refusal::find(step, errno, |name| {
            settings.iter().find(|(key, _)| *key == name).map(|(_, value)| format!("{value}\n"))
        });
        assert_eq!(found, expected);
        assert!(!found.mends().is_empty());
    }

    #[test]
    fn each_cause_is_told_apart() {
        use Refusal::*;
        use Step::*;
        check(Unshare, libc::EPERM, &[("kernel/unprivileged_userns_clone", "0")], CloneForbidden);
        check(Unshare, libc::ENOSPC, &[("user/max_user_namespaces", "0")], NoneAllowed);
        check(Unshare, libc::ENOSPC, &[("user/max_user_namespaces", "5")], TooMany);
        check(Unshare, libc::EPERM, &[(APPARMOR, "1")], AppArmor);
        check(UseCapability, libc::EPERM, &[(APPARMOR, "1")], AppArmor);
        check(Unshare, libc::EPERM, &[("kernel/unprivileged_userns_clone", "1"), (APPARMOR, "0")], Sandboxed);
        check(Unshare, libc::EINVAL, &[], NotBuilt);
        check(Unshare, libc::EINVAL, &[("user/max_user_namespaces", "9")], Threads);
        check(Join, libc::EPERM, &[], NotOurs);
        check(Seal, libc::ENOSYS, &[], Unsealed);
    }
}
