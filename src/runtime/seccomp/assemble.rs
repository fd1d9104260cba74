//! Ranges to instructions: a search tree of jumps for each architecture. Pure.
//!
//! Jumps go forward only, so the program is written from its end: whatever an instruction may jump to has its place
//! already. A conditional jump reaches 255 instructions; beyond that it goes by way of an unconditional one.

use std::collections::HashMap;

use super::Error;
use super::profile::{Action, Compare, Operator};
use super::select::{Answer, Range};
use crate::runtime::bpf::{
    AND, ARCHITECTURE, ARGUMENTS, GOTO, IF_EQUAL, IF_GREATER, IF_GREATER_OR_EQUAL, Instruction, LOAD,
    LONGEST, NUMBER, RETURN, packed,
};

/// A place in the program, counted from its end.
type Place = usize;

/// Assembles the filter: for each token of an architecture its ranges, which begin at 0 and ascend.
pub(super) fn program(sections: &[(u32, Vec<Range>)]) -> Result<Vec<u8>, Error> {
    let mut program = Program::default();
    // An architecture that the profile does not name: the end of the thread.
    let mut entry = program.answer(Action::KillThread);
    let mut entries = Vec::new();
    for (token, ranges) in sections.iter().rev() {
        let tree = program.search(ranges);
        entries.push((*token, program.push(LOAD, NUMBER, tree)));
    }
    for (token, section) in entries {
        entry = program.branch(IF_EQUAL, token, section, entry);
    }
    program.push(LOAD, ARCHITECTURE, entry);
    program.finish()
}

#[derive(Default)]
struct Program {
    /// The last instruction first.
    reversed: Vec<Instruction>,
    /// Where the latest return of each action is.
    returns: HashMap<Action, Place>,
}

impl Program {
    /// Places an instruction that goes on with `next`.
    fn push(&mut self, code: u16, value: u32, next: Place) -> Place {
        if next + 1 != self.reversed.len() {
            self.place(Instruction::plain(GOTO, self.distance(next) as u32));
        }
        self.place(Instruction::plain(code, value))
    }

    fn place(&mut self, instruction: Instruction) -> Place {
        self.reversed.push(instruction);
        self.reversed.len() - 1
    }

    /// How many instructions the next one placed would have to skip to get there.
    fn distance(&self, to: Place) -> usize {
        self.reversed.len() - to - 1
    }

    /// Places a conditional jump.
    fn branch(&mut self, code: u16, value: u32, yes: Place, no: Place) -> Place {
        let no = self.within_reach(no, 1);
        let yes = self.within_reach(yes, 0);
        let (yes, no) = (self.distance(yes) as u8, self.distance(no) as u8);
        self.place(Instruction { code, yes, no, value })
    }

    /// Returns the place itself, or that of a jump to it, such that a conditional one reaches it even when `more`
    /// instructions come between.
    fn within_reach(&mut self, to: Place, more: usize) -> Place {
        match self.distance(to) + more > usize::from(u8::MAX) {
            true => self.place(Instruction::plain(GOTO, self.distance(to) as u32)),
            false => to,
        }
    }

    /// Returns the place of a return; a near one is used again.
    fn answer(&mut self, action: Action) -> Place {
        if let Some(place) = self.returns.get(&action)
            && self.distance(*place) < 200
        {
            return *place;
        }
        let place = self.place(Instruction::plain(RETURN, returned(action)));
        self.returns.insert(action, place);
        place
    }

    /// Places a search for the number, which has been loaded.
    fn search(&mut self, ranges: &[Range]) -> Place {
        match ranges {
            [] => self.answer(Action::KillThread),
            [only] => self.choose(&only.answer),
            _ => {
                let (low, high) = ranges.split_at(ranges.len() / 2);
                let high_entry = self.search(high);
                let low_entry = self.search(low);
                self.branch(IF_GREATER_OR_EQUAL, high[0].first, high_entry, low_entry)
            }
        }
    }

    /// Places the alternatives of one answer.
    fn choose(&mut self, answer: &Answer) -> Place {
        let mut next = self.answer(answer.otherwise);
        for (compares, action) in answer.alternatives.iter().rev() {
            let mut matched = self.answer(*action);
            for compare in compares.iter().rev() {
                matched = self.compare(compare, matched, next);
            }
            next = matched;
        }
        next
    }

    /// Places one comparison of 64 bits, in halves: the filter's machine has 32.
    fn compare(&mut self, compare: &Compare, yes: Place, no: Place) -> Place {
        let (high, low) = ((compare.value >> 32) as u32, compare.value as u32);
        let low_at = ARGUMENTS + 8 * u32::from(compare.argument);
        // Little endian, as both machines are.
        let high_at = low_at + 4;
        match compare.operator {
            Operator::Equal | Operator::NotEqual => {
                let (same, other) = if compare.operator == Operator::Equal { (yes, no) } else { (no, yes) };
                let lower = self.branch(IF_EQUAL, low, same, other);
                let lower = self.push(LOAD, low_at, lower);
                let upper = self.branch(IF_EQUAL, high, lower, other);
                self.push(LOAD, high_at, upper)
            }
            Operator::MaskedEqual(mask) => {
                let lower = self.branch(IF_EQUAL, low, yes, no);
                let lower = self.push(AND, mask as u32, lower);
                let lower = self.push(LOAD, low_at, lower);
                let upper = self.branch(IF_EQUAL, high, lower, no);
                let upper = self.push(AND, (mask >> 32) as u32, upper);
                self.push(LOAD, high_at, upper)
            }
            Operator::Greater => self.order(IF_GREATER, compare.value, low_at, yes, no),
            Operator::GreaterOrEqual => self.order(IF_GREATER_OR_EQUAL, compare.value, low_at, yes, no),
            Operator::Less => self.order(IF_GREATER_OR_EQUAL, compare.value, low_at, no, yes),
            Operator::LessOrEqual => self.order(IF_GREATER, compare.value, low_at, no, yes),
        }
    }

    /// Places "the argument is greater (or equal)": by the upper halves, and where they are equal by the lower.
    fn order(&mut self, code: u16, value: u64, low_at: u32, yes: Place, no: Place) -> Place {
        let high = (value >> 32) as u32;
        let lower = self.branch(code, value as u32, yes, no);
        let lower = self.push(LOAD, low_at, lower);
        let equal = self.branch(IF_EQUAL, high, lower, no);
        let upper = self.branch(IF_GREATER, high, yes, equal);
        self.push(LOAD, low_at + 4, upper)
    }

    fn finish(self) -> Result<Vec<u8>, Error> {
        if self.reversed.len() > LONGEST {
            return Err(Error::TooLong { instructions: self.reversed.len() });
        }
        Ok(packed(self.reversed.into_iter().rev()))
    }
}

/// The kernel's return values: linux/seccomp.h.
pub(super) fn returned(action: Action) -> u32 {
    match action {
        Action::KillProcess => 0x8000_0000,
        Action::KillThread => 0,
        Action::Trap => 0x0003_0000,
        Action::Errno(errno) => 0x0005_0000 | u32::from(errno),
        Action::Trace(data) => 0x7ff0_0000 | u32::from(data),
        Action::Log => 0x7ffc_0000,
        Action::Allow => 0x7fff_0000,
    }
}
