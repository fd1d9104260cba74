//! A profile in plain data, and the JSON in which Docker takes it. Pure.

use serde::Deserialize;

use super::Error;
use super::numbers::Architecture;

/// Which system calls do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Profile {
    /// What is done with a call that no rule matches.
    pub default: Action,
    /// Which calling conventions are judged beside the machine's own.
    pub architectures: Vec<Architecture>,
    /// The first that matches answers.
    pub rules: Vec<Rule>,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Action {
    Allow,
    Log,
    Errno(u16),
    Trace(u16),
    Trap,
    KillThread,
    KillProcess,
}

/// A rule for some calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub names: Vec<String>,
    pub action: Action,
    /// All must hold.
    pub compares: Vec<Compare>,
    /// All must hold for the rule to be there at all.
    pub includes: Condition,
    /// None of its parts may hold.
    pub excludes: Condition,
}

/// One argument against a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Compare {
    /// Which argument, 0 to 5.
    pub argument: u8,
    pub operator: Operator,
    pub value: u64,
}

/// How they are compared, both as unsigned numbers of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    NotEqual,
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
    /// The argument's bits under this mask equal the value.
    MaskedEqual(u64),
}

/// What a rule depends on. Empty parts say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Condition {
    pub caps: Vec<String>,
    pub arches: Vec<String>,
    pub min_kernel: Option<String>,
}

impl Profile {
    /// Allows everything.
    pub fn unconfined() -> Profile {
        Profile {
            default: Action::Allow,
            architectures: vec![Architecture::X86, Architecture::X32, Architecture::Arm],
            rules: Vec::new(),
        }
    }

    /// Reads Docker's form; the runtime specification's is the same, but for `archMap`.
    pub fn from_json(text: &str) -> Result<Profile, Error> {
        let json: Json = serde_json::from_str(text).map_err(|source| Error::Syntax { source })?;
        let mapped = json.arch_map.iter().flatten().flat_map(|map| {
            // Relatives count for their own machine alone; those of others are never asked for.
            std::iter::once(&map.architecture).chain(map.sub_architectures.iter().flatten())
        });
        let named = json.architectures.iter().flatten();
        let architectures = mapped.chain(named).map(|name| Architecture::parse(name)).collect();
        let default = action(&json.default_action, json.default_errno_ret)?;
        let rules = json.syscalls.into_iter().flatten().map(rules).collect::<Result<Vec<_>, _>>()?;
        Ok(Profile { default, architectures, rules: rules.into_iter().flatten().collect() })
    }
}

/// Turns one entry into rules: one, or one for each comparison where two look at the same argument. Those have always
/// been alternatives in runc, since libseccomp takes an argument once in a rule.
fn rules(json: JsonRule) -> Result<Vec<Rule>, Error> {
    let mut names = json.names.unwrap_or_default();
    names.extend(json.name.filter(|name| !name.is_empty()));
    let compares = json.args.into_iter().flatten().map(JsonCompare::check).collect::<Result<Vec<_>, _>>()?;
    let rule = |compares| -> Result<Rule, Error> {
        Ok(Rule {
            names: names.clone(),
            action: action(&json.action, json.errno_ret)?,
            compares,
            includes: json.includes.clone().unwrap_or_default(),
            excludes: json.excludes.clone().unwrap_or_default(),
        })
    };
    let repeated = compares.iter().enumerate().any(|(index, one): (usize, &Compare)| {
        compares[..index].iter().any(|other| other.argument == one.argument)
    });
    match repeated {
        true => compares.iter().map(|compare| rule(vec![*compare])).collect(),
        false => Ok(vec![rule(compares)?]),
    }
}

fn action(name: &str, value: Option<u32>) -> Result<Action, Error> {
    // Errnos end at 4095; the kernel cuts off higher ones.
    let value = value.map(|value| value.min(4095) as u16);
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_ERRNO" => Action::Errno(value.unwrap_or(libc::EPERM as u16)),
        "SCMP_ACT_TRACE" => Action::Trace(value.unwrap_or(libc::EPERM as u16)),
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        other => return Err(Error::Action { action: other.to_owned() }),
    })
}

/// Reads the first two numbers of a kernel version: `4.8`, `6.1.0-13-amd64`.
pub(super) fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.').map(|part| {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..end].parse::<u32>().ok()
    });
    Some((parts.next()??, parts.next()??))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    default_action: String,
    default_errno_ret: Option<u32>,
    arch_map: Option<Vec<JsonArchitectures>>,
    architectures: Option<Vec<String>>,
    syscalls: Option<Vec<JsonRule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonArchitectures {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonRule {
    names: Option<Vec<String>>,
    /// The older form.
    name: Option<String>,
    action: String,
    errno_ret: Option<u32>,
    args: Option<Vec<JsonCompare>>,
    includes: Option<Condition>,
    excludes: Option<Condition>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonCompare {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

impl JsonCompare {
    fn check(self) -> Result<Compare, Error> {
        let argument = u8::try_from(self.index)
            .ok()
            .filter(|index| *index < 6)
            .ok_or(Error::Argument { index: self.index })?;
        let plain = |operator| Compare { argument, operator, value: self.value };
        Ok(match self.op.as_str() {
            "SCMP_CMP_NE" => plain(Operator::NotEqual),
            "SCMP_CMP_LT" => plain(Operator::Less),
            "SCMP_CMP_LE" => plain(Operator::LessOrEqual),
            "SCMP_CMP_EQ" => plain(Operator::Equal),
            "SCMP_CMP_GE" => plain(Operator::GreaterOrEqual),
            "SCMP_CMP_GT" => plain(Operator::Greater),
            // `value` is the mask here, and `valueTwo` what remains.
            "SCMP_CMP_MASKED_EQ" => {
                Compare { argument, operator: Operator::MaskedEqual(self.value), value: self.value_two }
            }
            _ => return Err(Error::Operator { operator: self.op }),
        })
    }
}
