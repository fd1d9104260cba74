//! How far a command is: live lines on a terminal, plain lines in a pipe, JSON for programs, or nothing.
//!
//! ```text
//! [+] Running 2/3
//!  ✔ Network p_default    Created   0.0s
//!  ✔ Container p-db-1     Healthy   1.2s
//!  ⠹ Container p-web-1    Starting  0.1s
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use indexmap::IndexMap;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::{console, value};
use crate::progress::{Progress, Sink, State};

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Lines that change on a terminal.
    Tty,
    /// A line for each change.
    Plain,
    /// A JSON object for each change, one a line.
    Json,
    /// Not at all.
    Quiet,
}

/// Draws progress on stderr.
pub struct Display {
    shown: Arc<Mutex<Shown>>,
}

struct Shown {
    mode: Mode,
    /// Put before every line: `DRY-RUN MODE - `.
    mark: &'static str,
    tasks: IndexMap<String, Task>,
    live: Option<Live>,
}

struct Live {
    lines: MultiProgress,
    header: ProgressBar,
    frame: usize,
}

struct Task {
    last: Progress,
    since: Instant,
    took: Option<Duration>,
    bar: Option<ProgressBar>,
}

const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const UNSURE: Style = AnsiColor::Yellow.on_default();
const BUSY: Style = AnsiColor::Blue.on_default();

impl Display {
    /// Makes a display; nothing is drawn before the first word.
    pub fn new(mode: Mode, dry_run: bool) -> Display {
        let mark = if dry_run { "DRY-RUN MODE - " } else { "" };
        Display { shown: Arc::new(Mutex::new(Shown { mode, mark, tasks: IndexMap::new(), live: None })) }
    }

    /// Writes something else in between; live lines step aside.
    pub fn aside(&self, write: impl FnOnce()) {
        let shown = lock(&self.shown);
        match &shown.live {
            Some(live) => live.lines.suspend(write),
            None => write(),
        }
    }

    /// Leaves the lines as they are; what is told from now on begins a new block.
    pub fn finish(&self) {
        let mut shown = lock(&self.shown);
        shown.draw();
        shown.live = None;
        shown.tasks.clear();
    }
}

impl Sink for Display {
    fn tell(&self, progress: Progress) {
        let mut shown = lock(&self.shown);
        match shown.mode {
            Mode::Quiet => {}
            Mode::Plain | Mode::Json => shown.print(progress),
            Mode::Tty => {
                if shown.live.is_none() {
                    shown.live = Some(Live::new());
                    keep_turning(Arc::downgrade(&self.shown));
                }
                shown.change(progress);
                shown.draw();
            }
        }
    }
}

fn lock(shown: &Mutex<Shown>) -> MutexGuard<'_, Shown> {
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Redraws ten times a second, so that clocks go on, until the display is finished.
fn keep_turning(shown: Weak<Mutex<Shown>>) {
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_millis(100));
            let Some(shown) = shown.upgrade() else { return };
            let mut shown = lock(&shown);
            let Some(live) = &mut shown.live else { return };
            live.frame = (live.frame + 1) % FRAMES.len();
            shown.draw();
        }
    });
}

impl Live {
    fn new() -> Live {
        let lines = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(20));
        let header = lines.add(bar());
        Live { lines, header, frame: 0 }
    }
}

/// A line whose whole text is ours.
fn bar() -> ProgressBar {
    let style =
        ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::no_length().with_style(style)
}

impl Shown {
    /// Prints a change as a line of its own. Bytes alone are no change: a log of them helps nobody.
    fn print(&mut self, progress: Progress) {
        let before = self.tasks.get(&progress.task).map(|task| (&task.last.text, task.last.state));
        if before == Some((&progress.text, progress.state)) {
            return;
        }
        match self.mode {
            Mode::Json => {
                let line = JsonLine {
                    id: &progress.task,
                    parent_id: progress.parent.as_deref(),
                    status: &progress.text,
                    current: progress.done,
                    total: progress.total,
                };
                if let Ok(line) = serde_json::to_string(&line) {
                    console::err_line(&line);
                }
            }
            _ => console::err_line(&format!(" {}{}  {}", self.mark, progress.task, progress.text)),
        }
        self.put(progress);
    }

    fn put(&mut self, progress: Progress) -> &mut Task {
        let task = self.tasks.entry(progress.task.clone()).or_insert_with(|| Task {
            last: progress.clone(),
            since: Instant::now(),
            took: None,
            bar: None,
        });
        if progress.state == State::Working {
            if task.took.take().is_some() {
                task.since = Instant::now();
            }
        } else {
            task.took.get_or_insert_with(|| task.since.elapsed());
        }
        task.last = progress;
        task
    }

    fn change(&mut self, progress: Progress) {
        let name = progress.task.clone();
        let ended_parent = progress.parent.is_none() && progress.state != State::Working;
        let new_line = self.put(progress).bar.is_none();
        if new_line {
            let below = self.line_above(&name);
            if let Some(live) = &self.live {
                let bar = live.lines.insert_after(&below.unwrap_or_else(|| live.header.clone()), bar());
                self.tasks[&name].bar = Some(bar);
            }
        }
        if ended_parent {
            self.fold(&name);
        }
    }

    /// The line below which a new task's line goes: the last of its family, else the last of all.
    fn line_above(&self, name: &str) -> Option<ProgressBar> {
        let parent = self.tasks[name].last.parent.clone();
        let mut family = self.tasks.iter().filter(|(other, task)| {
            parent.is_none() || task.last.parent == parent || Some(other.as_str()) == parent.as_deref()
        });
        family.rfind(|(_, task)| task.bar.is_some()).and_then(|(_, task)| task.bar.clone())
    }

    /// Takes the lines of an ended task's parts away: what they were is told by the task itself.
    fn fold(&mut self, parent: &str) {
        let Some(live) = &self.live else { return };
        for task in self.tasks.values().filter(|task| task.last.parent.as_deref() == Some(parent)) {
            if let Some(bar) = &task.bar {
                live.lines.remove(bar);
            }
        }
        self.tasks.retain(|_, task| task.last.parent.as_deref() != Some(parent));
    }

    fn draw(&mut self) {
        let Some(live) = &self.live else { return };
        let whole: Vec<&Task> = self.tasks.values().filter(|task| task.last.parent.is_none()).collect();
        let done = whole.iter().filter(|task| task.last.state != State::Working).count();
        let width = self.tasks.keys().map(|name| name.chars().count()).max().unwrap_or(0);
        let mark = self.mark;
        live.header.set_message(paint(format!("{mark}[+] Running {done}/{}", whole.len())));
        for task in self.tasks.values() {
            if let Some(bar) = &task.bar {
                bar.set_message(paint(task.line(width, FRAMES[live.frame], mark)));
            }
        }
    }
}

/// Leaves the colours in only where stderr shows them.
fn paint(text: String) -> String {
    if anstream::AutoStream::choice(&std::io::stderr()) == console::ColorChoice::Never {
        anstream::adapter::strip_str(&text).to_string()
    } else {
        text
    }
}

impl Task {
    fn line(&self, width: usize, frame: &str, mark: &str) -> String {
        let (style, sign) = match self.last.state {
            State::Working => (BUSY, frame),
            State::Done => (GOOD, "✔"),
            State::Failed => (BAD, "✘"),
            State::Warning => (UNSURE, "!"),
        };
        let seconds = self.took.unwrap_or_else(|| self.since.elapsed()).as_secs_f64();
        let indent = if self.last.parent.is_some() { "  " } else { "" };
        let bytes = match (self.last.done, self.last.total, self.last.state) {
            (Some(done), Some(total), State::Working) => {
                format!(" {}/{}", value::decimal_size(done), value::decimal_size(total))
            }
            (Some(done), None, State::Working) => format!(" {}", value::decimal_size(done)),
            _ => String::new(),
        };
        format!(
            " {indent}{style}{sign}{style:#} {mark}{:<width$}  {style}{}{style:#}{bytes}  {seconds:.1}s",
            self.last.task, self.last.text,
        )
    }
}

#[derive(Serialize)]
struct JsonLine<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<&'a str>,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(progress: Progress) -> Task {
        Task { last: progress, since: Instant::now(), took: Some(Duration::from_millis(1234)), bar: None }
    }

    fn check(progress: Progress, expected: &str) {
        let line = task(progress).line(18, "⠋", "");
        assert_eq!(anstream::adapter::strip_str(&line).to_string(), expected);
    }

    #[test]
    fn a_line_says_how_it_stands_and_how_long_it_took() {
        check(
            Progress::new("Container p-web-1", State::Done, "Started"),
            " ✔ Container p-web-1   Started  1.2s",
        );
        check(
            Progress::new("Container p-web-1", State::Failed, "Error"),
            " ✘ Container p-web-1   Error  1.2s",
        );
    }

    #[test]
    fn a_part_is_indented_and_counts_its_bytes_while_it_works() {
        let part = Progress {
            parent: Some("Image redis:7".into()),
            done: Some(1_500_000),
            total: Some(30_000_000),
            ..Progress::new("5cc84ad355aa", State::Working, "Downloading")
        };
        check(part, "   ⠋ 5cc84ad355aa        Downloading 1.5MB/30MB  1.2s");
    }

    #[test]
    fn a_task_that_works_again_starts_its_clock_again() {
        let display = Display::new(Mode::Quiet, false);
        let mut shown = lock(&display.shown);
        shown.put(Progress::new("t", State::Done, "Created"));
        assert!(shown.tasks["t"].took.is_some());
        shown.put(Progress::new("t", State::Working, "Starting"));
        assert!(shown.tasks["t"].took.is_none());
    }
}
