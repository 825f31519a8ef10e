//! One server with its subscribers, and the server's CPU for each delivery of a fan-out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::child::ServerProcess;
use crate::client::{Dial, Transport};
use crate::server::control::{Command, Control};
use crate::server::{Kind, ServeOptions};
use crate::swarm::{Observer, Swarm};
use crate::{Error, Result};

/// The most publishes under way, and so the most that one client can be ahead of another.
pub const MOST_UNDER_WAY: usize = 64;
/// How long a publish may take to reach everyone.
const LATE: Duration = Duration::from_secs(20);

/// Knows which publishes have reached every client.
struct Arrivals {
    clients: usize,
    /// How many have received each of the newest events, by the event's number modulo the length.
    counts: [AtomicUsize; MOST_UNDER_WAY],
    /// One for each publish that may begin.
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

/// One server with its subscribers.
pub struct Lane {
    /// What it is called in tables and errors.
    pub name: &'static str,
    server: ServerProcess,
    control: Control,
    swarm: Swarm,
    arrivals: Arc<Arrivals>,
}

/// What one measurement showed.
#[derive(Clone, Copy)]
pub struct Sample {
    /// Microseconds of server CPU for each delivery.
    pub cpu: f64,
    /// Deliveries a second.
    pub rate: f64,
}

impl Lane {
    /// Starts a server of this kind on these processors, with its subscribers.
    ///
    /// # Errors
    /// When it does not start, or a client cannot connect.
    pub async fn open(
        name: &'static str,
        kind: Kind,
        transport: Transport,
        clients: usize,
        size: usize,
        cpus: &[usize],
    ) -> Result<Self> {
        let options =
            if kind == Kind::Ours { ServeOptions::ours(transport.provider()) } else { ServeOptions::peer(kind) };
        let server = ServerProcess::start(&options.on(cpus)).await?;
        let mut control = server.control().await?;
        control.call(&Command::Prepare { size }).await?;
        let counts = std::array::from_fn(|_| AtomicUsize::new(0));
        let arrivals = Arc::new(Arrivals { clients, counts, free: Semaphore::new(0) });
        let address = server.addresses().http;
        let dial = |number| Dial { transport, server: address, user: None, number, receive_buffer: None };
        let swarm = Swarm::connect(clients, dial, &arrivals).await.map_err(|error| format!("{name}: {error}"))?;
        Ok(Self { name, server, control, swarm, arrivals })
    }

    /// Publishes for a time, beginning a publish whenever fewer than this many (at most [`MOST_UNDER_WAY`]) are under way.
    ///
    /// # Errors
    /// When the server or a client is gone, or an event does not arrive.
    pub async fn measure(&mut self, under_way: usize, time: Duration) -> Result<Sample> {
        let Self { name, server, control, swarm, arrivals } = self;
        let failed = |error: Error| format!("{name}: {error}");
        let most = u32::try_from(under_way)?;
        let cpu = server.process().cpu_time()?;
        let start = Instant::now();
        let mut published = 0;
        arrivals.free.add_permits(under_way);
        while start.elapsed() < time {
            wait(arrivals, 1).await.map_err(failed)?;
            control.publish_prepared().await?;
            published += 1;
        }
        wait(arrivals, most).await.map_err(failed)?;
        let elapsed = start.elapsed();
        let cpu = server.process().cpu_time()?.saturating_sub(cpu);
        swarm.check().map_err(failed)?;
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
        let deliveries = (published * arrivals.clients) as f64;
        Ok(Sample { cpu: cpu.as_secs_f64() * 1e6 / deliveries, rate: deliveries / elapsed.as_secs_f64() })
    }

    /// Ends the clients and the server.
    ///
    /// # Errors
    /// What the system says.
    pub async fn stop(self) -> Result<()> {
        drop(self.swarm);
        self.server.stop().await
    }
}

/// Takes away permits as publishes end.
async fn wait(arrivals: &Arrivals, permits: u32) -> Result<()> {
    let permits = timeout(LATE, arrivals.free.acquire_many(permits)).await;
    permits.map_err(|_| "an event did not reach every client")??.forget();
    Ok(())
}
