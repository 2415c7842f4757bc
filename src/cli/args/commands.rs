//! The flags of each command. `shared` has the flags that several commands share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueHint};
use clap_complete::Shell;
use hfget_core::model::{RepoSpec, Revision};
use hfget_core::unstable::report::Level;

use super::habits::Habits;
use super::share::Share;
use super::shared::{Output, Patience, PlaceArgs, Plain, ReportArgs, Reports, Repos, Selection, Signers, Transfer};
use super::target::Target;
use super::values::{level, time};

#[derive(Debug, Args)]
pub struct GetArgs {
    #[command(flatten)]
    pub repos: Repos,
    /// Print the plan and stop (the same as `hfget plan`)
    #[arg(long, hide_short_help = true)]
    pub dry_run: bool,
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub share: Share,
    /// With --partition: publish the whole if all parts are there now
    ///
    /// When its part is done, a worker checks whether all other parts are there. If so, it does what `hfget publish`
    /// does. If several workers end together, more than one may publish: they write the same.
    #[arg(long, hide_short_help = true, requires = "partition", help_heading = "What to take")]
    pub publish_when_complete: bool,
    #[command(flatten)]
    pub place: PlaceArgs,
    #[command(flatten)]
    pub into: Target,
    #[command(flatten)]
    pub transfer: Transfer,
    #[command(flatten)]
    pub signers: Signers,
    #[command(flatten)]
    pub reports: Reports,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub habits: Habits,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Also compare the headers of all shards with the index
    ///
    /// Reads the headers by range requests.
    #[arg(long)]
    pub deep: bool,

    #[command(flatten)]
    pub repos: Repos,
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub share: Share,
    #[command(flatten)]
    pub place: PlaceArgs,
    #[command(flatten)]
    pub into: Target,
    #[command(flatten)]
    pub transfer: Transfer,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub report: ReportArgs,
}

#[derive(Debug, Args)]
pub struct PublishArgs {
    #[command(flatten)]
    pub repos: Repos,
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub place: PlaceArgs,
    #[command(flatten)]
    pub into: Target,
    #[command(flatten)]
    pub transfer: Transfer,
    #[command(flatten)]
    pub signers: Signers,
    #[command(flatten)]
    pub reports: Reports,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Also read every byte that a format checksums itself
    ///
    /// PyTorch archives have a CRC-32 for each record, TensorFlow checkpoints a CRC-32C for each tensor.
    #[arg(long)]
    pub deep: bool,

    /// Repos in the cache, folders such as ./model, or s3://…
    ///
    /// A folder is a path with a '/' at its start, './' or '../', or a folder that exists. In an object store (s3://,
    /// gs://, az://), the files that `hfget --to` uploaded are compared with their manifests.
    #[arg(value_name = "REPO|DIR|URL", required_unless_present_any = ["lock", "all"], value_hint = ValueHint::DirPath)]
    pub targets: Vec<String>,
    /// Fetch wrong and missing files again; end with 1 if there were any
    ///
    /// For repos in the cache or in --local-dir, and for --all. Each file that had to be fetched is a finding (`repaired`), which
    /// `--allow repaired` lets pass.
    #[arg(long, conflicts_with_all = ["offline", "prefer_offline", "lock"])]
    pub repair: bool,
    /// Compare with this lockfile, without a Hub; without repos, all of its repos
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub lock: Option<PathBuf>,
    /// Revision of the cached snapshot [default: main]
    #[arg(long, value_name = "REV")]
    pub revision: Option<Revision>,
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub place: PlaceArgs,
    #[command(flatten)]
    pub transfer: Transfer,
    #[command(flatten)]
    pub signers: Signers,
    #[command(flatten)]
    pub reports: Reports,
    #[command(flatten)]
    pub output: Output,
}

/// The locked state, for others to sign or to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LockForm {
    /// The statement of a model signature
    Oms,
    /// A bill of materials
    Cyclonedx,
    /// Provenance
    InToto,
}

#[derive(Debug, Args)]
pub struct StorageInitArgs {
    /// Pairs: hf://OWNER/MODEL[:REVISION], then the folder for its files
    #[arg(value_name = "SRC DST", value_hint = ValueHint::AnyPath)]
    pub pairs: Vec<String>,
    /// Where Kubernetes reads why a container failed; nothing is written unless the file is there
    #[arg(long, value_name = "FILE", default_value = "/dev/termination-log", hide = true)]
    pub termination_log: PathBuf,
    #[command(flatten)]
    pub plain: Plain,
    #[command(flatten)]
    pub patience: Patience,
}

#[derive(Debug, Args)]
pub struct LockArgs {
    /// Repos to lock; with --check or --update [default: all]
    ///
    /// With --check and --update they are repos of the lockfile.
    #[arg(value_name = "REPO", required_unless_present_any = ["check", "update", "format"])]
    pub repos: Vec<RepoSpec>,
    /// Branch, tag or commit [default: main]
    ///
    /// Or refs/pr/N. For repos that do not name one.
    #[arg(long, value_name = "REV", conflicts_with_all = ["check", "update"])]
    pub revision: Option<Revision>,
    /// The lockfile; repos that it has already are replaced, the others stay
    #[arg(
        short = 'o',
        long = "lock",
        value_name = "FILE",
        default_value = "hfget.lock",
        value_hint = ValueHint::FilePath
    )]
    pub file: PathBuf,
    /// Write oms, cyclonedx or in-toto to stdout instead
    ///
    /// oms is the statement that a signer of the model signs (OpenSSF Model Signing 1.0), cyclonedx a bill of materials
    /// (CycloneDX 1.6), in-toto the provenance of every file (SLSA 1.0). Without a repo, hfget takes the one of the
    /// lockfile. It reads small files, because a listing has no SHA-256 of them.
    #[arg(long, value_name = "FORM", hide_possible_values = true, conflicts_with_all = ["check", "update", "json"])]
    pub format: Option<LockForm>,
    /// Only show upstream changes; end with 1 if there are any
    #[arg(long, conflicts_with = "update")]
    pub check: bool,
    /// Lock the same repos again, with the options of the lockfile
    #[arg(long)]
    pub update: bool,
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub place: PlaceArgs,
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
    /// Only those that did not grow for this long, such as 7d or 12h
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub older_than: Option<Duration>,
    /// Hub cache folder [default: $HF_HUB_CACHE, $HF_HOME/hub or ~/.cache/huggingface/hub]
    #[arg(long, value_name = "DIR", conflicts_with = "local_dir", value_hint = ValueHint::DirPath)]
    pub cache_dir: Option<PathBuf>,
    /// A folder that was filled with --local-dir, instead of the cache
    #[arg(long, value_name = "DIR", conflicts_with = "repos", value_hint = ValueHint::DirPath)]
    pub local_dir: Option<PathBuf>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only these repos [default: every repo in the cache]
    #[arg(value_name = "REPO")]
    pub repos: Vec<RepoSpec>,
    /// Hub cache folder [default: $HF_HUB_CACHE, $HF_HOME/hub or ~/.cache/huggingface/hub]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub cache_dir: Option<PathBuf>,
    #[command(flatten)]
    pub plain: Plain,
}

#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// Repos, or snapshots of them: REPO@REVISION
    #[arg(value_name = "REPO[@REVISION]", required = true)]
    pub repos: Vec<RepoSpec>,
    /// Print what would be removed, and remove nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Hub cache folder [default: $HF_HUB_CACHE, $HF_HOME/hub or ~/.cache/huggingface/hub]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub cache_dir: Option<PathBuf>,
    #[command(flatten)]
    pub plain: Plain,
}

/// The cache that a flag names, or that of the environment.
pub fn cache_root(named: Option<&Path>) -> Option<PathBuf> {
    named.map(Path::to_path_buf).or_else(|| hfget_core::hub::cache_dir(|name| std::env::var_os(name)))
}

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// OWNER/NAME[@REVISION], datasets/…, spaces/…
    #[arg(value_name = "REPO", required_unless_present = "from_file")]
    pub repos: Vec<RepoSpec>,
    /// Also the repos that this file names, one a line
    ///
    /// '#' starts a comment, '-' is stdin.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub from_file: Option<PathBuf>,
    /// The mirror to check
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub mirror: String,
    /// What to compare the mirror with [default: $HF_ENDPOINT or https://huggingface.co]
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub endpoint: Option<String>,
    /// How closely: metadata, sample or full
    ///
    /// metadata: commit, listing, headers; sample: also some bytes of each file, and all shard headers; full: also every
    /// byte, against its digest.
    #[arg(long, value_name = "LEVEL", default_value = "sample", value_parser = level(), hide_possible_values = true)]
    pub level: Level,
    /// Choose the random ranges: the same seed gives the same ranges [default: another one each time]
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub seed: Option<u64>,
    /// A host that the mirror may redirect to (may be repeated)
    ///
    /// In addition to itself and the hosts that the endpoint redirects to; '.example.org' means all hosts below it.
    #[arg(long, value_name = "HOST", value_hint = ValueHint::Hostname)]
    pub allow_host: Vec<String>,
    /// Branch, tag or commit [default: main]
    ///
    /// Or refs/pr/N. For repos that do not name one.
    #[arg(long, value_name = "REV")]
    pub revision: Option<Revision>,
    /// Files to compare at once
    #[arg(
        long,
        value_name = "N",
        default_value = "8",
        hide_short_help = true,
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    pub jobs: u16,
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub output: Output,
    #[command(flatten)]
    pub report: ReportArgs,
    #[command(flatten)]
    pub patience: Patience,
}

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Repos, folders or files
    ///
    /// A folder or file is a path with a '/' at its start, './' or '../', or one that exists here.
    #[arg(value_name = "REPO|DIR|FILE", required = true, value_hint = ValueHint::AnyPath)]
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
    pub place: PlaceArgs,
    #[command(flatten)]
    pub transfer: Transfer,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell
    pub shell: Shell,
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder for a page of each command; it is created if it is missing
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}
