//! The command under test on a terminal of its own, as a user types it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::{Project, soon};

/// A command and the terminal that it runs on; everything that it writes is collected.
pub struct Terminal {
    child: Child,
    master: File,
    seen: Arc<Mutex<Vec<u8>>>,
}

/// The command, started by another.
fn through(project: &Project, starter: &[&str], inner: Command) -> Command {
    let mut command = Command::new(starter[0]);
    command.args(&starter[1..]).arg(inner.get_program()).args(inner.get_args()).current_dir(project.path());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The command, which hears SIGINT though whoever runs the tests ignores it, as what shells start behind `&` does.
pub fn interruptible(project: &Project, command: Command) -> Command {
    through(project, &["env", "--default-signal=INT"], command)
}

impl Terminal {
    /// Starts the command; the terminal controls it, so Ctrl-C reaches it.
    pub fn start(project: &Project, arguments: &[&str]) -> Terminal {
        let ends = nix::pty::openpty(None, None).expect("a terminal");
        let inner = interruptible(project, project.command(arguments));
        let mut command = through(project, &["setsid", "--ctty", "--wait"], inner);
        command.env("TERM", "xterm");
        let stream = || Stdio::from(ends.slave.try_clone().expect("a descriptor"));
        let child = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().expect("setsid starts");
        // The command holds copies: the end is seen when the last program has closed the terminal.
        drop((command, ends.slave));
        let seen = Arc::new(Mutex::new(Vec::new()));
        collect(ends.master.try_clone().expect("a descriptor"), seen.clone());
        Terminal { child, master: File::from(ends.master), seen }
    }

    /// Types.
    pub fn types(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("typed");
    }

    /// What has been written until now.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().expect("whole")).into_owned()
    }

    /// Waits until something has been written.
    #[track_caller]
    pub fn shows(&self, what: &str) {
        soon(&format!("the terminal shows {what:?}"), || self.text().contains(what));
    }

    /// Waits for the command's end; returns its exit code and all that was written.
    pub fn end(mut self) -> (Option<i32>, String) {
        let mut status = None;
        soon("the command ends", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        // The collector holds the other copy until the terminal is closed on the far side.
        soon("the terminal is read to its end", || Arc::strong_count(&self.seen) == 1);
        (status.expect("ended").code(), self.text())
    }
}

fn collect(master: OwnedFd, seen: Arc<Mutex<Vec<u8>>>) {
    std::thread::spawn(move || {
        let mut master = File::from(master);
        let mut bytes = [0; 4096];
        // EIO: nobody has the terminal open any more.
        while let Ok(length @ 1..) = master.read(&mut bytes) {
            seen.lock().expect("whole").extend_from_slice(&bytes[..length]);
        }
    });
}
