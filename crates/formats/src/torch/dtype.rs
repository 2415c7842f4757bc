//! Sizes of torch's dtypes and storages (`torch/storage.py`'s `_dtype_to_storage_type_map`).

/// A dtype's name and the bytes of one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TorchDtype {
    /// The name as torch spells it, without the module: `bfloat16`.
    pub name: &'static str,
    /// Bytes of one element.
    pub bytes: u64,
}

const DTYPES: &[(&str, u64)] = &[
    ("float64", 8),
    ("float32", 4),
    ("float16", 2),
    ("bfloat16", 2),
    ("int64", 8),
    ("int32", 4),
    ("int16", 2),
    ("int8", 1),
    ("uint8", 1),
    ("uint16", 2),
    ("uint32", 4),
    ("uint64", 8),
    ("bool", 1),
    ("complex32", 4),
    ("complex64", 8),
    ("complex128", 16),
    ("bcomplex32", 4),
    ("qint8", 1),
    ("quint8", 1),
    ("qint32", 4),
    ("quint4x2", 1),
    ("quint2x4", 1),
    ("float8_e4m3fn", 1),
    ("float8_e5m2", 1),
    ("float8_e4m3fnuz", 1),
    ("float8_e5m2fnuz", 1),
    ("float8_e8m0fnu", 1),
    ("float4_e2m1fn_x2", 1),
    ("bits8", 1),
    ("bits16", 2),
    ("bits1x8", 1),
    ("bits2x4", 1),
    ("bits4x2", 1),
    // Each element has a byte.
    ("int1", 1),
    ("int2", 1),
    ("int3", 1),
    ("int4", 1),
    ("int5", 1),
    ("int6", 1),
    ("int7", 1),
    ("uint1", 1),
    ("uint2", 1),
    ("uint3", 1),
    ("uint4", 1),
    ("uint5", 1),
    ("uint6", 1),
    ("uint7", 1),
];

/// The dtype by its own name in the `torch` module. Pickles contain this name and not its aliases, such as
/// `torch.half`.
pub fn of_torch(name: &str) -> Option<TorchDtype> {
    DTYPES.iter().find(|(n, _)| *n == name).map(|(name, bytes)| TorchDtype { name, bytes: *bytes })
}

/// The dtype of the elements that a storage class counts.
pub fn of_storage(class: &str) -> Option<TorchDtype> {
    let name = match class {
        "DoubleStorage" => "float64",
        "FloatStorage" => "float32",
        "HalfStorage" => "float16",
        "BFloat16Storage" => "bfloat16",
        "LongStorage" => "int64",
        "IntStorage" => "int32",
        "ShortStorage" => "int16",
        "CharStorage" => "int8",
        "ByteStorage" | "UntypedStorage" => "uint8",
        "BoolStorage" => "bool",
        "ComplexDoubleStorage" => "complex128",
        "ComplexFloatStorage" => "complex64",
        "QInt8Storage" => "qint8",
        "QUInt8Storage" => "quint8",
        "QInt32Storage" => "qint32",
        "QUInt4x2Storage" => "quint4x2",
        "QUInt2x4Storage" => "quint2x4",
        _ => return None,
    };
    of_torch(name)
}
