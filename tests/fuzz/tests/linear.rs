//! The time that a target takes grows with its input, and not with its square.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use realtime_fuzz::TARGETS;
use rustix::time::{ClockId, clock_gettime};

const SHORT: usize = 4 * 1024;
/// The factor by which the other input is longer, and the greatest factor by which it may take
/// longer.
const TIMES: usize = 8;
const MOST: f64 = 4.0 * TIMES as f64;
/// The time in seconds below which a run is not compared.
const LEAST: f64 = 0.005;

/// The pieces that are repeated in each format: nesting, many fields, escapes, separators, empty
/// frames.
const ANY: &[&[u8]] = &[b"[", b"\"a\":1,", b"\\", b"\"", b"\n", b","];
const JSON: &[&[u8]] = &[b"{\"a\":", b"1,", b"\\ud800", b"\"\\\"", b"\xe2\x80\xa8", b"\r"];
const FRAMES: &[&[u8]] = &[b"\x01\x80\0\0\0\0", b"\0\x80\0\0\0\0", b"\x81\x85\0\0\0\x0042[7]", b"\x89\x80\0\0\0\0"];
const PACKETS: &[&[u8]] = &[b"\x1e", b"\x1e42[7]", b"\x1e42[\"\\u0061\"]", b"{\"_placeholder\":"];
const QUERY: &[&[u8]] = &[b"&", b"&channel=a", b"&sid=x", b"&t=1", b"%41"];
const HEADERS: &[&[u8]] = &[b"; a=b", b",for=10.0.0.1", b"\nx10.0.0.1, 10.0.0.2", b"\\\"", b"10.0.0.1,"];

type Pieces = &'static [&'static [u8]];

/// The beginnings of each target's inputs, and what is repeated behind them.
const INPUTS: &[(&str, Pieces, Pieces)] = &[
    ("cursor", &[b"", b"\x03"], &[b"AAAA"]),
    ("events", &[b"\x03a\n\"", b"\x03a\n"], JSON),
    ("http_request", &[b"a\nfby=\"", b"a\nx1.2.3.4", b"a\nca=b"], HEADERS),
    ("http_request", &[b"a"], QUERY),
    ("json", &[b"", b"\""], JSON),
    ("record", &[b"", b"\x01\0\0\0\xff\xff"], JSON),
    ("socketio_frames", &[b"\x40\x80\xc0"], FRAMES),
    ("socketio_packet", &[b"\x40\x80\xc042[\"a\",", b"\x40\x80\xc042[\""], PACKETS),
    ("socketio_packet", &[b"\x40\x80\xc042[\"a\","], JSON),
    ("socketio_query", &[b"\x03EIO=4&transport=polling"], QUERY),
    ("ws_envelope", &[b"\xff{\"type\":\"a\",\"payload\":[", b"\xff{\"type\":\"a\",\"payload\":\""], JSON),
    ("ws_frames", &[b"\x40\x80\xc0"], FRAMES),
];

#[test]
fn time_is_linear_in_the_input() {
    for (name, beginnings, units) in INPUTS {
        let target = TARGETS.iter().find(|target| target.name == *name).unwrap();
        for beginning in *beginnings {
            units.iter().chain(ANY).for_each(|unit| check(name, target.run, beginning, unit));
        }
    }
}

fn check(name: &str, run: fn(&[u8]), beginning: &[u8], unit: &[u8]) {
    let input = |size| [beginning, &unit.repeat(size / unit.len())].concat();
    let (short, long) = (input(SHORT), input(SHORT * TIMES));
    let took = seconds(run, &long);
    if took < LEAST {
        return;
    }
    // Measured again only where it matters: something else may have taken the time.
    if took <= seconds(run, &short) * MOST {
        return;
    }
    let least = (0..3).map(|_| seconds(run, &short)).fold(f64::MAX, f64::min);
    let again = (0..3).map(|_| seconds(run, &long)).fold(took, f64::min);
    let (before, unit) = (beginning.escape_ascii(), unit.escape_ascii());
    assert!(again <= least * MOST, "{name}: {before}{unit}…: {again} s for {TIMES} times {least} s");
}

/// Returns the processor's time that this thread takes.
fn seconds(run: fn(&[u8]), input: &[u8]) -> f64 {
    let now = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
    };
    let start = now();
    run(input);
    now() - start
}
