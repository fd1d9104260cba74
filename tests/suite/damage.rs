//! Records that are damaged, or gone, under a project: every command goes on, names them, and `down` leaves nothing.

use std::fs;
use std::path::PathBuf;

use crate::support::{Capability, Project, needs, processes_of, soon};

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
            if name != "journal" && !(name == "config.json" && !stopped) {
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

#[test]
fn a_project_whose_records_are_removed_is_found_and_can_be_ended() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("removed", TWO);
    for gone in [state_of(&project), project.home().join("state"), project.home()] {
        project.run(&["up", "-d"]).ok();
        fs::remove_dir_all(&gone).expect("removed");
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
