//! Where in a JSON text something stands: serde says so only of what it refuses itself.

/// One step into a JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Into an object.
    Key(String),
    /// Into a list.
    At(usize),
}

/// Line and column, from 1, of the value at `path` in `text`, which must be JSON; of the last step that exists.
pub(super) fn locate(text: &str, path: &[Step]) -> (u32, u32) {
    let mut scan = Scan { text, at: 0 };
    scan.blanks();
    let mut found = scan.at;
    for step in path {
        match scan.enter(step) {
            Some(()) => found = scan.at,
            None => break,
        }
    }
    let before = &text[..found];
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    (number(line), number(column))
}

struct Scan<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Scan<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    fn take(&mut self, c: char) -> Option<()> {
        self.blanks();
        let found = self.rest().starts_with(c);
        self.at += usize::from(found);
        found.then_some(())
    }

    /// Goes to the value that `step` names, from the first byte of the value around it.
    fn enter(&mut self, step: &Step) -> Option<()> {
        match step {
            Step::Key(wanted) => {
                self.take('{')?;
                loop {
                    self.blanks();
                    let key: String = serde_json::from_str(self.string()?).ok()?;
                    self.take(':')?;
                    self.blanks();
                    if key == *wanted {
                        return Some(());
                    }
                    self.skip()?;
                    self.take(',')?;
                }
            }
            Step::At(wanted) => {
                self.take('[')?;
                for _ in 0..*wanted {
                    self.skip()?;
                    self.take(',')?;
                }
                self.blanks();
                (!self.rest().starts_with(']')).then_some(())
            }
        }
    }

    /// The string literal that begins here, with its quotes.
    fn string(&mut self) -> Option<&'t str> {
        let from = self.at;
        let bytes = self.rest().as_bytes();
        if bytes.first() != Some(&b'"') {
            return None;
        }
        let mut end = 1;
        loop {
            match bytes.get(end)? {
                b'\\' => end += 2,
                b'"' => break,
                _ => end += 1,
            }
        }
        self.at += end + 1;
        self.text.get(from..self.at)
    }

    /// Goes behind the value that begins here.
    fn skip(&mut self) -> Option<()> {
        self.blanks();
        let mut depth = 0usize;
        loop {
            self.blanks();
            match self.rest().as_bytes().first()? {
                b'"' => drop(self.string()?),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' => self.at += 1,
                _ => {
                    let rest = self.rest();
                    let end = rest.find([',', ':', '}', ']', ' ', '\t', '\r', '\n']);
                    self.at += end.unwrap_or(rest.len());
                }
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_deep_inside_is_found() {
        let text = "{\"a\": [1, {\"x\": \"}\\\"\", \"b\": [\n  true, \"é\", -1.5e3 ]}]}";
        let key = |key: &str| Step::Key(key.to_owned());
        assert_eq!(locate(text, &[]), (1, 1));
        assert_eq!(locate(text, &[key("a"), Step::At(0)]), (1, 8));
        let b = [key("a"), Step::At(1), key("b")];
        assert_eq!(locate(text, &b), (1, 29));
        let last = [b.as_slice(), &[Step::At(2)]].concat();
        assert_eq!(locate(text, &last), (2, 14));
        // What is not there is told at what is.
        assert_eq!(locate(text, &[key("a"), Step::At(7)]), (1, 7));
    }
}
