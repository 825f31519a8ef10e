//! Credentials that end, with an hour's lives compressed: connections whose clients refresh their
//! tokens in place while events flow lose and double nothing, and every connection ends at its
//! expiry.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use clap::Parser;
use realtime_bench::Result;
use realtime_bench::program::{self, Setup, until};
use realtime_bench::report::Report;
use realtime_unified::prelude::*;
use realtime_wire::{ClientMessage, ConnectOptions, Connection, ServerMessage, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// The longest time by which a connection may end before or after its expiry.
const TOLERANCE: Duration = Duration::from_secs(1);
/// The notice before an expiry is this part of a token's life.
const NOTICE: u32 = 4;
const TRANSPORTS: [Transport; 3] = [Transport::Sse, Transport::Ws, Transport::SocketIo];

#[derive(Clone, Copy, Parser)]
struct Args {
    /// Connections for each transport that refresh their tokens
    #[arg(long, default_value_t = 500)]
    connections: usize,
    /// Connections for each transport that do not
    #[arg(long, default_value_t = 100)]
    silent: usize,
    /// The life of a token, in milliseconds
    #[arg(long, default_value_t = 12_000)]
    life_ms: u64,
    /// The time for which tokens are refreshed, in seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Events to everyone, per second
    #[arg(long, default_value_t = 10)]
    rate: u32,
}

/// The parameters and counters that the clients of a run share.
struct Run {
    address: SocketAddr,
    life: Duration,
    /// The number of clients that are connected.
    connected: AtomicUsize,
    /// The number of events that were sent.
    sent: AtomicU64,
    /// The number of seconds after `start` at which refreshing ends.
    refreshing: Duration,
    start: Instant,
}

/// The observations of one client.
#[derive(Default)]
struct Life {
    /// The connection's id.
    id: String,
    refreshes: u64,
    /// The number of the next event.
    next: u64,
    lost: u64,
    doubled: u64,
    /// The code of the event `closed`, where the transport has it.
    code: Option<u64>,
    /// The times between which the connection is to end.
    expected: Option<(Instant, Instant)>,
    ended: Option<Instant>,
}

fn main() -> ExitCode {
    let sockets = |args: &Args| 2 * TRANSPORTS.len() * (args.connections + args.silent) + 100;
    let setup = |args: &Args| Setup { pin: false, sockets: sockets(args), seconds: args.seconds + 120 };
    program::main(setup, async |args: Args, _| measure(args).await)
}

async fn measure(args: Args) -> Result<bool> {
    let life = Duration::from_millis(args.life_ms);
    let (service, address) = serve_with(life).await?;
    let run = Arc::new(Run {
        address,
        life,
        connected: AtomicUsize::new(0),
        sent: AtomicU64::new(0),
        refreshing: Duration::from_secs(args.seconds),
        start: Instant::now(),
    });
    println!(
        "{} connections for each transport with tokens of {life:?} that are refreshed for {} s, {} that are not",
        args.connections, args.seconds, args.silent
    );
    let mut clients = JoinSet::new();
    for transport in TRANSPORTS {
        for number in 0..args.connections + args.silent {
            let run = Arc::clone(&run);
            let refreshes = number < args.connections;
            clients.spawn(async move {
                let lived = live(&run, transport, number, refreshes).await;
                lived.map(|life| (transport, refreshes, life))
            });
        }
    }
    let all = clients.len();
    // All of them before the first token ends.
    until(life, "every client is connected", || run.connected.load(Ordering::Relaxed) == all).await?;
    send_events(&run, &service, args.rate).await?;
    let mut lives = Vec::new();
    while let Some(lived) = clients.join_next().await {
        lives.push(lived??);
    }
    let mut report = Report::default();
    judge(&args, &run, &service, &lives, &mut report);
    service.shutdown(Drain::now()).await;
    Ok(report.holds())
}

/// Serves a service whose tokens have this life: `user.anything`.
async fn serve_with(life: Duration) -> Result<(NotificationService, SocketAddr)> {
    let notice = life / NOTICE;
    let service = NotificationService::builder()
        .provider(SseProvider::new(SseConfig::default().with_expiry_notice(notice)))
        .provider(WsProvider::new(WsConfig::default().with_expiry_notice(notice)))
        .provider(SocketIoProvider::new(SocketIoConfig::default().with_expiry_notice(notice)))
        .authenticator(move |request: ConnectRequest| std::future::ready(identify(&request, life)))
        .build()
        .await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(serve(listener, service.router()).into_future());
    Ok((service, address))
}

/// Identifies the user that a token names, for a token's life.
fn identify(request: &ConnectRequest, life: Duration) -> Result<Identity, Refusal> {
    let token = request.token().ok_or_else(|| Refusal::unauthorized("no token"))?;
    let user = token.split('.').next().unwrap_or_default();
    Ok(Identity::user(user).with_expiry(SystemTime::now() + life))
}

/// Sends numbered events to everyone for as long as tokens are refreshed.
async fn send_events(run: &Run, service: &NotificationService, rate: u32) -> Result<()> {
    let end = run.start + run.refreshing;
    let mut next = Instant::now();
    while next < end {
        sleep_until(next).await;
        service.to_all("tick", &run.sent.load(Ordering::Relaxed)).await?;
        run.sent.fetch_add(1, Ordering::Relaxed);
        next += Duration::from_secs(1) / rate.max(1);
    }
    Ok(())
}

/// Connects one client, and reads until its connection ends.
async fn live(run: &Run, transport: Transport, number: usize, refreshes: bool) -> Result<Life> {
    // Not all at the same moment, so that the listener's queue is no part of the measurement.
    sleep(Duration::from_micros(500) * number as u32).await;
    let user = format!("{transport}-{number}");
    let options = ConnectOptions { query: format!("token={user}.0"), ..ConnectOptions::default() };
    let mut connection = Connection::new(transport, &options);
    let mut stream = TcpStream::connect(run.address).await?;
    let mut life = Life::default();
    let mut asked = Instant::now();
    let mut buffer = vec![0; 16 * 1024];
    while life.ended.is_none() {
        let outgoing = std::mem::take(connection.outgoing(0));
        stream.write_all(&outgoing).await?;
        let length = stream.read(&mut buffer).await?;
        let mut messages = Vec::new();
        connection.feed(0, &buffer[..length], &mut |received| {
            messages.push(received.parse()?);
            Ok(())
        })?;
        for message in messages {
            let wants_refresh = life.see(message, run, asked)?;
            if !wants_refresh || !refreshes || run.start.elapsed() >= run.refreshing {
                continue;
            }
            asked = Instant::now();
            let token = format!("{user}.{}", life.refreshes + 1);
            if transport == Transport::Sse {
                refresh_stream(run.address, &life.id, &token).await?;
                life.refreshed(run, asked);
            } else {
                connection.send(&ClientMessage::Refresh { token, ack: 7 });
            }
        }
        if length == 0 {
            life.ended.get_or_insert_with(Instant::now);
        }
    }
    Ok(life)
}

impl Life {
    /// Notes a message; returns whether the token is to be refreshed.
    fn see(&mut self, message: ServerMessage, run: &Run, asked: Instant) -> Result<bool> {
        match message {
            ServerMessage::Close => self.ended = Some(Instant::now()),
            ServerMessage::Cursor(_) => {}
            ServerMessage::Refused(what) => return Err(format!("refused: {what}").into()),
            ServerMessage::Reply { ok: false, .. } => return Err("a refresh was refused".into()),
            ServerMessage::Reply { .. } => self.refreshed(run, asked),
            ServerMessage::Event { name, data, .. } => match name.as_str() {
                "closed" => self.code = data["code"].as_u64(),
                "connected" => {
                    self.id = data["connectionId"].as_str().unwrap_or_default().to_owned();
                    self.expected = Some((asked + run.life, Instant::now() + run.life));
                    run.connected.fetch_add(1, Ordering::Relaxed);
                }
                "expiring" => return Ok(true),
                "tick" => self.count(data.as_u64().ok_or("a tick without a number")?),
                other => return Err(format!("an unexpected event {other}").into()),
            },
        }
        Ok(false)
    }

    fn refreshed(&mut self, run: &Run, asked: Instant) {
        self.refreshes += 1;
        self.expected = Some((asked + run.life, Instant::now() + run.life));
    }

    fn count(&mut self, number: u64) {
        self.lost += number.saturating_sub(self.next);
        self.doubled += u64::from(number < self.next);
        self.next = self.next.max(number + 1);
    }

    /// Returns by how much the connection ended too early, or too late.
    fn deviation(&self) -> Duration {
        let (Some((from, to)), Some(ended)) = (self.expected, self.ended) else { return Duration::MAX };
        from.saturating_duration_since(ended).max(ended.saturating_duration_since(to))
    }
}

/// Refreshes the token of a stream by a request of its own.
async fn refresh_stream(address: SocketAddr, id: &str, token: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!("POST /sse/refresh?connectionId={id} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    stream.write_all(format!("{head}authorization: Bearer {token}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(format!("a refresh was refused: {answer}").into()) }
}

fn judge(
    args: &Args,
    run: &Run,
    service: &NotificationService,
    lives: &[(Transport, bool, Life)],
    report: &mut Report,
) {
    report.table(18, &["clients", "number", "refreshes", "events", "lost", "doubled", "off the expiry, ms"]);
    for transport in TRANSPORTS {
        for refreshes in [true, false] {
            let of = lives.iter().filter(|(t, r, _)| (*t, *r) == (transport, refreshes)).map(|(_, _, life)| life);
            judge_clients(run, transport, refreshes, &of.collect::<Vec<_>>(), report);
        }
        let stats = service.stats();
        let stats = stats.get(transport.provider());
        let (connected, closed) =
            stats.map_or((0, 0), |stats| (stats.connected, stats.closed.get(&4001).copied().unwrap_or(0)));
        let all = (args.connections + args.silent) as u64;
        let what = format!("{transport}: each connected once, and ended by expiry");
        report.require((connected, closed) == (all, all), &what);
    }
}

fn judge_clients(run: &Run, transport: Transport, refreshes: bool, of: &[&Life], report: &mut Report) {
    let sum = |part: fn(&Life) -> u64| of.iter().map(|life| part(life)).sum::<u64>();
    let fewest = of.iter().map(|life| life.refreshes).min().unwrap_or(0);
    let off = of.iter().map(|life| life.deviation()).max().unwrap_or_default();
    let name = format!("{transport}, {}", if refreshes { "refreshing" } else { "silent" });
    report.row(&[
        name.clone(),
        of.len().to_string(),
        fewest.to_string(),
        sum(|life| life.next).to_string(),
        sum(|life| life.lost).to_string(),
        sum(|life| life.doubled).to_string(),
        off.as_millis().to_string(),
    ]);
    report.require(sum(|life| life.lost + life.doubled) == 0, &format!("{name}: nothing lost, nothing doubled"));
    report.require(off <= TOLERANCE, &format!("{name}: each connection ends at its expiry"));
    let codes = of.iter().all(|life| transport == Transport::Ws || life.code == Some(4001));
    report.require(codes, &format!("{name}: the last event is `closed` with 4001"));
    if refreshes {
        let sent = run.sent.load(Ordering::Relaxed);
        let all = of.iter().all(|life| life.next == sent);
        report.require(all, &format!("{name}: each has all {sent} events"));
        // Each notice comes a token's life after the one before, less the notice.
        let between = run.life - run.life / NOTICE;
        let least = (run.refreshing.as_millis() / between.as_millis()).saturating_sub(1) as u64;
        report.require(fewest >= least, &format!("{name}: each was refreshed {least} times"));
    }
}
