//! rcompose runs Compose files with no daemon, no root and no other program to install.
//!
//! This page is the map: what each folder is for, who may import whom, which processes there are, and which path on
//! disk belongs to whom. It changes in the same commit as what it describes.
//!
//! # The walk of `up`
//!
//! ```text
//! files → Project → Desired → Plan → steps → kernel;   only events come back
//! ```
//!
//! | where | takes → gives | pure |
//! |---|---|---|
//! | [`cli`] | argv → options of one command | |
//! | [`ops`] | the verb: the rows below, in order | |
//! | [`compose`] `load`, `select` | files → `Project` | but the read |
//! | `ops::images`, [`image`] | names → images, pulled or loaded where missing | |
//! | [`plan`] `desired` | `Project` + images → [`plan::desired::Desired`] | yes |
//! | [`supervisor`] `spawn` | project name → a live control socket | |
//! | [`network`] `publish::bind` | host ports, bound by the user's own process before anything starts | |
//! | [`api`] | `Desired` + descriptors, one message down, notices up | |
//! | [`engine`] `observe` | disk and processes → [`plan::observed::Observed`] | |
//! | [`plan`] `reconcile` | `Desired` × `Observed` → [`plan::steps::Plan`] | yes |
//! | [`engine`] `execute` | `Plan` → one call a step, in parallel where its edges allow | |
//! | [`keeper`], [`runtime`] | list of operations → a process in its namespaces | |
//!
//! # Folders, from the user down to the kernel
//!
//! A folder imports only folders further down; `tests/suite/layers.rs` holds the table and checks it.
//!
//! | folder | what it is |
//! |---|---|
//! | [`cli`] | a file per command: its flags and what it prints; only it and [`ui`] print |
//! | [`ops`] | verbs on a whole project that know no terminal |
//! | [`supervisor`] | finds or starts keeper and supervisor; the supervisor's life |
//! | [`api`] | the words on the control socket, both ends of it, and what is read from disk without a supervisor |
//! | [`engine`] | the one loop that owns a running project; carries plans out, keeps them true |
//! | [`keeper`] | parent of all containers: forks, waits, keeps descriptors, next to no logic |
//! | [`build`] | images from Dockerfiles: parser and graph (pure), cache, execution |
//! | [`plan`] | wanted and present in, steps out; pure; the only place that sees both Compose and runtime words |
//! | [`image`] | OCI store, registry client, unpacker, archives |
//! | [`network`] | bridges, veths, DNS, published ports, the way out |
//! | [`runtime`] | containers: operations, root file system, process, seccomp, capabilities, cgroups |
//! | [`volume`] | named and anonymous volumes |
//! | [`host`] | this machine: paths, files, locks, id maps, the outer user namespace, features and their mends |
//! | [`compose`] | the Compose Specification: loader, model, errors with places; usable alone |
//! | [`ui`] | tables, progress, log lines, reports as text |
//! | [`sys`] | system calls; the only `unsafe` code; installs the crate's allocator, which the keeper lets wipe what is freed |
//! | [`event`], [`progress`], [`report`] | words that many folders speak; `report` may be used by all |
//!
//! # Processes
//!
//! ```text
//! rcompose up            the user's own; loads, pulls, binds ports; ends when it has said what it has to say
//!   ├─ image-worker      a child inside the outer user namespace: pull, load, unpack (who has entered cannot come back)
//!   └─ build-worker      the same for builds; a process with one thread, forked before it has more, forks its `RUN`s
//! rc-keeper              one per project, one thread, next to no logic: parent of everything below; outer user namespace,
//!   │                    own mount namespace; waits, stores each exit status, then reaps; keeps descriptors (pipes,
//!   │                    terminals, ports, namespaces); starts the next supervisor when one dies
//!   ├─ rc-supervisor     decides: plan, restart, probes, DNS, published ports, the way out, logs; outer user namespace,
//!   │                    the host's network namespace; a thread of its own hops through network namespaces
//!   └─ container's pid 1 …
//! ```
//!
//! One outer user namespace per user is joined by all of the user's projects. What is on disk and who owns it is the
//! table in [`host::paths`].
//!
//! # Decisions that were changed on the way
//!
//! * `report` may be imported by every folder, so that each turns its own errors into reports.
//! * A thread that has left the host's network or process namespace cannot come back, so `exec` and `pid: service:x` are
//!   forked through a process in between that hands its child to the keeper (`CLONE_PARENT`).
//! * Pipes of containers are opened for reading and writing at the container's end: it never gets SIGPIPE, even when
//!   keeper and supervisor have both died.
//! * The keeper holds the listening control socket, so no command is refused while a supervisor restarts.
//! * Layers are unpacked by chain id, not by their own digest: implied directories and hard links depend on what lies
//!   below.
//! * Netlink, nf_tables and DNS messages are encoded by [`network`] itself (a few fixed shapes); live progress is drawn
//!   by [`ui`] in one write a frame. Crates for these were tried and left.
//! * The first SYN of a fresh container was lost by the kernel's link watch, not by the gate: `ETHTOOL_GLINK` after the
//!   attachment settles the link (`network::outbound`).
//! * Standard streams of `exec` and `run` are not passed on as they are: a file, directory or terminal of the caller's in a
//!   container is a way out of it. Pipes stand in between ([`ops::process`]).
//! * Who stays with a process (`exec`, `run`, `attach`) holds its bytes itself and asks the next supervisor how it ends when
//!   one is lost. So the keeper's journal has the ends of execs as well, until the command has been told.
//! * Panics are caught in the supervisor, and only there ([`host::mishap`]): one in the work for a container is that
//!   container's failure. So the release is built with unwinding, against some size; everywhere else a panic aborts.
//! * After the death of all keepers the next enters the user namespace in which containers live on: from a new one nobody
//!   could signal those of other ids than the user's own ([`engine`] `stray`).
//! * A container with our init is entered through the program below it: the init itself may not be traced, by us neither.
//!
//! # Words
//!
//! *Project, Service, Network, Volume, Secret, Config*: as the user wrote them ([`compose`]). *Desired*: the whole wish,
//! nothing left to look up. *Observed*: what exists. *Plan, Step*: what to do, in which order, and why. *Operation*: one
//! step that turns a forked process into a container. *Report*: what every failure becomes before a user sees it.

pub mod api;
pub mod build;
pub mod cli;
pub mod compose;
pub mod engine;
pub mod event;
pub mod host;
pub mod image;
pub mod keeper;
pub mod network;
pub mod ops;
pub mod plan;
pub mod progress;
pub mod report;
pub mod runtime;
pub mod supervisor;
pub mod sys;
pub mod ui;
pub mod volume;
