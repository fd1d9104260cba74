//! The finished tree → the typed model, through serde. Texts become numbers and booleans where the model wants them;
//! an error keeps the place of the value.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{DeserializeOwned, Error as _, IntoDeserializer, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};

use super::diagnostic::{Fault, Problem};
use super::node::{Node, Span, Value};
use super::validate::boolean;

/// Makes a typed value of a tree.
pub fn decode<T: DeserializeOwned>(node: &Node) -> Result<T, Fault> {
    T::deserialize(Source(node)).map_err(|Mismatch { message, at }| Box::new(Problem::at(at, message)))
}

/// Why a value does not fit.
#[derive(Debug)]
struct Mismatch {
    message: String,
    at: Span,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Mismatch {}

impl serde::de::Error for Mismatch {
    fn custom<T: fmt::Display>(message: T) -> Mismatch {
        Mismatch { message: message.to_string(), at: Span::NOWHERE }
    }
}

struct Source<'a>(&'a Node);

impl<'a> Source<'a> {
    /// Gives an error without a place this one.
    fn placed<T>(&self, result: Result<T, Mismatch>) -> Result<T, Mismatch> {
        result.map_err(|error| if error.at.line == 0 { Mismatch { at: self.0.at, ..error } } else { error })
    }

    fn integer(&self) -> Result<Option<i128>, Mismatch> {
        match &self.0.value {
            Value::Int(value) => Ok(Some(*value)),
            Value::Float(value) => Ok(Some(*value as i128)),
            Value::Text(text) => match text.parse::<i64>() {
                Ok(value) => Ok(Some(value.into())),
                Err(_) => self.placed(Err(Mismatch::custom(format!("`{text}` is no integer")))),
            },
            _ => Ok(None),
        }
    }
}

impl<'de> IntoDeserializer<'de, Mismatch> for Source<'de> {
    type Deserializer = Source<'de>;
    fn into_deserializer(self) -> Source<'de> {
        self
    }
}

fn out_of_range(value: i128, least: impl fmt::Display, most: impl fmt::Display) -> String {
    match value < 0 {
        true => format!("{value} is out of range: it must be {least} or more"),
        false => format!("{value} is out of range: it must be {most} or less"),
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            let Some(value) = self.integer()? else { return self.deserialize_any(visitor) };
            let fits = <$type>::try_from(value)
                .map_err(|_| Mismatch::custom(out_of_range(value, <$type>::MIN, <$type>::MAX)));
            self.placed(fits.and_then(|value| visitor.$visit(value)))
        }
    )*};
}

impl<'de> Deserializer<'de> for Source<'de> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let result = match &self.0.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (Ok(value), _) => visitor.visit_i64(value),
                (_, Ok(value)) => visitor.visit_u64(value),
                _ => visitor.visit_f64(*value as f64),
            },
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(text) => visitor.visit_str(text),
            Value::List(list) => visitor.visit_seq(SeqDeserializer::new(list.iter().map(Source))),
            Value::Map(map) => visitor
                .visit_map(MapDeserializer::new(map.iter().map(|(key, node)| (key.as_str(), Source(node))))),
        };
        self.placed(result)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.0.as_text().map(|text| (text, boolean(text))) {
            Some((_, Some(value))) => visitor.visit_bool(value),
            Some((text, None)) => self.placed(Err(Mismatch::custom(format!("invalid boolean: `{text}`")))),
            None => self.deserialize_any(visitor),
        }
    }

    integers! {
        deserialize_i64 visit_i64 i64,
        deserialize_u64 visit_u64 u64,
        deserialize_u32 visit_u32 u32,
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.0.as_text().map(str::parse::<f64>) {
            Some(Ok(value)) => visitor.visit_f64(value),
            Some(Err(_)) => self.placed(Err(Mismatch::custom("this is no number"))),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.0.scalar_text() {
            Some(text) => self.placed(visitor.visit_string(text)),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        if self.0.is_null() {
            visitor.visit_seq(SeqDeserializer::new(std::iter::empty::<Source<'de>>()))
        } else {
            self.deserialize_any(visitor)
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        if self.0.is_null() {
            visitor.visit_map(MapDeserializer::new(std::iter::empty::<(&str, Source<'de>)>()))
        } else {
            self.deserialize_any(visitor)
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        let text = self.0.as_text().unwrap_or("");
        let variant: StrDeserializer<'_, Mismatch> = text.into_deserializer();
        self.placed(visitor.visit_enum(variant))
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}
