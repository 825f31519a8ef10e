//! The trace context of the W3C (<https://www.w3.org/TR/trace-context/>): text in, text out.

use std::sync::Arc;

/// The length of a `traceparent` of version 00.
const LENGTH: usize = 55;
/// The most bytes of a `tracestate` that is carried on: what the recommendation (§3.3.1.5) asks of
/// everyone.
const MAX_STATE: usize = 512;
/// The most members of a `tracestate`.
const MAX_MEMBERS: usize = 32;
/// The flag of a trace that is recorded.
const SAMPLED: u8 = 1;

/// A span of a distributed trace, as it is passed to other processes: the parent of what is done
/// there. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    sampled: bool,
    state: Option<Arc<str>>,
}

impl TraceContext {
    /// Creates the context of a span; `None` if an id is all zeros, which names nothing.
    #[must_use]
    pub fn new(trace_id: [u8; 16], span_id: [u8; 8], sampled: bool) -> Option<Self> {
        let is_valid = trace_id != [0; 16] && span_id != [0; 8];
        is_valid.then_some(Self { trace_id, span_id, sampled, state: None })
    }

    /// Reads the headers `traceparent` and `tracestate`. `None` for a `traceparent` that is not
    /// valid; a `tracestate` that is not valid, or longer than 512 bytes, is left out.
    #[must_use]
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let bytes = traceparent.as_bytes();
        let version = hex::<1>(bytes.get(..2)?)?[0];
        let has_end = match version {
            0 => bytes.len() == LENGTH,
            // A later version may add fields after these.
            1..0xff => bytes.len() == LENGTH || bytes.get(LENGTH) == Some(&b'-'),
            0xff => false,
        };
        let has_dashes = [2, 35, 52].iter().all(|at| bytes.get(*at) == Some(&b'-'));
        if !has_end || !has_dashes {
            return None;
        }
        let flags = hex::<1>(bytes.get(53..LENGTH)?)?[0];
        let context = Self::new(hex(bytes.get(3..35)?)?, hex(bytes.get(36..52)?)?, flags & SAMPLED != 0)?;
        Some(context.with_state(tracestate.unwrap_or_default()))
    }

    /// Sets the `tracestate`; one that is not valid, or longer than 512 bytes, is left out.
    #[must_use]
    pub fn with_state(mut self, tracestate: &str) -> Self {
        self.state = is_state(tracestate).then(|| tracestate.into());
        self
    }

    /// Returns the id of the trace.
    #[must_use]
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// Returns the id of the span, which is the parent of what is done in it.
    #[must_use]
    pub fn span_id(&self) -> [u8; 8] {
        self.span_id
    }

    /// Returns whether the trace is recorded.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// Returns the `tracestate`: what systems of tracing say to each other.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// Returns the `traceparent`: 55 characters of hexadecimal digits and dashes.
    #[must_use]
    pub fn traceparent(&self) -> String {
        self.to_string()
    }

    /// Returns the size in memory, in bytes.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>() + self.state().map_or(0, str::len)
    }
}

impl std::fmt::Display for TraceContext {
    /// Writes the `traceparent`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (trace_id, span_id) = (u128::from_be_bytes(self.trace_id), u64::from_be_bytes(self.span_id));
        write!(f, "00-{trace_id:032x}-{span_id:016x}-{:02x}", u8::from(self.sampled))
    }
}

impl std::fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TraceContext({self})")
    }
}

/// Reads lower-case hexadecimal digits, two for each byte.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    (digits.len() == 2 * N).then_some(bytes)
}

/// Returns whether a text is a list of members (§3.3.1), each a key and a value, that may be
/// carried on.
fn is_state(text: &str) -> bool {
    if text.len() > MAX_STATE || text.split(',').count() > MAX_MEMBERS {
        return false;
    }
    let mut members =
        text.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty());
    let mut any = false;
    let all = members.all(|member| {
        any = true;
        member.split_once('=').is_some_and(|(key, value)| is_key(key) && is_value(value))
    });
    any && all
}

fn is_key(key: &str) -> bool {
    let is_begun = key.bytes().next().is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit());
    let is_meant = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte);
    is_begun && key.len() <= 256 && key.bytes().all(is_meant)
}

fn is_value(value: &str) -> bool {
    let is_meant = |byte: u8| matches!(byte, b' '..=b'~') && !b",=".contains(&byte);
    !value.is_empty() && value.len() <= 256 && value.bytes().all(is_meant)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn valid_context_is_written_as_it_was_read() {
        let context = TraceContext::parse(PARENT, Some("congo=t61rcWkgMzE,rojo@x=00f0")).unwrap();
        assert_eq!((context.traceparent().as_str(), context.state()), (PARENT, Some("congo=t61rcWkgMzE,rojo@x=00f0")));
        assert!(context.is_sampled());
        let again = TraceContext::new(context.trace_id(), context.span_id(), false).unwrap();
        assert_eq!(again.to_string(), PARENT.replace("-01", "-00"));
        assert!(!TraceContext::parse(&again.to_string(), None).unwrap().is_sampled());
    }

    #[test]
    fn later_version_is_read_as_the_first_one() {
        for later in [PARENT.replacen("00", "cc", 1), PARENT.replacen("00", "01", 1) + "-what-comes-next"] {
            assert_eq!(TraceContext::parse(&later, None).unwrap().to_string(), PARENT, "{later}");
        }
        // Unknown flags are not passed on.
        let flags = PARENT.replace("-01", "-ff");
        assert_eq!(TraceContext::parse(&flags, None).unwrap().to_string(), PARENT);
    }

    #[test]
    fn malformed_traceparents_are_not_read() {
        let zeros =
            |from: usize, until: usize| format!("{}{}{}", &PARENT[..from], "0".repeat(until - from), &PARENT[until..]);
        for malformed in [
            String::new(),
            PARENT[..54].to_owned(),
            format!("{PARENT}-"),
            format!("{PARENT} "),
            format!(" {PARENT}"),
            PARENT.to_uppercase(),
            PARENT.replace('-', "_"),
            PARENT.replacen("00", "ff", 1),
            PARENT.replacen("00", "01", 1) + "x",
            PARENT.replacen("4b", "4g", 1),
            PARENT.replace("-01", "-0"),
            "ä".repeat(28),
            zeros(3, 35),
            zeros(36, 52),
        ] {
            assert_eq!(TraceContext::parse(&malformed, Some("a=b")), None, "{malformed:?}");
        }
        assert_eq!(TraceContext::new([0; 16], [1; 8], true), None);
        assert_eq!(TraceContext::new([1; 16], [0; 8], true), None);
    }

    #[test]
    fn invalid_or_long_tracestate_is_left_out() {
        let longest = format!("a={},b={}", "x".repeat(255), "y".repeat(252));
        let members = |count: usize| vec!["a=b"; count].join(",");
        for state in ["a=b", "a=b, c=d", "1/a@b=!\"#~ x", longest.as_str(), &members(32)] {
            assert_eq!(TraceContext::parse(PARENT, Some(state)).unwrap().state(), Some(state), "{state}");
        }
        let long = format!("{longest}z");
        for state in ["", ",", " ", "a", "a=", "=b", "A=b", "a=b=c", "a=b\n", "a=ä", "-a=b", &long, &members(33)] {
            assert_eq!(TraceContext::parse(PARENT, Some(state)).unwrap().state(), None, "{state:?}");
        }
    }
}
