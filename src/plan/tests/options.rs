//! What flags of `up` change, and what it refuses.

use super::*;

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
            7 create side-1            `db` is made anew (after 2 5 6)
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
        "network p_shared is external, and networks that projects share are not supported yet",
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
fn those_of_other_files_are_not_orphans() {
    let mut present = host("web x\nold x");
    for container in &mut present.containers {
        container.labels.insert(crate::plan::reconcile::CONFIG_FILES.to_owned(), "/p/other.yaml".to_owned());
    }
    let plan = reconcile(&wish("web x"), &present, &Options::default()).expect("it can be planned");
    compare(&plan, "");
}
