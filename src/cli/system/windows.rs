//! Windows' consoles and the ways in which it ends a program. Type-checked, never run on Windows.

use std::io;
use std::path::Path;

use tokio::signal::windows::{ctrl_break, ctrl_close};
use winapi_util::console::{Console, screen_buffer_info};

pub(in crate::cli) use winapi_util::AsHandleRef as Stream;

/// Lets consoles understand colours and bars; before Windows 10 they show the codes as text.
pub(in crate::cli) fn prepare() {
    for mut console in [Console::stdout(), Console::stderr()].into_iter().flatten() {
        let _ = console.set_virtual_terminal_processing(true);
    }
}

/// No limit: a process may have millions of handles.
pub(in crate::cli) fn descriptors() -> Option<u64> {
    None
}

pub(in crate::cli) fn columns(stream: &impl Stream) -> Option<usize> {
    let window = screen_buffer_info(stream).ok()?.window_rect();
    usize::try_from(i32::from(window.right) - i32::from(window.left) + 1).ok().filter(|columns| *columns > 0)
}

/// Checks only that the folder exists. Whether this user may write there shows when the file is created.
pub(in crate::cli) fn may_write(folder: &Path) -> io::Result<()> {
    std::fs::metadata(folder).map(drop)
}

/// Returns on Ctrl-C and Ctrl-Break, and when the console is closed.
pub(in crate::cli) async fn interrupted() {
    match (ctrl_break(), ctrl_close()) {
        (Ok(mut stopped), Ok(mut closed)) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = stopped.recv() => {}
            _ = closed.recv() => {}
        },
        _ => drop(tokio::signal::ctrl_c().await),
    }
}
