//! From a repo's name to a plan: pin the revision, list the files, run selection with the documents that it needs, make
//! the plan.

use crate::model::{Location, Options, Purpose};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use globset::{GlobBuilder, GlobSetBuilder};
use tracing::{Instrument as _, info, info_span};

use super::documents::Early;
use super::fleet::Aim;
use super::signed::Signatures;
use super::{Error, Session};
use crate::finding::{Code, Finding, Origin, Remedy, Severity};
use crate::model::{CommitId, Entry, Listing, RepoId, RepoInfo, RepoSpec, RepoType, Revision};
use crate::plan::{Item, Plan};
use crate::progress::Event;
use crate::report::PlanReport;
use crate::select::Selection;
use crate::store::{Conflict, Store, conflicts, noted_clashes};

/// A job that is ready to run.
#[derive(Debug)]
#[non_exhaustive]
pub struct Prepared {
    /// The listing of the repo.
    pub listing: Listing,
    /// The selected files.
    pub selection: Selection,
    /// How much of them is here.
    pub plan: Plan,
    /// The folder that is the destination, if it is one.
    pub(super) store: Option<Arc<Store>>,
    /// Who stated the files' sizes and digests.
    pub(super) origin: Origin,
    /// Whether the listing is complete: a file that it does not name is not in the repo.
    pub(super) whole: bool,
    /// The files that were fetched because selection had to read them.
    pub(super) early: Early,
    /// Other commits of this repo whose files may be here.
    pub(super) commits: BTreeSet<CommitId>,
    /// Findings about names that are selected and cannot be used.
    pub(super) refused: Vec<Finding>,
    /// The signatures among the repo's files.
    pub(super) signatures: Signatures,
    /// The destination of the files.
    pub(super) place: Location,
    /// Its purpose.
    pub(super) aim: Aim,
}

/// A listing, who states it, and whether it is complete.
#[derive(Debug)]
pub(super) struct Listed {
    pub listing: Listing,
    /// Who states it.
    pub origin: Origin,
    /// Whether it is complete.
    pub whole: bool,
}

impl Listed {
    /// A complete listing, as `origin` states it.
    pub fn whole(listing: Listing, origin: Origin) -> Self {
        Listed { listing, origin, whole: true }
    }
}

impl Prepared {
    /// Checks that there is something to do. A plan can show a selection of nothing; a job of nothing is an error.
    ///
    /// # Errors
    /// [`Error::NothingSelected`] if no file is wanted, or if every weight of the selection is excluded.
    #[doc(hidden)] // for the command
    pub fn not_empty(&self) -> Result<(), Error> {
        let info = &self.listing.info;
        if self.selection.weights_excluded && self.unsafe_names().is_empty() {
            return Err(Error::NothingSelected {
                repo: info.repo_type.qualify(&info.id),
                why: "all of its weights are excluded, so there is nothing to verify".to_owned(),
                remedy: Some(Remedy::ExcludeLess),
            });
        }
        if !self.selection.files.is_empty() || !self.unsafe_names().is_empty() {
            return Ok(());
        }
        let said = self.selection.findings.iter().find(|finding| finding.code == Code::WeightsAbsent);
        Err(Error::NothingSelected {
            repo: info.repo_type.qualify(&info.id),
            why: said.map_or("no file of it is selected", |finding| finding.message.as_str()).to_owned(),
            remedy: said.and_then(|finding| finding.remedy.clone()),
        })
    }

    /// The listed files of the items that `wanted` accepts.
    pub(super) fn entries(&self, wanted: impl Fn(&Item) -> bool) -> Vec<Entry> {
        self.plan.items.iter().filter(|item| wanted(item)).map(|item| item.entry.clone()).collect()
    }

    /// The report of a dry run.
    #[must_use]
    #[doc(hidden)] // for the command
    pub fn report(&self) -> PlanReport<'_> {
        PlanReport { info: &self.listing.info, selection: &self.selection, plan: &self.plan }
    }

    /// Findings about unsafe names. While there are any, nothing is fetched.
    #[doc(hidden)] // for the command
    pub fn unsafe_names(&self) -> Vec<Finding> {
        let remedy = || Remedy::ExcludeName;
        let mut found: Vec<Finding> = self.refused.iter().map(|finding| finding.clone().remedy(remedy())).collect();
        let clashes = conflicts(self.selection.files.iter().map(|f| &f.path));
        let folds = clashes.iter().any(|c| matches!(c, Conflict::CaseOnly(..)))
            && self.store.as_ref().is_some_and(|store| store.case_insensitive());
        for clash in clashes {
            match clash {
                Conflict::FileIsFolder(file, path) => found.push(
                    Finding::new(
                        Code::PathUnsafe,
                        &path,
                        format!("{} is a file, and a folder on the way to this one", file.shown()),
                    )
                    .remedy(remedy()),
                ),
                Conflict::CaseOnly(a, b) if folds => {
                    found.push(
                        Finding::new(
                            Code::PathUnsafe,
                            &b,
                            format!(
                                "it differs from {} only in case, and this file system treats both names as one",
                                a.shown()
                            ),
                        )
                        .remedy(remedy()),
                    );
                }
                Conflict::CaseOnly(..) => {}
            }
        }
        if self.store.as_ref().is_some_and(|store| store.is_local_dir()) {
            for (file, path) in noted_clashes(self.selection.files.iter().map(|f| &f.path)) {
                let message = format!("its folder has the name of what is noted of {} in a local dir", file.shown());
                found.push(Finding::new(Code::PathUnsafe, &path, message).remedy(remedy()));
            }
        }
        found
    }
}

/// Findings about names that are not safe paths: those of selected files, and the others.
fn refused_names(listing: &Listing, options: &Options) -> (Vec<Finding>, Vec<Finding>) {
    let compiled = |globs: &[String]| {
        let mut set = GlobSetBuilder::new();
        for glob in globs {
            if let Ok(glob) = GlobBuilder::new(glob).literal_separator(false).backslash_escape(true).build() {
                set.add(glob);
            }
        }
        // A set of globs that is too large matches nothing; then every name has a finding.
        set.build().unwrap_or_default()
    };
    let (exclude, include) = (compiled(&options.exclude), compiled(&options.include));
    // No loader looks for such a name in a model; in other repos all files are selected.
    let all = options.all || listing.info.repo_type != RepoType::Model;
    let left = listing.rejected.iter().filter(|name| !exclude.is_match(&name.error.text));
    let (wanted, other): (Vec<_>, Vec<_>) = left.partition(|name| all || include.is_match(&name.error.text));
    let say = |names: Vec<&crate::model::Rejected>, severity| {
        let finding = |name: &crate::model::Rejected| {
            let message = format!("the listing has a name that is not safe to use: {}", name.error.reason);
            Finding::new(Code::PathUnsafe, &name.error.text, message).severity(severity)
        };
        names.into_iter().map(finding).collect()
    };
    (say(wanted, Severity::Error), say(other, Severity::Warning))
}

/// Findings of the Hub's own scan about the selected files.
fn scanned(listing: &Listing, selection: &Selection) -> Vec<Finding> {
    let wanted = |path: &str| selection.files.iter().any(|f| f.path.as_str() == path);
    let issues = listing.info.card.issues.iter().filter(|(path, _)| wanted(path));
    issues
        .map(|(path, level)| Finding::new(Code::HubScan, path, format!("the Hub's own scan calls it {level}")))
        .collect()
}

impl Session {
    /// Prepares a job. `anew`: ask for a new listing, even if one is kept.
    pub(super) async fn prepare(&self, spec: &RepoSpec, options: &Options, anew: bool) -> Result<Prepared, Error> {
        let span = Self::span(spec.repo_type, &spec.id);
        self.prepare_within(spec, options, anew, false).instrument(span).await
    }

    /// The same for a job that is done at once: documents that decide no file may be read after the files have come.
    pub(super) async fn prepare_to_get(
        &self,
        spec: &RepoSpec,
        options: &Options,
        anew: bool,
    ) -> Result<Prepared, Error> {
        let span = Self::span(spec.repo_type, &spec.id);
        // A file that is excluded does not come.
        let may_wait = options.all && options.exclude.is_empty() && !self.config.policy.denies(Code::ForeignCode);
        self.prepare_within(spec, options, anew, may_wait).instrument(span).await
    }

    /// The span of a repo's job.
    pub(super) fn span(repo_type: RepoType, id: &RepoId) -> tracing::Span {
        info_span!("repo", name = %repo_type.qualify(id))
    }

    async fn prepare_within(
        &self,
        spec: &RepoSpec,
        options: &Options,
        anew: bool,
        may_wait: bool,
    ) -> Result<Prepared, Error> {
        let store = self.store(spec.repo_type, &spec.id);
        let listed = self.list(spec, store.as_ref(), anew || self.config.fetch.force).await?;
        let listing = &listed.listing;
        let mut options = options.clone();
        // A pasted URL of a folder selects the folder; one of a file selects the file.
        if let Some(path) = &spec.path {
            if listing.get(path.as_str()).is_some() {
                options.include.push(path.as_str().to_owned());
            } else if options.subfolder.is_none() {
                options.subfolder = Some(path.clone());
            }
        }
        self.prepare_listing(listed, options, store, may_wait).await
    }

    /// Prepares a job with a given listing. `may_wait`: documents that decide no file may be read later.
    pub(super) async fn prepare_listing(
        &self,
        listed: Listed,
        options: Options,
        store: Option<Arc<Store>>,
        may_wait: bool,
    ) -> Result<Prepared, Error> {
        let Listed { listing, origin, whole } = listed;
        let commits = match &store {
            Some(store) => self.check_folder(store, &listing.info).await?,
            None => BTreeSet::new(),
        };
        let (mut selection, mut early) = self.choose(&listing, &options, store.as_ref(), may_wait).await?;
        let signatures = self.signatures(&listing, &mut selection, &mut early, store.as_ref()).await?;
        // With `all`, a user who excludes the weights wants the other files.
        selection.weights_excluded &= !options.all;
        selection.findings.extend(scanned(&listing, &selection));
        if !whole {
            // Only the present files were checked: the repo may have more.
            let info = &listing.info;
            let revision = (info.revision != Revision::default()).then(|| info.revision.as_str().to_owned());
            for finding in selection.findings.iter_mut().filter(|finding| finding.code == Code::WeightsAbsent) {
                "no weights of this repo are here, and it is not known what else it has"
                    .clone_into(&mut finding.message);
                let (repo, was_offline) = (info.repo_type.qualify(&info.id), self.config.offline);
                finding.remedy = Some(Remedy::Fetch { repo, revision: revision.clone(), was_offline });
            }
        }
        let commit = listing.info.commit;
        let wanted: Vec<(Entry, Purpose)> =
            selection.files.iter().filter_map(|f| Some((listing.get(f.path.as_str())?.clone(), f.purpose))).collect();
        let (plan, place) = match &store {
            Some(store) => {
                let (own, place) = (Arc::clone(store), store.snapshot_dir(&commit));
                (self.blocking(store, move |_| Plan::new(&own, &commit, wanted)).await?, Location::Folder(place))
            }
            None => (Plan::of_absent(wanted), self.destination()),
        };
        info!(files = plan.items.len(), bytes = plan.total_bytes(), to_fetch = plan.missing_bytes(), "planned");
        let (refused, unwanted) = refused_names(&listing, &options);
        selection.findings.extend(unwanted);
        let aim = Aim::default();
        Ok(Prepared { listing, selection, plan, store, origin, whole, early, commits, refused, signatures, place, aim })
    }

    /// The listing at the pinned commit: one request if an earlier run kept the listing of the same endpoint.
    /// `anew`: ask for a new one in any case.
    pub(super) async fn list(&self, spec: &RepoSpec, store: Option<&Arc<Store>>, anew: bool) -> Result<Listed, Error> {
        let revision = spec.revision.clone().unwrap_or_default();
        if self.config.offline {
            return self.list_offline(spec, &revision, store).await;
        }
        let asked = Instant::now();
        let info = self.source().resolve(spec.repo_type, &spec.id, &revision, &*self.progress).await?;
        info!(commit = %info.commit.short(), took = ?asked.elapsed(), "resolved");
        self.progress.event(Event::Resolved(&info));
        let commit = info.commit;
        let endpoint = self.endpoint();
        if !anew
            && let Some(store) = store
            && let Some(entries) = self.blocking(store, move |store| Ok(store.read_listing(&commit, &endpoint))).await?
        {
            return Ok(Listed::whole(Listing::new(info, entries, Vec::new()), Origin::KeptListing));
        }
        let asked = Instant::now();
        let listing = self.source().list(&info, &*self.progress).await?;
        info!(files = listing.entries.len(), took = ?asked.elapsed(), "listed");
        // If the listing has no digests, the headers of each file state them.
        let origin = match self.source().origin() {
            Origin::Hub if listing.by_headers => Origin::Headers,
            other => other,
        };
        Ok(Listed { listing, origin, whole: self.lists_all() })
    }

    /// The destination of the files.
    pub(super) fn destination(&self) -> Location {
        match &self.config.destination {
            super::DestinationConfig::Cache { root, .. } => root.clone().into(),
            super::DestinationConfig::LocalDir(dir) => dir.clone().into(),
            super::DestinationConfig::Nowhere => Location::Store("nowhere".to_owned()),
            super::DestinationConfig::Objects(store) => Location::Store(store.url().to_string()),
            super::DestinationConfig::Oci(target) => Location::Store(target.content.reference().to_string()),
        }
    }

    /// The error that a repo is not at the destination.
    pub(super) fn not_cached(&self, spec: &RepoSpec) -> Error {
        let revision = spec.revision.clone().unwrap_or_default().as_str().to_owned();
        Error::NotCached { repo: spec.repo_type.qualify(&spec.id), revision, place: self.destination() }
    }

    /// The commit of a revision from an earlier run, and its listing as far as it is known.
    async fn kept_listing(
        &self,
        store: &Arc<Store>,
        revision: &Revision,
    ) -> Result<Option<(CommitId, Vec<Entry>, Origin)>, Error> {
        let wanted = revision.clone();
        self.blocking(store, move |store| {
            let commit = store.read_ref(&wanted);
            Ok(commit.and_then(|commit| {
                let kept = store.read_listing_offline(&commit).map(|entries| (entries, Origin::KeptListing));
                let (entries, origin) = kept.or_else(|| {
                    super::folder::listing_of_snapshot(store, &commit).map(|entries| (entries, Origin::BlobNames))
                })?;
                Some((commit, entries, origin))
            }))
        })
        .await
    }

    pub(super) async fn list_offline(
        &self,
        spec: &RepoSpec,
        revision: &Revision,
        store: Option<&Arc<Store>>,
    ) -> Result<Listed, Error> {
        let mut found = match store {
            Some(store) => self.kept_listing(store, revision).await?,
            None => None,
        };
        if found.is_none()
            && let Some(nearby) = self.nearby(spec.repo_type, &spec.id)
        {
            found = self.kept_listing(&nearby, revision).await?;
        }
        let Some((commit, entries, origin)) = found else {
            return Err(self.not_cached(spec));
        };
        let info = RepoInfo::new(spec.repo_type, spec.id.clone(), revision.clone(), commit);
        // The blobs' names list the files that are here, not all files of the repo.
        let whole = origin == Origin::KeptListing;
        Ok(Listed { listing: Listing::new(info, entries, Vec::new()), origin, whole })
    }
}
