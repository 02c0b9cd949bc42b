//! Kernels of a known failure: a range of releases such as `>=6.6, <6.12`, or a pattern of kernel names.
//!
//! A release is compared component by component with as many components as the bound has: 6.12.5 is neither above nor
//! below 6.12. Suffixes (`-rc3`, `+deb12-amd64`) are ignored.

use glob::Pattern;

/// Kernels that an entry applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kernels {
    /// Releases within all bounds.
    Releases(Vec<Bound>),
    /// Kernels whose names in the manifest match.
    Named(Pattern),
}

/// A bound of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bound {
    operator: Operator,
    version: Vec<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Least,
    Above,
    Most,
    Below,
    Equal,
}

/// Operators, longer ones first.
const OPERATORS: [(&str, Operator); 5] = [
    (">=", Operator::Least),
    ("<=", Operator::Most),
    (">", Operator::Above),
    ("<", Operator::Below),
    ("=", Operator::Equal),
];

impl Kernels {
    /// Parses a range or a name.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if !text.trim_start().starts_with(['<', '>', '=']) {
            let pattern = Pattern::new(text).map_err(|error| format!("invalid pattern {text:?}: {}", error.msg))?;
            return if text.is_empty() { Err("empty kernel".to_owned()) } else { Ok(Self::Named(pattern)) };
        }
        text.split(',').map(|bound| Bound::parse(bound.trim())).collect::<Result<_, _>>().map(Self::Releases)
    }

    /// Returns true if the entry applies to a kernel with this name and, if known, this release.
    pub(super) fn contains(&self, name: &str, release: Option<&str>) -> bool {
        match self {
            Self::Named(pattern) => pattern.matches(name),
            Self::Releases(bounds) => {
                let release = release.map(components).unwrap_or_default();
                !release.is_empty() && bounds.iter().all(|bound| bound.contains(&release))
            }
        }
    }
}

impl Bound {
    fn parse(text: &str) -> Result<Self, String> {
        let expected = || format!("invalid bound {text:?}: expected an operator and a release, such as >=6.6 or <6.12");
        let found = OPERATORS.iter().find_map(|(sign, operator)| Some((*operator, text.strip_prefix(sign)?.trim())));
        let (operator, version) = found.ok_or_else(expected)?;
        let version: Option<Vec<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
        version.map(|version| Self { operator, version }).ok_or_else(expected)
    }

    fn contains(&self, release: &[u32]) -> bool {
        let compared = (0..self.version.len()).map(|at| release.get(at).copied().unwrap_or(0));
        let order = compared.cmp(self.version.iter().copied());
        match self.operator {
            Operator::Least => order.is_ge(),
            Operator::Above => order.is_gt(),
            Operator::Most => order.is_le(),
            Operator::Below => order.is_lt(),
            Operator::Equal => order.is_eq(),
        }
    }
}

/// Returns the numbers at the start of a release: 6, 12 and 117 of `6.12.117+deb12-amd64`.
fn components(release: &str) -> Vec<u32> {
    let end = release.find(|letter: char| !(letter.is_ascii_digit() || letter == '.')).unwrap_or(release.len());
    release[..end].split('.').map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::Kernels;

    #[test]
    fn a_range_compares_as_many_components_as_its_bound_has() {
        let contains = |range: &str, release| Kernels::parse(range).expect("a range").contains("k", Some(release));
        for (range, release, expected) in [
            (">=6.6, <6.12", "6.6.0-rc1", true),
            (">=6.6, <6.12", "6.11.10-amd64", true),
            (">=6.6, <6.12", "6.12.117+deb12-cloud-amd64", false),
            (">=6.6,<6.12", "6.5.99", false),
            ("=6.12", "6.12.117+deb12", true),
            ("<=6.12", "6.12.117", true),
            (">6.12", "6.12.117", false),
            (">6.12", "6.13", true),
            ("<6.12.5", "6.12", true),
            (">= 7", "6.12.1", false),
            (">=0", "custom", false),
        ] {
            assert_eq!(contains(range, release), expected, "{range} {release}");
        }
    }

    #[test]
    fn a_name_is_a_pattern_and_a_range_needs_a_release() {
        let named = Kernels::parse("6.1*").expect("a name");
        assert!(named.contains("6.12", None) && !named.contains("next", Some("6.12.0")));
        assert!(!Kernels::parse(">=6.6").expect("a range").contains("k", None));
    }

    #[test]
    fn an_invalid_bound_is_refused() {
        for text in [">=", ">=6.x", ">=6.6, 6.12", "=>6", ">=6.6-rc1", "<6.12,", "[", ""] {
            assert!(Kernels::parse(text).is_err(), "{text}");
        }
    }
}
