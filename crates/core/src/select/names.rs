//! The grammar of standard weight and index names. Other rules decide which of them a loader takes.

use std::collections::BTreeMap;

use crate::model::Family;

/// The parts of a standard weight or index name.
///
/// Sources: `transformers/modeling_utils.py` (`_add_variant`), `diffusers/pipelines/pipeline_loading_utils.py`
/// (`variant_compatible_siblings`), `peft/utils/constants.py`, `diffusers/loaders/lora_base.py`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WeightName<'a> {
    /// `model`, `pytorch_model`, `diffusion_pytorch_model` and so on.
    pub stem: &'static str,
    /// `Safetensors` or `Bin`.
    pub family: Family,
    /// `fp16` in `model.fp16.safetensors`.
    pub variant: Option<&'a str>,
    /// The two numbers of `-00001-of-00002`; only a hint, since the index decides.
    pub shard: Option<(u32, u32)>,
    /// Whether this is an index file.
    pub index: bool,
}

/// Stems of the safetensors family. If one ends with another, the longer one comes first.
const SAFETENSORS: &[&str] = &[
    "diffusion_pytorch_model",
    "pytorch_model",
    "model",
    "open_clip_model",
    "adapter_model",
    "pytorch_lora_weights",
    "learned_embeds",
];

/// Stems of the bin family. `model.bin` counts in diffusers components only.
const BIN: &[&str] = &[
    "diffusion_pytorch_model",
    "pytorch_model",
    "model",
    "open_clip_pytorch_model",
    "adapter_model",
    "pytorch_lora_weights",
    "pytorch_custom_diffusion_weights",
    "learned_embeds",
];

/// The file extension of a family with standard names, without the dot.
pub(super) fn extension(family: Family) -> &'static str {
    match family {
        Family::Bin => "bin",
        Family::Flax => "msgpack",
        Family::Tf => "h5",
        _ => "safetensors",
    }
}

/// Parses a file name; `None` if it is not a standard weight or index name.
pub(super) fn parse(name: &str) -> Option<WeightName<'_>> {
    [(Family::Safetensors, SAFETENSORS), (Family::Bin, BIN)]
        .into_iter()
        .find_map(|(family, stems)| stems.iter().find_map(|stem| parse_as(name, family, stem)))
}

fn parse_as<'a>(name: &'a str, family: Family, stem: &'static str) -> Option<WeightName<'a>> {
    let rest = name.strip_prefix(stem)?;
    let ext = extension(family);
    if let Some(rest) = rest.strip_suffix(".json") {
        // `.EXT.index`, `.EXT.index.V`, and in old versions `.EXT.V.index` and `.V.EXT.index`.
        let (before, after) = rest.split_once(&format!(".{ext}."))?;
        let variant = match (before, after) {
            ("", "index") => None,
            ("", _) => Some(
                token(after.strip_prefix("index.").or_else(|| after.strip_suffix(".index"))?)
                    .filter(|v| *v != "index")?,
            ),
            (_, "index") => Some(token(before.strip_prefix('.')?)?),
            _ => return None,
        };
        return Some(WeightName { stem, family, variant, shard: None, index: true });
    }
    let middle = rest.strip_suffix(ext)?.strip_suffix('.')?;
    let (variant, shard) = middle_parts(middle)?;
    Some(WeightName { stem, family, variant, shard, index: false })
}

/// Variant and shard numbers.
type Middle<'a> = (Option<&'a str>, Option<(u32, u32)>);

/// Splits the text between stem and extension: nothing, `.V`, `-1-of-2`, `.V-1-of-2`, and in old versions `-1-of-2.V`.
fn middle_parts(middle: &str) -> Option<Middle<'_>> {
    if middle.is_empty() {
        return Some((None, None));
    }
    if let Some(rest) = middle.strip_prefix('.') {
        return match split_shard(rest) {
            Some((variant, shard)) => Some((Some(token(variant)?), Some(shard))),
            None => Some((Some(token(rest)?), None)),
        };
    }
    let (numbers, variant) = match middle.split_once('.') {
        Some((numbers, variant)) => (numbers, Some(token(variant)?)),
        None => (middle, None),
    };
    match split_shard(numbers)? {
        ("", shard) => Some((variant, Some(shard))),
        _ => None,
    }
}

/// Splits `X-1-of-2` (or bloom's `X_1-of-2`) into `X` and the numbers.
pub(super) fn split_shard(text: &str) -> Option<(&str, (u32, u32))> {
    let (left, total) = text.rsplit_once("-of-")?;
    let at = left.rfind(['-', '_'])?;
    let number = number(&left[at + 1..])?;
    Some((&left[..at], (number, self::number(total)?)))
}

/// Whether parts 1 to `total` are there, or parts 0 to `total - 1` (gpt-oss counts from 0).
pub(super) fn whole<T>(parts: &BTreeMap<u32, T>, total: u32) -> bool {
    // Each loop stops at the first missing part, so a huge `total` costs nothing.
    let all = |mut numbers: std::ops::Range<u32>| numbers.all(|number| parts.contains_key(&number));
    total > 0 && (all(1..total.saturating_add(1)) || all(0..total))
}

/// A file name without its ending; `.pth.tar` is one ending.
pub(super) fn stem(name: &str) -> &str {
    let name = name.strip_suffix(".tar").unwrap_or(name);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

fn number(text: &str) -> Option<u32> {
    if text.is_empty() || text.len() > 9 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// A variant: any text without a dot.
fn token(text: &str) -> Option<&str> {
    (!text.is_empty() && !text.contains('.')).then_some(text)
}

/// The names to look for, in a loader's order, for one stem.
pub(super) struct Lookup {
    /// The single file.
    pub single: String,
    /// The index: today's name first, then the older ones.
    pub indexes: Vec<String>,
}

/// The names that `transformers` and `diffusers` look for.
pub(super) fn lookup(stem: &str, family: Family, variant: Option<&str>) -> Lookup {
    let ext = extension(family);
    match variant {
        None => Lookup { single: format!("{stem}.{ext}"), indexes: vec![format!("{stem}.{ext}.index.json")] },
        Some(v) => Lookup {
            single: format!("{stem}.{v}.{ext}"),
            indexes: vec![
                format!("{stem}.{ext}.index.{v}.json"),
                format!("{stem}.{ext}.{v}.index.json"),
                format!("{stem}.{v}.{ext}.index.json"),
            ],
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[allow(clippy::type_complexity)]
    fn told(name: &str) -> Option<(&'static str, &'static str, Option<&str>, Option<(u32, u32)>, bool)> {
        parse(name).map(|n| (n.stem, n.family.as_str(), n.variant, n.shard, n.index))
    }

    #[test]
    fn every_spelling_that_repos_use_is_understood() {
        for (name, want) in [
            ("model.safetensors", ("model", "safetensors", None, None, false)),
            ("model.fp16.safetensors", ("model", "safetensors", Some("fp16"), None, false)),
            ("model-00000-of-00002.safetensors", ("model", "safetensors", None, Some((0, 2)), false)),
            ("model-00001-of-000163.safetensors", ("model", "safetensors", None, Some((1, 163)), false)),
            ("model_00001-of-00072.safetensors", ("model", "safetensors", None, Some((1, 72)), false)),
            ("model.fp32-00001-of-00002.safetensors", ("model", "safetensors", Some("fp32"), Some((1, 2)), false)),
            ("model-00001-of-00002.fp16.safetensors", ("model", "safetensors", Some("fp16"), Some((1, 2)), false)),
            ("model.safetensors.index.json", ("model", "safetensors", None, None, true)),
            ("model.safetensors.index.fp32.json", ("model", "safetensors", Some("fp32"), None, true)),
            (
                "diffusion_pytorch_model.safetensors.fp16.index.json",
                ("diffusion_pytorch_model", "safetensors", Some("fp16"), None, true),
            ),
            ("diffusion_pytorch_model.non_ema.bin", ("diffusion_pytorch_model", "bin", Some("non_ema"), None, false)),
            ("pytorch_model_00002-of-00072.bin", ("pytorch_model", "bin", None, Some((2, 72)), false)),
            ("pytorch_model.bin.index.json", ("pytorch_model", "bin", None, None, true)),
            ("open_clip_pytorch_model.bin", ("open_clip_pytorch_model", "bin", None, None, false)),
            ("adapter_model.bin", ("adapter_model", "bin", None, None, false)),
        ] {
            assert_eq!(told(name), Some(want), "{name}");
        }
    }

    #[test]
    fn lookalikes_are_not_standard_names() {
        for name in [
            "training_args.bin",
            "openvino_model.bin",
            "weight.bin",
            "bpe_encoder.bin",
            "optimizer.bin",
            "pytorch_model.bin.index.json.bak",
            "model_pp0_ep0_shard1.safetensors",
            "model--00001-of-00007.safetensors",
            "model-.safetensors",
            "model..safetensors",
            "model.a.b.safetensors",
            "modelsafetensors",
            "model-99999999999-of-2.safetensors",
            "consolidated.safetensors",
            "adapter.fra.safetensors",
            "model.safetensors.index.index.json",
            "tf_model.h5.index.json",
        ] {
            assert_eq!(told(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn names_to_look_for_are_parsed_back(stem in 0usize..7, variant in proptest::option::of("[a-z0-9_]{1,8}")) {
            prop_assume!(variant.as_deref() != Some("index"));
            let stem = SAFETENSORS[stem];
            let names = lookup(stem, Family::Safetensors, variant.as_deref());
            for (name, index) in std::iter::once((&names.single, false)).chain(names.indexes.iter().map(|n| (n, true))) {
                let parsed = parse(name).unwrap();
                prop_assert_eq!((parsed.stem, parsed.variant, parsed.index), (stem, variant.as_deref(), index));
            }
        }

        #[test]
        fn any_name_is_parsed_without_a_panic(name in "(model|pytorch_model)?[-_.a-z0-9é]{0,20}(-of-[0-9]{0,12})?(\\.bin|\\.safetensors)?") {
            let _ = parse(&name);
        }
    }
}
