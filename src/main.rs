//! The program `hfget`.

// musl's own allocator makes a fetch of one large file take 1.6 times as long.
#[cfg(all(target_env = "musl", target_pointer_width = "64"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    hfget::main()
}
