//! What a user can do about a finding or an error, as data. No flag and no command is named here: whoever shows a
//! remedy words it, for the program that the user runs.

use serde::{Deserialize, Serialize};

use super::Take;
use crate::model::Family;

/// What can be done. Names and paths in it are as the repo or the user wrote them: not yet safe for a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Remedy {
    // Names, and what was asked for.
    /// Check the repo's name, or who may see it.
    CheckRepo {
        /// Whether a token was sent.
        has_token: bool,
        /// Whether the endpoint is the public Hub.
        public_hub: bool,
    },
    /// Name one of those that there are.
    NameOneOf {
        /// What was asked for.
        asked: String,
        /// What there is.
        there: Vec<String>,
    },
    /// Name one of these, which match what was asked for but for the case of letters.
    DidYouMean {
        /// What there is.
        there: Vec<String>,
    },
    /// Name a file that there is.
    NameFile {
        /// What was asked for.
        asked: String,
        /// The repo's files, or some of them.
        there: Vec<String>,
    },
    /// Name a branch, a tag, a pull request or a commit.
    NameRevision,
    /// Look at what the repo has.
    LookAtFiles,
    /// Write a glob that parses.
    FixGlob,
    /// Name a file, folder or repo that exists.
    NameExisting,
    /// Name files of a format that is read.
    NameSupportedFormat,

    // What to take of a repo.
    /// Change the selection so that it takes what was left out.
    Take {
        /// The change.
        take: Take,
    },
    /// Choose one of several sets, or take everything.
    Choose {
        /// How a set is named.
        by: ChooseBy,
        /// What they are called, with their bytes.
        choices: Vec<(String, u64)>,
    },
    /// The files may be alternatives: choose one, or take everything.
    ChooseIfAlternatives,
    /// The files are alternatives, as two of them have the same tensor: choose one, or take everything.
    ChooseAlternative,
    /// Ask for a family that is there.
    ChooseFamily {
        /// What is there, with bytes.
        there: Vec<(Family, u64)>,
        /// Whether one family was demanded, where others would be taken by themselves.
        demanded: bool,
    },
    /// Ask for a family that has the variant.
    ChooseFamilyOfVariant {
        /// Families that have it.
        families: Vec<Family>,
    },
    /// Ask for one of the variants: there is nothing else.
    ChooseVariant {
        /// What there is.
        there: Vec<String>,
    },
    /// Ask for no variant.
    AskForNoVariant,
    /// Name the files to take, or take everything.
    NameFiles,
    /// Name single files, or leave out some: the documents are too large to be read.
    NameFilesOrExclude,
    /// Leave out fewer files.
    ExcludeLess,
    /// Leave out the file with that name to take the rest. Nothing was fetched.
    ExcludeName,
    /// Take other files of the repo. No weights were fetched.
    TakeOtherFiles,
    /// Allow what the policy forbids. Nothing was fetched.
    AllowDenied,
    /// Use a loader of Mistral's layout, or a converted repo.
    UseMistralLoader,
    /// Do not load the pickle; take safetensors, or allow it if it is the user's own.
    AvoidPickle,

    // Another run.
    /// Fetch a repo.
    Fetch {
        /// The repo, with its name space.
        repo: String,
        /// The revision, where it is not the default one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<String>,
        /// Whether this run was not allowed to make requests.
        #[serde(default)]
        was_offline: bool,
    },
    /// Fetch the code of a repo, alone or in the same run.
    FetchCode {
        /// The repo, with its name space.
        repo: String,
    },
    /// Fetch it again, whatever is recorded of it.
    FetchAgain {
        /// The repo, with its name space.
        repo: String,
    },
    /// Fetch what is wrong or missing.
    FetchWrong {
        /// The repo, with its name space.
        repo: String,
    },
    /// Fetch what the lockfile names.
    FetchLocked,
    /// Fix the selection while the Hub may be asked.
    LockOnline {
        /// The repo, with its name space.
        repo: String,
    },
    /// Compare a folder's files with the Hub.
    VerifyFolder {
        /// The repo, where it is known.
        repo: Option<String>,
        /// The folder.
        dir: std::path::PathBuf,
    },
    /// Fill the store with the repo again.
    FillStoreAgain {
        /// The repo, with its name space.
        repo: String,
        /// The URL of the store.
        store: String,
    },
    /// Run it again.
    RunAgain {
        /// Why that helps.
        why: Again,
    },
    /// Use what is here.
    UseWhatIsHere {
        /// Since when all of it is here.
        since: String,
        /// What else can be done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        or: Option<Box<Remedy>>,
    },
    /// Use fewer connections.
    AskLessAtOnce,

    // Servers.
    /// Ask for access on the repo's page.
    AskForAccess {
        /// The page.
        page: String,
        /// Whether a token was sent.
        has_token: bool,
    },
    /// Give the CI job a token that says who it is.
    GiveJobToken,
    /// Let the repo or user trust the CI job.
    TrustJob,
    /// Make a new token, or send none.
    RenewToken,
    /// Name the server that the endpoint sends us to.
    UseEndpoint {
        /// It.
        endpoint: String,
    },
    /// Use another server: this one sends what is stale or broken.
    UseOtherEndpoint {
        /// What is wrong with this one.
        why: BadServer,
    },
    /// Ask a server that lists files, and take only bytes from this one.
    UseAsMirror,
    /// Give the endpoint its user name and password.
    GiveLogin,
    /// Give the proxy its user name and password.
    GiveProxyLogin,
    /// Trust the certificate's issuer.
    TrustIssuer,
    /// Check the network, the proxy and the endpoint.
    CheckNetwork,
    /// Log in to the network.
    LogInToNetwork,
    /// Send the token to that server by naming it as the endpoint.
    NameEndpointForToken,
    /// Let the mirror refresh its revision; files are compared as of its own commit.
    RefreshMirror,
    /// Nothing: digests prove what arrives, but anybody on the way can read it.
    MindPlainHttp,
    /// Nothing: clients of the mirror cannot verify these files, this run compared what the endpoint lists.
    MindMissingDigests,
    /// Let the mirror answer with a commit and an `ETag`.
    AnswerWithEtag,
    /// Compare bytes: the mirror has nothing else.
    CompareBytes,
    /// Nothing: a mirror of bytes alone serves some clients, not all.
    MindBytesOnly,
    /// Let the mirror serve without a token: the token goes to the endpoint only.
    OpenMirror,
    /// Allow the host that the mirror redirects to.
    AllowHost,

    // This machine.
    /// Free some space, or choose another place.
    FreeSpace {
        /// Whether nothing was tried yet, so that the check of space may be switched off.
        checked_first: bool,
    },
    /// Mend the permissions, or choose another place.
    MendPermissions,
    /// Choose a place that can be written to.
    ChooseWritablePlace,
    /// Move it away, or choose another folder.
    MoveAway,
    /// Leave the name out, or keep the repo in the cache.
    AvoidReservedName,
    /// Choose another folder, or replace what is there.
    ChooseOtherFolder,
    /// Fetch the repo into a folder of its own.
    UseOwnFolder,
    /// Move these files away to keep them, or replace them. Nothing was fetched.
    KeepOrReplace,
    /// Move it away, or let it be removed: a loader may take it for the new model's.
    MoveAwayStale,
    /// Move it away, or take it from the new commit.
    MoveAwayMixed,

    // Object stores.
    /// Give credentials through the environment.
    GiveStoreCredentials,
    /// Put a repo there first.
    FillStore,
    /// Remove the object, and put the repo there again.
    RemoveAndFillStore,

    // Registries and image layouts.
    /// Log in to the registry.
    LogIntoRegistry,
    /// Put a repo there first.
    FillRegistry,
    /// Put the repo there again, over what is there.
    FillRegistryAnew,
}

/// Why another run helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Again {
    /// What has arrived is kept.
    Resumes,
    /// What was uploaded is not uploaded twice.
    ResumesUpload,
    /// Layers that are there are not pushed twice.
    ResumesPush,
    /// The server limits requests, less so with a token.
    LimitPasses,
    /// The transport failed; over HTTP it may not.
    OverHttp,
    /// Links expire, by this machine's clock.
    LinkExpired,
    /// Another process works on it.
    OtherProcess,
    /// Another program changed it during the run.
    ChangedMeanwhile,
    /// Others wrote to the store during the run.
    OthersWrote,
}

/// How one of several sets is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ChooseBy {
    /// By a variant.
    Variant,
    /// By a variant that is a folder's name.
    VariantFolder,
    /// By the folder that is taken for the root.
    Subfolder,
}

/// What is wrong with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum BadServer {
    /// It, or a cache before it, is stale.
    Stale,
    /// It sends other bytes than it lists.
    SendsOtherBytes,
}
