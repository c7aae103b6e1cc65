//! Cuts a stream of bytes into lines, however the network cut it into pieces, with a bound on what is kept.

/// The longest line: a KRL of a million serials as base64 is 11 MB.
const MAX_LINE_BYTES: usize = 64 * 1024 * 1024;

/// A line is longer than any answer can be.
#[derive(Debug, thiserror::Error)]
#[error("a line of it is longer than {MAX_LINE_BYTES} bytes")]
pub(super) struct LineTooLong;

/// Bytes that have come and are not yet taken as lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// Up to here there is no newline: a long line is not searched again with each piece.
    searched: usize,
}

impl Lines {
    /// Takes a piece.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), LineTooLong> {
        if self.bytes.len() + piece.len() > MAX_LINE_BYTES {
            return Err(LineTooLong);
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// The next whole line that is not blank, without its end.
    pub(super) fn next_line(&mut self) -> Option<Vec<u8>> {
        loop {
            let found = self.bytes[self.searched..]
                .iter()
                .position(|byte| *byte == b'\n');
            let Some(found) = found else {
                self.searched = self.bytes.len();
                return None;
            };
            let rest = self.bytes.split_off(self.searched + found + 1);
            let line = std::mem::replace(&mut self.bytes, rest);
            self.searched = 0;
            if !line.trim_ascii().is_empty() {
                return Some(line.trim_ascii().to_vec());
            }
        }
    }

    /// The stream is over: ends the last line. Says whether there was one.
    pub(super) fn finish(&mut self) -> bool {
        let left = !self.bytes.trim_ascii().is_empty();
        if left {
            self.bytes.push(b'\n');
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_whole_however_they_were_cut() {
        let text = b"{\"a\":1}\n\r\n{\"b\":2}\r\n{\"c\":3}";
        for size in 1..=text.len() {
            let mut lines = Lines::default();
            let mut out = Vec::new();
            for piece in text.chunks(size) {
                lines.push(piece).expect("short");
                while let Some(line) = lines.next_line() {
                    out.push(line);
                }
            }
            assert!(lines.finish());
            out.extend(lines.next_line());
            assert!(!lines.finish());
            assert_eq!(
                out,
                [b"{\"a\":1}", b"{\"b\":2}", b"{\"c\":3}"],
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn w2_a_line_without_end_is_refused() {
        let mut lines = Lines::default();
        let piece = vec![b'x'; 1024 * 1024];
        let taken = (0..100)
            .take_while(|_| lines.push(&piece).is_ok() && lines.next_line().is_none())
            .count();
        assert_eq!(taken, MAX_LINE_BYTES / piece.len());
    }
}
