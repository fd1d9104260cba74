//! `up` killed with SIGKILL at any instant: the next `up` works, and `down -v` leaves nothing.

use std::time::Duration;

use crate::support::{Capability, Project, needs};

/// `RCOMPOSE_TEST_UP_KILLS` sets how many instants are tried; they are spread over the first 100 ms.
#[test]
fn up_killed_at_any_instant_leaves_what_up_and_down_can_mend() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let instants: u64 =
        std::env::var("RCOMPOSE_TEST_UP_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let project = Project::new(
        "killed",
        r#"
services:
  a:
    image: rootfs:/
    command: sleep 1000
    stop_grace_period: 0s
    healthcheck: {test: "true", interval: 50ms}
    volumes: [data:/data]
  b:
    image: rootfs:/
    command: sleep 1000
    stop_grace_period: 0s
    depends_on: {a: {condition: service_healthy}}
volumes: {data: {}}
"#,
    );
    for instant in 0..instants {
        let mut child = project.start(&["up", "-d"]);
        std::thread::sleep(Duration::from_millis(instant * 100 / instants));
        child.kill().expect("ours");
        child.wait().expect("ended");
        project.run(&["up", "-d"]).ok();
        assert_eq!(
            (project.field("a", "State").as_str(), project.field("b", "State").as_str()),
            ("running", "running")
        );
        project.leaves_nothing();
    }
}
