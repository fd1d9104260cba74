//! A project in a temporary directory with a state directory of its own, the command under test, what this host can do,
//! and the search for what was left behind.

mod host;
pub mod leftovers;
mod ours;
pub mod programs;
pub mod registry;
mod terminal;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub use host::{Capability, OwnDisk, OwnNetwork, needs};
pub use leftovers::processes_of;
pub use ours::{Stopped, end_supervisor, kill_both, kill_supervisor, supervisor};
pub use terminal::{Terminal, interruptible};

/// How long a command may take before the test gives up on it. Not a measure of speed: only an end to a hang.
const PATIENCE: Duration = Duration::from_secs(120);

/// The binary under test. `RCOMPOSE_BIN` names another one, for instance one that an ordinary user may read.
pub fn binary() -> PathBuf {
    std::env::var_os("RCOMPOSE_BIN")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_rcompose")), PathBuf::from)
}

/// The source tree. `RCOMPOSE_SOURCE` names a copy of it.
pub fn source_tree() -> PathBuf {
    std::env::var_os("RCOMPOSE_SOURCE")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from)
}

/// A project, taken down when it goes out of scope.
pub struct Project {
    directory: tempfile::TempDir,
    name: String,
}

/// How a command ended.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    command: String,
}

impl Ended {
    /// Insists on success and returns standard output.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}\nstdout: {}\nstderr: {}", self.command, self.stdout, self.stderr);
        self.stdout
    }

    /// Insists on success and returns standard error: what is said of progress.
    #[track_caller]
    pub fn ok_stderr(self) -> String {
        assert_eq!(self.code, Some(0), "{}\nstdout: {}\nstderr: {}", self.command, self.stdout, self.stderr);
        self.stderr
    }

    /// Insists on a failure with this code and returns standard error.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        assert_eq!(
            self.code,
            Some(code),
            "{}\nstdout: {}\nstderr: {}",
            self.command,
            self.stdout,
            self.stderr
        );
        self.stderr
    }
}

impl Project {
    /// Makes a directory with a `compose.yaml`.
    pub fn new(name: &str, compose: &str) -> Project {
        let directory = tempfile::Builder::new().prefix("rc-").tempdir().expect("a temporary directory");
        fs::create_dir(directory.path().join("p")).expect("a directory");
        let project = Project { directory, name: format!("{name}{}", std::process::id()) };
        project.write("compose.yaml", compose);
        project
    }

    /// Makes a project of a folder of the source tree, copied.
    pub fn copy(name: &str, folder: &str) -> Project {
        let project = Project::new(name, "");
        copy_tree(&source_tree().join(folder), &project.path());
        project
    }

    /// Where the Compose file is.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("p")
    }

    /// Where state, images and volumes go.
    pub fn home(&self) -> PathBuf {
        self.directory.path().join("h")
    }

    /// The project's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes a file beside the Compose file.
    pub fn write(&self, file: &str, content: &str) {
        fs::write(self.path().join(file), content).expect("written");
    }

    /// The command, not started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .current_dir(self.path())
            .env("RCOMPOSE_HOME", self.home())
            .env("COMPOSE_PROJECT_NAME", &self.name)
            .env_remove("COMPOSE_FILE")
            .env_remove("COMPOSE_PROFILES")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts the command and leaves it running.
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().expect("rcompose starts")
    }

    /// Runs the command to its end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, "")
    }

    /// Runs the command to its end with this standard input.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Ended {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped());
        let mut child = command.spawn().expect("rcompose starts");
        // The command may end without having read it all.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        ended(child, &format!("rcompose {}", arguments.join(" ")))
    }

    /// One field of the only container of a service, as `ps -a --format json` prints it.
    pub fn field(&self, service: &str, field: &str) -> String {
        let lines = self.run(&["ps", "-a", "--format", "json"]).ok();
        lines
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a JSON object a line"))
            .find(|container| container["Service"] == service)
            .map(|container| match &container[field] {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            })
            .unwrap_or_default()
    }

    /// What a service has printed, without prefixes.
    pub fn logs(&self, service: &str) -> String {
        self.run(&["logs", "--no-color", "--no-log-prefix", service]).ok()
    }

    /// Takes everything down with its volumes and insists that nothing is left anywhere.
    #[track_caller]
    pub fn leaves_nothing(&self) {
        self.run(&["--profile", "*", "down", "-v", "--remove-orphans", "-t", "0"]).ok();
        leftovers::check(self);
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if self.home().exists() {
            let ended = self.run(&["--profile", "*", "down", "-v", "--remove-orphans", "-t", "0"]);
            if ended.code != Some(0) && !std::thread::panicking() {
                panic!("down: {}", ended.stderr);
            }
            leftovers::kill_all(self);
        }
    }
}

/// Waits for the end of a process and takes what it printed.
pub fn ended(mut child: Child, command: &str) -> Ended {
    let mut streams = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        streams.0.read_to_end(&mut text).expect("read");
        text
    });
    let errors = std::thread::spawn(move || {
        let mut text = Vec::new();
        streams.1.read_to_end(&mut text).expect("read");
        text
    });
    let end = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if Instant::now() > end {
            child.kill().expect("ours");
            panic!("{command}: not ended within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ended {
        code: status.code(),
        stdout: text(reader.join().expect("read")),
        stderr: text(errors.join().expect("read")),
        command: command.to_owned(),
    }
}

/// Waits until something is true; names it when it never is.
#[track_caller]
pub fn soon(what: &str, mut check: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port()
}

/// The body of `GET path`, or why there is none.
pub fn get(port: u16, path: &str) -> Result<String, String> {
    let say = |error: std::io::Error| error.to_string();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(say)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(say)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").map_err(say)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(say)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.contains(" 200 ") => Ok(body.to_owned()),
        _ => Err(answer),
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_dir() {
            copy_tree(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
        }
    }
}
