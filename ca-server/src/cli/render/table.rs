//! Aligned columns without boxes, and aligned fields; wide characters count as what they take on a terminal.

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr as _;

use crate::cli::text::line;

/// As wanted, and proven so.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Look here first.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// Not as it should be for long.
pub const WARN: Style = AnsiColor::Yellow.on_default();
/// There, but of no weight.
pub const FAINT: Style = Style::new().dimmed();
/// Heads of columns.
const HEAD: Style = Style::new().bold();

/// Text in a style.
#[must_use]
pub fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// One cell; its text is cleaned.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    style: Style,
    side: Side,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

impl Cell {
    /// Text; an empty one shows as `-`.
    #[must_use]
    pub fn text(text: &str) -> Self {
        let text = line(text);
        Self {
            text: if text.trim().is_empty() {
                "-".to_owned()
            } else {
                text
            },
            style: Style::new(),
            side: Side::Left,
        }
    }

    /// A list; an empty one shows as `-`.
    #[must_use]
    pub fn list(items: &[String]) -> Self {
        Self::text(&items.join(", "))
    }

    /// A number, aligned at its last digit.
    #[must_use]
    pub fn number(number: impl ToString) -> Self {
        Self {
            side: Side::Right,
            ..Self::text(&number.to_string())
        }
    }

    /// In a style.
    #[must_use]
    pub fn style(mut self, style: Style) -> Self {
        self.style = style;
        self
    }
}

/// Rows of cells under heads.
#[derive(Debug, Clone)]
pub struct Table<const N: usize> {
    heads: [&'static str; N],
    rows: Vec<[Cell; N]>,
}

impl<const N: usize> Table<N> {
    /// No rows yet.
    #[must_use]
    pub fn new(heads: [&'static str; N]) -> Self {
        Self {
            heads,
            rows: Vec::new(),
        }
    }

    /// Without heads: rows that read like sentences.
    #[must_use]
    pub fn bare() -> Self {
        Self::new([""; N])
    }

    /// One row more.
    pub fn row(&mut self, row: [Cell; N]) {
        self.rows.push(row);
    }

    /// As text; every line ends with a newline and none with spaces.
    #[must_use]
    pub fn render(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].text.width());
            cells.chain([self.heads[column].width()]).max().unwrap_or(0)
        };
        let widths: [usize; N] = std::array::from_fn(width);
        let sides: [Side; N] = std::array::from_fn(|column| {
            self.rows.first().map_or(Side::Left, |row| row[column].side)
        });
        let mut out = String::new();
        let heads = std::array::from_fn(|column| Cell {
            text: self.heads[column].to_owned(),
            style: HEAD,
            side: sides[column],
        });
        let headed = self.heads.iter().any(|head| !head.is_empty());
        for row in headed.then_some(&heads).into_iter().chain(&self.rows) {
            for (column, cell) in row.iter().enumerate() {
                let gap = " ".repeat(widths[column] - cell.text.width());
                let text = styled(cell.style, &cell.text);
                match cell.side {
                    Side::Right => out.push_str(&format!("{gap}{text}")),
                    Side::Left if column + 1 == N => out.push_str(&text),
                    Side::Left => out.push_str(&format!("{text}{gap}")),
                }
                out.push_str(if column + 1 == N { "\n" } else { "  " });
            }
        }
        out
    }
}

/// Names and values below a title.
#[derive(Debug, Clone)]
pub struct Fields {
    title: String,
    fields: Vec<(&'static str, Vec<String>)>,
}

impl Fields {
    /// Below this title.
    #[must_use]
    pub fn new(title: &str) -> Self {
        Self {
            title: line(title),
            fields: Vec::new(),
        }
    }

    /// One value; an empty one is left out.
    #[must_use]
    pub fn field(self, name: &'static str, value: &str) -> Self {
        self.styled(name, Style::new(), value)
    }

    /// One value in a style; an empty one is left out.
    #[must_use]
    pub fn styled(mut self, name: &'static str, style: Style, value: &str) -> Self {
        let value = line(value);
        if !value.trim().is_empty() {
            self.fields.push((name, vec![styled(style, &value)]));
        }
        self
    }

    /// Several values, one a line; none are shown as `-`.
    #[must_use]
    pub fn list(mut self, name: &'static str, values: &[String]) -> Self {
        let values = match values {
            [] => vec!["-".to_owned()],
            values => values.iter().map(|value| line(value)).collect(),
        };
        self.fields.push((name, values));
        self
    }

    /// As text; every line ends with a newline.
    #[must_use]
    pub fn render(&self) -> String {
        let width = self
            .fields
            .iter()
            .map(|(name, _)| name.width())
            .max()
            .unwrap_or(0);
        let mut out = format!("{}\n", styled(HEAD, &self.title));
        for (name, values) in &self.fields {
            for (position, value) in values.iter().enumerate() {
                let name = if position == 0 { name } else { "" };
                out.push_str(&format!("  {name:width$}  {value}\n"));
            }
        }
        out
    }
}
