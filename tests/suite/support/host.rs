//! What this host can do. A test that needs what is not there says so and is passed over; in CI that is a failure.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Something that not every host offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// A user namespace can be made and things mounted in it.
    UserNamespaces,
    /// More than one id: root, or a user with a line in /etc/subuid.
    ManyIds,
    /// `ldd`, which says what libraries programs need.
    Ldd,
    /// python3 in /usr/bin.
    Python,
    /// The real root of the host.
    Root,
    /// `ip` of iproute2, to make networks for a test.
    Iproute,
    /// systemd with control groups of version 2, and its manager for this user.
    Systemd,
    /// Control groups that this user may have: systemd's, or for root those that are mounted.
    Limits,
}

impl Capability {
    /// Whether it is here.
    pub fn present(self) -> bool {
        match self {
            Capability::UserNamespaces => Command::new("unshare")
                .args(["--user", "--map-root-user", "--mount", "true"])
                .output()
                .is_ok_and(|output| output.status.success()),
            Capability::ManyIds => is_root() || has_subordinate_ids(),
            Capability::Ldd => {
                Command::new("ldd").arg("/bin/sh").output().is_ok_and(|out| out.status.success())
            }
            Capability::Python => Path::new("/usr/bin/python3").exists(),
            Capability::Root => is_root(),
            Capability::Systemd => {
                Path::new("/run/systemd/system").exists()
                    && Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
                    && match nix::unistd::geteuid() {
                        root if root.is_root() => Path::new("/run/dbus/system_bus_socket").exists(),
                        user => Path::new(&format!("/run/user/{user}/bus")).exists(),
                    }
            }
            Capability::Limits => {
                let mounted = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/cgroup.controllers"];
                Capability::Systemd.present()
                    || is_root() && mounted.into_iter().any(|path| Path::new(path).exists())
            }
            Capability::Iproute => Command::new("ip").arg("-V").output().is_ok(),
        }
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn has_subordinate_ids() -> bool {
    let name = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().map(|user| user.name);
    let text = std::fs::read_to_string("/etc/subuid").unwrap_or_default();
    name.is_some_and(|name| text.lines().any(|line| line.starts_with(&format!("{name}:"))))
        && Path::new("/usr/bin/newuidmap").exists()
}

/// Whether the test can run here. Root and many ids depend on who runs the tests: `.ci/run` runs them as every kind of
/// user, so only the others are a failure in CI.
#[expect(clippy::print_stderr, reason = "a test that is passed over says why")]
pub fn needs(capabilities: &[Capability]) -> bool {
    for capability in capabilities {
        if !capability.present() {
            // Those of the user, and those of the machine that no package brings.
            let depends_on_user = matches!(
                capability,
                Capability::Root | Capability::ManyIds | Capability::Systemd | Capability::Limits
            );
            assert!(
                depends_on_user || std::env::var_os("CI").is_none(),
                "this host lacks {capability:?}, which CI must have"
            );
            eprintln!("passed over: this host lacks {capability:?}");
            return false;
        }
    }
    true
}

/// A network namespace of the test's own, which stands for a host and the world around it.
pub struct OwnNetwork {
    holder: Child,
}

impl OwnNetwork {
    /// Makes one whose loopback carries this address too.
    pub fn new(address: &str) -> OwnNetwork {
        let script = format!(
            "ip link set lo up && ip address add {address}/32 dev lo && echo ready && exec sleep 1000"
        );
        let mut command = Command::new("unshare");
        if !is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--net", "sh", "-c", &script]).stdout(Stdio::piped());
        let mut holder = command.spawn().expect("unshare starts");
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n");
        OwnNetwork { holder }
    }

    /// The same command, inside.
    pub fn enter(&self, inner: &Command) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.holder.id().to_string());
        if !is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg("--net").arg("--").arg(inner.get_program()).args(inner.get_args());
        if let Some(directory) = inner.get_current_dir() {
            command.current_dir(directory);
        }
        take_environment(&mut command, inner);
        command
    }
}

/// A small disk of the test's own, in a mount namespace of its own. Needs the host's root.
pub struct OwnDisk {
    holder: Child,
}

impl OwnDisk {
    /// Makes one of so many bytes at a directory.
    pub fn new(directory: &Path, bytes: u64) -> OwnDisk {
        std::fs::create_dir_all(directory).expect("a directory");
        let script = format!("mount -t tmpfs -o size={bytes} tmpfs \"$1\" && echo ready && exec sleep 1000");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script, "sh"]).arg(directory).stdout(Stdio::piped());
        let mut holder = command.spawn().expect("unshare starts");
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n");
        OwnDisk { holder }
    }

    /// The process that holds it.
    pub fn holder(&self) -> i32 {
        i32::try_from(self.holder.id()).expect("a pid")
    }

    /// The same path, seen from outside.
    pub fn outside(&self, path: &Path) -> std::path::PathBuf {
        let root = format!("/proc/{}/root", self.holder.id());
        Path::new(&root).join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The same command, inside.
    pub fn enter(&self, inner: &Command) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.holder.id().to_string()).arg("--mount");
        if let Some(directory) = inner.get_current_dir() {
            command.arg(format!("--wdns={}", directory.display()));
        }
        command.arg("--").arg(inner.get_program()).args(inner.get_args());
        take_environment(&mut command, inner);
        command
    }
}

impl Drop for OwnDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn take_environment(command: &mut Command, inner: &Command) {
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
}

impl Drop for OwnNetwork {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
