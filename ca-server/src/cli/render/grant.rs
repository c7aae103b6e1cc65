//! Grants, for people.

use ca_api::admin::GrantView;

use super::table::{BAD, Cell, Table, WARN};
use crate::cli::time::Clock;

/// All of them, one a row.
#[must_use]
pub fn all(grants: &[GrantView], clock: Clock) -> String {
    if grants.is_empty() {
        return "No grants yet, so nobody reaches any machine. Make the first: ca-server grant add --team TEAM --pool POOL\n"
            .to_owned();
    }
    let mut table = Table::new(["ID", "WHO", "ACCOUNT", "POOL", "SUDO", "ENDS", "CONDITIONS"]);
    for one in grants {
        let over = one
            .until_unix
            .is_some_and(|until| until <= clock.now.unix_timestamp());
        let sudo = Cell::text(&one.sudo);
        let ends = Cell::text(
            &one.until_unix
                .map_or(String::new(), |until| clock.until(until)),
        );
        table.row([
            Cell::number(one.id),
            Cell::text(&one.who),
            Cell::text(&one.account),
            Cell::text(&one.pool),
            if one.sudo == "all" {
                sudo.style(WARN)
            } else {
                sudo
            },
            if over { ends.style(BAD) } else { ends },
            Cell::text(&one.conditions),
        ]);
    }
    table.render()
}
