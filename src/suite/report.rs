//! Reports of a matrix: the types that the native JSON Lines format consists of, and writers of other formats.

mod date;
mod expectation;
mod html;
pub mod jsonl;
mod junit;
mod ktap;
pub(crate) mod schema;
mod standing;
mod story;
mod tap;

use std::io::{self, Write};

use super::baseline::Comparison;

pub(crate) use self::date::day;
pub use self::expectation::{Expectation, ExpectationKind};
pub use self::schema::{
    Attempt, CellReport, FORMAT, Header, Part, PartResult, Report, STREAM_LIMIT, Shard, StartMode, Status, Times,
    VERSION,
};
pub use self::standing::Standing;
pub(crate) use self::story::story;

/// All formats, in the order of the program's help.
pub static FORMATS: [&Format; 5] = [&junit::FORMAT, &tap::FORMAT, &ktap::FORMAT, &jsonl::FORMAT, &html::FORMAT];

/// A report format. Each module of a format defines one; the option of `bootling test` follows from it.
#[derive(Debug)]
pub struct Format {
    /// Name; also the name of the command-line option.
    pub name: &'static str,
    /// Help text of the option.
    pub help: &'static str,
    write: fn(&Report, Option<&Comparison>, &mut dyn Write) -> io::Result<()>,
}

impl Format {
    /// Returns the format with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        FORMATS.into_iter().find(|format| format.name == name)
    }

    /// Writes a report. Only the HTML page includes the comparison with an earlier one.
    pub fn write(&self, report: &Report, comparison: Option<&Comparison>, out: &mut dyn Write) -> io::Result<()> {
        (self.write)(report, comparison, out)
    }
}
