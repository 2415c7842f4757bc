//! The command `hfget` as a function: arguments, progress bars, exit code. It is for the program of that name and for the
//! quickstart, which is that program too. The work is done in `hfget-core`, which is the library for other programs.
// Comments on arguments are help texts, not Markdown.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::bare_urls, rustdoc::invalid_html_tags)]

mod cli {
    pub mod advice;
    pub mod args;
    pub mod clean;
    pub mod compare;
    pub mod fleet;
    pub mod follow;
    pub mod get;
    pub mod habits;
    pub mod inspect;
    pub mod job;
    pub mod keyless;
    pub mod list;
    pub mod lock;
    pub mod man;
    pub mod ndjson;
    pub mod outcomes;
    pub mod paste;
    pub mod plan;
    pub mod progress;
    pub mod progress_lines;
    mod progress_row;
    pub mod remove;
    pub mod report_file;
    pub mod run;
    pub mod screen;
    pub mod setup;
    pub mod speed;
    pub mod storage_init;
    pub mod trace;
    pub mod upfront;
    pub mod verify;
    pub mod verify_all;
    pub mod words;
}

mod exit;
mod render;

/// Does what the command line of this process says.
pub fn main() -> std::process::ExitCode {
    cli::run::main()
}
