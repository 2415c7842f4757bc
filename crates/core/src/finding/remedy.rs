//! What a user can do about a finding or an error, as data. No flag and no command is named here: the program
//! that shows a remedy words it.

use serde::{Deserialize, Serialize};

use super::Take;
use crate::model::Family;

/// What the user can do. Its names and paths have the repo's or the user's spelling, so they are not yet safe for a
/// terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Remedy {
    // Names in the request.
    /// Check the repo's name, or who may see it.
    CheckRepo {
        /// Whether a token was sent.
        has_token: bool,
        /// Whether the endpoint is the public Hub.
        public_hub: bool,
    },
    /// Name one that exists.
    NameOneOf {
        /// The name in the request.
        asked: String,
        /// The names that exist.
        there: Vec<String>,
    },
    /// Name one of these: they differ from the request only in the case of letters.
    DidYouMean {
        /// The names that exist.
        there: Vec<String>,
    },
    /// Name a file that exists.
    NameFile {
        /// The name in the request.
        asked: String,
        /// The repo's files, or some of them.
        there: Vec<String>,
    },
    /// Name a branch, a tag, a pull request or a commit.
    NameRevision,
    /// Look at the repo's files.
    LookAtFiles,
    /// Write a glob that parses.
    FixGlob,
    /// Name a file, folder or repo that exists.
    NameExisting,
    /// Name files of a supported format.
    NameSupportedFormat,

    // Which files to take.
    /// Change the selection so that it takes the files that were left out.
    Take {
        /// The change.
        take: Take,
    },
    /// Choose one of several sets, or take everything.
    Choose {
        /// How a set is named.
        by: ChooseBy,
        /// Their names, with their sizes in bytes.
        choices: Vec<(String, u64)>,
    },
    /// The files may be alternatives: choose one, or take everything.
    ChooseIfAlternatives,
    /// The files are alternatives, as two of them have the same tensor: choose one, or take everything.
    ChooseAlternative,
    /// Ask for a family that exists.
    ChooseFamily {
        /// The families that exist, with their sizes in bytes.
        there: Vec<(Family, u64)>,
        /// Whether the user demanded one family; otherwise another one would be taken automatically.
        demanded: bool,
    },
    /// Ask for a family that has the variant.
    ChooseFamilyOfVariant {
        /// The families that have it.
        families: Vec<Family>,
    },
    /// Ask for one of the variants: the repo has nothing else.
    ChooseVariant {
        /// The variants that exist.
        there: Vec<String>,
    },
    /// Ask for no variant.
    AskForNoVariant,
    /// Name the files to take, or take everything.
    NameFiles,
    /// Name single files, or leave some out: the documents are too large to be read.
    NameFilesOrExclude,
    /// Leave out fewer files.
    ExcludeLess,
    /// Leave out the file with that name to take the rest. Nothing was fetched.
    ExcludeName,
    /// Take other files of the repo. No weights were fetched.
    TakeOtherFiles,
    /// Allow the code that the policy forbids. Nothing was fetched.
    AllowDenied,
    /// Leave out the repo's own code, which the policy forbids.
    LeaveOutCode {
        /// Whether the files are here already; otherwise nothing was fetched.
        fetched: bool,
    },
    /// Use a loader of Mistral's layout, or a converted repo.
    UseMistralLoader,
    /// Name the trusted signers.
    RequireSignature,
    /// Do not use the files. Ask the expected signer, or trust another one.
    AskSigner,
    /// Check the signature with another program, or ask for one over digests that are computed here.
    CheckSignatureElsewhere,
    /// Leave out the unsigned files, or allow them.
    LeaveOutUnsigned,
    /// Do not load the pickle. Take safetensors, or allow the pickle if it is the user's own.
    AvoidPickle,

    // Remedies that are another run.
    /// Fetch a repo.
    Fetch {
        /// The repo, with its name space.
        repo: String,
        /// The revision, if it is not the default one.
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
    /// Fetch it again, whatever the records say.
    FetchAgain {
        /// The repo, with its name space.
        repo: String,
    },
    /// Fetch the files that are wrong or missing.
    FetchWrong {
        /// The repo, with its name space.
        repo: String,
    },
    /// Fetch the files that the lockfile names.
    FetchLocked,
    /// Make the lockfile while the Hub may be asked.
    LockOnline {
        /// The repo, with its name space.
        repo: String,
    },
    /// Compare a folder's files with the Hub.
    VerifyFolder {
        /// The repo, if it is known.
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
    /// Run the workers of the fleet again: each fetches only the missing files of its part.
    RunWorkers,
    /// Use the files that are here.
    UseWhatIsHere {
        /// When the last of the files arrived.
        since: String,
        /// Another remedy.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        or: Option<Box<Remedy>>,
    },
    /// Use fewer connections.
    AskLessAtOnce,

    // Remedies about servers.
    /// Ask for access on the repo's page.
    AskForAccess {
        /// The page.
        page: String,
        /// Whether a token was sent.
        has_token: bool,
    },
    /// Give the CI job a token that states its identity.
    GiveJobToken,
    /// Let the repo or user trust the CI job.
    TrustJob,
    /// Make a new token, or send none.
    RenewToken,
    /// Name the server that the endpoint redirects to.
    UseEndpoint {
        /// The server's URL.
        endpoint: String,
    },
    /// Use another server: this one sends stale or broken files.
    UseOtherEndpoint {
        /// What is wrong with this one.
        why: BadServer,
    },
    /// Name a server that lists files as the endpoint, and take only bytes from this one.
    UseAsMirror,
    /// Give the endpoint its user name and password.
    GiveLogin,
    /// Give the proxy its user name and password.
    GiveProxyLogin,
    /// Trust the certificate's issuer.
    TrustIssuer,
    /// Check the network, the proxy and the endpoint.
    CheckNetwork,
    /// Name the endpoint with `http://`, if plain HTTP is meant.
    UsePlainHttp,
    /// Log in to the network.
    LogInToNetwork,
    /// Send the token to that server by naming it as the endpoint.
    NameEndpointForToken,
    /// Let the mirror refresh its revision; files are compared as of its own commit.
    RefreshMirror,
    /// Nothing: digests prove the bytes that arrive, but anybody on the way can read them.
    MindPlainHttp,
    /// Nothing: clients of the mirror cannot verify these files; this run compared them with the endpoint's listing.
    MindMissingDigests,
    /// Let the mirror answer with a commit and an `ETag`.
    AnswerWithEtag,
    /// Compare bytes: the mirror has nothing else.
    CompareBytes,
    /// Nothing: a mirror that serves only bytes works for some clients, not for all.
    MindBytesOnly,
    /// Let the mirror serve without a token: the token goes to the endpoint only.
    OpenMirror,
    /// Allow the host that the mirror redirects to.
    AllowHost,

    // Remedies on this machine.
    /// Free some space, or choose another destination.
    FreeSpace {
        /// Whether a check before the download found it, so that the user may switch that check off.
        checked_first: bool,
    },
    /// Change the permissions, or choose another destination.
    MendPermissions,
    /// Choose a destination that is writable.
    ChooseWritablePlace,
    /// Move it away, or choose another folder.
    MoveAway,
    /// Leave the name out, or keep the repo in the cache.
    AvoidReservedName,
    /// Choose another folder, or replace the files that are there.
    ChooseOtherFolder,
    /// Fetch the repo into a folder of its own.
    UseOwnFolder,
    /// Move these files away to keep them, or replace them. Nothing was fetched.
    KeepOrReplace,
    /// Move it away, or let it be removed: a loader may take it for the new model's.
    MoveAwayStale,
    /// Move it away, or take it from the new commit.
    MoveAwayMixed,

    // Remedies about object stores.
    /// Give credentials through the environment.
    GiveStoreCredentials,
    /// Upload a repo there first.
    FillStore,
    /// Remove the object, and upload the repo again.
    RemoveAndFillStore,

    // Registries and image layouts.
    /// Log in to the registry.
    LogIntoRegistry,
    /// A registry on another machine is asked over HTTPS only: give it a certificate, or use another way.
    ServeRegistryOverHttps,
    /// Put a repo there first.
    FillRegistry,
    /// Upload the repo there again, and replace the present content.
    FillRegistryAnew,
    /// Name the repo that the store, the registry or the archive has.
    NameRepoThere,
}

/// Why another run helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Again {
    /// The bytes that have arrived are kept.
    Resumes,
    /// The parts that were uploaded are not uploaded twice.
    ResumesUpload,
    /// Existing layers are not pushed again.
    ResumesPush,
    /// The server limits requests, less so with a token.
    LimitPasses,
    /// The fast transport failed; HTTP may work.
    OverHttp,
    /// Links expire, by this machine's clock.
    LinkExpired,
    /// Another process works on it.
    OtherProcess,
    /// The files were wrong, and were repaired.
    Repaired,
    /// Another program changed it during the run.
    ChangedMeanwhile,
    /// Other programs wrote to the store during the run.
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
    /// By the folder that counts as the root.
    Subfolder,
}

/// What is wrong with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum BadServer {
    /// The server, or a cache in front of it, is stale.
    Stale,
    /// It sends bytes that differ from its listing.
    SendsOtherBytes,
}
