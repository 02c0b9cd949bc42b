//! Findings of a check, and the report that collects them.

use std::borrow::Cow;

use serde::Serialize;

use super::{Rule, Severity, Subject};
use crate::format::SectorSize;
use crate::format::pe::Section;

/// Maximum findings recorded per rule; further ones are only counted. A hostile file can have millions.
const MOST_OF_A_RULE: usize = 10;

/// Maximum unpacked bytes of all initrds of one report. A compressed initrd of a few kilobytes can unpack to any size,
/// and a disk can contain thousands of initrds.
pub const MOST_UNPACKED: u64 = 4 << 30;

/// Location of a finding.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Part of the file: `primary GPT`, `partition 1`, `EFI/BOOT/BOOTX64.EFI`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Byte offset in the disk, or in the file if it is not a disk image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The offset as an LBA, if the sector size is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lba: Option<u64>,
}

impl Place {
    /// Returns the location that means the whole file.
    pub(crate) fn whole() -> Self {
        Self::default()
    }

    /// Returns the location of a named part.
    pub(crate) fn part(name: impl Into<String>) -> Self {
        Self { part: Some(name.into()), ..Self::default() }
    }

    /// Returns the location of a section of the EFI program `path`.
    pub(super) fn section(path: &str, section: &Section) -> Self {
        Self::part(format!("{path}, {}", section.name())).byte(section.raw_offset.into())
    }

    /// Sets the byte offset.
    #[must_use]
    pub(crate) fn byte(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// Sets the LBA, and the byte offset that follows from it.
    #[must_use]
    pub(crate) fn lba(mut self, lba: u64, sector: SectorSize) -> Self {
        self.offset = lba.checked_mul(sector.bytes());
        self.lba = Some(lba);
        self
    }
}

/// Violation of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Violated rule.
    pub rule: Rule,
    /// Location of the violation.
    pub place: Place,
    /// Actual state, in one phrase.
    pub what: String,
    /// Remedy for this violation: that of the rule, unless another one works here.
    pub mend: Cow<'static, str>,
}

/// Result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Checked objects.
    pub subjects: Vec<Subject>,
    /// Findings, in disk order.
    pub findings: Vec<Finding>,
    /// Rules with more violations than [`Report::findings`] lists, and the number of further violations.
    pub more: Vec<(Rule, usize)>,
    /// Bytes that initrds may still unpack to.
    pub(super) unpackable: u64,
}

impl Default for Report {
    fn default() -> Self {
        Self::within(MOST_UNPACKED)
    }
}

impl Report {
    /// Returns an empty report; its initrds may unpack to `unpackable` bytes in total.
    pub(super) fn within(unpackable: u64) -> Self {
        Self { subjects: Vec::new(), findings: Vec::new(), more: Vec::new(), unpackable }
    }

    /// Adds a finding, or counts it if the rule already has the maximum.
    pub(crate) fn add(&mut self, rule: Rule, place: Place, what: impl Into<String>) {
        self.add_mended(rule, place, what, rule.mend);
    }

    /// Same as [`Report::add`], with a remedy for this violation.
    pub(crate) fn add_mended(
        &mut self,
        rule: Rule,
        place: Place,
        what: impl Into<String>,
        mend: impl Into<Cow<'static, str>>,
    ) {
        let mut mend = mend.into();
        if let Some(number) = place.part.as_deref().and_then(|part| part.strip_prefix("partition ")) {
            mend = mend.replace("NUMBER", number).into();
        }
        if self.findings.iter().filter(|finding| finding.rule == rule).count() < MOST_OF_A_RULE {
            self.findings.push(Finding { rule, place, what: what.into(), mend });
        } else if let Some((_, count)) = self.more.iter_mut().find(|(more, _)| *more == rule) {
            *count += 1;
        } else {
            self.more.push((rule, 1));
        }
    }

    /// Replaces the remedies that contain `program`.
    pub(crate) fn replace_mends(&mut self, program: &str, new: impl Fn(&str) -> Cow<'static, str>) {
        for finding in self.findings.iter_mut().filter(|finding| finding.mend.contains(program)) {
            finding.mend = new(&finding.mend);
        }
    }

    /// Removes the findings of the rules whose identifiers are in `ignored`.
    pub fn ignore(&mut self, ignored: &[String]) {
        self.findings.retain(|finding| !ignored.iter().any(|id| id == finding.rule.id));
        self.more.retain(|(rule, _)| !ignored.iter().any(|id| id == rule.id));
    }

    /// Returns the number of findings with this severity, including those that are only counted.
    pub fn count(&self, severity: Severity) -> usize {
        let listed = self.findings.iter().filter(|finding| finding.rule.severity == severity).count();
        let more = self.more.iter().filter(|(rule, _)| rule.severity == severity);
        more.fold(listed, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Returns true if the report has a finding of `rule`.
    pub(crate) fn has(&self, rule: &Rule) -> bool {
        self.findings.iter().any(|finding| finding.rule.id == rule.id)
    }
}
