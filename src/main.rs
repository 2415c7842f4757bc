//! The program `hfget`.

/// musl's own allocator has one lock for all threads, and the static builds run many threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    hfget::main()
}
