//! The requests to the thread that writes.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use realtime_core::spi::{AppendError, AppendResult, Epoch, LogState, Position, Record, RepeatKey};
use realtime_core::{Error, EventId};
use tokio::sync::oneshot;

use crate::error::DiskError;
use crate::revoked::Revoke;

/// The appends in one change, and their bytes, after which no further one is added.
const GROUP_RECORDS: usize = 1024;
const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// Work for the thread.
pub(crate) enum Request {
    Append(Vec<Append>),
    Probe(oneshot::Sender<Result<(), Error>>),
    Renew(Renewal),
    Revoke(Revoke),
}

/// An append that waits for its answer.
#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) epoch: Epoch,
    pub(crate) record: Arc<Record>,
    pub(crate) key: Option<RepeatKey>,
    pub(crate) answer: oneshot::Sender<AppendResult>,
}

/// A renewal that waits for its answer: a new epoch, if the record with this id is missing from its
/// position.
pub(crate) struct Renewal {
    pub(crate) seen: Epoch,
    pub(crate) position: Position,
    pub(crate) id: EventId,
    pub(crate) answer: oneshot::Sender<Result<LogState, Error>>,
}

/// Refuses appends that were not written.
pub(crate) fn refuse(appends: Vec<Append>, error: &DiskError) {
    for append in appends {
        // Nobody waits for an answer, if one cannot be sent.
        let _ = append.answer.send(Err(AppendError::Refused(error.to_string().into())));
    }
}

/// Takes the requests that wait, up to a group of appends or the next other request. The appends
/// stay in the lists that they came in: a list of all of them would be copied as it grows.
pub(crate) fn gather(first: Option<Request>, requests: &Receiver<Request>) -> (Vec<Vec<Append>>, Option<Request>) {
    let (mut lists, mut records, mut bytes, mut next) = (Vec::new(), 0, 0, first);
    while let Some(request) = next {
        match request {
            other @ (Request::Probe(_) | Request::Renew(_) | Request::Revoke(_)) => return (lists, Some(other)),
            Request::Append(appends) => {
                records += appends.len();
                bytes += appends.iter().map(|append| append.record.size()).sum::<usize>();
                lists.push(appends);
            }
        }
        if records >= GROUP_RECORDS || bytes >= GROUP_BYTES {
            break;
        }
        next = requests.try_recv().ok();
    }
    (lists, None)
}
