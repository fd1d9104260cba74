//! A Dockerfile, read and evaluated; the base image's triggers are lines of the file itself.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use rcompose::build::dockerfile::{Refused, parse};
use rcompose::build::graph::{Action, BaseName, Bases, Graph, Origin, Request, Source, evaluate};
use rcompose::image::{ImageConfig, Platform};
use rcompose::report::{Place, Report};

struct Images(Vec<String>);

impl Bases for Images {
    fn configs(&mut self, wanted: &[BaseName]) -> Vec<Result<ImageConfig, Report>> {
        let config =
            ImageConfig { on_build: self.0.clone(), os: "linux".to_owned(), ..ImageConfig::default() };
        wanted.iter().map(|_| Ok(config.clone())).collect()
    }
}

fn check_place(place: &Place, lines: usize) {
    assert!(place.line as usize <= lines && place.column >= 1 && place.width >= 1, "{place:?}");
    assert!(
        place.text.contains('\u{fffd}') || place.column as usize <= place.text.chars().count() + 1,
        "{place:?}"
    );
}

fn check_refused(refused: &Refused, lines: usize) {
    assert!(refused.cause.is_some() || !refused.problems.is_empty());
    let places = refused.problems.iter().flat_map(|problem| &problem.places);
    places
        .chain(refused.warnings.iter().filter_map(|warning| warning.place.as_ref()))
        .for_each(|p| check_place(p, lines));
    assert!(!Report::from(refused.clone()).message.is_empty());
}

fn check_graph(graph: &Graph) {
    assert!(!graph.stages.is_empty());
    for (index, stage) in graph.stages.iter().enumerate() {
        let before = |origin: &Origin| !matches!(origin, Origin::Stage(other) if *other >= index);
        assert!(before(&stage.base));
        for step in &stage.steps {
            match &step.action {
                Action::Nothing => {}
                Action::MakeDirectory { path, .. } => assert!(path.starts_with('/') && path != "/"),
                Action::Run(run) => assert!(!run.args.is_empty() && run.workdir.starts_with('/')),
                Action::Copy(copy) => {
                    assert!(
                        before(&copy.from) && copy.destination.starts_with('/') && !copy.sources.is_empty()
                    );
                    for source in &copy.sources {
                        if let Source::Path { pattern, .. } = source {
                            assert!(pattern.starts_with('/') && !pattern.split('/').any(|part| part == ".."));
                        }
                    }
                }
            }
        }
    }
}

fuzz_target!(|text: &[u8]| {
    let lines = text.split(|byte| *byte == b'\n').count();
    let file = match parse(text, Path::new("Dockerfile")) {
        Ok(file) => file,
        Err(refused) => return check_refused(&refused, lines),
    };
    let triggers =
        file.source.text.lines().filter(|line| line.starts_with("RUN") || line.starts_with("COPY"));
    let mut images = Images(triggers.take(2).map(str::to_owned).collect());
    let mut request = Request::new(Platform::new("linux", "amd64", None));
    request.args = [("A", "x y"), ("HTTP_PROXY", "p")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
    for all_stages in [false, true] {
        request.all_stages = all_stages;
        match evaluate(&file, &request, &mut images) {
            Ok(graph) => check_graph(&graph),
            Err(refused) => check_refused(&refused, lines),
        }
    }
});
