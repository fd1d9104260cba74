//! Asks systemd for a scope: a group of our own on hosts with version 2, delegated with all controllers that the
//! manager has.
//!
//! One for each project, for its keeper; containers are directories below it. The call is made before the user
//! namespace is entered: inside, our user id is 0, and D-Bus believes only the true one.
//!
//! ```text
//! us ─ SASL EXTERNAL, Hello, Subscribe ─▶ bus ─▶ systemd (the user's manager; for root the system's)
//! us ─ StartTransientUnit(rcompose-….scope, PIDs, Delegate) ─▶ job ─ JobRemoved(job, "done") ─▶ us
//! ```

mod wire;

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wire::{Message, Value};

/// systemd is asked once for each project; under load it may take its time.
const PATIENCE: Duration = Duration::from_secs(10);

/// No scope was had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bus could not be reached or broke off.
    #[error("the message bus at `{}` does not answer", path.display())]
    Bus {
        /// Its socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The bus does not believe who we are.
    #[error("the message bus at `{}` refuses this user: {answer}", path.display())]
    Refused {
        /// Its socket.
        path: PathBuf,
        /// What it said.
        answer: String,
    },
    /// systemd answered with an error.
    #[error("systemd refuses `{method}`: {message}")]
    Answer {
        /// What was asked.
        method: &'static str,
        /// What it said.
        message: String,
    },
    /// The scope's job ended badly.
    #[error("systemd could not start the scope `{unit}`: {result}")]
    Job {
        /// Its name.
        unit: String,
        /// `failed`, `timeout` …
        result: String,
    },
}

/// A manager that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    /// The socket of its bus.
    bus: PathBuf,
    /// The id under which we log in.
    uid: u32,
}

impl Manager {
    /// Finds the one for this user, or `None` on hosts without systemd, with version 1, or without a session's bus.
    pub fn find() -> Option<Manager> {
        let uid = rustix::process::geteuid().as_raw();
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let address = std::env::var("DBUS_SESSION_BUS_ADDRESS").ok();
        let exists = |path: &Path| path.exists();
        Manager::choose(uid, runtime.as_deref(), address.as_deref(), exists)
    }

    fn choose(
        uid: u32,
        runtime: Option<&Path>,
        address: Option<&str>,
        exists: impl Fn(&Path) -> bool,
    ) -> Option<Manager> {
        let here = exists(Path::new("/run/systemd/system"));
        if !here || !exists(Path::new("/sys/fs/cgroup/cgroup.controllers")) {
            return None;
        }
        if uid == 0 {
            let bus = PathBuf::from("/run/dbus/system_bus_socket");
            return exists(&bus).then_some(Manager { bus, uid });
        }
        let told = address
            .into_iter()
            .flat_map(|list| list.split(';'))
            .filter_map(|one| one.strip_prefix("unix:path="))
            .map(|path| PathBuf::from(path.split(',').next().unwrap_or(path)));
        let usual = [runtime.map(|path| path.join("bus")), Some(format!("/run/user/{uid}/bus").into())];
        let bus = told.chain(usual.into_iter().flatten()).find(|path| exists(path))?;
        Some(Manager { bus, uid })
    }

    /// Puts a process and its future children into a scope of their own, named for the project; returns when the
    /// process is in it. Its owner may then make groups below.
    pub fn ask_for_scope(&self, project: &str, pid: u32) -> Result<(), Error> {
        let unit = format!("rcompose-{}-{pid}.scope", escape(project));
        let mut talk = Talk::open(self)?;
        talk.call("Hello", BUS, &[])?;
        talk.match_jobs()?;
        // Signals are sent only while somebody has said that they are wanted.
        talk.call("Subscribe", MANAGER, &[])?;
        let answer = talk.call("StartTransientUnit", MANAGER, &transient_unit(&unit, project, pid))?;
        let Some(Value::Text(job)) = answer.body.first() else {
            return Err(talk.broken(io::ErrorKind::InvalidData.into()));
        };
        let result = talk.await_job(job)?;
        match result.as_str() {
            "done" => Ok(()),
            _ => Err(Error::Job { unit, result }),
        }
    }
}

/// Whom a call goes to: destination, path, interface.
type Peer = [&'static str; 3];

const BUS: Peer = ["org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus"];
const MANAGER: Peer =
    ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"];

/// The arguments of StartTransientUnit, `ssa(sv)a(sa(sv))`: org.freedesktop.systemd1(5).
fn transient_unit(unit: &str, project: &str, pid: u32) -> Vec<Value> {
    let text = |text: &str| Value::Text(text.to_owned());
    let property = |name: &str, value| Value::Property(name.to_owned(), Box::new(value));
    let properties = vec![
        property("Description", Value::Text(format!("rcompose project {project}"))),
        property("PIDs", Value::Numbers(vec![pid])),
        property("Delegate", Value::Flag(true)),
        // A scope that failed goes away too, and its name can be used again.
        property("CollectMode", text("inactive-or-failed")),
        // Projects of many containers exceed what a manager grants one unit.
        property("TasksMax", Value::Long(u64::MAX)),
    ];
    vec![text(unit), text("fail"), Value::Properties(properties), Value::NoUnits]
}

/// Keeps what unit names may hold (systemd.unit(5)); `-` would be a hierarchy in slices only.
fn escape(project: &str) -> String {
    project.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}

/// A conversation on the bus.
struct Talk {
    stream: UnixStream,
    bus: PathBuf,
    serial: u32,
    /// Bytes received and not yet understood.
    received: Vec<u8>,
    /// Jobs that have ended, with their result: the signal may come before the answer.
    ended: Vec<(String, String)>,
}

impl Talk {
    fn open(manager: &Manager) -> Result<Talk, Error> {
        let path = manager.bus.clone();
        let connect = || -> io::Result<(UnixStream, String)> {
            let mut stream = UnixStream::connect(&path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            let id: String = manager.uid.to_string().bytes().map(|byte| format!("{byte:02x}")).collect();
            stream.write_all(format!("\0AUTH EXTERNAL {id}\r\n").as_bytes())?;
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n") && answer.len() < 512 {
                let mut byte = [0];
                stream.read_exact(&mut byte)?;
                answer.push(byte[0]);
            }
            Ok((stream, String::from_utf8_lossy(&answer).trim().to_owned()))
        };
        let (mut stream, answer) = connect().map_err(|source| Error::Bus { path: path.clone(), source })?;
        if !answer.starts_with("OK") {
            return Err(Error::Refused { path, answer });
        }
        stream.write_all(b"BEGIN\r\n").map_err(|source| Error::Bus { path: path.clone(), source })?;
        Ok(Talk { stream, bus: path, serial: 0, received: Vec::new(), ended: Vec::new() })
    }

    fn broken(&self, source: io::Error) -> Error {
        Error::Bus { path: self.bus.clone(), source }
    }

    /// Calls a method and waits for its answer.
    fn call(&mut self, method: &'static str, peer: Peer, body: &[Value]) -> Result<Message, Error> {
        self.serial += 1;
        let bytes = wire::call(self.serial, peer, method, body);
        self.stream.write_all(&bytes).map_err(|source| self.broken(source))?;
        loop {
            let message = self.next()?;
            if message.reply_to != Some(self.serial) {
                continue;
            }
            return match message.kind {
                wire::Kind::Error => {
                    let message = match message.body.first() {
                        Some(Value::Text(text)) => text.clone(),
                        _ => message.error.unwrap_or_default(),
                    };
                    Err(Error::Answer { method, message })
                }
                _ => Ok(message),
            };
        }
    }

    fn match_jobs(&mut self) -> Result<(), Error> {
        let rule = "type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";
        self.call("AddMatch", BUS, &[Value::Text(rule.to_owned())]).map(|_| ())
    }

    /// Waits for a job's end and returns its result.
    fn await_job(&mut self, job: &str) -> Result<String, Error> {
        loop {
            if let Some((_, result)) = self.ended.iter().find(|(ended, _)| ended == job) {
                return Ok(result.clone());
            }
            self.next()?;
        }
    }

    /// Receives one message, and notes the end of jobs.
    fn next(&mut self) -> Result<Message, Error> {
        loop {
            match wire::parse(&self.received) {
                Ok(Some((message, length))) => {
                    self.received.drain(..length);
                    if message.member.as_deref() == Some("JobRemoved")
                        && let [Value::Number(_), Value::Text(job), Value::Text(_), Value::Text(result)] =
                            &message.body[..]
                    {
                        self.ended.push((job.clone(), result.clone()));
                    }
                    return Ok(message);
                }
                Ok(None) => {}
                Err(wire::Malformed) => return Err(self.broken(io::ErrorKind::InvalidData.into())),
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
                Ok(length) => self.received.extend(&bytes[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn the_right_bus_is_found() {
        let check = |uid, runtime: Option<&str>, address, existing: &[&str], expected: Option<&str>| {
            let always = ["/run/systemd/system", "/sys/fs/cgroup/cgroup.controllers"];
            let found = Manager::choose(uid, runtime.map(Path::new), address, |path| {
                existing.iter().chain(&always).any(|known| Path::new(known) == path)
            });
            assert_eq!(found.map(|manager| manager.bus), expected.map(PathBuf::from));
        };
        check(0, None, None, &["/run/dbus/system_bus_socket"], Some("/run/dbus/system_bus_socket"));
        check(0, None, None, &[], None);
        check(5, Some("/r"), None, &["/r/bus"], Some("/r/bus"));
        check(5, None, None, &["/run/user/5/bus"], Some("/run/user/5/bus"));
        check(5, Some("/r"), Some("unix:path=/x/b,guid=1"), &["/r/bus", "/x/b"], Some("/x/b"));
        check(5, Some("/r"), Some("unix:abstract=/x;unix:path=/gone"), &["/r/bus"], Some("/r/bus"));
        assert_eq!(Manager::choose(0, None, None, |_| false), None);
    }

    /// Plays bus and systemd: answers each call, the last with `last`.
    fn play(listener: UnixListener, last: Vec<Vec<u8>>) -> Vec<String> {
        let (mut stream, _) = listener.accept().expect("called");
        let mut text = Vec::new();
        let mut byte = [0];
        while !text.ends_with(b"\r\n") {
            stream.read_exact(&mut byte).expect("a line");
            text.push(byte[0]);
        }
        stream.write_all(b"OK 1234\r\n").expect("written");
        let mut begin = [0; 7];
        stream.read_exact(&mut begin).expect("a line");
        let mut said = vec![String::from_utf8_lossy(&text[1..]).trim().to_owned()];
        let (mut received, mut bytes) = (Vec::new(), [0; 4096]);
        while let Ok(length @ 1..) = stream.read(&mut bytes) {
            received.extend(&bytes[..length]);
            while let Ok(Some((message, length))) = wire::parse(&received) {
                received.drain(..length);
                let member = message.member.expect("a method");
                let answers = match member.as_str() {
                    "StartTransientUnit" => last.clone(),
                    _ => vec![wire::tests::reply(message.serial, &[])],
                };
                said.push(member);
                for answer in answers {
                    stream.write_all(&answer).expect("written");
                }
            }
        }
        said
    }

    fn ask(last: Vec<Vec<u8>>) -> (Result<(), Error>, Vec<String>) {
        let directory = tempfile::tempdir().expect("a directory");
        let bus = directory.path().join("bus");
        let listener = UnixListener::bind(&bus).expect("bound");
        let player = std::thread::spawn(move || play(listener, last));
        let result = Manager { bus, uid: 1000 }.ask_for_scope("p", 77);
        (result, player.join().expect("played"))
    }

    #[test]
    fn the_scope_is_asked_for_and_awaited() {
        let text = |text: &str| Value::Text(text.to_owned());
        let ended = |job: &str, result: &str| {
            wire::tests::signal("JobRemoved", &[Value::Number(1), text(job), text("u.scope"), text(result)])
        };
        // The fourth call.
        let reply = || wire::tests::reply(4, &[Value::Text("/job/1".into())]);
        let (result, said) = ask(vec![ended("/job/0", "failed"), ended("/job/1", "done"), reply()]);
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(said, ["AUTH EXTERNAL 31303030", "Hello", "AddMatch", "Subscribe", "StartTransientUnit"]);
        let (result, _) = ask(vec![reply(), ended("/job/1", "failed")]);
        assert!(matches!(result, Err(Error::Job { result, .. }) if result == "failed"));
        let refusal = wire::tests::error(4, "org.x.No", &[text("not you")]);
        let (result, _) = ask(vec![refusal]);
        assert!(matches!(result, Err(Error::Answer { message, .. }) if message == "not you"));
    }
}
