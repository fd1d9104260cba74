//! Looks at the machine. Decides nothing.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};

use super::inside::Trials;
use crate::host::files::{self, failed};
use crate::host::paths::Paths;
use crate::host::userns::{self, Facts, Mapping, Program, Target, spawn_inside};
use crate::report::Report;

/// What was seen.
#[derive(Clone, Debug)]
pub struct Observations {
    /// `uname -r`.
    pub release: String,
    /// The user's name and id.
    pub user: (String, u32),
    /// The id map that the user gets.
    pub mapping: Mapping,
    /// What worked inside a user namespace, or why there is none.
    pub trials: Result<Trials, Report>,
    /// `net.ipv4.ip_unprivileged_port_start`.
    pub first_free_port: Option<u32>,
    /// Whether systemd ends the user's processes with the last session, which lingering prevents.
    pub ends_at_logout: bool,
}

/// Looks. `own` is our binary up to and with the hidden command that calls [`inside`](fn@super::inside) on the directory given
/// as its one argument and prints the result as JSON; it is started as [`userns::own_binary`] describes.
pub fn observe(paths: &Paths, own: Command) -> Result<Observations, userns::Error> {
    let facts = Facts::read()?;
    let mapping = Mapping::of(&facts);
    let setting = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).ok();
    let systemd = fs::exists("/run/systemd/system").unwrap_or(false);
    let lingers = fs::exists(format!("/var/lib/systemd/linger/{}", facts.user)).unwrap_or(false);
    Ok(Observations {
        release: rustix::system::uname().release().to_string_lossy().into_owned(),
        trials: try_inside(paths, &mapping, own).map_err(Report::from),
        first_free_port: setting("net/ipv4/ip_unprivileged_port_start")
            .and_then(|text| text.trim().parse().ok()),
        ends_at_logout: systemd && !lingers && facts.uid != 0,
        user: (facts.user, facts.uid),
        mapping,
    })
}

/// Has a child try in a directory beside the volumes and images, which it leaves empty.
fn try_inside(paths: &Paths, mapping: &Mapping, own: Command) -> Result<Trials, userns::Error> {
    let images = paths.images();
    let data = images.parent().unwrap_or(&images);
    files::make_private_dir(data)?;
    let directory = tempfile::Builder::new()
        .prefix(".probe-")
        .tempdir_in(data)
        .map_err(failed("create directory in", data))?;
    let mut command = own;
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let program = Program { command, args: vec![directory.path().into()], stdin: None, fds: Vec::new() };
    let mut child = spawn_inside(&Target::New, mapping, program)?;
    let mut text = String::new();
    let read = match child.stdout.take() {
        Some(mut stdout) => stdout.read_to_string(&mut text),
        None => Ok(0),
    };
    let status = child.wait().ok();
    read.map_err(|source| userns::Error::Broken { status, source })?;
    // The kernel leaves work/work with mode 000, which only the mapped root may remove: its owner may change that.
    let _ = open_up(directory.path());
    let line = text.lines().rev().find(|line| line.starts_with('{')).unwrap_or_default();
    serde_json::from_str(line).map_err(|error| userns::Error::Broken { status, source: error.into() })
}

fn open_up(directory: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    for entry in fs::read_dir(directory)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o700))?;
            open_up(&entry.path())?;
        }
    }
    Ok(())
}
