//! Owners that steps give: right in the layer, whether this user has many ids or a single one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::{ONE, with_programs};

/// Owners in each layer of an archive, by path.
fn owners(archive: &Path) -> Vec<BTreeMap<String, (u64, u64)>> {
    let mut layers = Vec::new();
    let mut outer = tar::Archive::new(File::open(archive).expect("opened"));
    for entry in outer.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        if !entry.path().expect("a path").starts_with("blobs/sha256") {
            continue;
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("read");
        let mut layer = BTreeMap::new();
        // Manifests and configurations are no tars.
        for inner in tar::Archive::new(bytes.as_slice()).entries().into_iter().flatten() {
            let Ok(inner) = inner else { break };
            let path = inner.path().expect("a path").display().to_string();
            let ids = (inner.header().uid().expect("an id"), inner.header().gid().expect("an id"));
            layer.insert(path, ids);
        }
        layers.push(layer);
    }
    layers
}

#[test]
fn who_gets_a_file_in_a_step_has_it_in_the_layer() {
    let steps = "RUN mkdir -p /srv/data && echo x >/srv/data/f && echo y >/srv/g && ln -s data/f /srv/l && \
                 chown 5:6 /srv/data && cd /srv && chown -R 7:8 ./data/f && chown 9 l && chown -h 3:4 l && \
                 chown 1:2 g && chown 0:0 g && ! chown 1 /nope && ! chown 1 /srv/g/none\n\
                 COPY --chown=11:12 a.txt /copied\n";
    let Some(project) = with_programs("givenaway", ONE, &[("Dockerfile", steps)]) else { return };
    project.write("a.txt", "a\n");
    project.run(&["build"]).ok();
    let archive = project.path().join("archive.tar");
    project.run(&["image", "save", "-o", archive.to_str().expect("text"), "t-one:1"]).ok();
    let found: BTreeMap<_, _> = owners(&archive).into_iter().flatten().collect();
    let expected = [
        ("srv/data/", (5, 6)),
        ("srv/data/f", (9, 8)),
        ("srv/g", (0, 0)),
        ("srv/", (0, 0)),
        ("copied", (11, 12)),
    ];
    for (path, ids) in expected {
        assert_eq!(found.get(path), Some(&ids), "{path} in {found:?}");
    }
}

#[test]
fn what_one_step_has_given_away_the_next_one_keeps_or_takes_back() {
    let steps = "RUN mkdir /d && echo x >/d/a && echo y >/d/b && chown -R 5:6 /d\n\
                 RUN echo more >>/d/a && chown 0:0 /d/b\n";
    let Some(project) = with_programs("takenback", ONE, &[("Dockerfile", steps)]) else { return };
    project.run(&["build"]).ok();
    let archive = project.path().join("archive.tar");
    project.run(&["image", "save", "-o", archive.to_str().expect("text"), "t-one:1"]).ok();
    let layers = owners(&archive);
    let of = |path: &str| layers.iter().filter_map(|layer| layer.get(path).copied()).collect::<Vec<_>>();
    for (path, wanted) in [("d/", vec![(5, 6)]), ("d/a", vec![(5, 6), (5, 6)]), ("d/b", vec![(0, 0), (5, 6)])]
    {
        let mut found = of(path);
        found.sort_unstable();
        assert!(wanted.iter().all(|ids| found.contains(ids)), "{path}: {found:?}");
    }
}
