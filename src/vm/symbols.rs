//! Names for the bare addresses in what a kernel said of its health.

use std::path::Path;

use crate::boot::transcript::Transcript;
use crate::health::{is_bare, resolve};
use crate::resolve::kernel::symbols::Source;

/// Puts names to addresses, where there are any and the kernel's symbols are to be had. Reading those takes tens of milliseconds.
pub(super) fn name_addresses(transcript: &mut Transcript, image: &Path) {
    if !is_bare(&transcript.health) {
        return;
    }
    // A report without names is still a report.
    if let Ok(Some(symbols)) = Source::new(image).load() {
        resolve(&mut transcript.health, &|address| Some(symbols.function(address)?.to_string()));
    }
}
