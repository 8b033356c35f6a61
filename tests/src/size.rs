//! Sizes, as the command lines of the test programs have them.

/// A number of bytes, or one with KiB, MiB, GiB.
///
/// # Errors
/// Why it is none, in words.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1u64 << 30)];
    let (digits, unit) = units
        .iter()
        .find_map(|(name, unit)| text.strip_suffix(name).map(|digits| (digits, *unit)))
        .unwrap_or((text, 1));
    let number: u64 = digits
        .trim()
        .parse()
        .map_err(|_| format!("'{text}' is no size"))?;
    Ok(number * unit)
}
