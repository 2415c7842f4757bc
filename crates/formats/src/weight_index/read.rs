//! Reads the JSON of an index: keeps each tensor's name once, each file's name once, and nothing else.

use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{NAMES_LIMIT, Row, WeightMap};

/// The parts of the file that are read; also the visitor of its outermost map.
#[derive(Default)]
pub(super) struct Parts {
    pub total_size: Option<u64>,
    pub has_metadata: bool,
    pub weight_map: Option<WeightMap>,
}

pub(super) struct Head;

impl<'de> Visitor<'de> for Head {
    type Value = Parts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map with \"weight_map\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parts, A::Error> {
        let mut parts = Parts::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "weight_map" => {
                    if parts.weight_map.is_some() {
                        return Err(A::Error::custom("\"weight_map\" occurs twice"));
                    }
                    parts.weight_map = Some(map.next_value_seed(Pairs)?);
                }
                "metadata" => {
                    let (is_map, total) = map.next_value_seed(Lenient { inside: false })?;
                    parts.has_metadata = is_map;
                    parts.total_size = total.filter(|_| is_map);
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(parts)
    }
}

/// `{tensor: file}`, keeping repeats.
struct Pairs;

impl<'de> DeserializeSeed<'de> for Pairs {
    type Value = WeightMap;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Pairs {
    type Value = WeightMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of tensor names to file names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = WeightMap::default();
        let mut known = HashMap::new();
        while map.next_key_seed(Append(&mut pairs.names))?.is_some() {
            // Short names would take far more memory than the file does.
            if pairs.rows.len() >= NAMES_LIMIT {
                return Err(A::Error::custom(format!("it names more than {NAMES_LIMIT} tensors")));
            }
            let file = map.next_value_seed(Intern(&mut known))?;
            pairs.rows.push(Row { end: pairs.names.len(), file });
        }
        pairs.files = vec![Box::default(); known.len()];
        for (name, file) in known {
            pairs.files[file] = name;
        }
        pairs.names.shrink_to_fit();
        pairs.rows.shrink_to_fit();
        Ok(pairs)
    }
}

/// Appends a string to others.
struct Append<'a>(&'a mut String);

impl<'de> DeserializeSeed<'de> for Append<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_str(self)
    }
}

impl Visitor<'_> for Append<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.push_str(text);
        Ok(())
    }
}

/// Keeps each string once, and returns its number.
struct Intern<'a>(&'a mut HashMap<Box<str>, usize>);

impl<'de> DeserializeSeed<'de> for Intern<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<usize, D::Error> {
        d.deserialize_str(self)
    }
}

impl Visitor<'_> for Intern<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E>(self, text: &str) -> Result<usize, E> {
        if let Some(known) = self.0.get(text) {
            return Ok(*known);
        }
        let next = self.0.len();
        self.0.insert(text.into(), next);
        Ok(next)
    }
}

/// Reads `metadata` (outside) and the value of its `total_size` (inside) whatever their types, and
/// keeps nothing else: `(is a map, the number)`.
#[derive(Clone, Copy)]
struct Lenient {
    inside: bool,
}

impl<'de> DeserializeSeed<'de> for Lenient {
    type Value = (bool, Option<u64>);

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Lenient {
    type Value = (bool, Option<u64>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut total = None;
        while let Some(key) = map.next_key::<String>()? {
            if !self.inside && key == "total_size" {
                total = map.next_value_seed(Lenient { inside: true })?.1;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok((true, total))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok((false, None))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Self::Value, E> {
        Ok((false, Some(n)))
    }

    fn visit_f64<E>(self, n: f64) -> Result<Self::Value, E> {
        // Some writers divide, and write `1.6e10`; a whole number below 2^53 is exact.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let whole = ((0.0..=9_007_199_254_740_992.0).contains(&n) && n.fract() == 0.0).then_some(n as u64);
        Ok((false, whole))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok((false, None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok((false, None))
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok((false, None))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok((false, None))
    }
}
