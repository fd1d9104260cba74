//! Whether what runs ends when its user logs out.

use std::fs;
use std::path::Path;

/// Where logind remembers whose manager stays (loginctl(1), enable-linger): an empty file named for the user.
const LINGER: &str = "/var/lib/systemd/linger";

/// Returns whether a process ends with its user's last session: it is in a scope of the user's manager, which systemd
/// then stops with all that it started, and nobody has asked for that manager to stay.
pub fn ends_at_logout(process: i32, uid: u32, user: &str) -> bool {
    let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap_or_default();
    is_below_manager(&groups, uid) && !Path::new(LINGER).join(user).exists()
}

/// Reads the lines `ID:CONTROLLERS:PATH` of cgroups(7).
fn is_below_manager(groups: &str, uid: u32) -> bool {
    let manager = format!("user@{uid}.service");
    groups
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .any(|path| path.split('/').any(|part| part == manager))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_user_manager_has_started_goes_with_it() {
        let check = |groups, uid, expected| assert_eq!(is_below_manager(groups, uid), expected, "{groups}");
        let scope =
            "0::/user.slice/user-5.slice/user@5.service/app.slice/rcompose-p-7.scope/rcompose.keeper\n";
        check(scope, 5, true);
        check(scope, 50, false);
        check("0::/user.slice/user-5.slice/session-3.scope\n", 5, false);
        check("0::/system.slice/rcompose-p-7.scope\n", 0, false);
        check("4:memory:/a\n1:name=systemd:/user.slice/user-5.slice/user@5.service/x:y\n0::/\n", 5, true);
        check("", 5, false);
    }
}
