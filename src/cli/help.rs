//! The first page of help: commands in groups, their words taken from where the commands are declared.

use std::fmt::Write as _;

/// What users look for, and the commands that belong to it.
const GROUPS: [(&str, &[&str]); 5] = [
    (
        "Bring it up, take it down",
        &["up", "down", "create", "start", "stop", "restart", "kill", "rm", "scale", "pause", "unpause"],
    ),
    ("Look at it", &["ps", "logs", "top", "stats", "port", "events", "wait", "volumes", "config", "ls"]),
    ("Work inside", &["exec", "run", "attach", "cp"]),
    (
        "Images",
        &[
            "build", "builder", "pull", "push", "lock", "commit", "export", "login", "logout", "images",
            "image", "load", "save", "rmi",
        ],
    ),
    ("This program and this machine", &["volume", "system", "doctor", "version", "completion", "help"]),
];

/// Gives the top command its page; those of the commands are clap's own.
pub fn grouped(command: clap::Command) -> clap::Command {
    let styles = command.get_styles().clone();
    let (header, literal) = (styles.get_header(), styles.get_literal());
    let mut page = format!("{{about}}\n\n{header}Usage:{header:#} {{usage}}\n");
    for (group, names) in GROUPS {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "\n{header}{group}:{header:#}");
        for name in names {
            let about = match command.find_subcommand(name).and_then(|command| command.get_about()) {
                Some(about) => about.to_string(),
                None => "Print help of a command".to_owned(),
            };
            let _ = writeln!(page, "  {literal}{name:<11}{literal:#} {about}");
        }
    }
    let _ = write!(page, "\n{header}Options:{header:#}\n{{options}}{{after-help}}");
    command.help_template(page)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::args::Cli;

    #[test]
    fn every_command_is_in_one_group() {
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let command = Cli::command();
        let mut declared: Vec<&str> = command.get_subcommands().map(|command| command.get_name()).collect();
        declared.push("help");
        grouped.sort_unstable();
        declared.sort_unstable();
        assert_eq!(grouped, declared);
    }
}
