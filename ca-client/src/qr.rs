//! A QR code in a terminal: two modules a character, black on white whatever the theme.

use qrcode::{Color, EcLevel, QrCode};

/// Modules of white around the code; the standard asks for four, phones are content with two, and 24 lines are few.
const QUIET: usize = 2;

/// The code as lines of half blocks with explicit colours, or `None` where the text is too long for any.
#[must_use]
pub fn draw(text: &str) -> Option<String> {
    // The weakest error correction gives the smallest code; a screen has no dirt on it.
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let side = code.width() + 2 * QUIET;
    let dark = |x: usize, y: usize| {
        let inside = |at: usize| (QUIET..QUIET + code.width()).contains(&at);
        inside(x) && inside(y) && code[(x - QUIET, y - QUIET)] == Color::Dark
    };
    let mut drawing = String::new();
    for y in (0..side).step_by(2) {
        drawing.push_str("\x1b[38;5;16;48;5;231m");
        for x in 0..side {
            drawing.push(match (dark(x, y), dark(x, y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        drawing.push_str("\x1b[0m\n");
    }
    Some(drawing)
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "otpauth://totp/ca.corp.example:alice%40corp.example?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=ca.corp.example";

    #[test]
    fn fits_a_terminal_of_80_by_24() {
        let drawing = draw(URL).unwrap();
        assert!(drawing.lines().count() <= 23, "{}", drawing.lines().count());
        let widest = drawing
            .lines()
            .map(|line| line.chars().filter(|c| " █▀▄".contains(*c)).count())
            .max();
        assert!(widest <= Some(80), "{widest:?}");
    }

    #[test]
    fn each_module_is_drawn_where_it_belongs() {
        let code = QrCode::with_error_correction_level(URL, EcLevel::L).unwrap();
        let drawing = draw(URL).unwrap();
        let rows: Vec<Vec<char>> = drawing
            .lines()
            .map(|line| {
                line.trim_start_matches("\x1b[38;5;16;48;5;231m")
                    .trim_end_matches("\x1b[0m")
                    .chars()
                    .collect()
            })
            .collect();
        for y in 0..code.width() {
            for x in 0..code.width() {
                let drawn = rows[(y + QUIET) / 2][x + QUIET];
                let dark = if (y + QUIET).is_multiple_of(2) {
                    "█▀"
                } else {
                    "█▄"
                }
                .contains(drawn);
                assert_eq!(dark, code[(x, y)] == Color::Dark, "{x},{y}");
            }
        }
    }
}
