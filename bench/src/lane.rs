//! A server with its subscribers, and the server's CPU for each delivery of a fan-out.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::callgrind::{self, Callgrind};
use crate::child::{ServerProcess, Serving};
use crate::client::{Dial, Transport};
use crate::contest::Contestant;
use crate::server::control::{Command, Control};
use crate::server::{Audience, ServeOptions, user_name};
use crate::swarm::{Observer, Swarm};
use crate::{Error, Result};

/// The most publishes under way, and thus the most that one client can be ahead of another.
const MOST_UNDER_WAY: usize = 64;
/// The time that a publish may take to reach everyone.
const LATE: Duration = Duration::from_secs(20);

/// The publishes that have reached every client.
struct Arrivals {
    clients: usize,
    /// The number of clients that have received each of the newest events, by the event's number
    /// modulo the length.
    counts: [AtomicUsize; MOST_UNDER_WAY],
    /// A permit for each publish that may begin.
    free: Semaphore,
}

impl Observer for Arrivals {
    fn received(&self, number: u64, _: &[u8]) {
        let slot = usize::try_from(number % MOST_UNDER_WAY as u64).unwrap_or_default();
        if self.counts[slot].fetch_add(1, Ordering::AcqRel) + 1 == self.clients {
            self.counts[slot].store(0, Ordering::Release);
            self.free.add_permits(1);
        }
    }
}

/// The plan of a lane.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The name in tables and errors.
    pub name: &'static str,
    /// The server.
    pub options: ServeOptions,
    /// The clients' transports, in turn.
    pub transports: Vec<Transport>,
    /// The number of clients.
    pub clients: usize,
    /// Bytes of JSON in each event.
    pub size: usize,
    /// `true` if each client is a user of its own and a publish is a send to each user in turn,
    /// instead of one to all.
    pub targeted: bool,
    /// The file that callgrind, under which the server runs, writes its counts to; the server runs
    /// by itself if `None`.
    pub callgrind: Option<PathBuf>,
    /// The program of this package that serves, if it is not this one.
    pub program: Option<PathBuf>,
}

/// A server with its subscribers.
pub struct Lane {
    /// The name in tables and errors.
    pub name: &'static str,
    server: ServerProcess,
    control: Control,
    swarm: Swarm,
    arrivals: Arc<Arrivals>,
    callgrind: Option<Callgrind>,
}

/// The figures of one measurement.
#[derive(Clone, Copy)]
pub struct Sample {
    /// Microseconds of server CPU for each delivery.
    pub cpu: f64,
    /// Deliveries a second.
    pub rate: f64,
}

impl Plan {
    /// Creates a plan in which every client is of the contestant's transport, each publish is for
    /// all, and the server runs on these processors.
    #[must_use]
    pub fn new(contestant: &Contestant, clients: usize, size: usize, cpus: &[usize]) -> Self {
        let &Contestant { name, kind, transport } = contestant;
        // A peer has no providers of ours, and ignores them.
        let options = ServeOptions { kind, ..ServeOptions::ours(&[transport.provider()]).on(cpus) };
        Self {
            name,
            options,
            transports: vec![transport],
            clients,
            size,
            targeted: false,
            callgrind: None,
            program: None,
        }
    }
}

impl Lane {
    /// Starts the server, with its subscribers.
    ///
    /// # Errors
    /// When it does not start, or a client cannot connect.
    pub async fn open(plan: &Plan) -> Result<Self> {
        let &Plan { name, clients, size, targeted, .. } = plan;
        let under = plan.callgrind.as_deref().map(callgrind::command).unwrap_or_default();
        let serving = Serving { program: plan.program.as_deref(), under: &under };
        let server = ServerProcess::start_as(serving, &plan.options).await?;
        let mut control = server.control().await?;
        let users = targeted.then_some(clients);
        control.call(&Command::Prepare { size, users }).await?;
        let counts = std::array::from_fn(|_| AtomicUsize::new(0));
        let arrivals = Arc::new(Arrivals { clients, counts, free: Semaphore::new(0) });
        let address = server.addresses.http;
        let dial = |number: usize| {
            let transport = plan.transports[number % plan.transports.len()];
            Dial { user: targeted.then(|| user_name(number)), ..Dial::new(transport, address, number) }
        };
        let swarm = Swarm::connect(clients, dial, &arrivals).await.map_err(|error| format!("{name}: {error}"))?;
        let callgrind = plan.callgrind.clone().map(|output| Callgrind::new(server.process, output));
        Ok(Self { name, server, control, swarm, arrivals, callgrind })
    }

    /// Publishes for a duration, beginning a publish whenever fewer than this many are under way.
    ///
    /// # Errors
    /// When the server or a client is gone, an event does not arrive, or so many cannot be under
    /// way.
    pub async fn measure(&mut self, under_way: usize, time: Duration) -> Result<Sample> {
        if !(1..=MOST_UNDER_WAY).contains(&under_way) {
            return Err(format!("1 to {MOST_UNDER_WAY} publishes can be under way").into());
        }
        let cpu = self.server.process.cpu_time()?;
        let start = Instant::now();
        let deliveries = self.publish(under_way, |_| start.elapsed() < time).await?;
        let elapsed = start.elapsed();
        let cpu = self.server.process.cpu_time()?.saturating_sub(cpu);
        Ok(Sample { cpu: cpu.as_secs_f64() * 1e6 / deliveries, rate: deliveries / elapsed.as_secs_f64() })
    }

    /// Sends this many events to a user without a connection, one after the other; returns the
    /// microseconds of server CPU for each.
    ///
    /// # Errors
    /// When the server is gone, or a send fails.
    pub async fn measure_absent(&mut self, count: u32, size: usize) -> Result<f64> {
        let cpu = self.server.process.cpu_time()?;
        self.control.call(&Command::Burst { count, size, to: Audience::User("absent".to_owned()) }).await?;
        Ok(self.server.process.cpu_time()?.saturating_sub(cpu).as_secs_f64() * 1e6 / f64::from(count))
    }

    /// Publishes this many times, one after the other; returns the number of instructions that the
    /// server took for each delivery, without the kernel's.
    ///
    /// # Errors
    /// Those of [`Lane::measure`]; when the server does not run under callgrind.
    pub async fn instructions(&mut self, publishes: usize) -> Result<f64> {
        let mut counter = self.callgrind.take().ok_or("the server does not run under callgrind")?;
        counter.zero().await?;
        let deliveries = self.publish(1, |published| published < publishes).await?;
        let instructions = counter.dump().await?;
        self.callgrind = Some(counter);
        Ok(instructions / deliveries)
    }

    /// Publishes for as long as `goes_on` returns `true` for the number published, waits for the
    /// last one, and returns the number of deliveries.
    async fn publish(&mut self, under_way: usize, goes_on: impl Fn(usize) -> bool) -> Result<f64> {
        let Self { name, control, swarm, arrivals, .. } = self;
        let failed = |error: Error| format!("{name}: {error}");
        let most = u32::try_from(under_way)?;
        let mut published = 0;
        arrivals.free.add_permits(under_way);
        while goes_on(published) {
            wait(arrivals, 1).await.map_err(failed)?;
            control.publish_prepared().await?;
            published += 1;
        }
        wait(arrivals, most).await.map_err(failed)?;
        swarm.check().map_err(failed)?;
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
        Ok((published * arrivals.clients) as f64)
    }

    /// Closes the clients and the server.
    ///
    /// # Errors
    /// When the system fails to.
    pub async fn stop(self) -> Result<()> {
        drop(self.swarm);
        self.server.stop().await
    }
}

/// Takes permits as publishes end.
async fn wait(arrivals: &Arrivals, permits: u32) -> Result<()> {
    let permits = timeout(LATE, arrivals.free.acquire_many(permits)).await;
    permits.map_err(|_| "an event did not reach every client")??.forget();
    Ok(())
}
