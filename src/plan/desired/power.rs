//! What gives a container rights over more than itself, where its root is the machine's.

use std::path::Path;

use crate::runtime::spec::{ContainerSpec, MountSource};

/// The attribute that does, as users write it.
pub fn power(spec: &ContainerSpec) -> Option<String> {
    if spec.privileged {
        return Some("`privileged`".to_owned());
    }
    if spec.process.capabilities.iter().any(|name| name.trim_start_matches("CAP_") == "SYS_ADMIN") {
        return Some("`SYS_ADMIN`".to_owned());
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
