//! The names that only authors of providers and backplanes need.
//!
//! Applications use the names in the crate's root. The names in this module may change in a minor
//! version before 1.0.
//!
//! - A provider drives one [`Dispatcher`] with a [`Codec`]: it admits a request ([`Admitted`]),
//!   registers the connection ([`Registration`]) and takes frames for its [`Outlet`].
//! - A backplane implements [`Backplane`] over its own log; a directory implements [`Directory`].

pub use crate::admission::address::{address_key, counted_address};
pub use crate::admission::arrivals::{Arrival, Arrivals};
pub use crate::admission::handshakes::Handshakes;
pub use crate::admission::limits::{Admission, PROBE_TIMEOUT, Ticket};
pub use crate::admission::tenants::Tenants;
pub use crate::delivery::asks::MAX_OPEN_ASKS;
pub use crate::delivery::dispatched::Dispatched;
pub use crate::delivery::dispatcher::{Admitted, Dispatcher, RefusedClient};
pub use crate::delivery::hub::Hub;
pub use crate::delivery::offline::OfflineWorker;
pub use crate::delivery::outbox::Take;
pub use crate::delivery::publisher::Publisher;
pub use crate::delivery::registration::Registration;
pub use crate::delivery::sink::Link;
pub use crate::delivery::window::Window;
pub use crate::inbound::inbox::Inbox;
pub use crate::inbound::meter::{Meter, MeterCalls};
pub use crate::log::backoff::Backoff;
pub use crate::log::backplane::{AppendError, AppendResult, Appended, Backplane, Entry, LogState, Tail};
pub use crate::log::directory::{Directory, DirectoryChange, Incarnation};
pub use crate::log::handle::Log;
pub use crate::log::lives::CONNECTION_LIVES;
pub use crate::log::memory::{Kept, LocalPipe, LogBounds, MemoryLog};
pub use crate::log::reconnecting::Reconnecting;
pub use crate::log::record::Record;
pub use crate::log::repeat::RepeatKey;
pub use crate::log::revocations::RevocationTable;
pub use crate::log::room_edit::{RoomEdit, RoomEditKind};
pub use crate::log::room_table::{RoomTable, UserRooms};
pub use crate::log::stored::{RecordError, Stored};
pub use crate::log::tracker::Tracker;
pub use crate::traits::codec::{Codec, Frame};
pub use crate::traits::handler::FnHandler;
pub use crate::traits::outgoing::Sends;
pub use crate::traits::outlet::{Outlet, SessionOutlet};
pub use crate::traits::runtime::{DECISION_TIMEOUT, MAX_REVOCATIONS, MAX_TOKEN_BYTES, MAX_WAITING_REFRESHES, Runtime};
pub use crate::values::config::DispatcherConfig;
pub use crate::values::cursor::{Cursor, CursorError, CursorSigner, Epoch, Mark};
pub use crate::values::cursor_key::{CursorKey, CursorKeyError};
pub use crate::values::cursor_secret::CursorSecret;
pub use crate::values::json::{DEFAULT_MAX_DEPTH, check_depth, one_line_json, replace_lone_surrogates};
pub use crate::values::json_error::describe_json_error;
pub use crate::values::name::{MAX_NAME_BYTES, RESERVED_EVENTS, check_event_name, check_name};
pub use crate::values::position::Position;
pub use crate::values::random::random_between;
pub use crate::values::revocation::Revocation;
pub use crate::values::service_limits::ServiceLimits;
pub use crate::values::stamp::{AtomicStamp, Stamp};
pub use crate::values::states::States;
pub use crate::values::subprotocols::{MAX_SUBPROTOCOLS, SubprotocolError, Subprotocols};
pub use crate::values::throttles::MeteredKind;
