//! `stop`, `start`, `restart`, `down` and `rm`.

use super::*;
use crate::plan::desired::Desired;
use crate::plan::observed::Observed;
use crate::plan::{Down, Error, Remove, down, remove, restart, start, stop};

/// Compares another verb's plan, and performs it.
#[track_caller]
fn check_verb(scene: &str, verb: impl Fn(&Observed, &Desired) -> Result<Plan, Error>, expected: &str) {
    let (wish, present) = (wish(scene), host(scene));
    let plan = verb(&present, &wish).expect("it can be planned");
    compare(&plan, expected);
    for seed in 0..8 {
        perform(&wish, &present, &plan, seed);
    }
}

/// A chain with a job, two replicas and an orphan's one-off.
const STACK: &str = "db pg health vol=data\njob x needs=db:healthy\nweb nginx x2 needs=db:healthy,job:done+restart\n@ oneoff web running";

#[test]
fn stop_goes_against_the_dependencies() {
    check_verb(
        STACK,
        |present, wish| stop(present, Some(wish), &[], None),
        "
            1 stop web-1               stopped by the user
            2 stop web-2               stopped by the user
            3 stop db-1                stopped by the user (after 1 2)
        ",
    );
}

#[test]
fn stop_of_one_leaves_its_dependencies() {
    check_verb(
        STACK,
        |present, wish| stop(present, Some(wish), &named(&["web"]), None),
        "
            1 stop web-1               stopped by the user
            2 stop web-2               stopped by the user
        ",
    );
}

#[test]
fn stop_knows_the_order_without_a_wish() {
    check_verb(
        "a x\nb x needs=a",
        |present, _| stop(present, None, &[], None),
        "
            1 stop b-1                 stopped by the user
            2 stop a-1                 stopped by the user (after 1)
        ",
    );
}

#[test]
fn stop_of_the_stopped_is_nothing() {
    check_verb("web x\n@ web-1 exited", |present, wish| stop(present, Some(wish), &[], None), "");
}

#[test]
fn start_goes_along_the_dependencies() {
    let scene = "db x health\nweb x needs=db:healthy\nz x\n@ db-1 exited\n@ web-1 exited\n@ z-1 exited";
    check_verb(
        scene,
        |present, wish| start(present, Some(wish), &named(&["web"])),
        "
            1 start db-1               started by the user
            2 wait db healthy            `web` depends on it (after 1)
            3 start web-1              started by the user (after 2)
        ",
    );
}

#[test]
fn start_after_a_reboot_brings_networks_back() {
    let scene = "web x\nz x on=back\n@ web-1 exited\n@ dead default";
    check_verb(
        scene,
        |present, wish| start(present, Some(wish), &[]),
        "
            1 create network default   not up any more
            2 start web-1              started by the user (after 1)
        ",
    );
}

#[test]
fn start_needs_a_container() {
    let error = start(&host(""), Some(&wish("web x")), &[]).expect_err("there is none");
    assert_eq!(error.to_string(), "service \"web\" has no container to start");
}

#[test]
fn restart_takes_those_along_that_ask_for_it() {
    let scene =
        "db x health\nweb x needs=db:healthy+restart\nv x needs=db\nidle x needs=db+restart\n@ idle-1 exited";
    check_verb(
        scene,
        |present, wish| restart(present, Some(wish), &named(&["db"]), Some(0), false),
        "
            1 stop web-1               what it depends on is restarted
            2 stop db-1                restarted by the user (after 1)
            3 start db-1               restarted by the user (after 2)
            4 wait db healthy            `web` depends on it (after 3)
            5 start web-1              what it depends on is restarted (after 1 4)
        ",
    );
}

#[test]
fn restart_without_dependents() {
    let scene = "db x\nweb x needs=db+restart";
    check_verb(
        scene,
        |present, wish| restart(present, Some(wish), &named(&["db"]), None, true),
        "
            1 stop db-1                restarted by the user
            2 start db-1               restarted by the user (after 1)
        ",
    );
}

#[test]
fn restart_of_all_starts_what_stood_still() {
    let scene = "db x\nweb x needs=db\n@ db-1 exited";
    check_verb(
        scene,
        |present, wish| restart(present, Some(wish), &[], None, false),
        "
            1 stop web-1               restarted by the user
            2 start db-1               restarted by the user
            3 start web-1              restarted by the user (after 1 2)
        ",
    );
}

#[test]
fn restart_of_a_target_takes_its_sharers_along() {
    let scene = "a x\nn x join=a";
    check_verb(
        scene,
        |present, wish| restart(present, Some(wish), &named(&["a"]), None, false),
        "
            1 stop n-1                 what it depends on is restarted
            2 stop a-1                 restarted by the user (after 1)
            3 start a-1                restarted by the user (after 2)
            4 start n-1                what it depends on is restarted (after 1 3)
        ",
    );
}

#[test]
fn down_keeps_one_offs_and_what_they_use() {
    check_verb(
        STACK,
        |present, wish| down(present, Some(wish), &Down::default()),
        "
            ! network default is still in use by container web-run-abc and stays
            1 stop web-1               taken down
            2 remove web-1             taken down (after 1)
            3 stop web-2               taken down
            4 remove web-2             taken down (after 3)
            5 remove job-1             taken down
            6 stop db-1                taken down (after 1 3)
            7 remove db-1              taken down (after 6)
        ",
    );
}

#[test]
fn down_with_everything_leaves_nothing() {
    let what = Down { volumes: true, orphans: true, ..Down::default() };
    check_verb(
        STACK,
        |present, wish| down(present, Some(wish), &what),
        "
            1 stop web-1               taken down
            2 remove web-1 with volumes taken down (after 1)
            3 stop web-2               taken down
            4 remove web-2 with volumes taken down (after 3)
            5 stop web-run-abc         taken down
            6 remove web-run-abc with volumes taken down (after 5)
            7 remove job-1 with volumes taken down
            8 stop db-1                taken down (after 1 3 5)
            9 remove db-1 with volumes taken down (after 8)
            10 remove network default   taken down (after 2 4 6 7 9)
            11 remove volume data       taken down (after 9)
        ",
    );
}

#[test]
fn down_leaves_external_things() {
    let scene = "web x on=shared,own vol=data,mine\nnet shared 1 external\nvol data external";
    check_verb(
        scene,
        |present, wish| down(present, Some(wish), &Down { volumes: true, ..Down::default() }),
        "
            1 stop web-1               taken down
            2 remove web-1 with volumes taken down (after 1)
            3 remove network own       taken down (after 2)
            4 remove volume mine       taken down (after 2)
        ",
    );
}

#[test]
fn down_of_one_takes_only_what_is_its_own() {
    let scene = "a x on=one,both vol=va,vb\nb x on=both vol=vb";
    let services = named(&["a"]);
    let what = Down { services: &services, volumes: true, ..Down::default() };
    check_verb(
        scene,
        |present, wish| down(present, Some(wish), &what),
        "
            ! volume vb is still in use by container b-1 and stays
            1 stop a-1                 taken down
            2 remove a-1 with volumes  taken down (after 1)
            3 remove network one       taken down (after 2)
            4 remove volume va         taken down (after 2)
        ",
    );
}

#[test]
fn down_mentions_orphans() {
    let declared = named(&["web"]);
    let what = Down { declared: Some(&declared), ..Down::default() };
    check_verb(
        "web x\nold x",
        |present, wish| down(present, Some(wish), &what),
        "
            ! found orphan containers (old-1) for this project; `rcompose down --remove-orphans` removes them
            ! network default is still in use by container old-1 and stays
            1 stop web-1               taken down
            2 remove web-1             taken down (after 1)
        ",
    );
}

#[test]
fn down_of_one_with_orphans_leaves_its_siblings() {
    let (declared, services) = (named(&["a", "b"]), named(&["a"]));
    let what = Down { services: &services, declared: Some(&declared), orphans: true, ..Down::default() };
    check_verb(
        "a x\nb x\nold x",
        |present, wish| down(present, Some(wish), &what),
        "
            1 stop old-1               taken down
            2 remove old-1             taken down (after 1)
            3 stop a-1                 taken down
            4 remove a-1               taken down (after 3)
        ",
    );
}

#[test]
fn volumes_that_an_earlier_down_has_left_go_though_nobody_remembers_them() {
    let present = Observed { volumes: named(&["p_data", "other_data"]), ..Observed::default() };
    let declared_volumes = named(&["p_data", "p_never_made"]);
    for (volumes, expected) in [(true, vec!["p_data"]), (false, vec![])] {
        let what = Down { volumes, declared_volumes: &declared_volumes, ..Down::default() };
        let plan = down(&present, None, &what).expect("a plan");
        let removed: Vec<&str> = plan
            .steps
            .iter()
            .map(|step| match &step.action {
                Action::RemoveVolume { volume } => volume.as_str(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(removed, expected);
    }
}

#[test]
fn down_twice_is_nothing() {
    check_verb("", |present, wish| down(present, Some(wish), &Down { volumes: true, ..Down::default() }), "");
}

#[test]
fn rm_takes_what_is_stopped() {
    let scene = "a x\nb x\n@ b-1 exited";
    check_verb(
        scene,
        |present, wish| remove(present, Some(wish), &Remove::default()),
        "
            1 remove b-1               removed by the user
        ",
    );
}

#[test]
fn rm_can_stop_before() {
    let services = named(&["a"]);
    let what = Remove { services: &services, stop: true, volumes: true };
    check_verb(
        "a x\nb x needs=a",
        |present, wish| remove(present, Some(wish), &what),
        "
            1 stop a-1                 removed by the user
            2 remove a-1 with volumes  removed by the user (after 1)
        ",
    );
}
