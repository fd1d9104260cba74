//! Judging made-up machines, and looking at this one.

use std::process::Command;

use super::*;
use crate::host::idmap::{Granted, IdMap};
use crate::host::paths::Paths;
use crate::host::userns::{Kind, Mapping, Note};
use crate::report::{Exit, Report};

fn good() -> Observations {
    let granted = [Granted { first: 100_000, count: 65536 }];
    let map = IdMap::subordinate(1000, 1000, &granted, &granted).expect("ranges");
    Observations {
        release: "6.18.44-fc".into(),
        user: ("ada".into(), 1000),
        mapping: Mapping { kind: Kind::Subordinate, map, notes: Vec::new() },
        trials: Ok([Trial::Mounts, Trial::Overlay, Trial::Network, Trial::NfTables]
            .map(|trial| (trial, 0))
            .into()),
        first_free_port: Some(0),
        ends_at_logout: false,
    }
}

fn check(seen: Observations, expected: &[(&str, State, &str)]) {
    let lacking: Vec<_> =
        judge(&seen).into_iter().filter(|feature| feature.state != State::Present).collect();
    let shown: Vec<_> = lacking
        .iter()
        .map(|feature| (feature.name.as_str(), feature.state, feature.found.as_str()))
        .collect();
    assert_eq!(shown, expected);
    for feature in &lacking {
        assert!(!feature.effect.is_empty() && !feature.mends.is_empty(), "{feature:?}");
    }
}

#[test]
fn each_lack_is_named_with_its_effect_and_mend() {
    use State::{Absent, Limited};
    check(good(), &[]);
    check(
        Observations { release: "5.10.0-30-amd64".into(), ..good() },
        &[
            ("kernel", Absent, "Linux 5.10.0-30-amd64"),
            ("exit status of strangers", Limited, "before Linux 6.15"),
        ],
    );
    check(
        Observations { first_free_port: Some(1024), ends_at_logout: true, ..good() },
        &[
            ("host ports", Limited, "from 1024 on"),
            ("after logout", Limited, "systemd ends this user's processes"),
        ],
    );
    let refused = Report::new(Exit::Host, "no").cause("`user.max_user_namespaces` is 0").hint("raise it");
    check(
        Observations { trials: Err(refused), ..good() },
        &[("user namespaces", Absent, "`user.max_user_namespaces` is 0")],
    );
    let trials = [(Trial::Mounts, 0), (Trial::Overlay, libc::EINVAL), (Trial::NfTables, libc::EOPNOTSUPP)];
    check(
        Observations { trials: Ok(trials.into()), ..good() },
        &[
            ("overlayfs", Absent, "Invalid argument (os error 22)"),
            ("nf_tables", Limited, "Operation not supported (os error 95)"),
        ],
    );
}

#[test]
fn too_few_ids_are_named() {
    let single = Mapping {
        kind: Kind::Single,
        map: IdMap::single(1000, 1000),
        notes: vec![Note::NoSubordinateIds { user: "ada".into(), files: vec!["/etc/subuid".into()] }],
    };
    check(
        Observations { mapping: single, ..good() },
        &[("ids", State::Limited, "`ada` has no subordinate ids in /etc/subuid")],
    );
    let few = [Granted { first: 100_000, count: 1000 }];
    let map = IdMap::subordinate(1000, 1000, &few, &few).expect("ranges");
    check(
        Observations { mapping: Mapping { kind: Kind::Subordinate, map, notes: Vec::new() }, ..good() },
        &[("ids", State::Limited, "1000 subordinate users, 1000 groups")],
    );
}

/// Not a test of its own: the child that tries.
#[test]
#[ignore = "played by another test"]
#[expect(clippy::print_stdout, reason = "the answer to the test that started it")]
fn trying() {
    let args: Vec<_> = std::env::args_os().skip_while(|arg| arg != "in-userns").skip(1).collect();
    if args.is_empty() {
        return;
    }
    let played = crate::sys::alone::run(move || {
        let entered = crate::host::userns::entry(args).expect("inside");
        let trials = inside(entered.args[0].as_ref());
        println!("\n{}", serde_json::to_string(&trials).expect("json"));
        0
    });
    assert_eq!(played.expect("forked"), Some(0));
}

#[test]
fn this_machine_is_looked_at_and_nothing_is_left() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().to_owned();
    let paths = Paths::find(|_| Some(root.clone()), 0, "/".as_ref(), |_| false);
    let mut own = Command::new("/proc/self/exe");
    own.args([
        "host::features::tests::trying",
        "--exact",
        "--ignored",
        "--test-threads=1",
        "--nocapture",
        "--",
    ]);
    own.args(["in-userns", "--"]);
    let seen = observe(&paths, own).expect("proc is readable");
    let features = judge(&seen);
    let kernel = features.iter().find(|feature| feature.name == "kernel").expect("always there");
    assert!(kernel.found.contains(&seen.release));
    if let Ok(trials) = &seen.trials {
        assert_eq!(trials.len(), 10, "{trials:?}");
    }
    let left = std::fs::read_dir(root.join("data")).map(|entries| entries.count());
    assert_eq!(left.unwrap_or(0), 0, "{features:#?}");
}
