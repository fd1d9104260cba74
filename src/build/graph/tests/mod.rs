//! Whole Dockerfiles through the evaluation.

mod checks;
mod configuration;
mod stages;
mod steps;

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
