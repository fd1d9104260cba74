//! `down --rmi`.

use sha2::{Digest, Sha256};

use crate::support::{Capability, Project, needs};

/// Writes what `docker save` writes: one image, of one layer with one file. Nothing in it can run.
fn write_archive(project: &Project, file: &str, name: &str) {
    let mut layer = tar::Builder::new(Vec::new());
    append(&mut layer, "from", name.as_bytes());
    let layer = layer.into_inner().expect("written");
    let id: String = Sha256::digest(&layer).iter().map(|byte| format!("{byte:02x}")).collect();
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {"Cmd": ["/nothing"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{id}")]},
    });
    let manifest =
        serde_json::json!([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]);
    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, "config.json", config.to_string().as_bytes());
    append(&mut archive, "layer.tar", &layer);
    append(&mut archive, "manifest.json", manifest.to_string().as_bytes());
    std::fs::write(project.path().join(file), archive.into_inner().expect("written")).expect("written");
}

fn append(archive: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, content).expect("written");
}

#[test]
fn down_removes_the_images_that_it_is_asked_to_and_no_other() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("rmi", "");
    let built = format!("{}-made", project.name());
    project.write(
        "compose.yaml",
        r#"
services:
  named: {image: "example/named:1"}
  tagged: {build: ., image: "example/tagged:1"}
  made: {build: .}
"#,
    );
    let names = ["example/named:1", "example/tagged:1", built.as_str()];
    let images = || project.run(&["image", "ls"]).ok();
    let load = || {
        for (number, name) in names.iter().chain(&["example/other:1"]).enumerate() {
            let file = format!("{number}.tar");
            write_archive(&project, &file, name);
            project.run(&["load", "-i", &file]).ok();
        }
    };
    let check = |rmi: &str, left: &[&str]| {
        load();
        project.run(&["create", "--no-build"]).ok();
        project.run(&["down", "--rmi", rmi]).ok();
        let text = images();
        let mut found: Vec<&str> =
            text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
        found.sort_unstable();
        assert_eq!(found, left, "--rmi {rmi}");
    };
    check("local", &["example/named", "example/other", "example/tagged"]);
    check("all", &["example/other"]);
    project.leaves_nothing();
}

#[test]
fn what_a_project_has_built_goes_under_whatever_name_its_file_gave() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let compose = "\
services:
  named: {build: {context: ., tags: ['example/also:1']}, image: 'example/named:1'}
  plain: {build: .}
";
    let project = Project::new("rmi-built", compose);
    project.write("Dockerfile", "FROM scratch\nCOPY compose.yaml /x\nCMD [\"/nothing\"]\n");
    project.run(&["build"]).ok();
    let images = || {
        let text = project.run(&["image", "ls", "--format", "{{.Repository}}"]).ok();
        let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
        names.sort();
        names
    };
    let plain = format!("{}-plain", project.name());
    project.run(&["image", "tag", "example/named:1", "example/mine:1"]).ok();
    assert_eq!(images(), ["example/also", "example/mine", "example/named", &plain]);
    project.run(&["down", "--rmi", "local", "plain"]).ok();
    assert_eq!(images(), ["example/also", "example/mine", "example/named"]);
    project.run(&["down", "--rmi", "local"]).ok();
    assert_eq!(images(), ["example/mine"], "a name that the user gave stays");
    project.leaves_nothing();
}

#[test]
fn an_image_is_named_by_its_id_too() {
    if !needs(&[Capability::UserNamespaces]) {
        return;
    }
    let project = Project::new("by-id", "services: {}\n");
    write_archive(&project, "a.tar", "example/some:1");
    project.run(&["load", "-i", "a.tar"]).ok();
    let long = project.run(&["image", "ls", "-q", "--no-trunc"]).ok();
    let short = project.run(&["image", "ls", "-q"]).ok();
    let (long, short) = (long.trim(), short.trim());
    assert!(long.starts_with("sha256:") && short.len() == 12, "{long} {short}");
    for id in [long, short, &long["sha256:".len()..]] {
        for policy in ["missing", "never", "always"] {
            // Always is for names that may come to mean something else; only twelve digits may be a name.
            if policy != "always" || id != short {
                let service = format!("{{image: '{id}', pull_policy: {policy}}}");
                project.write("compose.yaml", &format!("services: {{a: {service}}}\n"));
                project.run(&["create", "--force-recreate"]).ok();
            }
        }
    }
    let other = format!("sha256:{}", "0".repeat(64));
    project.write("compose.yaml", &format!("services: {{a: {{image: '{other}'}}}}\n"));
    let text = project.run(&["up", "-d"]).fails(18);
    assert!(text.contains(&format!("there is no image `{other}` here")), "{text}");
    assert!(text.contains("compose.yaml:1:23"), "{text}");
    project.run(&["down"]).ok();
    project.leaves_nothing();
}
