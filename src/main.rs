//! The `hfget` binary: arguments, progress bars, exit code. The work lives in the library.
#![allow(missing_docs)] // nothing here is for other crates
// Comments on arguments are help texts, not Markdown.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::bare_urls, rustdoc::invalid_html_tags)]

mod cli {
    pub mod advice;
    pub mod args;
    pub mod clean;
    pub mod compare;
    pub mod endings;
    pub mod follow;
    pub mod habits;
    pub mod inspect;
    pub mod list;
    pub mod lock;
    pub mod ndjson;
    pub mod papers;
    pub mod paste;
    pub mod progress;
    pub mod remove;
    pub mod run;
    pub mod screen;
    pub mod setup;
    pub mod trace;
    pub mod upfront;
    pub mod verify;
    pub mod words;
}

mod exit;
mod render;

fn main() -> std::process::ExitCode {
    cli::run::main()
}
