//! A process that copies files of a container and is no program of it: it stands in the container's root and in none of
//! its other namespaces, so nobody in there sees it, unless the container sees the host's processes.

use std::error::Error as _;
use std::os::fd::OwnedFd;

use super::create::{self, Handles, Prepared};
use super::error::{Error, failed};
use super::operations::{Launch, Namespace, Operation, Stdio, Stream};
use super::spec::{ContainerSpec, Network, Share};
use crate::host::tree::Job;
use crate::sys::process::{close_all_from, exit_at_once, reset_signals};

/// Lists the operations for a container that runs; `process` is the pidfd of one of its own.
pub fn of_running(process: OwnedFd, job: Job, streams: [Option<OwnedFd>; 3]) -> Prepared {
    let operations = vec![
        Operation::Undumpable,
        Operation::Join { process: 0, name: None, namespaces: vec![Namespace::Mount] },
        Operation::Files(job),
    ];
    let none = Stdio { stdin: Stream::Null, stdout: Stream::Null, stderr: Stream::Null, terminal: false };
    let launch = Launch { new: Vec::new(), pid_namespace_of: None, stdio: none, operations };
    Prepared { launch, descriptors: vec![process] }.with_streams(streams)
}

/// Lists the operations for a container that does not run: its root and its mounts are made for this process alone.
///
/// The caller sees to it that it is not started meanwhile: two overlays must not share their upper directory.
pub fn of_stopped(spec: &ContainerSpec, job: Job, streams: [Option<OwnedFd>; 3]) -> Result<Prepared, Error> {
    let mut spec = ContainerSpec { tty: false, init: false, stdin_open: false, ..spec.clone() };
    // Of what belongs to other containers, or to the whole host, nothing is needed.
    spec.namespaces.network = Network::None;
    let namespaces = &mut spec.namespaces;
    for share in [&mut namespaces.pid, &mut namespaces.ipc, &mut namespaces.uts, &mut namespaces.cgroup] {
        *share = Share::Private;
    }
    spec.sysctls.clear();
    let mut prepared = create::operations(&spec, Handles::default())?;
    let operations = &mut prepared.launch.operations;
    let end = operations.iter().position(|operation| *operation == Operation::PivotRoot);
    operations.truncate(end.map_or(0, |place| place + 1));
    operations.push(Operation::Files(job));
    Ok(prepared.with_streams(streams))
}

/// Copies, and ends this process. Why it could not is said on standard error, to whoever reads the other streams.
pub(super) fn copy(job: &Job) -> Result<(), Error> {
    // To the keeper that is what exec is: no failure came before. And nobody's pipe is held open by us.
    close_all_from(3).map_err(failed("close", "inherited descriptors"))?;
    reset_signals();
    // Nobody is left to be told if this fails.
    let say = |text: String| _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
    let code = match job.perform() {
        Ok(remark) => {
            remark.into_iter().for_each(|remark| say(remark.to_string()));
            0
        }
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            say(format!("{error}{cause}"));
            1
        }
    };
    exit_at_once(code)
}
