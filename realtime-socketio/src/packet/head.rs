/// Upper bound of the name of a namespace that a client may connect to, in bytes, its slash
/// included.
pub(crate) const MAX_NAMESPACE: usize = 256;

/// Type of one packet of Engine.IO, as far as the admission of packets needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// Socket.IO's CONNECT: from a client the request, from the server the acceptance.
    Connect(Namespace),
    /// Socket.IO's CONNECT to a namespace whose name is too long.
    NameTooLong,
    /// Socket.IO's DISCONNECT.
    Disconnect(Namespace),
    Other,
    Ping,
    Pong,
    /// Socket.IO's CONNECT_ERROR.
    ConnectError(Namespace),
}

/// The name of a namespace; none for the main one.
pub(crate) type Namespace = Option<Box<[u8]>>;

/// Parser of the head of one text packet, which may arrive in pieces: the types of Engine.IO and
/// Socket.IO and the namespace.
#[derive(Default)]
pub(crate) struct HeadScan {
    /// Number of bytes read.
    len: usize,
    /// Packet type of Socket.IO.
    kind: u8,
    name: Vec<u8>,
    /// Set once the head was returned.
    returned: bool,
}

impl HeadScan {
    /// Reads the packet's next bytes. Returns the head once it is known, with the number of bytes
    /// read for it.
    pub(crate) fn feed(&mut self, bytes: impl IntoIterator<Item = u8>) -> Option<(usize, Head)> {
        if self.returned {
            return None;
        }
        for (before, byte) in bytes.into_iter().enumerate() {
            if let Some(head) = self.push(byte) {
                self.returned = true;
                return Some((before + 1, head));
            }
        }
        None
    }

    /// Returns whether nothing of a packet was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Ends the packet. Returns its head, unless it was returned before; the next packet starts.
    pub(crate) fn end(&mut self) -> Option<Head> {
        let scan = std::mem::take(self);
        (!scan.returned).then(|| if scan.kind == 0 { Head::Other } else { scan.head() })
    }

    fn push(&mut self, byte: u8) -> Option<Head> {
        self.len += 1;
        match (self.len, byte) {
            (1, b'4') => None,
            (1, b'2') => Some(Head::Ping),
            (1, b'3') => Some(Head::Pong),
            (2, b'0' | b'1' | b'4') => {
                self.kind = byte;
                None
            }
            (1 | 2, _) => Some(Head::Other),
            (3, b'/') => {
                self.name.push(byte);
                None
            }
            (3, _) | (_, b',') => Some(self.head()),
            _ if self.name.len() == MAX_NAMESPACE => Some(Head::NameTooLong),
            _ => {
                self.name.push(byte);
                None
            }
        }
    }

    fn head(&self) -> Head {
        // `/` also names the main namespace.
        let namespace = (self.name.len() > 1).then(|| self.name.as_slice().into());
        match self.kind {
            b'0' => Head::Connect(namespace),
            b'1' => Head::Disconnect(namespace),
            _ => Head::ConnectError(namespace),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Namespace {
        Some(name.as_bytes().into())
    }

    #[test]
    fn head_is_parsed_at_any_split() {
        let cases = [
            ("40", Head::Connect(None)),
            ("40{\"token\":\"/\"}", Head::Connect(None)),
            ("40/", Head::Connect(None)),
            ("40/,{}", Head::Connect(None)),
            ("40/own", Head::Connect(named("/own"))),
            ("40/own,", Head::Connect(named("/own"))),
            ("40/own?a=1,{\"a\":1,\"b\":2}", Head::Connect(named("/own?a=1"))),
            ("41", Head::Disconnect(None)),
            ("41/own,", Head::Disconnect(named("/own"))),
            ("44{\"message\":\"no\"}", Head::ConnectError(None)),
            ("44/own,{}", Head::ConnectError(named("/own"))),
            ("42[\"a\"]", Head::Other),
            ("42/own,[\"40\"]", Head::Other),
            ("4", Head::Other),
            ("", Head::Other),
            ("b40", Head::Other),
            ("2probe", Head::Ping),
            ("3", Head::Pong),
        ];
        for (packet, head) in cases {
            for split in 0..=packet.len() {
                let mut scan = HeadScan::default();
                let (first, rest) = packet.as_bytes().split_at(split);
                let fed: Vec<_> =
                    [first, rest].into_iter().filter_map(|part| scan.feed(part.iter().copied())).collect();
                let head_of_feed = fed.first().map(|(_, head)| head.clone());
                assert!(fed.len() < 2, "{packet} {split}");
                assert_eq!(head_of_feed.is_none(), scan.end().is_some_and(|end| end == head), "{packet} {split}");
                assert!(head_of_feed.is_none_or(|found| found == head), "{packet} {split}");
            }
        }
    }

    #[test]
    fn namespace_name_is_bounded() {
        let longest = format!("/{}", "x".repeat(MAX_NAMESPACE - 1));
        let mut scan = HeadScan::default();
        scan.feed(format!("40{longest}").bytes());
        assert_eq!(scan.end(), Some(Head::Connect(named(&longest))));
        assert_eq!(scan.feed(format!("40{longest}x").bytes()), Some((MAX_NAMESPACE + 3, Head::NameTooLong)));
    }
}
