//! DNS messages, as far as a server of a few record types needs them (RFC 1035, RFC 6891): bytes in, bytes out.

use std::net::Ipv4Addr;

/// Type A.
pub const A: u16 = 1;
/// Type PTR.
pub const PTR: u16 = 12;
const SOA: u16 = 6;
const OPT: u16 = 41;
const ANY: u16 = 255;
/// Class IN.
pub const INTERNET: u16 = 1;

const HEADER: usize = 12;
/// What a client takes by UDP that does not say otherwise (RFC 1035 section 4.2.1).
const PLAIN_LIMIT: usize = 512;
/// More than this is not put in a datagram even when the client would take it.
const DATAGRAM_LIMIT: usize = 4096;
/// Seconds that a client may keep our answers: long enough for one request, too short to meet a stale address.
const TTL: u32 = 2;

/// RCODE of an answer (RFC 1035 section 4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// The name exists.
    NoError = 0,
    /// The query cannot be understood.
    FormatError = 1,
    /// The answer could not be found out.
    ServerFailure = 2,
    /// The name does not exist.
    NoSuchName = 3,
    /// The kind of query is not supported.
    NotImplemented = 4,
}

/// How an answer travels, which limits its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A datagram.
    Udp,
    /// A stream, with two bytes of length before each message.
    Tcp,
}

/// A query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Its id.
    pub id: u16,
    /// The name, lower case, labels joined by dots, without the last dot. Dots inside labels are escaped.
    pub name: String,
    /// QTYPE.
    pub kind: u16,
    /// QCLASS.
    pub class: u16,
    recursion_desired: bool,
    /// The question as it came, with the letters' case.
    question: Vec<u8>,
    /// The largest datagram that the client takes, when it speaks EDNS.
    edns: Option<u16>,
}

/// Why a message is no query that we answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Not even that much that an answer could be sent.
    Drop,
    /// To be answered with these bytes.
    Answer(Vec<u8>),
}

/// A record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An address.
    Address(Ipv4Addr),
    /// A name for an address.
    Pointer(String),
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// Reads a query.
pub fn parse(bytes: &[u8]) -> Result<Query, Unfit> {
    let (Some(id), Some(flags)) = (number(bytes, 0), number(bytes, 2)) else { return Err(Unfit::Drop) };
    // An answer is not answered, or two servers could keep each other busy for ever.
    if bytes.len() < HEADER || flags & 0x8000 != 0 {
        return Err(Unfit::Drop);
    }
    if flags & 0x7800 != 0 {
        return Err(Unfit::Answer(bare(id, flags, Code::NotImplemented)));
    }
    let query =
        questioned(bytes, id, flags).ok_or_else(|| Unfit::Answer(bare(id, flags, Code::FormatError)))?;
    if query.class != INTERNET && query.class != ANY {
        return Err(Unfit::Answer(query.answer(Code::NotImplemented, &[], Carrier::Udp)));
    }
    Ok(query)
}

fn questioned(bytes: &[u8], id: u16, flags: u16) -> Option<Query> {
    if number(bytes, 4)? != 1 {
        return None;
    }
    let (name, end) = read_name(bytes, HEADER)?;
    let kind = number(bytes, end)?;
    let class = number(bytes, end + 2)?;
    // Additional records follow at once in a query; the first of type OPT carries the client's limit.
    let opt = end + 4;
    let has_opt = number(bytes, 6) == Some(0)
        && number(bytes, 8) == Some(0)
        && number(bytes, 10)? > 0
        && bytes.get(opt) == Some(&0)
        && number(bytes, opt + 1) == Some(OPT);
    Some(Query {
        id,
        name,
        kind,
        class,
        recursion_desired: flags & 0x0100 != 0,
        question: bytes[HEADER..end + 4].to_vec(),
        edns: if has_opt { number(bytes, opt + 3) } else { None },
    })
}

/// Reads an uncompressed name; returns it and where it ends. A question has nothing before it to point to.
fn read_name(bytes: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    let start = at;
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            return Some((name, at));
        }
        if length > 63 || at + length - start > 254 {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        for byte in bytes.get(at..at + length)? {
            if *byte == b'.' || *byte == b'\\' {
                name.push('\\');
            }
            name.push(char::from(byte.to_ascii_lowercase()));
        }
        at += length;
    }
}

fn bare(id: u16, flags: u16, code: Code) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[..2].copy_from_slice(&id.to_be_bytes());
    let flags = 0x8080 | (flags & 0x7900) | code as u16;
    bytes[2..4].copy_from_slice(&flags.to_be_bytes());
    bytes
}

impl Query {
    /// True when the query is for records of this type.
    pub fn wants(&self, kind: u16) -> bool {
        self.kind == kind || self.kind == ANY
    }

    /// The largest answer by this carrier.
    pub fn limit(&self, carrier: Carrier) -> usize {
        match (carrier, self.edns) {
            (Carrier::Tcp, _) => usize::from(u16::MAX),
            (Carrier::Udp, None) => PLAIN_LIMIT,
            (Carrier::Udp, Some(size)) => usize::from(size).clamp(PLAIN_LIMIT, DATAGRAM_LIMIT),
        }
    }

    /// Writes an answer; records that do not fit are left out and the answer marked as truncated.
    ///
    /// Without records it says so with a SOA record, which keeps clients from remembering it (RFC 2308 section 5).
    pub fn answer(&self, code: Code, records: &[Record], carrier: Carrier) -> Vec<u8> {
        let flags = if self.recursion_desired { 0x0100 } else { 0 };
        let mut bytes = bare(self.id, flags, code);
        bytes[5] = 1;
        bytes.extend_from_slice(&self.question);
        let reserved = if self.edns.is_some() { 11 } else { 0 };
        let limit = self.limit(carrier).saturating_sub(reserved);
        let mut count: u16 = 0;
        for record in records {
            let before = bytes.len();
            record.write(&mut bytes);
            if bytes.len() > limit {
                bytes.truncate(before);
                bytes[2] |= 0x02;
                break;
            }
            count += 1;
        }
        bytes[6..8].copy_from_slice(&count.to_be_bytes());
        if records.is_empty() && matches!(code, Code::NoError | Code::NoSuchName) {
            bytes[9] = 1;
            // Root names for server and mailbox, then serial, refresh, retry, expire, and 0 seconds for this "no".
            write_head(&mut bytes, SOA, 0, 22);
            bytes.extend_from_slice(&[0, 0]);
            for value in [1u32, 60, 60, 60, 0] {
                bytes.extend_from_slice(&value.to_be_bytes());
            }
        }
        if self.edns.is_some() {
            bytes[11] = 1;
            bytes.push(0);
            bytes.extend_from_slice(&OPT.to_be_bytes());
            bytes.extend_from_slice(&(DATAGRAM_LIMIT as u16).to_be_bytes());
            bytes.extend_from_slice(&[0; 6]);
        }
        bytes
    }
}

/// Writes the fixed part of a record whose name is that of the question.
fn write_head(bytes: &mut Vec<u8>, kind: u16, ttl: u32, length: u16) {
    bytes.extend_from_slice(&[0xc0, HEADER as u8]);
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&INTERNET.to_be_bytes());
    bytes.extend_from_slice(&ttl.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
}

impl Record {
    fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Record::Address(address) => {
                write_head(bytes, A, TTL, 4);
                bytes.extend_from_slice(&address.octets());
            }
            Record::Pointer(name) => {
                let mut target = Vec::new();
                for label in name.split('.').filter(|label| !label.is_empty()) {
                    // Names of containers are shorter than what a label holds; what is not, is cut.
                    let label = &label.as_bytes()[..label.len().min(63)];
                    target.push(label.len() as u8);
                    target.extend_from_slice(label);
                }
                target.push(0);
                write_head(bytes, PTR, TTL, target.len() as u16);
                bytes.extend_from_slice(&target);
            }
        }
    }
}

/// True when an answer is marked as truncated.
pub fn is_truncated(bytes: &[u8]) -> bool {
    bytes.get(2).is_some_and(|flags| flags & 0x02 != 0)
}

/// RCODE of an answer.
pub fn code_of(bytes: &[u8]) -> Option<u8> {
    bytes.get(3).map(|flags| flags & 0x0f)
}

/// True when `answer` answers a message sent with this id and these bytes of question.
pub fn is_answer_to(answer: &[u8], id: u16, query: &Query) -> bool {
    number(answer, 0) == Some(id)
        && answer.get(2).is_some_and(|flags| flags & 0x80 != 0)
        && number(answer, 4) == Some(1)
        && answer
            .get(HEADER..HEADER + query.question.len())
            .is_some_and(|question| question.eq_ignore_ascii_case(&query.question))
}

/// Gives a message another id.
pub fn set_id(bytes: &mut [u8], id: u16) {
    if let Some(place) = bytes.get_mut(..2) {
        place.copy_from_slice(&id.to_be_bytes());
    }
}

/// Cuts an answer of another server down to its question, marked as truncated, for a client that takes less.
pub fn truncate(bytes: &mut Vec<u8>, query: &Query) {
    bytes.truncate(HEADER + query.question.len());
    if bytes.len() >= HEADER {
        bytes[2] |= 0x02;
        bytes[6..HEADER].fill(0);
    }
}

/// Reads the address out of the name of a PTR query.
pub fn reverse_address(name: &str) -> Option<Ipv4Addr> {
    let labels: Vec<&str> = name.strip_suffix(".in-addr.arpa")?.split('.').collect();
    let [d, c, b, a] = labels.try_into().ok()?;
    Some(Ipv4Addr::new(a.parse().ok()?, b.parse().ok()?, c.parse().ok()?, d.parse().ok()?))
}

/// Queries and answers as tests write and read them.
#[cfg(test)]
pub mod tests {
    use super::*;

    /// Writes a query as a resolver would.
    pub fn query(id: u16, name: &str, kind: u16, edns: Option<u16>) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes[..2].copy_from_slice(&id.to_be_bytes());
        bytes[2] = 1;
        bytes[5] = 1;
        for label in name.split('.') {
            bytes.push(label.len() as u8);
            bytes.extend_from_slice(label.as_bytes());
        }
        bytes.push(0);
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&INTERNET.to_be_bytes());
        if let Some(size) = edns {
            bytes[11] = 1;
            bytes.push(0);
            bytes.extend_from_slice(&OPT.to_be_bytes());
            bytes.extend_from_slice(&size.to_be_bytes());
            bytes.extend_from_slice(&[0; 6]);
        }
        bytes
    }

    /// Addresses of an answer that has A records only.
    pub fn addresses(answer: &[u8]) -> Vec<Ipv4Addr> {
        let (_, end) = read_name(answer, HEADER).expect("a question");
        let count = usize::from(number(answer, 6).expect("a header"));
        answer[end + 4..]
            .chunks(16)
            .take(count)
            .map(|record| Ipv4Addr::new(record[12], record[13], record[14], record[15]))
            .collect()
    }

    #[test]
    fn queries_are_read() {
        let parsed = parse(&query(7, "Web.P_Default", A, Some(1232))).expect("a query");
        assert_eq!((parsed.id, parsed.name.as_str(), parsed.kind), (7, "web.p_default", A));
        assert_eq!(parsed.limit(Carrier::Udp), 1232);
        assert_eq!(parse(&query(7, "web", A, None)).expect("a query").limit(Carrier::Udp), 512);
    }

    #[test]
    fn what_is_no_query_is_dropped_or_refused_and_never_breaks() {
        let good = query(9, "web.example", A, Some(1232));
        for end in 0..good.len() {
            let _ = parse(&good[..end]);
        }
        for at in 0..good.len() {
            for value in [0u8, 1, 0x3f, 0x40, 0xc0, 0xff] {
                let mut bytes = good.clone();
                bytes[at] = value;
                if let Ok(query) = parse(&bytes) {
                    query.answer(Code::NoError, &[], Carrier::Udp);
                }
            }
        }
        let mut answer = good.clone();
        answer[2] |= 0x80;
        assert_eq!(parse(&answer), Err(Unfit::Drop));
        let mut update = good.clone();
        update[2] = 5 << 3;
        let Err(Unfit::Answer(bytes)) = parse(&update) else { panic!("an update is no query") };
        assert_eq!(code_of(&bytes), Some(Code::NotImplemented as u8));
        let Err(Unfit::Answer(bytes)) = parse(&good[..20]) else { panic!("half a name is no query") };
        assert_eq!((code_of(&bytes), number(&bytes, 0)), (Some(Code::FormatError as u8), Some(9)));
    }

    #[test]
    fn answers_hold_what_fits() {
        let records: Vec<Record> = (0..100).map(|n| Record::Address(Ipv4Addr::new(10, 0, 0, n))).collect();
        fn check(edns: Option<u16>, carrier: Carrier, records: &[Record], kept: usize) {
            let query = parse(&query(1, "web", A, edns)).expect("a query");
            let bytes = query.answer(Code::NoError, records, carrier);
            assert!(bytes.len() <= query.limit(carrier));
            assert_eq!(addresses(&bytes).len(), kept);
            assert_eq!(is_truncated(&bytes), kept < records.len());
        }
        check(None, Carrier::Udp, &records[..20], 20);
        check(None, Carrier::Udp, &records, 30);
        check(Some(1232), Carrier::Udp, &records, 75);
        check(Some(65000), Carrier::Udp, &records, 100);
        check(None, Carrier::Tcp, &records, 100);
    }

    #[test]
    fn nothing_is_said_with_a_soa_record() {
        let query = parse(&query(1, "web", 28, None)).expect("a query");
        let bytes = query.answer(Code::NoError, &[], Carrier::Udp);
        assert_eq!((number(&bytes, 6), number(&bytes, 8)), (Some(0), Some(1)));
        assert_eq!(bytes.len(), HEADER + 9 + 12 + 22);
        let bytes = query.answer(Code::ServerFailure, &[], Carrier::Udp);
        assert_eq!((code_of(&bytes), number(&bytes, 8)), (Some(2), Some(0)));
    }

    #[test]
    fn answers_of_other_servers_are_recognised_and_cut() {
        let asked = query(1, "example.com", A, None);
        let parsed = parse(&asked).expect("a query");
        let mut answer = parsed.answer(Code::NoError, &[Record::Address(Ipv4Addr::LOCALHOST)], Carrier::Udp);
        set_id(&mut answer, 77);
        assert!(is_answer_to(&answer, 77, &parsed));
        assert!(!is_answer_to(&answer, 78, &parsed), "another id");
        assert!(!is_answer_to(&asked, 1, &parsed), "a query");
        let other = parse(&query(1, "example.org", A, None)).expect("a query");
        assert!(!is_answer_to(&answer, 77, &other), "another question");
        truncate(&mut answer, &parsed);
        assert!(is_truncated(&answer));
        assert_eq!((answer.len(), number(&answer, 6)), (asked.len(), Some(0)));
    }

    #[test]
    fn reverse_names_are_addresses() {
        fn check(name: &str, expected: Option<[u8; 4]>) {
            assert_eq!(reverse_address(name), expected.map(Ipv4Addr::from), "{name}");
        }
        check("5.0.18.172.in-addr.arpa", Some([172, 18, 0, 5]));
        check("0.18.172.in-addr.arpa", None);
        check("256.0.18.172.in-addr.arpa", None);
        check("example.com", None);
    }
}
