//! Small writers of safetensors files, pickles and zip archives, right ones and wrong ones.

use std::fmt::Write as _;

/// A safetensors file with this header and `data` zero bytes.
pub fn safetensors_text(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

/// A safetensors file of `(name, dtype, bytes of an element, shape)`, as the reference writer lays it out.
pub fn safetensors(tensors: &[(&str, &str, usize, &[u64])]) -> Vec<u8> {
    let mut header = String::from("{");
    let mut at = 0;
    for (name, dtype, item, shape) in tensors {
        let end = at + item * usize::try_from(shape.iter().product::<u64>()).unwrap();
        let comma = if header.len() > 1 { "," } else { "" };
        let name = serde_json::to_string(name).unwrap();
        write!(header, r#"{comma}{name}:{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{at},{end}]}}"#).unwrap();
        at = end;
    }
    header.push('}');
    while header.len() % 8 != 0 {
        header.push(' ');
    }
    safetensors_text(&header, at)
}

/// Writes pickles of protocol 2, opcode by opcode.
#[derive(Default, Clone)]
pub struct Pickled(pub Vec<u8>);

impl Pickled {
    pub fn new() -> Self {
        Pickled(b"\x80\x02".to_vec())
    }

    pub fn op(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.extend(bytes.as_ref());
        self
    }

    pub fn text(self, text: &str) -> Self {
        self.op(b"X").op(u32::try_from(text.len()).unwrap().to_le_bytes()).op(text)
    }

    pub fn int(self, n: i64) -> Self {
        self.op(b"\x8a\x08").op(n.to_le_bytes())
    }

    pub fn global(self, module: &str, name: &str) -> Self {
        self.op(format!("c{module}\n{name}\n"))
    }

    pub fn counts(self, counts: &[i64]) -> Self {
        counts.iter().fold(self.op("("), |p, n| p.int(*n)).op("t")
    }

    /// A reference to a storage.
    pub fn storage(self, class: &str, key: &str, numel: i64) -> Self {
        self.op("(").text("storage").global("torch", class).text(key).text("cpu").int(numel).op("tQ")
    }

    /// A tensor of a storage.
    pub fn tensor(self, t: &Strided<'_>) -> Self {
        self.global("torch._utils", "_rebuild_tensor_v2")
            .op("(")
            .storage(t.class, t.key, t.numel)
            .int(t.offset)
            .counts(t.shape)
            .counts(t.stride)
            .op(b"\x89")
            .global("collections", "OrderedDict")
            .op(")RtR")
    }

    pub fn stop(self) -> Vec<u8> {
        self.op(".").0
    }
}

/// The arguments of `_rebuild_tensor_v2`.
#[derive(Clone, Copy)]
pub struct Strided<'a> {
    pub class: &'a str,
    pub key: &'a str,
    pub numel: i64,
    pub offset: i64,
    pub shape: &'a [i64],
    pub stride: &'a [i64],
}

/// Six floats of storage `0`, as 2 x 3.
pub const SIX: Strided<'_> =
    Strided { class: "FloatStorage", key: "0", numel: 6, offset: 0, shape: &[2, 3], stride: &[3, 1] };

/// The pickle of `{name: tensor}`.
pub fn state_dict(tensors: &[(&str, Strided<'_>)]) -> Vec<u8> {
    tensors.iter().fold(Pickled::new().op("}("), |p, (name, t)| p.text(name).tensor(t)).op("u").stop()
}

/// A record of a zip archive, and wrong facts about it.
#[derive(Clone, Default)]
pub struct Record {
    pub name: String,
    pub data: Vec<u8>,
    pub method: u16,
    pub flags: u16,
    pub crc: Option<u32>,
    pub size: Option<u64>,
    pub offset: Option<u64>,
    pub zip64: bool,
    /// Extra fields of the directory's entry.
    pub extra: Vec<u8>,
}

pub fn record(name: &str, data: impl AsRef<[u8]>) -> Record {
    Record { name: name.into(), data: data.as_ref().to_vec(), ..Record::default() }
}

/// The directory's end, and wrong facts in it.
#[derive(Clone, Copy, Default)]
pub struct End {
    pub entries: Option<u64>,
    pub zip64: bool,
}

pub fn zip(records: &[Record]) -> Vec<u8> {
    zip_with(records, End::default())
}

pub fn zip_with(records: &[Record], end: End) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for r in records {
        let offset = r.offset.unwrap_or(out.len() as u64);
        let (packed, size) = (r.data.len() as u64, r.size.unwrap_or(r.data.len() as u64));
        let short = |n: u64| if r.zip64 { u32::MAX } else { u32::try_from(n).unwrap() }.to_le_bytes();
        let extra = if r.zip64 {
            [&[1, 0, 16, 0][..], &size.to_le_bytes(), &packed.to_le_bytes()].concat()
        } else {
            Vec::new()
        };
        let central = [&extra[..], &r.extra].concat();
        let common = |extra: &[u8]| {
            [
                &[45, 0][..],
                &r.flags.to_le_bytes(),
                &r.method.to_le_bytes(),
                &[0; 4],
                &r.crc.unwrap_or_else(|| crc32(&r.data)).to_le_bytes(),
                &short(packed),
                &short(size),
                &u16::try_from(r.name.len()).unwrap().to_le_bytes(),
                &u16::try_from(extra.len()).unwrap().to_le_bytes(),
            ]
            .concat()
        };
        out.extend([b"PK\x03\x04", &*common(&extra), r.name.as_bytes(), &extra, &r.data].concat());
        let offset = u32::try_from(offset).unwrap().to_le_bytes();
        directory.extend(
            [b"PK\x01\x02\x2d\x00", &*common(&central), &[0; 10], &offset, r.name.as_bytes(), &central].concat(),
        );
    }
    let start = out.len() as u64;
    out.extend(&directory);
    let entries = end.entries.unwrap_or(records.len() as u64);
    let (count, size, offset) = if end.zip64 {
        let at = out.len() as u64;
        out.extend(b"PK\x06\x06");
        out.extend(44u64.to_le_bytes());
        out.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for n in [entries, entries, directory.len() as u64, start] {
            out.extend(n.to_le_bytes());
        }
        out.extend(b"PK\x06\x07\0\0\0\0");
        out.extend(at.to_le_bytes());
        out.extend([1, 0, 0, 0]);
        (u16::MAX, u32::MAX, u32::MAX)
    } else {
        let short = |n: u64| u32::try_from(n).unwrap();
        (u16::try_from(entries).unwrap(), short(directory.len() as u64), short(start))
    };
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    out.extend([size.to_le_bytes(), offset.to_le_bytes()].concat());
    out.extend([0, 0]);
    out
}

/// An archive as torch writes it, of a pickle and its storages.
pub fn torch_file(pickle: &[u8], storages: &[(&str, usize)]) -> Vec<u8> {
    zip(&torch_records(pickle, storages))
}

pub fn torch_records(pickle: &[u8], storages: &[(&str, usize)]) -> Vec<Record> {
    let mut records = vec![record("x/data.pkl", pickle)];
    records.extend(storages.iter().map(|(key, size)| record(&format!("x/data/{key}"), vec![0; *size])));
    records.push(record("x/version", "3\n"));
    records
}

pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}
