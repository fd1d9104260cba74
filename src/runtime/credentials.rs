//! Giving up privileges: who the program runs as and what it may do. The order is runc's, each place for a reason.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use base64::Engine;
use rustix::fs::{Gid, OFlags, Uid, fchown};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::error::{Error, failed};
use super::operations::Credentials;
use super::owners;
use super::passage;
use super::target::Root;
use super::users::{self, User};
use crate::sys::process::join_new_session_keyring;
use crate::sys::seccomp;

/// So much of /etc/passwd and /etc/group is read, in bytes.
const LONGEST: u64 = 8 << 20;

/// Finds a user by the files of the image.
pub(super) fn find_user(root: &Root, user: &str, further: &[String]) -> Result<User, Error> {
    let read = |path: &str| -> Result<String, Error> {
        // The container may have put a pipe or a device there, which would hold us up for ever.
        match root.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
            Ok(file) => {
                let file = File::from(file);
                if !file.metadata().map_err(failed("read", path))?.is_file() {
                    return Err(failed("read", path)(io::Error::other("it is no regular file")));
                }
                let mut bytes = Vec::new();
                file.take(LONGEST).read_to_end(&mut bytes).map_err(failed("read", path))?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            // An image may have neither, and one that we may not read (0640 of the host's root) names nobody.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => Ok(String::new()),
            Err(error) => Err(failed("open", path)(error)),
        }
    };
    users::find(user, further, &read("/etc/passwd")?, &read("/etc/group")?)
}

/// Becomes the user; returns what could not be had.
///
/// `streams` are pipes and terminals that were made for this process: they come to belong to the user, or opening
/// /dev/stdout would be EACCES. With `tell_owners`, later changes of owners are told to whoever has its other end. `key`
/// is that of the [`passage`] through the filter, if there is to be one.
pub(super) fn become_user(
    who: &Credentials,
    user: &User,
    streams: &[BorrowedFd<'_>],
    tell_owners: Option<&OwnedFd>,
    key: Option<u64>,
) -> Result<Vec<String>, Error> {
    let mut warnings = Vec::new();
    for stream in streams {
        match fchown(stream.as_fd(), Some(Uid::from_raw(user.uid)), None) {
            // EINVAL: an id that is not mapped; setresuid below says it better.
            Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
            Err(error) => return Err(failed("change the owner of", "a standard stream")(error)),
        }
    }
    // Where a filter around us forbids keyrings there is nothing to leak either.
    let _ = join_new_session_keyring();
    // With CAP_SYS_ADMIN a filter needs no no_new_privs, so setuid programs keep working: before capabilities go.
    // Otherwise as late as can be, so that it does not have to allow what follows here.
    // Before the other one, which need not allow what this takes; and after our own changes of owners.
    if let Some(socket) = tell_owners {
        owners::tell(socket)?;
    }
    if !who.no_new_privileges {
        load_filter(who, key)?;
    }
    drop_bounding_set(who.capabilities)?;
    // Or setresuid to a user that is not root would take them before they are chosen.
    set_keep_capabilities(true).map_err(failed("keep", "capabilities"))?;
    set_groups(who, user, &mut warnings)?;
    let unmapped = |error: Errno| match error {
        Errno::INVAL | Errno::PERM => Error::Unmapped { uid: user.uid, gid: user.gid },
        error => failed("become", format!("{}:{}", user.uid, user.gid))(error),
    };
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    set_thread_res_gid(gid, gid, gid).map_err(unmapped)?;
    set_thread_res_uid(uid, uid, uid).map_err(unmapped)?;
    set_keep_capabilities(false).map_err(failed("keep", "capabilities"))?;
    let set = CapabilitySet::from_bits_retain(who.capabilities & known_capabilities());
    // Nothing is inheritable or ambient: a program of another user has no capability after exec (CVE-2022-29162).
    let sets = CapabilitySets { effective: set, permitted: set, inheritable: CapabilitySet::empty() };
    match clear_ambient_capability_set() {
        // Before Linux 4.3 there was none.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(error) => return Err(failed("clear", "ambient capabilities")(error)),
    }
    set_capabilities(None, sets).map_err(failed("set", "capabilities"))?;
    if who.no_new_privileges {
        set_no_new_privs(true).map_err(failed("set", "no_new_privs"))?;
        load_filter(who, key)?;
    }
    Ok(warnings)
}

fn load_filter(who: &Credentials, key: Option<u64>) -> Result<(), Error> {
    let Some(filter) = &who.seccomp else { return Ok(()) };
    let program = base64::engine::general_purpose::STANDARD
        .decode(filter)
        .map_err(|error| failed("decode", "the seccomp filter")(io::Error::other(error)))?;
    let program = match key {
        Some(key) => passage::before(program, key),
        None => program,
    };
    seccomp::load_filter(&program).map_err(failed("install", "the seccomp filter"))
}

/// The kernel's highest capability may be above or below those that we know by name.
fn known_capabilities() -> u64 {
    (0..64)
        .map(|number| 1 << number)
        .filter(|bit| {
            rustix::thread::capability_is_in_bounding_set(CapabilitySet::from_bits_retain(*bit))
                .is_ok_and(|is| is)
        })
        .fold(0, |all, bit| all | bit)
}

fn drop_bounding_set(keep: u64) -> Result<(), Error> {
    for number in 0..64 {
        let bit = 1_u64 << number;
        if keep & bit == 0 {
            match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(bit)) {
                Ok(()) => {}
                // The first number that the kernel does not know.
                Err(Errno::INVAL) => break,
                Err(error) => return Err(failed("drop", format!("capability {number}"))(error)),
            }
        }
    }
    Ok(())
}

fn set_groups(who: &Credentials, user: &User, warnings: &mut Vec<String>) -> Result<(), Error> {
    let groups: Vec<Gid> = user.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    match set_thread_groups(&groups) {
        Ok(()) => Ok(()),
        // A map of one id comes without setgroups(2), and groups that are not mapped are EINVAL. Those that the user
        // asked for are named, those that come along with a name are not missed.
        Err(Errno::PERM | Errno::INVAL) => {
            if !who.groups.is_empty() {
                warnings
                    .push(format!("`group_add` {:?}: further groups cannot be had on this host", who.groups));
            }
            Ok(())
        }
        Err(error) => Err(failed("set", "further groups")(error)),
    }
}

/// What we were doing when a resource limit was refused.
pub(super) const LIMIT: &str = "limit";

/// Sets a resource limit; returns a warning where the host's hard limit is lower and was taken instead.
pub(super) fn limit(name: &str, soft: u64, hard: u64) -> Result<Option<String>, Error> {
    let resource = resource(name).ok_or_else(|| Error::UnknownLimit { name: name.to_owned() })?;
    let value = |number: u64| (number != u64::MAX).then_some(number);
    match setrlimit(resource, Rlimit { current: value(soft), maximum: value(hard) }) {
        Ok(()) => Ok(None),
        // Only the first user namespace may raise a hard limit (getrlimit(2)).
        Err(Errno::PERM) => {
            let ceiling = getrlimit(resource).maximum.unwrap_or(u64::MAX);
            let limits = Rlimit { current: value(soft.min(ceiling)), maximum: value(hard.min(ceiling)) };
            setrlimit(resource, limits).map_err(failed(LIMIT, name))?;
            Ok(Some(format!("`ulimits: {name}` is {ceiling}, not {hard}: that is this host's hard limit")))
        }
        Err(error) => Err(failed(LIMIT, name)(error)),
    }
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return None,
    })
}
