//! From a [`Process`] to the operations that run it in a container that is already there.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::create::{Prepared, become_program};
use super::error::Error;
use super::operations::{Launch, Namespace, Operation, Stdio, Stream};
use super::spec::{Namespaces, Network, Process, Share, UserNamespace};

/// The running container.
#[derive(Debug)]
pub struct Target<'a> {
    /// Pidfd of its main process.
    pub process: OwnedFd,
    /// As in its spec.
    pub namespaces: &'a Namespaces,
    /// As in its spec.
    pub user_namespace: &'a UserNamespace,
    /// `cgroup.procs` files of its cgroup.
    pub cgroup: &'a [PathBuf],
    /// All capabilities and no filter: that of the container, or asked for this process.
    pub privileged: bool,
}

/// How an exec talks to the world.
#[derive(Debug)]
pub enum Talk {
    /// A terminal of the container; its master comes with `Started`.
    Terminal,
    /// Pipes, whose other ends come with `Started`; standard input only if asked for.
    Pipes {
        /// A pipe, else `/dev/null`.
        stdin: bool,
    },
    /// Descriptors of the caller's; `/dev/null` where `None`.
    Descriptors([Option<OwnedFd>; 3]),
}

/// Lists the operations of an exec, a probe or a hook.
///
/// The caller is in the outer user namespace. A namespace of the host is not joined: the process is in it.
pub fn operations(process: &Process, target: Target<'_>, talk: Talk) -> Result<Prepared, Error> {
    const CONTAINER: usize = 0;
    let mut operations = Vec::new();
    if let Some(score) = process.oom_score_adj {
        operations.push(Operation::OomScore(score));
    }
    // Host paths: before the container's mounts are joined.
    operations.extend(target.cgroup.iter().map(|procs| Operation::JoinCgroup { procs: procs.clone() }));
    // Before the process can be seen from inside.
    operations.push(Operation::Undumpable);
    let join = |namespaces| Operation::Join { process: CONTAINER, name: None, namespaces };
    operations.push(join(joined(target.namespaces)));
    let terminal = matches!(talk, Talk::Terminal);
    if terminal {
        operations.push(Operation::Terminal { console: false });
    }
    let nested = match target.user_namespace {
        UserNamespace::Outer => None,
        // Last: the others belong to the outer one.
        UserNamespace::Single { .. } => Some(join(vec![Namespace::User])),
    };
    become_program(process, target.privileged, nested, false, &mut operations)?;
    let stdio = match talk {
        Talk::Pipes { stdin } => Stdio {
            stdin: if stdin { Stream::Pipe } else { Stream::Null },
            stdout: Stream::Pipe,
            stderr: Stream::Pipe,
            terminal,
        },
        Talk::Terminal | Talk::Descriptors(_) => {
            Stdio { stdin: Stream::Null, stdout: Stream::Null, stderr: Stream::Null, terminal }
        }
    };
    // Whoever shares the host's pid namespace needs none joined; all others are born in the container's.
    let pid_namespace_of = (target.namespaces.pid != Share::Host).then_some(CONTAINER);
    let launch = Launch { new: Vec::new(), pid_namespace_of, stdio, operations };
    let prepared = Prepared { launch, descriptors: vec![target.process] };
    Ok(match talk {
        Talk::Descriptors(streams) => prepared.with_streams(streams),
        Talk::Terminal | Talk::Pipes { .. } => prepared,
    })
}

fn joined(namespaces: &Namespaces) -> Vec<Namespace> {
    let mut joined = vec![Namespace::Mount];
    if namespaces.network != Network::Host {
        joined.push(Namespace::Network);
    }
    for (share, namespace) in [
        (&namespaces.ipc, Namespace::Ipc),
        (&namespaces.uts, Namespace::Uts),
        (&namespaces.cgroup, Namespace::Cgroup),
    ] {
        if *share != Share::Host {
            joined.push(namespace);
        }
    }
    joined
}
