//! The rules of `up` (here, and with its flags in `options`) and of the other verbs, each as a wish before, a wish after
//! and the plan between them. Every plan is also performed in several of the orders that it allows, and must leave
//! nothing to do; `random` does so with any wishes.

use super::desired::Condition;
use super::observed::{Health, State};
use super::reconcile::{Options, Recreate, reconcile};
use super::scene::{host, perform, wish};
use super::steps::{Action, Plan};

mod options;
mod random;
mod verbs;

/// Compares the plan from one scene to the next with the expected lines, in which `p-` and `p_` are left out.
#[track_caller]
fn check_plan(before: &str, after: &str, expected: &str) {
    check_with(Options::default(), before, after, expected);
}

#[track_caller]
fn check_with(options: Options, before: &str, after: &str, expected: &str) {
    let (wish, present) = (wish(after), host(before));
    let plan = reconcile(&wish, &present, &options).expect("it can be planned");
    compare(&plan, expected);
    let again = Options {
        recreate: if options.recreate == Recreate::Never { Recreate::Never } else { Recreate::Changed },
        recreate_dependencies: false,
        renew_anonymous_volumes: false,
        ..options
    };
    for seed in 0..8 {
        let result = perform(&wish, &present, &plan, seed);
        let mut second = reconcile(&wish, &result, &again).expect("it can be planned again");
        // A job that has ended runs again and is waited for again.
        let runs_again = |action: &Action| match action {
            Action::StartContainer { name, .. } => {
                result.containers.iter().any(|c| c.name == *name && matches!(c.state, State::Exited { .. }))
            }
            Action::Wait { condition, .. } => *condition == Condition::ServiceCompletedSuccessfully,
            _ => false,
        };
        second.steps.retain(|step| !runs_again(&step.action));
        assert!(second.is_empty(), "something is left to do:\n{second}");
    }
}

#[track_caller]
fn compare(plan: &Plan, expected: &str) {
    let squeeze = |text: &str| {
        let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        text.lines().map(line).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
    };
    let mut found = squeeze(&plan.to_string());
    for prefix in [" p-", " p_", "(p-"] {
        found = found.replace(prefix, &prefix[..1]);
    }
    assert_eq!(found, squeeze(expected), "\nthe plan is\n{plan}");
}

#[track_caller]
fn check_refused(options: Options, before: &str, after: &str, expected: &str) {
    let error = reconcile(&wish(after), &host(before), &options).expect_err("it is refused");
    assert_eq!(error.to_string(), expected);
}

fn named(services: &[&str]) -> Vec<String> {
    services.iter().map(|service| (*service).to_owned()).collect()
}

fn only(services: &[&str]) -> Options {
    Options { services: named(services), ..Options::default() }
}

#[test]
fn first_up_makes_everything() {
    check_plan(
        "",
        "db postgres:16 health vol=data\nweb nginx:1 needs=db:healthy",
        "
            1 create network default   new
            2 create volume data       new
            3 create db-1              new (after 1 2)
            4 create web-1             new (after 1)
            5 start db-1               new (after 1 3)
            6 wait db healthy            `web` depends on it (after 5)
            7 start web-1              new (after 1 4 6)
        ",
    );
}

#[test]
fn second_up_has_nothing_to_do() {
    check_plan(
        "db postgres:16 health vol=data\nweb nginx:1 x2 needs=db:healthy",
        "db postgres:16 health vol=data\nweb nginx:1 x2 needs=db:healthy",
        "",
    );
}

#[test]
fn changed_image_recreates_only_that_service() {
    check_plan(
        "web nginx:1\ndb postgres:16",
        "web nginx:2\ndb postgres:16",
        "
            1 stop web-1               image changed
            2 remove web-1             image changed (after 1)
            3 create web-1             image changed (after 2)
            4 start web-1              image changed (after 3)
        ",
    );
}

#[test]
fn changed_configuration_recreates_every_replica() {
    check_plan(
        "web nginx:1 x2 env=1",
        "web nginx:1 x2 env=2",
        "
            1 stop web-1               configuration changed
            2 remove web-1             configuration changed (after 1)
            3 stop web-2               configuration changed
            4 remove web-2             configuration changed (after 3)
            5 create web-1             configuration changed (after 2)
            6 create web-2             configuration changed (after 4)
            7 start web-1              configuration changed (after 5)
            8 start web-2              configuration changed (after 6)
        ",
    );
}

#[test]
fn changed_dependency_leaves_its_dependents_alone() {
    check_plan(
        "db pg:1\nweb nginx:1 needs=db",
        "db pg:2\nweb nginx:1 needs=db",
        "
            1 stop db-1                image changed
            2 remove db-1              image changed (after 1)
            3 create db-1              image changed (after 2)
            4 start db-1               image changed (after 3)
        ",
    );
}

#[test]
fn both_changed_stop_dependents_first() {
    check_plan(
        "db pg:1 health\nweb nginx:1 needs=db:healthy",
        "db pg:2 health\nweb nginx:2 needs=db:healthy",
        "
            1 stop web-1               image changed
            2 remove web-1             image changed (after 1)
            3 stop db-1                image changed (after 1)
            4 remove db-1              image changed (after 3)
            5 create db-1              image changed (after 4)
            6 create web-1             image changed (after 2)
            7 start db-1               image changed (after 5)
            8 wait db healthy            `web` depends on it (after 4 7)
            9 start web-1              image changed (after 6 8)
        ",
    );
}

#[test]
fn restart_true_restarts_dependents_of_a_recreated_service() {
    check_plan(
        "db pg:1\nweb nginx:1 needs=db+restart\nedge nginx:1 needs=web+restart",
        "db pg:2\nweb nginx:1 needs=db+restart\nedge nginx:1 needs=web+restart",
        "
            1 stop edge-1              `web` is restarted
            2 stop web-1               `db` is made anew (after 1)
            3 stop db-1                image changed (after 2)
            4 remove db-1              image changed (after 3)
            5 create db-1              image changed (after 4)
            6 start db-1               image changed (after 5)
            7 start web-1              `db` is made anew (after 2 6)
            8 start edge-1             `web` is restarted (after 1 7)
        ",
    );
}

#[test]
fn sharers_of_a_namespace_follow_its_recreation() {
    check_plan(
        "a x env=1\nn x join=a\ni x ipc=a\nv x from=a\nz x",
        "a x env=2\nn x join=a\ni x ipc=a\nv x from=a\nz x",
        "
            1 stop v-1                 `a` is made anew
            2 remove v-1               `a` is made anew (after 1)
            3 stop i-1                 `a` is made anew
            4 remove i-1               `a` is made anew (after 3)
            5 stop n-1                 `a` is made anew
            6 remove n-1               `a` is made anew (after 5)
            7 stop a-1                 configuration changed (after 1 3 5)
            8 remove a-1               configuration changed (after 7)
            9 create a-1               configuration changed (after 8)
            10 create n-1               `a` is made anew (after 6 8 9)
            11 create i-1               `a` is made anew (after 4 8 9)
            12 create v-1               `a` is made anew (after 2 8 9)
            13 start a-1                configuration changed (after 9)
            14 start n-1                `a` is made anew (after 10 13)
            15 start i-1                `a` is made anew (after 11 13)
            16 start v-1                `a` is made anew (after 12 13)
        ",
    );
}

#[test]
fn stopped_target_takes_its_sharers_along() {
    check_plan(
        "a x\nn x join=a\n@ a-1 exited",
        "a x\nn x join=a",
        "
            1 stop n-1                 `a` is started again
            2 start a-1                not running
            3 start n-1                `a` is started again (after 1 2)
        ",
    );
}

#[test]
fn scaling_up_fills_gaps() {
    check_plan(
        "web x x1",
        "web x x3",
        "
            1 create web-2             scaled up
            2 create web-3             scaled up
            3 start web-2              scaled up (after 1)
            4 start web-3              scaled up (after 2)
        ",
    );
}

#[test]
fn scaling_down_removes_the_highest() {
    check_plan(
        "web x x3",
        "web x x1",
        "
            1 stop web-2               scaled down
            2 remove web-2             scaled down (after 1)
            3 stop web-3               scaled down
            4 remove web-3             scaled down (after 3)
        ",
    );
}

#[test]
fn scale_zero_removes_all() {
    check_plan(
        "web x x2\ndb x",
        "web x x0\ndb x",
        "
            1 stop web-1               scaled down
            2 remove web-1             scaled down (after 1)
            3 stop web-2               scaled down
            4 remove web-2             scaled down (after 3)
        ",
    );
}

#[test]
fn one_shots_run_again() {
    check_plan(
        "job x\nweb x needs=job:done\n@ web-1 exited",
        "job x\nweb x needs=job:done",
        "
            1 start job-1              not running
            2 wait job completed         `web` depends on it (after 1)
            3 start web-1              not running (after 2)
        ",
    );
}

#[test]
fn what_runs_on_has_its_dependencies_waited_for() {
    check_plan(
        "job x\nweb x needs=job:done",
        "job x\nweb x needs=job:done",
        "
            1 start job-1              not running
            2 wait job completed         `web` depends on it (after 1)
        ",
    );
    check_plan(
        "job x\nweb x needs=job:done?\nside x needs=job",
        "job x\nweb x needs=job:done?\nside x needs=job",
        "
            1 start job-1              not running
            2 see job completed          `web` depends on it (after 1)
        ",
    );
    check_plan(
        "db x health\nweb x needs=db:healthy\n@ db-1 exited",
        "db x health\nweb x needs=db:healthy",
        "
            1 start db-1               not running
            2 wait db healthy            `web` depends on it (after 1)
        ",
    );
}

#[test]
fn a_dependency_that_runs_is_waited_for_until_it_is_healthy() {
    let scene = "db x health\nweb x needs=db:healthy\nlog x needs=db";
    let mut present = host(scene);
    for (health, expected) in [
        (Health::Healthy, ""),
        (Health::Starting, "1 wait db healthy `web` depends on it"),
        (Health::Unhealthy, "1 wait db healthy `web` depends on it"),
    ] {
        present.containers.iter_mut().filter(|c| c.service == "db").for_each(|c| c.health = Some(health));
        let plan = reconcile(&wish(scene), &present, &Options::default()).expect("it can be planned");
        compare(&plan, expected);
    }
    // Nobody who takes part waits for it.
    let log = Options { services: named(&["log"]), ..Options::default() };
    compare(&reconcile(&wish(scene), &present, &log).expect("it can be planned"), "");
}

#[test]
fn conditions_stand_between() {
    check_plan(
        "a x\nb x health needs=a:done\nc x needs=b:healthy\nz x",
        "a y\nb y health needs=a:done\nc y needs=b:healthy\nz x",
        "
            1 stop c-1                 image changed
            2 remove c-1               image changed (after 1)
            3 stop b-1                 image changed (after 1)
            4 remove b-1               image changed (after 3)
            5 remove a-1               image changed
            6 create a-1               image changed (after 5)
            7 create b-1               image changed (after 4)
            8 create c-1               image changed (after 2)
            9 start a-1                image changed (after 6)
            10 wait a completed           `b` depends on it (after 5 9)
            11 start b-1                image changed (after 7 10)
            12 wait b healthy             `c` depends on it (after 4 11)
            13 start c-1                image changed (after 8 12)
        ",
    );
}

#[test]
fn optional_dependencies_are_seen_not_waited_for() {
    check_plan(
        "",
        "bad x health\njob x\nslow x\na x needs=bad:healthy?,job:done?,slow?,off:healthy?\noff x off",
        "
            1 create network default   new
            2 create bad-1             new (after 1)
            3 create job-1             new (after 1)
            4 create slow-1            new (after 1)
            5 create a-1               new (after 1)
            6 start bad-1              new (after 1 2)
            7 start job-1              new (after 1 3)
            8 start slow-1             new (after 1 4)
            9 see bad healthy            `a` depends on it (after 6)
            10 see job completed          `a` depends on it (after 7)
            11 see slow started           `a` depends on it (after 8)
            12 start a-1                new (after 1 5 9 10 11)
        ",
    );
}

#[test]
fn stopped_containers_are_started() {
    check_plan(
        "web x\ndb x\n@ web-1 exited\n@ db-1 created",
        "web x\ndb x",
        "
            1 start web-1              not running
            2 start db-1               not started yet
        ",
    );
}

#[test]
fn restarting_containers_are_left_alone() {
    check_plan("web x\n@ web-1 restarting", "web x", "");
}

#[test]
fn half_removed_containers_are_cleared() {
    check_plan(
        "web x\n@ web-1 removing",
        "web x",
        "
            1 remove web-1             half removed
            2 create web-1             new (after 1)
            3 start web-1              new (after 2)
        ",
    );
}

#[test]
fn one_offs_are_left_alone() {
    check_plan("web x\n@ oneoff web running\n@ oneoff web exited", "web x", "");
}

#[test]
fn orphans_are_mentioned() {
    check_plan(
        "web x\nold x",
        "web x",
        "
            ! found orphan containers (old-1) for this project; if you removed or renamed a service in your compose file, run this command with `--remove-orphans` to clean them up
        ",
    );
}

#[test]
fn changed_network_is_made_anew_with_its_containers() {
    check_plan(
        "web x on=front\ndb x on=back\nnet front 1",
        "web x on=front\ndb x on=back\nnet front 2",
        "
            1 stop web-1               network front changed
            2 remove web-1             network front changed (after 1)
            3 remove network front     configuration changed (after 2)
            4 create network front     configuration changed (after 3)
            5 create web-1             network front changed (after 2 4)
            6 start web-1              network front changed (after 4 5)
        ",
    );
}

#[test]
fn lost_network_is_made_again() {
    check_plan(
        "web x\ndb x\n@ db-1 exited\n@ dead default",
        "web x\ndb x",
        "
            1 stop web-1               network default is not up any more
            2 create network default   not up any more
            3 start web-1              network default is not up any more (after 1 2)
            4 start db-1               not running (after 2)
        ",
    );
}

#[test]
fn external_things_are_used_as_they_are() {
    check_plan(
        "@ network shared\n@ volume data",
        "web x on=shared vol=data\nnet shared 9 external\nvol data external",
        "
            1 create web-1             new
            2 start web-1              new (after 1)
        ",
    );
}

#[test]
fn renamed_container() {
    check_plan(
        "web x name=one",
        "web x name=two",
        "
            1 stop one                   configuration changed
            2 remove one                 configuration changed (after 1)
            3 create two                 configuration changed (after 2)
            4 start two                  configuration changed (after 3)
        ",
    );
}

#[test]
fn fixed_name_moves_to_another_service() {
    check_plan(
        "a x name=n\nb x name=m",
        "a x name=m\nb x name=n",
        "
            1 stop m                     configuration changed
            2 remove m                   configuration changed (after 1)
            3 stop n                     configuration changed
            4 remove n                   configuration changed (after 3)
            5 create m                   configuration changed (after 2 4)
            6 create n                   configuration changed (after 2 4)
            7 start m                    configuration changed (after 5)
            8 start n                    configuration changed (after 6)
        ",
    );
}

#[test]
fn an_optional_dependency_without_health_is_only_started() {
    check_plan(
        "",
        "db x\nweb x needs=db:healthy?",
        "
            ! service `web` cannot wait for `db` to be healthy, which has no healthcheck
            1 create network default   new
            2 create db-1              new (after 1)
            3 create web-1             new (after 1)
            4 start db-1               new (after 1 2)
            5 see db started             `web` depends on it (after 4)
            6 start web-1              new (after 1 3 5)
        ",
    );
}
