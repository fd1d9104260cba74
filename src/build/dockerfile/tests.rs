//! Whole Dockerfiles through the parser.

use std::path::Path;

use super::*;

fn parsed(text: &str) -> Dockerfile {
    match parse(text.as_bytes(), Path::new("Dockerfile")) {
        Ok(file) => file,
        Err(refused) => panic!("{text:?} was refused: {:?}", refused.problems),
    }
}

/// The instruction of a Dockerfile that has only one besides FROM.
fn one(line: &str) -> Kind {
    let mut file = parsed(&format!("FROM x\n{line}\n"));
    assert_eq!(file.stages[0].instructions.len(), 1, "{line}");
    file.stages.remove(0).instructions.remove(0).kind
}

/// What is wrong with a Dockerfile: `line:column: message` of each problem.
fn problems(text: &str) -> Vec<String> {
    let refused = parse(text.as_bytes(), Path::new("Dockerfile")).expect_err(text);
    let show = |problem: &Diagnostic| match problem.places.first() {
        Some(place) => format!("{}:{}: {}", place.line, place.column, problem.message),
        None => problem.message.clone(),
    };
    refused.problems.iter().map(show).collect()
}

/// Checks that a line behind FROM is refused, where, and that the message has some words.
fn refused(line: &str, column: u32, words: &str) {
    let found = problems(&format!("FROM x\n{line}\n"));
    assert_eq!(found.len(), 1, "{line}: {found:?}");
    assert!(found[0].starts_with(&format!("2:{column}: ")), "{line}: {found:?}");
    assert!(found[0].contains(words), "{line}: {found:?}");
}

fn texts(words: &[Word]) -> Vec<&str> {
    words.iter().map(|word| word.text.as_str()).collect()
}

#[test]
fn stages_begin_with_from() {
    let file =
        parsed("ARG V=1\nFROM a:$V AS One\nRUN x\nfrom --platform=linux/arm64 b as two\nFROM scratch\n");
    let show = |stage: &Stage| {
        let from = &stage.from;
        let text = |word: &Option<Word>| word.as_ref().map_or("-".to_owned(), |word| word.text.clone());
        format!(
            "{} {} {} {}",
            from.base.text,
            text(&from.name),
            text(&from.platform),
            stage.instructions.len()
        )
    };
    assert_eq!(file.global.len(), 1);
    let stages: Vec<String> = file.stages.iter().map(show).collect();
    assert_eq!(stages, ["a:$V one - 1", "b two linux/arm64 0", "scratch - - 0"]);
    assert_eq!(file.stages[0].from.base.at, Span { line: 2, column: 6, width: 4 });
}

#[test]
fn arguments_have_names_and_maybe_defaults() {
    let check = |line: &str, expected: &[(&str, Option<&str>)]| {
        let Kind::Arg(items) = one(line) else { panic!("{line}") };
        let found: Vec<_> = items
            .iter()
            .map(|item| (item.name.text.as_str(), item.default.as_ref().map(|word| word.text.as_str())))
            .collect();
        assert_eq!(found, expected, "{line}");
    };
    check("ARG A", &[("A", None)]);
    check("ARG A=1 B=\"x y\" C", &[("A", Some("1")), ("B", Some("\"x y\"")), ("C", None)]);
    check("ARG A=", &[("A", Some(""))]);
    check("ARG A=b=c", &[("A", Some("b=c"))]);
    refused("ARG", 1, "name");
    refused("ARG A = 1", 7, "name before the `=`");
    refused("ARG --x A", 5, "unknown flag");
}

#[test]
fn pairs_have_two_forms() {
    let check = |line: &str, expected: &[(&str, &str, bool)]| {
        let (Kind::Env(pairs) | Kind::Label(pairs)) = one(line) else { panic!("{line}") };
        let found: Vec<_> = pairs
            .iter()
            .map(|pair| (pair.name.text.as_str(), pair.value.text.as_str(), pair.legacy))
            .collect();
        assert_eq!(found, expected, "{line}");
    };
    check("ENV a=1\tb=\"x y\" c=x\\ y", &[("a", "1", false), ("b", "\"x y\"", false), ("c", "x\\ y", false)]);
    check("ENV a some  value=x  ", &[("a", "some  value=x", true)]);
    check("LABEL \"a b\"=c", &[("\"a b\"", "c", false)]);
    check("ENV a=1 \\\n  b=2", &[("a", "1", false), ("b", "2", false)]);
    refused("ENV", 1, "name=value");
    refused("ENV a", 5, "needs a value");
    refused("ENV =x", 5, "needs a name");
    refused("ENV a=1 b", 9, "`b` has no `=`");
    refused("LABEL", 1, "name=value");
}

#[test]
fn commands_are_lists_or_lines() {
    let check = |line: &str, expected: Command| {
        let (Kind::Cmd(found) | Kind::Entrypoint(found) | Kind::Run(Run { command: found, .. })) = one(line)
        else {
            panic!("{line}")
        };
        match (found, expected) {
            (Command::Shell(found), Command::Shell(expected)) => {
                assert_eq!(found.text, expected.text, "{line}")
            }
            (found, expected) => assert_eq!(found, expected, "{line}"),
        }
    };
    let shell = |text: &str| Command::Shell(Word { text: text.to_owned(), at: Span::default() });
    let exec = |words: &[&str]| Command::Exec(words.iter().map(|word| (*word).to_owned()).collect());
    check("CMD echo   a \"b  c\"", shell("echo   a \"b  c\""));
    check("CMD [\"a\", \"b c\"]", exec(&["a", "b c"]));
    check("CMD [\"a\"] b", shell("[\"a\"] b"));
    check("CMD", shell(""));
    check("CMD []", exec(&[]));
    check("ENTRYPOINT ['a']", shell("['a']"));
    check("RUN [ -f x ] && y", shell("[ -f x ] && y"));
    check("RUN echo --mount=x", shell("echo --mount=x"));
    check("RUN -- --x", shell("--x"));
    refused("CMD [\"a\", 1]", 5, "no string");
    refused("RUN", 1, "needs a command");
    refused("RUN []", 5, "needs a command");
}

#[test]
fn here_documents_are_read() {
    let Kind::Run(run) = one("RUN cat <<A <<-'B' > /o\n1\nA\n\t2\n\tB") else { panic!("no RUN") };
    let found: Vec<_> = run
        .heredocs
        .iter()
        .map(|heredoc| (heredoc.name.as_str(), heredoc.content.as_slice(), heredoc.expand, heredoc.strip))
        .collect();
    assert_eq!(found, [("A", &b"1\n"[..], true, false), ("B", b"\t2\n", false, true)]);
    let Kind::Copy(copy) = one("COPY <<a.txt b <<\"c\" /d/\nFROM no\n# kept \\\na.txt\nc") else {
        panic!("no COPY")
    };
    assert_eq!(texts(&copy.paths.sources), ["b"]);
    let names: Vec<_> = copy.paths.heredocs.iter().map(|heredoc| heredoc.name.as_str()).collect();
    assert_eq!((names.as_slice(), copy.paths.destination.text.as_str()), (&["a.txt", "c"][..], "/d/"));
    assert_eq!(copy.paths.heredocs[0].content, b"FROM no\n# kept \\\n");
    assert_eq!(copy.paths.heredocs[0].at.line, 3);
    let Kind::OnBuild(text) = one("ONBUILD COPY <<E /x\n1\nE") else { panic!("no ONBUILD") };
    assert_eq!(text, "COPY <<E /x\n1\nE");
    // Elsewhere the same characters mean nothing.
    assert!(matches!(one("ENV A=<<EOF"), Kind::Env(_)));
    assert!(matches!(one("RUN [\"a\", \"<<EOF\"]"), Kind::Run(_)));
    assert!(matches!(one("RUN echo '<<EOF'"), Kind::Run(_)));
    refused("RUN <<EOF\nx", 5, "`EOF` has no end");
    refused("COPY a <<EOF\nEOF", 8, "cannot be the destination");
}

#[test]
fn copy_and_add_have_flags() {
    let Kind::Copy(copy) =
        one("COPY --from=s --chown=1:2 --chmod=755 --link --parents --exclude=*.a --exclude=*.b a b /x/")
    else {
        panic!("no COPY")
    };
    let paths = &copy.paths;
    assert_eq!(texts(&paths.sources), ["a", "b"]);
    assert_eq!(texts(&paths.exclude), ["*.a", "*.b"]);
    let text = |word: &Option<Word>| word.as_ref().map(|word| word.text.clone()).unwrap_or_default();
    assert_eq!([text(&copy.from), text(&paths.chown), text(&paths.chmod)], ["s", "1:2", "755"]);
    assert!(paths.link && copy.parents);
    let Kind::Add(add) =
        one("ADD --checksum=sha256:0 --keep-git-dir=false --unpack --link=false [\"a b\", \"/x\"]")
    else {
        panic!("no ADD")
    };
    assert_eq!(texts(&add.paths.sources), ["a b"]);
    assert_eq!((add.keep_git_dir, add.unpack, add.paths.link), (Some(false), Some(true), false));
    let Kind::Copy(copy) = one("COPY --from= a b") else { panic!("no COPY") };
    assert_eq!(copy.from, None);
    refused("COPY", 1, "source and a destination");
    refused("COPY a", 6, "source and a destination");
    refused("COPY --frm=x a b", 6, "unknown flag `--frm`");
    refused("COPY --chown=1 --chown=2 a b", 16, "given twice");
    refused("COPY --link=maybe a b", 6, "`true` or `false`");
    refused("COPY --from a b", 6, "needs a value");
    refused("ADD --from=x a b", 5, "unknown flag");
}

#[test]
fn run_has_flags() {
    let Kind::Run(run) = one(
        "RUN --mount=type=cache,target=/c,ro --mount=\"type=tmpfs,target=/a b\" --network=none --security=insecure x",
    ) else {
        panic!("no RUN")
    };
    assert_eq!((run.network, run.security), (Network::None, Security::Insecure));
    assert_eq!(run.mounts[0].get("target"), Some("/c"));
    assert_eq!(run.mounts[0].fields[2], MountField { key: "ro".to_owned(), value: None });
    assert_eq!(run.mounts[1].get("target"), Some("/a b"));
    refused("RUN --network=hst x", 5, "`hst` is no network");
    refused("RUN --security=x y", 5, "no security mode");
    refused("RUN --mount= x", 5, "is empty");
    refused("RUN --mount=type x", 5, "needs a value");
    refused("RUN --mount=colour=red x", 5, "unknown key `colour`");
    refused("RUN --mount=from=$A,target=/x y", 5, "cannot be a variable");
}

#[test]
fn health_checks_have_times() {
    let Kind::Healthcheck(Healthcheck::Probe { command, interval, retries, .. }) =
        one("HEALTHCHECK --interval=1m30s --retries=3 CMD curl x || exit 1")
    else {
        panic!("no HEALTHCHECK")
    };
    assert!(matches!(command, Command::Shell(line) if line.text == "curl x || exit 1"));
    assert_eq!((interval.as_secs(), retries), (90, 3));
    assert!(matches!(one("healthcheck none"), Kind::Healthcheck(Healthcheck::None)));
    refused("HEALTHCHECK", 1, "`CMD …` or `NONE`");
    refused("HEALTHCHECK CMD", 13, "needs a command");
    refused("HEALTHCHECK CMD []", 13, "needs a command");
    refused("HEALTHCHECK NONE x", 13, "takes no arguments");
    refused("HEALTHCHECK RUN x", 13, "no kind of HEALTHCHECK");
    refused("HEALTHCHECK --interval=5 CMD x", 13, "lacks a unit");
    refused("HEALTHCHECK --interval=1us CMD x", 13, "less than 1ms");
    refused("HEALTHCHECK --retries=-1 CMD x", 13, "negative");
    refused("HEALTHCHECK --retries=x CMD x", 13, "is a number");
}

#[test]
fn other_instructions_have_their_forms() {
    let Kind::Expose(ports) = one("EXPOSE 80 443/tcp $P") else { panic!("no EXPOSE") };
    assert_eq!(texts(&ports), ["$P", "443/tcp", "80"]);
    let Kind::Volume(paths) = one("VOLUME [\"/a b\", \" /c \"]") else { panic!("no VOLUME") };
    assert_eq!(texts(&paths), ["/a b", "/c"]);
    let Kind::Workdir(path) = one("WORKDIR /with space  ") else { panic!("no WORKDIR") };
    assert_eq!(path.text, "/with space");
    assert!(matches!(one("SHELL [\"a\", \"-c\"]"), Kind::Shell(words) if words == ["a", "-c"]));
    assert!(matches!(one("onbuild  run x"), Kind::OnBuild(text) if text == "run x"));
    assert!(matches!(one("ONBUILD FOO x"), Kind::OnBuild(_)));
    refused("EXPOSE", 1, "at least one port");
    refused("VOLUME [\"\"]", 8, "empty");
    refused("WORKDIR", 1, "needs an argument");
    refused("USER", 1, "needs an argument");
    refused("STOPSIGNAL", 1, "needs an argument");
    refused("SHELL a", 7, "JSON list");
    refused("SHELL []", 7, "at least one");
    refused("ONBUILD", 1, "needs an instruction");
    refused("ONBUILD ONBUILD RUN x", 9, "behind ONBUILD");
    refused("ONBUILD from x", 9, "behind ONBUILD");
    refused("ONBUILD ENV a", 13, "needs a value");
}

#[test]
fn all_mistakes_are_found_at_once() {
    let found = problems("FROM\nFLY away\nFROM a AS 1\nRUN x\nCOPY a\n");
    assert_eq!(
        found,
        [
            "1:1: FROM takes an image, or an image and a name: `FROM image AS name`",
            "2:1: unknown instruction `FLY`",
            "3:11: `1` cannot be the name of a stage",
            "5:6: COPY needs a source and a destination",
        ]
    );
    let many = "FLY\n".repeat(1000);
    assert_eq!(problems(&many).len(), 20);
}

#[test]
fn files_that_are_none_are_refused() {
    assert_eq!(problems(""), ["1:1: the Dockerfile has no instructions"]);
    assert_eq!(problems("# a\n\n"), ["1:1: the Dockerfile has no instructions"]);
    assert_eq!(problems("ARG A=1"), ["1:1: the Dockerfile has no stage to build"]);
    assert_eq!(problems("# escape=x\nFROM a"), ["1:10: `x` cannot be the escape character"]);
}

#[test]
fn near_words_are_offered() {
    let hints = |text: &str| {
        let refused = parse(text.as_bytes(), Path::new("Dockerfile")).expect_err(text);
        refused.problems[0].hints.join("; ")
    };
    assert_eq!(hints("FROM x\nCOPPY a b"), "did you mean `COPY`?");
    assert_eq!(hints("FROM x\nCOPY --chwon=1 a b"), "did you mean `--chown`?");
    assert_eq!(hints("FROM x\nRUN --mount=tpye=bind x"), "did you mean `type`?");
    assert!(hints("FROM x\nRUN a\n  b").contains("ends with `\\`"));
}

#[test]
fn triggers_are_one_instruction() {
    assert!(matches!(trigger("COPY a b", Span::default()).expect("a trigger").kind, Kind::Copy(_)));
    assert!(matches!(trigger("RUN <<E\nx\nE", Span::default()).expect("a trigger").kind, Kind::Run(_)));
    for text in ["", "FROM x", "RUN a\nRUN b", "FOO"] {
        assert!(trigger(text, Span::default()).is_err(), "{text:?}");
    }
}

#[test]
fn the_form_is_checked() {
    let check = |text: &str, expected: &[&str]| {
        let found: Vec<String> = parsed(text)
            .warnings
            .iter()
            .map(|warning| {
                format!("{} {}", warning.rule.name(), warning.place.as_ref().map_or(0, |p| p.line))
            })
            .collect();
        assert_eq!(found, expected, "{text:?}");
    };
    check("FROM x AS a\nRUN y", &[]);
    check("FROM x as a", &["FromAsCasing 1"]);
    check("from x AS a", &["FromAsCasing 1"]);
    check("From x as a", &["ConsistentInstructionCasing 1"]);
    check("FROM x AS Aa", &["StageNameCasing 1"]);
    check("FROM x AS a\nFROM y AS a", &["DuplicateStageName 2"]);
    check("FROM x AS scratch", &["ReservedStageName 1"]);
    check("FROM x\nrun a\nRUN b", &["ConsistentInstructionCasing 2"]);
    check("from x\nrun a\nRUN b", &["ConsistentInstructionCasing 3"]);
    check("FROM x\nRUN a \\\n\n b", &["NoEmptyContinuation 4"]);
    check("FROM x\nMAINTAINER me", &["MaintainerDeprecated 2"]);
    check("# about\nFROM x AS a", &["InvalidDefinitionDescription 2"]);
    check("# a the stage\nFROM x AS a\n# what\n\nARG B", &[]);
}

#[test]
fn descriptions_stand_above() {
    let file = parsed("# base where all begins\nFROM x AS base\n# V the version\nARG V=1 W\n");
    assert_eq!(file.stages[0].from.comment, "where all begins");
    let Kind::Arg(items) = &file.stages[0].instructions[0].kind else { panic!("no ARG") };
    assert_eq!((items[0].comment.as_str(), items[1].comment.as_str()), ("the version", ""));
}
