//! The part of D-Bus's wire format that asking for a scope needs: little endian, few types. Pure.
//!
//! Section numbers are those of the D-Bus specification, "Message Protocol".

/// A value in a message's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// `s` or `o`.
    Text(String),
    /// `u`.
    Number(u32),
    /// `t`.
    Long(u64),
    /// `b`.
    Flag(bool),
    /// `au`.
    Numbers(Vec<u32>),
    /// `(sv)`.
    Property(String, Box<Value>),
    /// `a(sv)`, of properties.
    Properties(Vec<Value>),
    /// An empty `a(sa(sv))`.
    NoUnits,
    /// Something that we need not read.
    Unread,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Call = 1,
    Reply = 2,
    Error = 3,
    Signal = 4,
}

/// A received message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub kind: Kind,
    pub serial: u32,
    pub reply_to: Option<u32>,
    pub member: Option<String>,
    pub error: Option<String>,
    /// The values up to the first of a type that we do not read.
    pub body: Vec<Value>,
}

/// Bytes that are no message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Header fields, by their code.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// No message of ours is near this; the specification's bound is 128 MiB.
const LONGEST: usize = 1 << 20;

/// Writes a method call to `[destination, path, interface]`.
pub(super) fn call(serial: u32, peer: [&str; 3], member: &str, body: &[Value]) -> Vec<u8> {
    let text = |text: &str| Value::Text(text.to_owned());
    let [destination, path, interface] = peer;
    let fields = [
        (PATH, "o", text(path)),
        (INTERFACE, "s", text(interface)),
        (MEMBER, "s", text(member)),
        (DESTINATION, "s", text(destination)),
    ];
    message(Kind::Call, serial, &fields, body)
}

/// Writes header and body.
fn message(kind: Kind, serial: u32, fields: &[(u8, &str, Value)], body: &[Value]) -> Vec<u8> {
    let mut content = Writer::default();
    for value in body {
        content.value(value);
    }
    let mut header = Writer::default();
    header.0.extend([b'l', kind as u8, 0, 1]);
    header.number(content.0.len() as u32);
    header.number(serial);
    let signature: String = body.iter().map(signature).collect();
    header.array(8, |header| {
        for (code, kind, value) in fields {
            header.align(8);
            header.0.push(*code);
            header.signature(kind);
            header.value(value);
        }
        if !signature.is_empty() {
            header.align(8);
            header.0.push(SIGNATURE);
            header.signature("g");
            header.signature(&signature);
        }
    });
    header.align(8);
    header.0.extend(content.0);
    header.0
}

fn signature(value: &Value) -> &'static str {
    match value {
        Value::Text(_) => "s",
        Value::Number(_) => "u",
        Value::Long(_) => "t",
        Value::Flag(_) => "b",
        Value::Numbers(_) => "au",
        Value::Property(..) => "(sv)",
        Value::Properties(_) => "a(sv)",
        Value::NoUnits => "a(sa(sv))",
        Value::Unread => "",
    }
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number(&mut self, number: u32) {
        self.align(4);
        self.0.extend(number.to_le_bytes());
    }

    fn signature(&mut self, text: &str) {
        self.0.push(text.len() as u8);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    /// An array's length does not count the padding before its first element.
    fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Writer)) {
        self.number(0);
        let length_at = self.0.len() - 4;
        self.align(alignment);
        let start = self.0.len();
        elements(self);
        let length = (self.0.len() - start) as u32;
        self.0[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Text(text) => {
                self.number(text.len() as u32);
                self.0.extend(text.as_bytes());
                self.0.push(0);
            }
            Value::Number(number) => self.number(*number),
            Value::Long(number) => {
                self.align(8);
                self.0.extend(number.to_le_bytes());
            }
            Value::Flag(flag) => self.number(u32::from(*flag)),
            Value::Numbers(numbers) => {
                self.array(4, |writer| numbers.iter().for_each(|number| writer.number(*number)));
            }
            Value::Property(name, value) => {
                self.align(8);
                self.value(&Value::Text(name.clone()));
                self.signature(signature(value));
                self.value(value);
            }
            Value::Properties(properties) => {
                self.array(8, |writer| properties.iter().for_each(|property| writer.value(property)));
            }
            Value::NoUnits => self.array(8, |_| ()),
            Value::Unread => {}
        }
    }
}

/// Reads the first message and says how many bytes it took; `None` while it is not complete.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Message, usize)>, Malformed> {
    if bytes.len() < 16 {
        return Ok(None);
    }
    let mut reader = Reader { bytes, at: 4 };
    let kind = match (bytes[0], bytes[1]) {
        (b'l', 1) => Kind::Call,
        (b'l', 2) => Kind::Reply,
        (b'l', 3) => Kind::Error,
        (b'l', 4) => Kind::Signal,
        _ => return Err(Malformed),
    };
    let (body_length, serial) = (reader.number()? as usize, reader.number()?);
    let fields_length = reader.number()? as usize;
    if body_length > LONGEST || fields_length > LONGEST {
        return Err(Malformed);
    }
    let body_at = (16 + fields_length).next_multiple_of(8);
    let end = body_at + body_length;
    if bytes.len() < end {
        return Ok(None);
    }
    let mut message = Message { kind, serial, reply_to: None, member: None, error: None, body: Vec::new() };
    let mut body_signature = String::new();
    let mut fields = Reader { bytes: &bytes[..16 + fields_length], at: 16 };
    while fields.at < fields.bytes.len() {
        fields.align(8);
        let code = fields.byte()?;
        let kind = fields.signature()?;
        match (code, kind.as_str(), fields.value(&kind)?) {
            (MEMBER, "s", Value::Text(text)) => message.member = Some(text),
            (ERROR_NAME, "s", Value::Text(text)) => message.error = Some(text),
            (REPLY_SERIAL, "u", Value::Number(number)) => message.reply_to = Some(number),
            (SIGNATURE, "g", Value::Text(text)) => body_signature = text,
            _ => {}
        }
    }
    // Alignment counts from the message's start, and the body begins at a multiple of 8.
    let mut body = Reader { bytes: &bytes[body_at..end], at: 0 };
    for kind in body_signature.chars() {
        match body.value(kind.encode_utf8(&mut [0; 4]))? {
            Value::Unread => break,
            value => message.body.push(value),
        }
    }
    Ok(Some((message, end)))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> Result<&[u8], Malformed> {
        let end = self.at.checked_add(length).ok_or(Malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> Result<u32, Malformed> {
        self.align(4);
        self.take(4)?.try_into().map(u32::from_le_bytes).map_err(|_| Malformed)
    }

    fn text(&mut self, length: usize) -> Result<String, Malformed> {
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.byte()?; // the end's 0
        Ok(text)
    }

    fn signature(&mut self) -> Result<String, Malformed> {
        let length = usize::from(self.byte()?);
        self.text(length)
    }

    fn value(&mut self, kind: &str) -> Result<Value, Malformed> {
        Ok(match kind {
            "s" | "o" => {
                let length = self.number()? as usize;
                Value::Text(self.text(length)?)
            }
            "g" => Value::Text(self.signature()?),
            "u" => Value::Number(self.number()?),
            "b" => Value::Flag(self.number()? != 0),
            "t" => {
                self.align(8);
                Value::Long(self.take(8)?.try_into().map(u64::from_le_bytes).map_err(|_| Malformed)?)
            }
            _ => Value::Unread,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Writes an answer, as a bus would.
    pub(in super::super) fn reply(to: u32, body: &[Value]) -> Vec<u8> {
        message(Kind::Reply, 9, &[(REPLY_SERIAL, "u", Value::Number(to))], body)
    }

    pub(in super::super) fn error(to: u32, name: &str, body: &[Value]) -> Vec<u8> {
        let fields = [(ERROR_NAME, "s", Value::Text(name.into())), (REPLY_SERIAL, "u", Value::Number(to))];
        message(Kind::Error, 9, &fields, body)
    }

    pub(in super::super) fn signal(member: &str, body: &[Value]) -> Vec<u8> {
        message(Kind::Signal, 9, &[(MEMBER, "s", Value::Text(member.into()))], body)
    }

    /// The bytes of a call as the specification lays them out, by hand.
    #[test]
    fn a_call_has_the_specified_bytes() {
        let bytes = call(1, ["d.d", "/p", "i.i"], "M", &[Value::Text("hi".into()), Value::Number(7)]);
        let mut expected = vec![b'l', 1, 0, 1];
        expected.extend([12, 0, 0, 0, 1, 0, 0, 0]); // body length, serial
        expected.extend([72, 0, 0, 0]); // length of the fields
        expected.extend(b"\x01\x01o\0\x02\0\0\0/p\0\0\0\0\0\0");
        expected.extend(b"\x02\x01s\0\x03\0\0\0i.i\0\0\0\0\0");
        expected.extend(b"\x03\x01s\0\x01\0\0\0M\0\0\0\0\0\0\0");
        expected.extend(b"\x06\x01s\0\x03\0\0\0d.d\0\0\0\0\0");
        expected.extend(b"\x08\x01g\0\x02su\0");
        expected.extend(b"\x02\0\0\0hi\0\0\x07\0\0\0");
        assert_eq!(bytes, expected);
    }

    #[test]
    fn what_is_written_is_read() {
        let body = [Value::Text("a".into()), Value::Long(5), Value::Flag(true), Value::Number(3)];
        let bytes = reply(42, &body);
        for length in 0..bytes.len() {
            assert_eq!(parse(&bytes[..length]), Ok(None), "{length}");
        }
        let (message, length) = parse(&bytes).expect("good").expect("whole");
        assert_eq!((message.kind, message.reply_to, length), (Kind::Reply, Some(42), bytes.len()));
        assert_eq!(message.body, body);
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n"), Err(Malformed));
        let mut torn = bytes;
        torn[12] = 0xff;
        assert!(parse(&torn).is_err() || parse(&torn) == Ok(None));
    }
}
