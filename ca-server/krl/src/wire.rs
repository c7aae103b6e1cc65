//! The bytes of the format: the section numbers, a bounds-checked reader and the writers of its types.

// PROTOCOL.krl §1: "#define KRL_MAGIC 0x5353484b524c0a00ULL /* "SSHKRL\n\0" */".
pub(crate) const MAGIC: [u8; 8] = *b"SSHKRL\n\0";
// PROTOCOL.krl §1: "#define KRL_FORMAT_VERSION 1".
pub(crate) const FORMAT_VERSION: u32 = 1;

// PROTOCOL.krl §1: "The available section types are".
pub(crate) const SECTION_CERTIFICATES: u8 = 1;
pub(crate) const SECTION_EXPLICIT_KEY: u8 = 2;
pub(crate) const SECTION_FINGERPRINT_SHA1: u8 = 3;
pub(crate) const SECTION_SIGNATURE: u8 = 4;
pub(crate) const SECTION_FINGERPRINT_SHA256: u8 = 5;
pub(crate) const SECTION_EXTENSION: u8 = 255;

// PROTOCOL.krl §2: "The certificate section types are".
pub(crate) const CERT_SERIAL_LIST: u8 = 0x20;
pub(crate) const CERT_SERIAL_RANGE: u8 = 0x21;
pub(crate) const CERT_SERIAL_BITMAP: u8 = 0x22;
pub(crate) const CERT_KEY_ID: u8 = 0x23;
pub(crate) const CERT_EXTENSION: u8 = 0x39;

/// Fewer bytes were left than the format asks for at this place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Truncated {
    pub(crate) offset: usize,
    pub(crate) needed: usize,
    pub(crate) left: usize,
}

/// Reads big-endian SSH wire types and knows how far into the file it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            offset: 0,
        }
    }

    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn take(&mut self, needed: usize) -> Result<&'a [u8], Truncated> {
        let Some((head, rest)) = self.rest.split_at_checked(needed) else {
            return Err(Truncated {
                offset: self.offset,
                needed,
                left: self.rest.len(),
            });
        };
        self.rest = rest;
        self.offset += needed;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("take returned N bytes"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Truncated> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Truncated> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Truncated> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A `string`: its length in four bytes, then that many bytes, as a reader of its own.
    pub(crate) fn string(&mut self) -> Result<Reader<'a>, Truncated> {
        let length = self.u32()?;
        let offset = self.offset;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        Ok(Reader {
            rest: self.take(length)?,
            offset,
        })
    }
}

/// `length` as the four bytes before a `string`.
pub(crate) fn put_length(out: &mut Vec<u8>, length: u64) {
    let length = u32::try_from(length).expect("the whole KRL was measured to fit MAX_KRL_BYTES");
    out.extend_from_slice(&length.to_be_bytes());
}

pub(crate) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The size of `bytes` as a `string`.
pub(crate) fn string_len(bytes: &[u8]) -> u64 {
    4 + bytes.len() as u64
}
