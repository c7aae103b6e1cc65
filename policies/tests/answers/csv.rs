//! The table as CSV: quoting, and nothing that a spreadsheet runs.

use policies::{
    Filter, Sudo, View, matrix,
    matrix::{csv_field, csv_lines, csv_table_lines, machines_in_matrix},
};
use proptest::prelude::*;

use crate::{
    build::{Draft, changed, grant, now},
    cases,
};

fn company() -> Draft {
    Draft::default()
        .employee("alice")
        .employee("bob")
        .with(|policy| {
            // A + at the beginning is a good email, and a formula to a spreadsheet.
            let bob = policy
                .employees
                .remove(&"bob@corp.example".parse().unwrap())
                .unwrap();
            let email: policies::Email = "+cmd@corp.example".parse().unwrap();
            policy
                .employees
                .insert(email.clone(), policies::Employee { email, ..bob });
        })
        .pool("web", &[])
        .machine("web-1", &["web"])
        .machine("web-2", &["web"])
        .grant(changed(grant("alice", "self", "web"), |grant| {
            grant.sudo = Sudo::Commands(["/bin/a -x".to_owned(), "/bin/b".to_owned()].into());
            grant.until_unix_secs = Some(1_800_000_000);
            grant.hours = Some("Mon-Fri 08:00-18:00 Europe/Berlin".parse().unwrap());
        }))
        .with(|policy| {
            let mut grant = grant("alice", "deploy", "web");
            grant.who = policies::Grantee::Employee("+cmd@corp.example".parse().unwrap());
            policy.grants.insert(7, grant);
        })
}

#[test]
fn one_line_for_each_grant_of_each_cell() {
    let index = company().index();
    let filter = Filter::all(View::Standing);
    let text: String = csv_lines(matrix(&index, &filter, now())).collect();
    assert_eq!(
        text,
        "employee,status,machine,account,grant,pool,sudo,until,hours,key,recording\r\n\
         \"'+cmd@corp.example\",active,web-1,deploy,7,web,none,,,any,none\r\n\
         \"'+cmd@corp.example\",active,web-2,deploy,7,web,none,,,any,none\r\n\
         alice@corp.example,active,web-1,alice,1,web,\"/bin/a -x, /bin/b\",2027-01-15T08:00:00Z,\"Mon-Fri 08:00-18:00 Europe/Berlin\",any,none\r\n\
         alice@corp.example,active,web-2,alice,1,web,\"/bin/a -x, /bin/b\",2027-01-15T08:00:00Z,\"Mon-Fri 08:00-18:00 Europe/Berlin\",any,none\r\n"
    );
}

#[test]
fn the_table_has_a_column_for_each_machine() {
    let index = company().index();
    let filter = Filter::all(View::Standing);
    let machines = machines_in_matrix(&index, &filter);
    let text: String = csv_table_lines(&machines, matrix(&index, &filter, now())).collect();
    assert_eq!(
        text,
        "employee,web-1,web-2\r\n\"'+cmd@corp.example\",\"deploy (7)\",\"deploy (7)\"\r\nalice@corp.example,\"alice (1)\",\"alice (1)\"\r\n"
    );
}

/// RFC 4180, read back by the book.
fn parse(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                fields.last_mut().unwrap().push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields.last_mut().unwrap().push(c),
        }
    }
    assert!(!quoted, "a quote is open: {line}");
    fields
}

proptest! {
    #![proptest_config(cases(3_000))]

    #[test]
    fn c5_a_field_is_read_back_whole_and_is_never_a_formula(text in "[=+@\t\r\n\"',;a-c -]{0,12}|\\PC{0,12}", other in "[a\",\n]{0,5}") {
        let line = format!("{},{}", csv_field(&text), csv_field(&other));
        let fields = parse(&line);
        prop_assert_eq!(fields.len(), 2);
        prop_assert!(!fields[0].starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']));
        let back = fields[0].strip_prefix('\'').filter(|rest| *rest == text).unwrap_or(&fields[0]);
        prop_assert_eq!(back, &text);
        prop_assert_eq!(&fields[1].trim_start_matches('\''), &other.as_str());
    }
}
