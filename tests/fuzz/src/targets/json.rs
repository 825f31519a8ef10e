//! The processing of JSON from clients before a handler reads it.

use realtime_core::spi::{check_depth, describe_json_error, one_line_json, replace_lone_surrogates};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use crate::targets::depth;

/// The longest description of an error, in bytes.
const MAX_DESCRIPTION: usize = 256;

pub(crate) fn run(data: &[u8]) {
    check_lines(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    check_nesting(text);
    check_surrogates(text);
    describe::<Vec<(u8, bool)>>(text);
    describe::<std::collections::BTreeMap<String, Option<i64>>>(text);
    describe::<(String, f32, [u64; 2], ())>(text);
}

fn check_lines(data: &[u8]) {
    let line = one_line_json(data);
    assert_eq!(one_line_json(&line), line, "not idempotent");
    assert!(line.len() <= 3 * data.len());
    let ends = [&[0xc2, 0x85][..], &[0xe2, 0x80, 0xa8], &[0xe2, 0x80, 0xa9]];
    assert!(ends.iter().all(|end| !line.windows(end.len()).any(|part| part == *end)), "a line end is left");
    if let Ok(value) = serde_json::from_slice::<Value>(data) {
        assert_eq!(serde_json::from_slice::<Value>(&line).unwrap(), value, "another value");
    }
}

fn check_nesting(text: &str) {
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        let depth = depth(&value);
        assert!(check_depth(text.as_bytes(), depth).is_ok(), "refused at its own depth");
        assert!(depth == 0 || check_depth(text.as_bytes(), depth - 1).is_err(), "accepted below its depth");
    }
}

fn check_surrogates(text: &str) {
    let replaced = replace_lone_surrogates(text);
    assert_eq!(replaced.len(), text.len());
    assert_eq!(replace_lone_surrogates(&replaced), replaced, "not idempotent");
    let before = serde_json::from_str::<Value>(text);
    // Well-formed JSON, of which only the surrogates may be wrong.
    if serde_json::from_str::<IgnoredAny>(text).is_ok() {
        match serde_json::from_str::<Value>(&replaced) {
            Ok(value) => assert!(before.is_err() || before.unwrap() == value, "another value"),
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains("out of range") || error.contains("recursion limit"), "{error}");
            }
        }
    } else {
        assert!(before.is_err());
    }
}

fn describe<T: DeserializeOwned>(text: &str) {
    if let Err(error) = serde_json::from_str::<T>(text) {
        let described = describe_json_error(&error);
        assert!(!described.is_empty() && described.len() <= MAX_DESCRIPTION, "{} bytes", described.len());
    }
}
