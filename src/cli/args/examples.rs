//! Examples of every command, for its help and its manual page.

use std::fmt::Write as _;

/// A command line and its purpose.
#[derive(Debug)]
pub struct Example {
    pub line: &'static str,
    pub what: &'static str,
}

/// The end of one command's help.
#[derive(Debug)]
pub struct Topic {
    pub name: &'static str,
    pub examples: &'static [Example],
}

const fn example(line: &'static str, what: &'static str) -> Example {
    Example { line, what }
}

/// The meaning of each exit code, for all commands.
pub const EXIT_CODES: &[(u8, &str)] = &[
    (0, "done and verified"),
    (1, "verification failed"),
    (2, "wrong usage"),
    (3, "not available: repo, revision, access, family"),
    (4, "network or Hub"),
    (5, "local: disk full, permissions, something in the way"),
    (130, "interrupted; run again to resume"),
];

const TOPICS: &[Topic] = &[
    Topic {
        name: "hfget",
        examples: &[
            example("hfget THUDM/chatglm3-6b --prefer safetensors", "one family, into the cache"),
            example("hfget gpt2@main --local-dir ./gpt2", "plain files in a folder"),
            example("hfget org/model --only gguf --variant Q4_K_M", "one quantisation"),
            example("hfget datasets/rajpurkar/squad", "a dataset; URLs and hf:// work too"),
            example("hfget org/model --to s3://bucket/models", "into an object store, without a local copy"),
            example("hfget --from-file repos.txt --report hfget.xml", "many repos, with JUnit's XML for the CI system"),
        ],
    },
    Topic {
        name: "plan",
        examples: &[
            example("hfget plan THUDM/chatglm3-6b", "what would be taken, and what not"),
            example("hfget plan stabilityai/stable-diffusion-xl-base-1.0 --variant fp16 -v", "and why each file is"),
            example("hfget plan THUDM/chatglm3-6b --deep", "do the shards match the index? Only headers are read"),
            example("hfget plan gpt2 --json", "for scripts: bytes, digests, states"),
        ],
    },
    Topic {
        name: "publish",
        examples: &[
            example("hfget publish THUDM/chatglm3-6b --to s3://bucket/models", "after all workers are done"),
            example("hfget publish --locked --to s3://bucket/models", "the files of a lockfile"),
        ],
    },
    Topic {
        name: "verify",
        examples: &[
            example("hfget verify THUDM/chatglm3-6b", "cached files, against the Hub"),
            example("hfget verify THUDM/chatglm3-6b --offline", "without a Hub"),
            example("hfget verify ./model --deep", "a folder, and formats' own checksums"),
            example("hfget verify --lock hfget.lock", "everything that a lockfile has"),
            example("hfget verify --all --repair --report cache.html", "a whole cache; wrong files are fetched again"),
            example("hfget verify s3://bucket/models", "files that --to uploaded"),
        ],
    },
    Topic {
        name: "storage-init",
        examples: &[
            example("hfget storage-init hf://org/model /mnt/models", "one model"),
            example(
                "hfget storage-init hf://org/model:v1.0 /mnt/models/a hf://org/other /mnt/models/b",
                "two, one of them at a tag",
            ),
        ],
    },
    Topic {
        name: "inspect",
        examples: &[
            example("hfget inspect gpt2", "a repo: only headers are fetched"),
            example("hfget inspect ./model-Q4_K_M.gguf --filter 'blk.0.*'", "some tensors of a file"),
            example("hfget inspect ./folder --json", "a folder, for scripts"),
        ],
    },
    Topic {
        name: "lock",
        examples: &[
            example("hfget lock THUDM/chatglm3-6b --prefer safetensors", "writes hfget.lock"),
            example("hfget lock --check", "changes since then; exit code 1 if there are any"),
            example("hfget lock --update", "locks it again with the same options"),
        ],
    },
    Topic {
        name: "compare",
        examples: &[
            example("hfget compare gpt2 --mirror https://mirror.example.org", "by samples"),
            example("hfget compare gpt2 --mirror https://mirror.example.org --level metadata", "quickly"),
            example(
                "hfget compare --from-file deployed.txt --mirror https://mirror.example.org --level full --json",
                "every byte of many repos",
            ),
        ],
    },
    Topic {
        name: "list",
        examples: &[
            example("hfget list", "every snapshot in the cache"),
            example("hfget list THUDM/chatglm3-6b --json", "one repo, for scripts"),
        ],
    },
    Topic {
        name: "remove",
        examples: &[
            example("hfget remove THUDM/chatglm3-6b --dry-run", "what would be removed"),
            example("hfget remove THUDM/chatglm3-6b", "the whole repo"),
            example("hfget remove gpt2@v1.0", "one snapshot; shared files stay"),
        ],
    },
    Topic {
        name: "clean",
        examples: &[
            example("hfget clean", "leftovers, with sizes and ages"),
            example("hfget clean --remove --older-than 7d", "those that no run touched for a week"),
            example("hfget clean --local-dir ./model", "in a folder that --local-dir filled"),
        ],
    },
    Topic {
        name: "completions",
        examples: &[
            example("source <(hfget completions bash)", "bash, for this session or in ~/.bashrc"),
            example("hfget completions bash > ~/.local/share/bash-completion/completions/hfget", "bash, permanently"),
            example("hfget completions zsh > ~/.zfunc/_hfget", "zsh, with ~/.zfunc in $fpath before compinit"),
            example("hfget completions fish > ~/.config/fish/completions/hfget.fish", "fish"),
        ],
    },
    Topic {
        name: "man",
        examples: &[
            example("hfget man > hfget.1", "the main page; `man -l hfget.1` reads it"),
            example("hfget man ~/.local/share/man/man1", "every page, where `man hfget-plan` finds it"),
        ],
    },
];

/// The topic of a command; `hfget` is the topic of the program itself.
pub fn of(command: &str) -> Option<&'static Topic> {
    TOPICS.iter().find(|topic| topic.name == command)
}

impl Topic {
    /// The text for a help that fits a screen.
    pub fn short(&self) -> String {
        /// The columns of a usual terminal.
        const COLUMNS: usize = 80;
        // The help of the whole program has the most other text.
        let shown = if self.name == "hfget" { 2 } else { 3 };
        let lines = self.examples.iter().map(|example| format!("\n  {}  # {}", example.line, example.what));
        let mut text = "Examples:".to_owned();
        text.extend(lines.filter(|line| line.chars().count() <= COLUMNS + 1).take(shown));
        // Writing to a string cannot fail.
        let _ = match self.name {
            "hfget" => write!(text, "\n\n`hfget --help` has all flags."),
            name => write!(text, "\n\n`hfget {name} --help` has all flags."),
        };
        text
    }

    /// The text for the long help.
    pub fn long(&self) -> String {
        let mut text = "Examples:".to_owned();
        for example in self.examples {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n  {}\n      {}", example.line, example.what);
        }
        if self.name == "hfget" {
            text.push_str("\n\nExit codes:");
            for (code, what) in EXIT_CODES {
                let _ = write!(text, "\n  {code:>3}  {what}");
            }
        }
        text
    }
}
