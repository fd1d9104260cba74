//! `/etc/subuid` and `/etc/subgid` to the id map of the outer user namespace. Pure.
//!
//! | who | map |
//! |---|---|
//! | root | every id that its own namespace knows, onto itself |
//! | a user with subordinate ids | 0 is the user, 1 and up are the ranges of subuid(5), in the file's order |
//! | a user without | 0 is the user, and that is all |
//!
//! Layers are unpacked under a map, so the store keeps a directory for each [`IdMap::key`].

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A line of `uid_map` or `gid_map`, see user_namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// First id inside the namespace.
    pub inside: u32,
    /// First id outside, in the parent namespace.
    pub outside: u32,
    /// How many ids, at least 1.
    pub count: u32,
}

/// The two maps of a user namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    /// User ids.
    pub uids: Vec<Range>,
    /// Group ids.
    pub gids: Vec<Range>,
}

/// A range that subuid(5) or subgid(5) grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// First id.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// The kernel takes up to 340 lines in a map (user_namespaces(7), since Linux 4.15).
const MAX_LINES: usize = 340;

/// Reads the ranges of one user: lines `NAME:FIRST:COUNT` whose name is the user's name or number.
///
/// Lines that are malformed, empty or past the last id are left out, as newuidmap(1) does.
pub fn granted(text: &str, user: &str, uid: u32) -> Vec<Granted> {
    let number = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let (owner, first, count) = (fields.next()?, fields.next()?, fields.next()?);
            if fields.next().is_some() || (owner != user && owner != number) || owner.is_empty() {
                return None;
            }
            let (first, count) = (first.trim().parse::<u32>().ok()?, count.trim().parse::<u32>().ok()?);
            // The last id, 2^32-1, means "no change" in chown(2) and is never mapped.
            let within = count > 0 && first.checked_add(count).is_some();
            within.then_some(Granted { first, count })
        })
        .collect()
}

/// How many ids an administrator usually gives to a user (login.defs(5), SUB_UID_COUNT).
const USUAL_COUNT: u32 = 65536;

/// Returns the first and last id of a range that none of the texts of subuid(5) and subgid(5) grants to anybody, from
/// where distributions begin (SUB_UID_MIN).
pub fn free_range(texts: &[&str]) -> (u32, u32) {
    let taken: Vec<(u32, u32)> = texts
        .iter()
        .flat_map(|text| text.lines())
        .filter_map(|line| {
            let mut fields = line.trim().split(':').skip(1).map(|field| field.trim().parse::<u32>());
            let (first, count) = (fields.next()?.ok()?, fields.next()?.ok()?);
            Some((first, first.saturating_add(count.saturating_sub(1))))
        })
        .collect();
    let mut first: u32 = 100_000;
    loop {
        let last = first.saturating_add(USUAL_COUNT - 1);
        let meets = |(from, to): &&(u32, u32)| *from <= last && *to >= first;
        match taken.iter().filter(meets).map(|(_, to)| *to).max() {
            Some(to) if to < u32::MAX - USUAL_COUNT => first = to + 1,
            _ => return (first, last),
        }
    }
}

impl IdMap {
    /// Maps every id of the caller's own namespace onto itself; takes `/proc/self/uid_map` and `gid_map`.
    ///
    /// In the first namespace that is all ids; in a container's it is what the container has.
    pub fn identity(own_uid_map: &str, own_gid_map: &str) -> IdMap {
        let same = |text: &str| {
            parse(text)
                .into_iter()
                .map(|range| Range { outside: range.inside, ..range })
                .take(MAX_LINES)
                .collect()
        };
        IdMap { uids: same(own_uid_map), gids: same(own_gid_map) }
    }

    /// Maps 0 to the user, and nothing else.
    pub fn single(uid: u32, gid: u32) -> IdMap {
        let only = |outside| vec![Range { inside: 0, outside, count: 1 }];
        IdMap { uids: only(uid), gids: only(gid) }
    }

    /// Maps 0 to the user and the ids from 1 to the granted ranges; `None` if a kind has no range.
    pub fn subordinate(uid: u32, gid: u32, uids: &[Granted], gids: &[Granted]) -> Option<IdMap> {
        let (uids, gids) = (lay_out(uid, uids), lay_out(gid, gids));
        (uids.len() > 1 && gids.len() > 1).then_some(IdMap { uids, gids })
    }

    /// Returns whether a user id exists inside.
    pub fn maps(&self, id: u32) -> bool {
        contains(&self.uids, id)
    }

    /// Returns whether a group id exists inside.
    pub fn maps_group(&self, id: u32) -> bool {
        contains(&self.gids, id)
    }

    /// Returns the id outside for a user id inside.
    pub fn outside(&self, id: u32) -> Option<u32> {
        self.uids.iter().find(|range| range.holds(id)).map(|range| range.outside + (id - range.inside))
    }

    /// Returns whether there is only one id, so that neither `chown` to another nor `setgroups` works.
    pub fn is_single(&self) -> bool {
        matches!(self.uids[..], [Range { count: 1, .. }])
    }

    /// Returns a short name for this map that is the same on each run: 16 hexadecimal digits.
    pub fn key(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(lines(&self.uids));
        hash.update(b"groups\n");
        hash.update(lines(&self.gids));
        hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Range {
    fn holds(&self, id: u32) -> bool {
        id >= self.inside && id - self.inside < self.count
    }
}

fn contains(ranges: &[Range], id: u32) -> bool {
    ranges.iter().any(|range| range.holds(id))
}

/// Writes ranges as the kernel reads them.
pub fn lines(ranges: &[Range]) -> String {
    ranges.iter().map(|range| format!("{} {} {}\n", range.inside, range.outside, range.count)).collect()
}

/// Reads ranges as the kernel writes them; anything else is left out.
pub fn parse(text: &str) -> Vec<Range> {
    text.lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(str::parse::<u32>);
            let mut next = || numbers.next()?.ok();
            Some(Range { inside: next()?, outside: next()?, count: next()? }).filter(|range| range.count > 0)
        })
        .collect()
}

/// Puts the user at 0 and the granted ids behind, each outside id once: the kernel refuses overlaps.
fn lay_out(own: u32, granted: &[Granted]) -> Vec<Range> {
    let mut ranges = vec![Range { inside: 0, outside: own, count: 1 }];
    let mut inside = 1u32;
    for piece in granted.iter().flat_map(|grant| without(*grant, own)) {
        for fresh in not_yet(piece, &ranges) {
            let count = fresh.count.min(u32::MAX - inside);
            if count == 0 || ranges.len() == MAX_LINES {
                return ranges;
            }
            ranges.push(Range { inside, outside: fresh.first, count });
            inside += count;
        }
    }
    ranges
}

/// Cuts one id out of a range.
fn without(grant: Granted, id: u32) -> Vec<Granted> {
    cut(grant, id, 1)
}

/// Cuts everything out that is mapped already.
fn not_yet(grant: Granted, mapped: &[Range]) -> Vec<Granted> {
    mapped.iter().fold(vec![grant], |pieces, range| {
        pieces.into_iter().flat_map(|piece| cut(piece, range.outside, range.count)).collect()
    })
}

fn cut(from: Granted, first: u32, count: u32) -> Vec<Granted> {
    let (start, end) = (u64::from(from.first), u64::from(from.first) + u64::from(from.count));
    let (hole, hole_end) = (u64::from(first), u64::from(first) + u64::from(count));
    let piece =
        |from: u64, to: u64| (from < to).then(|| Granted { first: from as u32, count: (to - from) as u32 });
    if hole_end <= start || end <= hole {
        return vec![from];
    }
    piece(start, hole.max(start)).into_iter().chain(piece(hole_end.min(end), end)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_range_is_one_that_nobody_has() {
        assert_eq!(free_range(&["", ""]), (100_000, 165_535));
        assert_eq!(free_range(&["ada:100000:65536\n", "bob:165536:65536\nbroken\n"]), (231_072, 296_607));
        assert_eq!(free_range(&["ada:90000:20000", "eve:500000:65536"]), (110_000, 175_535));
        assert_eq!(free_range(&["ada:150000:1"]), (150_001, 215_536));
    }

    fn check_granted(text: &str, expected: &[(u32, u32)]) {
        let found: Vec<_> =
            granted(text, "ada", 1000).iter().map(|grant| (grant.first, grant.count)).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        check_granted("ada:100000:65536\n", &[(100_000, 65536)]);
        check_granted("1000:100000:65536", &[(100_000, 65536)]);
        check_granted("bob:1:2\nada:100000:10\n1000:300000:20\n", &[(100_000, 10), (300_000, 20)]);
        check_granted("adam:100000:65536\n10000:1:1\n", &[]);
    }

    #[test]
    fn bad_lines_are_left_out() {
        check_granted("# ada:1:2\n\nada\nada:x:1\nada:1\nada:1:2:3\nada:5:0\nada:-1:5\n", &[]);
        check_granted("ada:4294967295:1\nada:4294967000:296\n", &[]);
        check_granted("ada:4294967000:295\n", &[(4_294_967_000, 295)]);
        check_granted("  ada:7:8 \n", &[(7, 8)]);
    }

    fn check_layout(granted: &[(u32, u32)], expected: &str) {
        let granted: Vec<_> =
            granted.iter().map(|(first, count)| Granted { first: *first, count: *count }).collect();
        assert_eq!(lines(&lay_out(1000, &granted)), expected);
    }

    #[test]
    fn ranges_follow_each_other_and_never_overlap() {
        check_layout(&[(100_000, 65536)], "0 1000 1\n1 100000 65536\n");
        check_layout(&[(100_000, 10), (300_000, 20)], "0 1000 1\n1 100000 10\n11 300000 20\n");
        check_layout(&[(100_000, 10), (100_005, 10)], "0 1000 1\n1 100000 10\n11 100010 5\n");
        check_layout(&[(100_000, 10), (100_000, 10)], "0 1000 1\n1 100000 10\n");
        check_layout(&[(998, 5)], "0 1000 1\n1 998 2\n3 1001 2\n");
        check_layout(&[(1000, 1)], "0 1000 1\n");
    }

    #[test]
    fn both_kinds_of_ids_are_needed() {
        let grant = [Granted { first: 100_000, count: 5 }];
        assert_eq!(IdMap::subordinate(1000, 1000, &grant, &[]), None);
        let map = IdMap::subordinate(1000, 1000, &grant, &grant).expect("both");
        assert!(map.maps(5) && !map.maps(6) && map.maps_group(0) && !map.is_single());
        assert_eq!((map.outside(0), map.outside(5), map.outside(6)), (Some(1000), Some(100_004), None));
    }

    #[test]
    fn root_maps_what_its_own_namespace_knows() {
        let map = IdMap::identity("         0          0 4294967295\n", "0 0 4294967295\n");
        assert_eq!(lines(&map.uids), "0 0 4294967295\n");
        assert!(map.maps(0) && map.maps(4_294_967_294) && !map.is_single());
        let nested = IdMap::identity("0 1000 1\n1 100000 65536\n", "0 1000 1\n");
        assert_eq!(lines(&nested.uids), "0 0 1\n1 1 65536\n");
    }

    #[test]
    fn keys_are_stable_and_tell_maps_apart() {
        let root = IdMap::identity("0 0 4294967295\n", "0 0 4294967295\n");
        assert_eq!(root.key(), root.clone().key());
        assert_eq!(root.key().len(), 16);
        assert_ne!(root.key(), IdMap::single(1000, 1000).key());
        assert_ne!(IdMap::single(1000, 1000).key(), IdMap::single(1000, 1001).key());
        // Stores on disk are named by it: a change of this value orphans them.
        assert_eq!(IdMap::single(0, 0).key(), "7230f4d96758899b");
    }
}
