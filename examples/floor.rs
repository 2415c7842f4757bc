//! The floor of `benches/run.py`: `floor HOST:PORT FOLDER PATH...` receives files over plain sockets, writes and hashes them, and
//! does nothing else. It has no HTTP library, no journal, no retries and no verdict, so nothing that verifies is much faster.

use std::error::Error;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{channel, sync_channel};
use std::thread;

use sha2::{Digest as _, Sha256};

/// Bytes of a read. Of 64 KiB to 8 MiB, this costs the least processor time.
const BLOCK: usize = 4 << 20;
/// How many blocks wait for the hash.
const BLOCKS: usize = 10;
/// Copies to memory that begins at a page are the fastest.
const PAGE: usize = 4096;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let (host, folder) = (arguments.next().ok_or("no host")?, arguments.next().ok_or("no folder")?);
    let paths = Mutex::new(arguments.collect::<Vec<_>>().into_iter());
    let next = || paths.lock().map_or(None, |mut paths| paths.next());
    let work = || -> Outcome<()> {
        while let Some(path) = next() {
            println!("{}  {path}", fetch(&host, Path::new(&folder), &path)?);
        }
        Ok(())
    };
    // As hfget: as many files at once as there are cores.
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a thread panicked")?)
    })
}

/// Fetches a file with one request, and returns its SHA-256.
fn fetch(host: &str, folder: &Path, path: &str) -> Outcome<String> {
    let mut connection = TcpStream::connect(host)?;
    connection.write_all(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut head = BufReader::new(&connection);
    let mut length = None;
    loop {
        let mut line = String::new();
        head.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = Some(value.parse::<u64>()?),
            Some(_) => {}
            None if line == "\r\n" => break,
            None if line.starts_with("HTTP/1.1 200 ") => {}
            None => return Err(format!("{path}: {line:?}").into()),
        }
    }
    let mut left = length.ok_or("no content-length")?;
    let mut come = head.buffer().chain(&connection);
    let name = Path::new(path).file_name().ok_or("no file name")?;
    let mut file = File::create_new(folder.join(name))?;
    let (full, blocks) = sync_channel::<(Vec<u8>, usize)>(BLOCKS);
    let (used, empty) = channel();
    for _ in 0..BLOCKS {
        used.send(vec![0; BLOCK + PAGE])?;
    }
    let digest = thread::scope(|scope| -> Outcome<_> {
        let hash = scope.spawn(move || {
            let mut sha256 = Sha256::new();
            for (block, len) in blocks {
                let start = block.as_ptr().align_offset(PAGE).min(PAGE);
                sha256.update(&block[start..start + len]);
                // The receiver may have ended.
                let _ = used.send(block);
            }
            sha256.finalize()
        });
        while left > 0 {
            let mut block = empty.recv()?;
            let start = block.as_ptr().align_offset(PAGE).min(PAGE);
            let len = usize::try_from(left)?.min(BLOCK);
            come.read_exact(&mut block[start..start + len])?;
            file.write_all(&block[start..start + len])?;
            left -= len as u64;
            full.send((block, len))?;
        }
        drop(full);
        Ok(hash.join().map_err(|_| "a thread panicked")?)
    })?;
    let mut hex = String::new();
    for byte in &digest {
        write!(hex, "{byte:02x}")?;
    }
    Ok(hex)
}
