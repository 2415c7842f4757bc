//! The floor of `benches/run.py`: `floor URL FOLDER PATH...` receives files over plain sockets, or over TLS on them, writes and
//! hashes them, and does nothing else. It has no HTTP library, no journal, no retries and no verdict, so nothing that verifies
//! is much faster on two cores: there are two receivers and one hasher. Over `https` it trusts the certificates in the file
//! `SSL_CERT_FILE`.

mod connection;
mod lanes;
#[path = "../../crates/core/src/model/sha256.rs"]
mod sha256;

use std::error::Error;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use self::connection::Server;
use self::lanes::{Block, News};

/// Bytes of a read from a plain socket. Of 64 KiB to 8 MiB, this costs the least processor time.
const PLAIN: usize = 4 << 20;
/// Bytes of a read of what TLS has decrypted. Of 256 KiB to 4 MiB, this costs the least.
const DECRYPTED: usize = 256 << 10;
/// Bytes of a file that wait for the hash.
const WAITING: usize = 40 << 20;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let (url, folder) = (arguments.next().ok_or("no URL")?, arguments.next().ok_or("no folder")?);
    let server = Server::at(&url)?;
    let paths = Mutex::new(arguments.collect::<Vec<_>>().into_iter());
    let next = || paths.lock().map_or(None, |mut paths| paths.next());
    let work = |lane: usize, hasher: &Sender<News>| -> Outcome<()> {
        while let Some(path) = next() {
            println!("{}  {path}", fetch(&server, Path::new(&folder), &path, lane, hasher)?);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let (hasher, news) = channel();
        scope.spawn(|| lanes::hash(news));
        // As hfget on two cores: two files share a thread that hashes them.
        let workers: Vec<_> = (0..lanes::COUNT)
            .map(|lane| {
                let (work, hasher) = (&work, hasher.clone());
                scope.spawn(move || work(lane, &hasher))
            })
            .collect();
        drop(hasher);
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a thread panicked")?)
    })
}

/// Tells the hasher that a lane has no more bytes.
struct Ends<'a> {
    lane: usize,
    hasher: &'a Sender<News>,
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        // The hasher runs as long as there is a sender.
        let _ = self.hasher.send(News::Ends { lane: self.lane });
    }
}

/// Fetches a file with one request, and returns its SHA-256, which the hasher computes in `lane`.
fn fetch(server: &Server, folder: &Path, path: &str, lane: usize, hasher: &Sender<News>) -> Outcome<String> {
    let mut connection = BufReader::new(server.get(path)?);
    let mut length = None;
    loop {
        let mut line = String::new();
        connection.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = Some(value.parse::<u64>()?),
            Some(_) => {}
            None if line == "\r\n" => break,
            None if line.starts_with("HTTP/1.1 200 ") => {}
            None => return Err(format!("{path}: {line:?}").into()),
        }
    }
    let mut left = length.ok_or("no content-length")?;
    let name = Path::new(path).file_name().ok_or("no file name")?;
    let mut file = File::create_new(folder.join(name))?;
    let size = if server.is_secure() { DECRYPTED } else { PLAIN };
    let (used, empty) = channel();
    for _ in 0..WAITING / size {
        used.send(Block::new(size))?;
    }
    let (digest, hashed) = channel();
    hasher.send(News::Begins { lane, used, digest })?;
    // Also after an error: the other lane would wait for this one.
    let end = Ends { lane, hasher };
    while left > 0 {
        let mut block = empty.recv()?;
        let bytes = block.first(usize::try_from(left)?.min(size));
        connection.read_exact(bytes)?;
        file.write_all(bytes)?;
        left -= bytes.len() as u64;
        hasher.send(News::Came { lane, block })?;
    }
    drop(end);
    let mut hex = String::new();
    for byte in &hashed.recv()? {
        write!(hex, "{byte:02x}")?;
    }
    Ok(hex)
}
