//! The socket of an agent in a step: `--mount=type=ssh`.
//!
//! A socket of the session is bound into the container; what connects there is spliced to the user's agent, or answered
//! with keys out of files ([`keys`]). The agent
//! asks the kernel who is at the other end, and sees the user: a step of any user may sign, and none ever has a key.

use std::io;
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::keys::{self, Key};
use crate::build::error::{Error, failed};
use crate::build::order::Ssh;

/// A socket that leads to an agent, as long as this lives.
#[derive(Debug)]
pub struct Agent {
    path: PathBuf,
}

impl Agent {
    /// Makes the socket at `path`, which leads to an agent, or to one of our own with keys out of files.
    pub fn start(ssh: &Ssh, path: PathBuf, mode: u32, owner: (u32, u32)) -> Result<Agent, Error> {
        let answer: Box<dyn Fn(UnixStream) + Send> = match ssh {
            Ssh::Agent(agent) => {
                // An agent that does not answer is found out now and not by some program in the step.
                UnixStream::connect(agent)
                    .map_err(failed(format!("reach the ssh agent at `{}`", agent.display())))?;
                let agent = agent.to_owned();
                Box::new(move |near| {
                    if let Ok(far) = UnixStream::connect(&agent) {
                        std::thread::spawn(move || splice(near, far));
                    }
                })
            }
            Ssh::Keys(paths) => {
                let keys = paths.iter().map(|path| Key::read(path)).collect::<Result<Vec<Key>, _>>()?;
                let keys = Arc::new(keys);
                Box::new(move |near| {
                    let keys = Arc::clone(&keys);
                    std::thread::spawn(move || keys::serve(&keys, near));
                })
            }
        };
        let listener = UnixListener::bind(&path).map_err(failed("make a socket for the ssh agent"))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))
            .map_err(failed("set the mode of the socket of the ssh agent"))?;
        // Where the id is not mapped it stays the only one there is.
        let _ = std::os::unix::fs::chown(&path, Some(owner.0), Some(owner.1));
        std::thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(answer));
        Ok(Agent { path })
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Nobody finds it any more; the thread ends with the process.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn splice(near: UnixStream, far: UnixStream) {
    let (Ok(mut from), Ok(mut to)) = (near.try_clone(), far.try_clone()) else { return };
    let back = std::thread::spawn(move || {
        let (mut from, mut to) = (far, near);
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
    let _ = back.join();
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn questions_and_answers_pass() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let real = directory.path().join("real");
        let listener = UnixListener::bind(&real).expect("bound");
        std::thread::spawn(move || {
            for mut asked in listener.incoming().map_while(Result::ok) {
                let mut question = String::new();
                let _ = asked.read_to_string(&mut question);
                let _ = asked.write_all(question.to_uppercase().as_bytes());
            }
        });
        let agent = Agent::start(&Ssh::Agent(real.clone()), directory.path().join("near"), 0o600, (0, 0))
            .expect("started");
        let mut stream = UnixStream::connect(agent.path()).expect("connected");
        stream.write_all(b"sign").expect("written");
        stream.shutdown(Shutdown::Write).expect("shut");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        assert_eq!(answer, "SIGN");
        let path = agent.path().to_owned();
        drop(agent);
        assert!(!path.exists());
        let refused =
            Agent::start(&Ssh::Agent(path), directory.path().join("x"), 0o600, (0, 0)).expect_err("no agent");
        assert!(refused.to_string().contains("reach the ssh agent"), "{refused}");
    }
}
