use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use realtime_core::Target;

use crate::conformance::fixture::Fixture;
use crate::conformance::{ProviderUnderTest, Setup, Visitor};

/// Returns the checksum of version 1's cursors (CRC-32), which a client can compute.
fn checksum(bytes: &[u8]) -> u32 {
    let bit = |sum: u32| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
    !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| bit(sum)))
}

/// Returns cursors that a client can derive from that of its own welcome, and that the server has
/// given to no client.
fn forged_from(own: &str) -> Vec<String> {
    let own = URL_SAFE_NO_PAD.decode(own).expect("a cursor is base64url");
    let at = |position: u64| {
        let mut bytes = own.clone();
        bytes[9..17].copy_from_slice(&position.to_be_bytes());
        bytes
    };
    let mut forged = Vec::new();
    for position in [0, 1, 2] {
        // Version 1, with its checksum.
        let mut old = at(position)[..17].to_vec();
        old[0] = 1;
        old.extend(checksum(&old).to_be_bytes());
        forged.push(old);
        // The rest of the client's own cursor; zeros; too short and too long.
        let moved = at(position);
        let bare = [&moved[..17], &vec![0; moved.len() - 17]].concat();
        forged.extend([moved[..17].to_vec(), [&moved[..], &[0]].concat(), moved, bare]);
    }
    // A guess for each byte after the epoch.
    for byte in 9..own.len() {
        let mut guess = own.clone();
        guess[byte] ^= 1;
        forged.push(guess);
    }
    forged.into_iter().map(|bytes| URL_SAFE_NO_PAD.encode(bytes)).collect()
}

/// A cursor that the server has not given is invalid, however similar, and replays nothing.
pub async fn resume_from_a_forged_cursor<P: ProviderUnderTest>() {
    let Some(fixture) = Fixture::<P>::start_if(|can| can.resume, Setup::default()).await else { return };
    for n in 0..3 {
        fixture.note(Target::room("board"), &format!("secret {n}")).await;
    }
    let peer = fixture.connect(Visitor::user("mallet").with_room("board")).await;
    assert_eq!(peer.reason(), "new");
    for cursor in forged_from(&peer.cursor) {
        let mut peer = fixture.connect(Visitor::user("mallet").with_room("board").with_cursor(&cursor)).await;
        assert_eq!((peer.was_resumed(), peer.reason()), (false, "invalid"), "{cursor}: {}", peer.welcome);
        assert!(fixture.labels(&mut peer).await.is_empty(), "{cursor}: no earlier event");
    }
}
