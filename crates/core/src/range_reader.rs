//! A remote file that is read and sought like one on disk. Ranges are fetched when reading reaches
//! them, and the last of them are kept. The owner defines how a range is fetched.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// The bytes of the first range: most headers fit.
const FIRST: u64 = 256 << 10;
/// The most bytes of one range.
const MOST: u64 = 8 << 20;
/// The most bytes that are kept: an archive's directory and its first record are far apart, and so are
/// the groups of an HDF5 file.
const KEPT: usize = 16 << 20;

/// How ranges of one file are fetched.
pub(crate) trait Ranges: Send {
    /// Whether sequential reading asks for more bytes each time, and for the next block before it is needed.
    const READ_AHEAD: bool;

    /// The bytes of a range. The range has between one byte and 8 MiB; an answer of another length is an error to the
    /// reader.
    fn fetch(&self, range: Range<u64>) -> BoxFuture<'static, io::Result<Bytes>>;

    /// Gets an error before the reader returns it. The error of an unused block is not reported.
    fn note(&self, _error: &io::Error) {}
}

/// Reads a file of known size by its ranges. For blocking threads only.
pub(crate) struct BlockReader<R> {
    ranges: R,
    size: u64,
    runtime: Handle,
    at: u64,
    /// The start of each block, and its bytes; the oldest first.
    blocks: VecDeque<(u64, Bytes)>,
    /// The next block, before it is needed.
    ahead: Option<Asked>,
}

/// A block that is being fetched.
struct Asked {
    range: Range<u64>,
    task: JoinHandle<io::Result<Bytes>>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<R: Ranges> BlockReader<R> {
    /// Ranges are fetched on `runtime`.
    pub fn new(ranges: R, size: u64, runtime: Handle) -> Self {
        BlockReader { ranges, size, runtime, at: 0, blocks: VecDeque::new(), ahead: None }
    }

    /// The kept bytes from the present place on; empty if they are not kept.
    fn here(&self) -> Bytes {
        let of_block = |(start, bytes): &(u64, Bytes)| {
            let from = usize::try_from(self.at.checked_sub(*start)?).ok()?;
            (from < bytes.len()).then(|| bytes.slice(from..))
        };
        self.blocks.iter().find_map(of_block).unwrap_or_default()
    }

    /// Fetches the block that starts at the present place; `room` is how many bytes the caller can take.
    fn fetch(&mut self, room: usize) -> io::Result<Bytes> {
        let last = self.blocks.back().map(|(start, bytes)| (start + bytes.len() as u64, bytes.len() as u64));
        let on = last.filter(|(end, _)| R::READ_AHEAD && *end == self.at).map(|(_, length)| length);
        let mut block = match self.ahead.take() {
            Some(ahead) if ahead.range.start == self.at => ahead,
            _ => {
                // A long read (a header of megabytes) is one request.
                let want = on.map_or(room as u64, |length| length * 2).clamp(FIRST, MOST);
                self.ask(self.at..self.size.min(self.at.saturating_add(want)))
            }
        };
        // Why a task and not the future itself: a timer panics on this thread if the runtime ends meanwhile. A task is dropped, and
        // its handle has an error.
        let bytes = self.runtime.block_on(&mut block.task).map_err(io::Error::other).flatten();
        let range = block.range.clone();
        let bytes = bytes.and_then(|bytes| {
            let whole = bytes.len() as u64 == range.end - range.start;
            whole.then_some(bytes).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        });
        let bytes = bytes.inspect_err(|error| self.ranges.note(error))?;
        if on.is_some() && range.end < self.size {
            let want = (bytes.len() as u64 * 2).min(MOST);
            self.ahead = Some(self.ask(range.end..self.size.min(range.end + want)));
        }
        Ok(bytes)
    }

    /// Begins to fetch a range.
    fn ask(&self, range: Range<u64>) -> Asked {
        Asked { task: self.runtime.spawn(self.ranges.fetch(range.clone())), range }
    }

    fn keep(&mut self, bytes: Bytes) {
        self.blocks.push_back((self.at, bytes));
        // The newest block always stays: it has at most MOST bytes.
        while self.blocks.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() > KEPT {
            self.blocks.pop_front();
        }
    }
}

impl<R: Ranges> Read for BlockReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        let mut some = self.here();
        if some.is_empty() {
            some = self.fetch(buffer.len())?;
            self.keep(some.clone());
        }
        let n = some.len().min(buffer.len());
        buffer[..n].copy_from_slice(&some[..n]);
        self.at += n as u64;
        Ok(n)
    }
}

impl<R: Ranges> Seek for BlockReader<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures_util::FutureExt as _;
    use tokio::runtime::Runtime;

    use super::*;

    /// The ranges that were asked for, and the errors that were reported.
    #[derive(Default)]
    struct Log {
        asked: Vec<Range<u64>>,
        told: usize,
    }

    /// Bytes whose values tell their place. From `cut` on each range lacks one byte.
    struct Counting<const AHEAD: bool> {
        cut: u64,
        log: Arc<Mutex<Log>>,
    }

    fn byte_at(at: u64) -> u8 {
        (at % 251) as u8
    }

    impl<const AHEAD: bool> Ranges for Counting<AHEAD> {
        const READ_AHEAD: bool = AHEAD;

        fn fetch(&self, range: Range<u64>) -> BoxFuture<'static, io::Result<Bytes>> {
            self.log.lock().unwrap().asked.push(range.clone());
            let end = if range.end > self.cut { range.end - 1 } else { range.end };
            async move { Ok((range.start..end).map(byte_at).collect()) }.boxed()
        }

        fn note(&self, _: &io::Error) {
            self.log.lock().unwrap().told += 1;
        }
    }

    /// A reader, its log, and its runtime.
    fn file<const AHEAD: bool>(size: u64, cut: u64) -> (BlockReader<Counting<AHEAD>>, Arc<Mutex<Log>>, Runtime) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let log = Arc::new(Mutex::new(Log::default()));
        let ranges = Counting { cut, log: Arc::clone(&log) };
        (BlockReader::new(ranges, size, runtime.handle().clone()), log, runtime)
    }

    fn read_at<R: Ranges>(file: &mut BlockReader<R>, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        assert_eq!(file.seek(SeekFrom::Start(at)).unwrap(), at);
        file.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn expected(range: Range<u64>) -> Vec<u8> {
        range.map(byte_at).collect()
    }

    #[test]
    fn a_read_across_blocks_gives_the_bytes_of_both() {
        let (mut file, log, _runtime) = file::<false>(3 * FIRST, u64::MAX);
        assert_eq!(read_at(&mut file, 0, 8), expected(0..8));
        assert_eq!(read_at(&mut file, FIRST - 5, 10), expected(FIRST - 5..FIRST + 5));
        assert_eq!(log.lock().unwrap().asked, [0..FIRST, FIRST..2 * FIRST]);
    }

    #[test]
    fn a_long_read_is_one_request_and_never_past_the_end() {
        let size = 4 * FIRST + 3;
        let (mut file, log, _runtime) = file::<false>(size, u64::MAX);
        let mut bytes = vec![0; 2 << 20];
        assert_eq!(file.read(&mut bytes).unwrap() as u64, size);
        assert_eq!(file.read(&mut bytes).unwrap(), 0);
        assert_eq!(log.lock().unwrap().asked.len(), 1);
    }

    #[test]
    fn seeks_are_those_of_a_file() {
        let (mut file, log, _runtime) = file::<false>(100, u64::MAX);
        assert_eq!(file.seek(SeekFrom::End(-10)).unwrap(), 90);
        assert_eq!(file.seek(SeekFrom::Current(-30)).unwrap(), 60);
        assert_eq!(file.seek(SeekFrom::Current(-61)).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(file.stream_position().unwrap(), 60);
        // Past the end there are no bytes and no requests.
        assert_eq!(file.seek(SeekFrom::Start(u64::MAX)).unwrap(), u64::MAX);
        assert_eq!(file.read(&mut [0; 4]).unwrap(), 0);
        assert!(log.lock().unwrap().asked.is_empty());
        assert_eq!(read_at(&mut file, 96, 4), expected(96..100));
    }

    #[test]
    fn kept_bytes_are_not_requested_again_and_are_bounded() {
        let (mut file, log, _runtime) = file::<false>(1 << 40, u64::MAX);
        let at = |n: u64| n << 30;
        let fit = KEPT as u64 / FIRST;
        for n in 0..fit {
            read_at(&mut file, at(n), 1);
        }
        for n in 0..fit {
            assert_eq!(read_at(&mut file, at(n) + FIRST - 1, 1), expected(at(n) + FIRST - 1..at(n) + FIRST));
        }
        assert_eq!(log.lock().unwrap().asked.len() as u64, fit);
        // With one more block, the oldest is dropped.
        read_at(&mut file, at(fit), 1);
        assert_eq!(file.blocks.iter().map(|(_, bytes)| bytes.len()).sum::<usize>(), KEPT);
        read_at(&mut file, at(1), 1);
        assert_eq!(log.lock().unwrap().asked.len() as u64, fit + 1);
        read_at(&mut file, at(0), 1);
        assert_eq!(log.lock().unwrap().asked.len() as u64, fit + 2);
    }

    #[test]
    fn a_range_that_comes_short_is_an_error_and_is_noted() {
        let (mut file, log, _runtime) = file::<false>(2 * FIRST, FIRST);
        assert_eq!(read_at(&mut file, 0, 1), expected(0..1));
        file.seek(SeekFrom::Start(FIRST)).unwrap();
        assert_eq!(file.read(&mut [0; 4]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(file.stream_position().unwrap(), FIRST);
        assert_eq!(log.lock().unwrap().told, 1);
    }

    #[test]
    fn reading_on_asks_for_more_each_time_without_gaps_and_ahead_of_need() {
        let size = 40 << 20;
        let (mut file, log, _runtime) = file::<true>(size, u64::MAX);
        let (mut at, mut buffer) = (0u64, vec![0; 64 << 10]);
        loop {
            let n = file.read(&mut buffer).unwrap();
            if n == 0 {
                break;
            }
            assert!(buffer[..n].iter().zip(at..).all(|(byte, at)| *byte == byte_at(at)));
            at += n as u64;
            assert!(file.blocks.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() <= KEPT);
        }
        assert_eq!(at, size);
        let asked = &log.lock().unwrap().asked;
        assert!(asked.windows(2).all(|pair| pair[0].end == pair[1].start), "{asked:?}");
        let lengths: Vec<u64> = asked.iter().map(|range| range.end - range.start).collect();
        assert_eq!(lengths[..6], [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST, 16 * FIRST, MOST]);
        assert!(lengths.iter().all(|length| *length <= MOST));
    }

    #[test]
    fn an_error_ahead_is_noted_only_when_reading_gets_there() {
        let (mut file, log, _runtime) = file::<true>(8 * FIRST, 3 * FIRST);
        read_at(&mut file, 0, 1);
        read_at(&mut file, FIRST, 1);
        assert_eq!(log.lock().unwrap().asked, [0..FIRST, FIRST..3 * FIRST, 3 * FIRST..7 * FIRST]);
        assert_eq!(log.lock().unwrap().told, 0);
        file.seek(SeekFrom::Start(3 * FIRST)).unwrap();
        assert_eq!(file.read(&mut [0; 4]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(log.lock().unwrap().told, 1);
    }

    /// Ranges that never come.
    struct Silent(std::sync::mpsc::Sender<()>);

    impl Ranges for Silent {
        const READ_AHEAD: bool = false;

        fn fetch(&self, _: Range<u64>) -> BoxFuture<'static, io::Result<Bytes>> {
            let asked = self.0.clone();
            async move {
                let wait = tokio::time::sleep(std::time::Duration::from_mins(10));
                asked.send(()).unwrap();
                wait.await;
                Ok(Bytes::new())
            }
            .boxed()
        }
    }

    #[test]
    fn a_read_that_waits_when_the_runtime_ends_is_an_error_and_no_panic() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
        let (ask, asked) = std::sync::mpsc::channel();
        let mut file = BlockReader::new(Silent(ask), 64, runtime.handle().clone());
        let reader = std::thread::spawn(move || file.read(&mut [0; 64]).is_err());
        asked.recv().unwrap();
        runtime.shutdown_background();
        assert!(reader.join().unwrap());
    }
}
