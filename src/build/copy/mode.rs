//! `--chmod`: octal numbers, or the words of chmod(1).

use super::error::Error;
use crate::build::dockerfile::Chmod;

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;
const STICKY: u32 = 0o1000;
const USER: u32 = 0o700;
const GROUP: u32 = 0o070;
const OTHERS: u32 = 0o007;

/// What becomes of a mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is this.
    To(u32),
    /// It is changed step by step.
    Steps(Vec<Step>),
}

/// `u+rw`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which thirds.
    who: u32,
    operator: Operator,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Add,
    Remove,
    Set,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// Letters of `rwxXst`; the first three as one octal digit.
    Letters { plain: u32, execute_if_any: bool, set_id: bool, sticky: bool },
    /// What these have: one third.
    LikeThose(u32),
}

impl Change {
    /// Reads what the front end has found.
    pub fn parse(chmod: &Chmod) -> Result<Change, Error> {
        let text = match chmod {
            Chmod::Octal { mode, .. } => return Ok(Change::To(*mode)),
            Chmod::Symbolic(text) => text,
        };
        let wrong = |reason| Error::Mode { mode: text.clone(), reason };
        let steps: Vec<Vec<Step>> = text.split(',').map(clause).collect::<Result<_, _>>().map_err(wrong)?;
        Ok(Change::Steps(steps.concat()))
    }

    /// Applies it to what something has.
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Change::To(mode) => *mode,
            Change::Steps(steps) => steps.iter().fold(mode, |mode, step| step.apply(mode, is_directory)),
        }
    }
}

impl Step {
    fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let bits = self.bits(mode, is_directory);
        match self.operator {
            Operator::Add => mode | bits,
            Operator::Remove => mode & !bits,
            Operator::Set => {
                let mut gone = self.who;
                // Of directories, chmod(1) lets the set-id bits stand.
                if !is_directory {
                    gone |= set_id_bits(self.who);
                }
                mode & !gone | bits
            }
        }
    }

    fn bits(&self, mode: u32, is_directory: bool) -> u32 {
        let in_thirds = |digit: u32| (digit | digit << 3 | digit << 6) & self.who;
        match self.what {
            What::LikeThose(whose) => in_thirds((mode & whose) >> whose.trailing_zeros()),
            What::Letters { plain, execute_if_any, set_id, sticky } => {
                let execute = execute_if_any && (is_directory || mode & 0o111 != 0);
                let mut bits = in_thirds(plain | u32::from(execute));
                if set_id {
                    bits |= set_id_bits(self.who);
                }
                if sticky {
                    bits |= STICKY;
                }
                bits
            }
        }
    }
}

fn set_id_bits(who: u32) -> u32 {
    let of = |third, bit| if who & third == 0 { 0 } else { bit };
    of(USER, SETUID) | of(GROUP, SETGID)
}

/// `[ugoa]*([-+=]([rwxXst]*|[ugo]))+`
fn clause(text: &str) -> Result<Vec<Step>, &'static str> {
    let letters = text.bytes().take_while(|byte| b"ugoa".contains(byte)).count();
    let who = text.bytes().take(letters).fold(0, |who, letter| {
        who | match letter {
            b'u' => USER,
            b'g' => GROUP,
            b'o' => OTHERS,
            _ => 0o777,
        }
    });
    let who = if letters == 0 { 0o777 } else { who };
    let mut rest = &text[letters..];
    let mut steps = Vec::new();
    while let Some(first) = rest.bytes().next() {
        let operator = match first {
            b'+' => Operator::Add,
            b'-' => Operator::Remove,
            b'=' => Operator::Set,
            _ => break,
        };
        rest = &rest[1..];
        let length = rest.bytes().take_while(|byte| !b"+-=".contains(byte)).count();
        steps.push(Step { who, operator, what: what(&rest[..length])? });
        rest = &rest[length..];
    }
    if steps.is_empty() || !rest.is_empty() { Err("a `+`, `-` or `=` is missing") } else { Ok(steps) }
}

fn what(letters: &str) -> Result<What, &'static str> {
    match letters {
        "u" => return Ok(What::LikeThose(USER)),
        "g" => return Ok(What::LikeThose(GROUP)),
        "o" => return Ok(What::LikeThose(OTHERS)),
        _ => {}
    }
    let (mut plain, mut execute_if_any, mut set_id, mut sticky) = (0, false, false, false);
    for letter in letters.bytes() {
        match letter {
            b'r' => plain |= 4,
            b'w' => plain |= 2,
            b'x' => plain |= 1,
            b'X' => execute_if_any = true,
            b's' => set_id = true,
            b't' => sticky = true,
            _ => return Err("it has a letter that is none of `rwxXst`"),
        }
    }
    Ok(What::Letters { plain, execute_if_any, set_id, sticky })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, mode: u32, is_directory: bool, expected: u32) {
        let change = Change::parse(&Chmod::Symbolic(text.to_owned())).expect(text);
        let found = change.apply(mode, is_directory);
        assert_eq!(found, expected, "{text} of {mode:o} is {found:o}, not {expected:o}");
    }

    #[test]
    fn words_change_modes_as_chmod_does() {
        check("u=rwX,go=rX", 0o644, false, 0o644);
        check("u=rwX,go=rX", 0o700, true, 0o755);
        check("u=rwX,go=rX", 0o744, false, 0o755);
        check("a+x", 0o644, false, 0o755);
        check("+x", 0o644, false, 0o755);
        check("go-rwx", 0o644, false, 0o600);
        check("u+s,g+s", 0o644, false, 0o6644);
        check("+t", 0o644, false, 0o1644);
        check("o=u", 0o640, false, 0o646);
        check("g=o-w", 0o677, false, 0o657);
        check("=", 0o644, false, 0);
        check("u=rw,g=", 0o4755, false, 0o605);
    }

    #[test]
    fn numbers_are_taken_as_they_are() {
        let change = Change::parse(&Chmod::Octal { mode: 0o640, text: String::new() }).expect("a mode");
        assert_eq!((change.apply(0o4755, false), change.apply(0o755, true)), (0o640, 0o640));
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in ["", "u", "u+z", "x+r", "u+r,", "ur"] {
            assert!(Change::parse(&Chmod::Symbolic(text.to_owned())).is_err(), "{text}");
        }
    }
}
