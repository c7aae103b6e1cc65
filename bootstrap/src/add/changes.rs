//! What an apply changed, or would, as the applier reports it: summed up in a line, and line by line.

use ca_machine::{Report, report::Event};

/// Files and accounts that changed, or would.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Changes {
    files: Vec<(String, String)>,
    accounts: Vec<(String, String)>,
    krl: Option<String>,
}

impl Changes {
    pub(super) fn of(report: &Report) -> Self {
        let mut changes = Self::default();
        for event in &report.events {
            match event {
                Event::File { path, change } => changes.files.push((path.clone(), change.clone())),
                Event::Account { name, change } => {
                    changes.accounts.push((name.clone(), change.clone()))
                }
                Event::Did { name, detail }
                    if name == "krl-installed" || name == "krl-would-change" =>
                {
                    changes.krl = Some(detail.clone())
                }
                _ => {}
            }
        }
        changes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.accounts.is_empty() && self.krl.is_none()
    }

    /// `12 files; accounts made: alice, bob`.
    pub(super) fn summary(&self) -> String {
        let mut parts = Vec::new();
        match self.files.len() {
            0 => {}
            // A few are named: what a second run still changes is what somebody will want to know.
            1..=2 => parts.extend(self.files.iter().map(|(path, _)| path.clone())),
            count => parts.push(format!("{count} files")),
        }
        let mut kinds: Vec<&str> = Vec::new();
        for (_, change) in &self.accounts {
            if !kinds.contains(&change.as_str()) {
                kinds.push(change);
            }
        }
        for kind in kinds {
            let names: Vec<&str> = self
                .accounts
                .iter()
                .filter(|(_, change)| change == kind)
                .map(|(name, _)| name.as_str())
                .collect();
            let word = if names.len() == 1 {
                "account"
            } else {
                "accounts"
            };
            parts.push(format!("{word} {kind}: {}", names.join(", ")));
        }
        if let Some(version) = &self.krl {
            parts.push(format!("the KRL: {version}"));
        }
        parts.join("; ")
    }

    /// One line each.
    pub(super) fn lines(&self) -> Vec<String> {
        let files = self
            .files
            .iter()
            .map(|(path, change)| format!("{path} ({change})"));
        let accounts = self
            .accounts
            .iter()
            .map(|(name, change)| format!("account {name} ({change})"));
        files
            .chain(accounts)
            .chain(
                self.krl
                    .iter()
                    .map(|version| format!("the KRL ({version})")),
            )
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_summed_up_by_kind() {
        let lines = "{\"step\":\"file\",\"path\":\"/a\",\"change\":\"new\"}\n{\"step\":\"file\",\"path\":\"/b\",\"change\":\"new\"}\n\
                     {\"step\":\"account\",\"name\":\"alice\",\"change\":\"made\"}\n{\"step\":\"account\",\"name\":\"bob\",\"change\":\"made\"}\n\
                     {\"step\":\"account\",\"name\":\"ops\",\"change\":\"adopted\"}\n{\"step\":\"done\"}\n";
        let changes = Changes::of(&Report::parse(lines.as_bytes()).unwrap());
        assert_eq!(
            changes.summary(),
            "/a; /b; accounts made: alice, bob; account adopted: ops"
        );
        assert_eq!(changes.lines()[4], "account ops (adopted)");
        assert!(Changes::default().is_empty() && !changes.is_empty());
    }
}
