//! TensorFlow's dtypes (`tensorflow/core/framework/types.proto`): their names and the bytes of an element.

/// The name of a dtype's number, and the bytes of an element; 0 if the size is not fixed.
const TYPES: &[(u64, &str, u64)] = &[
    (1, "DT_FLOAT", 4),
    (2, "DT_DOUBLE", 8),
    (3, "DT_INT32", 4),
    (4, "DT_UINT8", 1),
    (5, "DT_INT16", 2),
    (6, "DT_INT8", 1),
    (7, "DT_STRING", 0),
    (8, "DT_COMPLEX64", 8),
    (9, "DT_INT64", 8),
    (10, "DT_BOOL", 1),
    (11, "DT_QINT8", 1),
    (12, "DT_QUINT8", 1),
    (13, "DT_QINT32", 4),
    (14, "DT_BFLOAT16", 2),
    (15, "DT_QINT16", 2),
    (16, "DT_QUINT16", 2),
    (17, "DT_UINT16", 2),
    (18, "DT_COMPLEX128", 16),
    (19, "DT_HALF", 2),
    (20, "DT_RESOURCE", 0),
    (21, "DT_VARIANT", 0),
    (22, "DT_UINT32", 4),
    (23, "DT_UINT64", 8),
    (24, "DT_FLOAT8_E5M2", 1),
    (25, "DT_FLOAT8_E4M3FN", 1),
    (26, "DT_FLOAT8_E4M3FNUZ", 1),
    (27, "DT_FLOAT8_E4M3B11FNUZ", 1),
    (28, "DT_FLOAT8_E5M2FNUZ", 1),
    // Each element has a byte, in memory and in bundles.
    (29, "DT_INT4", 1),
    (30, "DT_UINT4", 1),
    (31, "DT_INT2", 1),
    (32, "DT_UINT2", 1),
];

/// The number of `DT_STRING`.
pub(super) const STRING: u64 = 7;
/// The number of `DT_VARIANT`.
pub(super) const VARIANT: u64 = 21;

/// The name and the bytes of an element, 0 if the size is not fixed; `None` for a dtype that this version does not
/// know.
pub(super) fn dtype(number: u64) -> Option<(&'static str, u64)> {
    TYPES.iter().find(|(n, ..)| *n == number).map(|(_, name, bytes)| (*name, *bytes))
}
