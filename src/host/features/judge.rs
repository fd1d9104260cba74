//! What observations mean. Pure.

use super::inside::{Trial, Trials};
use super::observe::Observations;
use super::{Feature, State};
use crate::host::userns::Kind;

/// How many ids an image may expect: Docker's and the distributions' usual range.
const USUAL_IDS: u64 = 65536;

/// Says of each feature whether it is there, the most important first.
pub fn judge(seen: &Observations) -> Vec<Feature> {
    let mut features = vec![kernel(&seen.release)];
    match &seen.trials {
        Ok(trials) => {
            features.push(Feature::present("user namespaces", "allowed"));
            features.push(ids(seen));
            features.extend(mounts(trials));
            features.extend(networks(trials));
        }
        Err(report) => {
            let reason = report.causes.first().unwrap_or(&report.message).clone();
            let absent =
                Feature::present("user namespaces", reason).lacking(State::Absent, "no container can run");
            features.push(report.hints.iter().fold(absent, |feature, hint| feature.mend(hint.as_str())));
            features.push(ids(seen));
        }
    }
    features.push(ports(seen));
    features.push(exit_statuses(&seen.release));
    if seen.ends_at_logout {
        features.push(
            Feature::present("after logout", "systemd ends this user's processes")
                .lacking(State::Limited, "stacks of `up -d` end with the last session")
                .mend(format!("run `loginctl enable-linger {}`", seen.user.0)),
        );
    }
    features
}

fn at_least(release: &str, major: u32, minor: u32) -> bool {
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

fn kernel(release: &str) -> Feature {
    let feature = Feature::present("kernel", format!("Linux {release}"));
    if at_least(release, 5, 15) {
        feature
    } else if at_least(release, 5, 12) {
        feature.lacking(State::Limited, "tested from 5.15 on").mend("update to 5.15 or later")
    } else {
        feature
            .lacking(
                State::Absent,
                "overlayfs without root came with 5.11, recursive read-only mounts with 5.12",
            )
            .mend("update to Linux 5.15 or later")
    }
}

fn ids(seen: &Observations) -> Feature {
    let mapping = &seen.mapping;
    let count = |ranges: &[crate::host::idmap::Range]| -> u64 {
        ranges.iter().skip(1).map(|range| u64::from(range.count)).sum()
    };
    let (uids, gids) = (count(&mapping.map.uids), count(&mapping.map.gids));
    match mapping.kind {
        Kind::Identity => Feature::present("ids", "root: every id is its own"),
        Kind::Subordinate if uids.min(gids) < USUAL_IDS => {
            Feature::present("ids", format!("{uids} subordinate users, {gids} groups"))
                .lacking(State::Limited, "files of an image with higher ids become yours")
                .mend(format!(
                    "as an administrator, give `{}` {USUAL_IDS} of each in /etc/subuid and /etc/subgid",
                    seen.user.0
                ))
        }
        Kind::Subordinate => Feature::present("ids", format!("{uids} subordinate users, {gids} groups")),
        Kind::Single => {
            let note = mapping.notes.first();
            let (found, effect) = note
                .map(|note| note.message())
                .and_then(|message| message.split_once(": ").map(|(a, b)| (a.to_owned(), b.to_owned())))
                .unwrap_or_default();
            let feature = Feature::present("ids", found).lacking(State::Limited, effect);
            note.map(|note| note.mend()).into_iter().fold(feature, Feature::mend)
        }
    }
}

/// Turns one trial into a feature. Trials that were not reached say nothing.
fn trial(
    trials: &Trials,
    which: Trial,
    name: &str,
    state: State,
    effect: &str,
    mend: &str,
) -> Option<Feature> {
    let errno = *trials.get(&which)?;
    if errno == 0 {
        return Some(Feature::present(name, "works"));
    }
    let reason = std::io::Error::from_raw_os_error(errno).to_string();
    Some(Feature::present(name, reason).lacking(state, effect).mend(mend))
}

fn mounts(trials: &Trials) -> Vec<Feature> {
    let store = "put the image store on ext4, xfs, btrfs or tmpfs, not on a network or another overlay: set \
                 XDG_DATA_HOME to a directory there";
    [
        trial(
            trials,
            Trial::Mounts,
            "mount namespaces",
            State::Absent,
            "no container can run",
            "see `user namespaces`: AppArmor or a sandbox takes away the capabilities inside",
        ),
        trial(
            trials,
            Trial::Overlay,
            "overlayfs",
            State::Absent,
            "no container can run from an image",
            store,
        ),
        trial(
            trials,
            Trial::Attributes,
            "user attributes",
            State::Absent,
            "layers of images cannot say what they hide",
            store,
        ),
        trial(
            trials,
            Trial::LowerByOne,
            "many layers",
            State::Limited,
            "images of very many layers must be given in 4096 bytes of options",
            "update to Linux 6.5 or later",
        ),
        trial(
            trials,
            Trial::Proc,
            "/proc",
            State::Absent,
            "containers cannot have a process namespace: this is a container with parts of /proc hidden",
            "start the outer container with `--security-opt systempaths=unconfined`",
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn networks(trials: &Trials) -> Vec<Feature> {
    let built =
        |option: &str, module: &str| format!("load it: `modprobe {module}`, or boot a kernel with {option}");
    [
        trial(
            trials,
            Trial::Network,
            "network namespaces",
            State::Absent,
            "containers cannot have networks",
            "boot a kernel with CONFIG_NET_NS=y",
        ),
        trial(
            trials,
            Trial::Bridge,
            "bridges",
            State::Absent,
            "containers cannot reach each other",
            &built("CONFIG_BRIDGE", "bridge"),
        ),
        trial(
            trials,
            Trial::Veth,
            "veth",
            State::Absent,
            "containers cannot be put on networks",
            &built("CONFIG_VETH", "veth"),
        ),
        trial(
            trials,
            Trial::NfTables,
            "nf_tables",
            State::Limited,
            "containers have no names of each other and no way out",
            &built("CONFIG_NF_TABLES", "nf_tables"),
        ),
        trial(
            trials,
            Trial::Packet,
            "packet sockets",
            State::Limited,
            "containers have no way out",
            &built("CONFIG_PACKET", "af_packet"),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn ports(seen: &Observations) -> Feature {
    match seen.first_free_port {
        _ if seen.user.1 == 0 => Feature::present("host ports", "root may publish any"),
        Some(0) => Feature::present("host ports", "any may be published"),
        found => {
            let first = found.unwrap_or(1024);
            Feature::present("host ports", format!("from {first} on"))
                .lacking(State::Limited, format!("ports below {first} cannot be published"))
                .mend("as an administrator, run `sysctl -w net.ipv4.ip_unprivileged_port_start=80`")
        }
    }
}

/// PIDFD_GET_INFO tells how a process ended that was another's child: Linux 6.15.
fn exit_statuses(release: &str) -> Feature {
    if at_least(release, 6, 15) {
        return Feature::present("exit status of strangers", "the kernel tells it");
    }
    Feature::present("exit status of strangers", "before Linux 6.15")
        .lacking(
            State::Limited,
            "should a project's keeper be killed, how its containers end afterwards is not known",
        )
        .mend("update to Linux 6.15 or later")
}
