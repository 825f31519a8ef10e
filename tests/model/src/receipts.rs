//! What a send is to come to, and what its receipt has told.

use std::ops::RangeInclusive;

use realtime_core::{Delivered, Receipt};

use crate::calls::Sending;
use crate::conn::Conn;
use crate::log::{Audience, Place};
use crate::reference::Reference;
use crate::rooms::Sees;
use crate::schedule::By;

/// What a send is to come to.
#[derive(Clone, Debug)]
pub(crate) struct Predicted {
    pub(crate) number: u64,
    pub(crate) sending: Sending,
    pub(crate) becomes: Becomes,
    /// How many connections it matches over each provider that it is for, at least and at most.
    pub(crate) matches: Vec<Matches>,
}

/// What the log is to make of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Becomes {
    /// A record at this place.
    Record(Place),
    /// Nothing: the same was sent with its key before, and is at this place.
    Repeat(Place),
    /// Nothing: its key is another event's.
    Refused,
    /// Nothing: it is volatile.
    Volatile,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Matches {
    provider: &'static str,
    least: usize,
    most: usize,
}

impl Reference {
    /// Whether something for this audience is for someone, at whichever of these places it is.
    pub(crate) fn sees_between(&self, conn: &Conn, audience: &Audience, mut places: RangeInclusive<Place>) -> Sees {
        let first = places.next().map(|place| self.log().is_for(&conn.viewer, audience, place));
        let first = first.unwrap_or(Sees::No);
        let is_same = |place| self.log().is_for(&conn.viewer, audience, place) == first;
        if places.all(is_same) { first } else { Sees::Maybe }
    }

    /// How many connections something for this audience matches, at one of these places.
    pub(crate) fn matches(&self, audience: &Audience, places: RangeInclusive<Place>) -> Vec<Matches> {
        let sees = |conn: &Conn| self.sees_between(conn, audience, places.clone());
        let over = |provider| {
            let conns = || self.of_now().filter(|conn| conn.viewer.transport.provider() == provider);
            let least = conns().filter(|conn| conn.is_there() && sees(conn) == Sees::Yes).count();
            // The rooms of those that were sent back are not known any more.
            let may_see = |conn: &&Conn| conn.may_be_there() && (conn.sent_back || sees(conn) != Sees::No);
            Matches { provider, least, most: conns().filter(may_see).count() }
        };
        audience.providers.names().into_iter().map(over).collect()
    }

    /// What a send has come to.
    pub(crate) fn sent(&mut self, predicted: &Predicted, receipt: Option<&Receipt>) -> Result<(), String> {
        let &Predicted { number, becomes, .. } = predicted;
        let wrong = |what: &str| Err(format!("{what}: n={number}, {becomes:?}: {receipt:?}"));
        let Some(receipt) = receipt else {
            return if becomes == Becomes::Refused { Ok(()) } else { wrong("its key is said to be another event's") };
        };
        let (place, is_repeat) = match becomes {
            Becomes::Record(place) => (Some(place), false),
            Becomes::Repeat(place) => (Some(place), true),
            Becomes::Volatile => (None, false),
            Becomes::Refused => return wrong("the key of another event was taken"),
        };
        if receipt.repeated() != is_repeat {
            return wrong("it does not say whether it is a repeat's");
        }
        if receipt.position.map(realtime_core::spi::Position::get) != place {
            return wrong("not at its place");
        }
        let Some(place) = place else { return matched(predicted, receipt) };
        if let Some(key) = self.keys.iter_mut().rfind(|known| known.place == place) {
            if key.id.is_some_and(|id| id != receipt.id) {
                return wrong("a repeat without the first one's id");
            }
            key.id = Some(receipt.id);
            self.cover(if is_repeat { "repeat of an idempotency key" } else { "event with an idempotency key" });
        }
        if !is_repeat {
            let life = self.life();
            self.lives[life].log.record_mut(place).id = Some(receipt.id);
        }
        matched(predicted, receipt)
    }
}

/// Whether a receipt counts the right connections, in all and over each provider.
fn matched(predicted: &Predicted, receipt: &Receipt) -> Result<(), String> {
    let Predicted { number, sending, becomes, matches } = predicted;
    let right = |told: Option<Delivered>, (least, most): (usize, usize)| match told {
        Some(told) if (least..=most).contains(&told.matched) && told.queued + told.dropped == told.matched => Ok(()),
        told => Err(format!("n={number} matched {told:?} and not {least} to {most}")),
    };
    let all = matches.iter().fold((0, 0), |(least, most), of| (least + of.least, most + of.most));
    right(receipt.delivered, all)?;
    // A repeat has nothing to say of those that the first one reached.
    if sending.by == By::Provider || matches!(becomes, Becomes::Repeat(_)) {
        return Ok(());
    }
    for of in matches {
        let told = receipt.by_provider.get(of.provider).copied();
        right(told, (of.least, of.most)).map_err(|what| format!("over {}: {what}", of.provider))?;
    }
    if receipt.by_provider.len() > matches.len() || !receipt.skipped.is_empty() {
        return Err(format!("n={number} was for {matches:?} alone: {receipt:?}"));
    }
    Ok(())
}
