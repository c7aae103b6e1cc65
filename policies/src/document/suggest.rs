//! "Did you mean …?": the known name that is nearest to one that is not known.

/// The nearest of `known` to `name`, if it is near enough to be a slip of the keyboard.
pub(crate) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<String> {
    let most = match name.chars().count() {
        0..=1 => return None,
        2..=4 => 1,
        5..=8 => 2,
        9..=80 => 3,
        _ => return None,
    };
    known
        .filter(|other| other.len().abs_diff(name.len()) <= 2 * most)
        .filter_map(|other| Some((distance(name, other, most)?, other)))
        .min()
        .map(|(_, other)| other.to_owned())
}

/// How many characters must be put in, taken out, replaced or swapped with their neighbour; `None` for more than `most`.
fn distance(a: &str, b: &str, most: usize) -> Option<usize> {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let replaced = last[j] + usize::from(a[i] != b[j]);
            let mut least = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                least = least.min(before_last[j - 1] + 1);
            }
            row.push(least);
        }
        if row.iter().min().is_some_and(|least| *least > most) {
            return None;
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().filter(|distance| *distance <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let known = ["web-server", "database", "ops", "contractors"];
        for (typed, meant) in [
            ("web-sever", Some("web-server")),
            ("databse", Some("database")),
            ("databaes", Some("database")),
            ("osp", Some("ops")),
            ("contractor", Some("contractors")),
            ("mail", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(
                nearest(typed, known.into_iter()).as_deref(),
                meant,
                "{typed}"
            );
        }
    }
}
