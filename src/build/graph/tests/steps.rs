//! RUN, COPY and ADD: processes, mounts and files.

use super::*;

#[test]
fn a_run_is_a_process() {
    let run = process("FROM server\nARG A=1\nRUN --network=none echo $A");
    assert_eq!(run.args, ["/bin/sh", "-c", "echo $A"]);
    assert_eq!((run.user.as_str(), run.workdir.as_str()), ("www", "/srv"));
    assert_eq!(run.network, crate::build::dockerfile::Network::None);
    assert_eq!(process("FROM scratch\nRUN [\"/a\", \"b\"]").args, ["/a", "b"]);
    assert_eq!(process("FROM small\nRUN a").workdir, "/");
}

#[test]
fn here_documents_of_run_are_lines_programs_or_input() {
    assert_eq!(process("FROM small\nRUN <<E\na $x\nb\nE").args[2], "a $x\nb\n");
    assert_eq!(process("FROM small\nRUN <<-E\n\ta\n\tE").args[2], "a\n");
    assert_eq!(process("FROM small\nRUN cat <<E >o\na\nE").args[2], "cat <<E >o\na\nE");
    let run = process("FROM small\nRUN <<E\n#!/bin/x\na\nE");
    assert_eq!(run.args, ["/bin/sh", "-c", "/dev/pipes/E"]);
    assert_eq!(run.scripts, [Script { path: "/dev/pipes/E".to_owned(), content: b"#!/bin/x\na\n".to_vec() }]);
}

#[test]
fn mounts_are_complete() {
    let mount = |flag: &str| {
        let text = format!("FROM small AS s\nFROM server\nARG T=/t N=m\nRUN --mount={flag} x");
        process(&text).mounts.remove(0).kind
    };
    let bind = |target: &str, from: Origin, source: &str, read_only: bool| {
        MountKind::Bind(Bind { target: target.to_owned(), from, source: source.to_owned(), read_only })
    };
    assert_eq!(mount("target=$T"), bind("/t", Origin::Context, "/", true));
    assert_eq!(mount("src=a/../b,dst=x,rw"), bind("/srv/x", Origin::Context, "/b", false));
    assert_eq!(mount("type=bind,from=s,target=/x,ro=false"), bind("/x", Origin::Stage(0), "/", false));
    let MountKind::Cache { id, sharing, seed, mode, uid, .. } =
        mount("type=cache,target=/c,sharing=locked,from=s,source=/seed,mode=0700,uid=5")
    else {
        panic!("no cache")
    };
    assert_eq!((id.as_str(), sharing), ("/c", crate::build::dockerfile::Sharing::Locked));
    assert_eq!((seed, mode, uid), (Some((Origin::Stage(0), "/seed".to_owned())), 0o700, 5));
    assert_eq!(
        mount("type=tmpfs,target=/x,size=1$N"),
        MountKind::Tmpfs { target: "/x".to_owned(), size: Some(1 << 20) }
    );
    let secret = |flag: &str| match mount(flag) {
        MountKind::Secret { id, target, env, required, .. } => {
            (id, target.unwrap_or_default(), env, required)
        }
        other => panic!("{other:?}"),
    };
    let text = str::to_owned;
    assert_eq!(secret("type=secret,id=a"), (text("a"), text("/run/secrets/a"), None, false));
    assert_eq!(secret("type=secret,target=/x/b,required"), (text("b"), text("/x/b"), None, true));
    assert_eq!(secret("type=secret,id=a,env=E"), (text("a"), text(""), Some(text("E")), false));
    assert_eq!(secret("type=secret,env=E"), (text("E"), text(""), Some(text("E")), false));
    let run = process("FROM small\nRUN --mount=type=ssh --mount=type=ssh,id=k,target=/a x");
    let paths: Vec<_> = run
        .mounts
        .iter()
        .map(|mount| match &mount.kind {
            MountKind::Ssh { id, target, .. } => (id.as_str(), target.as_str()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(paths, [("default", "/run/buildkit/ssh_agent.0"), ("k", "/a")]);
    assert!(run.env.contains(&(text("SSH_AUTH_SOCK"), text("/run/buildkit/ssh_agent.0"))));
}

#[test]
fn mounts_that_contradict_themselves_are_refused() {
    let check = |flag: &str, words: &str| {
        let found = problem_with(&format!("FROM small\nRUN --mount={flag} x"), &request());
        assert!(found.starts_with("2:5: ") && found.contains(words), "{flag}: {found}");
    };
    check("type=bidn,target=/x", "`bidn` is no value for `type`");
    check("type=bind,target=/x,mode=0755", "has no `mode`");
    check("type=tmpfs,target=/x,size=huge", "a size");
    check("type=cache,target=/x,sharing=some", "`shared`, `private` or `locked`");
    check("type=cache,target=/x,mode=rwx", "octal");
    check("type=cache,target=/x,uid=-1", "a number");
    check("type=secret", "needs an `id`");
    check("type=secret,id=a,source=b", "not both");
    check("type=secret,id=a,from=b", "has no `from`");
    check("type=bind,target=/", "cannot be at `/`");
    check("type=bind,target=/x,ro=maybe", "`true` or `false`");
    check("type=cache,target=/x,required=true", "has no `required`");
}

#[test]
fn copies_know_their_paths() {
    let paths = |line: &str| {
        let copy = files(&format!("FROM server\nARG D=/d\n{line}"));
        let sources: Vec<_> = copy
            .sources
            .iter()
            .map(|source| match source {
                Source::Path { pattern, .. } => pattern.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        format!("{} > {}", sources.join(" "), copy.destination)
    };
    assert_eq!(paths("COPY a ../b ./c/ $D"), "/a /b /c > /d");
    assert_eq!(paths("COPY a ."), "/a > /srv/");
    assert_eq!(paths("COPY a x/"), "/a > /srv/x/");
    assert_eq!(paths("COPY a /x/."), "/a > /x/");
    assert_eq!(paths("COPY a /"), "/a > /");
    assert_eq!(paths("COPY [\"a b\", \"/c d\"]"), "/a b > /c d");
    assert_eq!(paths("COPY --parents x/./y/z a /p/"), "/x/./y/z /a > /p/");
    assert_eq!(paths("COPY --parents ./x /p/"), "/x > /p/");
    assert_eq!(paths("COPY *.txt /x/"), "/*.txt > /x/");
}

#[test]
fn here_documents_of_copy_are_files() {
    let content = |text: &str| match files(&format!("FROM small\nARG A=1\n{text}")).sources.pop() {
        Some(Source::Inline { content, .. }) => String::from_utf8(content).expect("text"),
        other => panic!("{other:?}"),
    };
    assert_eq!(content("COPY <<E /x\n$A \"$A\" \\$A it's\nE"), "1 \"1\" $A it's\n");
    assert_eq!(content("COPY <<'E' /x\n$A \\$A\nE"), "$A \\$A\n");
    assert_eq!(content("COPY <<-E /x\n\t$A\nE"), "1\n");
    refused("COPY <<E /x\n${A\nE", "3:1: the here-document `E` cannot be expanded");
}

#[test]
fn add_takes_more_than_files() {
    let source = |line: &str| files(&format!("FROM small\n{line}")).sources.remove(0);
    let Source::Url { url, name, .. } = source("ADD http://h/a/b.tgz?x=1 /x/") else { panic!("no URL") };
    assert_eq!((url.as_str(), name.as_str()), ("http://h/a/b.tgz?x=1", "b.tgz"));
    let Source::Git { repository, .. } = source("ADD --keep-git-dir https://h/r.git#v1:d /x") else {
        panic!("no git")
    };
    assert_eq!((repository.reference.as_deref(), repository.keep_git_dir), (Some("v1"), Some(true)));
    assert!(matches!(source("ADD a.tar /x"), Source::Path { .. }));
    let unpack = |line: &str| files(&format!("FROM small\n{line}")).unpack;
    assert_eq!(unpack("ADD a /x"), Unpack::Local);
    assert_eq!(unpack("ADD --unpack=false a /x"), Unpack::Never);
    assert_eq!(unpack("ADD --unpack a /x"), Unpack::Always);
    assert_eq!(unpack("COPY a /x"), Unpack::Never);
    refused("ADD --checksum=md5:0 http://h/a /x", "2:5: `md5:0` is no checksum");
    refused("ADD --checksum=sha256:0 a /x", "2:5: `--checksum` is for URLs");
    refused("ADD --checksum=sha256:0 http://h/a b /x", "2:5: `--checksum` needs exactly one source");
    refused("COPY http://h/a /x", "2:6: COPY cannot copy `http://h/a`");
    refused("COPY git@h:a/b /x", "2:6: COPY cannot copy");
}
