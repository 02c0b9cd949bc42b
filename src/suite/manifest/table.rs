//! Typed access to the tables of a manifest. A key that is present but never read is an error.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, did_you_mean};
use crate::format::amount;
use crate::guest::TimeLimit;

/// A manifest's text and the errors found in it so far.
#[derive(Debug)]
pub(in crate::suite) struct Document<'a> {
    text: &'a str,
    errors: RefCell<Vec<(usize, Diagnostic)>>,
}

/// A value and its position, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::suite) struct Located<T> {
    pub(in crate::suite) value: T,
    pub(in crate::suite) span: Range<usize>,
}

type Value<'a> = Spanned<DeValue<'a>>;

impl<'a> Document<'a> {
    pub(in crate::suite) fn new(text: &'a str) -> Self {
        Self { text, errors: RefCell::default() }
    }

    /// Records an error.
    pub(in crate::suite) fn error(&self, span: &Range<usize>, message: impl Into<String>) {
        self.errors.borrow_mut().push((span.start, Diagnostic::new(self.text, span.clone(), message)));
    }

    /// Returns all errors in the order of the text.
    pub(in crate::suite) fn into_diagnostics(self) -> Vec<Diagnostic> {
        let mut errors = self.errors.into_inner();
        errors.sort_by_key(|(start, _)| *start);
        errors.into_iter().map(|(_, diagnostic)| diagnostic).collect()
    }
}

/// A table, and the keys that have been read from it.
#[derive(Debug)]
pub(in crate::suite) struct Table<'d, 'a> {
    document: &'d Document<'a>,
    entries: &'d DeTable<'a>,
    span: Range<usize>,
    read: Vec<&'static str>,
}

impl<'d, 'a> Table<'d, 'a> {
    pub(in crate::suite) fn new(document: &'d Document<'a>, table: &'d DeTable<'a>, span: Range<usize>) -> Self {
        Self { document, entries: table, span, read: Vec::new() }
    }

    /// Returns the position of the table's heading.
    pub(in crate::suite) fn span(&self) -> &Range<usize> {
        &self.span
    }

    /// Returns the document, which records errors.
    pub(in crate::suite) fn document(&self) -> &'d Document<'a> {
        self.document
    }

    /// Returns the position of a key, or of the table if the key is absent.
    pub(in crate::suite) fn key_span(&self, key: &str) -> Range<usize> {
        self.entries.get_key_value(key).map_or_else(|| self.span.clone(), |(key, _)| key.span())
    }

    /// Returns true if the key is present.
    pub(in crate::suite) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    fn value(&mut self, key: &'static str) -> Option<&'d Value<'a>> {
        self.read.push(key);
        self.entries.get(key)
    }

    /// Reads a value. If `convert` refuses it, records that another type was expected.
    fn typed<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        convert: impl FnOnce(&'d DeValue<'a>) -> Option<T>,
    ) -> Option<Located<T>> {
        let value = self.value(key)?;
        let converted = convert(value.get_ref());
        if converted.is_none() {
            self.type_error(key, value, expected);
        }
        converted.map(|converted| Located { value: converted, span: value.span() })
    }

    fn type_error(&self, key: &str, value: &Value<'_>, expected: &str) {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.document.error(&value.span(), format!("{key}: expected {expected}, found {found}"));
    }

    /// Reads a string with its position.
    pub(in crate::suite) fn located_text(&mut self, key: &'static str) -> Option<Located<String>> {
        self.typed(key, "a string", |value| value.as_str().map(str::to_owned))
    }

    /// Reads a string.
    pub(in crate::suite) fn text(&mut self, key: &'static str) -> Option<String> {
        self.located_text(key).map(|text| text.value)
    }

    /// Reads a string and parses it.
    pub(in crate::suite) fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.located_text(key);
        self.parse(key, text, parse)
    }

    fn parse<T>(
        &self,
        key: &str,
        text: Option<Located<String>>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let Located { value, span } = text?;
        parse(&value).map_err(|error| self.document.error(&span, format!("{key}: {error}"))).ok()
    }

    /// Reads one of several names.
    pub(in crate::suite) fn one_of<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        self.parsed(key, |text| {
            let found = choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice);
            found.ok_or_else(|| {
                let names: Vec<String> = choices.iter().map(|(name, _)| format!("{name:?}")).collect();
                let hint = did_you_mean(text, choices.iter().map(|(name, _)| *name));
                format!("expected one of {}, found {text:?}{hint}", names.join(", "))
            })
        })
    }

    /// Reads a boolean.
    pub(in crate::suite) fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.typed(key, "true or false", DeValue::as_bool).map(|flag| flag.value)
    }

    /// Reads a date, with quotes or without. Returns it as `YYYY-MM-DD`.
    pub(in crate::suite) fn date(&mut self, key: &'static str) -> Option<String> {
        let day = |date: toml::value::Datetime| date.time.is_none().then_some(date.date)?.map(|day| day.to_string());
        let date = self.typed(key, "a date such as 2026-12-31", |value| match value {
            DeValue::Datetime(date) => day(*date),
            DeValue::String(text) => day(text.parse().ok()?),
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Array(_) | DeValue::Table(_) => {
                None
            }
        });
        date.map(|date| date.value)
    }

    /// Reads an integer in a range.
    pub(in crate::suite) fn number(&mut self, key: &'static str, range: RangeInclusive<u32>) -> Option<u32> {
        let digits = self.typed(key, "an integer", DeValue::as_integer)?;
        let number = u32::from_str_radix(digits.value.as_str(), digits.value.radix()).ok();
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = range.into_inner();
            let message = format!("{key}: expected a number from {least} to {most}");
            self.document.error(&digits.span, message);
        }
        number
    }

    /// Reads a number or a string, as text.
    pub(in crate::suite) fn number_or_text(&mut self, key: &'static str) -> Option<Located<String>> {
        self.typed(key, "a number or a string", |value| match value {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(digits) if digits.radix() == 10 => Some(digits.as_str().to_owned()),
            DeValue::Float(digits) => Some(digits.as_str().to_owned()),
            DeValue::Integer(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => None,
        })
    }

    /// Reads a time limit: seconds, or text with a unit. Unlimited is not allowed, so that a matrix ends.
    pub(in crate::suite) fn time_limit(&mut self, key: &'static str) -> Option<Duration> {
        let text = self.number_or_text(key);
        self.parse(key, text, |text| match amount::time(text) {
            Ok(Some(limit)) => Ok(limit),
            Ok(None) => Err("expected a time above zero, so that the tests end".to_owned()),
            Err(error) => Err(error.trim_end_matches(", or none").to_owned()),
        })
    }

    /// Reads a time, or `"none"`.
    pub(in crate::suite) fn time_or_none(&mut self, key: &'static str) -> Option<TimeLimit> {
        let text = self.number_or_text(key);
        self.parse(key, text, |text| Ok(amount::time(text)?.map_or(TimeLimit::None, TimeLimit::After)))
    }

    /// Reads a memory size, MiB: a number, or text with a unit.
    pub(in crate::suite) fn memory_mib(&mut self, key: &'static str) -> Option<u64> {
        let text = self.number_or_text(key);
        self.parse(key, text, amount::memory_mib)
    }

    /// Reads strings with their positions; a single one needs no brackets. `None` if the key is absent.
    pub(in crate::suite) fn located_texts(&mut self, key: &'static str) -> Option<Vec<Located<String>>> {
        let value = self.value(key)?;
        let expected = "a string or an array of strings";
        let single = |value: &Value<'_>| {
            let text = value.get_ref().as_str();
            if text.is_none() {
                self.type_error(key, value, expected);
            }
            text.map(|text| Located { value: text.to_owned(), span: value.span() })
        };
        match value.get_ref().as_array() {
            Some(values) => Some(values.iter().filter_map(single).collect()),
            None => single(value).map(|text| vec![text]),
        }
    }

    /// Reads strings; a single one needs no brackets.
    pub(in crate::suite) fn texts(&mut self, key: &'static str) -> Vec<String> {
        self.parsed_texts(key, |text| Ok(text.to_owned()))
    }

    /// Reads strings and parses each; a single one needs no brackets.
    pub(in crate::suite) fn parsed_texts<T>(
        &mut self,
        key: &'static str,
        mut parse: impl FnMut(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let texts = self.located_texts(key).unwrap_or_default().into_iter();
        texts.filter_map(|text| self.parse(key, Some(text), &mut parse)).collect()
    }

    /// Reads a table.
    pub(in crate::suite) fn table(&mut self, key: &'static str) -> Option<Table<'d, 'a>> {
        let span = self.key_span(key);
        let table = self.typed(key, "a table", DeValue::as_table)?;
        Some(Table::new(self.document, table.value, span))
    }

    /// Reads an array of tables.
    pub(in crate::suite) fn tables(&mut self, key: &'static str) -> Vec<Table<'d, 'a>> {
        let expected = "an array of tables";
        let values = self.typed(key, expected, DeValue::as_array).map_or(&[][..], |values| values.value);
        let table = |value: &'d Value<'a>| {
            let table = value.get_ref().as_table();
            if table.is_none() {
                self.type_error(key, value, expected);
            }
            table.map(|table| Table::new(self.document, table, value.span()))
        };
        values.iter().filter_map(table).collect()
    }

    /// Returns all keys and values in the order of the text, for a table whose keys the user chooses.
    pub(in crate::suite) fn entries(&self) -> Vec<(Located<String>, &'d Value<'a>)> {
        let mut entries: Vec<_> = self
            .entries
            .iter()
            .map(|(key, value)| (Located { value: key.get_ref().to_string(), span: key.span() }, value))
            .collect();
        entries.sort_by_key(|(key, _)| key.span.start);
        entries
    }

    /// Records an error for each key that has not been read.
    pub(in crate::suite) fn finish(self) {
        for (key, _) in self.entries() {
            if !self.read.contains(&key.value.as_str()) {
                let hint = did_you_mean(&key.value, self.read.iter().copied());
                self.document.error(&key.span, format!("unknown key {:?}{hint}", key.value));
            }
        }
    }
}
