//! How a build gets on: live lines on a terminal, plain lines in a pipe, JSON for programs, as BuildKit shows them.
//!
//! ```text
//! #3 [2/3] RUN make                      [+] Building 1.2s (2/3)
//! #3 0.204 cc -o a a.c                    => CACHED [1/3] FROM busybox:1.35        0.0s
//! #3 DONE 0.9s                            => [2/3] RUN make                        0.9s
//!                                         => => # cc -o a a.c
//! ```

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use indexmap::IndexMap;
use nix::sys::signal::SigSet;
use unicode_width::UnicodeWidthStr;

use super::progress::{Mode, fit};
use super::{console, text};
use crate::progress::build::{How, Word};
use crate::report::{Exit, Place, Report};

/// How many lines of a running step are on the terminal.
const SHOWN: usize = 6;
/// How many lines of a failed step are shown.
const TAIL: usize = 40;
/// Between two drawings: more often nobody sees.
const PAUSE: Duration = Duration::from_millis(80);

const GOOD: Style = AnsiColor::Blue.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const UNSURE: Style = AnsiColor::Yellow.on_default();

/// Shows builds on stderr.
pub struct Display {
    shown: Arc<Mutex<Shown>>,
}

struct Shown {
    mode: Mode,
    began: Option<Instant>,
    steps: IndexMap<u32, Step>,
    /// The step of the line printed last.
    last: Option<u32>,
    live: Option<Live>,
}

struct Step {
    title: String,
    began: Instant,
    ended: Option<(How, Duration)>,
    /// Whether its title was printed.
    introduced: bool,
    /// Its last lines, each with the time at which it came.
    tail: VecDeque<(Duration, String)>,
    /// A line that has no end yet.
    open: String,
    /// Parts that are under way.
    parts: IndexMap<String, (Option<u64>, Option<u64>)>,
}

/// Lines that are on the terminal now.
#[derive(Default)]
struct Live {
    lines: usize,
    drawn: Option<Instant>,
}

impl Display {
    /// Makes a display; nothing is shown before the first word.
    pub fn new(mode: Mode) -> Display {
        let shown = Shown { mode, began: None, steps: IndexMap::new(), last: None, live: None };
        Display { shown: Arc::new(Mutex::new(shown)) }
    }

    /// Takes a word.
    pub fn tell(&self, word: Word) {
        let mut shown = lock(&self.shown);
        shown.began.get_or_insert_with(Instant::now);
        match shown.mode {
            Mode::Json => {
                if let Ok(line) = serde_json::to_string(&word) {
                    console::err_line(&line);
                }
            }
            Mode::Quiet => shown.note(&word),
            Mode::Plain => {
                shown.note(&word);
                shown.print(&word);
            }
            Mode::Tty => {
                shown.note(&word);
                if let Word::Doubt { rule, about, message, place } = &word {
                    shown.wipe();
                    console::err_line(&doubt(rule, about, message, place.as_ref()));
                }
                if shown.live.is_none() {
                    shown.live = Some(Live::default());
                    keep_turning(Arc::downgrade(&self.shown));
                }
                let due = |live: &Live| live.drawn.is_none_or(|drawn| drawn.elapsed() >= PAUSE);
                if shown.live.as_ref().is_some_and(due) {
                    shown.draw(false);
                }
            }
        }
    }

    /// Writes something else in between; live lines step aside.
    pub fn aside(&self, write: impl FnOnce()) {
        let mut shown = lock(&self.shown);
        shown.wipe();
        write();
        shown.draw(false);
    }

    /// Draws how it has ended and leaves the lines there, with what a failed step has printed last.
    pub fn finish(&self) {
        let mut shown = lock(&self.shown);
        shown.cancel();
        shown.draw(true);
        shown.live = None;
        if shown.mode != Mode::Json {
            shown.show_failures();
        }
        shown.steps.clear();
        shown.last = None;
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
            if shown.live.is_none() {
                return;
            }
            shown.draw(false);
        }
    });
}

impl Shown {
    /// Takes a word into what is known of the steps.
    fn note(&mut self, word: &Word) {
        match word {
            Word::Begun { step, title } => {
                let new = Step {
                    title: title.clone(),
                    began: Instant::now(),
                    ended: None,
                    introduced: false,
                    tail: VecDeque::new(),
                    open: String::new(),
                    parts: IndexMap::new(),
                };
                self.steps.insert(*step, new);
            }
            Word::Printed { step, at, text } => {
                if let Some(step) = self.steps.get_mut(step) {
                    step.take(*at, text);
                }
            }
            Word::Part { step, name, done, total, ended } => {
                if let Some(step) = self.steps.get_mut(step) {
                    match ended {
                        true => step.parts.shift_remove(name),
                        false => step.parts.insert(name.clone(), (*done, *total)),
                    };
                }
            }
            Word::Ended { step, how, took } => {
                if let Some(step) = self.steps.get_mut(step) {
                    step.ended = Some((how.clone(), *took));
                }
            }
            Word::Doubt { .. } | Word::Note { .. } | Word::Image { .. } => {}
        }
    }

    /// Whatever is still under way when all is over has not come to its end.
    fn cancel(&mut self) {
        for step in self.steps.values_mut().filter(|step| step.ended.is_none()) {
            step.ended = Some((How::Canceled, step.began.elapsed()));
        }
    }

    /// Prints a word as lines of its own.
    fn print(&mut self, word: &Word) {
        match word {
            Word::Begun { step, .. } => self.head(*step),
            Word::Printed { step, at, text } => {
                for line in text.lines() {
                    self.line(*step, &format!("{} {}", seconds(*at, 3), clean(line)));
                }
            }
            Word::Part { step, name, done, total, ended } => {
                // Bytes alone are no change: a log of them helps nobody.
                if *ended {
                    self.line(*step, &format!("{name} done"));
                } else if done.is_none() && total.is_none() {
                    self.line(*step, name);
                }
            }
            Word::Ended { step, how, took } => match how {
                How::Done => self.line(*step, &format!("DONE {}s", seconds(*took, 1))),
                How::Cached => self.line(*step, "CACHED"),
                How::Canceled => self.line(*step, "CANCELED"),
                How::Failed(reason) => self.line(*step, &format!("ERROR: {reason}")),
            },
            Word::Doubt { rule, about, message, place } => {
                console::err_line(&doubt(rule, about, message, place.as_ref()));
            }
            // Notes are warnings, which have a way of their own.
            Word::Note { .. } | Word::Image { .. } => {}
        }
    }

    /// Says which step the next lines are of.
    fn head(&mut self, number: u32) {
        if self.last == Some(number) {
            return;
        }
        if self.last.is_some() {
            console::err_line("");
        }
        self.last = Some(number);
        let Some(step) = self.steps.get_mut(&number) else { return };
        let title = if step.introduced { "..." } else { &step.title };
        console::err_line(&format!("#{number} {title}"));
        step.introduced = true;
    }

    fn line(&mut self, number: u32, text: &str) {
        self.head(number);
        console::err_line(&format!("#{number} {text}"));
    }

    /// What failed steps have printed last.
    fn show_failures(&mut self) {
        for step in self.steps.values() {
            if !matches!(step.ended, Some((How::Failed(_), _)))
                || step.tail.is_empty() && step.open.is_empty()
            {
                continue;
            }
            console::err_line("------");
            console::err_line(&format!(" > {}:", step.title));
            for (at, line) in &step.tail {
                console::err_line(&format!("{} {line}", seconds(*at, 3)));
            }
            if !step.open.is_empty() {
                console::err_line(&step.open);
            }
            console::err_line("------");
        }
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
        let (height, width) = (usize::from(height).saturating_sub(1), usize::from(width));
        let lines = self.lines(width, (!last).then_some(height));
        let mut text = match live.lines {
            0 => String::new(),
            up => format!("\x1b[{up}A\r"),
        };
        for line in &lines {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}\x1b[K", fit(line, width));
        }
        text.push_str("\x1b[J");
        console::err_bytes(text.as_bytes());
        if let Some(live) = &mut self.live {
            live.lines = lines.len();
            live.drawn = Some(Instant::now());
        }
    }

    /// All lines; with a height, steps that have ended are left out, the first ones first.
    fn lines(&self, width: usize, height: Option<usize>) -> Vec<String> {
        let done = self.steps.values().filter(|step| step.ended.is_some()).count();
        let took = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        let head = format!("[+] Building {}s ({done}/{})", seconds(took, 1), self.steps.len());
        let mut blocks: Vec<(bool, Vec<String>)> =
            self.steps.values().map(|step| (step.ended.is_some(), step.lines(width))).collect();
        if let Some(height) = height {
            let count =
                |blocks: &[(bool, Vec<String>)]| 1 + blocks.iter().map(|block| block.1.len()).sum::<usize>();
            while count(&blocks) > height {
                let Some(at) = blocks.iter().position(|(ended, _)| *ended) else { break };
                blocks.remove(at);
            }
        }
        let mut lines: Vec<String> =
            std::iter::once(head).chain(blocks.into_iter().flat_map(|block| block.1)).collect();
        if let Some(height) = height {
            lines.truncate(height.max(1));
        }
        lines
    }
}

impl Step {
    fn take(&mut self, at: Duration, text: &str) {
        self.open.push_str(text);
        while let Some(end) = self.open.find('\n') {
            let line: String = self.open.drain(..=end).collect();
            self.tail.push_back((at, clean(line.trim_end_matches('\n'))));
            if self.tail.len() > TAIL {
                self.tail.pop_front();
            }
        }
    }

    fn lines(&self, width: usize) -> Vec<String> {
        let (style, mark, took) = match &self.ended {
            None => (Style::new(), "", self.began.elapsed()),
            Some((How::Done, took)) => (GOOD, "", *took),
            Some((How::Cached, took)) => (GOOD, "CACHED ", *took),
            Some((How::Canceled, took)) => (UNSURE, "CANCELED ", *took),
            Some((How::Failed(_), took)) => (BAD, "ERROR ", *took),
        };
        let time = format!("{}s", seconds(took, 1));
        let title = fit(&format!(" => {mark}{}", self.title), width.saturating_sub(time.len() + 1));
        let gap = width.saturating_sub(title.width() + time.len());
        let mut lines = vec![format!("{style}{title}{:gap$}{time}{style:#}", "")];
        if self.ended.is_some() {
            return lines;
        }
        for (name, (done, total)) in &self.parts {
            let bytes = match (done, total) {
                (Some(done), Some(total)) => {
                    format!(" {} / {}", super::value::decimal_size(*done), super::value::decimal_size(*total))
                }
                (Some(done), None) => format!(" {}", super::value::decimal_size(*done)),
                _ => String::new(),
            };
            lines.push(format!(" => => {name}{bytes}"));
        }
        let skip = self.tail.len().saturating_sub(SHOWN);
        lines.extend(self.tail.iter().skip(skip).map(|(_, line)| format!(" => => # {line}")));
        if !self.open.is_empty() {
            lines.push(format!(" => => # {}", clean(&self.open)));
        }
        lines
    }
}

/// `1.2`
fn seconds(time: Duration, digits: usize) -> String {
    format!("{:.digits$}", time.as_secs_f64())
}

fn doubt(rule: &str, about: &str, message: &str, place: Option<&Place>) -> String {
    let mut report = Report::new(Exit::Success, format!("{message} ({rule})")).hint(about);
    report.places.extend(place.cloned());
    text::doubt(&report)
}

/// What a step prints must not move the cursor: of a line that was written over, the last text counts.
fn clean(line: &str) -> String {
    let last = line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default();
    let mut clean = String::with_capacity(last.len());
    let mut chars = last.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' if chars.peek() == Some(&'[') => {
                // A control sequence ends with a letter or one of `@[\]^_`{|}~` (ECMA-48, 5.4).
                chars.next();
                for c in chars.by_ref() {
                    if ('@'..='~').contains(&c) {
                        break;
                    }
                }
            }
            '\t' => clean.push_str("    "),
            c if c.is_control() => {}
            c => clean.push(c),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_step_prints_cannot_move_the_cursor() {
        for (line, expected) in [
            ("plain", "plain"),
            ("10%\r50%\r100%\r", "100%"),
            ("\x1b[31mred\x1b[0m \x1b[2Kx", "red x"),
            ("a\tb\x07", "a    b"),
        ] {
            assert_eq!(clean(line), expected);
        }
    }

    fn shown(words: &[Word]) -> Shown {
        let mut shown =
            Shown { mode: Mode::Tty, began: None, steps: IndexMap::new(), last: None, live: None };
        words.iter().for_each(|word| shown.note(word));
        shown
    }

    fn begun(step: u32, title: &str) -> Word {
        Word::Begun { step, title: title.to_owned() }
    }

    fn printed(step: u32, text: &str) -> Word {
        Word::Printed { step, at: Duration::from_millis(1204), text: text.to_owned() }
    }

    #[test]
    fn a_running_step_shows_its_last_lines_and_an_ended_one_its_time() {
        let took = Duration::from_millis(1234);
        let mut words = vec![begun(1, "[1/2] FROM x"), Word::Ended { step: 1, how: How::Cached, took }];
        words.push(begun(2, "[2/2] RUN y"));
        words.push(printed(2, &(1..=9).map(|n| format!("{n}\n")).collect::<String>()));
        words.push(printed(2, "10"));
        let lines = shown(&words).lines(40, None);
        let plain: Vec<String> =
            lines.iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect();
        assert_eq!(plain[1], " => CACHED [1/2] FROM x             1.2s");
        assert!(plain[2].starts_with(" => [2/2] RUN y"), "{plain:?}");
        assert_eq!(plain[3..], ["4", "5", "6", "7", "8", "9", "10"].map(|n| format!(" => => # {n}")));
    }

    #[test]
    fn ended_steps_make_room() {
        let took = Duration::ZERO;
        let mut words = Vec::new();
        for step in 1..=9 {
            words.push(begun(step, &format!("step {step}")));
            words.push(Word::Ended { step, how: How::Done, took });
        }
        words.push(begun(10, "the last"));
        let lines = shown(&words).lines(40, Some(4));
        assert_eq!(lines.len(), 4);
        assert!(lines[0].contains("(9/10)") && lines[1].contains("step 8") && lines[3].contains("the last"));
    }
}
