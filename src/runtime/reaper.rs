//! Our PID 1 for `init: true`: forwards signals to the program, reaps orphans, ends as the program ends.
//!
//! It is the process that was forked, with the program's own identity, filter and no capability more; it stays
//! undumpable, so nobody in the container reaches our binary through /proc/1/exe.

use std::io;

use super::error::{Error, failed};
use crate::sys::process::{
    Ended, Forked, block_all_signals, close_all_from, exit_at_once, fork, kill, peek_ended_child, reap,
    set_foreground, set_title, wait_for_signal,
};

/// Forks; returns in the child, which goes on to exec. The parent stays here until the child has ended.
pub(super) fn stay_as_init(terminal: bool) -> Result<(), Error> {
    // Before the fork, or an early SIGCHLD would be lost.
    block_all_signals();
    match fork().map_err(failed("fork", "the program"))? {
        Forked::Child => {
            // A process group of its own, so that a signal to it does not come to init a second time. SIGTTOU, which
            // changing the foreground from the background would bring, is blocked until exec.
            rustix::process::setpgid(None, None).map_err(failed("make", "a process group"))?;
            if terminal {
                let own = rustix::process::getpid().as_raw_nonzero().get();
                set_foreground(rustix::stdio::stdin(), own)
                    .map_err(failed("take", "the terminal's foreground"))?;
            }
            Ok(())
        }
        Forked::Parent(program) => {
            let _ = rustix::thread::set_name(c"init");
            // What the keeper was started with is no business of the container's.
            let _ = set_title("rcompose init");
            // Among them the status socket: only the program's exec may say that it runs.
            let _ = close_all_from(3);
            exit_at_once(watch(program))
        }
    }
}

fn watch(program: i32) -> i32 {
    loop {
        match wait_for_signal() {
            libc::SIGCHLD => {
                if let Some(code) = reap_all(program) {
                    return code;
                }
            }
            // Came to us from the terminal because we are in the background; passing them on would stop the program.
            libc::SIGTTIN | libc::SIGTTOU => {}
            signal => {
                let _ = kill(program, signal);
            }
        }
    }
}

/// Reaps whoever has ended; returns the exit code when the program is among them.
fn reap_all(program: i32) -> Option<i32> {
    loop {
        match peek_ended_child() {
            Ok(Some((pid, _))) => match reap(pid) {
                Ok(Ended::Exited(code)) if pid == program => return Some(code),
                Ok(Ended::Signalled(signal)) if pid == program => return Some(128 + signal),
                _ => {}
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return None,
        }
    }
}
