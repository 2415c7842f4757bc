//! A Hub with rate limits, for `benches/fleet.py`:  limited-hub REPOS API RESOLVERS SECONDS
//!
//! REPOS has a folder for each owner, with a folder for each repo. API and RESOLVERS are the numbers of requests that
//! are answered within SECONDS. Prints its URL and then, for each line on stdin, the requests since the last line, as
//! JSON.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a benchmark that cannot continue has failed

use std::path::Path;
use std::time::Duration;

use hfget_loopback_hub::{Class, Hub, Options, Quotas, Repo};

/// Files with at least this many bytes are in LFS.
const LARGE: u64 = 1 << 20;

fn list(dir: &Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments[at].parse::<u32>().unwrap();
    let quotas = Quotas { api: number(1), resolvers: number(2), window: Duration::from_secs(number(3).into()) };
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let repos = list(Path::new(&arguments[0])).into_iter().flat_map(|owner| {
        list(&owner).into_iter().map(move |folder| {
            let repo = Repo::new(&format!("{}/{}", name(&owner), name(&folder)));
            list(&folder).into_iter().fold(repo, |repo, file| {
                let bytes = std::fs::read(&file).unwrap();
                let large = bytes.len() as u64 >= LARGE;
                if large { repo.lfs(&name(&file), bytes) } else { repo.file(&name(&file), bytes) }
            })
        })
    });
    let hub = Hub::with(Options { quotas: Some(quotas), ..Options::default() }, repos);
    println!("{}", hub.endpoint());
    let (mut bytes, mut refused) = (0, 0);
    for _ in std::io::stdin().lines() {
        let requests = hub.requests();
        let count = |class: Class| requests.iter().filter(|r| !r.cdn && Class::of(&r.path) == class).count();
        let (api, resolvers) = (count(Class::Api), count(Class::Resolvers));
        let cdn = requests.iter().filter(|r| r.cdn).count();
        let (sent, said) = (hub.bytes_sent() - bytes, hub.refused() - refused);
        println!(r#"{{"api":{api},"resolvers":{resolvers},"cdn":{cdn},"refused":{said},"bytes":{sent}}}"#);
        hub.forget();
        (bytes, refused) = (bytes + sent, refused + said);
    }
}
