//! Numbers from a piece of an HDF5 file that is in memory, and the checksum of its metadata
//! (Jenkins' lookup3, as in `H5checksum.c`).

/// The rest of a piece; reads never pass its end.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'b>(pub &'b [u8]);

impl<'b> Bytes<'b> {
    pub fn take(&mut self, count: usize) -> Result<&'b [u8], String> {
        let (head, rest) = self.0.split_at_checked(count).ok_or("a structure of its metadata is cut short")?;
        self.0 = rest;
        Ok(head)
    }

    /// A little-endian number of up to eight bytes.
    pub fn number(&mut self, width: usize) -> Result<u64, String> {
        let mut bytes = [0; 8];
        let from = self.take(width)?;
        bytes.get_mut(..width).ok_or("a number of its metadata is too wide")?.copy_from_slice(from);
        Ok(u64::from_le_bytes(bytes))
    }

    pub fn u8(&mut self) -> Result<u8, String> {
        self.take(1).map(|b| b[0])
    }

    pub fn size(&mut self, width: usize) -> Result<usize, String> {
        usize::try_from(self.number(width)?).map_err(|e| e.to_string())
    }

    /// Reads the signature at the start of a structure.
    pub fn expect(&mut self, signature: &[u8], what: &str) -> Result<(), String> {
        if self.take(signature.len())? == signature { Ok(()) } else { Err(format!("the {what} is missing")) }
    }
}

/// Whether a piece of metadata has this checksum. A fuzzer would never find a right checksum, so under `cfg(fuzzing)`
/// every checksum counts as right.
pub(super) fn sums_to(bytes: &[u8], sum: u32) -> bool {
    cfg!(fuzzing) || lookup3(bytes) == sum
}

/// `H5_checksum_metadata`.
fn lookup3(bytes: &[u8]) -> u32 {
    let word = |b: &[u8]| b.iter().rev().fold(0u32, |n, b| n << 8 | u32::from(*b));
    // The length is hashed modulo 2^32.
    let start = 0xdead_beef_u32.wrapping_add(u32::try_from(bytes.len() & 0xffff_ffff).unwrap_or(0));
    let (mut a, mut b, mut c) = (start, start, start);
    let mut rest = bytes;
    while rest.len() > 12 {
        a = a.wrapping_add(word(&rest[..4]));
        b = b.wrapping_add(word(&rest[4..8]));
        c = c.wrapping_add(word(&rest[8..12]));
        rest = &rest[12..];
        a = a.wrapping_sub(c) ^ c.rotate_left(4);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(6);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(8);
        b = b.wrapping_add(a);
        a = a.wrapping_sub(c) ^ c.rotate_left(16);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(19);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(4);
        b = b.wrapping_add(a);
    }
    if rest.is_empty() {
        return c;
    }
    let part = |from: usize| word(rest.get(from..rest.len().min(from + 4)).unwrap_or(&[]));
    a = a.wrapping_add(part(0));
    b = b.wrapping_add(part(4));
    c = c.wrapping_add(part(8));
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

#[cfg(test)]
mod tests {
    use super::lookup3;

    #[test]
    fn the_checksum_is_jenkins_own() {
        // From the driver in lookup3.c.
        assert_eq!(lookup3(b""), 0xdead_beef);
        assert_eq!(lookup3(b"Four score and seven years ago"), 0x1777_0551);
    }
}
