//! One table of a document: its fields by name and type, each fault noted and gone on from.

use std::str::FromStr;

use toml::{
    Spanned,
    de::{DeInteger, DeTable, DeValue},
};

use super::{
    draft::Spot,
    duration::duration_secs,
    fault::{Collector, Wrong},
    suggest::nearest,
};
use crate::NameError;

/// A table whose fields are looked at one by one.
pub(super) struct Fields<'t, 'i> {
    /// As in "a grant".
    section: &'static str,
    table: &'t DeTable<'i>,
    allowed: &'static [&'static str],
}

impl<'t, 'i> Fields<'t, 'i> {
    /// The fields of `table`; each that is not allowed is a fault.
    pub(super) fn of(
        section: &'static str,
        table: &'t DeTable<'i>,
        allowed: &'static [&'static str],
        faults: &mut Collector<'_>,
    ) -> Self {
        for (key, _) in table.iter() {
            let field: &str = key.get_ref();
            if !allowed.contains(&field) {
                faults.add(
                    key.span().start,
                    Wrong::UnknownField {
                        section,
                        field: cut(field),
                        suggestion: nearest(field, allowed.iter().copied()),
                        allowed,
                    },
                );
            }
        }
        Self {
            section,
            table,
            allowed,
        }
    }

    /// The table of that name, or its place and what it is instead.
    pub(super) fn value(&self, field: &'static str) -> Option<&'t Spanned<DeValue<'i>>> {
        debug_assert!(self.allowed.contains(&field), "{} {field}", self.section);
        self.table.get(field)
    }

    pub(super) fn text(
        &self,
        field: &'static str,
        faults: &mut Collector<'_>,
    ) -> Option<Spot<String>> {
        let value = self.value(field)?;
        text_of(field, value, "a text in quotation marks", faults)
    }

    /// A text for people: short and printable.
    pub(super) fn caption(
        &self,
        field: &'static str,
        most: usize,
        faults: &mut Collector<'_>,
    ) -> String {
        let Some(text) = self.text(field, faults) else {
            return String::new();
        };
        if text.value.chars().count() > most || text.value.chars().any(char::is_control) {
            faults.add(
                text.byte,
                Wrong::Text {
                    field: field.to_owned(),
                    most,
                },
            );
            return String::new();
        }
        text.value
    }

    pub(super) fn name<N: FromStr<Err = NameError>>(
        &self,
        field: &'static str,
        faults: &mut Collector<'_>,
    ) -> Option<Spot<N>> {
        parsed(self.text(field, faults)?, faults)
    }

    pub(super) fn names<N: FromStr<Err = NameError>>(
        &self,
        field: &'static str,
        faults: &mut Collector<'_>,
    ) -> Vec<Spot<N>> {
        let texts = self.texts(field, faults).unwrap_or_default();
        texts
            .into_iter()
            .filter_map(|text| parsed(text, faults))
            .collect()
    }

    /// A list of texts; `None` where there is none.
    pub(super) fn texts(
        &self,
        field: &'static str,
        faults: &mut Collector<'_>,
    ) -> Option<Vec<Spot<String>>> {
        let value = self.value(field)?;
        let Some(list) = value.get_ref().as_array() else {
            wrong_type(
                field,
                value,
                "a list of texts, such as [\"a\", \"b\"]",
                faults,
            );
            return None;
        };
        let texts = list
            .iter()
            .filter_map(|value| text_of(field, value, "a list of texts", faults));
        Some(texts.collect())
    }

    pub(super) fn flag(&self, field: &'static str, faults: &mut Collector<'_>) -> bool {
        let Some(value) = self.value(field) else {
            return false;
        };
        value.get_ref().as_bool().unwrap_or_else(|| {
            wrong_type(field, value, "true or false", faults);
            false
        })
    }

    pub(super) fn duration(&self, field: &'static str, faults: &mut Collector<'_>) -> Option<u64> {
        let value = self.value(field)?;
        let expected = "a duration in quotation marks, such as \"8h\" or \"15m\"";
        let text = text_of(field, value, expected, faults)?;
        duration_secs(&text.value)
            .map_err(|error| {
                let field = field.to_owned();
                faults.add(text.byte, Wrong::Duration { field, error });
            })
            .ok()
    }

    /// A number that is not negative, with its text where it is none.
    pub(super) fn number(
        &self,
        field: &'static str,
        faults: &mut Collector<'_>,
    ) -> Option<Spot<Result<u64, String>>> {
        let value = self.value(field)?;
        let Some(number) = value.get_ref().as_integer() else {
            wrong_type(field, value, "a whole number", faults);
            return None;
        };
        Some(Spot {
            byte: value.span().start,
            value: whole(number),
        })
    }
}

/// What a name stands for, if it is well formed.
pub(super) fn parsed<N: FromStr<Err = NameError>>(
    text: Spot<String>,
    faults: &mut Collector<'_>,
) -> Option<Spot<N>> {
    match text.value.parse() {
        Ok(value) => Some(Spot {
            byte: text.byte,
            value,
        }),
        Err(error) => {
            faults.add(text.byte, error);
            None
        }
    }
}

pub(super) fn text_of(
    field: &str,
    value: &Spanned<DeValue<'_>>,
    expected: &'static str,
    faults: &mut Collector<'_>,
) -> Option<Spot<String>> {
    let Some(text) = value.get_ref().as_str() else {
        wrong_type(field, value, expected, faults);
        return None;
    };
    Some(Spot {
        byte: value.span().start,
        value: text.to_owned(),
    })
}

pub(super) fn wrong_type(
    field: &str,
    value: &Spanned<DeValue<'_>>,
    expected: &'static str,
    faults: &mut Collector<'_>,
) {
    let wrong = Wrong::WrongType {
        field: cut(field),
        expected,
        found: match value.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        },
    };
    faults.add(value.span().start, wrong);
}

fn whole(number: &DeInteger<'_>) -> Result<u64, String> {
    u64::from_str_radix(number.as_str(), number.radix()).map_err(|_| cut(&number.to_string()))
}

pub(super) fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}
