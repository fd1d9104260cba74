//! What the README says of the product must be what the product says of itself.

use std::process::Command;

/// The list stands between these lines.
const LIST: (&str, &str) = ("<!-- rcompose doctor --not-honoured -->\n```text\n", "```\n");

#[test]
fn the_readme_lists_what_is_not_honoured() {
    let printed = Command::new(env!("CARGO_BIN_EXE_rcompose"))
        .args(["doctor", "--not-honoured"])
        .output()
        .expect("rcompose runs");
    let printed = String::from_utf8(printed.stdout).expect("text");
    let printed: Vec<&str> = printed.lines().map(str::trim).collect();
    assert!(!printed.is_empty());
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once(LIST.0).expect("the list begins");
    let (list, _) = rest.split_once(LIST.1).expect("the list ends");
    assert_eq!(list.lines().collect::<Vec<_>>(), printed);
}
