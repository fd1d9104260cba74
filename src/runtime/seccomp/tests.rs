//! The compiled filter, run by an interpreter of its language, against the profile read directly.

use std::collections::HashSet;

use super::numbers::{Audit, X32_BIT};
use super::profile::{Action, Compare, Operator, version};
use super::*;

/// Runs a filter as the kernel does (filter.rst): returns the value returned.
fn run(program: &[u8], number: u32, architecture: u32, arguments: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(number.to_le_bytes());
    data.extend(architecture.to_le_bytes());
    data.extend([0; 8]);
    data.extend(arguments.iter().flat_map(|argument| argument.to_le_bytes()));
    crate::runtime::bpf::run(program, |place| {
        let place = place as usize;
        u32::from_le_bytes(data[place..place + 4].try_into().expect("four bytes"))
    })
}

fn matches(compare: &Compare, arguments: [u64; 6]) -> bool {
    let argument = arguments[usize::from(compare.argument)];
    match compare.operator {
        Operator::NotEqual => argument != compare.value,
        Operator::Less => argument < compare.value,
        Operator::LessOrEqual => argument <= compare.value,
        Operator::Equal => argument == compare.value,
        Operator::GreaterOrEqual => argument >= compare.value,
        Operator::Greater => argument > compare.value,
        Operator::MaskedEqual(mask) => argument & mask == compare.value,
    }
}

/// The rules that hold, read one by one, with the numbers of their names.
struct Read<'a> {
    profile: &'a Profile,
    rules: Vec<(HashSet<u32>, &'a profile::Rule)>,
    /// The newest number that is named: of plain ones, and of those of x32.
    newest: [Option<u32>; 2],
}

impl<'a> Read<'a> {
    fn new(profile: &'a Profile, here: &Circumstances, audit: Audit) -> Read<'a> {
        let has = |name: &String| caps::parse(name).is_some_and(|number| here.capabilities.contains(number));
        let newer = |text: &String| here.kernel >= version(text).expect("a version");
        let go = here.machine.go_name();
        let rules: Vec<(HashSet<u32>, &profile::Rule)> = profile
            .rules
            .iter()
            .filter(|rule| rule.includes.caps.iter().all(has))
            .filter(|rule| {
                rule.includes.arches.is_empty() || rule.includes.arches.iter().any(|name| name == go)
            })
            .filter(|rule| rule.includes.min_kernel.iter().all(newer))
            .filter(|rule| !rule.excludes.caps.iter().any(has))
            .filter(|rule| !rule.excludes.arches.iter().any(|name| name == go))
            .filter(|rule| !rule.excludes.min_kernel.iter().any(newer))
            .map(|rule| (rule.names.iter().flat_map(|name| audit.numbers(name)).collect(), rule))
            .collect();
        let newest = [0, X32_BIT].map(|bit| {
            let like = |known: &u32| *known & X32_BIT == bit && *known & !X32_BIT < 0xf_0000;
            rules.iter().flat_map(|(numbers, _)| numbers).copied().filter(like).max()
        });
        Read { profile, rules, newest }
    }

    fn judge(&self, number: u32, arguments: [u64; 6]) -> Action {
        let found = self.rules.iter().find(|(numbers, rule)| {
            numbers.contains(&number) && rule.compares.iter().all(|compare| matches(compare, arguments))
        });
        if let Some((_, rule)) = found {
            return rule.action;
        }
        let newest = self.newest[usize::from(number & X32_BIT != 0)];
        let default = self.profile.default;
        let lets_through = matches!(default, Action::Allow | Action::Log | Action::Trace(_));
        match newest {
            Some(newest) if number > newest && !lets_through => Action::Errno(libc::ENOSYS as u16),
            _ => default,
        }
    }
}

/// Holds the filter against the rules: each number up to 600, plain and x32, and arguments around each value.
fn check(profile: &Profile, here: &Circumstances) -> usize {
    let program = build(profile, here).expect("compiles");
    for audit in here.machine.audits(&profile.architectures) {
        let read = Read::new(profile, here, audit);
        let bases: &[u32] = if audit == (Audit::X86_64 { x32: true }) { &[0, X32_BIT] } else { &[0] };
        for number in bases.iter().flat_map(|base| (0..600).map(move |number| base + number)) {
            for (value, index) in interesting(&read, number) {
                let mut arguments = [5; 6];
                arguments[index] = value;
                let expected = read.judge(number, arguments);
                let found = run(&program, number, audit.token(), arguments);
                assert_eq!(
                    found,
                    assemble::returned(expected),
                    "{audit:?} {number} {arguments:x?}: {expected:?}"
                );
            }
        }
    }
    assert_eq!(run(&program, 0, 0x1234, [0; 6]), assemble::returned(Action::KillThread), "a foreign machine");
    program.len() / 8
}

/// Values around those that rules compare a call's arguments with, at every argument.
fn interesting(read: &Read<'_>, number: u32) -> Vec<(u64, usize)> {
    let mut values = vec![0];
    let rules = read.rules.iter().filter(|(numbers, _)| numbers.contains(&number));
    for compare in rules.flat_map(|(_, rule)| &rule.compares) {
        let value = compare.value;
        values.extend([
            value,
            value.wrapping_add(1),
            value.wrapping_sub(1),
            value | 1 << 32,
            value ^ 1 << 63,
        ]);
        if let Operator::MaskedEqual(mask) = compare.operator {
            values.extend([mask, !mask, mask & mask.wrapping_neg(), value | !mask]);
        }
    }
    values.sort_unstable();
    values.dedup();
    values.iter().flat_map(|value| (0..6).map(move |index| (*value, index))).collect()
}

fn here(machine: Machine, capabilities: caps::Set) -> Circumstances {
    Circumstances { capabilities, kernel: (6, 1), machine }
}

#[test]
fn the_usual_profile_is_compiled_truly() {
    for machine in [Machine::X86_64, Machine::Aarch64] {
        for capabilities in [caps::default_set(), caps::Set::default(), caps::Set::all()] {
            let length = check(&usual::profile(), &here(machine, capabilities));
            assert!(length < 2000, "{machine:?}: {length} instructions");
        }
    }
    check(&usual::profile(), &Circumstances { kernel: (4, 4), ..here(Machine::X86_64, caps::default_set()) });
}

const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const ALLOWED: u32 = 0x7fff_0000;

/// What users of Docker rely on, by number on x86_64.
#[test]
fn the_usual_profile_answers_as_dockers() {
    let usual = |capabilities: caps::Set| {
        build(&usual::profile(), &here(Machine::X86_64, capabilities)).expect("compiles")
    };
    let (ordinary, all) = (usual(caps::default_set()), usual(caps::Set::all()));
    let check = |number: u32, arguments: [u64; 6], first: u32, second: u32| {
        let found = [&ordinary, &all].map(|program| run(program, number, 0xc000_003e, arguments));
        assert_eq!(found, [first, second], "{number} {arguments:x?}");
    };
    check(0, [0; 6], ALLOWED, ALLOWED); // read
    check(165, [0; 6], EPERM, ALLOWED); // mount
    check(272, [0; 6], EPERM, ALLOWED); // unshare
    check(56, [0x11, 0, 0, 0, 0, 0], ALLOWED, ALLOWED); // clone
    check(56, [0x1000_0011, 0, 0, 0, 0, 0], EPERM, ALLOWED); // clone with CLONE_NEWUSER
    check(435, [0; 6], ENOSYS, ALLOWED); // clone3
    check(425, [0; 6], EPERM, EPERM); // io_uring_setup
    check(250, [0; 6], EPERM, EPERM); // keyctl
    check(246, [0; 6], EPERM, EPERM); // kexec_load
    check(101, [0; 6], ALLOWED, ALLOWED); // ptrace
    check(41, [2, 1, 0, 0, 0, 0], ALLOWED, ALLOWED); // socket of AF_INET
    check(41, [40, 1, 0, 0, 0, 0], EPERM, EPERM); // and of AF_VSOCK
    check(41, [38, 5, 0, 0, 0, 0], EPERM, EPERM); // and of AF_ALG
    check(135, [0xffff_ffff, 0, 0, 0, 0, 0], ALLOWED, ALLOWED); // personality, asked
    check(135, [0x4_0000, 0, 0, 0, 0, 0], EPERM, EPERM); // and ADDR_NO_RANDOMIZE
    check(161, [0; 6], ALLOWED, ALLOWED); // chroot
    check(467, [0; 6], ENOSYS, ENOSYS); // newer than the profile
    check(0xffff_ffff, [0; 6], ENOSYS, ENOSYS); // -1, a tracer's skip
}

fn profile_of(rules: &str, default: &str) -> Result<Profile, Error> {
    Profile::from_json(&format!(
        r#"{{"defaultAction": "{default}", "archMap": [{{"architecture": "SCMP_ARCH_X86_64",
           "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}}], "syscalls": [{rules}]}}"#
    ))
}

#[test]
fn custom_profiles_are_compiled_truly() {
    let x86 = here(Machine::X86_64, caps::default_set());
    let compare = |operator: &str| {
        format!(
            r#"{{"names": ["openat"], "action": "SCMP_ACT_ALLOW", "args": [
               {{"index": 2, "value": 4294967303, "valueTwo": 3, "op": "SCMP_CMP_{operator}"}},
               {{"index": 4, "value": 5, "op": "SCMP_CMP_EQ"}}]}}"#
        )
    };
    for operator in ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"] {
        for default in ["SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
            check(&profile_of(&compare(operator), default).expect("good"), &x86);
        }
    }
    // The same argument twice: alternatives. The old form of one name. An errno of the rule's own.
    let twice = r#"{"name": "kill", "action": "SCMP_ACT_ERRNO", "errnoRet": 13, "args": [
        {"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 15, "op": "SCMP_CMP_EQ"}]},
        {"names": ["reboot"], "action": "SCMP_ACT_LOG"}, {"names": ["no_such_call"], "action": "SCMP_ACT_TRAP"}"#;
    let profile = profile_of(twice, "SCMP_ACT_ALLOW").expect("good");
    check(&profile, &x86);
    let program = build(&profile, &x86).expect("compiles");
    let kill = |signal| run(&program, 62, 0xc000_003e, [1, signal, 0, 0, 0, 0]);
    assert_eq!([kill(9), kill(15), kill(1)], [0x0005_000d, 0x0005_000d, ALLOWED]);
    assert_eq!(run(&program, 169, 0xc000_003e, [0; 6]), 0x7ffc_0000);
    // Far jumps: a call with more alternatives than a conditional jump reaches over.
    let many: Vec<_> = (0..80)
        .map(|value| {
            format!(
                r#"{{"names": ["ioctl"], "action": "SCMP_ACT_ALLOW",
                   "args": [{{"index": 1, "value": {}, "op": "SCMP_CMP_EQ"}}]}}"#,
                value * 3
            )
        })
        .collect();
    check(&profile_of(&many.join(","), "SCMP_ACT_ERRNO").expect("good"), &x86);
}

#[test]
fn profiles_that_cannot_be_used_say_why() {
    let check = |rules: &str, default: &str, expected: &str| {
        let error = profile_of(rules, default).expect_err("bad").to_string();
        assert_eq!(error, expected);
    };
    check("", "ALLOW", "`ALLOW` is not an action of a seccomp profile here");
    check(
        r#"{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}"#,
        "SCMP_ACT_ALLOW",
        "`SCMP_ACT_NOTIFY` is not an action of a seccomp profile here",
    );
    check("{", "SCMP_ACT_ALLOW", "the seccomp profile cannot be read");
    let argument = |index: u32, op: &str| {
        format!(
            r#"{{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{{"index": {index}, "value": 1, "op": "{op}"}}]}}"#
        )
    };
    check(
        &argument(6, "SCMP_CMP_EQ"),
        "SCMP_ACT_ALLOW",
        "a system call has no argument 6: they count from 0 to 5",
    );
    check(&argument(1, "EQ"), "SCMP_ACT_ALLOW", "`EQ` is not a comparison of a seccomp profile");
    let everything: Vec<_> = (0..1500)
        .map(|value| argument(1, "SCMP_CMP_EQ").replace("1, \"op", &format!("{value}, \"op")))
        .collect();
    let profile = profile_of(&everything.join(","), "SCMP_ACT_ERRNO").expect("good");
    let error = build(&profile, &here(Machine::X86_64, caps::Set::default())).expect_err("too long");
    assert!(matches!(error, Error::TooLong { .. }), "{error}");
    assert!(compile(&Seccomp::Default, &[], "mips").is_err());
    assert!(compile(&Seccomp::Default, &["CAP_FLY".into()], "x86_64").is_err());
}

#[test]
fn versions_are_read() {
    assert_eq!(version("4.8"), Some((4, 8)));
    assert_eq!(version("6.18.44-fc-v669"), Some((6, 18)));
    assert_eq!(version("6.1-rc3"), Some((6, 1)));
    assert_eq!(version("x"), None);
}

#[test]
fn unconfined_allows_all_and_results_are_kept() {
    let program = compile(&Seccomp::Unconfined, &[], "x86_64").expect("compiles");
    assert_eq!(run(&program, 425, 0xc000_003e, [0; 6]), ALLOWED);
    assert_eq!(compile(&Seccomp::Unconfined, &[], "x86_64").expect("kept"), program);
    let usual = compile(&Seccomp::Default, &caps::default_set().names(), "x86_64").expect("compiles");
    assert_eq!(run(&usual, 425, 0xc000_003e, [0; 6]), EPERM);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]
    /// Rules at random: whatever they are, filter and rules agree.
    #[test]
    fn any_profile_is_compiled_truly(
        rules in proptest::collection::vec((0usize..8, 0u8..7, proptest::collection::vec((0u8..6, 0u8..7, 0u64..4, 0u64..4), 0..4)), 1..12),
        default in 0u8..7,
    ) {
        let action = |index: u8| [Action::Allow, Action::Log, Action::Errno(7), Action::Trace(3), Action::Trap, Action::KillThread, Action::KillProcess][usize::from(index)];
        // Values on both sides of the border between the halves.
        let wide = |value: u64| [0, 9, 1 << 32, (1 << 32) + 9][value as usize];
        let rules = rules.into_iter().map(|(name, act, compares)| profile::Rule {
            names: vec![["read", "write", "openat", "socket", "clone", "futex", "mseal", "prctl"][name].into()],
            action: action(act),
            compares: compares.into_iter().map(|(argument, operator, value, mask)| Compare {
                argument,
                operator: [Operator::NotEqual, Operator::Less, Operator::LessOrEqual, Operator::Equal, Operator::GreaterOrEqual, Operator::Greater, Operator::MaskedEqual(wide(mask))][usize::from(operator)],
                value: wide(value),
            }).collect(),
            includes: Default::default(),
            excludes: Default::default(),
        }).collect();
        let profile = Profile { default: action(default), architectures: vec![numbers::Architecture::X86], rules };
        check(&profile, &here(Machine::X86_64, caps::Set::default()));
    }
}
