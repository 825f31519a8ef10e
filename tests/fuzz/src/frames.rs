//! Frames of a websocket (RFC 6455 §5.2), read independently of the crates under test.

/// A message, or a control frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
    /// The number of frames from the first to the last, control frames between them included.
    pub(crate) frames: usize,
}

/// The messages in a client's bytes.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    pub(crate) messages: Vec<Message>,
    /// `true` if the client keeps to the protocol as far as the bytes reach.
    pub(crate) valid: bool,
    /// `true` if the bytes end with a whole frame.
    pub(crate) whole: bool,
    /// `true` if the bytes end between two messages.
    pub(crate) between: bool,
}

/// Reads the messages in these bytes, up to the first frame that breaks the protocol.
pub(crate) fn messages(mut bytes: &[u8]) -> Messages {
    let mut read = Messages { valid: true, whole: true, between: true, ..Messages::default() };
    let mut open: Option<Message> = None;
    while !bytes.is_empty() {
        let Some((first, masked, payload, rest)) = frame(bytes) else {
            read.whole = false;
            break;
        };
        bytes = rest;
        let (opcode, last) = (first & 0x0f, first & 0x80 != 0);
        let is_known = matches!(opcode, 0..=2 | 8..=10) && first & 0x70 == 0 && masked;
        let is_fitting = match opcode {
            0 => open.is_some(),
            1 | 2 => open.is_none(),
            _ => last && payload.len() < 126,
        };
        if !is_known || !is_fitting {
            read.valid = false;
            break;
        }
        if opcode >= 8 {
            open.iter_mut().for_each(|open| open.frames += 1);
            read.messages.push(Message { opcode, payload, frames: 1 });
            continue;
        }
        let message = open.get_or_insert(Message { opcode, payload: Vec::new(), frames: 0 });
        message.payload.extend(payload);
        message.frames += 1;
        if last {
            read.messages.extend(open.take());
        }
    }
    read.between = read.whole && open.is_none();
    read
}

type Frame<'a> = (u8, bool, Vec<u8>, &'a [u8]);

/// Reads a whole frame: its first byte, whether it is masked, its payload, and what follows.
fn frame(bytes: &[u8]) -> Option<Frame<'_>> {
    let [first, second, rest @ ..] = bytes else { return None };
    let (length, rest) = match second & 0x7f {
        126 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (u64::from(u16::from_be_bytes(*length)), rest)
        }
        127 => {
            let (length, rest) = rest.split_first_chunk::<8>()?;
            (u64::from_be_bytes(*length), rest)
        }
        length => (u64::from(length), rest),
    };
    let masked = second & 0x80 != 0;
    let (key, rest) = if masked { rest.split_first_chunk::<4>()? } else { (&[0; 4], rest) };
    let (payload, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    let payload = payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    Some((*first, masked, payload, rest))
}
