//! What is refused, and what is only found.

use super::*;

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
