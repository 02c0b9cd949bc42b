//! What a check found.

use serde::Serialize;

use super::{Rule, Severity, Subject};
use crate::format::SectorSize;

/// How many findings of one rule are told; more of them tell nothing new, and hostile files have millions.
const MOST_OF_A_RULE: usize = 10;

/// How many bytes of initrds are read and unpacked, all that one report is about together: a compressed one of some
/// kilobytes can claim to become any size, and a disk can have thousands of them.
pub const MOST_UNPACKED: u64 = 4 << 30;

/// Where something is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Place {
    /// In what: `primary GPT`, `partition 1`, `EFI/BOOT/BOOTX64.EFI`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Offset in bytes: of the disk, or of the file where no disk is checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The same as a sector's number, where the size of sectors is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lba: Option<u64>,
}

impl Place {
    /// The whole file.
    pub fn whole() -> Self {
        Self::default()
    }

    /// A named part.
    pub fn part(name: impl Into<String>) -> Self {
        Self { part: Some(name.into()), ..Self::default() }
    }

    /// At a byte of it.
    #[must_use]
    pub fn byte(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// At a sector of it.
    #[must_use]
    pub fn lba(mut self, lba: u64, sector: SectorSize) -> Self {
        self.offset = lba.checked_mul(sector.bytes());
        self.lba = Some(lba);
        self
    }
}

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// Where.
    pub place: Place,
    /// What is there, in one sentence.
    pub what: String,
}

/// All that a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What was looked at.
    pub subjects: Vec<Subject>,
    /// The broken rules, in the order of the disk.
    pub findings: Vec<Finding>,
    /// Rules that were broken more often than [`Report::findings`] tells, and how often more.
    pub more: Vec<(Rule, usize)>,
    /// Bytes of initrds that may still be read and unpacked.
    pub(super) unpackable: u64,
}

impl Default for Report {
    fn default() -> Self {
        Self::within(MOST_UNPACKED)
    }
}

impl Report {
    /// An empty one, for which so many bytes of initrds may be read and unpacked.
    pub(super) fn within(unpackable: u64) -> Self {
        Self { subjects: Vec::new(), findings: Vec::new(), more: Vec::new(), unpackable }
    }

    /// Adds a finding.
    pub fn add(&mut self, rule: Rule, place: Place, what: impl Into<String>) {
        if self.findings.iter().filter(|finding| finding.rule == rule).count() < MOST_OF_A_RULE {
            self.findings.push(Finding { rule, place, what: what.into() });
        } else if let Some((_, count)) = self.more.iter_mut().find(|(more, _)| *more == rule) {
            *count += 1;
        } else {
            self.more.push((rule, 1));
        }
    }

    /// Forgets what was found of the rules in `ignored`, by their ids.
    pub fn ignore(&mut self, ignored: &[String]) {
        self.findings.retain(|finding| !ignored.iter().any(|id| id == finding.rule.id));
        self.more.retain(|(rule, _)| !ignored.iter().any(|id| id == rule.id));
    }

    /// How many findings of one severity there are, those included that are only counted.
    pub fn count(&self, severity: Severity) -> usize {
        let told = self.findings.iter().filter(|finding| finding.rule.severity == severity).count();
        let more = self.more.iter().filter(|(rule, _)| rule.severity == severity);
        more.fold(told, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Whether a rule was broken.
    pub fn has(&self, rule: &Rule) -> bool {
        self.findings.iter().any(|finding| finding.rule.id == rule.id)
    }
}
