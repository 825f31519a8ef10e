//! Cursors: one text for each cursor, and none that was not issued.

use std::collections::HashSet;
use std::sync::LazyLock;

use realtime_core::EventId;
use realtime_core::spi::{Cursor, CursorKey, CursorSigner, Epoch, Mark, Position};

/// The positions for which a cursor is issued.
const ISSUED: u64 = 16;

static SIGNER: LazyLock<CursorSigner> =
    LazyLock::new(|| CursorSigner::new(Epoch::new(7), &CursorKey::new([1; CursorKey::BYTES])));
static TEXTS: LazyLock<Vec<String>> = LazyLock::new(|| (0..ISSUED).map(issue).collect());
static ALL: LazyLock<HashSet<&str>> = LazyLock::new(|| TEXTS.iter().map(String::as_str).collect());

fn issue(position: u64) -> String {
    SIGNER.cursor(Position::new(position), Mark::of(EventId::from_bytes([position as u8; 16]))).to_string()
}

/// The first byte chooses: an altered cursor, or a text of the client's own.
pub(crate) fn run(data: &[u8]) {
    match data {
        [choice, edits @ ..] if *choice < ISSUED as u8 => check(&altered(&TEXTS[usize::from(*choice)], edits)),
        _ => check(&String::from_utf8_lossy(data)),
    }
}

/// Alters a text by edits of three bytes: what to do, where, and with which character.
fn altered(text: &str, edits: &[u8]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for edit in edits.chunks_exact(3) {
        let at = usize::from(edit[1]) % (bytes.len() + 1);
        match edit[0] % 5 {
            0 if at < bytes.len() => bytes[at] = edit[2],
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => bytes.insert(at, edit[2]),
            3 => bytes.truncate(at),
            // The end of another cursor: its MAC, for a body that it does not belong to.
            4 => {
                let other = TEXTS[usize::from(edit[2]) % TEXTS.len()].as_bytes();
                let at = at.min(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[at..]);
            }
            _ => {}
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn check(text: &str) {
    let Ok(cursor) = text.parse::<Cursor>() else {
        assert!(!ALL.contains(text), "an issued cursor is not read: {text}");
        return;
    };
    assert_eq!(cursor.to_string(), text, "two texts of one cursor");
    assert_eq!(cursor.encode(&mut [0; Cursor::CHARACTERS]), text);
    assert_eq!(SIGNER.verify(&cursor), ALL.contains(text), "forged: {text}");
    assert!(!CursorSigner::new(Epoch::new(8), &CursorKey::new([1; 32])).verify(&cursor), "of another epoch: {text}");
    assert!(!CursorSigner::new(Epoch::new(7), &CursorKey::new([2; 32])).verify(&cursor), "of another key: {text}");
    assert!(!format!("{cursor:?}").contains(text), "a cursor is printed");
}
