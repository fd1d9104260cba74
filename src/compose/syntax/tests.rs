//! The mistakes that people make, and what they are told.

use super::super::budget::Budget;
use super::super::diagnostic::Sources;
use super::super::trace::Trace;
use super::super::yaml;

#[test]
fn the_mistakes_that_people_make() {
    let web = |rest: &str| format!("services:\n  web:\n{rest}");
    let cases = [
        (web("\timage: x\n"), "3:2", "a tab indents this line", "two spaces"),
        (web("    image: x\n    - a\n"), "4:5", "a list item stands among the keys", "indent it"),
        (web("    ports:\n      - 80:80\n      a: b\n"), "5:7", "a key stands among the items", "`- `"),
        (web("    image: x\n   ports: []\n"), "4:4", "indented by 3", "indented by 0, 2, 4"),
        (web("     image: x\n    ports: []\n"), "4:5", "indented by 4", "indented by 0, 2, 5"),
        (
            web("    image: x\n      tty: true\n"),
            "4:7",
            "below `image: x`, which has its value",
            "by 4, like",
        ),
        (web("    image: \"x\n"), "3:12", "this quote is opened", "close it"),
        (web("    image: 'it's'\n"), "3:16", "behind the closing quote", "'it''s'"),
        (web("    image: \"a\" b\n"), "3:16", "behind the closing quote", "the whole value"),
        (web("    image: \"a\\d\"\n"), "3:12", "no such escape", "for a backslash"),
        (web("    command: echo: hi\n"), "3:18", "reads as a second key", "command: 'echo: hi'"),
        (web("    command: it's: hi\n"), "3:18", "reads as a second key", "command: \"it's: hi\""),
        (web("    image: @x\n"), "3:12", "cannot begin with @", "quotes: '@x'"),
        (web("    image: `x`\n"), "3:12", "cannot begin with `", "quotes: '`x`'"),
        (web("    command: %a\n"), "3:14", "cannot begin with %", "quotes: '%a'"),
        ("services:\n  web\n    image: x\n".to_owned(), "3:10", "below `web`, which is no key", "`web:`"),
        (web("    image x\n    tty: true\n"), "4:8", "below `image x`, which is no key", "`image: x`"),
        (web("    image:x\n    tty: true\n"), "4:8", "below `image:x`, which is no key", "colon: `image: x`"),
        (web("    image: x\n    tty\n"), "4:5", "it has no colon", "`tty:`"),
        (web("    ports:\n      - 80:80\n      81:81\n"), "5:7", "no item of the list", "`- 81:81`"),
        (web("    ports:\n    -\"80:80\"\n"), "4:5", "a dash alone", "`- \"80:80\"`"),
        (web("    command: - a\n"), "3:14", "cannot begin on the line of the key", "`[a, b]`"),
        (web("    command: |\n    foo\n"), "4:5", "must be indented deeper", "by 6 or more"),
        (web("    command: >z\n      foo\n"), "3:14", "behind `|` or `>`", "on the next line"),
        (web("    image: *none\n"), "3:12", "an anchor `&none`, and none stands above", "write `&none`"),
        ("x: &base {}\ny: *bsae\n".to_owned(), "2:4", "`*bsae` is the value", "`*base`?"),
        ("x: *a\ny: &a {}\n".to_owned(), "1:4", "none stands above", "move the anchor"),
        (web("    ports:\n      - *:80\n"), "4:9", "an anchor `&:80`", "in quotes: '*:80'"),
        (web("    ports: [${PORT:-1}:80]\n"), "3:", "cannot stand between", "`${…}` in quotes"),
        (web("    labels: {a: ${X}, b: c}\n"), "3:", "cannot stand between", "`${…}` in quotes"),
        (web("    command: [a, b\n    image: x\n"), "4:10", "a bracket is still open", "close it"),
        (web("    command: [a, b\n"), "3:14", "opened and never closed", "close it"),
        (web("    command: [a, b]]\n"), "3:20", "this bracket closes nothing", "leave it out"),
        ("[".repeat(1000), "1:", "too deep in each other", "bracket stay open"),
        ("%YAML 3.0\n---\na: b\n".to_owned(), "1:1", "version of YAML", "leave the line out"),
    ];
    let mut wrong = Vec::new();
    for (text, place, message, hint) in cases {
        let mut sources = Sources::default();
        let file = sources.add("f".to_owned(), text.clone());
        let parsed = yaml::parse(&sources, file, &mut Budget::default(), &mut Trace::default());
        let problem = parsed.map(|_| ()).expect_err(&text).remove(0);
        let hints = problem.hints.join("\n");
        let found = format!("{}:{}", problem.at.line, problem.at.column);
        if !problem.message.contains(message) || !hints.contains(hint) || !found.starts_with(place) {
            wrong.push(format!("{text}{found} {}\n{hints}", problem.message));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
