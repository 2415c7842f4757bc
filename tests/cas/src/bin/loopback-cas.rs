//! The loopback CAS as a program, for benchmarks: `loopback-cas FILE` uploads the file, and prints the
//! CAS's URL and the file's Xet hash. Its content is beside the file.

use std::path::PathBuf;

fn main() {
    let Some(file) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: loopback-cas FILE");
        std::process::exit(2);
    };
    let cas = hfget_loopback_cas::Cas::start_in(file.parent().unwrap_or(&file));
    let hash = cas.upload(&file);
    println!("{} {hash}", cas.direct_url());
    loop {
        std::thread::park();
    }
}
