//! Log lines of several containers, one colour each: `web-1  | line`.

use std::collections::HashMap;

use anstyle::{AnsiColor, Style};

use super::{printable, value};

/// Colours in the order in which containers get them; neighbours differ well on dark and on light ground.
const COLORS: [AnsiColor; 14] = [
    AnsiColor::Cyan,
    AnsiColor::Yellow,
    AnsiColor::Green,
    AnsiColor::Magenta,
    AnsiColor::Blue,
    AnsiColor::BrightCyan,
    AnsiColor::BrightYellow,
    AnsiColor::BrightGreen,
    AnsiColor::BrightMagenta,
    AnsiColor::BrightBlue,
    AnsiColor::Red,
    AnsiColor::BrightRed,
    AnsiColor::White,
    AnsiColor::BrightBlack,
];

/// What a line shows beside its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// The container's name in front.
    pub prefix: bool,
    /// In the container's colour.
    pub color: bool,
    /// The time at which the line was written.
    pub timestamps: bool,
}

/// Lines that wait to be written.
#[derive(Debug)]
pub struct Lines {
    /// The lines, each with its end.
    pub bytes: Vec<u8>,
    terminal: bool,
}

impl Lines {
    /// For a terminal only what is printable is taken; for a file or pipe, every byte.
    pub fn for_terminal_if(terminal: bool) -> Lines {
        Lines { bytes: Vec::new(), terminal }
    }
}

/// Turns lines of containers into lines of the terminal.
#[derive(Debug)]
pub struct Painter {
    look: Look,
    width: usize,
    prefixes: HashMap<String, Prefix>,
}

#[derive(Debug)]
struct Prefix {
    color: AnsiColor,
    rendered: Vec<u8>,
}

impl Painter {
    /// Makes a painter that knows no container yet.
    pub fn new(look: Look) -> Painter {
        Painter { look, width: 0, prefixes: HashMap::new() }
    }

    /// Learns a name: it gets the next colour, and all prefixes become as wide as the longest name.
    pub fn learn(&mut self, name: &str) {
        let next = COLORS[self.prefixes.len() % COLORS.len()];
        self.prefixes.entry(name.to_owned()).or_insert(Prefix { color: next, rendered: Vec::new() });
        let width = name.chars().count().max(self.width);
        if width == self.width && !self.prefixes[name].rendered.is_empty() {
            return;
        }
        self.width = width;
        for (name, prefix) in &mut self.prefixes {
            prefix.rendered = render(name, width, self.look.color.then_some(prefix.color));
        }
    }

    /// Appends a line of a container. `text` has no end of line; it need not be UTF-8.
    pub fn line(&mut self, name: &str, time_ns: i64, text: &[u8], into: &mut Lines) {
        let Lines { bytes: into, terminal } = into;
        if self.look.prefix {
            if !self.prefixes.contains_key(name) {
                self.learn(name);
            }
            into.extend_from_slice(&self.prefixes[name].rendered);
        }
        if self.look.timestamps {
            into.extend_from_slice(value::timestamp(time_ns).as_bytes());
            into.push(b' ');
        }
        match terminal {
            true => printable::line(text, into),
            false => into.extend_from_slice(text),
        }
        into.push(b'\n');
    }
}

fn render(name: &str, width: usize, color: Option<AnsiColor>) -> Vec<u8> {
    let padding = " ".repeat(width - name.chars().count());
    match color {
        Some(color) => {
            let style: Style = color.on_default();
            format!("{style}{name}{padding}  |{style:#} ").into_bytes()
        }
        None => format!("{name}{padding}  | ").into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(look: Look, lines: &[(&str, &str)], expected: &str) {
        check_at(false, look, lines, expected);
    }

    #[track_caller]
    fn check_at(terminal: bool, look: Look, lines: &[(&str, &str)], expected: &str) {
        let mut painter = Painter::new(look);
        for (name, _) in lines {
            painter.learn(name);
        }
        let mut into = Lines::for_terminal_if(terminal);
        for (name, text) in lines {
            painter.line(name, 1_700_000_000_000_000_001, text.as_bytes(), &mut into);
        }
        assert_eq!(String::from_utf8(into.bytes).expect("UTF-8"), expected);
    }

    #[test]
    fn only_a_terminal_is_spared_what_programs_say_to_terminals() {
        let look = Look { prefix: true, color: false, timestamps: false };
        let lines = [("a-1", "\x1b]0;x\x07\x1b[32mok"), ("a-1", "50%\r")];
        check_at(true, look, &lines, "a-1  | ^[]0;x^G\x1b[32mok\x1b[0m\na-1  | 50%\n");
        check_at(false, look, &lines, "a-1  | \x1b]0;x\x07\x1b[32mok\na-1  | 50%\r\n");
    }

    #[test]
    fn prefixes_are_as_wide_as_the_longest_name() {
        check(
            Look { prefix: true, color: false, timestamps: false },
            &[("job-1", "one"), ("db-1", "ready")],
            "job-1  | one\ndb-1   | ready\n",
        );
    }

    #[test]
    fn a_longer_name_that_comes_later_widens_those_before() {
        let mut painter = Painter::new(Look { prefix: true, color: false, timestamps: false });
        let mut lines = Lines::for_terminal_if(false);
        painter.line("a-1", 0, b"x", &mut lines);
        painter.learn("longer-1");
        painter.line("a-1", 0, b"y", &mut lines);
        assert_eq!(String::from_utf8_lossy(&lines.bytes), "a-1  | x\na-1       | y\n");
    }

    #[test]
    fn colour_ends_before_the_text_and_time_stands_before_it() {
        check(
            Look { prefix: true, color: true, timestamps: true },
            &[("a-1", "x")],
            "\x1b[36ma-1  |\x1b[0m 2023-11-14T22:13:20.000000001Z x\n",
        );
        check(Look { prefix: false, color: true, timestamps: false }, &[("a-1", "x")], "x\n");
    }
}
