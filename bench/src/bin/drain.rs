//! A deploy with many clients: the first of two servers behind one port is drained, and its clients
//! reconnect to the second one.

use std::collections::BTreeMap;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use clap::Parser;
use realtime_bench::Result;
use realtime_bench::child::ServerProcess;
use realtime_bench::client::{CLOSED, Transport};
use realtime_bench::closings::{Closings, most_within};
use realtime_bench::crowd::{Crowd, End, Journey, Visit};
use realtime_bench::program::{self, Setup};
use realtime_bench::relay::RelayProcess;
use realtime_bench::report::Report;
use realtime_bench::server::control::Command;
use realtime_bench::server::{Audience, ServeOptions};
use tokio::time::{Instant, sleep};

/// The distance that the closings of one tenth of the time may be from even.
const EVEN: f64 = 0.2;
/// The time beyond the drain that the server may take to end: a second for the last clients, one
/// for plain requests, and one for a machine that has other things to do.
const END: Duration = Duration::from_secs(3);
/// The time that after that the last client may take to reconnect.
const BACK: Duration = Duration::from_secs(10);
/// The time that an event may take to reach everyone.
const REACH: Duration = Duration::from_secs(20);
/// The time for which the program waits for events that must not arrive.
const SILENCE: Duration = Duration::from_millis(500);
/// The time that an event may take from its publisher to a client.
const READ: Duration = Duration::from_millis(500);
/// Bytes of JSON in each event.
const SIZE: usize = 100;
/// Events to everyone before the drain, and after it.
const BEFORE: u64 = 3;
const AFTER: u64 = 20;
/// Events a second to everyone during the drain.
const RATE: u32 = 1;
/// The number of the first event of the second server.
const SECOND: u64 = 1_000_000;

#[derive(Parser)]
struct Args {
    /// Clients over event streams
    #[arg(long, default_value_t = 2000)]
    sse: usize,
    /// Clients over raw WebSocket
    #[arg(long, default_value_t = 2000)]
    ws: usize,
    /// Clients over Socket.IO
    #[arg(long, default_value_t = 1000)]
    socketio: usize,
    /// Seconds over which the first server disconnects its clients
    #[arg(long, default_value_t = 10)]
    drain: u32,
}

fn main() -> ExitCode {
    let setup = |args: &Args| Setup { pin: false, sockets: args.clients() * 2, seconds: 180 + u64::from(args.drain) };
    program::main(setup, async |args: Args, _| measure(&args).await)
}

impl Args {
    fn clients(&self) -> usize {
        self.sse + self.ws + self.socketio
    }

    fn mix(&self) -> [(Transport, usize); 3] {
        [(Transport::Sse, self.sse), (Transport::Ws, self.ws), (Transport::Socketio, self.socketio)]
    }
}

/// Runs the deploy, and returns whether everything holds.
async fn measure(args: &Args) -> Result<bool> {
    let clients = args.clients();
    let over = Duration::from_secs(args.drain.into());
    let mut first = ServerProcess::start(&serve(over)).await?;
    let second = ServerProcess::start(&serve(over)).await?;
    let relay = RelayProcess::start(&[first.addresses.http, second.addresses.http], clients).await?;
    let crowd = Crowd::gather(relay.address, &args.mix()).await?;
    println!(
        "{clients} connections ({} sse, {} ws, {} socket) to the first of two servers behind one port",
        args.sse, args.ws, args.socketio
    );
    let mut control = first.control().await?;
    expect("connections of the first server", control.report().await?.connections(), clients as u64)?;

    control.call(&numbered(BEFORE, None, 0)).await?;
    crowd.received(REACH, clients * usize::try_from(BEFORE)?).await?;
    let drained = Instant::now();
    first.terminate()?;
    let during = u64::from(RATE * args.drain).saturating_sub(2);
    let sending = tokio::spawn(async move { control.call(&numbered(during, Some(RATE), BEFORE)).await });
    let status = first.ended().await?;
    let took = drained.elapsed();
    let published = sending.await??.published;
    crowd.visits(BACK, clients * 2).await?;

    let mut control = second.control().await?;
    expect("connections of the second server", control.report().await?.connections(), clients as u64)?;
    let before: usize =
        crowd.journeys().map(|journey| journey.visits.iter().map(|visit| visit.events.len()).sum::<usize>()).sum();
    control.call(&numbered(AFTER, None, SECOND)).await?;
    crowd.received(REACH, before + clients * usize::try_from(AFTER)?).await?;
    sleep(SILENCE).await;
    let run = Run { args, over, drained, status, took, published: published + BEFORE };
    run.judge(&crowd)
}

fn serve(over: Duration) -> ServeOptions {
    ServeOptions { drain_ms: Some(over.as_millis() as u64), ..ServeOptions::ours(&["sse", "ws", "socket"]) }
}

/// Returns the command for events to everyone with numbers from this one on.
fn numbered(count: u64, rate: Option<u32>, first: u64) -> Command {
    Command::Numbered { count, rate, series: vec![(Audience::All, first)], size: SIZE }
}

fn expect(what: &str, is: u64, should: u64) -> Result<()> {
    if is == should { Ok(()) } else { Err(format!("{what}: {is} instead of {should}").into()) }
}

/// The server's side of the deploy.
struct Run<'a> {
    args: &'a Args,
    over: Duration,
    drained: Instant,
    status: ExitStatus,
    took: Duration,
    /// Events of the first server.
    published: u64,
}

impl Run<'_> {
    /// Prints the figures, and returns whether all of them are as they must be.
    fn judge(&self, crowd: &Crowd) -> Result<bool> {
        let mut report = Report::default();
        self.judge_closings(crowd, &mut report)?;
        println!("first server: {} after {:.2} s", self.status, self.took.as_secs_f64());
        report.require(self.status.code() == Some(0), "the first server ends with code 0");
        report.require(self.took <= self.over + END, "the first server ends in time");
        self.judge_reconnects(crowd, &mut report);
        self.judge_events(crowd, &mut report);
        Ok(report.holds())
    }

    fn judge_reconnects(&self, crowd: &Crowd, report: &mut Report) {
        let clients = self.args.clients();
        let delayed = count(crowd, |journey| journey.visits[0].delay.is_some());
        let back = count(crowd, |journey| journey.visits.len() == 2 && journey.visits[1].end.is_none());
        let epoch = count(crowd, |journey| {
            let last = &journey.visits[journey.visits.len() - 1];
            last.welcome.contains(r#""resumed":false"#) && last.welcome.contains(r#""reason":"epoch""#)
        });
        println!(
            "clients: {delayed} of {clients} received a delay to reconnect after, {back} reconnected to the second \
             server by themselves, {epoch} received `resumed: false, reason: \"epoch\"`"
        );
        report.require(delayed == clients, "every client receives a delay to reconnect after");
        report.require(back == clients, "every client reconnects, and stays");
        report.require(epoch == clients, "every client receives the reason");

        let failures = crowd.failures();
        let refused: usize = failures.values().sum();
        println!("attempts that were rejected: {refused} {failures:?}");
        report.require(refused * 50 <= clients, "at most one attempt of 50 comes before the port knows of the drain");
        let mut arrivals: Vec<_> = crowd.journeys().filter_map(|journey| Some(journey.visits.get(1)?.since)).collect();
        arrivals.sort_unstable();
        let last = arrivals.last().map_or(0.0, |last| (*last - self.drained).as_secs_f64());
        println!(
            "handshakes at the second server: at most {} within one second; the last client was back after {last:.2} s",
            most_within(&arrivals, Duration::from_secs(1))
        );
    }

    fn judge_events(&self, crowd: &Crowd, report: &mut Report) {
        let clients = self.args.clients();
        let sent: BTreeMap<u64, u64> = crowd.journeys().flat_map(|journey| journey.visits[0].events.clone()).collect();
        let complete = count(crowd, |journey| self.has_all_of_first(journey, &sent));
        let once = count(crowd, |journey| {
            journey.visits.len() == 2 && in_order(&journey.visits[1]).eq(SECOND..SECOND + AFTER)
        });
        let lost: u64 =
            crowd.journeys().map(|journey| journey.visits.iter().map(|visit| visit.lost).sum::<u64>()).sum();
        println!(
            "events: {} over the first server, complete and in order until the close for {complete} clients; {AFTER} \
             over the second one, each once and in order for {once}",
            self.published
        );
        report.require(sent.len() as u64 == self.published, "each of the first server's events reaches a client");
        report.require(complete == clients, "the first server's events reach every client that is still connected");
        report.require(once == clients, "the second server's events reach everyone once");
        report.require(lost == 0, "no client is notified of lost events");
    }

    fn judge_closings(&self, crowd: &Crowd, report: &mut Report) -> Result<()> {
        let mut ends = Vec::new();
        for journey in crowd.journeys() {
            let Some(End { at, how, .. }) = journey.visits.first().and_then(|visit| visit.end.as_ref()) else {
                return Err("a client's first connection has not ended".into());
            };
            report.require(how == CLOSED, &format!("every close is one of the protocol, not: {how}"));
            ends.push((journey.transport, *at - self.drained));
        }
        let tenth = self.over / 10;
        println!("closings in each tenth of {:?}:", self.over);
        let of = |wanted: Option<Transport>| {
            let ends = ends.iter().filter(|(transport, _)| wanted.is_none_or(|wanted| *transport == wanted));
            Closings::new(ends.map(|(_, after)| *after), tenth)
        };
        let kinds = Transport::ALL.map(|transport| (transport.provider(), of(Some(transport))));
        for (name, closings) in kinds.into_iter().chain([("all", of(None))]) {
            if closings.is_empty() {
                continue;
            }
            let worst = closings.worst();
            println!("  {name:7} {closings}   worst {:+.1} %", worst * 100.0);
            report.require(worst.abs() <= EVEN, &format!("{name}: closings even within {:.0} %", EVEN * 100.0));
        }
        Ok(())
    }

    /// Returns whether a client got the first server's events without a gap until it was
    /// disconnected.
    fn has_all_of_first(&self, journey: &Journey, sent: &BTreeMap<u64, u64>) -> bool {
        let visit = &journey.visits[0];
        let Some(end) = &visit.end else { return false };
        let without_gap = in_order(visit).eq(0..visit.events.len() as u64);
        // Events of the last moment may have been sent after the client was closed.
        let sure = sent.values().filter(|at| **at + READ.as_micros() as u64 <= end.clock).count();
        without_gap && visit.events.len() >= sure
    }
}

/// Returns the numbers of the events on a connection.
fn in_order(visit: &Visit) -> impl Iterator<Item = u64> {
    visit.events.iter().map(|(number, _)| *number)
}

/// Counts the clients for which something holds.
fn count(crowd: &Crowd, holds: impl Fn(&Journey) -> bool) -> usize {
    crowd.journeys().filter(|journey| holds(journey)).count()
}
