//! `pull`, `push`, `login` against a registry: who is let in, what is asked for, what goes on after a break.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::support::registry::{Access, PASSWORD, Registry, Request, USER, layer, noise};
use crate::support::{Capability, Ended, Project, ended, needs, soon};

/// A user with a configuration of docker's of its own.
pub struct Client {
    pub project: Project,
}

impl Client {
    pub fn new(name: &str, compose: &str) -> Client {
        Client { project: Project::new(name, compose) }
    }

    pub fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = self.project.command(arguments);
        command.env("DOCKER_CONFIG", self.project.path().join("docker"));
        for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        command.env_remove("DOCKER_DEFAULT_PLATFORM");
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ended {
        let child = self.command(arguments).spawn().expect("rcompose starts");
        ended(child, &format!("rcompose {}", arguments.join(" ")))
    }

    pub fn login(&self, registry: &Registry, password: &str) -> Ended {
        self.run(&["login", "-u", USER, "-p", password, &registry.address])
    }

    fn docker_config(&self) -> String {
        fs::read_to_string(self.project.path().join("docker/config.json")).unwrap_or_default()
    }
}

/// An image of some layers of noise, under this name.
pub fn offer(registry: &Registry, name: &str, layers: usize, size: usize) -> String {
    let layers: Vec<_> = (0..layers as u64)
        .map(|number| layer(&[(format!("file-{number}"), noise(size, number + 1))]))
        .collect();
    registry.offer(name, &layers)
}

fn bytes_of_blobs(asked: &[Request]) -> usize {
    asked.iter().filter(|request| request.path.contains("/blobs/sha256")).map(|request| request.sent).sum()
}

pub fn count(asked: &[Request], what: impl Fn(&Request) -> bool) -> usize {
    asked.iter().filter(|request| what(request)).count()
}

#[test]
fn who_one_is_decides_what_may_be_pulled_and_pushed() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    for access in [Access::Open, Access::Basic, Access::Token { expire: false }] {
        let registry = Registry::start(access);
        let client = Client::new("who", "");
        let image = offer(&registry, "private/app:1", 2, 1000);
        let public = offer(&registry, "app:1", 2, 1000);
        if access == Access::Open {
            client.run(&["image", "pull", "-q", &image]).ok();
        } else {
            let said = client.run(&["image", "pull", "-q", &image]).fails(18);
            let hint = format!("`rcompose login {}`", registry.address);
            assert!(said.contains("anonymous") && said.contains(&hint), "{access:?}: {said}");
            let said = client.login(&registry, "wrong").fails(18);
            assert!(said.contains("check user and password") && !said.contains("wrong"), "{said}");
            assert_eq!(client.docker_config(), "", "a password that is not taken is not kept");
            client.login(&registry, PASSWORD).ok();
            let file = client.project.path().join("docker/config.json");
            assert_eq!(fs::metadata(&file).expect("written").permissions().mode() & 0o777, 0o600);
            client.run(&["image", "pull", "-q", &image]).ok();
        }
        client.run(&["image", "pull", "-q", &public]).ok();
        let mine = format!("{}/mine/app:1", registry.address);
        client.run(&["image", "tag", &image, &mine]).ok();
        let said = client.run(&["image", "push", &mine]).ok();
        assert_eq!(registry.digest("mine/app:1"), registry.digest("private/app:1"));
        assert!(said.contains(&registry.digest("mine/app:1").expect("pushed").to_string()), "{said}");
        registry.asked();
        client.run(&["image", "push", "-q", &mine]).ok();
        let again = registry.asked();
        assert_eq!(count(&again, |it| it.path.contains("/uploads/")), 0, "it has all: {again:?}");
        if access != Access::Open {
            client.run(&["logout", &registry.address]).ok();
            assert!(!client.docker_config().contains(&registry.address));
            let other = format!("{}/mine/other:1", registry.address);
            client.run(&["image", "tag", &image, &other]).ok();
            let said = client.run(&["image", "push", "-q", &other]).fails(18);
            assert!(said.contains("`rcompose login"), "{said}");
        }
    }
}

#[test]
fn a_token_that_expires_in_the_middle_is_renewed() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let registry = Registry::start(Access::Token { expire: true });
    let client = Client::new("token", "");
    let image = offer(&registry, "app:1", 9, 100);
    client.run(&["image", "pull", "-q", &image]).ok();
    let asked = registry.asked();
    assert_eq!(
        count(&asked, |it| it.status == 401),
        11,
        "once for each blob and for the manifest: {asked:?}"
    );
    let tokens = count(&asked, |it| it.path.starts_with("/token"));
    assert!((2..=11).contains(&tokens), "who meets an old token takes what another has got since: {asked:?}");
}

#[test]
fn a_pull_goes_on_where_the_connection_broke() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let registry = Registry::start(Access::Open);
    let client = Client::new("break", "");
    let blob = layer(&[("noise".into(), noise(1 << 20, 1))]);
    let size = blob.0.len();
    let image = registry.offer("app:1", &[blob]);
    registry.cut(Some(300_000));
    let mut command = client.command(&["image", "pull", "-q", &image]);
    let child = command.spawn().expect("rcompose starts");
    ended(child, "pull").ok();
    let asked = registry.asked();
    let parts = count(&asked, |it| it.status == 206);
    assert!(parts >= 3, "{asked:?}");
    // The configuration is a blob, too.
    assert!((size..size + 1000).contains(&bytes_of_blobs(&asked)), "no byte of {size} came twice: {asked:?}");
}

#[test]
fn a_pull_that_was_killed_goes_on_with_the_next_one() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let registry = Registry::start(Access::Open);
    let client = Client::new("killpull", "");
    let blob = layer(&[("noise".into(), noise(2 << 20, 1))]);
    let size = blob.0.len();
    let image = registry.offer("app:1", &[blob]);
    registry.pause(Some(Duration::from_millis(20)));
    let mut command = client.command(&["image", "pull", "-q", &image]);
    let mut child = command.process_group(0).spawn().expect("rcompose starts");
    let blobs = client.project.home().join("data/images/blobs/sha256");
    let partial = || {
        let entries = fs::read_dir(&blobs).into_iter().flatten().flatten();
        let partial = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(".partial-"));
        partial.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).max().unwrap_or(0)
    };
    soon("something of the blob is here", || partial() > 200_000);
    killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL).expect("ours");
    child.wait().expect("ended");
    registry.pause(None);
    // The worker is dead when the lock of its lease is free; until then bytes may still come.
    soon("nobody of it is left", || crate::support::processes_of(&client.project).is_empty());
    let here = partial() as usize;
    registry.asked();
    client.run(&["image", "pull", "-q", &image]).ok();
    let sent = bytes_of_blobs(&registry.asked());
    assert!(sent < size - here + 1000, "of {size} bytes {here} were here, and {sent} were asked for");
    client.run(&["system", "check"]).ok();
}

#[test]
fn what_is_here_is_asked_for_as_the_policy_says() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let registry = Registry::start(Access::Open);
    let image = offer(&registry, "app:1", 1, 100);
    let digest = registry.digest("app:1").expect("offered");
    let client = Client::new("policy", "");
    let compose = |policy: &str, image: &str| {
        client
            .project
            .write("compose.yaml", &format!("services:\n  web:\n    image: {image}\n    {policy}\n"));
    };
    compose("pull_policy: never", &image);
    let said = client.run(&["create"]).fails(1);
    assert!(said.contains("compose.yaml:3:12") && said.contains("never fetched"), "{said}");
    assert_eq!(registry.asked().len(), 0, "never is never");
    let by_digest = format!("{}/app@{digest}", registry.address);
    // What is written, what it is called with, and whether somebody is asked, in this order.
    for (policy, image, arguments, asks) in [
        ("pull_policy: missing", &image, &["create"][..], true),
        ("pull_policy: missing", &image, &["create"], false),
        ("", &image, &["create"], false),
        ("pull_policy: if_not_present", &image, &["create"], false),
        ("pull_policy: never", &image, &["create"], false),
        ("pull_policy: daily", &image, &["create"], false),
        ("pull_policy: weekly", &image, &["create"], false),
        ("pull_policy: every_1h30m", &image, &["create"], false),
        ("pull_policy: every_0s", &image, &["create"], true),
        ("pull_policy: always", &image, &["create"], true),
        ("", &image, &["create", "--pull", "always"], true),
        ("pull_policy: always", &image, &["create", "--pull", "missing"], false),
        ("", &image, &["pull"], true),
        ("", &image, &["pull", "--policy", "missing"], false),
        ("pull_policy: always", &by_digest, &["create"], false),
        ("", &by_digest, &["pull"], false),
        ("", &by_digest, &["image", "pull", &by_digest], false),
        ("", &image, &["--dry-run", "pull"], false),
    ] {
        compose(policy, image);
        registry.asked();
        client.run(arguments).ok();
        let asked = registry.asked();
        assert_eq!(!asked.is_empty(), asks, "{policy} {arguments:?}: {asked:?}");
    }
}

#[test]
fn a_failure_names_service_and_place_and_what_could_be_done() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let registry = Registry::start(Access::Open);
    let nobody = crate::support::free_port();
    let other = registry.offer_for("arm:1", "riscv64", &[layer(&[("a".into(), b"a".to_vec())])]);
    let here = offer(&registry, "app:1", 1, 100);
    let address = &registry.address;
    let client = Client::new(
        "pullfail",
        &format!(
            "services:\n  fine:\n    image: {here}\n  web:\n    image: {address}/no:1\n  db:\n    image: \
             127.0.0.1:{nobody}/gone:1\n  arm:\n    image: {other}\n"
        ),
    );
    client.run(&["image", "pull", "-q", "--platform", "linux/riscv64", &other]).ok();
    let said = client.run(&["pull"]).fails(18);
    for text in [
        "compose.yaml:5:12",
        "service `web`",
        "compose.yaml:7:12",
        "service `db`",
        "Connection refused",
        "compose.yaml:9:12",
        "is here for linux/riscv64",
        "`rcompose load -i FILE`",
    ] {
        assert!(said.contains(text), "{text:?} is missing in {said}");
    }
    assert!(!said.contains("client error"), "no layers of a library: {said}");
    assert!(client.run(&["image", "ls", "-q", &here]).ok().len() > 5, "what can come has come");
    client.run(&["pull", "--ignore-pull-failures"]).ok();
    let said = client.run(&["pull", "--quiet", "fine"]);
    assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (Some(0), "", ""));
    let said = client.run(&["--dry-run", "pull"]);
    assert!(said.stderr.contains("DRY-RUN MODE - Image") && said.code == Some(0), "{}", said.stderr);
    client.run(&["--dry-run", "up"]).ok();
    let said = client.run(&["lock"]).fails(18);
    for text in ["compose.yaml:5:12", "service `web` needs", "compose.yaml:7:12", "service `db` needs"] {
        assert!(said.contains(text), "{text:?} is missing in {said}");
    }
    client.project.write("Dockerfile", &format!("FROM 127.0.0.1:{nobody}/gone:1\n"));
    client
        .project
        .write("compose.yaml", "services: {a: {image: x}, b: {build: ., image: 'x/y'}, c: {build: .}}\n");
    let said = client.run(&["build", "c"]).fails(18);
    assert!(said.contains("`rcompose load -i FILE`"), "{said}");
    let said = client.run(&["--dry-run", "push"]).ok_stderr();
    for text in ["a  Skipped: it has no `build`", "c  Skipped: it has no `image`", "x/y  Pushed"] {
        assert!(said.contains(text), "{text:?} is missing in {said}");
    }
}

#[test]
fn a_lock_holds_images_to_their_digests() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let registry = Registry::start(Access::Open);
    let image = offer(&registry, "app:1", 1, 100);
    let client = Client::new("lockfile", &format!("services: {{web: {{image: '{image}'}}}}\n"));
    client.run(&["create"]).ok();
    client.run(&["lock"]).ok();
    let locked = fs::read_to_string(client.project.path().join("compose.lock")).expect("a lock");
    assert!(locked.contains(&registry.digest("app:1").expect("offered").to_string()), "{locked}");
    registry.asked();
    client.run(&["up", "--locked", "--no-start"]).ok();
    assert_eq!(registry.asked().len(), 0, "no tag is asked for");
    // The tag moves on: what is locked stays.
    registry.offer("app:1", &[layer(&[("other".into(), b"other".to_vec())])]);
    client.run(&["lock", "--check"]).fails(1);
    registry.asked();
    client.run(&["up", "--locked", "--no-start", "--pull", "always"]).ok();
    assert_eq!(registry.asked().len(), 0, "what is locked and here needs nobody");
    client.project.write("compose.yaml", &format!("services: {{web: {{image: '{image}2'}}}}\n"));
    let said = client.run(&["up", "--locked", "--no-start"]).code;
    assert_ne!(said, Some(0), "what is not in the lock is refused");
}

#[test]
fn progress_is_lines_in_a_pipe_and_objects_for_programs() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let registry = Registry::start(Access::Open);
    let image = offer(&registry, "app:1", 2, 100);
    let client = Client::new("progress", &format!("services: {{web: {{image: '{image}'}}}}\n"));
    let said = client.run(&["--progress", "json", "pull"]).stderr;
    let objects: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    let whole = format!("Image {image}");
    let ends: Vec<&str> = objects
        .iter()
        .filter(|it| it["id"] == whole.as_str())
        .filter_map(|it| it["status"].as_str())
        .collect();
    assert_eq!(ends, ["Pulling", "Pulled"], "{said}");
    let layers =
        objects.iter().filter(|it| it["parent_id"] == whole.as_str() && it["status"] == "Pull complete");
    assert_eq!(layers.count(), 2, "{said}");
    let said = client.run(&["pull"]).stderr;
    let lines: Vec<&str> = said.lines().map(str::trim).collect();
    assert_eq!(
        (lines.first(), lines.last()),
        (Some(&&*format!("{whole}  Pulling")), Some(&&*format!("{whole}  Pulled")))
    );
    assert!(!said.contains('\u{1b}'), "no control characters in a pipe: {said:?}");
}
