//! Refuses binds whose sources are not there and cannot be made, before anything is made.
//!
//! A source that is missing becomes a directory, as Docker has it. That needs a place to make it in; and it is never what is
//! meant where the source is a socket.

use std::fs::{metadata, symlink_metadata};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::desired::placed;
use super::project::Project;
use crate::compose::model::{ServiceVolume, VolumeType};
use crate::host::idmap::{IdMap, Range};
use crate::host::userns::{Facts, Mapping};
use crate::plan::desired::{Desired, Service};
use crate::plan::unsupported::NO_ENGINE;
use crate::report::{Exit, Report};

/// Sockets of engines that start containers: nobody listens there for us.
const ENGINES: [&str; 4] = ["docker.sock", "containerd.sock", "podman.sock", "crio.sock"];

/// Refuses every bind of a wish that cannot be had.
pub(super) fn check(project: &Project, wish: &Desired, host: &Facts) -> Result<(), Report> {
    let map = Mapping::of(host).map;
    let all = wish.services.values().flat_map(|service| {
        service.binds().filter_map(|path| {
            let report = refusal(service, path, &map)?;
            Some(placed(project, report.about(place(project, &service.name, path))))
        })
    });
    let mut all = all.collect::<Vec<_>>().into_iter();
    all.next().map_or(Ok(()), |first| Err(first.and(all)))
}

/// Where the source of a bind is written.
fn place(project: &Project, service: &str, path: &Path) -> String {
    let is_it = |volume: &ServiceVolume| {
        volume.kind == VolumeType::Bind
            && project.working_dir.join(volume.source.as_deref().unwrap_or_default()) == path
    };
    let written = project.services.get(service);
    match written.and_then(|written| written.volumes.iter().position(is_it)) {
        Some(index) => format!("services.{service}.volumes.{index}.source"),
        None => format!("services.{service}.volumes"),
    }
}

fn refusal(service: &Service, path: &Path, map: &IdMap) -> Option<Report> {
    let Err(error) = metadata(path) else { return None };
    if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) {
        // What this process may not see may be seen in the user namespace, where the supervisor is.
        return None;
    }
    let missing = format!("service `{}` binds `{}`, which does not exist", service.name, path.display());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if ENGINES.contains(&&*name) {
        let report = Report::new(Exit::File, missing).cause(NO_ENGINE);
        return Some(report.hint("leave it out, and whatever of this service needs a container engine"));
    }
    if name.ends_with(".sock") {
        let report = Report::new(Exit::File, missing)
            .cause("nothing listens there, and a socket cannot be made for it");
        return Some(
            report.hint("start what listens there first, or bind the directory in which the socket will be"),
        );
    }
    if service.must_exist.iter().any(|must| must == path) {
        let hint = "make it, or set `create_host_path: true` to have a directory made";
        return Some(Report::new(Exit::File, missing).hint(hint));
    }
    let cause = obstacle(path, map)?;
    let report = Report::new(Exit::File, format!("{missing} and cannot be made")).cause(cause);
    Some(report.hint("make it as somebody who may, or bind a path in a directory that is yours"))
}

/// Why a directory cannot be made with its parents, where that can be known.
fn obstacle(path: &Path, map: &IdMap) -> Option<String> {
    let there = path.ancestors().skip(1).find(|parent| symlink_metadata(parent).is_ok())?;
    let shown = there.display();
    let Ok(parent) = metadata(there) else {
        return Some(format!("`{shown}` is a link that leads nowhere"));
    };
    if !parent.is_dir() {
        return Some(format!("`{shown}` is no directory"));
    }
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    let errno = accessat(CWD, there, wanted, AtFlags::EACCESS).err()?;
    let error = Error::from(errno);
    // Whoever is root of the user namespace may write to what belongs to its ids, whatever the mode.
    let ours = holds(&map.uids, parent.uid()) && holds(&map.gids, parent.gid());
    (error.kind() != ErrorKind::PermissionDenied || !ours)
        .then(|| format!("cannot write to `{shown}`: {error}"))
}

/// Whether an id of the host is one of the user namespace.
fn holds(ranges: &[Range], id: u32) -> bool {
    ranges.iter().any(|range| id.checked_sub(range.outside).is_some_and(|above| above < range.count))
}
