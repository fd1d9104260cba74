//! The cache as a user sees it: what there is, what goes, and that it keeps to its budget.

use std::process::Command;

use serde_json::Value;

use super::super::support::Project;
use super::super::support::registry::{Access, Registry};
use super::{ONE, with_programs};

/// Entries by their type, with their bytes in words.
fn entries(project: &Project, kind: &str) -> Vec<Value> {
    let filter = format!("type={kind}");
    let lines = project.run(&["builder", "du", "--format", "json", "--filter", &filter]).ok();
    lines.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[test]
fn a_change_far_down_does_again_only_what_depends_on_it() {
    let steps = "RUN echo 1 >/1\nCOPY a.txt /\nRUN cat a.txt >/2\n";
    let Some(project) = with_programs("far", ONE, &[("Dockerfile", steps)]) else { return };
    let cached = |project: &Project| project.run(&["build"]).ok_stderr().matches("CACHED").count();
    project.write("a.txt", "one\n");
    assert_eq!(cached(&project), 0);
    assert_eq!(cached(&project), 4);
    project.write("a.txt", "two\n");
    assert_eq!(cached(&project), 2);
    project.write("a.txt", "one\n");
    assert_eq!(cached(&project), 4, "what was built before is still known");
    project.run(&["down", "-v"]).ok();
    assert_eq!(cached(&project), 4, "`down` takes nothing out of the cache");
    assert!(project.run(&["build", "--no-cache"]).ok_stderr().matches("CACHED").count() == 0);
}

#[test]
fn what_is_pruned_is_done_again_and_images_stay_whole() {
    let steps = "RUN --mount=type=cache,id=kept,target=/m echo x >/m/x; echo 1 >/1\nCMD [\"sh\"]\n";
    let Some(project) = with_programs("prune", ONE, &[("Dockerfile", steps)]) else { return };
    project.run(&["build"]).ok();
    assert_eq!(entries(&project, "regular").len(), 2);
    assert_eq!(entries(&project, "exec.cachemount").len(), 1);
    // Steps of an image take no space of their own; nothing of this is an hour old.
    project.run(&["builder", "prune", "-f", "--filter", "type=regular"]).ok();
    project.run(&["builder", "prune", "-af", "--filter", "until=1h"]).ok();
    assert_eq!(entries(&project, "regular").len(), 2);
    let said = project.run(&["builder", "prune", "-af"]).ok();
    assert!(said.contains("Total reclaimed space: "), "{said}");
    assert!(entries(&project, "regular").is_empty() && entries(&project, "exec.cachemount").is_empty());
    project.run(&["create"]).ok();
    assert_eq!(project.run(&["build"]).ok_stderr().matches("CACHED").count(), 0);
    let said = project.run(&["builder", "prune"]).fails(2);
    assert!(said.contains("--force"), "{said}");
}

#[test]
fn others_find_what_was_done_in_a_cache_of_theirs() {
    let compose = "services:
  app:
    image: t-shared:1
    build:
      context: .
      network: none
      cache_from: ['type=local,src=shared']
      cache_to: ['type=local,dest=shared,mode=max']
";
    let steps =
        "RUN echo 1 >/1 && mkdir /d && echo 2 >/d/2\nFROM host\nCOPY --from=0 /d /d\nRUN cat /d/2 >/3\n";
    let Some(first) = with_programs("give", compose, &[("Dockerfile", steps)]) else { return };
    first.run(&["build"]).ok();
    // Another user's, as far as the cache can tell.
    let Some(second) = with_programs("take", compose, &[("Dockerfile", steps)]) else { return };
    let copied = Command::new("cp").arg("-r").arg(first.path().join("shared")).arg(second.path()).status();
    assert!(copied.expect("cp").success());
    let said = second.run(&["build"]).ok_stderr();
    assert_eq!(said.matches("CACHED").count(), 4, "{said}");
    // Without the labels that name the project.
    let id = |project: &Project| project.run(&["image", "build", "-q", "--network", "none", "."]).ok();
    assert_eq!(id(&first), id(&second));
    // One that is damaged or missing is left.
    let Some(third) = with_programs("none", compose, &[("Dockerfile", steps)]) else { return };
    let said = third.run(&["build"]).ok_stderr();
    assert!(said.contains("is left") && said.matches("CACHED").count() == 0, "{said}");
}

#[test]
fn a_registry_holds_a_cache_too() {
    let registry = Registry::start(Access::Open);
    let name = format!("{}/team/cache:main", registry.address);
    let compose = ONE.replace(
        "network: none",
        &format!("network: none, cache_from: ['{name}'], cache_to: ['type=registry,ref={name}']"),
    );
    let steps = "RUN echo 1 >/1\n";
    let Some(first) = with_programs("regive", &compose, &[("Dockerfile", steps)]) else { return };
    let said = first.run(&["build"]).ok_stderr();
    assert!(said.contains("it holds no cache of rcompose, and is left"), "{said}");
    assert!(registry.digest("team/cache:main").is_some(), "{said}");
    let Some(second) = with_programs("retake", &compose, &[("Dockerfile", steps)]) else { return };
    let said = second.run(&["build"]).ok_stderr();
    assert_eq!(said.matches("CACHED").count(), 2, "{said}");
    drop(registry);
}

#[test]
fn the_cache_keeps_to_its_budget() {
    // Each build leaves a stage of a megabyte that no image has.
    let steps = "ARG N\nFROM host AS large\nARG N\nRUN i=0; while [ $i -lt 1024 ]; do echo \"$N\"; i=$((i+1)); done >/x; \
                 cat /x /x /x /x >/y; cat /y /y /y /y >/z; cat /z /z /z /z >/y; cat /y /y /y /y >/z\nFROM host\nCOPY --from=large /x /\n";
    let Some(project) = with_programs("budget", ONE, &[("Dockerfile", steps)]) else { return };
    assert!(project.run(&["builder", "budget"]).ok().contains("nothing was set"));
    project.run(&["builder", "budget", "2mb"]).ok();
    for number in 0..6 {
        project.run(&["build", "--build-arg", &format!("N={number}")]).ok();
    }
    let large = entries(&project, "regular")
        .iter()
        .filter(|entry| entry["Description"].to_string().contains("while"))
        .count();
    assert!((1..=3).contains(&large), "{large} of six are left");
    project.run(&["builder", "budget", "none"]).ok();
    assert_eq!(project.run(&["builder", "budget"]).ok().trim(), "none");
}
