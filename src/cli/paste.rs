//! Completes command lines in advice, so that they work when they are pasted: for the same repo, with this run's flags
//! for places and files. The text of the advice does not know these flags.

use crate::render::remedies::quoted;

use super::args::command;

/// The flags that a line in advice keeps, each with its name here.
const KEPT: &[(&str, &str)] = &[
    ("--cache-dir", "--cache-dir"),
    ("--local-dir", "--local-dir"),
    ("--endpoint", "--endpoint"),
    ("--prefer", "--prefer"),
    ("--only", "--only"),
    ("--variant", "--variant"),
    ("--revision", "--revision"),
    ("-r", "--revision"),
    ("--repo-type", "--repo-type"),
    ("--type", "--repo-type"),
];

/// The end of a hint, for runs that can follow code.
const FOLLOW: &str = ", or add --follow-code";

/// The flags of a run.
#[derive(Debug, Default)]
pub(super) struct Kept {
    flags: Vec<(&'static str, String)>,
    /// Whether the run cannot take `--follow-code`: it has a lockfile, or is no run that fetches.
    follows_none: bool,
}

impl Kept {
    /// The flags among these words that are kept.
    pub(super) fn of(words: impl IntoIterator<Item = String>) -> Self {
        let mut kept = Vec::new();
        let mut words = words.into_iter().take_while(|word| word != "--").peekable();
        let mut follows_none = words.peek().is_some_and(|word| {
            let whole = command();
            whole.find_subcommand(word).is_some_and(|of| of.get_arguments().all(|arg| arg.get_id() != "follow_code"))
        });
        while let Some(word) = words.next() {
            follows_none |= word.starts_with("--locked") || word == "--no-code";
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            if let Some((_, flag)) = KEPT.iter().find(|(typed, _)| *typed == name)
                && let Some(value) = value.or_else(|| words.next())
            {
                kept.push((*flag, value));
            }
        }
        Kept { flags: kept, follows_none }
    }

    /// The advice with complete command lines. The advice is about `repo`.
    pub(super) fn paste(&self, advice: &str, repo: &str) -> String {
        let advice = match advice.strip_suffix(FOLLOW) {
            Some(rest) if self.follows_none => rest,
            _ => advice,
        };
        let mut parts = advice.split('`');
        let mut out = parts.next().unwrap_or_default().to_owned();
        let mut inside = true;
        for part in parts {
            out.push('`');
            out.push_str(&if inside { self.line(part, repo) } else { part.to_owned() });
            inside = !inside;
        }
        out
    }

    fn line(&self, line: &str, repo: &str) -> String {
        let mut words: Vec<&str> = line.split(' ').collect();
        // A word in capitals is a placeholder that the reader replaces.
        let placeholder = |word: &&str| {
            let word = word.trim_matches(|c: char| !c.is_ascii_alphabetic());
            word.len() > 1 && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'/')
        };
        if words.first() != Some(&"hfget") || words.len() < 2 || words.iter().any(placeholder) {
            return line.to_owned();
        }
        // A plan of the run's own repo.
        if words[1] == "plan"
            && words.len() > 2
            && words.iter().skip(2).all(|word| word.starts_with('-'))
            && !repo.is_empty()
        {
            words.insert(2, repo);
        }
        let whole = command();
        let of = whole.find_subcommand(words[1]).unwrap_or(&whole);
        let has = |flag: &str| words.iter().any(|word| *word == flag || word.starts_with(&format!("{flag}=")));
        let chooses = |flag: &str| matches!(flag, "--prefer" | "--only" | "--variant" | "--revision" | "--repo-type");
        // With a lockfile, the flags of selection are not allowed.
        let locked = has("--locked") || has("--lock");
        // A word with its own revision or kind needs no flag for it.
        let names = |what: char| words.iter().any(|word| !word.starts_with('-') && word.contains(what));
        let folder = has("--cache-dir") || has("--local-dir") || words.iter().any(|word| word.starts_with("./"));
        // A command without a repo cannot use them.
        let bare = words.len() == 2 && of.get_name() != "hfget" && !matches!(of.get_name(), "list" | "clean");
        // The flags of selection and the folder of one repo do not fit another repo.
        let named = words.iter().skip(1).find(|word| !word.starts_with(['-', '.']) && word.contains('/'));
        let id = |word: &str| word.split(['@', ':']).next().unwrap_or_default().to_owned();
        let other = !repo.is_empty() && named.is_some_and(|word| id(word) != id(repo));
        let mut text = words.join(" ");
        for (flag, value) in &self.flags {
            let known = of.get_arguments().any(|arg| arg.get_long().is_some_and(|long| format!("--{long}") == *flag));
            let place = matches!(*flag, "--cache-dir" | "--local-dir");
            let chosen = has("--include") && matches!(*flag, "--prefer" | "--only" | "--variant");
            let skipped = bare
                || has(flag)
                || other && (chooses(flag) || *flag == "--local-dir")
                || place && folder
                || chooses(flag) && locked
                || chosen
                || *flag == "--prefer" && has("--only")
                || *flag == "--revision" && names('@')
                || *flag == "--repo-type"
                    && words.iter().any(|word| {
                        word.starts_with("datasets/") || word.starts_with("spaces/") || word.starts_with("kernels/")
                    });
            if known && !skipped {
                text.extend([" ", flag, " ", &quoted(value)]);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Kept;

    #[test]
    fn a_line_in_advice_keeps_where_and_what() {
        let kept = |line: &str| Kept::of(line.split(' ').map(str::to_owned));
        for (run, advice, whole) in [
            ("org/x --cache-dir c", "`hfget org/x` fetches it", "`hfget org/x --cache-dir c` fetches it"),
            ("org/x --cache-dir=c", "`hfget org/x`", "`hfget org/x --cache-dir c`"),
            ("org/x --local-dir d --prefer bin", "`hfget org/x`", "`hfget org/x --local-dir d --prefer bin`"),
            ("org/x -r v1", "`hfget org/x`", "`hfget org/x --revision v1`"),
            ("org/x -r v1", "`hfget org/x@v1`", "`hfget org/x@v1`"),
            ("plann --offline", "did you mean `hfget plan`?", "did you mean `hfget plan`?"),
            ("org/x -v", "`hfget plan -v` shows", "`hfget plan org/x -v` shows"),
            ("org/x --cache-dir c", "`hfget list` shows", "`hfget list --cache-dir c` shows"),
            (
                "org/x --cache-dir c --prefer bin",
                "`hfget --locked` fetches it",
                "`hfget --locked --cache-dir c` fetches it",
            ),
            ("org/x --cache-dir c", "`hfget verify x --local-dir d`", "`hfget verify x --local-dir d`"),
            ("org/x --cache-dir c", "`hfget lock REPO` makes one", "`hfget lock REPO` makes one"),
            ("org/x --cache-dir c", "or run `hf auth login`", "or run `hf auth login`"),
            (
                "org/x --cache-dir c --local-dir d --revision v1 --only bin",
                "`hfget other/code --include '*.py'` fetches it",
                "`hfget other/code --include '*.py' --cache-dir c` fetches it",
            ),
            (
                "org/x --local-dir d -r v1",
                "`hfget org/x --include a/b`",
                "`hfget org/x --include a/b --local-dir d --revision v1`",
            ),
            ("org/x", "run `hfget o/c`, or add --follow-code", "run `hfget o/c`, or add --follow-code"),
            ("plan org/x", "run `hfget o/c`, or add --follow-code", "run `hfget o/c`, or add --follow-code"),
            ("--locked=a", "run `hfget o/c`, or add --follow-code", "run `hfget o/c`"),
            ("org/x --no-code", "run `hfget o/c`, or add --follow-code", "run `hfget o/c`"),
            ("verify org/x", "run `hfget o/c`, or add --follow-code", "run `hfget o/c`"),
            ("org/x", "set HF_TOKEN", "set HF_TOKEN"),
            ("org/x", "an odd ` sign", "an odd ` sign"),
        ] {
            assert_eq!(kept(run).paste(advice, "org/x"), whole, "{run}");
        }
        let spaced = Kept::of(["--cache-dir".to_owned(), "my models".to_owned()]);
        assert_eq!(spaced.paste("`hfget org/x`", "org/x"), "`hfget org/x --cache-dir 'my models'`");
    }
}
