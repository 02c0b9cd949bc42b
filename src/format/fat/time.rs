//! Timestamps of directory entries: local time without a time zone, from 1980, with a resolution of two seconds.

use std::fmt;

/// Date and time of an entry. Invalid values are displayed unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Years since 1980, month, day: 7, 4 and 5 bits.
    pub(crate) date: u16,
    /// Hours, minutes, seconds halved: 5, 6 and 5 bits.
    pub(crate) time: u16,
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = (1980 + (self.date >> 9), self.date >> 5 & 15, self.date & 31);
        write!(f, "{year:04}-{month:02}-{day:02} {:02}:{:02}", self.time >> 11, self.time >> 5 & 63)
    }
}
