//! KRL bytes by hand: what our encoder never writes.

pub fn string(bytes: &[u8]) -> Vec<u8> {
    let mut out = (bytes.len() as u32).to_be_bytes().to_vec();
    out.extend_from_slice(bytes);
    out
}

pub fn section(section_type: u8, data: &[u8]) -> Vec<u8> {
    let mut out = vec![section_type];
    out.extend(string(data));
    out
}

/// The header of an empty KRL, with flags, a reserved field and a comment that readers must pass over.
pub fn header() -> Vec<u8> {
    let mut out = b"SSHKRL\n\0\0\0\0\x01".to_vec();
    out.extend(3_u64.to_be_bytes());
    out.extend(1_795_305_600_u64.to_be_bytes());
    out.extend(0xdead_u64.to_be_bytes());
    out.extend(string(b"reserved"));
    out.extend(string(b"by hand\0"));
    out
}

/// A certificate section under this CA blob (empty: every CA) with these subsections.
pub fn certificates(ca_blob: &[u8], subsections: &[u8]) -> Vec<u8> {
    let mut data = string(ca_blob);
    data.extend(string(b"reserved"));
    data.extend_from_slice(subsections);
    section(1, &data)
}

pub fn bitmap(offset: u64, number: &[u8]) -> Vec<u8> {
    let mut data = offset.to_be_bytes().to_vec();
    data.extend(string(number));
    section(0x22, &data)
}

pub fn extension(section_type: u8, critical: u8) -> Vec<u8> {
    let mut data = string(b"bloom@example.org");
    data.push(critical);
    data.extend(string(b"contents"));
    section(section_type, &data)
}

/// One section of every kind that OpenSSH reads without complaint, SHA-1 and bitmap included.
pub fn every_kind(ca_blob: &[u8]) -> Vec<Vec<u8>> {
    let mut list = Vec::new();
    for serial in [5_u64, 3, 3, u64::MAX] {
        list.extend(serial.to_be_bytes());
    }
    let mut range = 100_u64.to_be_bytes().to_vec();
    range.extend(200_u64.to_be_bytes());
    let key_ids = [string(b"bob"), string(b"alice\0"), string(b"")].concat();
    let subsections = [
        section(0x20, &list),
        section(0x21, &range),
        bitmap(1000, &[0x05]),
        section(0x23, &key_ids),
    ]
    .concat();
    let mut key = string(b"ssh-ed25519");
    key.extend(string(&[9; 32]));
    vec![
        certificates(ca_blob, &subsections),
        certificates(b"", &section(0x23, &string(b"everywhere"))),
        section(2, &string(&key)),
        section(3, &string(&[1; 20])),
        section(5, &[string(&[8; 32]), string(&[7; 32])].concat()),
    ]
}

/// The types of the subsections in all certificate sections of a file.
pub fn subsection_types(file: &[u8]) -> Vec<u8> {
    fn split(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
        let mut parts = Vec::new();
        while let [section_type, rest @ ..] = bytes {
            let (data, after) = take(rest);
            parts.push((*section_type, data));
            bytes = after;
        }
        parts
    }
    fn take(bytes: &[u8]) -> (&[u8], &[u8]) {
        let (length, rest) = bytes.split_at(4);
        rest.split_at(u32::from_be_bytes(length.try_into().unwrap()) as usize)
    }
    let (_, rest) = file.split_at(8 + 4 + 3 * 8);
    let (_, rest) = take(rest);
    let (_, sections) = take(rest);
    let mut types = Vec::new();
    for (section_type, data) in split(sections) {
        if section_type == 1 {
            let (_, rest) = take(data);
            let (_, subsections) = take(rest);
            types.extend(split(subsections).iter().map(|(kind, _)| *kind));
        }
    }
    types
}
