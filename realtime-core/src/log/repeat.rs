//! Keys by which a log recognizes that an event repeats another one.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::log::record::Providers;
use crate::values::event::Event;
use crate::values::target::Target;

/// The key and the content by which the log decides whether a record repeats another one. An
/// idempotency key is scoped to the providers that the record names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepeatKey {
    /// The key and the providers, as the first 128 bits of a SHA-256.
    pub key: [u8; 16],
    /// Target, name and payload, as the first 128 bits of a SHA-256. A record with the key of
    /// another one and different content is no repeat, and is rejected.
    pub content: [u8; 16],
    /// The duration for which the log has to remember the key.
    pub keep: Duration,
}

impl RepeatKey {
    /// Creates a key from its parts, as a test of a backplane does.
    #[must_use]
    pub fn new(key: [u8; 16], content: [u8; 16], keep: Duration) -> Self {
        Self { key, content, keep }
    }

    /// Creates the key of a name that is taken once.
    pub(crate) fn of_name(name: &[u8], keep: Duration) -> Self {
        let mut key = Sha256::new();
        // Differs from the key of any event, whose second part is another word.
        add(&mut key, name);
        add(&mut key, b"once");
        Self { key: first(key), content: [0; 16], keep }
    }

    /// Creates the key of an event for these providers, if it has one.
    pub(crate) fn of(providers: &Providers, target: &Target, event: &Event, keep: Duration) -> Option<Self> {
        let mut key = Sha256::new();
        add(&mut key, event.idempotency_key()?.as_bytes());
        let mut names: Vec<_> = providers.names().unwrap_or_default().iter().collect();
        names.sort_unstable();
        // A record for all providers differs from one for none.
        add(&mut key, if providers.names().is_some() { b"these" } else { b"all" });
        names.iter().for_each(|name| add(&mut key, name.as_bytes()));
        let mut content = Sha256::new();
        add(&mut content, &serde_json::to_vec(target).unwrap_or_default());
        add(&mut content, event.name().as_bytes());
        add(&mut content, event.latest_key().map_or(&[], |latest| latest.as_bytes()));
        let payload = event.payload();
        add(&mut content, if payload.is_binary() { b"bytes" } else { b"json" });
        std::iter::once(payload.bytes()).chain(payload.attachments()).for_each(|part| add(&mut content, part));
        Some(Self { key: first(key), content: first(content), keep })
    }
}

/// Adds a part in such a way that no two lists of parts are the same bytes.
fn add(hash: &mut Sha256, part: &[u8]) {
    hash.update((part.len() as u64).to_be_bytes());
    hash.update(part);
}

fn first(hash: Sha256) -> [u8; 16] {
    let sum = hash.finalize();
    std::array::from_fn(|at| sum[at])
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn key_of(providers: &Providers, target: &Target, event: Event) -> RepeatKey {
        let event = event.with_idempotency_key("k");
        RepeatKey::of(providers, target, &event, Duration::ZERO).unwrap()
    }

    #[test]
    fn key_depends_on_the_providers_in_any_order() {
        let event = || Event::json("e", &1).unwrap();
        let key = |providers: &Providers| key_of(providers, &Target::all(), event()).key;
        assert_eq!(key(&Providers::named(["a", "b"])), key(&Providers::named(["b", "a"])));
        let all =
            [Providers::ALL, Providers::named([]), Providers::one("a"), Providers::one("b"), Providers::one("ab")];
        let keys: std::collections::HashSet<_> = all.iter().map(key).collect();
        assert_eq!(keys.len(), all.len());
        assert_eq!(RepeatKey::of(&Providers::ALL, &Target::all(), &event(), Duration::ZERO), None);
    }

    #[test]
    fn content_depends_on_target_name_and_payload() {
        let attached = |bytes| Event::attached("e", &1, [Bytes::from_static(bytes)]).unwrap();
        let all = [
            (Target::all(), Event::json("e", &1).unwrap()),
            (Target::all(), Event::json("e", &2).unwrap()),
            (Target::all(), Event::json("f", &1).unwrap()),
            (Target::all(), Event::binary("e", "1").unwrap()),
            (Target::all(), attached(b"x")),
            (Target::all(), attached(b"y")),
            (Target::all(), Event::json("e", &1).unwrap().with_latest_key("l")),
            (Target::user("u"), Event::json("e", &1).unwrap()),
            (Target::user("u").except_user("v"), Event::json("e", &1).unwrap()),
        ];
        let contents: std::collections::HashSet<_> =
            all.iter().map(|(target, event)| key_of(&Providers::ALL, target, event.clone()).content).collect();
        assert_eq!(contents.len(), all.len());
        let same = |(target, event): &(Target, Event)| key_of(&Providers::ALL, target, event.clone());
        assert!(all.iter().all(|one| same(one) == same(one)));
    }
}
