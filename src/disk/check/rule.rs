//! What a rule is.

use std::fmt;

use serde::{Serialize, Serializer};

/// How much a broken rule matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing: harmless where the image is used as meant.
    Note,
    /// Some firmware or tool breaks by it, or people do.
    Warning,
    /// It does not start, loses data, or contradicts itself.
    Error,
}

impl Severity {
    /// All, the worst first.
    pub const ALL: [Self; 3] = [Self::Error, Self::Warning, Self::Note];

    /// Its name.
    pub const fn name(self) -> &'static str {
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

/// A rule: a fixed row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// What it is called, in words with hyphens.
    pub id: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What has to be.
    pub says: &'static str,
    /// Who breaks where it is not, and how.
    pub breaks: &'static str,
    /// What helps.
    pub mend: &'static str,
    /// Where it is written.
    pub source: &'static str,
}

/// Makes constants and their table `ALL` from rows.
macro_rules! rules {
    ($($name:ident = $severity:ident $id:literal, $says:literal, $breaks:literal, $mend:literal, $source:literal;)*) => {
        $(
            #[doc = concat!("The rule `", $id, "`.")]
            pub const $name: Rule = Rule {
                id: $id,
                severity: Severity::$severity,
                says: $says,
                breaks: $breaks,
                mend: $mend,
                source: $source,
            };
        )*
        /// The rules of this part, in their order.
        pub const ALL: &[Rule] = &[$($name),*];
    };
}
pub(super) use rules;
