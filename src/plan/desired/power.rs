//! What gives a container rights over more than itself.

use std::path::Path;

use crate::runtime::spec::{ContainerSpec, MountSource};

/// The attribute that gives it rights over all that its user has, as users write it: such a container can enter what lies
/// in the same user namespace, that is the other containers and the keeper, which sees the user's files.
pub fn power_of_user(spec: &ContainerSpec) -> Option<&'static str> {
    let is_admin = |name: &String| name.trim_start_matches("CAP_") == "SYS_ADMIN";
    match spec.privileged {
        true => Some("`privileged`"),
        false => spec.process.capabilities.iter().any(is_admin).then_some("`SYS_ADMIN`"),
    }
}

/// The attribute that gives it rights over the machine, where its root is the machine's.
pub fn power(spec: &ContainerSpec) -> Option<String> {
    if let Some(power) = power_of_user(spec) {
        return Some(power.to_owned());
    }
    spec.mounts.iter().filter(|mount| !mount.read_only).find_map(|mount| match &mount.source {
        MountSource::Bind { path, non_recursive, .. } if sets_the_machine(path, *non_recursive) => {
            Some(format!("`{}` mounted to be written to", path.display()))
        }
        _ => None,
    })
}

/// Whether a path leads to what the kernel is set by: it does not ask a user namespace who writes there (proc(5)).
fn sets_the_machine(path: &Path, non_recursive: bool) -> bool {
    ["/proc", "/sys"].iter().any(|kernel| path.starts_with(kernel))
        || (path == Path::new("/") && !non_recursive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_files_set_the_machine() {
        for (path, non_recursive, expected) in [
            ("/proc", true, true),
            ("/proc/sys/kernel", true, true),
            ("/sys", true, true),
            ("/", false, true),
            ("/", true, false),
            ("/process", false, false),
            ("/home", false, false),
        ] {
            assert_eq!(sets_the_machine(Path::new(path), non_recursive), expected, "{path}");
        }
    }
}
