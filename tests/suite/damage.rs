//! Records that are damaged, or gone, under a project: every command goes on, names them, and `down` leaves nothing.

use std::fs;
use std::path::PathBuf;

use crate::support::{
    Capability, OwnDisk, Project, end_supervisor, ended, kill_both, kill_supervisor, needs, processes_of,
    soon,
};

const TWO: &str = r#"
services:
  a:
    image: rootfs:/
    command: sleep 1000
    stop_grace_period: 0s
    volumes: [data:/data]
  b:
    image: rootfs:/
    command: sleep 1000
    stop_grace_period: 0s
    depends_on: [a]
volumes: {data: {}}
"#;

/// What a crash, or somebody's hand, may leave in a record.
const DAMAGED: [&str; 5] =
    ["", "{\"format\":1,\"netw", "no JSON", "{\"format\":\"x\",\"networks\":3}", "[1, 2]"];

fn state_of(project: &Project) -> PathBuf {
    project.home().join("state/projects").join(project.name())
}

/// The records of a project; those of its containers by the name of the file.
fn records(project: &Project) -> Vec<PathBuf> {
    let state = state_of(project);
    let mut found: Vec<PathBuf> =
        ["keeper.json", "networks.json", "desired.json", "journal"].map(|file| state.join(file)).into();
    let containers = fs::read_dir(state.join("containers")).expect("containers").flatten();
    if let Some(container) = containers.map(|entry| entry.path()).min() {
        found.extend(["state.json", "config.json"].map(|file| container.join(file)));
    }
    found
}

#[test]
fn a_damaged_record_stops_no_command() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("damaged", TWO);
    project.run(&["up", "-d"]).ok();
    for (index, record) in records(&project).into_iter().enumerate() {
        let name = record.file_name().expect("a name").to_string_lossy().into_owned();
        // Records of a project that stands still, too: with nobody alive who knows better.
        for stopped in [false, true] {
            project.run(&["up", "-d"]).ok();
            if stopped {
                project.run(&["stop"]).ok();
                soon("nobody is left", || processes_of(&project).is_empty());
            }
            let record = records(&project)[index].clone();
            fs::write(&record, DAMAGED[index % DAMAGED.len()]).expect("written");
            let listed = project.run(&["ps", "-a"]);
            // A journal is made of lines, of which those that are none say nothing.
            if name != "journal" && (stopped || name != "config.json") {
                let warnings = listed.stderr.matches(&format!("{name}` is damaged")).count();
                assert!(warnings <= 1, "{name}: {}", listed.stderr);
                let must = !matches!(name.as_str(), "desired.json" | "config.json");
                assert!(!must || warnings == 1, "{name}: {}", listed.stderr);
            }
            assert!(listed.ok().contains("b-1"), "{name}");
            project.run(&["up", "-d"]).ok();
            assert_eq!(project.field("a", "State"), "running", "{name}");
            assert_eq!(project.field("b", "State"), "running", "{name}");
            project.run(&["exec", "-T", "b", "getent", "hosts", "a"]).ok();
        }
        let record = records(&project)[index].clone();
        fs::write(&record, DAMAGED[(index + 1) % DAMAGED.len()]).expect("written");
        project.leaves_nothing();
        project.run(&["up", "-d"]).ok();
    }
    project.leaves_nothing();
}

#[test]
fn the_next_supervisor_goes_on_without_the_records_of_networks_and_containers() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("nextlost", TWO);
    let names: [&[&str]; 4] = [
        &["networks.json"],
        &["networks.json", "desired.json"],
        &["state.json"],
        &["networks.json", "desired.json", "state.json", "config.json"],
    ];
    for damaged in names {
        project.run(&["up", "-d"]).ok();
        for record in records(&project) {
            if damaged.iter().any(|name| record.ends_with(name)) {
                fs::write(record, "").expect("written");
            }
        }
        kill_supervisor(&project);
        project.run(&["up", "-d"]).ok();
        for service in ["a", "b"] {
            assert_eq!(project.field(service, "State"), "running", "{damaged:?}");
        }
        project.run(&["exec", "-T", "b", "getent", "hosts", "a"]).ok();
        project.leaves_nothing();
    }
}

#[test]
fn a_container_whose_record_is_lost_keeps_its_files() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("lostrecord", TWO);
    project.run(&["up", "-d", "a"]).ok();
    project.run(&["exec", "-T", "a", "sh", "-c", "echo kept > /root/file || echo kept > /tmp/file"]).ok();
    project.run(&["stop"]).ok();
    soon("nobody is left", || processes_of(&project).is_empty());
    let id = project.field("a", "ID");
    let containers = fs::read_dir(state_of(&project).join("containers")).expect("containers").flatten();
    for container in containers {
        fs::write(container.path().join("state.json"), "").expect("written");
    }
    project.run(&["up", "-d", "a"]).ok();
    assert_eq!(project.field("a", "ID"), id);
    let kept = project.run(&["exec", "-T", "a", "sh", "-c", "cat /root/file 2>/dev/null || cat /tmp/file"]);
    assert_eq!(kept.ok(), "kept\n");
    project.leaves_nothing();
}

/// With one network or none: without, nothing else tells that there is something to take down.
fn restarting(network: &str) -> String {
    format!(
        r#"
services:
  a:
    image: rootfs:/
    command: sleep 1000
    init: true
    restart: always
    stop_grace_period: 0s
    {network}
"#
    )
}

/// What somebody's hand may make of a record.
fn spoil(record: &std::path::Path, how: &str) {
    use std::os::unix::fs::PermissionsExt;
    match how {
        "closed" => fs::set_permissions(record, fs::Permissions::from_mode(0o000)).expect("closed"),
        "junk" => fs::write(record, "junk").expect("written"),
        _ => fs::remove_file(record).expect("removed"),
    }
    match how {
        "dangling" => std::os::unix::fs::symlink("nowhere", record).expect("linked"),
        "directory" => fs::create_dir(record).expect("made"),
        _ => {}
    }
}

const SPOILT: [&str; 5] = ["gone", "junk", "dangling", "closed", "directory"];

#[test]
fn down_ends_what_runs_whatever_the_records_say_and_nobody_else_knows_it() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    for (network, ways) in [("", &SPOILT[..]), ("network_mode: none", &SPOILT[..1])] {
        let project = Project::new("nobodyknows", &restarting(network));
        for files in [&["config.json"][..], &["state.json"], &["config.json", "state.json"]] {
            for how in ways {
                project.run(&["up", "-d"]).ok();
                kill_both(&project);
                for record in records(&project) {
                    if files.iter().any(|name| record.ends_with(name)) {
                        spoil(&record, how);
                    }
                }
                project.run(&["down", "-v", "-t", "0"]).ok();
                soon(&format!("nobody is left: {files:?} {how}"), || processes_of(&project).is_empty());
                project.leaves_nothing();
            }
        }
    }
}

#[test]
fn up_goes_on_with_one_container_whatever_the_records_say() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("goeson", &restarting(""));
    for file in ["config.json", "state.json", "networks.json", "desired.json"] {
        for how in SPOILT {
            project.run(&["up", "-d"]).ok();
            kill_both(&project);
            let record = records(&project).into_iter().find(|record| record.ends_with(file)).expect("there");
            spoil(&record, how);
            project.run(&["up", "-d"]).ok();
            assert_eq!(project.field("a", "State"), "running", "{file} {how}");
            let sleeping = processes_of(&project).into_iter().filter(|(_, name)| name == "sleep").count();
            assert_eq!(sleeping, 1, "{file} {how}");
            project.leaves_nothing();
        }
    }
}

#[test]
fn a_command_hears_why_no_supervisor_can_take_its_project_up() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("cannot", &restarting(""));
    for kept in [false, true] {
        project.run(&["up", "-d"]).ok();
        // Of a version that is not there yet: nothing is guessed.
        let record = state_of(&project).join("networks.json");
        let text = fs::read_to_string(&record).expect("read");
        fs::write(&record, text.replacen("\"format\":1", "\"format\":9", 1)).expect("written");
        match kept {
            false => kill_both(&project),
            // The next ones fail at once, and come ever more rarely unless they are asked.
            true => _ = end_supervisor(&project),
        }
        for command in [&["up", "-d"][..], &["stop"]] {
            let said = project.run(command).fails(1);
            assert!(said.contains("has format 9"), "{said}");
        }
        fs::write(&record, text).expect("written");
        project.run(&["up", "-d"]).ok();
        project.leaves_nothing();
    }
}

/// Removes a tree as its owner can: overlayfs makes `work/work` with mode 000.
fn remove(directory: &std::path::Path) {
    let script = "chmod -R u+rwX \"$1\" && rm -rf \"$1\"";
    let status = std::process::Command::new("sh").args(["-c", script, "sh"]).arg(directory).status();
    assert!(status.expect("sh starts").success(), "{}", directory.display());
}

#[test]
fn a_project_whose_records_are_removed_is_found_and_can_be_ended() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("removed", TWO);
    for gone in [state_of(&project), project.home().join("state"), project.home()] {
        project.run(&["up", "-d"]).ok();
        remove(&gone);
        let listed = project.run(&["ps"]);
        assert!(listed.stderr.contains("its records are gone"), "{}", listed.stderr);
        assert!(listed.ok().contains("a-1"));
        let all = project.run(&["ls"]).ok();
        assert!(all.contains(project.name()), "{all}");
        project.run(&["down"]).ok();
        soon("nobody is left", || processes_of(&project).is_empty());
        assert!(!project.run(&["ps", "-a"]).ok().contains("a-1"));
    }
    project.leaves_nothing();
}

#[test]
fn a_full_disk_keeps_nothing_from_being_stopped_and_removed() {
    if !needs(&[Capability::UserNamespaces, Capability::Root]) {
        return;
    }
    let project = Project::new(
        "fulldisk",
        r#"
services:
  a:
    image: rootfs:/
    command: sh -c 'while sleep 0.01; do echo a line; done'
    stop_grace_period: 0s
    healthcheck: {test: exit 0, interval: 100ms}
    volumes: [data:/data]
  b:
    image: rootfs:/
    command: sleep 1000
    stop_grace_period: 0s
    restart: always
    depends_on: [a]
  c:
    image: rootfs:/
    command: sh -c 'sleep 0.1; exit 3'
    restart: always
volumes: {data: {}}
"#,
    );
    let disk = OwnDisk::new(&project.home(), 4 << 20);
    let run = |arguments: &[&str]| {
        let child = disk.enter(&project.command(arguments)).spawn().expect("nsenter starts");
        ended(child, &arguments.join(" "))
    };
    let filler = disk.outside(&project.home()).join("filler");
    let fill = || {
        let mut file = fs::File::options().append(true).create(true).open(&filler).expect("opened");
        while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    };
    for ends in [&["stop"][..], &["kill"], &["down", "-v"]] {
        run(&["up", "-d"]).ok();
        fill();
        run(ends).ok();
        fill();
        let listed = run(&["ps", "-q"]);
        assert_eq!(listed.ok(), "", "{ends:?}");
        // Nobody is left who knows it by heart, and the disk is full still.
        run(&["down", "-v"]).ok();
        soon("nobody is left", || processes_of(&project).iter().all(|(pid, _)| *pid == disk.holder()));
        assert_eq!(run(&["ps", "-a", "-q"]).ok(), "");
        fs::remove_file(&filler).expect("removed");
    }
}

/// What is no file in its place: a pipe would be waited for, a directory cannot be written.
fn put_in_place(path: &std::path::Path, pipe: bool) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let _ = fs::remove_file(path);
    match pipe {
        true => mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("made"),
        false => fs::create_dir(path).expect("made"),
    }
}

#[test]
fn a_pipe_or_a_directory_in_place_of_a_record_holds_nothing_up() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("places", TWO);
    project.run(&["up", "-d"]).ok();
    let socket = project.home().join("run").join(project.name()).join("control.sock");
    let count = records(&project).len();
    for index in 0..=count + 1 {
        for (pipe, stopped) in [(true, true), (false, true), (true, false), (false, false)] {
            project.run(&["up", "-d"]).ok();
            let log = socket.with_file_name("keeper.log");
            let path = records(&project).into_iter().chain([socket.clone(), log]).nth(index).expect("one");
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            if stopped {
                project.run(&["stop"]).ok();
                soon("nobody is left", || processes_of(&project).is_empty());
            }
            // Of a project that stands still, the socket's directory is there still.
            put_in_place(&path, pipe);
            for command in [&["ps", "-a"][..], &["logs"], &["up", "-d"], &["stop"]] {
                let said = project.run(command);
                let sentence = said.stderr.contains(&format!("{name}` is a"));
                assert!(said.code == Some(0) || sentence, "{name} {command:?}: {}", said.stderr);
                if said.code != Some(0) {
                    assert!(said.stderr.contains("where rcompose keeps"), "{name}: {}", said.stderr);
                    assert!(said.stderr.contains("hint: move it away"), "{name}: {}", said.stderr);
                }
            }
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
            project.leaves_nothing();
        }
        project.run(&["up", "-d"]).ok();
    }
    project.leaves_nothing();
}

/// A record of a terabyte that takes no room, or one without end.
fn put_too_much(path: &std::path::Path, endless: bool) {
    let _ = fs::remove_file(path);
    match endless {
        true => std::os::unix::fs::symlink("/dev/zero", path).expect("made"),
        false => fs::File::create(path).and_then(|file| file.set_len(1 << 40)).expect("made"),
    }
}

#[test]
fn a_record_without_end_takes_neither_time_nor_memory() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("endless", TWO);
    project.run(&["up", "-d"]).ok();
    let (state, run) = (state_of(&project), project.home().join("run").join(project.name()));
    for path in [state.join("desired.json"), state.join("journal"), run.join("keeper.log")] {
        for endless in [true, false] {
            project.run(&["up", "-d"]).ok();
            project.run(&["stop"]).ok();
            soon("nobody is left", || processes_of(&project).is_empty());
            put_too_much(&path, endless);
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            for command in [&["ps", "-a"][..], &["logs"], &["up", "-d"], &["stop"]] {
                let mut limited = project.command(&[]);
                let environment: Vec<_> = limited
                    .get_envs()
                    .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
                    .collect();
                limited = std::process::Command::new("sh");
                // What reads without end is told so by the kernel.
                let script = "ulimit -v 4000000; exec \"$0\" \"$@\"";
                limited.args(["-c", script]).arg(crate::support::binary()).args(command);
                limited.envs(environment).current_dir(project.path());
                limited.stdin(std::process::Stdio::null());
                limited.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
                let said = ended(limited.spawn().expect("sh runs"), &command.join(" "));
                assert!(
                    said.code == Some(0) || said.stderr.contains(&name),
                    "{name} {command:?}: {}",
                    said.stderr
                );
            }
            let _ = fs::remove_file(&path);
            project.leaves_nothing();
        }
    }
}

#[test]
fn what_stands_in_place_of_a_lock_is_named() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("locks", TWO);
    project.run(&["up", "-d"]).ok();
    project.run(&["stop"]).ok();
    soon("nobody is left", || processes_of(&project).is_empty());
    let run = project.home().join("run");
    // The user namespace's and the project's.
    let locks = [run.join("userns.lock"), run.join(project.name()).join("lock")];
    for lock in locks {
        for pipe in [true, false] {
            // With the command that could not begin, the directory of a project that stands still has gone.
            fs::create_dir_all(lock.parent().expect("a directory")).expect("made");
            put_in_place(&lock, pipe);
            let said = project.run(&["up", "-d"]);
            assert_ne!(said.code, Some(0), "{}", lock.display());
            assert!(said.stderr.contains("where rcompose keeps a file"), "{}", said.stderr);
            assert!(said.stderr.contains("hint: move it away"), "{}", said.stderr);
            fs::remove_file(&lock).or_else(|_| fs::remove_dir(&lock)).expect("removed");
        }
    }
    project.leaves_nothing();
}

#[test]
fn a_volume_without_its_record_is_no_hindrance() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("novolume", TWO);
    let volume = project.home().join("data/volumes").join(format!("{}_data", project.name()));
    let name = format!("{}_data", project.name());
    let record = volume.join("volume.json");
    for what in ["a pipe", "damaged"] {
        project.run(&["up", "-d"]).ok();
        fs::remove_file(&record).expect("removed");
        match what {
            "a pipe" => nix::unistd::mkfifo(&record, nix::sys::stat::Mode::S_IRWXU).expect("made"),
            _ => fs::write(&record, "no JSON").expect("written"),
        }
        project.run(&["volume", "ls"]).ok();
        let said = project.run(&["volume", "rm", &name]).fails(1);
        assert!(said.contains(&format!("volume rm -f {name}")), "{what}: {said}");
        let said = project.run(&["down", "-v"]);
        assert_eq!(said.code, Some(0), "{what}: {}", said.stderr);
        soon("nobody is left", || processes_of(&project).is_empty());
        project.run(&["volume", "rm", "-f", &name]).ok();
        assert!(!volume.exists(), "{what}");
    }
}
