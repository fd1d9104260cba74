//! How far a command is: live lines on a terminal, plain lines in a pipe, JSON for programs, or nothing.
//!
//! ```text
//! [+] Running 2/3
//!  ✔ Network p_default    Created   0.0s
//!  ✔ Container p-db-1     Healthy   1.2s
//!  ⠹ Container p-web-1    Starting  0.1s
//! ```

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use indexmap::IndexMap;
use nix::sys::signal::SigSet;
use serde::Serialize;
use unicode_width::UnicodeWidthChar;

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
    /// Put before every task: `DRY-RUN MODE - `.
    mark: &'static str,
    tasks: IndexMap<String, Task>,
    live: Option<Live>,
}

/// Lines that are on the terminal now.
#[derive(Default)]
struct Live {
    /// How many there are above the cursor.
    lines: usize,
    frame: usize,
    drawn: Option<Instant>,
}

struct Task {
    last: Progress,
    since: Instant,
    took: Option<Duration>,
    /// When what it does now began, and with how many bytes: speed is what came since.
    began: (Instant, u64),
    /// When a line of JSON told its bytes last.
    told: Option<Instant>,
}

impl Task {
    fn new(last: Progress) -> Task {
        let began = (Instant::now(), last.done.unwrap_or(0));
        Task { last, since: Instant::now(), took: None, began, told: None }
    }

    /// Bytes per second, once there is something to say.
    fn speed(&self) -> Option<u64> {
        let (since, from) = self.began;
        let seconds = since.elapsed().as_secs_f64();
        let came = self.last.done?.checked_sub(from)?;
        (seconds >= LEAST && came > 0).then(|| (came as f64 / seconds) as u64)
    }
}

const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const UNSURE: Style = AnsiColor::Yellow.on_default();
const BUSY: Style = AnsiColor::Blue.on_default();

/// A speed over fewer seconds says nothing.
const LEAST: f64 = 0.3;
/// Between two lines of JSON that only differ in bytes.
const BETWEEN_BYTES: Duration = Duration::from_millis(250);
/// Between two drawings: more often nobody sees.
const PAUSE: Duration = Duration::from_millis(80);

impl Display {
    /// Makes a display; nothing is drawn before the first word.
    pub fn new(mode: Mode, dry_run: bool) -> Display {
        let mark = if dry_run { "DRY-RUN MODE - " } else { "" };
        Display { shown: Arc::new(Mutex::new(Shown { mode, mark, tasks: IndexMap::new(), live: None })) }
    }

    /// Writes something else in between; live lines step aside.
    pub fn aside(&self, write: impl FnOnce()) {
        let mut shown = lock(&self.shown);
        shown.wipe();
        write();
        shown.draw(false);
    }

    /// Leaves the lines as they are; what is told from now on begins a new block.
    pub fn finish(&self) {
        let mut shown = lock(&self.shown);
        shown.draw(true);
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
                shown.change(progress);
                if shown.live.is_none() {
                    shown.live = Some(Live::default());
                    keep_turning(Arc::downgrade(&self.shown));
                }
                // What is left out here is drawn when the next frame comes.
                let due = |live: &Live| live.drawn.is_none_or(|drawn| drawn.elapsed() >= PAUSE);
                if shown.live.as_ref().is_some_and(due) {
                    shown.draw(false);
                }
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
        // Signals are for the thread that knows what to do before the process ends.
        let _ = SigSet::all().thread_block();
        loop {
            thread::sleep(Duration::from_millis(100));
            let Some(shown) = shown.upgrade() else { return };
            let mut shown = lock(&shown);
            let Some(live) = &mut shown.live else { return };
            live.frame = (live.frame + 1) % FRAMES.len();
            shown.draw(false);
        }
    });
}

impl Shown {
    /// Prints a change as a line of its own. Bytes alone are none for people, and for programs not too often.
    fn print(&mut self, progress: Progress) {
        let before = self.tasks.get(&progress.task);
        let same =
            before.is_some_and(|task| (&task.last.text, task.last.state) == (&progress.text, progress.state));
        let recent = before.is_some_and(|task| task.told.is_some_and(|told| told.elapsed() < BETWEEN_BYTES));
        let bytes_alone = same && (self.mode != Mode::Json || progress.done.is_none() || recent);
        let name = progress.task.clone();
        self.put(progress);
        if bytes_alone {
            return;
        }
        let Some(task) = self.tasks.get_mut(&name) else { return };
        task.told = Some(Instant::now());
        match self.mode {
            Mode::Json => {
                if let Ok(line) = serde_json::to_string(&JsonLine::of(task)) {
                    console::err_line(&line);
                }
            }
            _ => console::err_line(&format!(" {}{}  {}", self.mark, task.last.task, task.last.text)),
        }
    }

    fn put(&mut self, progress: Progress) {
        let task = self.tasks.entry(progress.task.clone()).or_insert_with(|| Task::new(progress.clone()));
        let bytes = progress.done.unwrap_or(0);
        if task.last.text != progress.text || bytes < task.began.1 {
            task.began = (Instant::now(), bytes);
        }
        if progress.state == State::Working {
            if task.took.take().is_some() {
                task.since = Instant::now();
            }
        } else {
            task.took.get_or_insert_with(|| task.since.elapsed());
        }
        task.last = progress;
    }

    /// Takes a word; the parts of a task that has ended go, as the task itself tells what they were.
    fn change(&mut self, progress: Progress) {
        let ended =
            (progress.parent.is_none() && progress.state != State::Working).then(|| progress.task.clone());
        self.put(progress);
        if ended.is_some() {
            self.tasks.retain(|_, task| task.last.parent != ended);
        }
    }

    /// All lines, parts below their task. `height` leaves out ended tasks, and then the first, until it is enough.
    fn lines(&self, frame: &str, height: Option<usize>) -> Vec<String> {
        let whole: Vec<&Task> = self.tasks.values().filter(|task| task.last.parent.is_none()).collect();
        let done = whole.iter().filter(|task| task.last.state != State::Working).count();
        let width = self.tasks.keys().map(|name| name.chars().count()).max().unwrap_or(0);
        let mut ordered: Vec<&Task> = Vec::new();
        for task in &whole {
            ordered.push(task);
            let part = |part: &&Task| part.last.parent.as_deref() == Some(task.last.task.as_str());
            ordered.extend(self.tasks.values().filter(part));
        }
        // Parts whose task was never told by itself.
        let known: HashSet<&str> = whole.iter().map(|task| task.last.task.as_str()).collect();
        let stray = |task: &&Task| task.last.parent.as_deref().is_some_and(|parent| !known.contains(parent));
        ordered.extend(self.tasks.values().filter(stray));
        if let Some(height) = height {
            let mut surplus = (ordered.len() + 1).saturating_sub(height);
            ordered.retain(|task| {
                let goes = surplus > 0 && task.last.state != State::Working;
                surplus -= usize::from(goes);
                !goes
            });
            ordered.drain(..surplus.min(ordered.len()));
        }
        let head = format!("{}[+] Running {done}/{}", self.mark, whole.len());
        let line = |task: &&Task| task.line(width, frame, self.mark, self.sum(&task.last.task));
        std::iter::once(head).chain(ordered.iter().map(line)).collect()
    }

    /// Bytes done and in all of the parts of a task, where parts have bytes.
    fn sum(&self, task: &str) -> Option<(u64, u64)> {
        let parts = self.tasks.values().filter(|part| part.last.parent.as_deref() == Some(task));
        let bytes = parts.filter_map(|part| {
            let total = part.last.total?;
            // What is unpacked has come.
            let coming = part.last.state == State::Working && part.last.text == "Downloading";
            Some((if coming { part.last.done? } else { total }, total))
        });
        bytes.reduce(|sum, part| (sum.0 + part.0, sum.1 + part.1))
    }

    /// Takes the drawn lines away; the cursor is where they began.
    fn wipe(&mut self) {
        if let Some(live) = &mut self.live
            && live.lines > 0
        {
            console::err_bytes(format!("\x1b[{}A\r\x1b[J", live.lines).as_bytes());
            live.lines = 0;
        }
    }

    /// Draws over what is drawn, in one write so that nothing flickers. The last time all lines are shown.
    fn draw(&mut self, last: bool) {
        let Some(live) = &self.live else { return };
        let (height, width) = console::stderr_size().unwrap_or((24, 80));
        let lines = self.lines(FRAMES[live.frame], (!last).then(|| usize::from(height).saturating_sub(1)));
        let mut text = match live.lines {
            0 => String::new(),
            up => format!("\x1b[{up}A\r"),
        };
        for line in &lines {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}\x1b[K", fit(line, usize::from(width)));
        }
        text.push_str("\x1b[J");
        if !console::stderr_is_colored() {
            // Without colours the cursor still has to move.
            text = without_colors(&text);
        }
        console::err_bytes(text.as_bytes());
        if let Some(live) = &mut self.live {
            live.lines = lines.len();
            live.drawn = Some(Instant::now());
        }
    }
}

/// Cuts a styled line to so many columns: a longer one would wrap, and the next drawing would miss its beginning.
pub(super) fn fit(line: &str, columns: usize) -> String {
    let mut cut = String::new();
    let mut used = 0;
    let mut in_style = false;
    for character in line.chars() {
        if character == '\x1b' {
            in_style = true;
        }
        let width = if in_style { 0 } else { character.width().unwrap_or(0) };
        if in_style && character == 'm' {
            in_style = false;
        }
        // Styles go on beyond the edge, so that none stays switched on.
        if used + width <= columns || width == 0 {
            cut.push(character);
        }
        used += width;
    }
    cut
}

/// Takes out the sequences that end in `m`.
fn without_colors(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("\x1b[") {
        plain.push_str(&rest[..start]);
        let sequence = &rest[start..];
        let end = sequence[2..].find(|c: char| c.is_ascii_alphabetic()).map_or(sequence.len(), |at| at + 3);
        if !sequence[..end].ends_with('m') {
            plain.push_str(&sequence[..end]);
        }
        rest = &sequence[end..];
    }
    plain + rest
}

impl Task {
    /// `parts` are the bytes of its parts, done and in all.
    fn line(&self, width: usize, frame: &str, mark: &str, parts: Option<(u64, u64)>) -> String {
        let (style, sign) = match self.last.state {
            State::Working => (BUSY, frame),
            State::Done => (GOOD, "✔"),
            State::Failed => (BAD, "✘"),
            State::Warning => (UNSURE, "!"),
        };
        let seconds = self.took.unwrap_or_else(|| self.since.elapsed()).as_secs_f64();
        let indent = if self.last.parent.is_some() { "  " } else { "" };
        let own = self.last.done.map(|done| (done, self.last.total));
        let counted = own.or(parts.map(|(done, total)| (done, Some(total))));
        let bytes = match counted.filter(|_| self.last.state == State::Working) {
            Some((done, Some(total))) => {
                format!(" {} {}/{}", bar(done, total), value::decimal_size(done), value::decimal_size(total))
            }
            Some((done, None)) => format!(" {}", value::decimal_size(done)),
            None => String::new(),
        };
        let speed = self.speed().filter(|_| self.last.state == State::Working);
        let speed = speed.map(|speed| format!(" {}/s", value::decimal_size(speed))).unwrap_or_default();
        format!(
            " {indent}{style}{sign}{style:#} {mark}{:<width$}  {style}{}{style:#}{bytes}{speed}  {seconds:.1}s",
            self.last.task, self.last.text,
        )
    }
}

/// How much of it is done, in ten steps.
fn bar(done: u64, total: u64) -> String {
    let tenths = (done.min(total) * 10).checked_div(total).unwrap_or(10) as usize;
    format!("[{}{}]", "=".repeat(tenths), " ".repeat(10 - tenths))
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
    #[serde(skip_serializing_if = "Option::is_none")]
    percent: Option<u64>,
    /// Bytes per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    speed: Option<u64>,
}

impl JsonLine<'_> {
    fn of(task: &Task) -> JsonLine<'_> {
        let Progress { task: id, parent, text, done, total, .. } = &task.last;
        let percent = done.zip(*total).and_then(|(done, total)| (done.min(total) * 100).checked_div(total));
        let speed = task.speed().filter(|_| task.last.state == State::Working);
        JsonLine {
            id,
            parent_id: parent.as_deref(),
            status: text,
            current: *done,
            total: *total,
            percent,
            speed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(progress: Progress) -> Task {
        Task { took: Some(Duration::from_millis(1234)), ..Task::new(progress) }
    }

    fn check(progress: Progress, expected: &str) {
        let line = task(progress).line(18, "⠋", "", None);
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
        check(part, "   ⠋ 5cc84ad355aa        Downloading [          ] 1.5MB/30MB  1.2s");
    }

    #[test]
    fn speed_is_what_came_since_it_began() {
        let mut shown = Shown { mode: Mode::Tty, mark: "", tasks: IndexMap::new(), live: None };
        let part = |text: &str, done| Progress {
            parent: Some("Image a".into()),
            done: Some(done),
            total: Some(10_000_000),
            ..Progress::new("l", State::Working, text)
        };
        shown.put(Progress::new("Image a", State::Working, "Pulling"));
        shown.put(part("Downloading", 1_000_000));
        let aged =
            Instant::now().checked_sub(Duration::from_secs(2)).expect("a clock that has run for a while");
        shown.tasks["l"].began.0 = aged;
        shown.put(part("Downloading", 5_000_000));
        let speed = shown.tasks["l"].speed().expect("known");
        assert!((1_900_000..=2_000_000).contains(&speed), "{speed}");
        assert_eq!(shown.sum("Image a"), Some((5_000_000, 10_000_000)));
        let line = without_colors(&shown.tasks["Image a"].line(8, "*", "", shown.sum("Image a")));
        assert!(line.contains("Pulling [=====     ] 5MB/10MB"), "{line}");
        let json = serde_json::to_string(&JsonLine::of(&shown.tasks["l"])).expect("JSON");
        assert!(json.contains(r#""current":5000000,"total":10000000,"percent":50,"speed":"#), "{json}");
        // Something else begins anew.
        shown.put(part("Extracting", 1_000));
        assert_eq!(shown.tasks["l"].speed(), None);
        assert_eq!(shown.sum("Image a"), Some((10_000_000, 10_000_000)), "what is unpacked has come");
    }

    #[test]
    fn parts_stand_below_their_task_and_go_when_it_ends() {
        let mut shown = Shown { mode: Mode::Tty, mark: "", tasks: IndexMap::new(), live: None };
        let part = |name: &str, parent: &str| Progress {
            parent: Some(parent.into()),
            ..Progress::new(name, State::Working, "Downloading")
        };
        shown.change(Progress::new("Image a", State::Working, "Pulling"));
        shown.change(Progress::new("Image b", State::Working, "Pulling"));
        shown.change(part("layer 1", "Image a"));
        let names = |shown: &Shown, height| -> Vec<String> {
            let lines = shown.lines("*", height);
            let plain = lines.iter().map(|line| without_colors(line));
            plain.map(|line| line.split_whitespace().take(3).collect::<Vec<_>>().join(" ")).collect()
        };
        let head = "[+] Running 0/2";
        assert_eq!(names(&shown, None), [head, "* Image a", "* layer 1", "* Image b"]);
        shown.change(Progress::new("Image a", State::Done, "Pulled"));
        assert_eq!(names(&shown, None), ["[+] Running 1/2", "✔ Image a", "* Image b"]);
        assert_eq!(names(&shown, Some(2)), ["[+] Running 1/2", "* Image b"]);
    }

    #[test]
    fn lines_are_cut_at_the_edge_with_their_styles_ended() {
        assert_eq!(fit("a\x1b[31mbcd\x1b[0m", 2), "a\x1b[31mb\x1b[0m");
        assert_eq!(fit("漢字", 3), "漢");
        assert_eq!(without_colors("\x1b[2A\r\x1b[31mx\x1b[0m\x1b[K"), "\x1b[2A\rx\x1b[K");
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
