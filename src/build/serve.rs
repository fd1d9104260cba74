//! The process that builds.
//!
//! ```text
//! command                                   rcompose in-userns -- build-worker
//!    │ Order: a descriptor of memory; an end of a pipe that closes when the command is gone; one for answers
//!    │ ◀─────────────── Said::Word …         one JSON object a line on its standard output
//!    │ ◀─────────────── Said::Asks { host }  a registry wants to know who we are, see `image::registry::Caller`
//!    │ ───────────────▶ an answer
//!    │ ◀─────────────── Said::Failed | Said::Done
//! ```
//!
//! It has one thread until the runner of containers is forked.

use std::fs::File;
use std::io::{BufReader, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::execute::execute;
use super::order::{Order, Purpose};
use super::plan::{Base, plan};
use super::preflight;
use super::session::Session;
use crate::image::Users;
use crate::image::registry::Caller;
use crate::progress::build::Word;
use crate::report::{Exit, Report};

/// What is said on standard output.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// How the build gets on.
    Word(Word),
    /// A registry wants to know who we are; an answer must come.
    Asks {
        /// The registry.
        host: String,
    },
    /// An image that is built on, for who wants no more than to know that.
    Base(Box<Base>),
    /// It failed.
    Failed(Box<Report>),
    /// Everything is built.
    Done,
}

/// What the process that builds is given.
#[derive(Debug)]
pub struct Given {
    /// The order.
    pub memory: OwnedFd,
    /// Comes to its end when whoever gave the order is gone; then this process ends at once.
    pub alive: OwnedFd,
    /// Who we are to registries, where that is asked.
    pub answers: OwnedFd,
}

/// Builds what the order says; returns whether all went well. `users` says what containers stand on.
pub fn serve(given: Given, output: impl Write + Send + 'static, users: Users<'_>) -> bool {
    let Given { memory, alive, answers } = given;
    let output = Mutex::new(output);
    let say = Arc::new(move |said: &Said| {
        let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
        let line = serde_json::to_string(said).unwrap_or_default() + "\n";
        let _ = output.write_all(line.as_bytes()).and_then(|()| output.flush());
    });
    let words = Arc::clone(&say);
    let asks = Arc::clone(&say);
    let ask = move |host: &str| asks(&Said::Asks { host: host.to_owned() });
    let caller = Arc::new(Caller::new(ask, BufReader::new(File::from(answers))));
    let outcome = read(memory).and_then(|order| {
        let session = Session::begin(&order, caller, Box::new(move |word| words(&Said::Word(word))))?;
        // From here on there may be threads.
        std::thread::spawn(move || {
            let _ = File::from(alive).read(&mut [0]);
            crate::sys::process::exit_at_once(1);
        });
        let session = Arc::new(session);
        let planned = plan(&session, &order)?;
        match order.purpose {
            Purpose::Build => {}
            Purpose::Check => return Ok(()),
            Purpose::Bases => {
                planned.bases.into_iter().for_each(|base| say(&Said::Base(Box::new(base))));
                return Ok(());
            }
        }
        let planned = planned.targets;
        preflight::check(&planned)?;
        execute(&session, planned)?;
        Ok(session.cache.look_after(session.made.load(Ordering::Relaxed), users)?)
    });
    match outcome {
        Ok(()) => {
            say(&Said::Done);
            true
        }
        Err(report) => {
            say(&Said::Failed(Box::new(report)));
            false
        }
    }
}

fn read(memory: OwnedFd) -> Result<Order, Report> {
    let mut text = Vec::new();
    let mut file = File::from(memory);
    file.rewind()
        .and_then(|()| file.read_to_end(&mut text))
        .map_err(|error| Report::from_error(Exit::Failure, &error))?;
    serde_json::from_slice(&text).map_err(|error| Report::from_error(Exit::Failure, &error))
}
