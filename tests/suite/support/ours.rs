//! Keeper and supervisor of a project, and what may befall them.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Project, processes_of, soon};

/// The supervisor of a project.
pub fn supervisor(project: &Project) -> Option<i32> {
    processes_of(project).into_iter().find(|(_, name)| name == "rc-supervisor").map(|(pid, _)| pid)
}

/// Ends the supervisor, as nobody does but the kernel when memory is short; returns which it was.
pub fn end_supervisor(project: &Project) -> i32 {
    let pid = supervisor(project).expect("a supervisor");
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("ours");
    soon("it has ended", || supervisor(project) != Some(pid));
    pid
}

/// Ends the supervisor; the keeper starts the next.
pub fn kill_supervisor(project: &Project) {
    let pid = end_supervisor(project);
    soon("the next supervisor", || supervisor(project).is_some_and(|next| next != pid));
}

/// Ends keeper and supervisor at once: nobody is left who knows by heart what runs.
pub fn kill_both(project: &Project) {
    let ours = || processes_of(project).into_iter().filter(|(_, name)| name.starts_with("rc-"));
    let killed: Vec<(i32, String)> = ours().collect();
    // The keeper first, stopped meanwhile is the other: neither starts the next.
    let signal = |name: &str, signal| {
        let found = killed.iter().filter(|(_, other)| other == name);
        found.for_each(|(pid, _)| kill(Pid::from_raw(*pid), signal).expect("ours"));
    };
    signal("rc-supervisor", Signal::SIGSTOP);
    signal("rc-keeper", Signal::SIGKILL);
    signal("rc-supervisor", Signal::SIGKILL);
    // Whoever needs them starts the next.
    soon("both have gone", || !ours().any(|of_ours| killed.contains(&of_ours)));
}

/// Stands still until this is dropped, however the test goes.
pub struct Stopped(Pid);

impl Stopped {
    /// Stops it.
    pub fn stop(process: Pid) -> Stopped {
        kill(process, Signal::SIGSTOP).expect("ours");
        Stopped(process)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGCONT);
    }
}
