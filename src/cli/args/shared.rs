//! Flags that several commands share: which repos, what of them, where to, how, and what is said.
//! What is rarely asked for shows in the long help only.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};
use hfget_core::finding::Code;
use hfget_core::hub::{HubConfig, Transport};
use hfget_core::model::{Family, Options, RepoPath, RepoType, Revision};
use hfget_core::session::Destination;

use super::values::{CodeParser, family, family_help, rate, repo_type, seconds, time, transport};

#[derive(Debug, Args)]
pub struct Repos {
    /// OWNER/NAME[@REVISION], hf://… or a pasted URL; then files of it
    ///
    /// A file is a name, a pattern such as '*.json', or a folder such as onnx/. Just these are taken, and no weight set is
    /// checked; a shard brings its set. OWNER/NAME:Q4_K_M is one quantisation.
    #[arg(value_name = "REPO", required_unless_present_any = ["locked", "from_file"])]
    pub named: Vec<String>,
    /// Also the repos that a file names, one a line; '#' starts a comment
    #[arg(long, value_name = "FILE", hide_short_help = true, value_hint = ValueHint::FilePath)]
    pub from_file: Option<PathBuf>,
    /// Take exactly what a lockfile says, or fail; without repos all that it has [FILE default: hfget.lock]
    #[arg(
        long,
        value_name = "FILE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "hfget.lock",
        hide_short_help = true,
        value_hint = ValueHint::FilePath
    )]
    pub locked: Option<PathBuf>,
    /// Branch, tag, refs/pr/N or commit [default: main]
    ///
    /// For repos that name none themselves.
    #[arg(long, short = 'r', value_name = "REV", hide_short_help = true)]
    pub revision: Option<Revision>,
    /// What the repos are, where they do not say it themselves: model, dataset, space or kernel
    #[arg(
        long,
        visible_alias = "type",
        value_name = "TYPE",
        value_parser = repo_type(),
        hide_short_help = true,
        hide_possible_values = true
    )]
    pub repo_type: Option<RepoType>,
}

#[derive(Debug, Args, Clone)]
#[command(next_help_heading = "What to take")]
pub struct Selection {
    /// Take this family if complete, else the best other
    #[arg(
        long,
        value_name = "FAMILY",
        value_parser = family(),
        hide_possible_values = true,
        long_help = family_help()
    )]
    pub prefer: Option<Family>,
    /// Take this family, or fail with exit code 3
    #[arg(
        long,
        value_name = "FAMILY",
        conflicts_with = "prefer",
        value_parser = family(),
        hide_possible_values = true
    )]
    pub only: Option<Family>,
    /// Variant of the weights, such as fp16 (gguf: Q4_K_M)
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
    /// Take only files that match; '*' crosses '/'
    ///
    /// May be repeated. Quote the pattern, so that the shell leaves it alone. Nothing else is taken, and no weight set is
    /// checked that the patterns do not match as a whole.
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// Take files that match besides what is chosen
    ///
    /// May be repeated.
    #[arg(long, value_name = "GLOB")]
    pub with: Vec<String>,
    /// Leave out files that match, whatever took them
    ///
    /// May be repeated.
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Take every file of the repo
    #[arg(long, hide_short_help = true)]
    pub all: bool,
    /// Choose within this folder of the repo, as if it were the root
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    pub subfolder: Option<RepoPath>,
    /// Leave out the repo's own Python code
    #[arg(long, hide_short_help = true)]
    pub no_code: bool,
}

impl Selection {
    pub fn options(&self) -> Options {
        Options {
            prefer: self.prefer,
            only: self.only,
            variant: self.variant.clone(),
            include: self.include.clone(),
            with: self.with.clone(),
            exclude: self.exclude.clone(),
            all: self.all,
            subfolder: self.subfolder.clone(),
            no_code: self.no_code,
        }
    }

    /// The first flag that chooses files, which is of no use where files are named.
    pub fn chooses(&self) -> Option<&'static str> {
        [
            (self.prefer.is_some(), "--prefer"),
            (self.only.is_some(), "--only"),
            (self.variant.is_some(), "--variant"),
            (self.all, "--all"),
            (self.subfolder.is_some(), "--subfolder"),
            (self.no_code, "--no-code"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Where")]
pub struct Place {
    /// Hub cache folder [default: $HF_HUB_CACHE, $HF_HOME/hub or ~/.cache/huggingface/hub]
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with = "local_dir",
        hide_short_help = true,
        value_hint = ValueHint::DirPath
    )]
    pub cache_dir: Option<PathBuf>,
    /// Put plain files into this folder instead of the cache
    ///
    /// What the cache has is copied, not fetched. One folder is for one repo: for several write 'DIR/{owner}/{name}'.
    /// Files that you made or changed there are never replaced without --force.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub local_dir: Option<PathBuf>,
    /// The Hub, a mirror of it, or what `--to` filled [default: $HF_ENDPOINT or https://huggingface.co]
    #[arg(long, value_name = "URL", hide_short_help = true, value_hint = ValueHint::Url)]
    pub endpoint: Option<String>,
    /// Another server with the same files, for bytes only: digests come from the endpoint (may be repeated)
    #[arg(long, value_name = "URL", hide_short_help = true, value_hint = ValueHint::Url)]
    pub mirror: Vec<String>,

    /// The token to send, as hf has it; better set HF_TOKEN
    ///
    /// What is typed here stays in the history of the shell, and other users of this machine can see it.
    #[arg(long, value_name = "TOKEN", hide_short_help = true)]
    pub token: Option<Secret>,
    /// Use only what is already here
    #[arg(long)]
    pub offline: bool,
    /// Use what is already here if it is all here and right, without a look at the Hub; else fetch
    #[arg(long, conflicts_with = "offline", hide_short_help = true)]
    pub prefer_offline: bool,
}

/// A text that no output shows.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Secret(text)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Where to, if not onto a disk.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where")]
pub struct Into {
    /// Put it into an object store: s3://, gs://, az://
    ///
    /// Into s3://BUCKET/PREFIX (gs://, az://) without a disk in between; files have their names when their digests agreed. Credentials come from the
    /// environment (AWS_ACCESS_KEY_ID and so on).
    #[cfg(feature = "object-store")]
    #[arg(long, hide_short_help = true, value_name = "URL", conflicts_with_all = ["local_dir", "cache_dir", "offline", "prefer_offline"], value_hint = ValueHint::Url)]
    pub to: Option<hfget_core::objects::ObjectUrl>,
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
    /// Fetch again even what is here and right, and replace what you changed
    #[arg(long, visible_alias = "force-download", conflicts_with = "prefer_offline", hide_short_help = true)]
    pub force: bool,
    /// Try even if the file system says that there is too little space
    #[arg(long, hide_short_help = true)]
    pub no_space_check: bool,
    /// How long to wait for a file that another process has locked, such as 90s or 10m [default: 5m]
    ///
    /// After that this run fetches the file as well, which does no harm.
    #[arg(long, value_name = "TIME", hide_short_help = true, value_parser = time)]
    pub lock_wait: Option<Duration>,
    /// Small files worked on at once [default: 32]
    #[arg(long, visible_alias = "max-workers", value_name = "N", hide_short_help = true, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
    /// Connections that carry bytes of large files [default: 16]
    #[arg(long, value_name = "N", hide_short_help = true, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub connections: Option<u16>,
    /// How files in Xet storage come: auto (Xet, and HTTP when that fails), http or xet [default: auto]
    #[arg(
        long,
        value_name = "HOW",
        hide_short_help = true,
        hide_possible_values = true,
        value_parser = transport()
    )]
    pub transport: Option<Transport>,
    /// Bytes a second for the whole run, such as 50M or 1.5G
    #[arg(long, value_name = "RATE", hide_short_help = true, value_parser = rate)]
    pub limit_rate: Option<u64>,

    /// Fail on findings of these codes, whatever they are otherwise
    ///
    /// Such as remote-code, foreign-code or tensor-unindexed; `hfget help` lists all.
    #[arg(
        long,
        value_name = "CODE,...",
        value_delimiter = ',',
        value_parser = CodeParser,
        help_heading = "What may pass",
        hide_short_help = true,
        hide_possible_values = true
    )]
    pub deny: Vec<Code>,
    /// Do not fail on findings of these codes
    #[arg(
        long,
        value_name = "CODE,...",
        value_delimiter = ',',
        value_parser = CodeParser,
        help_heading = "What may pass",
        hide_short_help = true,
        hide_possible_values = true
    )]
    pub allow: Vec<Code>,
    /// Accept pickles that would run code when loaded (reported as warnings)
    #[arg(long, help_heading = "What may pass", hide_short_help = true)]
    pub allow_unsafe_pickle: bool,
    #[command(flatten)]
    pub patience: Patience,
}

/// How long to wait.
#[derive(Debug, Args)]
pub struct Patience {
    /// Give up when nothing at all came for so long, such as 90s or 10m [default: 5m]
    ///
    /// Whatever is down or refuses meanwhile is asked again. Until the first answer of a run the default is 30s.
    #[arg(long, value_name = "TIME", hide_short_help = true, value_parser = seconds, overrides_with = "retry_for")]
    pub retry_for: Option<Duration>,
    /// First pause of the retry back-off, in milliseconds
    #[arg(long, value_name = "MS", hide = true)]
    pub retry_base_ms: Option<u64>,
    /// Seconds without a byte before a connection is given up
    #[arg(long, value_name = "S", hide = true, overrides_with = "stall_timeout")]
    pub stall_timeout: Option<f64>,
}

impl Patience {
    /// Waits as long as the flags say, where they say it.
    pub fn apply(&self, hub: &mut HubConfig) {
        if let Some(time) = self.retry_for {
            (hub.retry.patience, hub.retry.first_patience) = (time, time);
        }
        if let Some(ms) = self.retry_base_ms {
            hub.retry.base = Duration::from_millis(ms);
        }
        let stall = self.stall_timeout.and_then(|s| Duration::try_from_secs_f64(s).ok()).filter(|d| !d.is_zero());
        if let Some(stall) = stall {
            hub.stall_timeout = stall;
            hub.response_timeout = stall;
        }
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// Write the result to stdout as JSON
    #[arg(long)]
    pub json: bool,
    /// How progress shows on stderr: bars, lines, json or none [default: bars on a terminal, else lines]
    ///
    /// json is an object a line. A terminal that cannot move its cursor (TERM=dumb) gets lines.
    #[arg(long, value_name = "HOW", hide_short_help = true, hide_possible_values = true)]
    pub progress: Option<Progress>,
    /// Say nothing but errors; stdout still carries the result
    #[arg(short, long, hide_short_help = true)]
    pub quiet: bool,
    /// Say why each file is taken, and show every finding
    #[arg(short, long, conflicts_with = "quiet", hide_short_help = true)]
    pub verbose: bool,
}

/// What is said by a command that moves no bytes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct Plain {
    /// Write the result to stdout as JSON
    #[arg(long)]
    pub json: bool,
    /// Say nothing but errors; stdout still carries the result
    #[arg(short, long, hide_short_help = true)]
    pub quiet: bool,
}

impl Plain {
    /// The same for a screen.
    pub fn output(&self) -> Output {
        Output { json: self.json, progress: None, quiet: self.quiet, verbose: false }
    }
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
    #[arg(long, value_name = "FORM", conflicts_with = "json", hide_short_help = true, hide_possible_values = true)]
    pub format: Option<Format>,
    /// Also write the report to a file: a page if it ends in .html, JUnit's XML if in .xml, else as --format, else JSON
    #[arg(long, value_name = "FILE", hide_short_help = true, value_hint = ValueHint::FilePath)]
    pub report: Option<PathBuf>,
}

/// The report of a command that says it in no other form.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct ReportArgs {
    /// Also write the result to a file: a page if it ends in .html, else JSON
    #[arg(long, value_name = "FILE", hide_short_help = true, value_hint = ValueHint::FilePath)]
    pub report: Option<PathBuf>,
}
