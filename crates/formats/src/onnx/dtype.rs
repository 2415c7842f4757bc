//! The element types of ONNX: names, sizes, and the field of a tensor for their elements.

/// A field of `TensorProto` with elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Float,
    Int32,
    String,
    Int64,
    Double,
    Uint64,
}

/// An element type.
#[derive(Debug, Clone, Copy)]
pub(super) struct OnnxDtype {
    pub name: &'static str,
    /// Bits of an element in `raw_data` and external files; 0 for strings, which these cannot contain.
    pub bits: u64,
    /// The field for elements that are not raw.
    pub field: Field,
}

impl OnnxDtype {
    /// How many entries of the typed field `elements` elements take.
    pub fn entries(self, elements: u64) -> u64 {
        match self.name {
            "COMPLEX64" | "COMPLEX128" => elements.saturating_mul(2),
            _ if self.bits == 4 => elements.div_ceil(2),
            _ if self.bits == 2 => elements.div_ceil(4),
            _ => elements,
        }
    }
}

/// An element type by the name that a table gives it.
pub(super) fn by_name(name: &str) -> Option<OnnxDtype> {
    (1..64).filter_map(dtype).find(|dtype| dtype.name == name)
}

/// `TensorProto.DataType` by number (onnx/onnx.proto), or `None` if this version does not know the type.
pub(super) fn dtype(number: u64) -> Option<OnnxDtype> {
    let (name, bits, field) = match number {
        1 => ("FLOAT", 32, Field::Float),
        2 => ("UINT8", 8, Field::Int32),
        3 => ("INT8", 8, Field::Int32),
        4 => ("UINT16", 16, Field::Int32),
        5 => ("INT16", 16, Field::Int32),
        6 => ("INT32", 32, Field::Int32),
        7 => ("INT64", 64, Field::Int64),
        8 => ("STRING", 0, Field::String),
        9 => ("BOOL", 8, Field::Int32),
        10 => ("FLOAT16", 16, Field::Int32),
        11 => ("DOUBLE", 64, Field::Double),
        12 => ("UINT32", 32, Field::Uint64),
        13 => ("UINT64", 64, Field::Uint64),
        14 => ("COMPLEX64", 64, Field::Float),
        15 => ("COMPLEX128", 128, Field::Double),
        16 => ("BFLOAT16", 16, Field::Int32),
        17 => ("FLOAT8E4M3FN", 8, Field::Int32),
        18 => ("FLOAT8E4M3FNUZ", 8, Field::Int32),
        19 => ("FLOAT8E5M2", 8, Field::Int32),
        20 => ("FLOAT8E5M2FNUZ", 8, Field::Int32),
        21 => ("UINT4", 4, Field::Int32),
        22 => ("INT4", 4, Field::Int32),
        23 => ("FLOAT4E2M1", 4, Field::Int32),
        24 => ("FLOAT8E8M0", 8, Field::Int32),
        25 => ("UINT2", 2, Field::Int32),
        26 => ("INT2", 2, Field::Int32),
        27 => ("FLOAT6E2M3", 6, Field::Int32),
        28 => ("FLOAT6E3M2", 6, Field::Int32),
        _ => return None,
    };
    Some(OnnxDtype { name, bits, field })
}
