//! Serial numbers: the instance epoch in the high bits, so that a restore can revoke all earlier ones with one range (I5, S7).

use std::fmt;

use serde::{Deserialize, Serialize};

/// A certificate's serial, 1 to 2^63−1: 31 bits of instance epoch, then 32 random bits.
///
/// Serial 0 cannot be revoked, and readers of the highest bit disagree about its sign: neither can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Serial(u64);

/// A number that is no serial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SerialError {
    /// 0, or beyond 2^63−1.
    #[error("{0} is not a serial number: expected 1 to 9223372036854775807")]
    OutOfRange(u64),
    /// An instance epoch of 0, or of more than 31 bits.
    #[error("the instance epoch {0} is not in 1 to 2147483647")]
    EpochOutOfRange(u32),
}

/// The greatest instance epoch: 31 bits.
const EPOCH_MAX: u32 = 0x7fff_ffff;

impl Serial {
    /// The serial of `random_bits` under `instance_epoch`.
    ///
    /// # Errors
    /// An epoch outside 1 to 2^31−1.
    pub fn from_parts(instance_epoch: u32, random_bits: u32) -> Result<Self, SerialError> {
        if !(1..=EPOCH_MAX).contains(&instance_epoch) {
            return Err(SerialError::EpochOutOfRange(instance_epoch));
        }
        Ok(Self(
            u64::from(instance_epoch) << 32 | u64::from(random_bits),
        ))
    }

    /// Any serial that a certificate may have, for reading one back.
    ///
    /// # Errors
    /// 0, or beyond 2^63−1.
    pub fn new(number: u64) -> Result<Self, SerialError> {
        if number == 0 || i64::try_from(number).is_err() {
            return Err(SerialError::OutOfRange(number));
        }
        Ok(Self(number))
    }

    /// As the number in the certificate.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }

    /// The high 31 bits.
    #[must_use]
    pub fn instance_epoch(self) -> u32 {
        u32::try_from(self.0 >> 32).expect("a serial has 63 bits")
    }

    /// First and last of all serials before `instance_epoch`: what a restore revokes.
    ///
    /// # Errors
    /// An epoch outside 1 to 2^31−1.
    pub fn all_before(instance_epoch: u32) -> Result<(Self, Self), SerialError> {
        let first_of_epoch = Self::from_parts(instance_epoch, 0)?;
        Ok((Self(1), Self(first_of_epoch.0 - 1)))
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl From<Serial> for u64 {
    fn from(serial: Serial) -> Self {
        serial.0
    }
}

impl TryFrom<u64> for Serial {
    type Error = SerialError;

    fn try_from(number: u64) -> Result<Self, SerialError> {
        Self::new(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i5_a_serial_is_never_zero_and_never_has_the_highest_bit() {
        assert!(Serial::new(0).is_err());
        assert!(Serial::new(1 << 63).is_err());
        assert!(Serial::new(u64::MAX).is_err());
        assert_eq!(Serial::new(1).unwrap().number(), 1);
        assert!(Serial::from_parts(0, 7).is_err());
        assert!(Serial::from_parts(0x8000_0000, 7).is_err());
        let greatest = Serial::from_parts(0x7fff_ffff, u32::MAX).unwrap();
        assert_eq!(greatest.number(), (1 << 63) - 1);
        assert_eq!(greatest.instance_epoch(), 0x7fff_ffff);
    }

    #[test]
    fn i5_the_epoch_is_in_the_high_bits_and_one_range_holds_all_earlier_ones() {
        let epoch = 1_795_000_000;
        let serial = Serial::from_parts(epoch, 0xdead_beef).unwrap();
        assert_eq!(serial.instance_epoch(), epoch);
        assert_eq!(serial.number() & 0xffff_ffff, 0xdead_beef);
        let (first, last) = Serial::all_before(epoch + 1).unwrap();
        assert!(first <= serial && serial <= last);
        assert_eq!(last, Serial::from_parts(epoch, u32::MAX).unwrap());
        assert!(Serial::from_parts(epoch + 1, 0).unwrap() > last);
    }
}
