//! Files from the guest (`--collect`): decodes the guest's stream and writes the files.
//!
//! The guest is untrusted: names are checked by the decoder, files are written below the destinations only, number and size
//! are limited, and a record out of order ends the session.

pub mod record;
pub mod request;
mod store;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use self::record::Collected;
use self::request::{CollectRequest, Place};
use self::store::{NewFile, make_directory};
use super::verdict::errno_text;
use crate::format::guest_text;
use crate::format::protocol::collect::Record;

/// Maximum number of files and directories.
const MAX_ENTRIES: u64 = 200_000;
/// Maximum number of reported paths of a request.
const MAX_PATHS: usize = 100;
/// `ENOENT`
const NO_ENTRY: u32 = 2;

/// The collection of one command's files.
#[derive(Debug)]
pub(crate) struct Collection {
    requests: Vec<CollectRequest>,
    results: Vec<Collected>,
    /// Number of bytes that the guest may still send.
    left: u64,
    limit: u64,
    entries: u64,
    /// Received bytes of an incomplete record.
    pending: Vec<u8>,
    current: Option<usize>,
    file: Option<Incoming>,
    /// Places that have been written to.
    taken: HashSet<PathBuf>,
    has_begun: bool,
    /// True if the guest ended it early because of its limit.
    is_limited: bool,
    is_complete: bool,
}

/// The file that is being received.
#[derive(Debug)]
struct Incoming {
    /// Path in the guest, for messages.
    name: String,
    place: PathBuf,
    /// True if it is reported by its own path, and not as part of a directory.
    is_reported: bool,
    /// `None`: it cannot be written, which has been recorded.
    file: Option<NewFile>,
    bytes: u64,
}

impl Collection {
    /// Creates the collection for these requests; `None` if there are none.
    pub(crate) fn new(requests: &[CollectRequest], limit: Option<u64>) -> Option<Self> {
        let limit = limit.unwrap_or(request::DEFAULT_LIMIT);
        let result = |request: &CollectRequest| Collected { guest: request.to_string(), ..Collected::default() };
        (!requests.is_empty()).then(|| Self {
            results: requests.iter().map(result).collect(),
            requests: requests.to_vec(),
            left: limit,
            limit,
            entries: 0,
            pending: Vec::new(),
            current: None,
            file: None,
            taken: HashSet::new(),
            has_begun: false,
            is_limited: false,
            is_complete: false,
        })
    }

    /// True after the last record.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// True after the first record.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Handles a part of the stream. Returns what is wrong with it.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        self.has_begun = true;
        self.pending.extend_from_slice(bytes);
        let pending = std::mem::take(&mut self.pending);
        let mut at = 0;
        while let Some((record, len)) = Record::decode(&pending[at..])? {
            at += len;
            self.handle(record)?;
        }
        self.pending = pending;
        self.pending.drain(..at);
        Ok(())
    }

    fn handle(&mut self, record: Record<'_>) -> Result<(), &'static str> {
        self.check_order(&record)?;
        let at = self.current.unwrap_or(0);
        match record {
            Record::Request(number) => {
                let next = self.current.map_or(0, |last| last + 1);
                if usize::from(number) != next || next >= self.requests.len() {
                    return Err("an unexpected request in the collected files");
                }
                self.current = Some(next);
            }
            Record::File { mode, path } => {
                self.count()?;
                let name = self.name(at, path);
                let place = self.requests[at].place(path, true);
                let file = self.create(at, &name, &place, mode);
                let is_reported = self.is_reported(at, path);
                self.file = Some(Incoming { name, place: place.path(), is_reported, file, bytes: 0 });
            }
            Record::Directory { mode, path } => {
                self.count()?;
                let place = self.requests[at].place(path, false);
                match make_directory(&place, mode) {
                    Ok(()) if self.is_reported(at, path) => self.report(at, &place.path()),
                    Ok(()) => {}
                    Err(error) => self.fail(at, format!("failed to create {}: {error}", place.path().display())),
                }
            }
            Record::Bytes(bytes) => self.add_bytes(at, bytes)?,
            Record::FileEnd(errno) => self.end_file(at, errno)?,
            Record::Skipped { errno: 0 | NO_ENTRY, .. } => self.results[at].skipped += 1,
            Record::Skipped { errno, path } => {
                let fault = format!("{}: {}", self.name(at, path), errno_text(errno));
                self.fail(at, fault);
            }
            Record::Missing(errno) if self.requests[at].is_pattern() && errno == NO_ENTRY => {}
            Record::Missing(errno) => self.fail(at, errno_text(errno)),
            Record::TooLarge => {
                self.file = None;
                self.too_large(at);
            }
            Record::End => self.is_complete = true,
        }
        Ok(())
    }

    /// Checks that a record may follow the previous ones.
    fn check_order(&self, record: &Record<'_>) -> Result<(), &'static str> {
        let is_inside = matches!(record, Record::Bytes(_) | Record::FileEnd(_) | Record::TooLarge);
        let is_last = self.current.map(|at| at + 1) == Some(self.requests.len());
        if self.is_complete {
            Err("collected files after the end of the collection")
        } else if self.file.is_some() && !is_inside {
            Err("a collected file without an end")
        } else if *record == Record::End && !is_last && !self.is_limited {
            Err("an early end of the collected files")
        } else if self.current.is_none() && !matches!(record, Record::Request(_)) {
            Err("a collected file that was not requested")
        } else {
            Ok(())
        }
    }

    /// Returns true if an entry is reported by its own path, and not as part of a directory.
    fn is_reported(&self, at: usize, path: &[u8]) -> bool {
        path.is_empty() || self.requests[at].is_pattern() && !path.contains(&b'/')
    }

    fn add_bytes(&mut self, at: usize, bytes: &[u8]) -> Result<(), &'static str> {
        let Some(incoming) = &mut self.file else { return Err("bytes without a collected file") };
        let len = bytes.len() as u64;
        self.left = self.left.checked_sub(len).ok_or("more collected files than the limit permits")?;
        incoming.bytes += len;
        if let Some(Err(error)) = incoming.file.as_mut().map(|file| file.write(bytes)) {
            incoming.file = None;
            let fault = format!("failed to write {}: {error}", incoming.place.display());
            self.fail(at, fault);
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), &'static str> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES { Err("more than 200,000 collected files") } else { Ok(()) }
    }

    /// Path of an entry in the guest, for messages.
    fn name(&self, at: usize, path: &[u8]) -> String {
        let guest = &self.results[at].guest;
        if path.is_empty() { guest.clone() } else { guest_text::line(path) }
    }

    /// Creates the file at a place that is not taken.
    fn create(&mut self, at: usize, name: &str, place: &Place, mode: u16) -> Option<NewFile> {
        let path = place.path();
        if !self.taken.insert(path.clone()) {
            self.fail(at, format!("{name}: another file was collected as {}", path.display()));
            return None;
        }
        let file = NewFile::create(place, mode);
        file.map_err(|error| self.fail(at, format!("failed to create {}: {error}", path.display()))).ok()
    }

    fn end_file(&mut self, at: usize, errno: u32) -> Result<(), &'static str> {
        let Some(Incoming { name, place, is_reported, file, bytes }) = self.file.take() else {
            return Err("the end of a file that was not collected");
        };
        let Some(file) = file else { return Ok(()) };
        if errno != 0 {
            self.fail(at, format!("failed to read {name}: {}", errno_text(errno)));
            return Ok(());
        }
        match file.finish() {
            Ok(()) => {
                let result = &mut self.results[at];
                result.files += 1;
                result.bytes += bytes;
                if is_reported {
                    self.report(at, &place);
                }
            }
            Err(error) => self.fail(at, format!("failed to create {}: {error}", place.display())),
        }
        Ok(())
    }

    fn report(&mut self, at: usize, path: &Path) {
        let host = &mut self.results[at].host;
        if host.len() < MAX_PATHS {
            host.push(path.display().to_string());
        }
    }

    /// Records the first fault of a request.
    fn fail(&mut self, at: usize, fault: String) {
        self.results[at].error.get_or_insert(fault);
    }

    /// Records that the limit was reached, for this request and those after it.
    fn too_large(&mut self, at: usize) {
        self.is_limited = true;
        let fault = format!("more than {} bytes (--collect-limit)", self.limit);
        (at..self.results.len()).for_each(|at| self.fail(at, fault.clone()));
    }

    /// Returns the results, and notes for the user. `was_started`: the command was.
    pub(crate) fn finish(mut self, was_started: bool) -> (Vec<Collected>, Vec<String>) {
        if !self.is_complete && was_started {
            let first = self.current.filter(|_| self.has_begun).unwrap_or(0);
            let why = if self.has_begun {
                "the guest ended before all of it was collected"
            } else {
                "the guest ended before it was collected"
            };
            (first..self.results.len()).for_each(|at| self.fail(at, why.to_owned()));
        }
        let mut notes = Vec::new();
        for (request, result) in self.requests.iter().zip(&self.results) {
            let Collected { guest, skipped, error, files, host, .. } = result;
            if let Some(error) = error {
                notes.push(format!("failed to collect {guest}: {error}"));
            } else if *files == 0 && host.is_empty() && request.is_pattern() && was_started {
                notes.push(format!("nothing in the guest matches --collect {guest}"));
            }
            if *skipped > 0 {
                let what = "neither files nor directories, or symbolic links to a directory or to nothing";
                notes.push(format!("not collected below {guest}: {skipped} entries ({what})"));
            }
        }
        (self.results, notes)
    }
}

#[cfg(test)]
mod tests;
