//! A step: one instruction with everything expanded.

use crate::build::dockerfile::{Chmod, Network, Security, Sharing, Span};

use super::{Origin, Repository};

/// One instruction of a stage.
#[derive(Clone, Debug)]
pub struct Step {
    /// Where it stands in the Dockerfile; the place of `FROM` for a trigger of the base.
    pub at: Span,
    /// The last line of it.
    pub end_line: u32,
    /// The instruction, expanded, for output: `COPY a.txt /srv/`.
    pub title: String,
    /// Whether it is a trigger of the base image or stage.
    pub on_build: bool,
    /// The line of history, when it leaves one.
    pub created_by: Option<String>,
    /// What it does to files.
    pub action: Action,
}

/// What a step does to files.
#[derive(Clone, Debug)]
pub enum Action {
    /// Nothing: it only changes the configuration. Its line of history has no layer.
    Nothing,
    /// Runs a process.
    Run(Box<Run>),
    /// Copies files.
    Copy(Box<Copy>),
    /// `WORKDIR`: makes a directory, and those above it, where there is none.
    MakeDirectory {
        /// Absolute.
        path: String,
        /// Who owns what is made: the `USER` of that moment; empty is root.
        owner: String,
    },
}

/// A process to run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The program and its arguments, the shell included.
    pub args: Vec<String>,
    /// Its environment, in order, each name once; build arguments included.
    pub env: Vec<(String, String)>,
    /// More environment that makes no difference: the predefined proxy arguments, which are not part of the cache key.
    pub proxy: Vec<(String, String)>,
    /// `USER`; empty is root.
    pub user: String,
    /// Absolute.
    pub workdir: String,
    /// What is mounted, in order.
    pub mounts: Vec<Mount>,
    /// Here-documents that are programs of their own: mounted read-only, executable.
    pub scripts: Vec<Script>,
    /// `--network`
    pub network: Network,
    /// `--security`
    pub security: Security,
}

/// A here-document that the step runs as a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Where the process sees it: `/dev/pipes/NAME`.
    pub path: String,
    /// What is in it.
    pub content: Vec<u8>,
}

/// A mount of a `RUN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is written.
    pub at: Span,
    /// What it is.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// Files of elsewhere. What is written to them is lost.
    Bind(Bind),
    /// A directory that survives.
    Cache {
        /// Absolute.
        target: String,
        /// Who has the same id has the same directory.
        id: String,
        /// With whom at once.
        sharing: Sharing,
        /// Whether it may not be written to.
        read_only: bool,
        /// What a new one begins with.
        seed: Option<(Origin, String)>,
        /// Mode of a new one.
        mode: u32,
        /// Owner of a new one.
        uid: u32,
        /// Group of a new one.
        gid: u32,
    },
    /// Memory.
    Tmpfs {
        /// Absolute.
        target: String,
        /// In bytes.
        size: Option<u64>,
    },
    /// A secret.
    Secret {
        /// Its name.
        id: String,
        /// The file, absolute, unless there is only a variable.
        target: Option<String>,
        /// The variable.
        env: Option<String>,
        /// Whether the build fails without it.
        required: bool,
        /// Mode of the file.
        mode: u32,
        /// Owner of the file.
        uid: u32,
        /// Group of the file.
        gid: u32,
    },
    /// The socket of an agent; the process finds its path in `SSH_AUTH_SOCK`.
    Ssh {
        /// Its name, `default` when none is written.
        id: String,
        /// The socket, absolute: `/run/buildkit/ssh_agent.N` when none is written.
        target: String,
        /// Whether the build fails without it.
        required: bool,
        /// Mode of the socket.
        mode: u32,
        /// Owner of the socket.
        uid: u32,
        /// Group of the socket.
        gid: u32,
    },
}

/// A bind mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Absolute.
    pub target: String,
    /// Whose files.
    pub from: Origin,
    /// Which of them, absolute; `/` is all.
    pub source: String,
    /// Whether they may not be written to.
    pub read_only: bool,
}

/// Files to copy.
#[derive(Clone, Debug)]
pub struct Copy {
    /// Whose files.
    pub from: Origin,
    /// What, in order.
    pub sources: Vec<Source>,
    /// Absolute. It ends with `/` (or `/.`) when it is meant to be a directory.
    pub destination: String,
    /// `--chown`: `user[:group]`, names or numbers; without, 0:0.
    pub chown: Option<String>,
    /// Where it is written.
    pub chown_at: Option<Span>,
    /// `--chmod`
    pub chmod: Option<Chmod>,
    /// `--link`
    pub link: bool,
    /// `--parents`
    pub parents: bool,
    /// `--exclude`: patterns as in `.dockerignore`.
    pub exclude: Vec<String>,
    /// Whether archives are unpacked: `ADD` of local ones, or `--unpack`.
    pub unpack: Unpack,
}

/// What happens to archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpack {
    /// They are files: `COPY`, `--unpack=false`.
    Never,
    /// Those of the context are unpacked, downloads are not: `ADD`.
    Local,
    /// All are: `--unpack=true`.
    Always,
}

/// Something to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A path or pattern, from the root of the origin.
    Path {
        /// Begins with `/` (`/./` in it is the pivot of `--parents`).
        pattern: String,
        /// Where it is written.
        at: Span,
    },
    /// A here-document.
    Inline {
        /// The file's name when the destination is a directory.
        name: String,
        /// What is in it, expanded.
        content: Vec<u8>,
    },
    /// A file of the web.
    Url {
        /// `http://` or `https://`
        url: String,
        /// The file's name when the destination is a directory.
        name: String,
        /// `--checksum`: `sha256:…`
        checksum: Option<String>,
        /// Where it is written.
        at: Span,
    },
    /// A repository.
    Git {
        /// What to clone.
        repository: Repository,
        /// Where it is written.
        at: Span,
    },
}
