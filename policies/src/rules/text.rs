//! The rules for texts that end up in a certificate or in sudoers: networks, forced commands, sudo command lines.

use std::net::IpAddr;

/// The longest forced command; sshd hands it to a shell as one argument.
const FORCED_COMMAND_MAX_BYTES: usize = 4096;

/// The longest sudo command line.
const SUDO_COMMAND_MAX_BYTES: usize = 1024;

/// Whether sshd understands `text` as one entry of `source-address`.
///
/// sshd refuses the whole certificate for one entry that it cannot read (`addr_match_cidr_list`: host bits behind the prefix, too
/// long a prefix), so that a slip here would lock somebody out.
///
/// # Errors
/// The rule that `text` breaks.
pub(crate) fn source(text: &str) -> Result<(), &'static str> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address
        .parse()
        .map_err(|_| "expected an IPv4 or IPv6 network such as 192.0.2.0/24 or 2001:db8::/32")?;
    let (bits, width) = match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            return Err("write an IPv4 network as IPv4: sshd never sees the mapped form");
        }
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    let Some(prefix) = prefix else {
        return Ok(());
    };
    let canonical = !prefix.is_empty()
        && prefix.len() <= 3
        && prefix.bytes().all(|b| b.is_ascii_digit())
        && (prefix == "0" || !prefix.starts_with('0'));
    let length: u32 = prefix
        .parse()
        .ok()
        .filter(|&length| canonical && length <= width)
        .ok_or("the prefix length must be a number from 0 to 32 (IPv4) or 128 (IPv6)")?;
    let host_bits = bits.checked_shl(length).unwrap_or(0);
    if host_bits != 0 {
        return Err(
            "the address has bits set behind the prefix; write the network's first address",
        );
    }
    Ok(())
}

/// Whether every address of the network `narrow` is in the network `wide`; both passed [`source`].
pub(crate) fn source_contains(wide: &str, narrow: &str) -> bool {
    let (Some((wide, wide_length)), Some((narrow, narrow_length))) =
        (network(wide), network(narrow))
    else {
        return false;
    };
    let head = |bits: u128| {
        bits.checked_shr(128 - wide_length.min(128))
            .unwrap_or_default()
    };
    match (wide, narrow) {
        (IpAddr::V4(wide), IpAddr::V4(narrow)) => {
            let high = |address: std::net::Ipv4Addr| u128::from(address.to_bits()) << 96;
            wide_length <= narrow_length && head(high(wide)) == head(high(narrow))
        }
        (IpAddr::V6(wide), IpAddr::V6(narrow)) => {
            wide_length <= narrow_length && head(wide.to_bits()) == head(narrow.to_bits())
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, length) = text.split_once('/').unzip();
    let address: IpAddr = address.unwrap_or(text).parse().ok()?;
    let width = match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    };
    let length = length.map_or(Some(width), |length| length.parse().ok())?;
    (length <= width).then_some((address, length))
}

/// Whether `text` may stand in a certificate as `force-command`.
///
/// # Errors
/// The rule that `text` breaks, as the end of "has a forced command that …".
pub(crate) fn forced_command(text: &str) -> Result<(), &'static str> {
    if text.trim().is_empty() {
        // ssh-key writes an empty text as "no value at all", which is another option to sshd.
        return Err("is empty; drop it or name a command");
    }
    if text.chars().any(char::is_control) {
        return Err("holds a control character; write it on one line of plain text");
    }
    if text.len() > FORCED_COMMAND_MAX_BYTES {
        return Err("is longer than 4096 bytes; put it into a script on the machine");
    }
    Ok(())
}

/// Whether `text` may be written into a sudoers file as a command with its arguments.
///
/// An allow-list: everything that sudoers reads as more than itself (`,` `:` `=` `\` `*` `?` `[` `]` `!` `"` `#` `(` `)` `^` `$` and
/// more) is outside it, so that nothing has to be escaped.
///
/// # Errors
/// The rule that `text` breaks.
pub(crate) fn sudo_command(text: &str) -> Result<(), &'static str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._+@- ".contains(&b);
    if !text.bytes().all(plain) {
        return Err(
            "only letters, digits, spaces and / . _ + @ - are allowed; put anything else into a script",
        );
    }
    let path = text.split(' ').next().unwrap_or_default();
    if !path.starts_with('/') {
        return Err("the command must begin with an absolute path such as /usr/bin/systemctl");
    }
    if path.ends_with('/') {
        return Err(
            "the command must be a program, not a folder: sudo would allow every program in it",
        );
    }
    if path[1..]
        .split('/')
        .any(|part| matches!(part, "" | "." | ".."))
    {
        return Err("the command's path must have no empty, . or .. part");
    }
    if text.ends_with(' ') || text.contains("  ") {
        return Err("parts must be separated by one space, with none at the end");
    }
    if text.len() > SUDO_COMMAND_MAX_BYTES {
        return Err("a command line has at most 1024 bytes");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_that_sshd_reads_and_ones_it_refuses() {
        for good in [
            "192.0.2.0/24",
            "10.0.0.0/8",
            "0.0.0.0/0",
            "192.0.2.7/32",
            "192.0.2.7",
            "2001:db8::/32",
            "::/0",
            "::1/128",
            "fe80::1",
        ] {
            assert_eq!(source(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/24",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.0/8 ",
            "10.0.0/8",
            "010.0.0.0/8",
            "2001:db8::1/32",
            "::/129",
            "fe80::1%eth0",
            "::ffff:10.0.0.0/104",
            "web-1",
            "*",
            "!10.0.0.0/8",
            "10.0.0.0/8,11.0.0.0/8",
        ] {
            assert!(source(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_in_networks() {
        for (wide, narrow) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.0/8", "10.255.0.0/16"),
            ("10.0.0.0/8", "10.1.2.3"),
            ("0.0.0.0/0", "192.0.2.7/32"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("::/0", "2001:db8::/32"),
            ("2001:db8::/32", "2001:db8:7::1"),
            ("::1", "::1/128"),
        ] {
            assert!(source_contains(wide, narrow), "{wide} {narrow}");
        }
        for (wide, narrow) in [
            ("10.0.0.0/16", "10.0.0.0/8"),
            ("10.0.0.0/8", "11.0.0.0/8"),
            ("10.0.0.0/9", "10.128.0.0/9"),
            ("192.0.2.7", "192.0.2.6"),
            ("0.0.0.0/0", "::/0"),
            ("::/0", "0.0.0.0/0"),
            ("2001:db8::/32", "2001:db9::/32"),
            ("2001:db8::1", "2001:db8::/64"),
            ("x", "x"),
            ("10.0.0.0/99", "10.0.0.0/99"),
        ] {
            assert!(!source_contains(wide, narrow), "{wide} {narrow}");
        }
    }

    #[test]
    fn forced_commands() {
        assert_eq!(
            forced_command("/usr/bin/backup --to \"a b\" && true"),
            Ok(())
        );
        assert_eq!(forced_command(&"x".repeat(4096)), Ok(()));
        for bad in [
            "",
            "  ",
            "a\nb",
            "a\0",
            "a\u{1b}[2J",
            "a\u{85}",
            &"x".repeat(4097),
        ] {
            assert!(forced_command(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sudo_commands_hold_nothing_that_sudoers_reads_as_more_than_itself() {
        for good in [
            "/usr/bin/systemctl restart nginx.service",
            "/usr/bin/systemctl restart app@1",
            "/opt/a_b/c++ -x",
        ] {
            assert_eq!(sudo_command(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            " ",
            "ls",
            "/",
            "/usr/bin/",
            "//bin/ls",
            "/usr/../bin/sh",
            "/./a",
            " /bin/ls",
            "/bin/ls ",
            "/bin/ls  -l",
            "/bin/l*",
            "/bin/ls\n",
            "/bin/ls\tx",
            "ALL",
            "!/bin/ls",
            "/bin/ls,/bin/sh",
            "/bin/ls \"\"",
            "/bin/ls #x",
            "/bin/ls \\x",
            "/bin/l?",
            "/bin/[a-z]",
            "/bin/ls a=b",
            "/bin/ls a:b",
            "/bin/ls ^.*$",
            "/bin/ls (x)",
            "/bin/é",
            "sudoedit /etc/x",
        ] {
            assert!(sudo_command(bad).is_err(), "{bad:?}");
        }
        assert!(sudo_command(&format!("/bin/{}", "x".repeat(1020))).is_err());
    }
}
