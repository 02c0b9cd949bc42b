//! Reads tables of a manifest key by key. Requested keys are known; all others are reported as mistakes.

use std::cell::RefCell;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::{Mistake, did_you_mean};
use crate::format::amount;

/// Text of a manifest, and all mistakes found in it.
#[derive(Debug)]
pub(super) struct Sheet<'a> {
    text: &'a str,
    mistakes: RefCell<Vec<(usize, Mistake)>>,
}

/// A value and its byte range in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said<T> {
    pub value: T,
    pub at: Range<usize>,
}

/// Value of a key.
type Value<'a> = Spanned<DeValue<'a>>;

impl<'a> Sheet<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, mistakes: RefCell::default() }
    }

    /// Adds a mistake.
    pub fn wrong(&self, at: &Range<usize>, what: impl Into<String>) {
        self.mistakes.borrow_mut().push((at.start, Mistake::new(self.text, at.clone(), what)));
    }

    /// Returns all mistakes, in text order.
    pub fn mistakes(self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort_by_key(|(at, _)| *at);
        mistakes.into_iter().map(|(_, mistake)| mistake).collect()
    }

    /// Adds a mistake for a value of the wrong type.
    fn not_a(&self, value: &Value<'_>, key: &str, kind: &str) {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.wrong(&value.span(), format!("{key:?} takes {kind}, not {found}"));
    }
}

/// A table that is being read.
#[derive(Debug)]
pub(super) struct Keys<'s, 'a> {
    sheet: &'s Sheet<'a>,
    table: &'s DeTable<'a>,
    place: Range<usize>,
    asked: Vec<&'static str>,
}

impl<'s, 'a> Keys<'s, 'a> {
    pub fn new(sheet: &'s Sheet<'a>, table: &'s DeTable<'a>, place: Range<usize>) -> Self {
        Self { sheet, table, place, asked: Vec::new() }
    }

    /// Returns the position of the table.
    pub fn place(&self) -> &Range<usize> {
        &self.place
    }

    /// Returns the manifest's text, which collects the mistakes.
    pub fn sheet(&self) -> &'s Sheet<'a> {
        self.sheet
    }

    /// Returns the position of a key; that of the table if the key is missing.
    pub fn key(&self, key: &str) -> Range<usize> {
        self.table.get_key_value(key).map_or_else(|| self.place.clone(), |(key, _)| key.span())
    }

    /// Returns true if the table contains the key.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Returns the value of a key, and marks the key as known.
    pub fn value(&mut self, key: &'static str) -> Option<&'s Value<'a>> {
        self.asked.push(key);
        self.table.get(key)
    }

    pub fn text(&mut self, key: &'static str) -> Option<Said<String>> {
        let value = self.value(key)?;
        let DeValue::String(text) = value.get_ref() else {
            self.sheet.not_a(value, key, "a string");
            return None;
        };
        Some(Said { value: text.to_string(), at: value.span() })
    }

    /// Parses the text of a key.
    pub fn read<T>(&mut self, key: &'static str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let Said { value, at } = self.text(key)?;
        read(&value).map_err(|what| self.sheet.wrong(&at, format!("{key}: {what}"))).ok()
    }

    /// Maps a keyword to its value.
    pub fn one_of<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let Said { value, at } = self.text(key)?;
        let found = words.iter().find(|(word, _)| *word == value).map(|(_, meant)| *meant);
        if found.is_none() {
            let all: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            let hint = did_you_mean(&value, words.iter().map(|(word, _)| *word));
            self.sheet.wrong(&at, format!("{key:?} takes one of {}, not {value:?}{hint}", all.join(", ")));
        }
        found
    }

    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.sheet.not_a(value, key, "true or false");
        }
        flag
    }

    /// Returns a number from `least` to `most`.
    pub fn number(&mut self, key: &'static str, least: u32, most: u32) -> Option<u32> {
        let value = self.value(key)?;
        let Some(digits) = value.get_ref().as_integer() else {
            self.sheet.not_a(value, key, "an integer");
            return None;
        };
        let number = u32::from_str_radix(digits.as_str(), digits.radix()).ok();
        let number = number.filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.sheet.wrong(&value.span(), format!("{key:?} takes a number from {least} to {most}"));
        }
        number
    }

    /// Returns a number or a string, as text.
    pub fn number_or_text(&mut self, key: &'static str) -> Option<Said<String>> {
        let value = self.value(key)?;
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(digits) if digits.radix() == 10 => digits.as_str().to_owned(),
            DeValue::Float(digits) => digits.as_str().to_owned(),
            DeValue::Integer(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                self.sheet.not_a(value, key, "a number or a string");
                return None;
            }
        };
        Some(Said { value: text, at: value.span() })
    }

    /// Returns a time limit: a number of seconds, or text with a unit. "none" is not allowed, because a matrix must
    /// terminate.
    pub fn limit(&mut self, key: &'static str) -> Option<Duration> {
        let Said { value, at } = self.number_or_text(key)?;
        match amount::time(&value) {
            Ok(Some(limit)) => return Some(limit),
            Ok(None) => self.sheet.wrong(&at, format!("{key:?} takes a time above zero: a matrix must terminate")),
            Err(what) => self.sheet.wrong(&at, format!("{key}: {}", what.trim_end_matches(", or none"))),
        }
        None
    }

    /// Returns a size in MiB: a number, or text with a unit.
    pub fn memory_mib(&mut self, key: &'static str) -> Option<u64> {
        let Said { value, at } = self.number_or_text(key)?;
        amount::memory_mib(&value).map_err(|what| self.sheet.wrong(&at, format!("{key}: {what}"))).ok()
    }

    /// Returns strings; a single one needs no brackets. `None`: the key is missing.
    pub fn texts(&mut self, key: &'static str) -> Option<Vec<Said<String>>> {
        let value = self.value(key)?;
        let kind = "a string or an array of strings";
        let one = |value: &Value<'_>| {
            let text = value.get_ref().as_str();
            if text.is_none() {
                self.sheet.not_a(value, key, kind);
            }
            text.map(|text| Said { value: text.to_owned(), at: value.span() })
        };
        match value.get_ref() {
            DeValue::String(_) => Some(one(value).into_iter().collect()),
            DeValue::Array(values) => Some(values.iter().filter_map(one).collect()),
            _ => {
                self.sheet.not_a(value, key, kind);
                None
            }
        }
    }

    /// Returns strings without their positions.
    pub fn words(&mut self, key: &'static str) -> Vec<String> {
        self.texts(key).unwrap_or_default().into_iter().map(|said| said.value).collect()
    }

    /// Returns a table.
    pub fn table(&mut self, key: &'static str) -> Option<Keys<'s, 'a>> {
        let value = self.value(key)?;
        let DeValue::Table(table) = value.get_ref() else {
            self.sheet.not_a(value, key, "a table");
            return None;
        };
        let key = self.table.get_key_value(key).map_or(value.span(), |(key, _)| key.span());
        Some(Keys::new(self.sheet, table, key))
    }

    /// Returns an array of tables.
    pub fn tables(&mut self, key: &'static str) -> Vec<Keys<'s, 'a>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let kind = "an array of tables";
        let DeValue::Array(values) = value.get_ref() else {
            self.sheet.not_a(value, key, kind);
            return Vec::new();
        };
        let table = |value: &'s Value<'a>| {
            let table = value.get_ref().as_table();
            if table.is_none() {
                self.sheet.not_a(value, key, kind);
            }
            table.map(|table| Keys::new(self.sheet, table, value.span()))
        };
        values.iter().filter_map(table).collect()
    }

    /// Returns names and values in text order, for a table whose keys the user chooses.
    pub fn entries(&self) -> Vec<(Said<String>, &'s Value<'a>)> {
        let said = |(key, value): (&'s Spanned<_>, &'s Value<'a>)| {
            let name: &std::borrow::Cow<'a, str> = key.get_ref();
            (Said { value: name.to_string(), at: key.span() }, value)
        };
        let mut entries: Vec<_> = self.table.iter().map(said).collect();
        entries.sort_by_key(|(name, _)| name.at.start);
        entries
    }

    /// Reports all keys that have not been requested.
    pub fn done(self) {
        for (name, _) in self.entries() {
            if !self.asked.contains(&name.value.as_str()) {
                let hint = did_you_mean(&name.value, self.asked.iter().copied());
                self.sheet.wrong(&name.at, format!("unknown key {:?}{hint}", name.value));
            }
        }
    }
}
