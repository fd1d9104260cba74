//! The part of Go's templates that people use with `--format`: `{{.Name}}`, pipes, variables, `if`, `with`, `range`,
//! and Docker's functions.
//!
//! ```text
//! text ─ parse ─▶ nodes ─ evaluate, with functions ─▶ a line for each row
//! ```
//!
//! `table ` in front asks for a header made of the fields' names and for columns split at tabs.

mod evaluate;
mod functions;
mod parse;

use serde_json::Value;

use functions::NAMES;
use parse::{Node, Operand, Pipe};

use super::table::{Spacing, Table};

/// A template that could not be read or used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `{{` without its `}}`.
    #[error("`{{{{` is not closed in the template `{0}`")]
    Open(String),
    /// `{{if}}` or `{{range}}` without `{{end}}`, or the reverse.
    #[error("`{0}` has no partner in the template")]
    Unpaired(String),
    /// A word that is no function.
    #[error("`{0}` is not a function that templates know (they know {NAMES})")]
    Function(String),
    /// A field that the rows do not have.
    #[error("there is no field `{field}` (there are {known})")]
    Field {
        /// As written, without the dot.
        field: String,
        /// All that there are.
        known: String,
    },
    /// A place behind the end of a list.
    #[error("there is no item {at} in a list of {length}")]
    Index {
        /// As written.
        at: String,
        /// Items that there are.
        length: usize,
    },
    /// A value with something behind it, as if it were a function.
    #[error("`{0}` is no function, and something stands behind it")]
    Arguments(String),
    /// Something that is no operand.
    #[error("cannot read `{0}` in the template")]
    Operand(String),
}

/// A template, read.
#[derive(Debug, PartialEq)]
pub struct Template {
    nodes: Vec<Node>,
    table: bool,
}

impl Template {
    /// Reads a template. `\t` and `\n` may be written with a backslash, as shells pass them on.
    pub fn parse(text: &str) -> Result<Template, Error> {
        let (table, text) = match text.strip_prefix("table ") {
            Some(rest) => (true, rest.trim_start_matches(' ')),
            None => (false, text),
        };
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        Ok(Template { nodes: parse::template(&text)?, table })
    }

    /// Returns the text for all rows, each on a line of its own.
    pub fn render(&self, rows: &[Value], header: impl Fn(&str) -> String) -> Result<String, Error> {
        let lines: Vec<String> =
            rows.iter().map(|row| evaluate::print(&self.nodes, row)).collect::<Result<_, Error>>()?;
        if !self.table {
            return Ok(lines.iter().map(|line| format!("{line}\n")).collect());
        }
        let mut table = Table::new(self.header(header).split('\t'));
        for line in &lines {
            table.row(line.split('\t'));
        }
        Ok(table.render(Spacing::CONTAINERS))
    }

    /// The template with each field in place of its value.
    fn header(&self, header: impl Fn(&str) -> String) -> String {
        let name = |pipe: &Pipe| {
            let fields = pipe.iter().flatten().find_map(|operand| match operand {
                Operand::Field(path) => path.last(),
                _ => None,
            });
            fields.map(|field| header(field)).unwrap_or_default()
        };
        let title = |node: &Node| match node {
            Node::Text(text) => text.clone(),
            Node::Set(..) => String::new(),
            Node::Print(pipe) | Node::If(pipe, ..) | Node::With(_, pipe, ..) | Node::Range(_, pipe, ..) => {
                name(pipe)
            }
        };
        self.nodes.iter().map(title).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(template: &str) -> Result<String, Error> {
        let row = json!({
            "Name": "p-web-1", "State": "running", "Health": "", "ExitCode": 0, "Labels": {},
            "Publishers": [{"PublishedPort": 8080, "Protocol": "tcp"}, {"PublishedPort": 53, "Protocol": "udp"}],
        });
        Template::parse(template)?.render(&[row], str::to_uppercase)
    }

    #[test]
    fn templates_print_as_in_go() {
        for (template, expected) in [
            ("{{.Name}} {{.State}}", "p-web-1 running\n"),
            ("{{ .Name | upper }}", "P-WEB-1\n"),
            (
                "{{json .Publishers}}",
                "[{\"PublishedPort\":8080,\"Protocol\":\"tcp\"},{\"PublishedPort\":53,\"Protocol\":\"udp\"}]\n",
            ),
            ("{{if .Health}}{{.Health}}{{else}}none{{end}}", "none\n"),
            ("{{range .Publishers}}{{.PublishedPort}}/{{.Protocol}} {{end}}", "8080/tcp 53/udp \n"),
            ("{{if eq .State \"running\"}}up{{end}}", "up\n"),
            ("{{json (index .Publishers 1)}}", "{\"PublishedPort\":53,\"Protocol\":\"udp\"}\n"),
            ("{{len .Publishers}}\\t{{title .State}}", "2\tRunning\n"),
            ("a {{- .ExitCode -}} b", "a0b\n"),
            ("{{range $at, $port := .Publishers}}{{$at}}={{$port.PublishedPort}} {{end}}", "0=8080 1=53 \n"),
            (
                "{{range $port := .Publishers}}{{$port.Protocol}} {{$.Name}},{{end}}",
                "tcp p-web-1,udp p-web-1,\n",
            ),
            ("{{with .Health}}{{.}}{{else}}none{{end}}", "none\n"),
            ("{{with $s := .State}}{{$s}} {{.}}{{end}}", "running running\n"),
            ("{{if .Health}}a{{else if eq .ExitCode 0}}b{{else}}c{{end}}", "b\n"),
            ("{{$n := .Name}}{{$n}}", "p-web-1\n"),
            ("{{printf \"%-9s|%5.3s|%d%%\" .Name .State .ExitCode}}", "p-web-1  |  run|0%\n"),
            ("{{(index .Publishers 0).Protocol}} {{index .Publishers 1 \"Protocol\"}}", "tcp udp\n"),
            ("{{range split .Name \"-\"}}<{{.}}>{{end}}", "<p><web><1>\n"),
            ("{{slice .Name 2 5}} {{truncate .State 3}} {{lower `A}}`}}", "web run a}}\n"),
            ("{{if and (gt (len .Publishers) 1) (lt .ExitCode 1)}}many{{end}}", "many\n"),
            ("{{range .Labels}}x{{else}}no labels{{end}}{{index .Labels \"a\"}}", "no labels\n"),
            ("{{.Labels.a}}", "<no value>\n"),
            ("{{index .Publishers 0}} {{.name}}", "map[Protocol:tcp PublishedPort:8080] p-web-1\n"),
            ("{{json \"<a>\"}}", "\"\\u003ca\\u003e\"\n"),
            ("table {{.Name}}\\t{{.State}}", "NAME      STATE\np-web-1   running\n"),
        ] {
            match render(template) {
                Ok(text) => assert_eq!(text, expected, "{template}"),
                Err(error) => panic!("{template}: {error}"),
            }
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (template, expected) in [
            ("{{.Nam}}", "there is no field `Nam`"),
            ("{{.Name", "is not closed"),
            ("{{if .Name}}x", "`{{if}}` has no partner"),
            ("{{end}}", "`end` has no partner"),
            ("{{shout .Name}}", "`shout` is not a function"),
            ("{{| .Name}}", "cannot read"),
            ("{{index .Publishers 7}}", "no item 7 in a list of 2"),
            ("{{.Name .State}}", "`.Name` is no function"),
            ("{{$x}}", "cannot read `$x`"),
        ] {
            let error = render(template).expect_err(template).to_string();
            assert!(error.contains(expected), "{template}: {error}");
        }
    }
}
