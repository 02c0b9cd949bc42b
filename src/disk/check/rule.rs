//! Rules and their severities.

use std::fmt;

use serde::{Serialize, Serializer};

/// Severity of a violated rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Informational: harmless if the image is used as intended.
    Note,
    /// Some firmware or tools fail, or users are misled.
    Warning,
    /// The image does not boot, loses data, or is inconsistent.
    Error,
}

impl Severity {
    /// All severities, most severe first.
    pub const ALL: [Self; 3] = [Self::Error, Self::Warning, Self::Note];

    /// Returns the name of the severity.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Severity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Rule: one row of the rule table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Identifier: lowercase words joined by hyphens.
    pub id: &'static str,
    /// Severity of a violation.
    pub severity: Severity,
    /// Required condition.
    pub says: &'static str,
    /// Firmware or tools that fail if the rule is violated, and how.
    pub breaks: &'static str,
    /// Remedy, a command if possible.
    pub mend: &'static str,
    /// Source: specification section, source file, or bug report.
    pub source: &'static str,
}

/// Defines one constant per row, and the table `ALL`.
macro_rules! rules {
    ($($name:ident = $severity:ident $id:literal, $says:literal, $breaks:literal, $mend:literal, $source:literal;)*) => {
        $(
            #[doc = concat!("The rule `", $id, "`.")]
            pub(crate) const $name: Rule = Rule {
                id: $id,
                severity: Severity::$severity,
                says: $says,
                breaks: $breaks,
                mend: $mend,
                source: $source,
            };
        )*
        /// Rules of this module, in disk order.
        pub(crate) const ALL: &[Rule] = &[$($name),*];
    };
}
pub(super) use rules;
