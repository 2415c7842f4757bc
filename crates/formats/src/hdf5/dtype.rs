//! HDF5 datatypes (message 0x0003 of the format specification): their numpy names and sizes.

use super::bytes::Bytes;

/// A datatype as far as a tensor table needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hdf5Dtype {
    /// As numpy spells it: `<f4`, `|S5`, `object` for a type without a fixed size.
    pub name: String,
    /// Bytes of an element in the file.
    pub size: u64,
}

/// Levels of datatypes in datatypes that are read.
const MAX_DEPTH: u32 = 4;

/// Reads a datatype message.
pub(super) fn dtype(bytes: Bytes<'_>) -> Result<Hdf5Dtype, String> {
    nested(bytes, 0)
}

fn nested(mut bytes: Bytes<'_>, depth: u32) -> Result<Hdf5Dtype, String> {
    let kind = bytes.u8()?;
    let (version, class) = (kind >> 4, kind & 0x0f);
    if !(1..=5).contains(&version) || depth > MAX_DEPTH {
        return Err(format!("a datatype is of version {version}"));
    }
    let bits = bytes.number(3)?;
    let size = bytes.number(4)?;
    if size == 0 {
        return Err("a datatype has no bytes".to_owned());
    }
    let order = match (size, bits & 1) {
        (1, _) => '|',
        (_, 0) => '<',
        _ => '>',
    };
    let name = match class {
        0 => format!("{order}{}{size}", if bits & 8 == 0 { 'u' } else { 'i' }),
        1 => {
            let properties = bytes.take(12)?;
            // Eight bits of exponent in two bytes.
            if size == 2 && properties[5] == 8 { "bfloat16".to_owned() } else { format!("{order}f{size}") }
        }
        3 => format!("|S{size}"),
        4 => format!("{order}u{size}"),
        6 => complex(bytes, version, bits, size).unwrap_or_else(|| format!("|V{size}")),
        // References and sequences: their content is in heaps.
        7 | 9 => "object".to_owned(),
        8 => {
            let two = bits & 0xffff == 2;
            let has = |name: &[u8]| bytes.0.windows(name.len()).any(|w| w == name);
            // h5py keeps booleans like this.
            if two && size == 1 && has(b"FALSE\0") && has(b"TRUE\0") {
                "|b1".to_owned()
            } else {
                nested(bytes, depth + 1)?.name
            }
        }
        2 | 5 | 10 => format!("|V{size}"),
        _ => return Err(format!("a datatype is of class {class}")),
    };
    Ok(Hdf5Dtype { name, size })
}

/// A pair `r`, `i` of floats, as h5py keeps complex numbers.
fn complex(bytes: Bytes<'_>, version: u8, bits: u64, size: u64) -> Option<String> {
    if bits & 0xffff != 2 || bytes.0.get(..2)? != b"r\0" || !matches!(size, 8 | 16) {
        return None;
    }
    // The name (padded in old versions), the offset, and in old versions the dimensions.
    let member = bytes.0.get(
        match version {
            1 => 40,
            2 => 12,
            _ => 3,
        }..,
    )?;
    let float = member.first()? & 0x0f == 1;
    float.then(|| format!("{}c{size}", if member.get(1).is_some_and(|b| b & 1 == 1) { '>' } else { '<' }))
}
