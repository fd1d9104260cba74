//! What lines make of the configuration of an image, and of its history.

use super::*;

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
