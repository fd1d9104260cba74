//! What is wrong with a Dockerfile, or only doubtful, and where.

use crate::report::{Exit, Place, Report};

/// A place in the Dockerfile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Line, counted from 1; 0 is nowhere.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
    /// Characters to underline, at least 1.
    pub width: u32,
}

/// A failure with its place, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// Where; more than one when two lines do not fit together.
    pub places: Vec<Place>,
    /// How to mend it.
    pub hints: Vec<String>,
}

impl From<Diagnostic> for Report {
    fn from(diagnostic: Diagnostic) -> Report {
        let mut report = Report::new(Exit::Build, diagnostic.message);
        report.places = diagnostic.places;
        report.hints = diagnostic.hints;
        report
    }
}

/// A finding of `--check`, which also is a warning of every build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Which rule found it.
    pub rule: Rule,
    /// What was found.
    pub message: String,
    /// Where.
    pub place: Option<Place>,
}

/// A Dockerfile that is none: what is wrong, and what was doubtful so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What is wrong, the first first; never empty.
    pub problems: Vec<Diagnostic>,
    /// Findings up to there.
    pub warnings: Vec<Warning>,
}

/// The rules of `docker build --check`, by their names there.
///
/// See <https://docs.docker.com/reference/build-checks/>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "`check` says what each is about")]
pub enum Rule {
    ConsistentInstructionCasing,
    CopyIgnoredFile,
    DuplicateStageName,
    ExposeInvalidFormat,
    ExposeProtoCasing,
    FromAsCasing,
    FromPlatformFlagConstDisallowed,
    InvalidBaseImagePlatform,
    InvalidDefaultArgInFrom,
    InvalidDefinitionDescription,
    JSONArgsRecommended,
    LegacyKeyValueFormat,
    MaintainerDeprecated,
    MultipleInstructionsDisallowed,
    NoEmptyContinuation,
    RedundantTargetPlatform,
    ReservedStageName,
    SecretsUsedInArgOrEnv,
    StageNameCasing,
    UndefinedArgInFrom,
    UndefinedVar,
    WorkdirRelativePath,
}
