use crate::HandlerError;

/// How deep arrays and objects from clients may be nested by default.
pub const DEFAULT_MAX_DEPTH: usize = 64;

/// Refuses JSON text whose arrays and objects are nested deeper than `most`; does not otherwise check it.
///
/// # Errors
/// A [`HandlerError`] with code `too_deep`.
pub fn check_depth(json: &[u8], most: usize) -> Result<(), HandlerError> {
    let mut depth = 0usize;
    let mut in_string = false;
    let mut escaped = false;
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > most {
                    return Err(HandlerError::new("too_deep", format!("nested deeper than {most}")));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_nesting_and_not_what_stands_in_strings() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(check_depth(nested(64).as_bytes(), 64).is_ok());
        assert_eq!(check_depth(nested(65).as_bytes(), 64).unwrap_err().code(), "too_deep");
        assert!(check_depth(br#"["[[[[\"[[[[", [], [], {}]"#, 2).is_ok());
    }
}
