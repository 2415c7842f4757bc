//! The program `hfget`.

/// musl's own allocator takes one lock for all threads, and the static builds run many.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    hfget::main()
}
