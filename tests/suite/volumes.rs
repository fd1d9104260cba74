//! What becomes of volumes when their containers go.

use crate::support::{Capability, Project, needs};

#[test]
fn anonymous_volumes_that_a_down_has_left_are_listed_and_a_later_down_removes_them() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new(
        "anonymous",
        r#"
services:
  a: {image: "rootfs:/", command: sleep 1000, stop_grace_period: 0s, volumes: [/first, /second]}
  other: {image: "rootfs:/", command: sleep 1000, stop_grace_period: 0s, volumes: [named:/named]}
volumes: {named: {}}
"#,
    );
    let volumes = |arguments: &[&str]| -> Vec<String> {
        let listed = project.run(&[arguments, &["volumes", "-q"]].concat()).ok();
        listed.lines().map(str::to_owned).collect()
    };
    project.run(&["up", "-d"]).ok();
    let before = volumes(&[]);
    assert_eq!(before.len(), 3);
    project.run(&["down"]).ok();
    assert_eq!(volumes(&[]), before);
    assert_eq!(volumes(&["-p", "somebody-elses"]).len(), 0);
    // New ones beside the old: each container has its own.
    project.run(&["up", "-d"]).ok();
    assert_eq!(volumes(&[]).len(), 5);
    project.run(&["down"]).ok();
    project.run(&["-p", "somebody-elses", "down", "-v"]).ok();
    assert_eq!(volumes(&[]).len(), 5);
    project.run(&["down", "-v"]).ok();
    assert_eq!(volumes(&[]), Vec::<String>::new());
    project.leaves_nothing();
}
