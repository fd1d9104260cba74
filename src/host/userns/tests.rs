//! The dialogue with real processes: this test program started again plays the fresh one.
//!
//! Run as root and as ordinary users with and without subordinate ids: each gets its own kind of map.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use super::*;
use crate::host::files::{self, Durability};
use crate::host::idmap::{Range, parse};
use crate::host::paths::Paths;
use crate::host::process::Identity;

/// This test program as the fresh process: libtest takes our arguments for filters that match nothing.
fn fresh() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args([
        "host::userns::tests::inside",
        "--exact",
        "--ignored",
        "--test-threads=1",
        "--nocapture",
        "--",
    ]);
    command.arg("in-userns").arg("--").stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

fn paths(root: &std::path::Path) -> Paths {
    let root = root.to_owned();
    Paths::find(|name| (name == "RCOMPOSE_HOME").then(|| root.clone()), 0, "/".as_ref(), |_| false)
}

/// Not a test of its own: the fresh process, which says what it is and then waits for its standard input to end.
#[test]
#[ignore = "played by other tests"]
fn inside() {
    let mut args = std::env::args_os().skip_while(|arg| arg != "in-userns").skip(1).peekable();
    if args.peek().is_none() {
        return;
    }
    let played = crate::sys::alone::run(|| {
        play(args);
        0
    });
    assert_eq!(played.expect("forked"), Some(0));
}

#[expect(clippy::print_stdout, reason = "the answer to the test that started it")]
fn play(args: impl Iterator<Item = OsString>) {
    let entered = entry(args).expect("inside");
    let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).expect("proc");
    let mut first = String::new();
    for fd in entered.fds {
        fs::File::from(fd).read_to_string(&mut first).expect("a descriptor that travelled");
    }
    let threads = fs::read_dir("/proc/self/task").expect("proc").count();
    let mount = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).is_ok();
    let answer = serde_json::json!({
        "uid_map": read("uid_map"), "gid_map": read("gid_map"), "setgroups": read("setgroups").trim(),
        "uid": rustix::process::geteuid().as_raw(), "fds": first, "args": entered.args, "threads": threads,
        "mount": mount, "namespace": fs::read_link("/proc/self/ns/user").expect("proc"),
        "identity": Identity::own().expect("proc"), "limit": rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum,
    });
    println!("ANSWER {answer}");
    std::io::stdin().read_to_end(&mut Vec::new()).expect("the true standard input");
}

struct Fresh {
    child: std::process::Child,
    stdin: fs::File,
    stdout: std::io::BufReader<std::process::ChildStdout>,
    answer: serde_json::Value,
}

fn start(target: &Target, mapping: &Mapping, texts: &[String]) -> Result<Fresh, Error> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    let fds = texts.iter().map(|text| file_with(text)).collect();
    let args = vec![OsString::from("hello"), "--world".into()];
    let program = Program { command: fresh(), args, stdin: Some(read), fds };
    let mut child = spawn_inside(target, mapping, program)?;
    let mut stdout = std::io::BufReader::new(child.stdout.take().expect("piped"));
    let line = std::io::BufRead::lines(&mut stdout)
        .find_map(|line| line.expect("text").split_once("ANSWER ").map(|(_, answer)| answer.to_owned()))
        .expect("an answer");
    Ok(Fresh { child, stdin: write.into(), stdout, answer: serde_json::from_str(&line).expect("json") })
}

fn file_with(text: &str) -> OwnedFd {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    std::io::Seek::rewind(&mut file).expect("rewound");
    file.into()
}

fn end(mut fresh: Fresh) {
    drop(fresh.stdin);
    // libtest has a last word, and fails when nobody takes it.
    fresh.stdout.read_to_end(&mut Vec::new()).expect("its last word");
    assert!(fresh.child.wait().expect("a child").success());
}

#[expect(clippy::print_stderr, reason = "names what the host lacks")]
fn started(result: Result<Fresh, Error>) -> Option<Fresh> {
    match result {
        Err(Error::Refused { refusal, .. }) => {
            eprintln!("skipped: no user namespaces here: {refusal}");
            None
        }
        other => Some(other.expect("inside")),
    }
}

#[test]
fn a_new_namespace_has_the_map_the_arguments_and_the_descriptors() {
    let mapping = Mapping::of(&Facts::read().expect("facts"));
    let Some(fresh) = started(start(&Target::New, &mapping, &["one ".into(), "two".into()])) else { return };
    let answer = &fresh.answer;
    let ranges = |name: &str| -> Vec<Range> { parse(answer[name].as_str().expect("text")) };
    assert_eq!(ranges("uid_map"), mapping.map.uids);
    assert_eq!(ranges("gid_map"), mapping.map.gids);
    assert_eq!(answer["uid"], 0);
    assert_eq!(answer["threads"], 1);
    assert_eq!(answer["mount"], true, "CAP_SYS_ADMIN inside");
    assert_eq!(answer["fds"], "one two");
    assert_eq!(answer["args"], serde_json::json!([{"Unix": b"hello"}, {"Unix": b"--world"}]));
    let groups = if mapping.kind == Kind::Single { "deny" } else { "allow" };
    assert_eq!(answer["setgroups"], groups);
    let held = rustix::thread::capabilities(None).expect("capget").effective;
    if held.contains(rustix::thread::CapabilitySet::SYS_RESOURCE) {
        let most: u64 =
            fs::read_to_string("/proc/sys/fs/nr_open").expect("proc").trim().parse().expect("a number");
        assert!(answer["limit"].as_u64().is_none_or(|limit| limit >= most), "{answer}");
    }
    end(fresh);
}

#[test]
fn a_second_project_joins_and_a_dead_keeper_is_passed_over() {
    let directory = tempfile::tempdir().expect("a directory");
    let paths = paths(directory.path());
    let record = |project: &str, who: &Identity| {
        files::make_private_dir(&paths.project(project)).expect("a directory");
        files::write_record(&paths.keeper_record(project), 1, who, Durability::Crash).expect("written");
    };
    assert!(matches!(find(&paths).expect("no directory"), Target::New));
    let mapping = Mapping::of(&Facts::read().expect("facts"));
    let Some(keeper) = started(start(&Target::New, &mapping, &[])) else { return };
    let alive: Identity = serde_json::from_value(keeper.answer["identity"].clone()).expect("an identity");
    record("gone", &Identity { start_time: alive.start_time + 1, ..alive.clone() });
    assert!(matches!(find(&paths).expect("only a dead one"), Target::New));
    record("alive", &alive);
    let target = find(&paths).expect("a living one");
    assert!(matches!(target, Target::Living(_)), "{target:?}");
    let second = start(&target, &mapping, &[]).expect("joined");
    assert_eq!(second.answer["namespace"], keeper.answer["namespace"]);
    assert_eq!((&second.answer["uid"], &second.answer["mount"]), (&0.into(), &true.into()));
    end(second);
    end(keeper);
    record("own", &Identity::own().expect("proc"));
    assert!(matches!(find(&paths).expect("our own"), Target::Here));
    let stays = start(&Target::Here, &mapping, &[]).expect("started");
    assert_eq!(
        stays.answer["namespace"],
        fs::read_link("/proc/self/ns/user").expect("proc").to_str().expect("text")
    );
    end(stays);
}

#[test]
fn more_descriptors_than_one_packet_carries_arrive_in_order() {
    let mapping = Mapping::of(&Facts::read().expect("facts"));
    let texts: Vec<String> = (0..600).map(|number| format!("{number} ")).collect();
    let Some(fresh) = started(start(&Target::New, &mapping, &texts)) else { return };
    assert_eq!(fresh.answer["fds"], texts.concat());
    end(fresh);
}

#[test]
fn a_process_that_dies_on_the_way_is_told_with_its_status() {
    let mapping = Mapping::of(&Facts::read().expect("facts"));
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exit 7", "--"]);
    let program = Program { command, args: Vec::new(), stdin: None, fds: Vec::new() };
    let error = spawn_inside(&Target::New, &mapping, program).expect_err("it never answers");
    assert!(matches!(error, Error::Broken { status: Some(_), .. }), "{error}");
}

#[test]
fn a_namespace_that_cannot_be_entered_is_refused_with_a_mend() {
    let mapping = Mapping::of(&Facts::read().expect("facts"));
    // setns(2) into the namespace that one is in already is EINVAL, whoever asks.
    let own: OwnedFd = fs::File::open("/proc/self/ns/user").expect("proc").into();
    let Err(error) = start(&Target::Living(own), &mapping, &[]) else { panic!("the kernel refuses that") };
    let report = crate::report::Report::from(error);
    assert_eq!(report.exit, crate::report::Exit::Host);
    assert!(!report.hints.is_empty(), "{report}");
}
