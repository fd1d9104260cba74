//! Each folder of `compose-examples/` works as its README lines say.

use crate::support::{Capability, Project, free_port, get, needs, soon};

#[test]
fn quickstart_serves_notes_and_keeps_them_over_down() {
    if !needs(&[Capability::UserNamespaces, Capability::Python]) {
        return;
    }
    let project = Project::copy("quick", "compose-examples/quickstart");
    let port = free_port();
    project.write(".env", &format!("PORT={port}\n"));
    project.run(&["up", "-d", "--wait"]).ok();
    let page = get(port, "/").expect("the page");
    assert!(page.contains("named volume"), "{page}");
    assert_eq!(project.field("store", "Health"), "healthy");
    assert_eq!(project.field("seed", "ExitCode"), "0");
    assert!(project.logs("web").contains(&format!("http://127.0.0.1:{port}/")));

    project.run(&["down"]).ok();
    assert!(get(port, "/").is_err(), "the port is closed after down");
    project.run(&["up", "-d", "--wait"]).ok();
    assert!(project.logs("seed").contains("still here"), "{}", project.logs("seed"));
    soon("the page is back", || get(port, "/").is_ok());
    project.leaves_nothing();
}

#[test]
fn nothing_is_doubtful_in_what_the_examples_build() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    // Their images come from a registry, so what they do is seen where that is at hand; what they say is seen here.
    for folder in ["python", "node", "c", "static-site", "rust"] {
        let project = Project::copy("example", &format!("compose-examples/{folder}"));
        let said = project.run(&["--profile", "*", "build", "--check"]).ok();
        assert_eq!(said.trim(), "Check complete, no warnings found.", "{folder}");
    }
}
