use serde_json::error::Category;

/// The longest description, in bytes: it may contain the client's own text.
const MAX_LENGTH: usize = 256;

/// Describes an error in JSON text in JSON's terms: serde names Rust's types, which mean nothing to
/// a client and are not for clients to know.
pub fn describe_json_error(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let described = if error.classify() == Category::Data { in_json(&text) } else { text };
    if described.len() <= MAX_LENGTH {
        return described;
    }
    // The expected type and the position are at the end.
    let (start, end) =
        (described.floor_char_boundary(MAX_LENGTH / 2), described.ceil_char_boundary(described.len() - 100));
    format!("{}…{}", &described[..start], &described[end..])
}

fn in_json(text: &str) -> String {
    let (text, place) = text.rfind(" at line ").map_or((text, ""), |at| text.split_at(at));
    if text.starts_with("data did not match any variant of untagged enum")
        || (text.starts_with("no variant of enum ") && text.ends_with(" found in flattened data"))
    {
        return format!("the value has none of the forms that are accepted{place}");
    }
    let Some((wrong, expected)) = text.rsplit_once(", expected ") else { return text.to_owned() + place };
    let wrong = wrong.split_once(": ").map_or(wrong.to_owned(), |(kind, value)| format!("{kind}: {}", found(value)));
    format!("{wrong}, expected {}{place}", wanted(expected))
}

/// Translates serde's `Unexpected`, the value that was found.
fn found(value: &str) -> String {
    let quoted = |prefix| value.strip_prefix(prefix).and_then(|rest| rest.strip_suffix('`'));
    match value {
        "map" => "object".to_owned(),
        "sequence" => "array".to_owned(),
        "unit value" => "null".to_owned(),
        "unit variant" => "string".to_owned(),
        "newtype variant" | "tuple variant" | "struct variant" => "object".to_owned(),
        _ => match (quoted("integer `").or(quoted("floating point `")), quoted("boolean `")) {
            (Some(number), _) => format!("number {number}"),
            (_, Some(boolean)) => boolean.to_owned(),
            _ => value.to_owned(),
        },
    }
}

/// Translates the expected type, as serde and its derive macro name it; an application's own
/// description stays.
fn wanted(expected: &str) -> &str {
    let is = |prefixes: &[&str]| prefixes.iter().any(|prefix| expected.starts_with(prefix));
    match expected {
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => "a whole number that is not negative",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a borrowed string" => "a string",
        "a map" => "an object",
        "a sequence" => "an array",
        "option" => "a value or null",
        "unit" => "null",
        "unit variant" | "variant identifier" | "field identifier" => "a string",
        "newtype variant" | "tuple variant" | "struct variant" => "an object",
        _ if is(&["a nonzero "]) => "a whole number other than 0",
        _ if is(&["unit struct ", "unit variant "]) => "null",
        _ if is(&["struct variant "]) => "an object",
        _ if is(&["struct ", "internally tagged enum ", "adjacently tagged enum "]) => "an object",
        _ if is(&["enum ", "variant of enum "]) => "a string or an object",
        _ if is(&["tuple ", "a tuple", "an array of length"]) => "an array of another length or kind",
        _ if is(&["newtype "]) => "a value of another kind",
        _ => expected,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde::Deserialize;
    use serde::de::DeserializeOwned;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read into")]
    struct Move {
        x: u32,
        on: bool,
        kind: Kind,
        label: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Pawn,
    }

    #[derive(Debug, Deserialize)]
    #[serde(untagged)]
    #[expect(dead_code, reason = "only read into")]
    enum Either {
        Number(i64),
        Flag(bool),
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read into")]
    struct Pair(i64, i64);

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    #[expect(dead_code, reason = "only read into")]
    enum Shape {
        Point,
        Circle(u64),
        Pair(u64, u64),
        Rect { w: u64 },
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read into")]
    struct Flat {
        #[serde(flatten)]
        shape: Shape,
    }

    #[derive(Debug, Deserialize)]
    #[serde(tag = "type", rename_all = "lowercase")]
    #[expect(dead_code, reason = "only read into")]
    enum Tagged {
        A { x: u64 },
    }

    #[derive(Debug, Deserialize)]
    #[serde(tag = "t", content = "c", rename_all = "lowercase")]
    #[expect(dead_code, reason = "only read into")]
    enum Adjacent {
        A(u64),
    }

    fn describe<T: DeserializeOwned + std::fmt::Debug>(json: &str) -> String {
        describe_json_error(&serde_json::from_str::<T>(json).unwrap_err())
    }

    #[test]
    fn descriptions_use_json_terms() {
        assert_eq!(describe::<Move>("\"e4\""), "invalid type: string \"e4\", expected an object at line 1 column 4");
        assert_eq!(describe::<String>("{}"), "invalid type: object, expected a string at line 1 column 0");
        assert_eq!(describe::<Vec<u8>>("7"), "invalid type: number 7, expected an array at line 1 column 1");
        assert_eq!(
            describe::<u8>("-7"),
            "invalid value: number -7, expected a whole number that is not negative at line 1 column 2"
        );
        assert_eq!(describe::<i8>("1.5"), "invalid type: number 1.5, expected a whole number at line 1 column 3");
        assert_eq!(describe::<bool>("[]"), "invalid type: array, expected true or false at line 1 column 0");
        assert_eq!(
            describe::<HashMap<String, u8>>("true"),
            "invalid type: true, expected an object at line 1 column 4"
        );
        assert_eq!(describe::<Either>("\"\""), "the value has none of the forms that are accepted");
        assert_eq!(
            describe::<Flat>(r#"{"x":1}"#),
            "the value has none of the forms that are accepted at line 1 column 7"
        );
        assert_eq!(describe::<Shape>("\"circle\""), "invalid type: string, expected an object");
        assert_eq!(describe::<Shape>(r#"{"point":1}"#), "invalid type: number 1, expected null at line 1 column 10");
    }

    #[test]
    fn descriptions_do_not_name_rust_types() {
        let wrong = [
            describe::<Move>("[1]"),
            describe::<Move>(r#"{"x":1,"on":true,"kind":7}"#),
            describe::<Move>(r#"{"x":1,"on":true,"kind":"pawn","label":1}"#),
            describe::<Kind>("[]"),
            describe::<Shape>("\"rect\""),
            describe::<Shape>("\"pair\""),
            describe::<Shape>(r#"{"rect":1}"#),
            describe::<Shape>(r#"{"pair":1}"#),
            describe::<Shape>(r#"{"circle":"x"}"#),
            describe::<Shape>(r#"{"rect":{"w":"x"}}"#),
            describe::<Flat>(r#"{"circle":"x"}"#),
            describe::<Flat>(r#"{"rect":1}"#),
            describe::<Flat>(r#"{"pair":1}"#),
            describe::<Flat>(r#"{"point":1}"#),
            describe::<Flat>("1"),
            describe::<Tagged>(r#"{"type":1}"#),
            describe::<Tagged>(r#"{"type":"a","x":"y"}"#),
            describe::<Tagged>("[]"),
            describe::<Tagged>("7"),
            describe::<Adjacent>(r#"{"t":"a","c":"y"}"#),
            describe::<Adjacent>(r#"{"t":7}"#),
            describe::<Adjacent>("[]"),
            describe::<Pair>("[1]"),
            describe::<Pair>("{}"),
            describe::<(i64, i64)>("[1]"),
            describe::<std::num::NonZeroU32>("0"),
            describe::<()>("1"),
        ];
        for text in wrong {
            for word in [
                "struct",
                "enum",
                "tuple",
                "Move",
                "Kind",
                "Pair",
                "u32",
                "u64",
                "unit",
                "sequence",
                "map",
                "variant ",
                "Shape",
                "Flat",
                "Tagged",
                "Adjacent",
                "identifier",
            ] {
                assert!(!text.contains(word), "{text:?} says {word:?}");
            }
        }
    }

    #[test]
    fn helpful_descriptions_stay() {
        assert_eq!(describe::<Move>("{}"), "missing field `x` at line 1 column 2");
        assert_eq!(describe::<Kind>("\"rook\""), "unknown variant `rook`, expected `pawn` at line 1 column 6");
        assert_eq!(describe::<Move>("{"), "EOF while parsing an object at line 1 column 1");
    }

    #[test]
    fn description_of_a_long_value_is_short() {
        let text = describe::<Move>(&format!("{:?}", "é".repeat(100_000)));
        assert!(text.len() < 300 && text.contains("expected an object at line 1"), "{text}");
    }
}
