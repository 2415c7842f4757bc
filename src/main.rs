//! The program `hfget`.

fn main() -> std::process::ExitCode {
    hfget::main()
}
