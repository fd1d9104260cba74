//! Real containers, under a real keeper. They need user namespaces and nothing else.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use super::testing::{Keeper, read_all};
use crate::runtime::create::{self, Handles};
use crate::runtime::exec::{self, Talk, Target};
use crate::runtime::spec::*;

mod containers;
mod keeping;

/// Runs a script in a container that `change` has its way with; checks output and code.
pub fn check(change: impl Fn(&mut ContainerSpec), script: &str, expected: (&str, i32)) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let Some(mut keeper) = Keeper::start_new() else { return };
    let mut spec = keeper.spec(&format!("c{}", COUNT.fetch_add(1, Ordering::Relaxed)), script);
    change(&mut spec);
    let (output, code) = keeper.run(&spec);
    assert_eq!((output.as_str(), code), expected, "{script}");
}

pub fn as_usual(_: &mut ContainerSpec) {}

pub fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// Whether the outer user namespace of these tests maps more than one id.
pub fn has_more_ids() -> bool {
    let name = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|user| user.name);
    let listed = |name: String| {
        fs::read_to_string("/etc/subuid")
            .is_ok_and(|text| text.lines().any(|line| line.starts_with(&format!("{name}:"))))
    };
    is_root() || name.is_some_and(listed)
}

pub fn pidfd(pid: i32) -> OwnedFd {
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("it lives")
}

pub fn kill(pid: i32, signal: i32) {
    crate::sys::process::kill(pid, signal).expect("it lives");
}

/// Starts a container that waits for SIGTERM, and waits until it is ready.
pub fn start_sleeper(
    keeper: &mut Keeper,
    id: &str,
    change: impl Fn(&mut ContainerSpec),
) -> (ContainerSpec, i32) {
    let mut spec = keeper.spec(id, "trap 'exit 3' TERM; echo ready; while :; do sleep 1000 & wait; done");
    change(&mut spec);
    let started =
        keeper.launch(id, create::operations(&spec, Handles::default()).expect("a launch")).expect("started");
    let mut line = [0; 6];
    fs::File::from(started.descriptors["out"].try_clone().expect("a copy"))
        .read_exact(&mut line)
        .expect("a line");
    assert_eq!(&line, b"ready\n");
    (spec, started.pid)
}

pub fn exec_in(
    keeper: &mut Keeper,
    spec: &ContainerSpec,
    pid: i32,
    argv: &[&str],
    user: &str,
) -> (String, i32) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let id = format!("exec{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let argv = argv.iter().map(ToString::to_string).collect();
    let process = Process { argv, user: user.into(), ..spec.process.clone() };
    let target = Target {
        process: pidfd(pid),
        namespaces: &spec.namespaces,
        user_namespace: &spec.user_namespace,
        cgroup: &[],
        privileged: false,
    };
    let prepared = exec::operations(&process, target, Talk::Pipes { stdin: false }).expect("a launch");
    match keeper.exec(&id, &spec.id.0, prepared) {
        Ok(mut started) => {
            let out = read_all(started.descriptors.remove("out").expect("out"));
            let err = read_all(started.descriptors.remove("err").expect("err"));
            (out + &err, keeper.exit(&id).code.expect("known"))
        }
        Err((code, message)) => (message, code),
    }
}
