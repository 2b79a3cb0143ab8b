//! Durations and numbers as a person says them.

use std::time::Duration;

/// Such as `2m 5s`, in whole seconds; what is no time is `0s`.
pub(super) fn time(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds).map_or(0, |time| time.as_secs());
    humantime::format_duration(Duration::from_secs(whole)).to_string()
}

/// Such as `1,234,567`.
pub(super) fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut said = String::from(if number < 0 { "-" } else { "" });
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            said.push(',');
        }
        said.push(digit);
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_said_with_commas_and_times_in_whole_seconds() {
        for (number, said) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (-12_345, "-12,345"),
        ] {
            assert_eq!(count(number), said);
        }
        for (seconds, said) in [
            (125.9, "2m 5s"),
            (-1.0, "0s"),
            (f64::NAN, "0s"),
            (0.4, "0s"),
        ] {
            assert_eq!(time(seconds), said, "{seconds}");
        }
    }
}
