//! The types a key can have: how they are read, and how they are shown.

use std::time::Duration;

use crate::snapshot::Severity;

/// Why a text is not a value of its type.
#[derive(Debug, PartialEq)]
pub(super) enum Misread {
    /// It is of another type, or outside of what the type can hold.
    Other,
    /// A number where a duration or a size is wanted; such as these.
    NoUnit(&'static str),
}

/// The type of a key.
pub(super) trait Readable: Clone {
    /// Whether what is given may be secret and has no place in an error.
    const SECRET: bool = false;

    /// Reads it as written.
    fn read(text: &str) -> Result<Self, Misread>;
    /// Shows it as one would write it.
    fn show(&self) -> String;
}

impl Readable for bool {
    fn read(text: &str) -> Result<Self, Misread> {
        if text.eq_ignore_ascii_case("true") {
            Ok(true)
        } else if text.eq_ignore_ascii_case("false") {
            Ok(false)
        } else {
            Err(Misread::Other)
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Readable for u32 {
    fn read(text: &str) -> Result<Self, Misread> {
        text.parse().map_err(|_| Misread::Other)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Readable for u16 {
    fn read(text: &str) -> Result<Self, Misread> {
        text.parse().map_err(|_| Misread::Other)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A percentage: `50`, `99.5`, or `50%`.
impl Readable for f64 {
    fn read(text: &str) -> Result<Self, Misread> {
        let number = text.strip_suffix('%').map_or(text, str::trim_end);
        number.parse().map_err(|_| Misread::Other)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A plain number, no percentage: `1.5`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Factor(pub(super) f64);

impl Readable for Factor {
    fn read(text: &str) -> Result<Self, Misread> {
        text.parse().map(Self).map_err(|_| Misread::Other)
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

impl Readable for Duration {
    fn read(text: &str) -> Result<Self, Misread> {
        if text.parse::<f64>().is_ok() {
            return Err(Misread::NoUnit("`30s`, `100ms` or `1h 30m`"));
        }
        // On a sum that overflows a `Duration` humantime 2.4 panics. What fits
        // in these bounds stays far below, even in years.
        let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let longest = compact.split(|c: char| !c.is_ascii_digit()).map(str::len);
        if text.len() > 64 || longest.max() > Some(10) {
            return Err(Misread::Other);
        }
        humantime::parse_duration(text).map_err(|_| Misread::Other)
    }

    fn show(&self) -> String {
        let seconds = self.as_secs();
        let whole = self.subsec_nanos() == 0;
        if whole && seconds <= 600 {
            // `60s` and `300s` are what people write, not `1m` and `5m`.
            return format!("{seconds}s");
        }
        if whole && seconds.is_multiple_of(3600) {
            return format!("{}h", seconds / 3600);
        }
        humantime::format_duration(*self).to_string()
    }
}

/// A duration that can be switched off.
impl Readable for Option<Duration> {
    fn read(text: &str) -> Result<Self, Misread> {
        if text.eq_ignore_ascii_case("off") {
            Ok(None)
        } else {
            Duration::read(text).map(Some)
        }
    }

    fn show(&self) -> String {
        self.as_ref()
            .map_or_else(|| "off".to_owned(), Readable::show)
    }
}

/// A duration under a key that names the unit, so that a bare number will do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seconds(pub(super) Duration);

impl Readable for Seconds {
    fn read(text: &str) -> Result<Self, Misread> {
        match text.parse::<u32>() {
            Ok(seconds) => Ok(Self(Duration::from_secs(seconds.into()))),
            Err(_) => Duration::read(text).map(Self).map_err(|_| Misread::Other),
        }
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

/// A number of bytes with its unit: `64MiB`, `1GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Size(pub(super) u64);

/// Larger ones first, and of two for the same range the one of powers of two.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

impl Readable for Size {
    fn read(text: &str) -> Result<Self, Misread> {
        if text.parse::<f64>().is_ok() {
            return Err(Misread::NoUnit("`64MiB`, `1GB` or `512KiB`"));
        }
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let number: u64 = text[..text.len() - unit.len()]
            .parse()
            .map_err(|_| Misread::Other)?;
        let unit = unit.trim_start();
        let known = UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit));
        let bytes = known.and_then(|(_, bytes)| number.checked_mul(*bytes));
        bytes.map(Self).ok_or(Misread::Other)
    }

    fn show(&self) -> String {
        let whole = |(_, bytes): &&(&str, u64)| self.0 > 0 && self.0.is_multiple_of(*bytes);
        let (unit, bytes) = UNITS.iter().find(whole).unwrap_or(&("B", 1));
        format!("{}{unit}", self.0 / bytes)
    }
}

/// Reads and shows an enum by its words.
macro_rules! words {
    ($type:ty { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $crate::config::value::Readable for $type {
            fn read(text: &str) -> Result<Self, $crate::config::value::Misread> {
                $(if text.eq_ignore_ascii_case($word) {
                    return Ok(Self::$variant);
                })+
                Err($crate::config::value::Misread::Other)
            }

            fn show(&self) -> String {
                match self {
                    $(Self::$variant => $word.to_owned(),)+
                }
            }
        }
    };
}
pub(super) use words;

words!(Severity {
    Critical = "critical",
    Warn = "warn",
    Off = "off",
});
