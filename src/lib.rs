//! The command `hfget` as a function: arguments, progress bars, exit code. Only the program `hfget` and the quickstart
//! use it. Other programs use the library `hfget-core`, which does the work.
// Comments on arguments are help texts, not Markdown.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::bare_urls, rustdoc::invalid_html_tags)]

mod cli {
    pub mod advice;
    pub mod args;
    pub mod clean;
    pub mod compare;
    pub mod document;
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
    pub mod signers;
    pub mod speed;
    pub mod storage_init;
    mod system;
    pub mod trace;
    pub mod upfront;
    pub mod verify;
    pub mod verify_all;
    pub mod words;
}

mod exit;
mod render;

/// Runs the command line of this process.
pub fn main() -> std::process::ExitCode {
    cli::run::main()
}
