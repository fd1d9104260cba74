//! Who `user: name:group` is, by the image's own /etc/passwd and /etc/group. Pure.

use super::error::Error;

/// A resolved user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// All groups, the primary one first: a process keeps its primary group among the further ones, or a file that
    /// is closed to the group would open after setgid (CVE-2022-36109).
    pub groups: Vec<u32>,
    /// Home directory; `/` for a number that has no entry.
    pub home: String,
}

/// Finds a user as container engines do.
///
/// `name`, `uid`, `name:group`, `uid:gid` or empty for root. A name must be in `passwd`; a number need not. Without a
/// group written, it comes from `passwd` (0 for a number without entry), and the groups that list the user are added;
/// with one, they are not. `further` names or numbers are always added.
pub fn find(user: &str, further: &[String], passwd: &str, group: &str) -> Result<User, Error> {
    let (name, group_name) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let number: Option<u32> = name.parse().ok();
    refuse_no_id(name)?;
    let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let entry = fields.into_iter().find_map(|fields| {
        let uid: u32 = fields.get(2)?.parse().ok()?;
        (fields[0] == name || number == Some(uid)).then(|| {
            let gid = fields.get(3).and_then(|gid| gid.parse().ok()).unwrap_or(0);
            (fields[0].to_owned(), uid, gid, fields.get(5).copied().unwrap_or("").to_owned())
        })
    });
    let (login, uid, mut gid, home) = match (entry, number) {
        (Some(entry), _) => entry,
        (None, Some(uid)) => (String::new(), uid, 0, String::new()),
        (None, None) => return Err(Error::UnknownUser { user: name.to_owned() }),
    };
    let mut groups = Vec::new();
    match group_name {
        Some(group_name) => gid = group_id(group_name, group, "user")?,
        None if !login.is_empty() => groups.extend(groups_of(&login, group)),
        None => {}
    }
    for name in further {
        groups.push(group_id(name, group, "group_add")?);
    }
    groups.insert(0, gid);
    let mut seen = std::collections::BTreeSet::new();
    groups.retain(|group| seen.insert(*group));
    let home = if home.is_empty() { "/".to_owned() } else { home };
    // The image's files may say it, too.
    if let Some(id) = [uid].into_iter().chain(groups.iter().copied()).find(|id| *id == u32::MAX) {
        return Err(Error::NoId { id: id.to_string() });
    }
    Ok(User { uid, gid, groups, home })
}

/// Refuses a number that no id can be: -1 says "leave it" to the kernel (setresuid(2)), and beyond it nothing fits.
fn refuse_no_id(text: &str) -> Result<(), Error> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match digits && text.parse().unwrap_or(u32::MAX) == u32::MAX {
        true => Err(Error::NoId { id: text.to_owned() }),
        false => Ok(()),
    }
}

/// A name wins over a number: a group may be called `100`.
fn group_id(name: &str, group: &str, attribute: &'static str) -> Result<u32, Error> {
    let named = group.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    refuse_no_id(name)?;
    named
        .or_else(|| name.parse().ok())
        .ok_or_else(|| Error::UnknownGroup { group: name.to_owned(), attribute })
}

fn groups_of(login: &str, group: &str) -> Vec<u32> {
    let member = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let listed = fields.get(3)?.split(',').any(|member| member.trim() == login);
        listed.then(|| fields[2].parse().ok()).flatten()
    };
    group.lines().filter_map(member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nmail:x:8:8::/var/mail:\n\
                          ada:x:1000:50:Ada,,,:/home/ada:/bin/sh\nbroken\n7:x:70:70::/seven:\n";
    const GROUP: &str = "root:x:0:\nstaff:x:50:\nmail:x:8:ada,bob\nwheel:x:10:root,ada\n100:x:101:\n";

    fn check(user: &str, further: &[&str], expected: Result<(u32, u32, &[u32], &str), &str>) {
        let further: Vec<String> = further.iter().map(ToString::to_string).collect();
        match (find(user, &further, PASSWD, GROUP), expected) {
            (Ok(found), Ok((uid, gid, groups, home))) => {
                let wanted = User { uid, gid, groups: groups.to_vec(), home: home.into() };
                assert_eq!(found, wanted, "{user}");
            }
            (Err(error), Err(expected)) => assert_eq!(error.to_string(), expected, "{user}"),
            (found, _) => panic!("{user}: {found:?}"),
        }
    }

    #[test]
    fn users_are_found_by_name_and_number() {
        check("", &[], Ok((0, 0, &[0, 10], "/root")));
        check("ada", &[], Ok((1000, 50, &[50, 8, 10], "/home/ada")));
        check("1000", &[], Ok((1000, 50, &[50, 8, 10], "/home/ada")));
        check("4242", &[], Ok((4242, 0, &[0], "/")));
        check("4242:4343", &[], Ok((4242, 4343, &[4343], "/")));
        check("mail", &[], Ok((8, 8, &[8], "/var/mail")));
    }

    #[test]
    fn a_written_group_replaces_those_of_the_image() {
        check("ada:wheel", &[], Ok((1000, 10, &[10], "/home/ada")));
        check("1000:50", &["2000", "mail"], Ok((1000, 50, &[50, 2000, 8], "/home/ada")));
        check(":staff", &[], Ok((0, 50, &[50], "/root")));
        check("0:100", &[], Ok((0, 101, &[101], "/root")));
    }

    #[test]
    fn numbers_that_are_no_ids() {
        check("4294967294:4294967294", &[], Ok((4294967294, 4294967294, &[4294967294], "/")));
        check("4294967295", &[], Err("`4294967295` is no id: the highest is 4294967294"));
        check("0:4294967295", &[], Err("`4294967295` is no id: the highest is 4294967294"));
        check("0", &["99999999999"], Err("`99999999999` is no id: the highest is 4294967294"));
        let passwd = "odd:x:4294967295:4294967295::/:\nmild:x:7:4294967295::/:\n";
        for user in ["odd", "mild"] {
            let error = find(user, &[], passwd, "").expect_err("no id");
            assert_eq!(error.to_string(), "`4294967295` is no id: the highest is 4294967294");
        }
    }

    #[test]
    fn unknown_names_are_named() {
        check("eve", &[], Err("no user `eve` in the image's /etc/passwd"));
        check("ada:crew", &[], Err("no group `crew` in the image's /etc/group"));
        check("ada", &["crew"], Err("no group `crew` in the image's /etc/group"));
    }
}
