//! The words of a Dockerfile as types. Values are as written: not expanded, quotes and escapes still in them.

use std::time::Duration;

use super::diagnostic::{Source, Span, Warning};
use super::rule::Rule;

/// A whole Dockerfile.
#[derive(Clone, Debug)]
pub struct Dockerfile {
    /// Its name and text, for errors.
    pub source: Source,
    /// The comments at the top that are no comments.
    pub directives: Directives,
    /// `ARG` before the first `FROM`.
    pub global: Vec<Instruction>,
    /// From each `FROM` to the next; never empty.
    pub stages: Vec<Stage>,
    /// What is doubtful in its form, whatever the `check` directive says of it.
    pub warnings: Vec<Warning>,
}

/// Parser directives: `# name=value` at the top of the file.
#[derive(Clone, Debug, Default)]
pub struct Directives {
    /// Which frontend is meant to read it: an image's name, and known to be one that means this language.
    pub syntax: Option<Word>,
    /// What continues lines and escapes characters.
    pub escape: Escape,
    /// How to check it.
    pub check: Check,
}

/// The `escape` directive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Escape {
    /// `\`
    #[default]
    Backslash,
    /// `` ` ``
    Backtick,
}

impl Escape {
    /// Returns the character.
    pub fn char(self) -> char {
        match self {
            Escape::Backslash => '\\',
            Escape::Backtick => '`',
        }
    }
}

/// The `check` directive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// `skip=…`: rules that are not to speak.
    pub skip: Names,
    /// `experimental=…`: rules that speak only when they are asked to.
    pub experimental: Names,
    /// `error=true`: a finding is an error.
    pub error: bool,
}

/// Some of the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// Those of these names, in lower case; unknown ones are of no consequence.
    Some(Vec<String>),
    /// All.
    All,
}

impl Default for Names {
    fn default() -> Names {
        Names::Some(Vec::new())
    }
}

impl Names {
    /// Returns whether a rule is among them.
    pub fn contains(&self, rule: Rule) -> bool {
        match self {
            Names::All => true,
            Names::Some(names) => names.iter().any(|name| name.eq_ignore_ascii_case(rule.name())),
        }
    }
}

/// Some text and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The text.
    pub text: String,
    /// Where.
    pub at: Span,
}

/// From a `FROM` to the next.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The line that opens it.
    pub from: From,
    /// All others.
    pub instructions: Vec<Instruction>,
}

/// `FROM [--platform=…] base [AS name]`
#[derive(Clone, Debug)]
pub struct From {
    /// Where.
    pub at: Span,
    /// The line as written, continuations joined.
    pub source: String,
    /// The base: an image, an earlier stage, a named context or `scratch`.
    pub base: Word,
    /// Its name in lower case, when it has one.
    pub name: Option<Word>,
    /// `--platform`
    pub platform: Option<Word>,
    /// The comment right above, when it begins with the stage's name.
    pub comment: String,
}

/// A line with an instruction.
#[derive(Clone, Debug)]
pub struct Instruction {
    /// Where its keyword stands.
    pub at: Span,
    /// The last line that belongs to it.
    pub end_line: u32,
    /// The line as written, continuations joined, without here-documents.
    pub source: String,
    /// What it is.
    pub kind: Kind,
}

impl Instruction {
    /// Returns the keyword as it is written.
    pub fn keyword(&self) -> &str {
        self.source.split_whitespace().next().unwrap_or_default()
    }
}

/// What an instruction says.
#[derive(Clone, Debug)]
pub enum Kind {
    /// `ADD`
    Add(Add),
    /// `ARG name[=default] …`
    Arg(Vec<ArgItem>),
    /// `CMD`
    Cmd(Command),
    /// `COPY`
    Copy(Copy),
    /// `ENTRYPOINT`
    Entrypoint(Command),
    /// `ENV name=value …`
    Env(Vec<Pair>),
    /// `EXPOSE port[/protocol] …`
    Expose(Vec<Word>),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `LABEL name=value …`
    Label(Vec<Pair>),
    /// `MAINTAINER name`
    Maintainer(Word),
    /// `ONBUILD instruction`: the text of the instruction, with its here-documents.
    OnBuild(String),
    /// `RUN`
    Run(Run),
    /// `SHELL ["…", …]`
    Shell(Vec<String>),
    /// `STOPSIGNAL signal`
    StopSignal(Word),
    /// `USER name[:group]`
    User(Word),
    /// `VOLUME path …`
    Volume(Vec<Word>),
    /// `WORKDIR path`
    Workdir(Word),
}

/// `name=value`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Before the `=`.
    pub name: Word,
    /// After it.
    pub value: Word,
    /// Whether it is written in the old form, `name value`.
    pub legacy: bool,
}

/// A build argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgItem {
    /// Its name.
    pub name: Word,
    /// Its value when none is given.
    pub default: Option<Word>,
    /// The comment right above, when it begins with the argument's name.
    pub comment: String,
}

/// The words of `RUN`, `CMD` and `ENTRYPOINT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A line for the shell.
    Shell(Word),
    /// `["…", …]`
    Exec(Vec<String>),
}

/// `RUN`
#[derive(Clone, Debug)]
pub struct Run {
    /// What to run.
    pub command: Command,
    /// Here-documents of the line, in order.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`
    pub mounts: Vec<Mount>,
    /// `--network`
    pub network: Network,
    /// `--security`
    pub security: Security,
    /// `--device`: refused when it is run.
    pub devices: Vec<Word>,
}

/// A here-document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The word after `<<`, without quotes.
    pub name: String,
    /// Whether variables are expanded: the word had no quotes.
    pub expand: bool,
    /// `<<-`: tabs at the begin of lines do not count.
    pub strip: bool,
    /// The lines up to the word, as they stand there.
    pub content: Vec<u8>,
    /// Where the content begins.
    pub at: Span,
}

/// `--network` of `RUN`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// Whatever the build has.
    #[default]
    Default,
    /// Only a loopback device.
    None,
    /// The host's.
    Host,
}

/// `--security` of `RUN`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// As any container.
    #[default]
    Sandbox,
    /// With all privileges.
    Insecure,
}

/// `--mount` of `RUN`: its fields in order. Values may hold variables, but for that of `from`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where the flag stands.
    pub at: Span,
    /// `key=value` or only `key`.
    pub fields: Vec<MountField>,
}

/// A field of a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountField {
    /// The key, in lower case.
    pub key: String,
    /// What is behind its `=`.
    pub value: Option<String>,
}

impl Mount {
    /// Returns the last value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.fields.iter().rev().find(|field| field.key == key)?.value.as_deref()
    }
}

/// `sharing` of a cache mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Several at once.
    #[default]
    Shared,
    /// Each its own.
    Private,
    /// One after the other.
    Locked,
}

/// Sources and destination of `COPY` and `ADD`.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Paths or URLs, in order.
    pub sources: Vec<Word>,
    /// Here-documents, in order: each becomes a file of its name.
    pub heredocs: Vec<Heredoc>,
    /// Where to.
    pub destination: Word,
    /// `--chown`
    pub chown: Option<Word>,
    /// `--chmod`
    pub chmod: Option<Word>,
    /// `--link`
    pub link: bool,
    /// `--exclude`
    pub exclude: Vec<Word>,
}

/// `COPY`
#[derive(Clone, Debug)]
pub struct Copy {
    /// Its paths and the flags that `ADD` has as well.
    pub paths: Paths,
    /// `--from`
    pub from: Option<Word>,
    /// `--parents`
    pub parents: bool,
}

/// `ADD`
#[derive(Clone, Debug)]
pub struct Add {
    /// Its paths and the flags that `COPY` has as well.
    pub paths: Paths,
    /// `--checksum`
    pub checksum: Option<Word>,
    /// `--keep-git-dir`, when said.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`, when said.
    pub unpack: Option<bool>,
}

/// What `--chmod` means, once it is expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chmod {
    /// `0755`
    Octal {
        /// The bits.
        mode: u32,
        /// As written.
        text: String,
    },
    /// `u+x,go=r`
    Symbolic(String),
}

/// `HEALTHCHECK`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Healthcheck {
    /// `HEALTHCHECK NONE`
    None,
    /// `HEALTHCHECK [flags] CMD …`; zero means the default.
    Probe {
        /// What to run.
        command: Command,
        /// `--interval`
        interval: Duration,
        /// `--timeout`
        timeout: Duration,
        /// `--start-period`
        start_period: Duration,
        /// `--start-interval`
        start_interval: Duration,
        /// `--retries`
        retries: u32,
    },
}
