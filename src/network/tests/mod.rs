//! Networks on the real kernel: each test runs as the root of a user namespace of its own, beside a network namespace
//! that plays the host's, so that any user can run it and nothing of the machine is touched.

mod forgery;
mod names;
mod places;
mod shares;
mod ways_in;
mod ways_out;

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use super::Networks;
use super::dns::names::tests::{network, on};
use super::dns::{HostResolv, Resolv};
use super::hopper::enter;
use super::links;
use super::netlink::{Batch, Socket};
use super::shares::Shares;
use super::spec::Attachment;

/// Says in the re-executed test program which stage it is.
const INSIDE: &str = "RCOMPOSE_NETWORK_TEST_INSIDE";
/// Not a measure of speed: only an end to a test that waits in vain.
const HANG: Duration = Duration::from_secs(300);
/// The same for one connection or answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// The address of the host that plays the world.
const WORLD: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// Runs a test in fresh namespaces: this program again, with only that test in it.
///
/// As in life, the user namespace in which it runs does not own the network namespace that plays the host's: the first
/// stage makes that one, the second runs the test in a user namespace below.
#[expect(clippy::print_stderr, reason = "a skipped test says what the host lacks")]
fn in_namespaces<F: Future<Output = ()>>(name: &str, test: impl FnOnce() -> F) {
    match std::env::var(INSIDE).as_deref() {
        Ok("host") => {
            prepare_host();
            again(name, &["--user", "--map-root-user"], "test");
        }
        Ok(_) => {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::time::timeout(HANG, test()).await.expect("the test ends");
            });
        }
        Err(_) => {
            let namespaces = ["--user", "--map-root-user", "--net"];
            let can = Command::new("unshare").args(namespaces).args(["unshare", "--user", "true"]).output();
            if can.is_ok_and(|output| output.status.success()) {
                again(name, &namespaces, "host");
            } else {
                eprintln!("skipped: this host has no user namespaces for this user, or no unshare(1)");
            }
        }
    }
}

#[expect(clippy::print_stderr, reason = "what was measured inside is shown when that is asked for")]
fn again(name: &str, namespaces: &[&str], stage: &str) {
    let output = Command::new("unshare")
        .args(namespaces)
        .arg("--")
        .arg(std::env::current_exe().expect("the test program"))
        .args(["--exact", &format!("network::tests::{name}"), "--nocapture"])
        .env(INSIDE, stage)
        .output()
        .expect("unshare ran a moment ago");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "inside:\n{text}");
    if std::env::var_os("RCOMPOSE_TEST_SHOW").is_some() {
        eprintln!("{text}");
    }
}

/// Gives the namespace that plays the host's an outside address.
fn prepare_host() {
    let mut batch = Batch::new();
    links::set_up(&mut batch, 1);
    let subnet = "198.51.100.0/24".parse().expect("a subnet");
    links::add_address(&mut batch, 1, WORLD, subnet);
    batch.acknowledge_last();
    Socket::route().expect("a socket").send(&batch).expect("our own namespace");
}

fn start() -> Networks {
    start_with(Resolv::default())
}

fn start_with(resolv: Resolv) -> Networks {
    Networks::start(HostResolv::fixed(resolv)).expect("threads")
}

/// With so many descriptors for all connections together.
fn start_sharing(descriptors: usize) -> Networks {
    Networks::start_with(HostResolv::fixed(Resolv::default()), Shares::new(descriptors)).expect("threads")
}

/// Attaches a fresh container.
async fn container(networks: &Networks, id: &str, attachments: &[Attachment]) -> Arc<OwnedFd> {
    let namespace = networks.container_namespace().await.expect("a namespace");
    networks.attach(id, namespace.as_fd(), attachments, true).await.expect("attached");
    Arc::new(namespace)
}

/// Runs what a program in a container would do; it may block.
async fn inside<T: Send + 'static>(namespace: &Arc<OwnedFd>, work: impl FnOnce() -> T + Send + 'static) -> T {
    let namespace = Arc::clone(namespace);
    let (reply, answer) = tokio::sync::oneshot::channel();
    // A thread of its own: it cannot come back.
    std::thread::spawn(move || {
        enter(&*namespace).expect("the container's namespace");
        drop(namespace);
        let _ = reply.send(work());
    });
    answer.await.expect("no panic inside the container")
}
