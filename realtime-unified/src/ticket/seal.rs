//! Tickets as text: encrypted and authenticated, bound to an epoch of the log.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use realtime_core::spi::{CursorKey, Epoch};

const VERSION: u8 = 1;
/// The bytes before the encrypted ones: version, epoch, nonce. The first two are authenticated too.
const HEAD: usize = 1 + 8;
const NONCE: usize = 24;
/// The longest ticket: it has to fit into the line of a request, of which proxies take 8 KiB.
pub(crate) const MAX_CHARACTERS: usize = 6_000;
/// The purpose for which the key is derived.
const PURPOSE: &str = "realtime ticket";

/// A ticket that has not been opened.
pub(crate) struct Sealed(Vec<u8>);

/// Encrypts the content of a ticket; `None` when there are no random bytes, or too many bytes of
/// content.
pub(crate) fn seal(epoch: Epoch, key: &CursorKey, content: &[u8]) -> Option<String> {
    let mut bytes = vec![VERSION];
    bytes.extend(epoch.get().to_be_bytes());
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).ok()?;
    let sealed = cipher(key).encrypt(&XNonce::from(nonce), Payload { msg: content, aad: &bytes }).ok()?;
    bytes.extend(nonce);
    bytes.extend(sealed);
    let text = URL_SAFE_NO_PAD.encode(bytes);
    (text.len() <= MAX_CHARACTERS).then_some(text)
}

impl Sealed {
    /// Reads a text that may be a ticket.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.get(..MAX_CHARACTERS).map_or(text, |_| "")).ok()?;
        (bytes.len() > HEAD + NONCE && bytes[0] == VERSION).then_some(Self(bytes))
    }

    /// Returns the epoch that the ticket says it is of.
    pub(crate) fn epoch(&self) -> Epoch {
        Epoch::new(u64::from_be_bytes(std::array::from_fn(|at| self.0[1 + at])))
    }

    /// Returns the bytes that no other ticket has.
    pub(crate) fn nonce(&self) -> [u8; NONCE] {
        std::array::from_fn(|at| self.0[HEAD + at])
    }

    /// Decrypts the content; `None` for what was not sealed with this key, or has been altered.
    pub(crate) fn open(&self, key: &CursorKey) -> Option<Vec<u8>> {
        let (head, rest) = self.0.split_at(HEAD);
        cipher(key).decrypt(&XNonce::from(self.nonce()), Payload { msg: &rest[NONCE..], aad: head }).ok()
    }
}

fn cipher(key: &CursorKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&key.derive(PURPOSE).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_text_opens_with_its_key_and_unaltered_only() {
        let (epoch, key) = (Epoch::new(7), CursorKey::random());
        let text = seal(epoch, &key, b"ann").unwrap();
        let sealed = Sealed::read(&text).unwrap();
        assert_eq!((sealed.epoch(), sealed.open(&key).as_deref()), (epoch, Some(&b"ann"[..])));
        assert_eq!(sealed.open(&CursorKey::random()), None);
        assert_ne!(Sealed::read(&seal(epoch, &key, b"ann").unwrap()).unwrap().nonce(), sealed.nonce());
        for at in 0..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert!(Sealed::read(&altered).and_then(|altered| altered.open(&key)).is_none(), "{at}");
            assert!(Sealed::read(&text[..at]).and_then(|cut| cut.open(&key)).is_none(), "{at}");
        }
    }

    #[test]
    fn texts_that_are_no_tickets_are_none() {
        for text in ["", "ä", "....", "AQ", &"A".repeat(44), &"A".repeat(100_000), &"ä".repeat(3_001)] {
            assert!(Sealed::read(text).is_none(), "{}", text.len());
        }
        assert_eq!(seal(Epoch::new(1), &CursorKey::random(), &[0; MAX_CHARACTERS]), None);
    }
}
