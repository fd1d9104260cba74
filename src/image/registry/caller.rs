//! Who we are, asked of the command that has started this process.
//!
//! Inside the outer user namespace Docker's configuration and the programs that it names are out of place: they are the
//! user's, who is another one there. So a process inside asks the command, which is still outside, when a registry wants
//! to know: the name of the host goes one way, an [`Answer`] as a line of JSON the other.

use std::fmt;
use std::io::{BufRead, Write};
use std::sync::{Mutex, PoisonError};

use super::error::Error;
use super::keys::{Credentials, DockerConfig, Keys};
use crate::report::Report;

/// What vouches for us at a registry, or why that cannot be said.
type Answer = Result<Option<Credentials>, String>;

/// The command, as who asks it sees it.
pub struct Caller {
    ask: Box<dyn Fn(&str) + Send + Sync>,
    /// Held while an answer is awaited, so that each gets its own.
    answers: Mutex<Box<dyn BufRead + Send>>,
}

impl Caller {
    /// `ask` sends the name of a host; `answers` is where the answers come from, one for each question.
    pub fn new(ask: impl Fn(&str) + Send + Sync + 'static, answers: impl BufRead + Send + 'static) -> Caller {
        Caller { ask: Box::new(ask), answers: Mutex::new(Box::new(answers)) }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Caller")
    }
}

impl Keys for Caller {
    fn find(&self, host: &str) -> Result<Option<Credentials>, Error> {
        let failed = |reason: String| Error::Asked { host: host.to_owned(), reason };
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        (self.ask)(host);
        let mut line = String::new();
        answers.read_line(&mut line).map_err(|error| failed(error.to_string()))?;
        let answer: Answer = serde_json::from_str(&line).map_err(|error| failed(error.to_string()))?;
        answer.map_err(failed)
    }
}

/// Tells who asked for it who we are to a registry.
pub fn answer(host: &str, answers: &mut impl Write) {
    let answer: Answer = DockerConfig.find(host).map_err(|error| {
        let report = Report::from(crate::image::Error::from(error));
        std::iter::once(report.message)
            .chain(report.causes)
            .chain(report.hints)
            .collect::<Vec<_>>()
            .join(": ")
    });
    let line = serde_json::to_string(&answer).unwrap_or_default() + "\n";
    // One that is gone needs no answer; its status says why.
    let _ = answers.write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Answers `line` to whatever is asked; returns what came of it, and for which hosts was asked.
    fn ask(line: &str) -> (Result<Option<Credentials>, Error>, Vec<String>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        let note = move |host: &str| noted.lock().expect("not poisoned").push(host.to_owned());
        let caller = Caller::new(note, std::io::Cursor::new(line.as_bytes().to_vec()));
        let found = caller.find("registry.example");
        let asked = asked.lock().expect("not poisoned").clone();
        (found, asked)
    }

    #[test]
    fn each_question_has_its_answer() {
        let (found, asked) = ask("{\"Ok\":{\"password\":{\"user\":\"ada\",\"password\":\"x\"}}}\n");
        assert_eq!(asked, ["registry.example"]);
        assert_eq!(
            found.expect("answered").and_then(|keys| keys.user().map(str::to_owned)).as_deref(),
            Some("ada")
        );
        assert_eq!(ask("{\"Ok\":null}\n").0.expect("answered"), None);
        assert!(
            ask("{\"Err\":\"the helper is ill\"}\n")
                .0
                .expect_err("refused")
                .to_string()
                .contains("registry.example")
        );
        assert!(ask("").0.is_err(), "whoever should answer is gone");
    }
}
