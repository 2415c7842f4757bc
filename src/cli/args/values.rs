//! Parsers for the values of flags: families, codes, levels, rates and times. The error for an
//! unknown word suggests the nearest known one.

use std::ffi::OsStr;
use std::time::Duration;

use crate::render::suggest::meant;
use clap::builder::{PossibleValue, PossibleValuesParser, StringValueParser, TypedValueParser};
use hfget_core::finding::Code;
use hfget_core::hub::Transport;
use hfget_core::model::{Family, OciReferenceError, RepoId, RepoType};
use hfget_core::session::OciLayout;
use hfget_core::unstable::model::{OciReference, Partition, PartitionError};
#[cfg(feature = "object-store")]
use hfget_core::unstable::object_store::ObjectUrl;
use hfget_core::unstable::report::Level;
use hfget_core::unstable::text::printable;

/// Weight families, which completions and suggestions know by name.
pub fn family() -> impl TypedValueParser<Value = Family> {
    PossibleValuesParser::new(Family::ALL.iter().map(|f| f.as_str())).try_map(|text| text.parse::<Family>())
}

pub fn family_help() -> String {
    let names: Vec<&str> = Family::ALL.iter().map(|f| f.as_str()).collect();
    format!("Take this family; otherwise the next best, with a warning\n\nWeight families are {}.", names.join(", "))
}

pub fn level() -> impl TypedValueParser<Value = Level> {
    const ALL: [Level; 3] = [Level::Metadata, Level::Sample, Level::Full];
    PossibleValuesParser::new(ALL.iter().map(|l| l.as_str()))
        .map(|text| ALL.into_iter().find(|l| l.as_str() == text).unwrap_or_default())
}

/// The Hub's name spaces.
pub fn repo_type() -> impl TypedValueParser<Value = RepoType> {
    PossibleValuesParser::new(["model", "dataset", "space", "kernel"]).map(|text| {
        // The parser accepts nothing else.
        RepoType::ALL.into_iter().find(|repo_type| repo_type.to_string() == text).unwrap_or_default()
    })
}

pub fn transport() -> impl TypedValueParser<Value = Transport> {
    PossibleValuesParser::new(["auto", "http", "xet"]).map(|text| match text.as_str() {
        "http" => Transport::Http,
        "xet" => Transport::Xet,
        _ => Transport::Auto,
    })
}

/// The parser for finding codes. There are too many codes to list them in each error.
#[derive(Debug, Clone)]
pub struct CodeParser;

impl TypedValueParser for CodeParser {
    type Value = Code;

    fn parse_ref(&self, command: &clap::Command, arg: Option<&clap::Arg>, value: &OsStr) -> Result<Code, clap::Error> {
        let read = |text: String| {
            text.parse::<Code>().map_err(|error| match meant(&text, Code::ALL.iter().map(|c| c.as_str())).first() {
                Some(near) => format!("it is not a finding code; did you mean {near}?"),
                None => format!("it is {error}"),
            })
        };
        StringValueParser::new().try_map(read).parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(Code::ALL.iter().map(|code| PossibleValue::new(code.as_str()))))
    }
}

/// The text for the only help that lists all codes.
pub fn deny_help() -> String {
    let names: Vec<&str> = Code::ALL.iter().map(|c| c.as_str()).collect();
    format!(
        "Fail on findings with these codes, whatever their severity\n\nThe codes are {}. The page \"Findings\" of the documentation explains them.",
        names.join(", ")
    )
}

/// `7d`, `12h`, `30m`: days are 24 hours.
pub fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a time: write days, hours or minutes, such as 7d, 12h or 30m");
    let span: jiff::Span = text.parse().map_err(|_| wrong())?;
    let time = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(time).map_err(|_| wrong())
}

/// `90s`, `10m`, `1h`, or plain seconds.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a time: write seconds, minutes or hours, such as 90s, 10m or 1h");
    if let Ok(seconds) = text.trim().parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| wrong());
    }
    time(text).map_err(|_| wrong())
}

/// `50M`, `1.5G`, `800k` or plain bytes, all decimal, like the rates in the output.
pub fn rate(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is not a rate: write bytes a second, such as 50M");
    let plain = text.trim().trim_end_matches("/s").trim_end_matches(['B', 'b']);
    let (number, factor) = match plain.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&plain[..at], 1e3),
        Some((at, 'm' | 'M')) => (&plain[..at], 1e6),
        Some((at, 'g' | 'G')) => (&plain[..at], 1e9),
        _ => (plain, 1.0),
    };
    let rate = number.trim().parse::<f64>().map_err(|_| wrong())? * factor;
    if !(1.0..=1e15).contains(&rate) {
        return Err(wrong());
    }
    // The range was checked above.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok(rate as u64)
}

/// `3/8`: the third of eight parts; `/8`: the part with the number of Kubernetes' index of the pod.
pub fn partition(text: &str) -> Result<Partition, String> {
    partition_by(text, std::env::var("JOB_COMPLETION_INDEX").ok().as_deref())
}

fn partition_by(text: &str, index: Option<&str>) -> Result<Partition, String> {
    let Some(of) = text.strip_prefix('/') else { return text.parse().map_err(|e: PartitionError| e.to_string()) };
    let index = index.ok_or("JOB_COMPLETION_INDEX is not set; outside an indexed Job write K/N, such as 3/8")?;
    let counted: Option<u32> = index.parse::<u32>().ok().and_then(|index| index.checked_add(1));
    let part = counted.ok_or_else(|| format!("JOB_COMPLETION_INDEX is not a number: {}", printable(index)))?;
    format!("{part}/{of}").parse().map_err(|error: PartitionError| match error {
        PartitionError::Part { of, .. } => format!("JOB_COMPLETION_INDEX is {index}, but there are only {of} parts"),
        other => other.to_string(),
    })
}

/// What `--to` names.
#[derive(Debug, Clone)]
pub enum Place {
    #[cfg(feature = "object-store")]
    Store(ObjectUrl),
    Oci(OciReference),
    /// One for each repo.
    Each(Template),
}

/// A registry or an image layout for each of several repos: `{owner}`, `{name}` and `{type}` stand for a repo's own.
#[derive(Debug, Clone)]
pub struct Template(String);

impl Template {
    const WORDS: [&str; 3] = ["{owner}", "{name}", "{type}"];

    fn new(text: &str) -> Result<Self, String> {
        let template = Template(text.to_owned());
        if !text.contains("{name}") {
            return Err("it must have {name}, so that each repo has a place of its own".to_owned());
        }
        let (repo_type, id) = (RepoType::Model, "owner/name".parse().map_err(|error| format!("{error}"))?);
        template.of(repo_type, &id)?;
        Ok(template)
    }

    /// The place of one repo. Registries know no capital letters.
    pub fn of(&self, repo_type: RepoType, id: &RepoId) -> Result<OciReference, String> {
        let (owner, name) = id.as_str().split_once('/').unwrap_or(("", id.as_str()));
        let plain = |word: &str| if self.is_registry() { word.to_lowercase() } else { word.to_owned() };
        let folder = if owner.is_empty() { String::new() } else { format!("{}/", plain(owner)) };
        let text = self.0.replace("{type}", repo_type.plural());
        // The Hub's oldest repos have no owner, and then that part of a name is left out.
        let text = text.replace("{owner}/", &folder).replace("{owner}", &plain(owner));
        oci(&text.replace("{name}", &plain(name)))
    }

    /// Whether it names registries, and not files or folders.
    pub fn is_registry(&self) -> bool {
        self.0.starts_with("oci://")
    }

    /// The text as given.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// An object store, a registry or an image layout. The error says what to write instead.
pub fn place(text: &str) -> Result<Place, String> {
    if OciReference::is_meant(text) {
        if Template::WORDS.iter().any(|word| text.contains(word)) {
            return Template::new(text).map(Place::Each);
        }
        return oci(text).map(Place::Oci);
    }
    #[cfg(feature = "object-store")]
    {
        use hfget_core::session::ObjectUrlError;
        text.parse::<ObjectUrl>().map(Place::Store).map_err(|error: ObjectUrlError| {
            if error.is_folder() {
                format!("{error}; to fill a folder, use --local-dir or --cache-dir")
            } else {
                format!("{error}, or oci://REGISTRY/NAME:TAG, oci-archive:FILE.tar or oci:FOLDER")
            }
        })
    }
    #[cfg(not(feature = "object-store"))]
    Err("it must be oci://REGISTRY/NAME:TAG, oci-archive:FILE.tar or oci:FOLDER".to_owned())
}

/// A registry or an image layout.
pub fn oci(text: &str) -> Result<OciReference, String> {
    text.parse().map_err(|error: OciReferenceError| error.to_string())
}

/// The form of files in OCI content.
pub fn layout() -> impl TypedValueParser<Value = OciLayout> {
    PossibleValuesParser::new(["image", "modelpack"])
        .map(|text| if text == "modelpack" { OciLayout::ModelPack } else { OciLayout::Image })
}

#[cfg(test)]
mod tests {
    use super::{partition_by, rate, seconds, time};
    use std::time::Duration;

    #[test]
    fn times_are_read_in_the_forms_that_people_write() {
        for (text, hours) in [("7d", 168), ("12h", 12), ("1w", 168), ("90m", 1)] {
            assert_eq!(time(text).map(|t| t.as_secs() / 3600), Ok(hours), "{text}");
        }
        assert_eq!(time("0s"), Ok(Duration::ZERO));
        for bad in ["", "7", "-1d", "soon", "1mo"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_patience_may_be_plain_seconds() {
        for (text, ms) in [("0.5", 500), ("90", 90_000), ("90s", 90_000), ("10m", 600_000)] {
            assert_eq!(seconds(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "-1", "NaN", "inf", "soon", "1e300"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_part_is_named_or_counted_by_kubernetes_from_zero() {
        let read = |text, index| partition_by(text, index).map(|p| p.to_string());
        assert_eq!(read("3/8", None), Ok("3/8".to_owned()));
        assert_eq!(read("3/8", Some("0")), Ok("3/8".to_owned()), "an explicit part wins");
        assert_eq!(read("/8", Some("0")), Ok("1/8".to_owned()));
        assert_eq!(read("/8", Some("7")), Ok("8/8".to_owned()));
        for (text, index) in
            [("/8", None), ("/8", Some("8")), ("/8", Some("-1")), ("/8", Some("")), ("/", Some("0")), ("8", Some("0"))]
        {
            assert!(read(text, index).is_err(), "{text} {index:?}");
        }
    }

    #[test]
    fn rates_are_read_as_they_are_shown() {
        for (text, bytes) in
            [("50M", 50_000_000), ("1.5G", 1_500_000_000), ("800k", 800_000), ("7", 7), ("2MB/s", 2_000_000)]
        {
            assert_eq!(rate(text), Ok(bytes), "{text}");
        }
        for bad in ["", "M", "0", "-1M", "fast", "1e99", "NaN"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
