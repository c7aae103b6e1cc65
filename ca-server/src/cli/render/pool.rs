//! Pools, for people.

use ca_api::admin::PoolView;

use super::table::{Cell, Fields, Table};

/// All of them, one a row.
#[must_use]
pub fn all(pools: &[PoolView]) -> String {
    if pools.is_empty() {
        return "No pools yet. Make the first: ca-server pool add POOL\n".to_owned();
    }
    let mut table = Table::new(["POOL", "MACHINES", "LOGINS", "INCLUDES", "TITLE"]);
    for one in pools {
        table.row([
            Cell::text(&one.name),
            Cell::number(one.machines.len()),
            Cell::number(one.who.len()),
            Cell::list(&one.include),
            Cell::text(&one.title),
        ]);
    }
    table.render()
}

/// One, in full.
#[must_use]
pub fn one(one: &PoolView) -> String {
    let title = if one.title.is_empty() {
        format!("pool {}", one.name)
    } else {
        format!("pool {} ({})", one.name, one.title)
    };
    Fields::new(&title)
        .list("includes", &one.include)
        .list("machines", &one.machines)
        .list("who", &one.who)
        .render()
}
