//! Here-documents: which words of a line open one.

use super::diagnostic::Span;
use super::expand::{Expanded, Lexer, NoVariables};
use super::instruction::Heredoc;

/// Reads `<<NAME`, `<<-NAME`, `<<"NAME"`, `3<<NAME`; `None` for any other word. The content is still to be read.
pub(in crate::build) fn word(text: &str) -> Result<Option<Heredoc>, String> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let Some(rest) = rest.strip_prefix("<<") else { return Ok(None) };
    let (strip, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    let lexer = Lexer { keep_unset: true, ..Lexer::new('\\') };
    let words = expanded(lexer, rest)?.words;
    let [name] = words.as_slice() else { return Ok(None) };
    // A word that lost quotes was quoted: its text is taken as it is.
    let raw = expanded(Lexer { keep_quotes: true, ..lexer }, rest)?.text;
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    Ok(Some(Heredoc {
        name: name.clone(),
        expand: quotes(name) == quotes(&raw),
        strip,
        content: Vec::new(),
        at: Span::default(),
    }))
}

fn expanded(lexer: Lexer, text: &str) -> Result<Expanded, String> {
    lexer.expand(text, &NoVariables).map_err(|failed| failed.reason)
}

/// Returns the here-documents that a line opens, in order. A line whose quotes do not match opens none.
pub(super) fn openings(line: &str) -> Result<Vec<Heredoc>, String> {
    if !line.contains("<<") {
        return Ok(Vec::new());
    }
    let lexer = Lexer { keep_quotes: true, keep_escapes: true, keep_unset: true, ..Lexer::new('\\') };
    let Ok(expanded) = lexer.expand(line, &NoVariables) else { return Ok(Vec::new()) };
    let found: Result<Vec<_>, _> = expanded.words.iter().map(|text| word(text)).collect();
    Ok(found?.into_iter().flatten().collect())
}

impl Heredoc {
    /// Returns the content as it is meant: without the tabs at the begin of lines when it was opened with `<<-`.
    pub fn text(&self) -> Vec<u8> {
        if !self.strip {
            return self.content.clone();
        }
        let lines = self.content.split_inclusive(|byte| *byte == b'\n');
        lines
            .flat_map(|line| &line[line.iter().take_while(|byte| **byte == b'\t').count()..])
            .copied()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_open_one() {
        let check = |text: &str, expected: Option<(&str, bool, bool)>| {
            let found = word(text).expect(text);
            let found = found.as_ref().map(|heredoc| (heredoc.name.as_str(), heredoc.expand, heredoc.strip));
            assert_eq!(found, expected, "{text}");
        };
        check("<<EOF", Some(("EOF", true, false)));
        check("<<-EOF", Some(("EOF", true, true)));
        check("<<'EOF'", Some(("EOF", false, false)));
        check("<<\"EOF\"", Some(("EOF", false, false)));
        check("<<-\"E O F\"", Some(("E O F", false, true)));
        check("<<E'O'F", Some(("EOF", false, false)));
        check("<<E\\OF", Some(("EOF", true, false)));
        check("3<<EOF", Some(("EOF", true, false)));
        check("<<name.txt", Some(("name.txt", true, false)));
        check("<<$X", Some(("$X", true, false)));
        check("<<", None);
        check("<<-", None);
        check("<<<EOF", None);
        check("<EOF", None);
        check("a<<EOF", None);
        check("<<EOF cat", None);
    }

    #[test]
    fn lines_open_several() {
        let names = |line: &str| -> Vec<String> {
            openings(line).expect(line).into_iter().map(|heredoc| heredoc.name).collect()
        };
        assert_eq!(names("COPY <<a <<\"b\" /x/"), ["a", "b"]);
        assert_eq!(names("RUN cat <<EOF > /o"), ["EOF"]);
        assert_eq!(names("RUN echo \"<<EOF\""), Vec::<String>::new());
        assert_eq!(names("RUN echo $((1<<2))"), Vec::<String>::new());
        assert_eq!(names("RUN echo it's <<EOF"), Vec::<String>::new());
        assert_eq!(names("RUN echo a"), Vec::<String>::new());
    }

    #[test]
    fn tabs_are_stripped_from_each_line() {
        let mut heredoc = word("<<-X").expect("a word").expect("one");
        heredoc.content = b"\ta\n\t\tb\n  c\n\n\td\te\n".to_vec();
        assert_eq!(heredoc.text(), b"a\nb\n  c\n\nd\te\n");
    }
}
