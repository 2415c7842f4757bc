//! Reading a weight index (`model.safetensors.index.json`) from untrusted bytes. The shards, and
//! their agreement with the index, are checked elsewhere.

mod read;

use serde::de::Deserializer as _;

use self::read::Head;

/// Indexes larger than this are not read: `DeepSeek-V3`'s, one of the largest, has 8.5 MB, and one of a
/// million tensors has about 95 MB.
pub const INDEX_LIMIT: u64 = 192 << 20;

/// A weight index: the file of each tensor.
///
/// The shape is `{"metadata": {"total_size": N}, "weight_map": {tensor: file}}`, as written by
/// `transformers` and `huggingface_hub` (`serialization/_base.py`). Other keys are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WeightIndex {
    /// `metadata.total_size`: bytes of all tensors, shared storage counted once. `None` if it is absent,
    /// negative, fractional or not a number. Producers get it wrong so often that it proves nothing.
    pub total_size: Option<u64>,
    /// Whether `metadata` is there and is a map: `transformers` 5 and `diffusers` fail without it.
    pub has_metadata: bool,
    map: WeightMap,
    /// Tensor names that occur more than once, each once, in order of their second occurrence.
    /// JSON parsers keep the last one.
    pub duplicates: Vec<Box<str>>,
}

/// Pairs of tensor and file. An index may name a million tensors: their names are in one text, and
/// each file name is kept once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct WeightMap {
    /// All tensor names, one after another.
    names: String,
    rows: Vec<Row>,
    /// The file names, in order of their first occurrence.
    files: Vec<Box<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    /// The end of its tensor's name in `names`; the name starts at the end of the row before.
    end: usize,
    /// The index of its file in `files`.
    file: usize,
}

impl WeightMap {
    fn name(&self, row: usize) -> &str {
        let start = row.checked_sub(1).map_or(0, |before| self.rows[before].end);
        &self.names[start..self.rows[row].end]
    }
}

/// Why bytes are not a weight index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// Not JSON, or a value has the wrong type; the parser's complaint with line and column.
    #[error("it does not parse: {0}")]
    Json(String),
    /// There is no `weight_map`.
    #[error("it has no \"weight_map\"")]
    NoWeightMap,
    /// `weight_map` names no tensor.
    #[error("its \"weight_map\" is empty")]
    Empty,
}

impl IndexError {
    /// The parser quotes unexpected text, however long it is, so the message is cut.
    fn json(error: &serde_json::Error) -> Self {
        IndexError::Json(error.to_string().chars().take(300).collect())
    }
}

/// The most tensors of one index; the largest known index has about 90,000.
const NAMES_LIMIT: usize = 1 << 21;

impl WeightIndex {
    /// Parses an index as Python reads it (`NaN` and the like in `metadata` are not an error). Memory is in proportion
    /// to `bytes`; nothing nests, so depth costs nothing.
    ///
    /// # Errors
    /// See [`IndexError`]. A `weight_map` value that is not a string is an error.
    pub fn parse(bytes: &[u8]) -> Result<Self, IndexError> {
        let text = crate::json::strict(bytes);
        let mut json = serde_json::Deserializer::from_slice(&text);
        let head = json.deserialize_map(Head).map_err(|e| IndexError::json(&e))?;
        json.end().map_err(|e| IndexError::json(&e))?;
        let map = head.weight_map.ok_or(IndexError::NoWeightMap)?;
        if map.rows.is_empty() {
            return Err(IndexError::Empty);
        }
        let mut sorted: Vec<usize> = (0..map.rows.len()).collect();
        sorted.sort_unstable_by(|a, b| map.name(*a).cmp(map.name(*b)).then(a.cmp(b)));
        let same = sorted.chunk_by(|a, b| map.name(*a) == map.name(*b));
        let mut again: Vec<usize> = same.filter_map(|rows| rows.get(1).copied()).collect();
        again.sort_unstable();
        let duplicates = again.into_iter().map(|row| map.name(row).into()).collect();
        Ok(WeightIndex { total_size: head.total_size, has_metadata: head.has_metadata, map, duplicates })
    }

    /// Tensor name and file name, in the order of the file. The file name has the index's spelling:
    /// it is relative to the index's folder, and may be an unsafe path.
    pub fn weight_map(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.map.rows.iter().enumerate().map(|(at, row)| (self.map.name(at), &*self.map.files[row.file]))
    }

    /// The name of the tensor in this row of [`Self::weight_map`], counted from 0.
    pub fn tensor(&self, row: usize) -> Option<&str> {
        (row < self.map.rows.len()).then(|| self.map.name(row))
    }

    /// The same index, with each tensor named by the part of its name that `part` returns.
    #[must_use]
    pub fn renamed(&self, part: impl Fn(&str) -> &str) -> Self {
        let mut map = WeightMap { files: self.map.files.clone(), ..WeightMap::default() };
        for (at, row) in self.map.rows.iter().enumerate() {
            map.names.push_str(part(self.map.name(at)));
            map.rows.push(Row { end: map.names.len(), file: row.file });
        }
        WeightIndex { map, duplicates: self.duplicates.clone(), ..*self }
    }

    /// The file names, sorted, each once: `transformers`' `sorted(set(weight_map.values()))`.
    pub fn shards(&self) -> Vec<&str> {
        let mut shards: Vec<&str> = self.map.files.iter().map(|file| &**file).collect();
        shards.sort_unstable();
        shards
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_index_gives_its_map_in_order_and_its_shards_once() {
        let index = WeightIndex::parse(
            br#"{"metadata": {"total_size": 10, "total_parameters": 5}, "weight_map": {"b": "2", "a": "1", "c": "2"}, "x": [1]}"#,
        )
        .unwrap();
        assert_eq!(index.total_size, Some(10));
        assert!(index.has_metadata && index.duplicates.is_empty());
        assert_eq!(index.weight_map().collect::<Vec<_>>(), [("b", "2"), ("a", "1"), ("c", "2")]);
        assert_eq!(index.shards(), ["1", "2"]);
    }

    #[test]
    fn an_index_of_more_names_than_any_model_has_is_refused() {
        let pairs: Vec<String> = (0..=NAMES_LIMIT).map(|n| format!("\"{n}\":\"s\"")).collect();
        let text = format!("{{\"weight_map\":{{{}}}}}", pairs.join(","));
        let error = WeightIndex::parse(text.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("more than 2097152 tensors"), "{error}");
    }

    #[test]
    fn a_repeated_tensor_is_kept_and_reported_once() {
        let index = WeightIndex::parse(br#"{"weight_map": {"a": "1", "a": "2", "a": "3", "b": "1"}}"#).unwrap();
        assert_eq!(index.weight_map().len(), 4);
        assert_eq!(index.duplicates, ["a".into()]);
        assert!(!index.has_metadata);
    }

    #[test]
    fn total_size_is_read_leniently() {
        for (text, total, has) in [
            (r#"{"total_size": 1.6e10}"#, Some(16_000_000_000), true),
            (r#"{"total_size": -1}"#, None, true),
            (r#"{"total_size": 0.5}"#, None, true),
            (r#"{"total_size": "8"}"#, None, true),
            (r#"{"total_size": {"total_size": 3}}"#, None, true),
            (r#"{"total_size": [3, {}]}"#, None, true),
            ("{}", None, true),
            ("null", None, false),
            ("[1]", None, false),
            ("7", None, false),
            ("true", None, false),
        ] {
            let file = format!(r#"{{"metadata": {text}, "weight_map": {{"a": "1"}}}}"#);
            let index = WeightIndex::parse(file.as_bytes()).unwrap();
            assert_eq!((index.total_size, index.has_metadata), (total, has), "{text}");
        }
    }

    #[test]
    fn bytes_that_are_not_an_index_are_refused_with_the_reason() {
        assert_eq!(WeightIndex::parse(b"{}"), Err(IndexError::NoWeightMap));
        assert_eq!(WeightIndex::parse(br#"{"weight_map": {}}"#), Err(IndexError::Empty));
        for bad in [
            &b""[..],
            b"[]",
            b"null",
            b"\xff",
            br#"{"weight_map": {"a": 1}}"#,
            br#"{"weight_map": {"a": null}}"#,
            br#"{"weight_map": {"a": {"b": "c"}}}"#,
            br#"{"weight_map": ["a"]}"#,
            br#"{"weight_map": {"a": "1"}} x"#,
            br#"{"weight_map": {"a": "1"}, "weight_map": {"b": "1"}}"#,
            br#"{"weight_map": {"a": "1"}"#,
        ] {
            assert!(matches!(WeightIndex::parse(bad), Err(IndexError::Json(_))), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn a_complaint_does_not_repeat_the_file() {
        let text = format!(r#"{{"weight_map": "{}"}}"#, "x".repeat(1 << 20));
        assert!(WeightIndex::parse(text.as_bytes()).unwrap_err().to_string().len() < 1000);
    }

    #[test]
    fn absurd_depth_is_an_error_or_ignored_but_never_a_crash() {
        for open in ["[", "{\"a\":"] {
            let deep = open.repeat(500_000);
            for text in [
                deep.clone(),
                format!("{{\"weight_map\": {deep}"),
                format!("{{\"metadata\": {deep}"),
                format!("{{\"other\": {deep}"),
            ] {
                assert!(WeightIndex::parse(text.as_bytes()).is_err());
            }
        }
    }

    proptest! {
        #[test]
        fn any_map_of_strings_is_read_back(pairs in proptest::collection::btree_map(".{0,12}", ".{0,12}", 1..20)) {
            let text = serde_json::json!({"metadata": {}, "weight_map": pairs}).to_string();
            let index = WeightIndex::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(index.weight_map().len(), pairs.len());
            prop_assert!(index.weight_map().all(|(k, v)| pairs[k] == v));
        }

        #[test]
        fn any_bytes_are_judged_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = WeightIndex::parse(&bytes);
        }
    }
}
