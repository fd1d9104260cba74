//! The rules that a Dockerfile is checked by: names, and what each is about.

/// A rule of `docker build --check`, by its name there.
///
/// See <https://docs.docker.com/reference/build-checks/>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "`about` says what each is about")]
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

impl Rule {
    /// Every rule, by name.
    pub const ALL: [Rule; 22] = [
        Rule::ConsistentInstructionCasing,
        Rule::CopyIgnoredFile,
        Rule::DuplicateStageName,
        Rule::ExposeInvalidFormat,
        Rule::ExposeProtoCasing,
        Rule::FromAsCasing,
        Rule::FromPlatformFlagConstDisallowed,
        Rule::InvalidBaseImagePlatform,
        Rule::InvalidDefaultArgInFrom,
        Rule::InvalidDefinitionDescription,
        Rule::JSONArgsRecommended,
        Rule::LegacyKeyValueFormat,
        Rule::MaintainerDeprecated,
        Rule::MultipleInstructionsDisallowed,
        Rule::NoEmptyContinuation,
        Rule::RedundantTargetPlatform,
        Rule::ReservedStageName,
        Rule::SecretsUsedInArgOrEnv,
        Rule::StageNameCasing,
        Rule::UndefinedArgInFrom,
        Rule::UndefinedVar,
        Rule::WorkdirRelativePath,
    ];

    /// Returns the name as the `check` directive spells it.
    pub fn name(self) -> &'static str {
        match self {
            Rule::ConsistentInstructionCasing => "ConsistentInstructionCasing",
            Rule::CopyIgnoredFile => "CopyIgnoredFile",
            Rule::DuplicateStageName => "DuplicateStageName",
            Rule::ExposeInvalidFormat => "ExposeInvalidFormat",
            Rule::ExposeProtoCasing => "ExposeProtoCasing",
            Rule::FromAsCasing => "FromAsCasing",
            Rule::FromPlatformFlagConstDisallowed => "FromPlatformFlagConstDisallowed",
            Rule::InvalidBaseImagePlatform => "InvalidBaseImagePlatform",
            Rule::InvalidDefaultArgInFrom => "InvalidDefaultArgInFrom",
            Rule::InvalidDefinitionDescription => "InvalidDefinitionDescription",
            Rule::JSONArgsRecommended => "JSONArgsRecommended",
            Rule::LegacyKeyValueFormat => "LegacyKeyValueFormat",
            Rule::MaintainerDeprecated => "MaintainerDeprecated",
            Rule::MultipleInstructionsDisallowed => "MultipleInstructionsDisallowed",
            Rule::NoEmptyContinuation => "NoEmptyContinuation",
            Rule::RedundantTargetPlatform => "RedundantTargetPlatform",
            Rule::ReservedStageName => "ReservedStageName",
            Rule::SecretsUsedInArgOrEnv => "SecretsUsedInArgOrEnv",
            Rule::StageNameCasing => "StageNameCasing",
            Rule::UndefinedArgInFrom => "UndefinedArgInFrom",
            Rule::UndefinedVar => "UndefinedVar",
            Rule::WorkdirRelativePath => "WorkdirRelativePath",
        }
    }

    /// Returns why the rule is there, in a sentence without its full stop.
    pub fn about(self) -> &'static str {
        match self {
            Rule::ConsistentInstructionCasing => {
                "instructions are easier to find when all are in the same letter case"
            }
            Rule::CopyIgnoredFile => {
                "a file that .dockerignore excludes is not in the context and cannot be copied"
            }
            Rule::DuplicateStageName => "of two stages with one name, only the later can be referred to",
            Rule::ExposeInvalidFormat => {
                "an image exposes ports only; addresses and host ports belong to who runs it"
            }
            Rule::ExposeProtoCasing => "protocols are written in lower case",
            Rule::FromAsCasing => "FROM and AS are read as one when they are in the same letter case",
            Rule::FromPlatformFlagConstDisallowed => {
                "a fixed platform makes an image for one architecture only"
            }
            Rule::InvalidBaseImagePlatform => {
                "the base image is for another platform than the one that is built for"
            }
            Rule::InvalidDefaultArgInFrom => "a build without arguments should find its base image",
            Rule::InvalidDefinitionDescription => {
                "a comment right above ARG or FROM describes it and begins with its name"
            }
            Rule::JSONArgsRecommended => {
                "the shell that a line runs in does not pass signals on to its program"
            }
            Rule::LegacyKeyValueFormat => {
                "`name value` without `=` is obsolete and allows one pair a line only"
            }
            Rule::MaintainerDeprecated => "an author is a label today: org.opencontainers.image.authors",
            Rule::MultipleInstructionsDisallowed => {
                "of several such instructions in a stage, only the last counts"
            }
            Rule::NoEmptyContinuation => "an empty line inside a continued one is an error in the making",
            Rule::RedundantTargetPlatform => "$TARGETPLATFORM is what FROM takes anyway",
            Rule::ReservedStageName => "`scratch` and `context` have a meaning of their own",
            Rule::SecretsUsedInArgOrEnv => {
                "arguments and variables can be read in the image; use RUN --mount=type=secret"
            }
            Rule::StageNameCasing => "stage names are compared in lower case",
            Rule::UndefinedArgInFrom => "FROM sees only arguments that are declared before the first FROM",
            Rule::UndefinedVar => "a variable that is not defined is empty",
            Rule::WorkdirRelativePath => "where a relative path begins depends on the base image",
        }
    }

    /// Returns whether the rule speaks only when it is asked to (`check=experimental=…`).
    pub fn experimental(self) -> bool {
        self == Rule::InvalidDefinitionDescription
    }
}
