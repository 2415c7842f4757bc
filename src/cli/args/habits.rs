//! Flags of other tools that change nothing here, because hfget does it anyway. Flags of other tools that do have
//! an effect are aliases of our own flags.

use clap::Args;

#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools)] // no code reads them
pub struct Habits {
    /// Happens anyway: a run continues where the last one ended
    #[arg(long, hide = true)]
    pub resume_download: bool,
    /// Happens anyway: --local-dir gets plain files
    #[arg(long, value_name = "auto|true|false", hide = true)]
    pub local_dir_use_symlinks: Option<String>,
    /// Happens anyway: tables are not cut
    #[arg(long, hide = true)]
    pub no_truncate: bool,
    /// Takes --force back
    #[arg(long, overrides_with = "force", hide = true)]
    pub no_force_download: bool,
    /// Takes --dry-run back
    #[arg(long, overrides_with = "dry_run", hide = true)]
    pub no_dry_run: bool,
}

impl Habits {
    /// The note for a flag that asks for something that hfget does not do.
    pub fn note(&self) -> Option<&'static str> {
        let wanted = self.local_dir_use_symlinks.as_deref().is_some_and(|how| !how.eq_ignore_ascii_case("false"));
        wanted.then_some(
            "--local-dir writes plain files, never links to the cache: --local-dir-use-symlinks changes nothing",
        )
    }
}
