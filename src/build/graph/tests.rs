//! Whole Dockerfiles through the evaluation.

use std::path::Path;

use super::*;
use crate::build::dockerfile::{self, Refused};
use crate::report::{Exit, Report};

/// Two images, and what was asked for, in order.
#[derive(Default)]
struct Images {
    asked: Vec<Vec<String>>,
}

impl Bases for Images {
    fn configs(&mut self, wanted: &[BaseName]) -> Vec<Result<ImageConfig, Report>> {
        self.asked.push(wanted.iter().map(|name| name.reference.clone()).collect());
        wanted.iter().map(|name| config(&name.reference)).collect()
    }
}

fn config(reference: &str) -> Result<ImageConfig, Report> {
    let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let base = ImageConfig {
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
        env: list(&["PATH=/bin"]),
        cmd: Some(list(&["sh"])),
        ..ImageConfig::default()
    };
    match reference.trim_start_matches("docker.io/library/").trim_end_matches(":latest") {
        "small" => Ok(base),
        "server" => Ok(ImageConfig {
            entrypoint: Some(list(&["/start"])),
            exposed_ports: list(&["80/tcp"]),
            working_dir: "/srv".to_owned(),
            user: "www".to_owned(),
            history: vec![crate::image::History {
                created_by: Some("below".to_owned()),
                ..Default::default()
            }],
            ..base
        }),
        "trigger" => Ok(ImageConfig { on_build: list(&["RUN first", "COPY --from=src a /a"]), ..base }),
        "arm" => Ok(ImageConfig { architecture: "arm64".to_owned(), ..base }),
        "broken" => Ok(ImageConfig { on_build: list(&["FLY"]), ..base }),
        other => Err(Report::new(Exit::Pull, format!("no image `{other}`"))),
    }
}

fn request() -> Request {
    Request::new("linux/amd64".parse().expect("a platform"))
}

fn run(text: &str, request: &Request) -> Result<Graph, Refused> {
    let file = dockerfile::parse(text.as_bytes(), Path::new("Dockerfile"))?;
    evaluate(&file, request, &mut Images::default())
}

fn graph_with(text: &str, request: &Request) -> Graph {
    run(text, request).unwrap_or_else(|refused| panic!("{text:?} was refused: {refused:?}"))
}

fn graph(text: &str) -> Graph {
    graph_with(text, &request())
}

fn target(text: &str) -> Stage {
    graph(text).stages.pop().expect("a target")
}

/// The history of what lines make of the small image.
fn history(lines: &str) -> Vec<String> {
    let stage = target(&format!("FROM small\n{lines}"));
    stage.steps.into_iter().filter_map(|step| step.created_by).collect()
}

/// What is wrong with a Dockerfile: `line:column: message`.
fn problem_with(text: &str, request: &Request) -> String {
    let report = Report::from(run(text, request).expect_err(text));
    match report.places.first() {
        Some(place) => format!("{}:{}: {}", place.line, place.column, report.message),
        None => report.message,
    }
}

fn refused(lines: &str, start: &str) {
    let found = problem_with(&format!("FROM small\n{lines}"), &request());
    assert!(found.starts_with(start), "{lines}: {found}");
}

fn rules(text: &str) -> Vec<String> {
    let show = |warning: &Warning| {
        format!("{} {}", warning.rule.name(), warning.place.as_ref().map_or(0, |place| place.line))
    };
    graph(text).warnings.iter().map(show).collect()
}

/// The only RUN of a Dockerfile.
fn process(text: &str) -> Run {
    let mut found = target(text).steps.into_iter().filter_map(|step| match step.action {
        Action::Run(run) => Some(*run),
        _ => None,
    });
    found.next_back().expect("a RUN")
}

fn files(text: &str) -> Copy {
    let mut found = target(text).steps.into_iter().filter_map(|step| match step.action {
        Action::Copy(copy) => Some(*copy),
        _ => None,
    });
    found.next_back().expect("a COPY")
}

#[test]
fn history_is_written_as_buildkit_does() {
    let check = |lines: &str, expected: &[&str]| assert_eq!(history(lines), expected, "{lines}");
    check("ENV a=1 b=\"x y\"", &["ENV a=1 b=x y"]);
    check("ARG A=1 B C=\"x\"\nRUN y", &["ARG A=1 B C=x", "RUN |3 A=1 B= C=x /bin/sh -c y # buildkit"]);
    check("ARG A=1\nARG A=2\nRUN y", &["ARG A=1", "ARG A=2", "RUN |1 A=2 /bin/sh -c y # buildkit"]);
    check("LABEL a=1 \"b\"='$c'", &["LABEL a=1 b=$c"]);
    check("WORKDIR /a\nWORKDIR b/../c", &["WORKDIR /a", "WORKDIR /a/c"]);
    check(
        "USER a:b\nEXPOSE 80 53/UDP\nVOLUME /a /b",
        &["USER a:b", "EXPOSE [53/udp 80/tcp]", "VOLUME [/a /b]"],
    );
    check(
        "CMD [\"a\", \"b\\tc\"]\nENTRYPOINT x \"y\"",
        &["CMD [\"a\" \"b\\tc\"]", "ENTRYPOINT [\"/bin/sh\" \"-c\" \"x \\\"y\\\"\"]"],
    );
    check(
        "SHELL [\"/bin/x\", \"-c\"]\nRUN y\nSTOPSIGNAL 9",
        &["SHELL [/bin/x -c]", "RUN /bin/x -c y # buildkit", "STOPSIGNAL 9"],
    );
    check(
        "HEALTHCHECK --interval=90s --retries=3 CMD a b",
        &[
            "HEALTHCHECK {Test:[CMD-SHELL a b] Interval:1m30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:3}",
        ],
    );
    check("COPY --chmod=644 --chown=1 --link a b /x/", &["COPY --chown=1 --chmod=644 a b /x/ # buildkit"]);
    check(
        "COPY --parents a /x/\nCOPY <<'E' .\nE",
        &["COPY --parents a /x/ # buildkit", "COPY <<E . # buildkit"],
    );
    check("RUN [\"a\", \"b c\"]\nMAINTAINER me\nONBUILD RUN x", &["RUN a b c # buildkit", "MAINTAINER me"]);
}

#[test]
fn only_files_make_layers() {
    let stage = target("FROM server\nENV a=1\nWORKDIR /x\nWORKDIR /\nRUN y\nCOPY a b\nCMD z");
    let layers: Vec<bool> = stage.config.history.iter().skip(1).map(|line| !line.empty_layer).collect();
    assert_eq!(layers, [false, true, false, true, true, false]);
    assert_eq!(stage.config.history[0].created_by.as_deref(), Some("below"));
}

#[test]
fn the_configuration_grows() {
    let config = target(
        "FROM server\nENV a=1 PATH=/x:$PATH\nENV a=2\nLABEL l=$a\nEXPOSE 443\nVOLUME /v\nUSER 5\nSTOPSIGNAL SIGQUIT\nCMD [\"c\"]",
    )
    .config;
    assert_eq!(config.env, ["PATH=/x:/bin", "a=2"]);
    assert_eq!(config.labels["l"], "2");
    assert_eq!(config.exposed_ports, ["443/tcp", "80/tcp"]);
    assert_eq!(config.volumes, ["/v"]);
    assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("5", "/srv"));
    assert_eq!(config.stop_signal.as_deref(), Some("SIGQUIT"));
    assert_eq!(config.entrypoint.as_deref(), Some(&["/start".to_owned()][..]));
    assert_eq!(config.cmd.as_deref(), Some(&["c".to_owned()][..]));
    assert!(config.args_escaped);
}

#[test]
fn a_new_entrypoint_drops_the_inherited_command() {
    let commands = |text: &str| {
        let config = target(text).config;
        (config.entrypoint.map(|words| words.join(" ")), config.cmd.map(|words| words.join(" ")))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(commands("FROM small\nENTRYPOINT [\"e\"]"), (some("e"), None));
    assert_eq!(commands("FROM small\nCMD [\"c\"]\nENTRYPOINT [\"e\"]"), (some("e"), some("c")));
    assert_eq!(commands("FROM small AS a\nCMD [\"c\"]\nFROM a\nENTRYPOINT [\"e\"]"), (some("e"), None));
    assert_eq!(commands("FROM server\nENTRYPOINT []\nCMD []"), (None, None));
}

#[test]
fn arguments_have_their_places() {
    let mut given = request();
    given.args = [("G", "given"), ("TARGETARCH", "mine")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
    let env = |text: &str| {
        let run = match graph_with(text, &given)
            .stages
            .pop()
            .expect("a target")
            .steps
            .pop()
            .expect("a step")
            .action
        {
            Action::Run(run) => run,
            _ => panic!("no RUN"),
        };
        run.env
            .into_iter()
            .filter(|(name, _)| name != "PATH")
            .map(|(n, v)| format!("{n}={v}"))
            .collect::<Vec<_>>()
    };
    // Before the first FROM: only seen in FROM, and by an ARG without a default.
    assert_eq!(env("ARG V=small\nFROM $V\nRUN x"), [""; 0]);
    assert_eq!(env("ARG V=small\nFROM $V\nARG V\nRUN x"), ["V=small"]);
    assert_eq!(env("ARG V=small\nFROM $V\nARG V=own\nRUN x"), ["V=own"]);
    assert_eq!(env("ARG A=1 B=$A\nFROM small\nARG B\nRUN x"), ["B=1"]);
    // Given values win over defaults, and are not seen undeclared.
    assert_eq!(env("FROM small\nRUN x"), [""; 0]);
    assert_eq!(env("FROM small\nARG G=default\nRUN x"), ["G=given"]);
    assert_eq!(env("FROM small\nARG N\nRUN x"), [""; 0]);
    assert_eq!(env("FROM small\nARG A=1 B=$A\nRUN x"), ["A=1", "B=1"]);
    // Predefined ones need to be declared, and can be given.
    assert_eq!(
        env("FROM small\nARG TARGETPLATFORM TARGETARCH\nRUN x"),
        ["TARGETPLATFORM=linux/amd64", "TARGETARCH=mine"]
    );
    assert_eq!(env("FROM small AS last\nARG TARGETSTAGE\nRUN x"), ["TARGETSTAGE=last"]);
    // ENV wins over ARG when it comes later; a stage inherits both.
    assert_eq!(env("FROM small\nARG A=1\nENV A=2\nRUN x"), ["A=2"]);
    assert_eq!(env("FROM small AS a\nARG A=1\nENV E=1\nFROM a\nRUN x"), ["A=1", "E=1"]);
    assert_eq!(env("FROM small AS a\nARG A=1\nFROM small\nRUN x"), [""; 0]);
}

#[test]
fn values_of_a_line_see_what_was_before_it() {
    let config = target("FROM small\nENV a=1\nENV a=2 b=$a\nENV c=$a").config;
    assert_eq!(config.env, ["PATH=/bin", "a=2", "b=1", "c=2"]);
}

#[test]
fn proxies_are_seen_undeclared_and_make_no_difference() {
    let mut given = request();
    given.args = [("HTTP_PROXY", "p"), ("no_proxy", "n")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
    let steps = graph_with("FROM small\nARG no_proxy\nRUN x", &given).stages.remove(0).steps;
    let Action::Run(run) = &steps[1].action else { panic!("no RUN") };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(run.proxy, [pair("HTTP_PROXY", "p"), pair("http_proxy", "p"), pair("NO_PROXY", "n")]);
    assert_eq!(steps[1].created_by.as_deref(), Some("RUN |1 no_proxy=n /bin/sh -c x # buildkit"));
}

#[test]
fn stages_that_nobody_needs_are_left_out() {
    let stages = |text: &str, target: Option<&str>| {
        let request = Request { target: target.map(str::to_owned), ..request() };
        graph_with(text, &request).stages.iter().map(|stage| stage.name.clone()).collect::<Vec<_>>()
    };
    let text = "FROM small AS a\nFROM nowhere AS b\nFROM a AS c\nCOPY --from=d x y\nFROM small AS e\nRUN --mount=from=a,target=/a x\n";
    assert_eq!(stages(&text.replace("--from=d", "--from=a"), Some("c")), ["a", "c"]);
    assert_eq!(stages(&text.replace("--from=d", "--from=0"), Some("C")), ["a", "c"]);
    assert_eq!(stages(&text.replace("--from=d", "--from=0"), None), ["a", "e"]);
    assert_eq!(stages("FROM small\nFROM small\nCOPY --from=0 a b", None), ["stage-0", "stage-1"]);
}

#[test]
fn origins_are_stages_images_contexts_or_nothing() {
    let mut given = request();
    given.contexts =
        [("extra".to_owned(), ContextKind::Files), ("lib".to_owned(), ContextKind::Image)].into();
    let from = |name: &str| {
        let text = format!("FROM small AS s\nFROM small\nCOPY --from={name} a b");
        let stage = graph_with(&text, &given).stages.pop().expect("a target");
        match &stage.steps[0].action {
            Action::Copy(copy) => copy.from.clone(),
            _ => panic!("no COPY"),
        }
    };
    assert_eq!(from("s"), Origin::Stage(0));
    assert_eq!(from("S"), Origin::Stage(0));
    assert_eq!(from("0"), Origin::Stage(0));
    assert_eq!(from("scratch"), Origin::Scratch);
    assert_eq!(from("extra"), Origin::Named("extra".to_owned()));
    assert_eq!(from("lib:latest"), Origin::Named("lib".to_owned()));
    let Origin::Image(image) = from("other/x:1") else { panic!("no image") };
    assert_eq!((image.reference.as_str(), image.named), ("docker.io/other/x:1", false));
    let stage = |text: &str| graph_with(text, &given).stages.pop().expect("a target");
    assert_eq!(stage("FROM extra\nENV a=1").base, Origin::Named("extra".to_owned()));
    assert_eq!(stage("FROM small AS extra\nRUN x\nFROM extra").steps.len(), 0);
    assert_eq!(stage("FROM scratch").base, Origin::Scratch);
}

#[test]
fn a_named_context_stands_for_a_stage() {
    let mut given = request();
    given.contexts = [("s".to_owned(), ContextKind::Files)].into();
    let graph =
        graph_with("FROM nowhere AS s\nCOPY --from=gone x y\nFROM scratch\nCOPY --from=s a b", &given);
    assert_eq!(graph.stages[0].base, Origin::Named("s".to_owned()));
    assert!(graph.stages[0].steps.is_empty());
}

#[test]
fn stages_that_need_each_other_are_refused() {
    let check = |text: &str, expected: &str| assert_eq!(problem_with(text, &request()), expected, "{text}");
    check("FROM small AS a\nCOPY --from=a x y", "2:6: the stage `a` reads from itself");
    check(
        "FROM small AS a\nCOPY --from=b x y\nFROM small AS b\nCOPY --from=a x y",
        "4:6: the stages `a`, `b` read from each other in a circle",
    );
    check(
        "FROM small AS a\nCOPY --from=b x y\nFROM small AS b\nFROM a",
        "2:6: the stage `b` comes after `a`, which reads from it",
    );
    check("FROM small\nCOPY --from=7 x y", "2:6: there is no stage 7");
    check("FROM small\nCOPY --from=$A x y", "2:6: `--from` cannot be a variable");
}

#[test]
fn triggers_run_first_and_may_need_more_stages() {
    let file = dockerfile::parse(
        b"FROM small AS src\nRUN make\nFROM trigger AS mid\nRUN own\nFROM mid\n",
        Path::new("Dockerfile"),
    )
    .expect("a Dockerfile");
    let mut images = Images::default();
    let graph = evaluate(&file, &request(), &mut images).expect("a graph");
    let titles: Vec<_> =
        graph.stages[1].steps.iter().map(|step| (step.title.as_str(), step.on_build)).collect();
    assert_eq!(titles, [("RUN first", true), ("COPY --from=src a /a", true), ("RUN own", false)]);
    // The second question is for what the trigger needs.
    assert_eq!(images.asked, [["docker.io/library/trigger:latest"], ["docker.io/library/small:latest"]]);
    // The triggers are used up, and those of a stage are for the next only.
    assert!(graph.stages[2].steps.is_empty() && graph.stages[2].config.on_build.is_empty());
    let stages = super::tests::graph("FROM small AS a\nONBUILD RUN t\nFROM a AS b\nFROM b").stages;
    assert_eq!(stages.iter().map(|stage| stage.steps.len()).collect::<Vec<_>>(), [1, 1, 0]);
    assert_eq!(stages[0].config.on_build, ["RUN t"]);
    let found = problem_with("FROM small\nFROM broken", &request());
    let inner = problem_with("FROM small AS a\nONBUILD USER a b\nFROM a", &request());
    assert!(inner.starts_with("3:1: `a b` is no user"), "{inner}");
    assert_eq!(found, "2:1: in the trigger `FLY` of `broken`: unknown instruction `FLY`");
}

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

#[test]
fn mistakes_show_their_place() {
    refused("ENV A=${x", "2:7: `${x` cannot be expanded");
    refused("RUN x\nENV A=\"${N:?give it}\"", "3:7: `\"${N:?give it}\"` cannot be expanded: N: give it");
    refused("EXPOSE 20-10", "2:8: the range `20-10`");
    refused("STOPSIGNAL SIGTREM", "2:12: `SIGTREM` is no signal");
    refused("USER a b", "2:6: `a b` is no user");
    refused("COPY --chmod=999 a b", "2:6: `999` is no mode");
    refused("RUN --device=vendor.com/x=y z", "2:5: the device `vendor.com/x=y`");
    let check = |text: &str, expected: &str| {
        let found = problem_with(text, &request());
        assert!(found.starts_with(expected), "{text}: {found}");
    };
    check("FROM small:$T", "1:6: `small:` is not the name of an image");
    check("FROM $T", "1:6: the base `$T` is empty");
    check("FROM --platform=a/b/c/d small", "1:6: `a/b/c/d` is not a platform");
    check("FROM nowhere", "1:6: no image `nowhere`");
    let given = Request { target: Some("bse".to_owned()), ..request() };
    let report = Report::from(run("FROM small AS base", &given).expect_err("no such stage"));
    assert_eq!(report.hints, ["did you mean `base`?", "its stages are: base"]);
}

#[test]
fn platforms_are_what_is_asked_for() {
    let platforms = |text: &str, platform: Option<&str>| {
        let platform = platform.map(|text| text.parse().expect("a platform"));
        let stage = graph_with(text, &Request { platform, ..request() }).stages.pop().expect("a target");
        (stage.platform.to_string(), stage.config.platform().to_string())
    };
    let both = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(platforms("FROM small", None), both("linux/amd64", "linux/amd64"));
    assert_eq!(platforms("FROM --platform=linux/arm64 arm", None), both("linux/arm64", "linux/arm64"));
    assert_eq!(
        platforms("FROM --platform=$BUILDPLATFORM small", Some("linux/arm64")),
        both("linux/amd64", "linux/arm64")
    );
    assert_eq!(platforms("FROM --platform=linux/arm64 scratch", None), both("linux/amd64", "linux/amd64"));
}

#[test]
fn labels_of_the_request_come_last() {
    let mut given = request();
    given.labels = [("a".to_owned(), "given".to_owned())].into();
    let stage = graph_with("FROM small\nLABEL a=1 b=2", &given).stages.remove(0);
    assert_eq!(
        stage.config.labels.into_iter().map(|(n, v)| n + "=" + &v).collect::<Vec<_>>(),
        ["a=given", "b=2"]
    );
    assert_eq!(stage.config.history.len(), 1);
}

#[test]
fn the_epoch_is_read() {
    let epoch = |text: &str, value: Option<&str>| {
        let args =
            value.map(|value| ("SOURCE_DATE_EPOCH".to_owned(), value.to_owned())).into_iter().collect();
        graph_with(text, &Request { args, ..request() }).epoch
    };
    assert_eq!(epoch("FROM small", None), None);
    assert_eq!(epoch("FROM small", Some("7")), Some(7));
    assert_eq!(epoch("FROM small", Some("")), None);
    assert_eq!(epoch("ARG SOURCE_DATE_EPOCH=9\nFROM small", None), Some(9));
    refused_epoch("soon");
}

fn refused_epoch(value: &str) {
    let args = [("SOURCE_DATE_EPOCH".to_owned(), value.to_owned())].into();
    assert!(problem_with("FROM small", &Request { args, ..request() }).contains("a number of seconds"));
}

#[test]
fn titles_are_expanded() {
    let title =
        |lines: &str| target(&format!("FROM small\nARG A=1\n{lines}")).steps.pop().expect("a step").title;
    assert_eq!(title("run echo \"$A\" $B"), "RUN echo \"1\" $B");
    assert_eq!(title("COPY $A \"b\" /x"), "COPY 1 b /x");
    assert_eq!(title("RUN <<E\nfirst\nsecond\nE"), "RUN <<E (first...)");
    assert_eq!(title("RUN <<E\nonly\nE"), "RUN <<E (only)");
}

#[test]
fn the_checks_find_what_only_evaluation_sees() {
    let check = |text: &str, expected: &[&str]| assert_eq!(rules(text), expected, "{text}");
    check("FROM small\nENV A=$B", &["UndefinedVar 2"]);
    check("FROM small\nENV A=${B:-x} C=${D+x}", &["UndefinedVar 2"]);
    check("FROM small\nARG B\nENV A=$B", &[]);
    check(
        "FROM small\nARG API_TOKEN\nENV DB_PASSWORD=x KEY_FILE=y",
        &["SecretsUsedInArgOrEnv 2", "SecretsUsedInArgOrEnv 3"],
    );
    check("FROM small\nARG TOKENS PUBLIC_KEY", &[]);
    check("FROM small\nCMD x", &["JSONArgsRecommended 2"]);
    check("FROM small\nSHELL [\"a\"]\nCMD x", &[]);
    check("FROM small\nCMD [\"a\"]\nCMD [\"b\"]", &["MultipleInstructionsDisallowed 2"]);
    check("FROM small\nENV a b", &["LegacyKeyValueFormat 2"]);
    check("FROM small\nWORKDIR a\nWORKDIR b", &["WorkdirRelativePath 2"]);
    check("FROM small\nWORKDIR /a\nWORKDIR b", &[]);
    check("FROM small\nEXPOSE 80/TCP 8080:80", &["ExposeProtoCasing 2", "ExposeInvalidFormat 2"]);
    check("FROM small${T}\nARG T", &["UndefinedArgInFrom 1"]);
    check("ARG T\nFROM small${T}", &[]);
    check("FROM --platform=linux/amd64 small", &["FromPlatformFlagConstDisallowed 1"]);
    check("FROM --platform=linux/amd64 small AS small-amd64", &[]);
    check("FROM --platform=$TARGETPLATFORM small", &["RedundantTargetPlatform 1"]);
    check("FROM arm", &["InvalidBaseImagePlatform 1"]);
    check("# check=skip=all\nFROM small\nCMD x", &[]);
    check("# check=skip=JSONArgsRecommended\nFROM small\nCMD x\nENV a b", &["LegacyKeyValueFormat 4"]);
    check("# about\nFROM small AS x", &[]);
    check("# check=experimental=all\n# about\nFROM small AS x", &["InvalidDefinitionDescription 3"]);
}

#[test]
fn defaults_should_name_a_base() {
    let args = [("V".to_owned(), "small".to_owned())].into();
    let found = graph_with("ARG V\nFROM $V", &Request { args, ..request() }).warnings;
    assert_eq!(
        found.iter().map(|warning| warning.rule.name()).collect::<Vec<_>>(),
        ["InvalidDefaultArgInFrom"]
    );
}

#[test]
fn ignored_files_should_not_be_copied() {
    let check = |ignore: &str, line: &str, expected: bool| {
        let ignore = Patterns::parse(ignore.as_bytes()).expect("patterns");
        let graph = graph_with(&format!("FROM small\n{line}"), &Request { ignore, ..request() });
        assert_eq!(!graph.warnings.is_empty(), expected, "{line}");
    };
    check("a", "COPY a /x", true);
    check("a", "ADD a/b /x", true);
    check("a", "COPY b /x", false);
    check("a\n!a/b", "COPY a /x", false);
    check("a\n!c", "COPY a /x", true);
    check("*", "COPY . /x", true);
    check("*\n!a", "COPY . /x", false);
    check("a", "COPY . /x", false);
    check("a", "COPY --from=scratch a /x", false);
}

#[test]
fn findings_can_be_errors() {
    let text = "# check=error=true\nFROM small\nCMD x";
    let refused = run(text, &request()).expect_err("an error");
    assert_eq!(refused.warnings.len(), 1);
    assert!(Report::from(refused).message.contains("JSONArgsRecommended"));
    let args = [("BUILDKIT_DOCKERFILE_CHECK".to_owned(), "skip=all".to_owned())].into();
    assert!(run(text, &Request { args, ..request() }).is_ok());
}

#[test]
fn findings_are_told_beside_a_failure() {
    let refused = run("FROM small\nCMD x\nUSER a b", &request()).expect_err("an error");
    assert_eq!(refused.warnings.len(), 1);
}

#[test]
fn all_stages_are_checked_when_that_is_asked_for() {
    let given = Request { all_stages: true, ..request() };
    let graph = graph_with("FROM small AS a\nCMD x\nFROM small AS b", &given);
    assert_eq!((graph.stages.len(), graph.warnings.len()), (1, 1));
}
