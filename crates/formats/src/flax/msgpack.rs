//! The markers of `MessagePack` (msgpack/spec.md): which value is at a place, and the length that it
//! states. Nothing is allocated by a length here; the caller decides what values mean.

use std::io::{Read, Seek};

use crate::positioned::Positioned;

/// The value at a place. After a text, binary or extension its bytes follow; after an array or map its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// A number that is whole and not negative.
    Count(u64),
    True,
    /// Any other value without parts. The reader has skipped it.
    Scalar,
    Text(u64),
    Binary(u64),
    Array(u64),
    /// Pairs.
    Map(u64),
    /// Its type, and its bytes.
    Extension(i8, u64),
}

/// Reads one marker with its length or number.
pub(super) fn token<R: Read + Seek>(place: &mut Positioned<R>) -> Result<Token, String> {
    let at = place.at();
    let marker = place.u8()?;
    let low = |mask: u8| u64::from(marker & mask);
    Ok(match marker {
        0x00..=0x7f => Token::Count(u64::from(marker)),
        0x80..=0x8f => Token::Map(low(0x0f)),
        0x90..=0x9f => Token::Array(low(0x0f)),
        0xa0..=0xbf => Token::Text(low(0x1f)),
        0xc0 | 0xc2 | 0xe0..=0xff => Token::Scalar,
        0xc1 => return Err(format!("byte 0xc1 at {at}: MessagePack never uses it")),
        0xc3 => Token::True,
        0xc4 => Token::Binary(number(place, 1)?),
        0xc5 => Token::Binary(number(place, 2)?),
        0xc6 => Token::Binary(number(place, 4)?),
        0xc7 => extension(place, 1)?,
        0xc8 => extension(place, 2)?,
        0xc9 => extension(place, 4)?,
        0xca => place.skip(4).map(|()| Token::Scalar)?,
        0xcb => place.skip(8).map(|()| Token::Scalar)?,
        0xcc..=0xcf => Token::Count(number(place, 1 << (marker - 0xcc))?),
        0xd0..=0xd3 => signed(place, 1 << (marker - 0xd0))?,
        0xd4..=0xd8 => {
            let [kind] = place.bytes()?;
            Token::Extension(kind.cast_signed(), 1 << (marker - 0xd4))
        }
        0xd9 => Token::Text(number(place, 1)?),
        0xda => Token::Text(number(place, 2)?),
        0xdb => Token::Text(number(place, 4)?),
        0xdc => Token::Array(number(place, 2)?),
        0xdd => Token::Array(number(place, 4)?),
        0xde => Token::Map(number(place, 2)?),
        0xdf => Token::Map(number(place, 4)?),
    })
}

fn number<R: Read + Seek>(place: &mut Positioned<R>, width: u32) -> Result<u64, String> {
    let mut bytes = [0; 8];
    place.fill(&mut bytes[8 - width as usize..])?;
    Ok(u64::from_be_bytes(bytes))
}

fn signed<R: Read + Seek>(place: &mut Positioned<R>, width: u32) -> Result<Token, String> {
    let value = number(place, width)?;
    let negative = value >> (8 * width - 1) == 1;
    Ok(if negative { Token::Scalar } else { Token::Count(value) })
}

fn extension<R: Read + Seek>(place: &mut Positioned<R>, width: u32) -> Result<Token, String> {
    let length = number(place, width)?;
    let [kind] = place.bytes()?;
    Ok(Token::Extension(kind.cast_signed(), length))
}
