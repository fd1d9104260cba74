//! The rules of `up` and of the other verbs, each as a wish before, a wish after and the plan between them. Every plan
//! is also performed in several of the orders that it allows, and must leave nothing to do.

use super::observed::State;
use super::reconcile::{Options, Recreate, reconcile};
use super::scene::{host, perform, wish};
use super::steps::{Action, Plan};
use super::{Down, Error, Remove, down, remove, restart, start, stop};

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
        // A job that has ended runs again; what waits for it may be left out.
        let runs_again = |action: &Action| match action {
            Action::StartContainer { name, .. } => {
                result.containers.iter().any(|c| c.name == *name && matches!(c.state, State::Exited { .. }))
            }
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
            8 wait db healthy            `web` depends on it (after 7)
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
            10 create n-1               `a` is made anew (after 6 9)
            11 create i-1               `a` is made anew (after 4 9)
            12 create v-1               `a` is made anew (after 2 9)
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
            10 wait a completed           `b` depends on it (after 9)
            11 start b-1                image changed (after 7 10)
            12 wait b healthy             `c` depends on it (after 11)
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
fn recreate_by_force() {
    check_with(
        Options { recreate: Recreate::Force, services: named(&["web"]), ..Options::default() },
        "db x\nweb x needs=db",
        "db x\nweb x needs=db",
        "
            1 stop web-1               forced
            2 remove web-1             forced (after 1)
            3 create web-1             forced (after 2)
            4 start web-1              forced (after 3)
        ",
    );
}

#[test]
fn dependencies_are_recreated_when_asked_for() {
    check_with(
        Options { recreate_dependencies: true, ..only(&["web"]) },
        "db x\nweb x needs=db\nz x",
        "db x\nweb x needs=db\nz x",
        "
            1 stop db-1                forced
            2 remove db-1              forced (after 1)
            3 create db-1              forced (after 2)
            4 start db-1               forced (after 3)
        ",
    );
}

#[test]
fn no_recreate_keeps_what_is_there() {
    check_with(
        Options { recreate: Recreate::Never, ..Options::default() },
        "web x env=1",
        "web y env=2 x2",
        "
            1 create web-2             scaled up
            2 start web-2              scaled up (after 1)
        ",
    );
}

#[test]
fn no_recreate_scales_down_by_number_alone() {
    check_with(
        Options { recreate: Recreate::Never, ..Options::default() },
        "web x env=1 x2",
        "web x env=2 x1",
        "
            1 stop web-2               scaled down
            2 remove web-2             scaled down (after 1)
        ",
    );
}

#[test]
fn new_anonymous_volumes_are_not_taken_over() {
    check_with(
        Options { renew_anonymous_volumes: true, ..Options::default() },
        "web x",
        "web x",
        "
            1 stop web-1               anonymous volumes renewed
            2 remove web-1 with volumes anonymous volumes renewed (after 1)
            3 create web-1             anonymous volumes renewed (after 2)
            4 start web-1              anonymous volumes renewed (after 3)
        ",
    );
}

#[test]
fn only_the_named_service_and_what_it_needs() {
    check_with(
        only(&["web"]),
        "",
        "db x\nweb x needs=db on=front\nz x on=back vol=data",
        "
            1 create network default   new
            2 create network front     new
            3 create db-1              new (after 1)
            4 create web-1             new (after 2)
            5 start db-1               new (after 1 3)
            6 start web-1              new (after 2 4 5)
        ",
    );
}

#[test]
fn no_dependencies() {
    check_with(
        Options { no_dependencies: true, ..only(&["web"]) },
        "",
        "db x health\nweb x needs=db:healthy",
        "
            1 create network default   new
            2 create web-1             new (after 1)
            3 start web-1              new (after 1 2)
        ",
    );
}

#[test]
fn no_start_creates() {
    check_with(
        Options { no_start: true, ..Options::default() },
        "",
        "db x health\nweb x needs=db:healthy",
        "
            1 create network default   new
            2 create db-1              new (after 1)
            3 create web-1             new (after 1)
        ",
    );
}

#[test]
fn no_start_recreates_without_starting() {
    check_with(
        Options { no_start: true, ..Options::default() },
        "db x\nweb x needs=db+restart",
        "db y\nweb x needs=db+restart",
        "
            1 stop db-1                image changed
            2 remove db-1              image changed (after 1)
            3 create db-1              image changed (after 2)
        ",
    );
}

#[test]
fn orphans_are_removed_when_asked_for() {
    check_with(
        Options { remove_orphans: true, ..Options::default() },
        "web x\nold x needs=web\n@ oneoff web exited\n@ oneoff old running",
        "web x",
        "
            1 stop old-1               orphan
            2 remove old-1             orphan (after 1)
            3 stop old-run-abc         orphan
            4 remove old-run-abc       orphan (after 3)
            5 remove web-run-abc       orphan
        ",
    );
}

#[test]
fn orphans_are_not_mentioned_when_told_so() {
    check_with(Options { ignore_orphans: true, ..Options::default() }, "web x\nold x", "web x", "");
}

#[test]
fn an_orphan_gives_its_name_away() {
    check_with(
        Options { remove_orphans: true, ..Options::default() },
        "old x name=n",
        "web x name=n",
        "
            1 stop n                     orphan
            2 remove n                   orphan (after 1)
            3 create n                   new (after 2)
            4 start n                    new (after 3)
        ",
    );
}

#[test]
fn recreation_reaches_services_that_do_not_take_part() {
    check_with(
        only(&["db"]),
        "db x\nweb x needs=db+restart\nside x join=db\nz x",
        "db y\nweb x needs=db+restart\nside x join=db\nz y",
        "
            1 stop side-1              `db` is made anew
            2 remove side-1            `db` is made anew (after 1)
            3 stop web-1               `db` is made anew
            4 stop db-1                image changed (after 1 3)
            5 remove db-1              image changed (after 4)
            6 create db-1              image changed (after 5)
            7 create side-1            `db` is made anew (after 2 6)
            8 start db-1               image changed (after 6)
            9 start web-1              `db` is made anew (after 3 8)
            10 start side-1             `db` is made anew (after 7 8)
        ",
    );
}

#[test]
fn changed_network_stops_those_that_do_not_take_part() {
    check_with(
        only(&["web"]),
        "web x\ndb x\nidle x\n@ idle-1 exited\nnet default 1",
        "web x\ndb x\nidle x\nnet default 2",
        "
            1 stop db-1                network default changed
            2 stop web-1               network default changed
            3 remove web-1             network default changed (after 2)
            4 remove network default   configuration changed (after 1 3)
            5 create network default   configuration changed (after 4)
            6 create web-1             network default changed (after 3 5)
            7 start web-1              network default changed (after 5 6)
            8 start db-1               network default changed (after 1 5)
        ",
    );
}

#[test]
fn no_recreate_keeps_a_changed_network() {
    check_with(
        Options { recreate: Recreate::Never, ..Options::default() },
        "web x\nnet default 1",
        "web x\nnet default 2",
        "
            ! network default has changed and is left as it was made
        ",
    );
}

#[test]
fn the_users_grace_is_used() {
    let options = Options { grace_ms: Some(7), ..Options::default() };
    let plan = reconcile(&wish("web y"), &host("web x"), &options).expect("it can be planned");
    assert!(matches!(plan.steps[0].action, Action::StopContainer { grace_ms: Some(7), .. }), "{plan}");
}

#[test]
fn a_recreated_container_takes_over_what_was_anonymous() {
    let present = host("web x");
    let replaced = |options: &Options| {
        let plan = reconcile(&wish("web y"), &present, options).expect("it can be planned");
        let create = plan.steps.into_iter().find_map(|step| match step.action {
            Action::CreateContainer { replaces, .. } => Some(replaces),
            _ => None,
        });
        create.expect("it is made anew")
    };
    assert_eq!(replaced(&Options::default()), Some(present.containers[0].id.clone()));
    assert_eq!(replaced(&Options { renew_anonymous_volumes: true, ..Options::default() }), None);
}

#[test]
fn what_cannot_come_true_is_refused() {
    let all = Options::default;
    let alone = |service: &str| Options { no_dependencies: true, ..only(&[service]) };
    check_refused(only(&["wbe"]), "", "web x", "no such service: wbe");
    check_refused(
        all(),
        "",
        "web x x2 name=one",
        "service `web` has the container name `one` and cannot have 2 containers",
    );
    check_refused(
        all(),
        "",
        "a x name=n\nb x name=n",
        "container name `n` is asked for by service `a` and by service `b`",
    );
    check_refused(
        all(),
        "old x name=n",
        "web x name=n",
        "container name `n` is already in use by a container of service `old`",
    );
    check_refused(
        all(),
        "",
        "web x on=shared\nnet shared 1 external",
        "network p_shared declared as external, but could not be found",
    );
    check_refused(all(), "", "web x vol=data\nvol data external", "external volume \"p_data\" not found");
    check_refused(
        all(),
        "web x\n@ oneoff web running",
        "web x\nnet default 2",
        "network p_default has changed and cannot be made anew while container p-web-run-abc is on it",
    );
    check_refused(
        alone("n"),
        "",
        "a x\nn x join=a",
        "service `n` uses the network of service `a`, which has no container",
    );
    check_refused(
        alone("n"),
        "",
        "a x\nn x from=a",
        "service `n` uses the volumes of service `a`, which has no container",
    );
    check_refused(
        alone("n"),
        "a x\n@ a-1 exited",
        "a x\nn x pid=a",
        "service `n` uses the process ids of service `a`, whose container p-a-1 is not running",
    );
    check_refused(
        all(),
        "",
        "db x\nweb x needs=db:healthy",
        "service `web` waits for `db` to be healthy, which has no healthcheck",
    );
}

#[test]
fn what_is_not_asked_for_is_not_refused() {
    // Each alone is fine with a name that two want; an external network that nobody uses now need not exist.
    check_with(
        only(&["a"]),
        "",
        "a x name=n\nb x name=n\nc x on=shared\nnet shared 1 external",
        "
            1 create network default   new
            2 create n                   new (after 1)
            3 start n                    new (after 1 2)
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

#[test]
fn those_of_other_files_are_not_orphans() {
    let mut present = host("web x\nold x");
    for container in &mut present.containers {
        container.labels.insert(super::reconcile::CONFIG_FILES.to_owned(), "/p/other.yaml".to_owned());
    }
    let plan = reconcile(&wish("web x"), &present, &Options::default()).expect("it can be planned");
    compare(&plan, "");
}

/// Compares another verb's plan, and performs it.
#[track_caller]
fn check_verb(
    scene: &str,
    verb: impl Fn(&super::observed::Observed, &super::desired::Desired) -> Result<Plan, Error>,
    expected: &str,
) {
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
