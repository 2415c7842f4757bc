//! The words of remedies in this command: its flags and its command lines. The library chooses the remedy. Text in
//! backquotes is a command line that works when it is pasted.

use hfget_core::finding::{Again, BadServer, ChooseBy, Remedy, Take};
use hfget_core::hub::ConfigError;
use hfget_core::model::{Family, RepoId, RepoPath, RepoSpec, SpecError};
use hfget_core::unstable::hub::Withheld;
use hfget_core::unstable::text::{bytes, few};

use super::suggest::{choices, meant};

/// The most choices that are named.
const SHOWN: usize = 20;

/// The remedy in one line.
pub fn words(remedy: &Remedy) -> String {
    match remedy {
        Remedy::CheckRepo { has_token, public_hub } => check_repo(*has_token, *public_hub),
        Remedy::NameOneOf { asked, there } => choices(asked, there),
        Remedy::DidYouMean { there } => format!("did you mean {}?", few(there, 3)),
        Remedy::NameFile { asked, there } => did_you_mean(asked, there),
        Remedy::Take { take } => format!("to take it, {}", take_words(take, "add ")),
        Remedy::Choose { by, choices } => choose(*by, choices),
        Remedy::ChooseFamily { there, demanded } => {
            let next = if *demanded {
                "name one of them with --only, or use --prefer, which takes the next best family"
            } else {
                "take files with --include GLOB, or everything with --all"
            };
            format!("the repo has {}; {next}", families(there))
        }
        Remedy::ChooseFamilyOfVariant { families } => {
            let names: Vec<&str> = families.iter().map(|family| family.as_str()).collect();
            format!("the {} weights have it: add --only {}", names.join(" and "), names.join(" or --only "))
        }
        Remedy::ChooseVariant { there } => {
            let quoted: Vec<String> = there.iter().take(SHOWN).map(|variant| quoted(variant)).collect();
            format!("add --variant {}", quoted.join(" or --variant "))
        }
        Remedy::Fetch { repo, revision, was_offline } => {
            let revision = revision.as_ref().map(|revision| format!("@{revision}")).unwrap_or_default();
            let online = if *was_offline { " without --offline" } else { "" };
            format!("to fetch it, run `hfget {repo}{revision}`{online}")
        }
        Remedy::FetchCode { repo } => {
            format!("to fetch it, run `hfget {repo} --include '*.py'`, or add --follow-code")
        }
        Remedy::FetchAgain { repo } => {
            format!("the cache's record cannot be written; to fetch the file again, run `hfget {repo} --force`")
        }
        Remedy::FetchWrong { repo } => format!("to fetch wrong and missing files, run `hfget {repo}`"),
        Remedy::LockOnline { repo } => format!("to ask the Hub, run `hfget lock {repo}` without --offline"),
        Remedy::VerifyFolder { repo, dir } => {
            let repo = repo.as_deref().unwrap_or("OWNER/NAME");
            let dir = quoted(&dir.display().to_string());
            format!("to compare every file with the Hub, run `hfget verify {repo} --local-dir {dir}`")
        }
        Remedy::FillStoreAgain { repo, store } => {
            format!("to upload it again, run `hfget {repo} --to {} --force`", quoted(store))
        }
        Remedy::RunWorkers => "run the workers again: each fetches only the missing files of its part".to_owned(),
        Remedy::RunAgain { why } => again(*why).to_owned(),
        Remedy::UseWhatIsHere { since, or } => {
            let or = or.as_ref().map(|or| format!("; or {}", words(or))).unwrap_or_default();
            format!("every file is here, as of {since}: add --offline to use it{or}")
        }
        Remedy::AskForAccess { page, has_token: true } => {
            format!("ask for access at {page} with the account of your token")
        }
        Remedy::AskForAccess { page, has_token: false } => format!("ask for access at {page}, then set HF_TOKEN"),
        Remedy::UseEndpoint { endpoint } => format!("if you mean that server, add --endpoint {endpoint}"),
        Remedy::UseOtherEndpoint { why: BadServer::Stale } => {
            "the mirror or cache in front of the Hub is stale or broken: try another --endpoint".to_owned()
        }
        Remedy::UseOtherEndpoint { .. } => {
            "the server sends other bytes than it lists: try another --endpoint, and report it".to_owned()
        }
        other => plain(other).to_owned(),
    }
}

/// The remedies that need no name or number.
fn plain(remedy: &Remedy) -> &'static str {
    match remedy {
        Remedy::NameRevision => "name a branch, a tag, refs/pr/N or a full commit hash",
        Remedy::LookAtFiles => "to see the repo's files, run `hfget plan -v`",
        Remedy::FixGlob => "'*' and '?' match anything, '[abc]' matches one of a set; quote the pattern",
        Remedy::NameExisting => "name a repo, or a file or folder that exists and that you may read",
        Remedy::NameSupportedFormat => "hfget reads safetensors, PyTorch, GGUF, ONNX, TensorFlow, HDF5 and Flax files",
        Remedy::ChooseIfAlternatives => "if the files are alternatives, name one with --variant",
        Remedy::ChooseAlternative => {
            "the files are alternatives: name one with --variant, or take everything with --all"
        }
        Remedy::AskForNoVariant => "the weights have no variants: leave out --variant",
        Remedy::NameFiles => "take files with --with GLOB, or everything with --all",
        Remedy::NameFilesOrExclude => "take single files with --include, or leave out some with --exclude",
        Remedy::ExcludeLess => "leave out fewer files; `hfget plan` shows which --exclude left out which file",
        Remedy::ExcludeName => "nothing was fetched; to take the rest, --exclude this name",
        Remedy::TakeOtherFiles => "no weights were fetched; to take other files of the repo, use --only or --include",
        Remedy::AllowDenied => "nothing was fetched, because --deny forbids it",
        Remedy::LeaveOutCode { fetched: false } => {
            "nothing was fetched, because --deny forbids it; to leave out code, add --no-code or --exclude '*.py' (with a \
             lockfile: when you lock the repo)"
        }
        Remedy::LeaveOutCode { fetched: true } => {
            "loaders run it when they are told to trust the repo's code; to have the repo without it, fetch it into \
             another place with --no-code or --exclude '*.py'"
        }
        Remedy::UseMistralLoader => "vLLM and mistral-inference read it; transformers needs a converted repo",
        Remedy::RequireSignature => {
            "to check it, add --require-signature with the key, certificate or identity that you trust"
        }
        Remedy::AskSigner => "do not use the files; ask the publisher, and check that you trust the right signer",
        Remedy::CheckSignatureElsewhere => {
            "check it with `model_signing verify`, or ask the publisher for a signature over the SHA-256 of whole files, \
             which `model_signing sign` makes"
        }
        Remedy::LeaveOutUnsigned => {
            "to take the rest, --exclude it; to take it all the same, add --allow file-unsigned"
        }
        Remedy::AvoidPickle => {
            "do not load it; take the safetensors family, or add --allow-unsafe-pickle if you made the file yourself"
        }
        Remedy::FetchLocked => "to fetch it, run `hfget --locked`",
        Remedy::AskLessAtOnce => "to send fewer requests at once, lower --jobs",
        Remedy::GiveJobToken => {
            "give the GitHub job `permissions: id-token: write`, or set HF_OIDC_ID_TOKEN to the job's id token"
        }
        Remedy::TrustJob => {
            "let the repo or user that HF_OIDC_RESOURCE names trust this job, in its settings on the Hub"
        }
        Remedy::RenewToken => "make a new token; for public repos none is needed (unset HF_TOKEN, leave out --token)",
        Remedy::UseAsMirror => {
            "name a server that lists files as the endpoint, and take bytes from this one with --mirror"
        }
        Remedy::GiveLogin => "write the user name and the password into the URL: --endpoint https://USER:PASSWORD@HOST",
        Remedy::GiveProxyLogin => {
            "the proxy wants a user name and a password: set HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT (and HTTP_PROXY)"
        }
        Remedy::TrustIssuer => {
            "if it is your company's proxy or your own mirror, name its certificates with SSL_CERT_FILE=FILE"
        }
        Remedy::CheckNetwork => {
            "check the network, HTTPS_PROXY, and the address that --endpoint, HF_ENDPOINT or --mirror names; then run again: \
             hfget keeps what has arrived"
        }
        Remedy::LogInToNetwork => "log in to the network, or check the proxy and --endpoint",
        Remedy::NameEndpointForToken => "to send the token to that server, name it with --endpoint",
        Remedy::RefreshMirror => {
            "let the mirror refresh the revision; hfget compared the files of the mirror's own commit"
        }
        Remedy::MindPlainHttp => "digests still prove what arrives, but anybody on the way can read it",
        Remedy::MindMissingDigests => {
            "clients of the mirror cannot verify these files; hfget compared them with the endpoint's listing"
        }
        Remedy::AnswerWithEtag => "huggingface_hub refuses to download files without a commit or an ETag",
        Remedy::CompareBytes => "use --level sample or --level full",
        Remedy::MindBytesOnly => "`hfget --mirror` can use such a mirror, huggingface_hub cannot",
        Remedy::OpenMirror => {
            "the token goes to the endpoint only; to check a mirror that wants a token of its own, let it serve without one"
        }
        Remedy::AllowHost => "hfget did not follow it; if you trust the host, add --allow-host HOST",
        Remedy::FreeSpace { checked_first: true } => {
            "free some space, or choose another place with --cache-dir or --local-dir; to try it all the same, add --no-space-check"
        }
        Remedy::FreeSpace { checked_first: false } => {
            "free some space, or choose another place with --cache-dir or --local-dir; hfget keeps what has arrived, and the next run resumes"
        }
        Remedy::MendPermissions => {
            "check the owner and the mode of that path, or choose another place with --cache-dir or --local-dir"
        }
        Remedy::ChooseWritablePlace => {
            "that file system is read-only: choose another place with --cache-dir or --local-dir, or add --offline to use the files that are there"
        }
        Remedy::MoveAway => "move it away, or choose another folder",
        Remedy::AvoidReservedName => "--exclude it, or keep the repo in the cache instead of a --local-dir",
        Remedy::ChooseOtherFolder => {
            "name another folder with --local-dir, or add --force to add the new files there and replace files of the same name"
        }
        Remedy::UseOwnFolder => "fetch the repo into a folder of its own",
        Remedy::KeepOrReplace => {
            "nothing was fetched; to keep these files, move them away; to replace them, add --force"
        }
        Remedy::MoveAwayStale => "a loader may take it for the new model's: move it away, or add --force to remove it",
        Remedy::MoveAwayMixed => "move it away, or take it from the new commit with --with",
        Remedy::GiveStoreCredentials => {
            "set the credentials in the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION (and \
             AWS_ENDPOINT_URL for other S3 servers), GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME and \
             AZURE_STORAGE_ACCOUNT_KEY, or use the machine's role"
        }
        Remedy::FillStore => "to upload a repo, run `hfget REPO --to URL`; hfget does not create buckets",
        Remedy::RemoveAndFillStore => "remove it, and upload the repo again with `hfget REPO --to URL`",
        Remedy::LogIntoRegistry => {
            "log in with `docker login REGISTRY` or `podman login REGISTRY`: hfget reads their files and credential helpers"
        }
        Remedy::ServeRegistryOverHttps => {
            "hfget asks a registry on another machine over HTTPS only: give it a certificate, reach it as localhost through \
             `ssh -L 5000:localhost:5000 HOST`, or write --to oci-archive:FILE.tar and copy that with skopeo"
        }
        Remedy::UsePlainHttp => "if you mean plain HTTP, write http:// in --endpoint, --mirror or HF_ENDPOINT",
        Remedy::FillRegistry => "to put a repo there, run `hfget REPO --to oci://REGISTRY/NAME:TAG`",
        Remedy::FillRegistryAnew => "name another place, or replace the present content: `hfget REPO --to URL --force`",
        Remedy::NameRepoThere => "name the repo that is there, or another place with --endpoint",
        _ => "run it again with -v, and report what it says",
    }
}

/// The change of a selection in words: what to add to the command, or to leave out. `add` is the text before the part
/// to add.
pub fn take_words(take: &Take, add: &str) -> String {
    match take {
        Take::Files { glob } => format!("{add}--with {}", quoted(glob)),
        Take::Weights { family, variant } => {
            let only = family.map(|family| format!("--only {family}"));
            let variant = variant.as_ref().map(|variant| format!("--variant {}", quoted(variant)));
            let all: Vec<String> = only.into_iter().chain(variant).collect();
            format!("{add}{}", all.join(" "))
        }
        Take::NotExcluded { pattern } => format!("leave out --exclude {}", quoted(pattern)),
        Take::Code => "leave out --no-code".to_owned(),
        Take::NoVariant => "leave out --variant".to_owned(),
        Take::NoSubfolder => "leave out --subfolder".to_owned(),
        _ => format!("{add}--all"),
    }
}

fn check_repo(has_token: bool, public_hub: bool) -> String {
    let mut text = "check the spelling (OWNER/NAME, datasets/OWNER/NAME); ".to_owned();
    text.push_str(if has_token {
        "for a private repo, use the token of an account that may see it"
    } else {
        "for a private repo, set HF_TOKEN or run `hf auth login`"
    });
    if !public_hub {
        text.push_str("; check that HF_ENDPOINT names the right Hub");
    }
    text
}

fn did_you_mean(asked: &str, there: &[String]) -> String {
    let near = meant(asked, there.iter().map(String::as_str));
    if near.is_empty() { plain(&Remedy::LookAtFiles).to_owned() } else { format!("did you mean {}?", few(&near, 3)) }
}

fn choose(by: ChooseBy, choices: &[(String, u64)]) -> String {
    let how = match by {
        ChooseBy::Subfolder => "name one with --subfolder",
        ChooseBy::VariantFolder => "name a folder with --variant",
        _ => "name one with --variant",
    };
    let all: Vec<String> = choices.iter().map(|(name, size)| format!("{name} ({})", bytes(*size))).collect();
    format!("{how}, or take everything with --all: {}", few(&all, SHOWN))
}

fn families(there: &[(Family, u64)]) -> String {
    there.iter().map(|(family, size)| format!("{family} ({})", bytes(*size))).collect::<Vec<_>>().join(", ")
}

fn again(why: Again) -> &'static str {
    match why {
        Again::Resumes => "run it again: hfget keeps what has arrived; --offline uses what is already verified",
        Again::ResumesUpload => "run it again: hfget does not upload the finished parts again",
        Again::ResumesPush => "run it again: hfget does not push existing layers again",
        Again::LimitPasses => "run it again later; with a token the limits are higher",
        Again::OverHttp => "run it again; without --transport xet the files come over HTTP",
        Again::LinkExpired => {
            "run it again; if the error stays, check the clock of this machine, because links expire by it"
        }
        Again::OtherProcess => "run it again when no other program works on these files",
        Again::Repaired => {
            "the files are right now, and the next run says so; to end with 0 all the same, add --allow repaired"
        }
        Again::ChangedMeanwhile => "another program changed it during this run; run it again",
        Again::OthersWrote => "another program wrote there during this run; run it again",
        _ => "run it again",
    }
}

/// A hint for a text that does not name a repo.
pub fn of_spec(error: &SpecError) -> Option<String> {
    let is_repo = |text: &str| text.parse::<RepoId>().is_ok() && text.contains('/');
    match error {
        SpecError::Backslash(text) => {
            let meant = text.replace('\\', "/");
            meant.parse::<RepoSpec>().ok().map(|_| format!("write {meant}"))
        }
        SpecError::Place(text) => {
            let meant = text.trim_start_matches(['.', '/']);
            is_repo(meant).then(|| format!("to name the repo, write {meant}"))
        }
        SpecError::Page(_) => Some("open the page of the repo, and paste its address".to_owned()),
        SpecError::Id(error) => {
            let (owner, rest) = error.text().split_once('/')?;
            let (name, path) = rest.split_once('/')?;
            let repo = format!("{owner}/{name}");
            let known = is_repo(&repo) && path.parse::<RepoPath>().is_ok();
            known.then(|| format!("to take a file of a repo, run `hfget {repo} {path}`"))
        }
        _ => None,
    }
}

/// The hint for an invalid configuration.
pub fn of_config(error: &ConfigError) -> Option<&'static str> {
    match error {
        ConfigError::Credentials { .. } => Some("set HF_TOKEN, or name the server with --endpoint"),
        #[cfg(feature = "object-store")]
        ConfigError::Objects(error) if error.is_folder() => Some("to fill a folder, use --local-dir or --cache-dir"),
        _ => None,
    }
}

/// Why the token is not sent, with a hint.
pub fn withheld(withheld: &Withheld) -> String {
    match withheld {
        Withheld::OtherHost { .. } => format!("{withheld}; {}", plain(&Remedy::NameEndpointForToken)),
        _ => withheld.to_string(),
    }
}

/// The value quoted for a shell.
pub fn quoted(value: &str) -> String {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | ':' | '@' | '%' | '+' | '=' | ',' | '-');
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_nearly_a_repo_gets_advice_how_to_write_it() {
        let page = Some("open the page of the repo, and paste its address");
        for (typed, hint) in [
            ("org\\x", Some("write org/x")),
            ("./org/x", Some("to name the repo, write org/x")),
            ("/org/x", Some("to name the repo, write org/x")),
            ("https://huggingface.co/models?search=llama", page),
            ("https://huggingface.co/docs/transformers/index", page),
            ("https://huggingface.co/datasets", page),
            ("org/x/config.json", Some("to take a file of a repo, run `hfget org/x config.json`")),
            ("~/models/llama/x", None),
            ("../x", None),
            ("a b", None),
        ] {
            let error = typed.parse::<RepoSpec>().expect_err(typed);
            assert_eq!(of_spec(&error).as_deref(), hint, "{typed}: {error}");
        }
    }

    #[test]
    fn every_change_of_a_selection_is_words_for_the_command_line() {
        let variant = |family, variant: &str| Take::Weights { family, variant: Some(variant.into()) };
        for (take, told) in [
            (Take::All, "add --all"),
            (Take::Files { glob: "a b/*".into() }, "add --with 'a b/*'"),
            (variant(Some(Family::Gguf), "Q4"), "add --only gguf --variant Q4"),
            (variant(None, "fp16"), "add --variant fp16"),
            (Take::NotExcluded { pattern: "*.bin".into() }, "leave out --exclude '*.bin'"),
            (Take::Code, "leave out --no-code"),
        ] {
            assert_eq!(take_words(&take, "add "), told);
        }
    }
}
