//! Admission of connections to the main namespace by the core, and the two halves that connect a
//! session to it: outbound frames and inbound events.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use realtime_core::spi::{
    Dispatcher, Meter, MeterCalls, MeteredKind, RefusedClient, Registration, Stamp, Take, check_depth,
    replace_lone_surrogates,
};
use realtime_core::{CloseReason, ConnectRequest, HandlerError, Inbound, InboundPayload, Refusal, RefusalKind};
use realtime_http::TrustedProxies;
use realtime_http::spi::{ConnectQuery, ROOM_PARAMETERS};
use serde_json::Value;
use socketioxide::socket::DisconnectReason;

use crate::codec::{Frame, SocketIoCodec};
use crate::connect::{Accepted, Acceptor, ConnectAttempt, Disconnected, Rejection};
use crate::engine::session::EngineSession;
use crate::engine::session::cause::Cause;
use crate::engine::session::measured::Observer;
use crate::engine::session::registry::Report;
use crate::engine::settings::Window;
use crate::inbound::{EventSink, Received};
use crate::outlet::ConnectionOutlet;
use crate::packet::args::{Arguments, Unreadable};
use crate::session::{Close, FrameSource};

type Core = Dispatcher<SocketIoCodec>;

/// Acceptor of the main namespace, which has the core decide.
pub(crate) struct Gate {
    pub(crate) dispatcher: Arc<Core>,
    pub(crate) max_depth: usize,
    /// The longest wait of a client for a free slot of its user.
    pub(crate) max_wait: Duration,
    /// Reverse proxies whose forwarded client addresses are trusted.
    pub(crate) proxies: TrustedProxies,
}

/// Options in `auth` and the query, in addition to what the authenticator reads.
#[derive(Debug, Default, PartialEq, Eq)]
struct ConnectOptions {
    rooms: Vec<String>,
    last_event_id: Option<String>,
}

/// Source of the frames for one connection: its outbox.
struct OutboundHalf {
    registration: Arc<Registration<SocketIoCodec>>,
    outlet: Arc<ConnectionOutlet>,
    /// Frames taken from the outbox, not all of them handed out yet: a take is bounded by bytes
    /// only.
    taken: Vec<Frame>,
    /// Number of these frames that were handed out.
    handed: usize,
}

/// Receiver of the events of one connection: its inbox.
struct InboundHalf {
    registration: Arc<Registration<SocketIoCodec>>,
    /// Weak, because the session owns this half.
    session: Weak<EngineSession>,
    max_depth: usize,
}

#[async_trait]
impl Acceptor for Gate {
    async fn accept(&self, attempt: ConnectAttempt<'_>) -> Result<Accepted, Rejection> {
        let waited = AtomicBool::new(false);
        self.admit(&attempt, &waited).await.map_err(|refusal| match refusal.kind() {
            RefusalKind::Draining => Rejection::Reconnect(None),
            RefusalKind::UserLimit if waited.into_inner() => Rejection::Reconnect(Some(Cause::UserLimit)),
            _ => Rejection::Refused(refusal),
        })
    }

    fn report(&self, report: Report, client: Option<IpAddr>) {
        match report {
            Report::Fault(fault) => {
                self.dispatcher.count_fault(fault.code);
                tracing::info!(
                    provider = self.dispatcher.config().provider(),
                    address = client.map(tracing::field::display),
                    reason = fault.code,
                    setting = fault.setting,
                    "session closed for a client error"
                );
            }
            Report::Refusal(refusal) => {
                self.dispatcher.refuse(refusal, RefusedClient::at(client));
            }
        }
    }

    fn meter(&self, calls: MeterCalls) -> Option<Arc<Meter>> {
        self.dispatcher.session_meter(calls)
    }
}

impl Gate {
    /// Admits a client; `waited` is set if the client had to wait for a free slot.
    async fn admit(&self, attempt: &ConnectAttempt<'_>, waited: &AtomicBool) -> Result<Accepted, Refusal> {
        let address = self.proxies.client(attempt.parts);
        let refuse = |refusal| self.dispatcher.refuse(refusal, RefusedClient::at(address));
        let auth = self.auth(attempt.auth).map_err(refuse)?;
        let request = ConnectRequest::new(self.dispatcher.config().provider(), attempt.parts)
            .with_address(address)
            .with_auth(auth);
        let options =
            ConnectOptions::read(&request, self.dispatcher.config().delivery().limits().rooms_per_connection())
                .map_err(refuse)?;
        let hold = |held| {
            waited.store(true, Ordering::Relaxed);
            attempt.session.hold_main(held);
        };
        let ConnectOptions { rooms, last_event_id } = options;
        let admitted = self.dispatcher.admit_in_turn(&request, &rooms, last_event_id, self.max_wait, hold).await?;
        let outlet = Arc::new(ConnectionOutlet::new(&attempt.session));
        let registration = Arc::new(self.dispatcher.register(admitted, Arc::clone(&outlet) as _));
        outlet.set_registration(&registration);
        attempt.session.measured.observe(Arc::clone(&self.dispatcher) as _);
        let ended = Arc::clone(&registration);
        let session = Arc::downgrade(&attempt.session);
        let inbound = InboundHalf { registration: Arc::clone(&registration), session, max_depth: self.max_depth };
        Ok(Accepted {
            events: Arc::new(inbound),
            source: Box::new(OutboundHalf { registration, outlet, taken: Vec::new(), handed: 0 }),
            on_disconnected: Box::new(move |end| unregister(&ended, end)),
        })
    }

    fn auth(&self, text: Option<&str>) -> Result<Option<Value>, Refusal> {
        let Some(text) = text else { return Ok(None) };
        check_depth(text.as_bytes(), self.max_depth)
            .map_err(|error| Refusal::bad_request(error.message().to_owned()))?;
        serde_json::from_str(&replace_lone_surrogates(text))
            .map(Some)
            .map_err(|_| Refusal::bad_request("auth is not json"))
    }
}

impl Observer for Core {
    fn written(&self, sent: Stamp) {
        self.note_written(sent);
    }

    fn round_trip(&self, time: Duration) {
        self.note_round_trip(time);
    }
}

/// Removes a connection that has ended from the core.
fn unregister(registration: &Registration<SocketIoCodec>, end: Disconnected) {
    let reason = reason_of(end);
    if let Some(number) = end.partial_packet {
        registration.interrupted_within(number);
    }
    if let Some(code) = fault_of(&reason)
        && registration.close_reason().is_none()
    {
        registration.close(reason.clone());
        // The connection is closed already, so the error is only counted.
        registration.reject_fatally(&HandlerError::new(code, reason.text().to_owned()));
    }
    registration.leave(reason);
}

impl ConnectOptions {
    /// Reads the query and `auth`, with at most `max_rooms` rooms.
    fn read(request: &ConnectRequest, max_rooms: usize) -> Result<Self, Refusal> {
        let ConnectQuery { channels: mut rooms, last_event_id, .. } = ConnectQuery::of(request, max_rooms);
        let Some(auth) = request.auth() else { return Ok(Self { rooms, last_event_id }) };
        for key in ROOM_PARAMETERS {
            let invalid = || Refusal::bad_request(format!("auth.{key} must be a room's name or a list of names"));
            match auth.get(key) {
                None | Some(Value::Null) => {}
                Some(Value::String(room)) => rooms.push(room.clone()),
                Some(Value::Array(names)) => {
                    let names = names.iter().map(|name| name.as_str().map(str::to_owned).ok_or_else(invalid));
                    rooms.extend(names.collect::<Result<Vec<_>, _>>()?);
                }
                Some(_) => return Err(invalid()),
            }
        }
        let mut seen = std::collections::HashSet::new();
        rooms.retain(|room| seen.insert(room.clone()));
        let last_event_id = match auth.get("lastEventId") {
            None | Some(Value::Null) => last_event_id,
            Some(Value::String(id)) => Some(id.clone()),
            // Any other value is no cursor: the client gets `resumed: false`.
            Some(other) => Some(other.to_string()),
        };
        log_unknown(request.provider(), auth);
        Ok(Self { rooms, last_event_id })
    }
}

/// Logs keys of `auth` that have no meaning here: a mistake, or keys that only the authenticator
/// reads.
fn log_unknown(provider: &str, auth: &Value) {
    let Value::Object(auth) = auth else { return };
    let is_known =
        |key: &str| ROOM_PARAMETERS.contains(&key) || ["connectionId", "lastEventId", "ticket", "token"].contains(&key);
    let unknown = auth.keys().filter(|key| !is_known(key)).map(|key| &key[..key.floor_char_boundary(64)]);
    let unknown: Vec<_> = unknown.take(8).collect();
    if !unknown.is_empty() {
        tracing::debug!(provider, keys = ?unknown, "auth has keys that only a custom authenticator can read");
    }
}

impl FrameSource for OutboundHalf {
    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        credit: Window,
        into: &mut VecDeque<Frame>,
    ) -> Poll<Result<(), Close>> {
        if credit.packets == 0 {
            // The take waits for credit, but a close for a stall is still noticed.
            self.outlet.base.register(cx);
            return match self.registration.close_reason() {
                Some(reason) if reason == CloseReason::WRITE_STALL => Poll::Ready(Err(Close::Abort)),
                _ => Poll::Pending,
            };
        }
        if self.handed == self.taken.len() {
            self.taken.clear();
            self.handed = 0;
            if let Take::Closed(reason) =
                ready!(self.outlet.base.poll_take(&self.registration, cx, credit.bytes, &mut self.taken))
            {
                return Poll::Ready(Err(close_of(&reason)));
            }
        }
        let until = self.taken.len().min(self.handed + credit.packets);
        into.extend(self.taken[self.handed..until].iter().cloned());
        self.handed = until;
        if self.handed == self.taken.len() {
            // An idle connection keeps no buffer.
            self.taken = Vec::new();
            self.handed = 0;
        }
        Poll::Ready(Ok(()))
    }

    fn take_unwritten(&self) -> Stamp {
        self.registration.take_unwritten()
    }

    fn close(&self) -> Option<Close> {
        self.registration.close_reason().as_ref().map(close_of)
    }

    fn progressed(&self) {
        self.registration.progressed();
    }
}

/// Returns how to close a connection for this reason.
fn close_of(reason: &CloseReason) -> Close {
    match reason {
        reason if *reason == CloseReason::WRITE_STALL => Close::Abort,
        reason if reason.should_reconnect() => Close::Reconnect,
        _ => Close::Final,
    }
}

impl EventSink for InboundHalf {
    fn receive(&self, received: Received) {
        let Received { name, arguments, ack, size } = received;
        let ack = ack.map(|id| id as u64);
        let checked = arguments.check(self.max_depth).and_then(|()| {
            let mut inbound = Inbound::new(name, Bytes::new());
            inbound.payload = payload(arguments);
            inbound.ack = ack;
            inbound.check_name()?;
            Ok(inbound)
        });
        let has_room = match checked {
            Ok(inbound) => {
                let rest = size.saturating_sub(inbound.size());
                self.registration.receive(inbound) & self.registration.charge(MeteredKind::Event, 0, rest)
            }
            Err(error) => self.registration.reject(error, ack) & self.registration.charge(MeteredKind::Event, 0, size),
        };
        self.resume_later_unless(has_room);
    }

    fn reject(&self, error: HandlerError, size: usize) {
        let has_room = self.registration.reject(error, None) & self.registration.charge(MeteredKind::Event, 0, size);
        self.resume_later_unless(has_room);
    }

    fn answer(&self, ask: u64, answer: Result<Arguments, Unreadable>) {
        let refused = |error: HandlerError| error.message().to_owned();
        let read = answer.map_err(|error| error.to_string());
        match read.and_then(|answer| answer.check(self.max_depth).map_err(refused).map(|()| answer)) {
            Ok(answer) => {
                if self.registration.answer(ask, payload(answer)) {
                    self.session.upgrade().into_iter().for_each(|session| session.give_back());
                }
            }
            Err(error) => {
                tracing::debug!(connection = %self.registration.id(), error, "an answer could not be read");
                self.registration.answer_unreadable(ask);
            }
        }
        // The reader, which is another task, may pause for what this answer counts.
        self.resume_later_unless(!self.registration.is_paused());
    }

    fn note_fault(&self, fault: &Unreadable) {
        self.registration.note_fault(fault);
    }

    fn is_full(&self) -> bool {
        self.registration.is_closed() || self.registration.is_paused()
    }
}

impl InboundHalf {
    /// Resumes reading once the inbox has room, unless it has room now.
    fn resume_later_unless(&self, has_room: bool) {
        // The reader pauses now, see `is_full`. It is resumed when the handlers have made room, but
        // never on a closed connection.
        if !has_room && !self.registration.is_closed() {
            let (session, registration) = (Weak::clone(&self.session), Arc::downgrade(&self.registration));
            self.registration.on_room(move || {
                if let (Some(session), Some(registration)) = (session.upgrade(), registration.upgrade())
                    && !registration.is_closed()
                    && !registration.is_paused()
                {
                    session.resume();
                }
            });
            // It may have got room before the callback was set.
            if !self.registration.is_paused() {
                self.session.upgrade().into_iter().for_each(|session| session.resume());
            }
        }
    }
}

fn payload(arguments: Arguments) -> InboundPayload {
    InboundPayload::with_attachments(arguments.json, arguments.attachments)
}

/// Returns the core's close reason for an end; if the core had closed the connection, the reason
/// given then counts.
fn reason_of(end: Disconnected) -> CloseReason {
    match end.cause {
        // The last two close sessions without a connection.
        Some(Cause::Flood | Cause::ConnectTimeout | Cause::UserLimit) => return CloseReason::POLICY,
        Some(Cause::Heartbeat) => return CloseReason::HEARTBEAT,
        Some(Cause::Lost) => return CloseReason::CONNECTION_LOST,
        Some(Cause::Malformed) => return CloseReason::PROTOCOL_ERROR,
        Some(Cause::RateLimited) => return CloseReason::RATE_LIMITED,
        Some(Cause::TooLarge) => return CloseReason::TOO_LARGE,
        Some(Cause::WriteStall) => return CloseReason::WRITE_STALL,
        None => {}
    }
    match end.reason {
        Some(DisconnectReason::ClientNSDisconnect | DisconnectReason::TransportClose) => CloseReason::NORMAL,
        Some(DisconnectReason::ClosingServer) => CloseReason::RESTART,
        Some(DisconnectReason::HeartbeatTimeout) => CloseReason::HEARTBEAT,
        Some(DisconnectReason::MultipleHttpPollingError | DisconnectReason::PacketParsingError) => {
            CloseReason::PROTOCOL_ERROR
        }
        Some(DisconnectReason::ServerNSDisconnect) => CloseReason::KICKED,
        Some(DisconnectReason::TransportError) if !end.transport_lost => CloseReason::PROTOCOL_ERROR,
        Some(DisconnectReason::TransportError) | None => CloseReason::CONNECTION_LOST,
    }
}

/// Returns the code of the error if the client was at fault.
fn fault_of(reason: &CloseReason) -> Option<&'static str> {
    match reason {
        reason if *reason == CloseReason::PROTOCOL_ERROR => Some("protocol_error"),
        reason if *reason == CloseReason::RATE_LIMITED => Some("rate_limited"),
        reason if *reason == CloseReason::TOO_LARGE => Some("too_large"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
