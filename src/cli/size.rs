//! Sizes as people write them: `32M`, `1G`, `4096`.

use std::fmt;
use std::str::FromStr;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) u64);

/// Why a size was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no size; write a whole number with K, M, G or T (powers of 1024), such as 32M")]
pub(crate) struct BadSize(String);

const UNITS: [(&str, u32); 5] = [("T", 40), ("G", 30), ("M", 20), ("K", 10), ("", 0)];

impl FromStr for Size {
    type Err = BadSize;

    fn from_str(text: &str) -> Result<Self, BadSize> {
        let bad = || BadSize(text.to_owned());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = text[..digits].parse().map_err(|_| bad())?;
        let unit = text[digits..].trim().to_ascii_uppercase();
        let unit = unit
            .strip_suffix("IB")
            .or_else(|| unit.strip_suffix('B'))
            .unwrap_or(&unit);
        let (_, shift) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes) = *self;
        let fitting = UNITS.iter().find(|(_, shift)| bytes >= 1 << shift);
        let (unit, shift) = fitting.copied().unwrap_or(("", 0));
        let text = match (bytes % (1 << shift), unit) {
            (_, "") => format!("{bytes} B"),
            (0, _) => format!("{} {unit}iB", bytes >> shift),
            _ => format!("{:.1} {unit}iB", bytes as f64 / (1_u64 << shift) as f64),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1024() {
        for (text, bytes) in [
            ("4096", 4096),
            ("32M", 32 << 20),
            ("1g", 1 << 30),
            ("3 KiB", 3072),
            ("7B", 7),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "M", "-1", "1.5G", "1X", "99999999999T", "12MM"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_read_well() {
        let texts = [0, 7, 32 << 20, (1 << 30) + (1 << 29)].map(|bytes| Size(bytes).to_string());
        assert_eq!(texts, ["0 B", "7 B", "32 MiB", "1.5 GiB"]);
    }
}
