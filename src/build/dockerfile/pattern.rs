//! The patterns of `${name#pattern}` and its relatives: `*` is any text, `?` any character; neither crosses a line.

/// A pattern, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Part>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Char(char),
    Any,
    Star,
}

/// How much a star takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Greed {
    Shortest,
    Longest,
}

impl Pattern {
    /// Reads a pattern. A backslash escapes `* ? \`, and `} /`, which would end the expression.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        let mut parts = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            parts.push(match c {
                '*' => Part::Star,
                '?' => Part::Any,
                '\\' => match chars.next() {
                    Some(c @ ('*' | '?' | '\\' | '}' | '/')) => Part::Char(c),
                    Some(c) => return Err(format!("`\\{c}` escapes nothing")),
                    None => return Err("it ends with a backslash".to_owned()),
                },
                c => Part::Char(c),
            });
        }
        Ok(Pattern(parts))
    }

    /// Cuts what the pattern matches off the front.
    pub fn trim_start(&self, value: &str, greed: Greed) -> String {
        let value: Vec<char> = value.chars().collect();
        let end = self.ends(&value, greed)[0].unwrap_or(0);
        value[end..].iter().collect()
    }

    /// Cuts what the pattern matches off the end.
    pub fn trim_end(&self, value: &str, greed: Greed) -> String {
        let reversed = Pattern(self.0.iter().rev().copied().collect());
        let value: Vec<char> = value.chars().rev().collect();
        let end = reversed.ends(&value, greed)[0].unwrap_or(0);
        value[end..].iter().rev().collect()
    }

    /// Replaces the first match, or all.
    pub fn replace(&self, value: &str, with: &str, all: bool) -> String {
        let chars: Vec<char> = value.chars().collect();
        let ends = self.ends(&chars, Greed::Longest);
        let mut result = String::new();
        let mut at = 0;
        // Where the match before ended: an empty one right there does not count.
        let mut last = None;
        while at <= chars.len() {
            match ends[at] {
                Some(end) if !(end == at && last == Some(at)) => {
                    result.push_str(with);
                    last = Some(end);
                    if end == at {
                        result.extend(chars.get(at));
                        at += 1;
                    } else {
                        at = end;
                    }
                    if !all {
                        break;
                    }
                }
                _ => {
                    result.extend(chars.get(at));
                    at += 1;
                }
            }
        }
        result.extend(chars.iter().skip(at));
        result
    }

    /// For each place in the text, where a match that begins there ends.
    ///
    /// Works from the last part to the first, so that each part looks at each place once.
    fn ends(&self, value: &[char], greed: Greed) -> Vec<Option<usize>> {
        let better = |a: Option<usize>, b: Option<usize>| match (a, b, greed) {
            (Some(a), Some(b), Greed::Shortest) => Some(a.min(b)),
            (Some(a), Some(b), Greed::Longest) => Some(a.max(b)),
            (a, b, _) => a.or(b),
        };
        let mut ends: Vec<Option<usize>> = (0..=value.len()).map(Some).collect();
        for part in self.0.iter().rev() {
            let mut row = vec![None; value.len() + 1];
            for at in (0..=value.len()).rev() {
                let here = value.get(at).copied();
                row[at] = match part {
                    Part::Char(c) => {
                        if here == Some(*c) {
                            ends[at + 1]
                        } else {
                            None
                        }
                    }
                    Part::Any => {
                        if here.is_some_and(|c| c != '\n') {
                            ends[at + 1]
                        } else {
                            None
                        }
                    }
                    Part::Star if here.is_some_and(|c| c != '\n') => better(ends[at], row[at + 1]),
                    Part::Star => ends[at],
                };
            }
            ends = row;
        }
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).expect("a pattern")
    }

    #[test]
    fn the_front_is_cut_off() {
        let check = |value: &str, text: &str, short: &str, long: &str| {
            assert_eq!(pattern(text).trim_start(value, Greed::Shortest), short, "{value} # {text}");
            assert_eq!(pattern(text).trim_start(value, Greed::Longest), long, "{value} ## {text}");
        };
        check("a.b.c", "*.", "b.c", "c");
        check("a.b.c", "a?", "b.c", "b.c");
        check("a.b.c", "x", "a.b.c", "a.b.c");
        check("a.b.c", "*", "a.b.c", "");
        check("a.b.c", "", "a.b.c", "a.b.c");
        check("a*b", r"a\*", "b", "b");
        check("éé", "?", "é", "é");
        check("x\ny", "*y", "x\ny", "x\ny");
    }

    #[test]
    fn the_end_is_cut_off() {
        let check = |value: &str, text: &str, short: &str, long: &str| {
            assert_eq!(pattern(text).trim_end(value, Greed::Shortest), short, "{value} % {text}");
            assert_eq!(pattern(text).trim_end(value, Greed::Longest), long, "{value} %% {text}");
        };
        check("a.b.c", ".*", "a.b", "a");
        check("a.b.c", "?c", "a.b", "a.b");
        check("a.b.c", "x", "a.b.c", "a.b.c");
        check(r"a\c", r"\\c", "a", "a");
    }

    #[test]
    fn matches_are_replaced() {
        let check = |value: &str, text: &str, with: &str, first: &str, all: &str| {
            assert_eq!(pattern(text).replace(value, with, false), first, "{value} / {text}");
            assert_eq!(pattern(text).replace(value, with, true), all, "{value} // {text}");
        };
        check("a/b/a/b", "a", "X", "X/b/a/b", "X/b/X/b");
        check("a/b/a/b", r"\/", "-", "a-b/a/b", "a-b-a-b");
        check("a/b", "z", "X", "a/b", "a/b");
        check("abab", "a*b", "X", "X", "X");
        check("abc", "?", "-", "-bc", "---");
        check("abc", "", "-", "-abc", "-a-b-c-");
        check("abc", "*", "-", "-", "-");
    }

    #[test]
    fn unknown_escapes_are_refused() {
        assert!(Pattern::parse(r"a\b").is_err());
        assert!(Pattern::parse("a\\").is_err());
    }

    #[test]
    fn many_stars_take_no_time() {
        let value = "a".repeat(20_000);
        let text = "*a".repeat(50) + "b";
        assert_eq!(pattern(&text).trim_start(&value, Greed::Longest), value);
    }
}
