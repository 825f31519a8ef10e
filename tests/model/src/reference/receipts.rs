//! The expected effect of each send, and the check of its receipt.

use std::ops::RangeInclusive;

use realtime_core::{Delivered, Receipt};

use crate::calls::Sending;
use crate::conn::Conn;
use crate::log::{Audience, Position};
use crate::reference::Reference;
use crate::rooms::Visibility;
use crate::schedule::By;

/// A send with its expected effect.
#[derive(Clone, Debug)]
pub(crate) struct Predicted {
    pub(crate) number: u64,
    pub(crate) sending: Sending,
    pub(crate) effect: Effect,
    /// The number of connections that it matches over each of its providers, at least and at most.
    pub(crate) matches: Vec<Matches>,
}

/// The expected effect of a send on the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A record at this position.
    Record(Position),
    /// None: the same was sent with its key before, and is at this position.
    Repeat(Position),
    /// None: its key is another event's.
    Refused,
    /// None: it is volatile.
    Volatile,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Matches {
    provider: &'static str,
    least: usize,
    most: usize,
}

impl Reference {
    /// Returns whether a connection sees something for this audience, at whichever of these
    /// positions it is.
    pub(crate) fn sees_between(
        &self,
        conn: &Conn,
        audience: &Audience,
        mut positions: RangeInclusive<Position>,
    ) -> Visibility {
        let sees = |position| self.log().is_for(&conn.viewer, audience, position);
        let first = positions.next().map_or(Visibility::No, sees);
        if positions.all(|position| sees(position) == first) { first } else { Visibility::Maybe }
    }

    /// Counts the connections that something for this audience matches, at one of these positions.
    pub(crate) fn matches(&self, audience: &Audience, positions: RangeInclusive<Position>) -> Vec<Matches> {
        let matching = self.matching(|conn| self.sees_between(conn, audience, positions.clone()));
        let matching: Vec<_> = matching.map(|(_, conn, must)| (conn.viewer.transport.provider(), must)).collect();
        let over = |provider| {
            let of_it = || matching.iter().filter(|(of, _)| *of == provider);
            Matches { provider, least: of_it().filter(|(_, must)| *must).count(), most: of_it().count() }
        };
        audience.providers.names().into_iter().map(over).collect()
    }

    /// Checks the receipt of a send.
    pub(crate) fn sent(&mut self, predicted: &Predicted, receipt: Option<&Receipt>) -> Result<(), String> {
        let &Predicted { number, effect, .. } = predicted;
        let wrong = |what: &str| Err(format!("{what}: n={number}, {effect:?}: {receipt:?}"));
        let Some(receipt) = receipt else {
            return if effect == Effect::Refused { Ok(()) } else { wrong("its key was taken for another event's") };
        };
        let (position, is_repeat) = match effect {
            Effect::Record(position) => (Some(position), false),
            Effect::Repeat(position) => (Some(position), true),
            Effect::Volatile => (None, false),
            Effect::Refused => return wrong("the key of another event was accepted"),
        };
        if receipt.repeated() != is_repeat {
            return wrong("it does not say whether it is a repeat's");
        }
        if receipt.position.map(realtime_core::spi::Position::get) != position {
            return wrong("not at its position");
        }
        let Some(position) = position else { return matched(predicted, receipt) };
        if let Some(key) = self.keys.iter_mut().rfind(|known| known.position == position) {
            if key.id.is_some_and(|id| id != receipt.id) {
                return wrong("a repeat without the first one's id");
            }
            key.id = Some(receipt.id);
            self.cover(if is_repeat { "repeat of an idempotency key" } else { "event with an idempotency key" });
        }
        if !is_repeat {
            let life = self.life();
            self.lives[life].log.record_mut(position).id = Some(receipt.id);
        }
        matched(predicted, receipt)
    }
}

/// Checks that a receipt counts the right connections, in all and over each provider.
fn matched(predicted: &Predicted, receipt: &Receipt) -> Result<(), String> {
    let Predicted { number, sending, effect, matches } = predicted;
    let right = |delivered: Option<Delivered>, (least, most): (usize, usize)| {
        let is_right = |of: Delivered| (least..=most).contains(&of.matched) && of.queued + of.dropped == of.matched;
        let wrong = || format!("n={number} matched {delivered:?} and not {least} to {most}");
        if delivered.is_some_and(is_right) { Ok(()) } else { Err(wrong()) }
    };
    let all = matches.iter().fold((0, 0), |(least, most), of| (least + of.least, most + of.most));
    right(receipt.delivered, all)?;
    // A repeat says nothing of the connections that the first event reached.
    if sending.by == By::Provider || matches!(effect, Effect::Repeat(_)) {
        return Ok(());
    }
    for of in matches {
        let delivered = receipt.by_provider.get(of.provider).copied();
        right(delivered, (of.least, of.most)).map_err(|what| format!("over {}: {what}", of.provider))?;
    }
    if receipt.by_provider.len() > matches.len() || !receipt.skipped.is_empty() {
        return Err(format!("n={number} was for {matches:?} alone: {receipt:?}"));
    }
    Ok(())
}
