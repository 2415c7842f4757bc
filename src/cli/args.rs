//! The command line: flags, their help and their values. What they do lives elsewhere.

// The doc comments are the help's text, which is not Markdown.
#![allow(clippy::doc_markdown, rustdoc::bare_urls)]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use hfget::hub::Transport;
use hfget::repo::{RepoPath, RepoSpec, Revision};
use hfget::report::{Code, Level};
use hfget::select::{self, Family};
use hfget::session::Destination;

const AFTER_HELP: &str = "\
Examples:
  hfget THUDM/chatglm3-6b --prefer safetensors      one weight family, verified, into the Hub cache
  hfget plan stabilityai/stable-diffusion-xl-base-1.0 --variant fp16
  hfget gpt2 --local-dir ./gpt2                     plain files in a folder
  hfget verify THUDM/chatglm3-6b --offline          check what is cached, without a Hub
  hfget datasets/rajpurkar/squad@main               a dataset; URLs and hf:// work too

Exit codes: 0 verified, 1 verification failed, 2 usage, 3 not available (repo, revision, access,
family), 4 network or Hub, 5 local (disk, permissions), 130 interrupted (run again to resume).";

/// Download Hugging Face repositories and prove that what landed is right.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub get: GetArgs,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what would be fetched, what is cached and what is left out, and fetch no weights
    Plan(PlanArgs),
    /// Check files that are already here: digests, headers, index coverage
    Verify(VerifyArgs),
    /// Show the tensors of weights: names, dtypes, shapes; of a remote repo only headers are fetched
    Inspect(InspectArgs),
    /// Note what a selection is, to the byte, in a lockfile that `hfget --locked` fetches
    ///
    /// Without repos, --check says what has moved since, and --update notes it.
    Lock(LockArgs),
    /// List what interrupted runs left behind, and remove it
    ///
    /// A run that was interrupted leaves partial files, from which the next one goes on. Those that nobody
    /// will ask for again only take space: this lists them, and with --remove removes them. What another run
    /// works on is left alone, and so are the *.incomplete files of other tools.
    Clean(CleanArgs),
    /// Say whether a mirror is true to the Hub: commit, listing, headers, bytes; nothing is stored
    ///
    /// Asks the mirror and the endpoint for the same repos and compares the answers. The last line of each repo on
    /// stdout is "compare: REPO mirror=URL level=LEVEL files=N findings=N result=true|different|error".
    Compare(CompareArgs),
}

#[derive(Debug, Args)]
pub struct GetArgs {
    #[command(flatten)]
    pub repos: Repos,
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub into: Into,
    /// Print the plan and stop (the same as `hfget plan`)
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub transfer: Transfer,
    #[command(flatten)]
    pub reports: Reports,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Also read the headers of all shards (range requests) and compare them with the index
    #[arg(long)]
    pub deep: bool,

    #[command(flatten)]
    pub repos: Repos,
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub into: Into,
    #[command(flatten)]
    pub transfer: Transfer,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Also read every byte that a format checksums itself (PyTorch archives, TensorFlow checkpoints)
    #[arg(long)]
    pub deep: bool,

    /// Repos in the cache, folders (a path with a '/' at its start, './' or '../', or an existing folder), or what `--to` put into an object store (s3://…)
    #[arg(value_name = "REPO|DIR|URL", required_unless_present = "lock")]
    pub targets: Vec<String>,
    /// Hold them against a lockfile, without a Hub [default: every repo that it has]
    #[arg(long, value_name = "FILE")]
    pub lock: Option<PathBuf>,
    /// Revision of the cached snapshot [default: main]
    #[arg(long, value_name = "REV")]
    pub revision: Option<Revision>,
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub transfer: Transfer,
    #[command(flatten)]
    pub reports: Reports,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct LockArgs {
    /// Repos to lock; with --check and --update those of the lockfile [default: all of them]
    #[arg(value_name = "REPO", required_unless_present_any = ["check", "update"])]
    pub repos: Vec<RepoSpec>,
    /// Branch, tag, refs/pr/N or commit, for repos that name none [default: main]
    #[arg(long, value_name = "REV", conflicts_with_all = ["check", "update"])]
    pub revision: Option<Revision>,
    /// The lockfile; repos that it has already are replaced, the others stay
    #[arg(short = 'o', long = "lock", value_name = "FILE", default_value = "hfget.lock")]
    pub file: PathBuf,
    /// Say what has moved upstream since, change nothing, and end with 1 if anything has
    #[arg(long, conflicts_with = "update")]
    pub check: bool,
    /// Lock again what the lockfile has, as it was chosen then
    #[arg(long)]
    pub update: bool,
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub transfer: Transfer,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct CleanArgs {
    /// Only of these repos [default: every repo in the cache]
    #[arg(value_name = "REPO")]
    pub repos: Vec<RepoSpec>,
    /// Remove them
    #[arg(long)]
    pub remove: bool,
    /// Only those to which nothing was added for so long, such as 7d or 12h
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub older_than: Option<Duration>,
    /// Hub cache folder [default: $HF_HUB_CACHE, $HF_HOME/hub or ~/.cache/huggingface/hub]
    #[arg(long, value_name = "DIR", conflicts_with = "local_dir")]
    pub cache_dir: Option<PathBuf>,
    /// A folder that was filled with --local-dir, instead of the cache
    #[arg(long, value_name = "DIR", conflicts_with = "repos")]
    pub local_dir: Option<PathBuf>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Repos: OWNER/NAME[@REVISION], datasets/…, spaces/…
    #[arg(value_name = "REPO", required_unless_present = "from_file")]
    pub repos: Vec<RepoSpec>,
    /// Also the repos that this file names, one a line; '#' starts a comment, '-' is stdin
    #[arg(long, value_name = "FILE")]
    pub from_file: Option<PathBuf>,
    /// The mirror to look at
    #[arg(long, value_name = "URL")]
    pub mirror: String,
    /// What it is held against [default: $HF_ENDPOINT or https://huggingface.co]
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// How closely: metadata (commit, listing, headers), sample (also some bytes of each file, and all shard headers) or full (also every byte, against its digest)
    #[arg(long, value_name = "LEVEL", default_value = "sample", value_parser = level)]
    pub level: Level,
    /// Where the random ranges lie: the same seed looks at the same bytes [default: another one each time]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// A host that the mirror may redirect to, besides itself and where the endpoint redirects to; '.example.org' means all below it (may be repeated)
    #[arg(long, value_name = "HOST")]
    pub allow_host: Vec<String>,
    /// Branch, tag, refs/pr/N or commit, for repos that name none [default: main]
    #[arg(long, value_name = "REV")]
    pub revision: Option<Revision>,
    /// Files looked at at once
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: u16,
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub output: Output,
    /// First pause of the retry back-off, in milliseconds
    #[arg(long, value_name = "MS", hide = true)]
    pub retry_base_ms: Option<u64>,
    /// Seconds without a byte before a connection is given up
    #[arg(long, value_name = "S", hide = true)]
    pub stall_timeout: Option<f64>,
}

fn level(text: &str) -> Result<Level, String> {
    match text {
        "metadata" => Ok(Level::Metadata),
        "sample" => Ok(Level::Sample),
        "full" => Ok(Level::Full),
        _ => Err(format!("'{text}' is none of metadata, sample and full")),
    }
}

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Repos, folders or files (a path with a '/' at its start, './' or '../', or what exists here)
    #[arg(value_name = "REPO|DIR|FILE", required = true)]
    pub targets: Vec<String>,
    /// Revision of the repos [default: main]
    #[arg(long, value_name = "REV")]
    pub revision: Option<Revision>,
    /// Only tensors whose names match; '*' matches anything
    #[arg(long, value_name = "GLOB")]
    pub filter: Option<String>,
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub transfer: Transfer,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct Repos {
    /// Repos: OWNER/NAME[@REVISION], datasets/…, spaces/…, hf://… or a pasted https:// URL
    #[arg(value_name = "REPO", required_unless_present_any = ["locked", "from_file"])]
    pub named: Vec<RepoSpec>,
    /// Also the repos that a file names, one a line; '#' starts a comment
    #[arg(long, value_name = "FILE")]
    pub from_file: Option<PathBuf>,
    /// Take exactly what a lockfile says, or fail; without repos all that it has [FILE default: hfget.lock]
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "hfget.lock")]
    pub locked: Option<PathBuf>,
    /// Branch, tag, refs/pr/N or commit, for repos that name none [default: main]
    #[arg(long, value_name = "REV")]
    pub revision: Option<Revision>,
}

#[derive(Debug, Args, Clone)]
#[command(next_help_heading = "What to take")]
pub struct Selection {
    /// Take this weight family if it is complete, else the best other: safetensors, bin, mistral, meta, pt, torchscript, gguf, onnx, flax, tf, tf-checkpoint, saved-model, openvino, coreml ...
    #[arg(long, value_name = "FAMILY")]
    pub prefer: Option<Family>,
    /// Take this weight family, or fail with exit code 3
    #[arg(long, value_name = "FAMILY", conflicts_with = "prefer")]
    pub only: Option<Family>,
    /// Variant of the weights, such as fp16, or Q4_K_M for gguf
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
    /// Also take files that match; '*' crosses '/' (may be repeated)
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// Leave out files that match, whatever took them (may be repeated)
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Take every file of the repo
    #[arg(long)]
    pub all: bool,
    /// Choose within this folder of the repo, as if it were the root
    #[arg(long, value_name = "DIR")]
    pub subfolder: Option<RepoPath>,
    /// Leave out the repo's own Python code
    #[arg(long)]
    pub no_code: bool,
}

impl Selection {
    pub fn options(&self) -> select::Options {
        select::Options {
            prefer: self.prefer,
            only: self.only,
            variant: self.variant.clone(),
            include: self.include.clone(),
            exclude: self.exclude.clone(),
            all: self.all,
            subfolder: self.subfolder.clone(),
            no_code: self.no_code,
        }
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Where")]
pub struct Place {
    /// Hub cache folder [default: $HF_HUB_CACHE, $HF_HOME/hub or ~/.cache/huggingface/hub]
    #[arg(long, value_name = "DIR", conflicts_with = "local_dir")]
    pub cache_dir: Option<PathBuf>,
    /// Put plain files into this folder instead of the cache
    #[arg(long, value_name = "DIR")]
    pub local_dir: Option<PathBuf>,
    /// The Hub, or a mirror of it [default: $HF_ENDPOINT or https://huggingface.co]
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Another server with the same files, for bytes only: digests come from the endpoint (may be repeated)
    #[arg(long, value_name = "URL")]
    pub mirror: Vec<String>,

    /// Use only what is already here
    #[arg(long)]
    pub offline: bool,
}

/// Where to, if not onto a disk.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where")]
pub struct Into {
    /// Put it into an object store, s3://BUCKET/PREFIX (or gs://, az://), without a disk in between
    #[cfg(feature = "object-store")]
    #[arg(long, value_name = "URL", conflicts_with_all = ["local_dir", "cache_dir", "offline"])]
    pub to: Option<hfget::objects::ObjectUrl>,
}

impl Into {
    #[cfg(feature = "object-store")]
    pub fn destination(&self) -> Option<Destination> {
        self.to.clone().map(Destination::Objects)
    }

    #[cfg(not(feature = "object-store"))]
    #[allow(clippy::unused_self)] // the other one has something to look at
    pub fn destination(&self) -> Option<Destination> {
        None
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "How")]
pub struct Transfer {
    /// Fetch again even what is here and right
    #[arg(long)]
    pub force: bool,
    /// Small files worked on at once [default: 32]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
    /// Connections that carry bytes of large files [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub connections: Option<u16>,
    /// How files in Xet storage come: auto (Xet, and HTTP when that fails), http or xet [default: auto]
    #[arg(long, value_name = "HOW", value_parser = transport)]
    pub transport: Option<Transport>,
    /// Bytes a second for the whole run, such as 50M or 1.5G
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub limit_rate: Option<u64>,

    /// Fail on findings of these codes, whatever they are otherwise: remote-code,foreign-code,tensor-unindexed ...
    #[arg(long, value_name = "CODE,...", value_delimiter = ',')]
    pub deny: Vec<Code>,
    /// Do not fail on findings of these codes
    #[arg(long, value_name = "CODE,...", value_delimiter = ',')]
    pub allow: Vec<Code>,
    /// Accept pickles that would run code when loaded (reported as warnings)
    #[arg(long)]
    pub allow_unsafe_pickle: bool,
    /// First pause of the retry back-off, in milliseconds
    #[arg(long, value_name = "MS", hide = true)]
    pub retry_base_ms: Option<u64>,
    /// Seconds without a byte before a connection is given up
    #[arg(long, value_name = "S", hide = true, overrides_with = "stall_timeout")]
    pub stall_timeout: Option<f64>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// Write the result to stdout as JSON
    #[arg(long)]
    pub json: bool,
    /// How progress shows on stderr: bars, lines, json (an object a line) or none [default: bars on a terminal, else lines]
    #[arg(long, value_name = "HOW", hide_possible_values = true)]
    pub progress: Option<Progress>,
    /// Say nothing but errors; stdout still carries the result
    #[arg(short, long)]
    pub quiet: bool,
    /// Say why each file is taken, and show every finding
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
}

/// The form of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Progress {
    /// Bars that are drawn over
    Bars,
    /// A line now and then
    Lines,
    /// A JSON object for each event
    Json,
    /// Nothing
    None,
}

/// The form of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// The folder of each repo on stdout, the report on stderr
    Human,
    /// One JSON document
    Json,
    /// JUnit's XML: a suite for each repo, a case for each file
    Junit,
    /// GitHub's annotations
    Github,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct Reports {
    /// What goes to stdout: human (folders), json, junit or github (annotations) [default: human]
    #[arg(long, value_name = "FORM", conflicts_with = "json", hide_possible_values = true)]
    pub format: Option<Format>,
    /// Also write the report to a file: JUnit's XML if it ends in .xml, else as --format, else JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

fn transport(text: &str) -> Result<Transport, String> {
    match text {
        "auto" => Ok(Transport::Auto),
        "http" => Ok(Transport::Http),
        "xet" => Ok(Transport::Xet),
        _ => Err(format!("'{text}' is none of auto, http and xet")),
    }
}

/// `7d`, `12h`, `30m`: days are 24 hours.
fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a time: write days, hours or minutes, such as 7d, 12h or 30m");
    let span: jiff::Span = text.parse().map_err(|_| wrong())?;
    let time = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(time).map_err(|_| wrong())
}

/// `50M`, `1.5G`, `800k` or plain bytes, all decimal as the rates that are shown.
fn rate(text: &str) -> Result<u64, String> {
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
    // Checked to be in range just above.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok(rate as u64)
}

#[cfg(test)]
mod tests {
    use super::{rate, time};
    use std::time::Duration;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, hours) in [("7d", 168), ("12h", 12), ("1w", 168), ("90m", 1)] {
            assert_eq!(time(text).map(|t| t.as_secs() / 3600), Ok(hours), "{text}");
        }
        assert_eq!(time("0s"), Ok(Duration::ZERO));
        for bad in ["", "7", "-1d", "soon", "1mo"] {
            assert!(time(bad).is_err(), "{bad}");
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
