//! Commands on the image store: archives in every form, names, templates, and images made of containers.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::pull::Client;
use crate::support::registry::{Access, Registry, layer};
use crate::support::{Capability, Ended, needs};

fn files() -> Vec<(String, Vec<u8>)> {
    vec![("run".to_owned(), b"#!/bin/sh\n".to_vec()), ("etc/motd".to_owned(), b"hello\n".to_vec())]
}

/// A client that has pulled one image.
fn with_image(name: &str, compose: &str) -> (Registry, Client, String) {
    let registry = Registry::start(Access::Open);
    let image = registry.offer("app:1", &[layer(&files()), layer(&[("top".into(), b"top".to_vec())])]);
    let client = Client::new(name, &compose.replace("IMAGE", &image));
    client.run(&["image", "pull", "-q", &image]).ok();
    (registry, client, image)
}

fn line(ended: Ended) -> String {
    ended.ok().trim().to_owned()
}

#[test]
fn what_is_saved_in_any_form_is_loaded_as_the_same_image() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let (_registry, client, image) = with_image("forms", "");
    let id = line(client.run(&["image", "inspect", "-f", "{{.Id}}", &image]));
    for form in ["docker-archive", "docker-archive-v1", "oci-archive", "oci"] {
        let file = format!("saved-{form}");
        client.run(&["save", "--format", form, "-o", &file, &image]).ok();
        client.run(&["rmi", "-f", &image]).ok();
        assert_eq!(client.run(&["image", "ls", "-q", "-a"]).ok(), "");
        // A layout is a directory, and any of them may be loaded.
        let said = client.run(&["load", "-i", &file]);
        assert!(said.stdout.contains(&format!("Loaded image: {image}")), "{form}: {}", said.stdout);
        assert!(said.stderr.contains("Loaded") && !said.stderr.contains("Pull"), "{form}: {}", said.stderr);
        assert_eq!(line(client.run(&["image", "inspect", "-f", "{{.Id}}", &image])), id, "{form}");
        if form != "oci" {
            let bytes = fs::read(client.project.path().join(&file)).expect("saved");
            let mut command = client.command(&["load", "-q"]);
            command.stdin(fs::File::open(client.project.path().join(&file)).expect("opened"));
            crate::support::ended(command.spawn().expect("rcompose starts"), "load").ok();
            let again = client.command(&["save", "--format", form, &image]).output().expect("saved");
            assert!(again.stdout == bytes, "{form}: the same bytes, on standard output too");
        }
    }
    client.run(&["image", "tag", &image, "other:1"]).ok();
    let completed = client
        .command(&["--", "rcompose", "image", "rm", "oth"])
        .env("RCOMPOSE_COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", "3")
        .output();
    assert!(String::from_utf8_lossy(&completed.expect("completed").stdout).contains("other:1"));
    let said = client.run(&["load", "-q", "-i", "saved-oci"]).ok();
    assert_eq!(said, format!("Loaded image: {image}\n"), "what it is called in the archive, not here");
    client.run(&["system", "check"]).ok();
}

#[test]
fn a_dry_run_changes_nothing_or_is_refused() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let (_registry, client, image) = with_image("dry", "");
    let before = client.run(&["image", "ls", "-a", "--no-trunc"]).ok();
    for arguments in [
        &["rmi", &image][..],
        &["image", "rm", &image],
        &["image", "tag", &image, "other:1"],
        &["image", "pull", &image],
        &["image", "push", &image],
        &["image", "prune", "-af"],
        &["load", "-i", "nothing"],
        &["save", "-o", "file", &image],
        &["system", "budget", "1m"],
        &["builder", "budget", "1m"],
        &["volume", "create", "v"],
        &["logout", "127.0.0.1:9"],
    ] {
        let said = client.run(&[&["--dry-run"], arguments].concat()).fails(2);
        assert!(said.contains("has no dry run"), "{arguments:?}: {said}");
    }
    assert_eq!(client.run(&["image", "ls", "-a", "--no-trunc"]).ok(), before);
    assert!(!client.project.path().join("file").exists());
    assert_eq!(client.run(&["system", "budget"]).ok(), "none\n");
    assert_eq!(client.run(&["volume", "ls", "-q"]).ok(), "");
}

#[test]
fn what_cannot_be_loaded_is_said_with_one_code() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let client = Client::new("noload", "");
    client.project.write("text", "no archive\n");
    fs::create_dir(client.project.path().join("empty")).expect("made");
    for (input, text) in
        [("nowhere", "cannot read `nowhere`"), ("text", "it is text"), ("empty", "without `index.json`")]
    {
        let said = client.run(&["load", "-i", input]).fails(18);
        assert!(said.contains(text), "{input}: {said}");
    }
    let said = client.run(&["image", "inspect", "nosuch"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), "[]\n"));
    assert!(said.stderr.contains("there is no image `nosuch` here"), "{}", said.stderr);
}

#[test]
fn lists_take_the_templates_that_people_type() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let (registry, client, image) = with_image("templates", "");
    let (repository, tag) = image.rsplit_once(':').expect("a tag");
    let digest = registry.digest("app:1").expect("offered").to_string();
    let id = line(client.run(&["image", "inspect", "--format", "{{.Id}}", &image]));
    let short = &id["sha256:".len()..][..12];
    let run = |arguments: &[&str]| line(client.run(arguments));
    assert_eq!(run(&["image", "ls", "-q"]), short);
    assert_eq!(run(&["image", "ls", "-q", "--no-trunc"]), id);
    assert_eq!(
        run(&["image", "ls", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]),
        format!("{repository}:{tag} {short}")
    );
    assert_eq!(run(&["image", "ls", "--digests", "--format", "{{.Digest}}"]), digest);
    let object: serde_json::Value =
        serde_json::from_str(&run(&["image", "ls", "--format", "{{json .}}"])).expect("an object");
    assert_eq!((object["Repository"].as_str(), object["ID"].as_str()), (Some(repository), Some(short)));
    let table = run(&["image", "ls", "--format", "table {{.Tag}}\t{{.Repository}}"]);
    let rows: Vec<Vec<&str>> = table.lines().map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows, [["TAG", "REPOSITORY"], [tag, repository]]);
    assert_eq!(
        run(&[
            "image",
            "inspect",
            "--format",
            "{{.Os}}/{{index .Config.Cmd 0}} {{len .RootFS.Layers}}",
            &image
        ]),
        "linux//run 2"
    );
    // What an image does not say is empty, as docker has it, and no mistake.
    let unsaid = "[{{.Config.User}}][{{len .Config.Labels}}][{{.Config.Labels.none}}][{{index .Config.Labels \"none\"}}]";
    assert_eq!(run(&["image", "inspect", "-f", unsaid, &image]), "[][0][<no value>][]");
    assert_eq!(
        run(&["image", "inspect", "-f", "{{.Config.Entrypoint}} {{.Descriptor.digest}}", &image]).len(),
        3 + 71
    );
    assert_eq!(run(&["image", "history", "-q", "--no-trunc", &image]).lines().next(), Some(id.as_str()));
    client.run(&["image", "tag", &image, "other/name"]).ok();
    // Whoever gave it knows it by a digest, under whatever name it is asked for here; nobody else does.
    for name in [image.as_str(), "other/name"] {
        let known = run(&["image", "inspect", "-f", "{{json .RepoDigests}}", name]);
        assert_eq!(known, format!("[\"{repository}@{digest}\"]"), "{name}");
    }
    let digests = run(&["image", "ls", "--format", "{{.Repository}} {{.Digest}}"]);
    assert!(
        digests.contains("other/name <none>") && digests.contains(&format!("{repository} {digest}")),
        "{digests}"
    );
    assert_eq!(run(&["image", "ls", "-q"]).lines().count(), 1, "one image under two names");
    assert_eq!(run(&["image", "ls", "--format", "{{.Repository}}", "other/name"]), "other/name");
    let said = run(&["rmi", "other/name"]);
    assert_eq!(said, "Untagged: other/name:latest");
    assert_eq!(run(&["image", "ls", "--format", "{{.Repository}}"]), repository);
    let said = client.run(&["rmi", "-f", "nosuch"]);
    assert_eq!(said.code, Some(0), "what is to be gone is: {}", said.stderr);
    assert!(said.stderr.contains("there is no image `nosuch` here"), "{}", said.stderr);
    client.run(&["rmi", &image]).ok();
    client.run(&["image", "pull", "-q", &format!("{image}@{digest}")]).ok();
    let row = run(&["image", "ls", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}"]);
    assert_eq!(row, format!("{repository} <none> {digest}"));
}

/// The machine's own programs, for an image that has none.
fn programs() -> String {
    let mounts: Vec<String> = ["/bin", "/lib", "/lib64", "/usr"]
        .into_iter()
        .filter(|path| std::path::Path::new(path).exists())
        .map(|path| format!("'{path}:{path}:ro'"))
        .collect();
    mounts.join(", ")
}

#[test]
fn only_what_is_committed_stands_still_and_it_goes_on_though_the_command_is_killed() {
    if !needs(&[Capability::UserNamespaces, Capability::Limits]) {
        return;
    }
    // A file that takes long to read, and no room.
    let compose = format!(
        "services: {{web: {{image: 'IMAGE', scale: 2, volumes: [{}], stop_grace_period: 0s, \
         command: [/bin/sh, -c, \"truncate -s 8G /large; exec sleep 1000\"]}}}}\n",
        programs()
    );
    let (_registry, client, _) = with_image("hold", &compose);
    client.run(&["up", "-d"]).ok();
    let container = |number: u32| format!("{}-web-{number}", client.project.name());
    for index in ["1", "2"] {
        crate::support::soon("it has made its file", || {
            let test = ["exec", "-T", "--index", index, "web", "/bin/sh", "-c", "test -s /large"];
            client.run(&test).code == Some(0)
        });
    }
    let state = |name: &str| {
        let listed = client.run(&["ps", "-a", "--format", "{{.Name}} {{.State}}"]).ok();
        let found = listed.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        found.trim().to_owned()
    };
    let mut commit = client.command(&["commit", "--index", "2", "web", "made:1"]);
    let mut commit = commit.process_group(0).spawn().expect("started");
    crate::support::soon("it is frozen", || state(&container(2)) == "paused");
    assert_eq!(state(&container(1)), "running", "the other is not");
    killpg(Pid::from_raw(commit.id() as i32), Signal::SIGKILL).expect("killed");
    commit.wait().expect("ended");
    crate::support::soon("it goes on", || state(&container(2)) == "running");
    client.project.leaves_nothing();
}

#[test]
fn what_a_container_made_becomes_an_image_and_an_archive() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let compose = format!(
        "services: {{web: {{image: 'IMAGE', volumes: [{}], command: [/bin/sh, -c, \"echo made >/made; rm /top; exec sleep 1000\"], \
         stop_grace_period: 0s}}}}\n",
        programs()
    );
    let (_registry, client, _) = with_image("commit", &compose);
    client.run(&["up", "-d"]).ok();
    crate::support::soon("it has made its file", || {
        client.run(&["exec", "-T", "web", "/bin/sh", "-c", "test -s /made && ! test -e /top"]).code == Some(0)
    });
    client.run(&["commit", "-m", "by hand", "web", "made/app:2"]).ok();
    let said = line(client.run(&[
        "image",
        "inspect",
        "--format",
        "{{.Comment}} {{len .RootFS.Layers}}",
        "made/app:2",
    ]));
    assert_eq!(said, "by hand 3");
    client.run(&["export", "-o", "files.tar", "web"]).ok();
    let file = fs::File::open(client.project.path().join("files.tar")).expect("exported");
    let names: Vec<String> = tar::Archive::new(file)
        .entries()
        .expect("a tar")
        .map(|entry| entry.expect("an entry").path().expect("a path").to_string_lossy().into_owned())
        .collect();
    let has = |name: &str| names.iter().any(|found| found.trim_start_matches("./") == name);
    assert!(has("made") && has("etc/motd") && !has("top"), "{names:?}");
    client.project.leaves_nothing();
}

/// Every place in the store and in the cache of builds, but those inside of layers and cache mounts.
fn places_of(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![root.join("data/images"), root.join("data/build")];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).expect("a directory").flatten() {
            let is_layer = directory.parent().is_some_and(|parent| parent.ends_with("layers"));
            if entry.file_type().expect("known").is_dir() && !is_layer {
                left.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

#[test]
fn what_stands_in_the_place_of_the_stores_own_leads_nowhere_and_is_mended() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let (_registry, client, image) = with_image("displaced", "");
    client.project.write("Dockerfile", &format!("FROM {image}\nCOPY f /f\n"));
    client.project.write("f", "f");
    let build = ["image", "build", "-q", "-t", "built:1", "."];
    client.run(&build).ok();
    client.run(&["system", "budget", "5g"]).ok();
    client.run(&["builder", "budget", "5g"]).ok();
    let said = client.run(&["system", "check"]).ok();
    assert_eq!(
        client.run(&["builder", "budget"]).ok(),
        "5.37GB\n",
        "nothing of ours is taken for damage: {said}"
    );
    let elsewhere = client.project.path().join("elsewhere");
    let put = |kind: &str, place: &Path| match kind {
        "a link" => std::os::unix::fs::symlink(&elsewhere, place).expect("linked"),
        "a pipe" => nix::unistd::mkfifo(place, nix::sys::stat::Mode::S_IRWXU).expect("made"),
        _ if place.extension().is_some() || place.ends_with("lock") => fs::create_dir(place).expect("made"),
        _ => fs::write(place, "x").expect("written"),
    };
    let places = places_of(&client.project.home());
    assert!(places.len() > 20, "{places:?}");
    // Each in turn with one of the kinds.
    for (place, kind) in places.iter().zip(["a link", "a pipe", "another"].into_iter().cycle()) {
        fs::create_dir_all(&elsewhere).expect("made");
        fs::write(elsewhere.join("keep"), "keep").expect("written");
        if !place.exists() {
            continue;
        }
        match place.is_dir() {
            true => fs::remove_dir_all(place).expect("removed"),
            false => fs::remove_file(place).expect("removed"),
        }
        put(kind, place);
        let shown = place.display();
        // They end, whatever they make of it.
        for command in [&["image", "ls"][..], &build, &["builder", "du"], &["builder", "prune", "-f"]] {
            let said = client.run(command);
            assert!(!said.stderr.contains("panicked"), "{kind} at {shown}: {}", said.stderr);
        }
        client.run(&["system", "check"]);
        client.run(&["image", "pull", "-q", &image]).ok();
        let said = client.run(&build);
        assert_eq!(said.code, Some(0), "{kind} at {shown}: {}", said.stderr);
        client.run(&["save", "-o", "saved", "built:1"]).ok();
        // What was made before is an image without a name, and may have lost what cannot be made again.
        client.run(&["image", "prune", "-f"]).ok();
        let said = client.run(&["system", "check"]);
        assert_eq!(said.code, Some(0), "{kind} at {shown}: {}{}", said.stdout, said.stderr);
        assert_eq!(fs::read(elsewhere.join("keep")).expect("still there"), b"keep", "{kind} at {shown}");
    }
}
