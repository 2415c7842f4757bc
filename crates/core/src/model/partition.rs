//! One part of a job that several workers share: its number, and the number of parts. `plan` decides which files
//! belong to it.

use std::fmt;

/// One part of `of`, counted from 1.
///
/// ```
/// use hfget_core::unstable::model::Partition;
///
/// let partition: Partition = "3/8".parse().unwrap();
/// assert_eq!((partition.part(), partition.of()), (3, 8));
/// assert!("0/8".parse::<Partition>().is_err() && "9/8".parse::<Partition>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Partition {
    part: u32,
    of: u32,
}

/// Why a text or number is not a valid part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartitionError {
    /// The text does not have the form of a part.
    #[error("it is not of the form K/N, such as 3/8")]
    Malformed,
    /// There are more parts than a fleet can have workers.
    #[error("there can be 1 to {} parts", Partition::MOST)]
    Parts,
    /// The part's number is not one of them.
    #[error("parts are counted from 1 to {of}, so there is no part {part}")]
    Part {
        /// The part that was asked for.
        part: u32,
        /// How many parts there are.
        of: u32,
    },
}

impl Partition {
    /// The most parts: Kubernetes' limit of workers in an indexed job.
    pub const MOST: u32 = 100_000;

    /// Part `part` of `of`, counted from 1.
    ///
    /// # Errors
    /// If there is no such part.
    pub fn new(part: u32, of: u32) -> Result<Self, PartitionError> {
        if of == 0 || of > Self::MOST {
            return Err(PartitionError::Parts);
        }
        if part == 0 || part > of {
            return Err(PartitionError::Part { part, of });
        }
        Ok(Partition { part, of })
    }

    /// The part's number, counted from 1.
    #[must_use]
    pub fn part(self) -> u32 {
        self.part
    }

    /// How many parts there are.
    #[must_use]
    pub fn of(self) -> u32 {
        self.of
    }
}

impl std::str::FromStr for Partition {
    type Err = PartitionError;
    fn from_str(text: &str) -> Result<Self, PartitionError> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse::<u32>().ok()).flatten().ok_or(PartitionError::Malformed)
        };
        let (part, of) = text.split_once('/').ok_or(PartitionError::Malformed)?;
        Partition::new(number(part)?, number(of)?)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.part, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::{Partition, PartitionError as E};

    #[test]
    fn a_part_is_one_of_the_existing_parts() {
        for text in ["1/1", "3/8", "8/8", "100000/100000"] {
            assert_eq!(text.parse::<Partition>().map(|p| p.to_string()), Ok(text.to_owned()));
        }
        for (text, error) in [
            ("", E::Malformed),
            ("3", E::Malformed),
            ("/8", E::Malformed),
            ("3/", E::Malformed),
            ("-1/8", E::Malformed),
            ("+1/8", E::Malformed),
            ("1/8/2", E::Malformed),
            ("99999999999/99999999999", E::Malformed),
            ("0/8", E::Part { part: 0, of: 8 }),
            ("9/8", E::Part { part: 9, of: 8 }),
            ("1/0", E::Parts),
            ("1/100001", E::Parts),
        ] {
            assert_eq!(text.parse::<Partition>(), Err(error), "{text}");
        }
    }
}
