//! Stages, arguments and where bases come from.

use super::*;

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
fn titles_are_expanded() {
    let title =
        |lines: &str| target(&format!("FROM small\nARG A=1\n{lines}")).steps.pop().expect("a step").title;
    assert_eq!(title("run echo \"$A\" $B"), "RUN echo \"1\" $B");
    assert_eq!(title("COPY $A \"b\" /x"), "COPY 1 b /x");
    assert_eq!(title("RUN <<E\nfirst\nsecond\nE"), "RUN <<E (first...)");
    assert_eq!(title("RUN <<E\nonly\nE"), "RUN <<E (only)");
}
