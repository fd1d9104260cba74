//! `compose.lock` and builds: what images are built on stays what it was.

use std::fs;

use super::super::pull::{Client, count, offer};
use super::super::support::registry::{Access, Registry};
use super::super::support::{Capability, needs};

#[test]
fn a_lock_holds_bases_to_their_digests() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let registry = Registry::start(Access::Open);
    let [base, tools, extra, seed] =
        ["base", "tools", "extra", "seed"].map(|name| offer(&registry, &format!("{name}:1"), 1, 1000));
    let compose = format!(
        "services:
  app:
    image: 't-locked:1'
    build:
      context: .
      additional_contexts: {{more: 'docker-image://{extra}'}}
      dockerfile_inline: |
        FROM unused.invalid/none:1 AS unused
        FROM {base}
        COPY --from={tools} /file-0 /tools
        COPY --from=more /file-0 /more
"
    );
    let client = Client::new("locked-bases", &compose);
    client.run(&["lock"]).ok();
    assert_eq!(
        count(&registry.asked(), |it| it.path.contains("/blobs/")),
        0,
        "nothing is fetched for a lock"
    );
    let file = client.project.path().join("compose.lock");
    let text = fs::read_to_string(&file).expect("a lock");
    let digest = |name: &str| registry.digest(&format!("{name}:1")).expect("offered").to_string();
    for name in ["base", "tools", "extra"] {
        assert!(text.contains(&digest(name)), "{name}: {text}");
    }
    assert!(!text.contains("unused") && !text.contains("t-locked"), "{text}");
    client.run(&["lock", "--check"]).ok();
    let locked = digest("base");
    // The tag moves on: what is locked stays.
    offer(&registry, "base:1", 2, 2000);
    assert_ne!(digest("base"), locked);
    client.run(&["lock", "--check"]).fails(1);
    registry.asked();
    client.run(&["build", "--locked", "--pull"]).ok();
    let asked = registry.asked();
    assert!(count(&asked, |it| it.path.contains(&locked)) > 0, "{asked:?}");
    assert_eq!(count(&asked, |it| it.path.ends_with("/manifests/1")), 0, "no tag is asked for: {asked:?}");
    client.run(&["up", "--locked", "--build", "--no-start"]).ok();
    // What the lock does not name is refused, at its place.
    let other = compose.replace(&format!("--from={tools}"), &format!("--from={seed}"));
    client.project.write("compose.yaml", &other);
    let ended = client.run(&["build", "--locked"]);
    assert_ne!(ended.code, Some(0));
    let said = ended.stderr;
    assert!(
        said.contains("compose.lock") && said.contains(&seed) && said.contains("compose.yaml:10:"),
        "{said}"
    );
    let mounted = compose.replace(
        &format!("COPY --from={tools} /file-0 /tools"),
        &format!("RUN --mount=from={seed},target=/s [\"x\"]"),
    );
    client.project.write("compose.yaml", &mounted);
    client.run(&["lock"]).ok();
    let text = fs::read_to_string(&file).expect("a lock");
    assert!(text.contains(&digest("seed")) && !text.contains(&tools), "{text}");
}

#[test]
fn contexts_of_one_name_are_images_of_their_own() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let registry = Registry::start(Access::Open);
    let one = offer(&registry, "one:1", 1, 1000);
    let two = offer(&registry, "two:1", 2, 900);
    let service = |name: &str, image: &str| {
        format!(
            "  {name}:
    image: 't-context-{name}:1'
    build:
      context: .
      additional_contexts: {{base: 'docker-image://{image}'}}
      dockerfile_inline: |
        FROM base
        LABEL service={name}
"
        )
    };
    let compose = format!("services:\n{}{}", service("a", &one), service("b", &two));
    let client = Client::new("named-contexts", &compose);
    client.run(&["lock"]).ok();
    registry.asked();
    client.run(&["build"]).ok();
    let asked = registry.asked();
    for name in ["one", "two"] {
        assert!(count(&asked, |it| it.path.contains(&format!("/{name}/blobs/"))) > 0, "{name}: {asked:?}");
    }
    // What one service is built on does not let the other one off.
    let text = fs::read_to_string(client.project.path().join("compose.lock")).expect("a lock");
    let without: Vec<&str> = text.lines().filter(|line| !line.contains("/two:1")).collect();
    client.project.write("compose.lock", &(without.join("\n") + "\n"));
    let ended = client.run(&["build", "--locked"]);
    assert_ne!(ended.code, Some(0));
    assert!(ended.stderr.contains(&two), "{}", ended.stderr);
}

#[test]
fn a_lock_of_what_is_here_asks_nobody() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let registry = Registry::start(Access::Open);
    let base = offer(&registry, "base:1", 1, 1000);
    let seed = offer(&registry, "seed:1", 1, 1000);
    let parent = format!("{}/parent:1", registry.address);
    let remote = format!("http://{}/context.tar", registry.address);
    let compose = format!(
        "services:
  app:
    image: 't-local:1'
    build:
      context: {remote}
      additional_contexts: {{more: '{remote}'}}
      dockerfile_inline: |
        FROM {base}
        COPY --from=more /file-0 /more
  parent:
    image: '{parent}'
    build:
      context: .
      dockerfile_inline: |
        FROM {base}
        ONBUILD COPY --from={seed} /file-0 /seed
"
    );
    let client = Client::new("local-lock", &compose);
    client.run(&["image", "pull", "-q", &base]).ok();
    client.run(&["build", "-q", "parent"]).ok();
    registry.asked();
    // No file of a context is needed to name what is built on.
    client.run(&["lock", "--local"]).ok();
    assert_eq!(registry.asked().len(), 0);
    let elsewhere = format!("services: {{app: {{build: '{remote}'}}}}\n");
    client.project.write("compose.yaml", &elsewhere);
    let said = client.run(&["lock", "--local"]).fails(17);
    assert!(said.contains(&remote) && said.contains("without `--local`"), "{said}");
    assert_eq!(registry.asked().len(), 0);
    // What a base that is here copies from whenever something is built on it is locked with it.
    client.run(&["image", "push", "-q", &parent]).ok();
    let onto = format!("services: {{app: {{build: {{dockerfile_inline: 'FROM {parent}'}}}}}}\n");
    client.project.write("compose.yaml", &onto);
    client.run(&["lock"]).ok();
    let lock = fs::read_to_string(client.project.path().join("compose.lock")).expect("a lock");
    assert!(lock.contains(&parent) && lock.contains(&seed), "{lock}");
    client.run(&["build", "--locked"]).ok();
}
