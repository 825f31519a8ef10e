//! The programs whose answer does not depend on the machine's speed, with few clients.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;

/// Runs a program; returns whether it succeeds, and what it prints.
fn run(program: &str, arguments: &str) -> (bool, String) {
    let output = Command::new(program).args(arguments.split(' ')).output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(printed).unwrap())
}

fn resume(arguments: &str) -> (bool, String) {
    let few = "--rooms 3 --members 4 --events 10 --over-ms 50 --rounds 2 --no-pin";
    run(env!("CARGO_BIN_EXE_resume"), &format!("{few} {arguments}"))
}

fn behind(arguments: &str) -> String {
    let few = "behind --clients 10 --stalled 2 --seconds 1 --pairs 1 --no-pin";
    // Its times mean nothing here, and so its exit code does not either.
    run(env!("CARGO_BIN_EXE_stall"), &format!("{few} {arguments}")).1
}

#[test]
fn every_resumed_client_gets_what_it_missed() {
    let ways = ["joined", "named"].map(|by| format!("--by {by} --transports ws,sse,socketio"));
    let programs = ways.map(|way| std::thread::spawn(move || resume(&way)));
    for (holds, printed) in programs.map(|program| program.join().unwrap()) {
        assert!(holds, "{printed}");
        let line = "48 of 48 returns resumed; 240 events replayed, 0 missing, 0 repeated or out of order";
        assert_eq!(printed.matches(line).count(), 3, "{printed}");
    }
}

#[test]
fn resume_reports_a_window_that_is_too_small() {
    let (holds, printed) = resume("--window 20");
    assert!(!holds, "{printed}");
    // Clients that missed nothing are resumed, the others are not.
    assert!(printed.contains("24 of 48 returns resumed; 0 events replayed, 240 missing"), "{printed}");
    assert!(printed.contains("FAILED"), "{printed}");
}

#[test]
fn every_stalled_client_gets_all_that_the_window_has() {
    let transports = ["ws", "sse", "socketio"].map(|transport| format!("--transports {transport}"));
    // At the same time, for most of it is waiting.
    let programs = transports.map(|transport| std::thread::spawn(move || behind(&transport)));
    for printed in programs.map(|program| program.join().unwrap()) {
        assert!(
            printed.contains("2 of 2 stalled clients got exactly their 138 events, once and in order"),
            "{printed}"
        );
        assert!(printed.contains("window of 64 records: 2 of 2 were notified of the right loss"), "{printed}");
    }
}

#[test]
fn behind_reports_a_loss_that_was_not_expected() {
    let printed = behind("--small-window 100000");
    let wrong = "0 of 2 were notified of the right loss";
    assert!(printed.contains(wrong) && printed.contains("FAILED: they are notified"), "{printed}");
}

#[test]
fn refreshed_connections_lose_nothing_and_end_at_their_expiry() {
    let (holds, printed) =
        run(env!("CARGO_BIN_EXE_tokens"), "--connections 20 --silent 5 --life-ms 4000 --seconds 7 --rate 50");
    assert!(holds, "{printed}");
    assert!(!printed.contains("FAILED") && printed.contains("socketio, refreshing"), "{printed}");
}
