//! Flags that several commands share: which repos, which files, the destination, how to fetch, and
//! the output. Rare flags show only in the long help.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};
use hfget_core::finding::Code;
use hfget_core::hub::{Timing, Transport};
use hfget_core::model::{Family, Options, RepoPath, RepoType, Revision};

use super::values::{CodeParser, family, family_help, rate, repo_type, seconds, time, transport};

#[derive(Debug, Args)]
pub struct Repos {
    /// OWNER/NAME[@REVISION], hf://… or a pasted URL; then files of it
    ///
    /// A file is a name, a pattern such as '*.json', or a folder such as onnx/. hfget takes only these, and checks no
    /// weight set; a shard also takes its set. OWNER/NAME:Q4_K_M is one quantisation.
    #[arg(value_name = "REPO", required_unless_present_any = ["locked", "from_file"])]
    pub named: Vec<String>,
    /// Also take the repos that this file names, one per line; '#' starts a comment
    #[arg(long, value_name = "FILE", hide_short_help = true, value_hint = ValueHint::FilePath)]
    pub from_file: Option<PathBuf>,
    /// Take exactly what a lockfile names, or fail; without repos, all of its repos [FILE default: hfget.lock]
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
    /// For repos that do not name one.
    #[arg(long, short = 'r', value_name = "REV", hide_short_help = true)]
    pub revision: Option<Revision>,
    /// Kind of the repos that do not name one: model, dataset, space or kernel
    #[arg(
        long,
        visible_alias = "type",
        value_name = "TYPE",
        value_parser = repo_type(),
        hide_short_help = true,
        hide_possible_values = true
    )]
    pub repo_type: Option<RepoType>,
    /// Also take the code that a model names in another repo, at its newest commit
    ///
    /// Only Python files are taken, and into the Hub cache: loaders look for them there.
    #[arg(long, conflicts_with_all = ["no_code", "locked"], hide_short_help = true)]
    pub follow_code: bool,
}

#[derive(Debug, Args, Clone)]
#[command(next_help_heading = "What to take")]
pub struct Selection {
    /// Take this family, or the next best with a warning
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
    /// May be repeated. Quote the pattern, so that the shell leaves it alone. hfget takes nothing else, and checks a weight
    /// set only if the patterns match all of it.
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// Also take files that match
    ///
    /// May be repeated.
    #[arg(long, value_name = "GLOB")]
    pub with: Vec<String>,
    /// Skip matching files, even if otherwise selected
    ///
    /// May be repeated.
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Take every file of the repo
    #[arg(long, hide_short_help = true)]
    pub all: bool,
    /// Treat this folder of the repo as its root
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    pub subfolder: Option<RepoPath>,
    /// Skip the repo's own Python code
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

    /// The first flag that chooses files, which has no effect if files are named.
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
pub struct PlaceArgs {
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
    /// Files in the cache are copied, not fetched. One folder is for one repo: for several write 'DIR/{owner}/{name}'.
    /// Files that you made or changed there are never replaced without --force.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub local_dir: Option<PathBuf>,
    /// Use this Hub, mirror of it, or store that `--to` filled [default: $HF_ENDPOINT or https://huggingface.co]
    #[arg(long, visible_alias = "from", value_name = "URL", hide_short_help = true, value_hint = ValueHint::Url)]
    pub endpoint: Option<String>,
    /// Fetch bytes from this server too; digests come from the endpoint (may be repeated)
    #[arg(long, value_name = "URL", hide_short_help = true, value_hint = ValueHint::Url)]
    pub mirror: Vec<String>,

    /// Send this token; setting HF_TOKEN is safer
    ///
    /// The token stays in the shell's history, and other users of this machine can see it.
    #[arg(long, value_name = "TOKEN", hide_short_help = true)]
    pub token: Option<Secret>,
    /// Use only what is already here
    #[arg(long)]
    pub offline: bool,
    /// Use the files that are here without asking the Hub, if all are here and verified; otherwise fetch
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

#[derive(Debug, Args)]
#[command(next_help_heading = "How")]
pub struct Transfer {
    /// Fetch everything again, and replace files that you changed
    #[arg(long, visible_alias = "force-download", conflicts_with = "prefer_offline", hide_short_help = true)]
    pub force: bool,
    /// Fetch even if the file system reports too little space
    #[arg(long, hide_short_help = true)]
    pub no_space_check: bool,
    /// How long to wait for a file that another process has locked, such as 90s or 10m [default: 5m]
    ///
    /// After that time this run fetches the file too; that does no harm.
    #[arg(long, value_name = "TIME", hide_short_help = true, value_parser = time)]
    pub lock_wait: Option<Duration>,
    /// Work on this many small files at once [default: 32]
    #[arg(long, visible_alias = "max-workers", value_name = "N", hide_short_help = true, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
    /// Use this many connections for large files [default: 16]
    #[arg(long, value_name = "N", hide_short_help = true, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub connections: Option<u16>,
    /// Transport for files in Xet storage: auto (Xet, then HTTP if it fails), http or xet [default: auto]
    #[arg(
        long,
        value_name = "HOW",
        hide_short_help = true,
        hide_possible_values = true,
        value_parser = transport()
    )]
    pub transport: Option<Transport>,
    /// Limit the run to this many bytes per second, such as 50M or 1.5G
    #[arg(long, value_name = "RATE", hide_short_help = true, value_parser = rate)]
    pub limit_rate: Option<u64>,

    /// Fail on findings with these codes, whatever their severity
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
    /// Do not fail on findings with these codes
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
    /// Accept pickles that would run code when loaded; report them as warnings
    #[arg(long, help_heading = "What may pass", hide_short_help = true)]
    pub allow_unsafe_pickle: bool,
    #[command(flatten)]
    pub patience: Patience,
}

/// How long to wait.
#[derive(Debug, Args)]
pub struct Patience {
    /// Give up after this time without any progress, such as 90s or 10m [default: 5m]
    ///
    /// Until then hfget retries. Before the first answer of a run the default is 30s.
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
    /// Applies the times that the flags set.
    pub fn apply(&self, timing: &mut Timing) {
        if let Some(time) = self.retry_for {
            (timing.retry.patience, timing.retry.first_patience) = (time, time);
        }
        if let Some(ms) = self.retry_base_ms {
            timing.retry.base = Duration::from_millis(ms);
        }
        let stall = self.stall_timeout.and_then(|s| Duration::try_from_secs_f64(s).ok()).filter(|d| !d.is_zero());
        if let Some(stall) = stall {
            timing.stall_timeout = stall;
            timing.response_timeout = stall;
        }
    }
}

/// Whose signatures count.
#[derive(Debug, Args)]
#[command(next_help_heading = "What may pass")]
pub struct Signers {
    /// Fail unless this signer signed the repo: a PEM file with a key or certificates, or IDENTITY@ISSUER
    ///
    /// A file with a public key trusts the holder of that key. A file with certificates trusts everybody to whom one of these
    /// authorities gave a certificate for signing. IDENTITY@ISSUER, such as me@example.org@https://id.org, trusts the
    /// holder of that identity at the issuer, through Sigstore. May be repeated; one of them is enough. With a
    /// lockfile, the lockfile must be signed (FILE.sig).
    #[arg(long, value_name = "SIGNER", hide_short_help = true)]
    pub require_signature: Vec<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// Write the result to stdout as JSON
    #[arg(long)]
    pub json: bool,
    /// How progress shows on stderr: bars, lines, json or none [default: bars on a terminal, else lines]
    ///
    /// json writes one object per line. A terminal that cannot move its cursor (TERM=dumb) gets lines.
    #[arg(long, value_name = "HOW", hide_short_help = true, hide_possible_values = true)]
    pub progress: Option<Progress>,
    /// Print only errors; stdout still has the result
    #[arg(short, long, hide_short_help = true)]
    pub quiet: bool,
    /// Say why each file is taken, show every finding, and log each step; -vv logs each request
    ///
    /// HFGET_LOG=FILTER, such as hfget_core=trace, chooses what is logged instead.
    #[arg(short, long, action = clap::ArgAction::Count, conflicts_with = "quiet", hide_short_help = true)]
    pub verbose: u8,
}

/// The output of a command that moves no bytes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct Plain {
    /// Write the result to stdout as JSON
    #[arg(long)]
    pub json: bool,
    /// Print only errors; stdout still has the result
    #[arg(short, long, hide_short_help = true)]
    pub quiet: bool,
}

impl Plain {
    /// The same for a screen.
    pub fn output(&self) -> Output {
        Output { json: self.json, progress: None, quiet: self.quiet, verbose: 0 }
    }
}

/// The form of progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Progress {
    /// Bars that are drawn again and again
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

#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Output")]
pub struct Reports {
    /// Write this to stdout: human (folders), json, junit or github (annotations) [default: human]
    #[arg(long, value_name = "FORM", conflicts_with = "json", hide_short_help = true, hide_possible_values = true)]
    pub format: Option<Format>,
    /// Also write the report to this file: a page if it ends in .html, JUnit XML if in .xml, otherwise as --format, or JSON
    ///
    /// If it ends in .cdx.json, it is a bill of materials of what was verified (CycloneDX 1.6); if in .intoto.json, its provenance
    /// (in-toto, SLSA 1.0). These two are written only if everything was verified, so that nothing else is signed.
    #[arg(long, value_name = "FILE", hide_short_help = true, value_hint = ValueHint::FilePath)]
    pub report: Option<PathBuf>,
}

/// The report of a command without other forms.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct ReportArgs {
    /// Also write the result to this file: a page if it ends in .html, otherwise JSON
    #[arg(long, value_name = "FILE", hide_short_help = true, value_hint = ValueHint::FilePath)]
    pub report: Option<PathBuf>,
}
