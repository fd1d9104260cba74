//! Every key of the specification: what it may hold, how two files' values of it meet, when items of a list are the
//! same thing. `validate`, `merge` and `decode` walk a tree along this table; adding a key is a line here.

mod file;
mod json;
mod service;

pub use file::FILE;
pub use json::schema;
pub use service::SERVICE;

use super::node::Value;
use Shape::{Bool, Count, Either, Int, List, Map, Number, Scalar, Size};

/// What a value may be.
#[derive(Debug)]
pub enum Shape {
    /// A scalar of one of these kinds ([`TEXT`] …), taken as it is.
    Scalar(u8),
    /// `true`, `false`, or text that reads as one.
    Bool,
    /// An integer, or text that reads as one; with the smallest and the largest.
    Int(i64, i64),
    /// Like an integer, but a fraction is cut off.
    Count,
    /// A number, or text that reads as one.
    Number,
    /// A size: text with a unit, or a number of bytes of these kinds.
    Size(u8),
    /// A duration as text.
    Duration,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Text of a form.
    Test {
        /// What it must match, as a regular expression.
        pattern: &'static str,
        /// What to say when it does not.
        wanted: &'static str,
    },
    /// What later versions of the specification have; refused, with what to do instead.
    Later(&'static str),
    /// A list; whether an item may stand twice.
    List(&'static Shape, bool),
    /// A mapping with names of the user's choice.
    Map(Names, &'static Shape),
    /// A mapping with known keys.
    Object(&'static Object),
    /// One of several forms.
    Either(&'static [&'static Shape]),
}

/// Kind of scalar: text.
pub const TEXT: u8 = 1;
/// Kind of scalar: an integer.
pub const INT: u8 = 2;
/// Kind of scalar: any number.
pub const NUMBER: u8 = 4;
/// Kind of scalar: true or false.
pub const BOOL: u8 = 8;
/// Kind of scalar: nothing.
pub const NULL: u8 = 16;
/// Not a kind: numbers must not be negative.
pub const NATURAL: u8 = 32;

/// What names a mapping may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Any.
    Free,
    /// Letters, digits, `.`, `_` and `-`: services, networks, volumes and so on.
    Resource,
}

/// A mapping with known keys.
#[derive(Debug)]
pub struct Object {
    /// A word for it, for messages.
    pub name: &'static str,
    /// Its keys.
    pub attributes: &'static [Attribute],
    /// Keys that must be there.
    pub required: &'static [&'static str],
    /// `x-…` keys are allowed.
    pub extensions: bool,
}

impl Object {
    /// Returns the keys that may be written.
    pub fn known(&self) -> impl Iterator<Item = &'static Attribute> {
        self.attributes.iter().filter(|attribute| !matches!(attribute.shape, Shape::Later(_)))
    }

    /// Returns what is known of a key.
    pub fn attribute(&self, key: &str) -> Option<&'static Attribute> {
        self.attributes.iter().find(|attribute| attribute.key == key)
    }
}

/// A key.
#[derive(Debug)]
pub struct Attribute {
    /// The key.
    pub key: &'static str,
    /// What it holds.
    pub shape: &'static Shape,
    /// How an override meets it.
    pub merge: Merge,
    /// When two items of its list are the same thing.
    pub unique: Unique,
}

/// How an override meets a value (compose-spec, "Merge").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Mappings by key, lists appended, scalars replaced.
    Deep,
    /// Replaced whole.
    Replace,
    /// By key, each value replaced whole.
    ByKey,
    /// Mappings become lists of `k=v`; then appended.
    Sequence,
    /// Like a sequence, without lines that are there already.
    Hosts,
    /// Text is the context.
    Build,
    /// A list is a mapping to defaults.
    DependsOn,
    /// A list is a mapping to nothing.
    Keyed,
    /// Options merge when the drivers are the same.
    Logging,
    /// By subnet.
    Ipam,
}

/// When two items of a list are the same thing; the later one takes the place of the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unique {
    /// Never.
    No,
    /// The text up to `=`.
    Name,
    /// The whole scalar.
    Value,
    /// The target of a volume or device.
    Target,
    /// The target of a config or secret, below this directory.
    Mount(&'static str),
    /// Address, published port, target and protocol.
    Port,
    /// The path.
    EnvFile,
}

const fn key(key: &'static str, shape: &'static Shape) -> Attribute {
    Attribute { key, shape, merge: Merge::Deep, unique: Unique::No }
}

impl Attribute {
    const fn merge(self, merge: Merge) -> Attribute {
        Attribute { merge, ..self }
    }
    const fn unique(self, unique: Unique) -> Attribute {
        Attribute { unique, ..self }
    }
}

const fn object(name: &'static str, attributes: &'static [Attribute]) -> Object {
    Object { name, attributes, required: &[], extensions: true }
}

const fn required(required: &'static [&'static str], object: Object) -> Object {
    Object { required, ..object }
}

const fn closed(object: Object) -> Object {
    Object { extensions: false, ..object }
}

impl Shape {
    /// Returns the form that a list, a mapping or a scalar has to have here.
    pub fn form(&self, value: &Value) -> &Shape {
        let Shape::Either(forms) = self else { return self };
        let matches = |form: &&&Shape| match value {
            Value::Map(_) => matches!(form, Shape::Object(_) | Shape::Map(..)),
            Value::List(_) => matches!(form, Shape::List(..)),
            _ => !matches!(form, Shape::Object(_) | Shape::Map(..) | Shape::List(..)),
        };
        forms.iter().find(matches).copied().unwrap_or(self)
    }

    /// Returns what is known of a key below, for a mapping of this shape.
    pub fn below(&self, key: &str) -> Option<(&Shape, Merge, Unique)> {
        match self {
            Shape::Object(object) => {
                object.attribute(key).map(|known| (known.shape, known.merge, known.unique))
            }
            Shape::Map(_, value) => Some((value, Merge::Deep, Unique::No)),
            _ => None,
        }
    }
}

// Shapes that stand in many places.

static STRING: Shape = Scalar(TEXT);
static STRING_OR_NULL: Shape = Scalar(TEXT | NULL);
static STRING_OR_NUMBER: Shape = Scalar(TEXT | NUMBER);
static SCALAR: Shape = Scalar(TEXT | NUMBER | BOOL | NULL);
static TRUE_OR_FALSE: Shape = Bool;
static STRICT_BOOL: Shape = Scalar(BOOL);
static INTEGER: Shape = Int(i64::MIN, i64::MAX);
static COUNTER: Shape = Int(0, i64::MAX);
static STRING_OR_INTEGER: Shape = Scalar(TEXT | INT);
static STRICT_INTEGER: Shape = Scalar(INT);
static STRICT_NUMBER: Shape = Scalar(NUMBER);
static COUNT: Shape = Count;
static NUMERIC: Shape = Number;
static DURATION: Shape = Shape::Duration;
static SIZE: Shape = Size(NUMBER);
static WHOLE_SIZE: Shape = Size(INT);
static TEXT_SIZE: Shape = Size(0);

static STRINGS: Shape = List(&STRING, true);
static UNIQUE_STRINGS: Shape = List(&STRING, false);
static STRING_OR_LIST: Shape = Either(&[&STRING, &UNIQUE_STRINGS]);
static LIST_OR_MAP: Shape = Either(&[&Map(Names::Free, &SCALAR), &UNIQUE_STRINGS]);
static OPTIONS: Shape = Map(Names::Free, &STRING_OR_NUMBER);
static COMMAND: Shape = Either(&[&Scalar(TEXT | NULL), &STRINGS]);
static HOSTS: Shape = Either(&[&Map(Names::Free, &Either(&[&STRING, &STRINGS])), &UNIQUE_STRINGS]);
static BUILD_TEXT: Shape = Scalar(TEXT | BOOL);
