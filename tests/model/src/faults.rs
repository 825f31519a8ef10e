//! Restarts of the process, and losses of its log.

use std::time::Duration;

use realtime_core::Drain;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::log_spy::of_another_node;
use crate::player::Flow;
use crate::schedule::{Kind, Loss};
use crate::server::Server;
use crate::world::World;

impl World {
    /// The log loses records, and the process is not notified.
    pub(crate) async fn lose(&mut self, loss: Loss) -> Result<(), String> {
        // Records that were not applied yet cannot be missed.
        while !self.server.spy.is_applied() && self.reference.lost_since().is_none() {
            tokio::task::yield_now().await;
        }
        self.observe_hooks()?;
        // Otherwise no record is lost, and the tail of this log would only end.
        let is_lost = loss.records.is_none_or(|records| records > 0 && self.reference.log().end() > 0);
        if is_lost { self.lose_records(loss).await } else { Ok(()) }
    }

    async fn lose_records(&mut self, loss: Loss) -> Result<(), String> {
        let kept = loss.records.map(|records| self.reference.hidden_end().saturating_sub(records));
        let numbers = self.reference.lose(kept, loss.others);
        let others =
            numbers.iter().map(|number| of_another_node(Kind::Plain.name(), &json!({ "n": number, "pad": "" })));
        let others: Result<_, _> = others.collect();
        let lost = self.server.spy.lose(kept, others.map_err(|error| error.to_string())?).await;
        let end = self.reference.hidden_end();
        self.note(|| format!("  the log ends at {end}, of which {kept:?} are the old ones"));
        lost.map_err(|error| error.to_string())
    }

    /// Waits until the process has applied every record, or has begun a new life with what it
    /// finds.
    pub(crate) async fn applied(&mut self) -> Result<(), String> {
        while !self.server.spy.is_applied() {
            if self.reference.lost_since().is_some() {
                self.wait(Duration::from_millis(20)).await?;
            } else {
                tokio::task::yield_now().await;
                self.observe_hooks()?;
            }
        }
        self.observe_hooks()
    }

    pub(crate) async fn restart(&mut self, drain: Option<u64>, loss: Option<Loss>) -> Result<(), String> {
        let flowing = self.players.iter().filter(|player| player.flow == Flow::Flowing);
        let links = flowing.filter_map(|player| player.link.as_ref()).map(|link| link.serial);
        let undisturbed: Vec<usize> = links.filter(|serial| !self.reference.conns[*serial].may_end()).collect();
        (0..self.players.len()).for_each(|client| self.disturb(client));
        let mut resume_at = Instant::now();
        if let Some(seconds) = drain {
            self.digest.paused = true;
            // The connection that is closed last decides when the drain is over, and that is
            // random.
            resume_at += Duration::from_secs(seconds + 10);
            self.serves_until = Some(Instant::now() + Duration::from_secs(seconds));
            let shutdown =
                tokio::spawn(self.server.shutdown(Drain::over(Duration::from_secs(seconds)).with_hold(Duration::ZERO)));
            while !shutdown.is_finished() {
                self.flow().await?;
                sleep(Duration::from_millis(20)).await;
                self.look()?;
            }
            self.flow().await?;
            // A client that has always read has received everything before it was closed.
            for serial in undisturbed {
                let conn = &self.reference.conns[serial];
                if conn.connected && !conn.outdated {
                    let end = self.reference.log().end();
                    self.reference.check_gap(serial, end).map_err(|what| format!("#{serial} drained: {what}"))?;
                }
            }
            self.reference.cover("drained restart");
        } else {
            self.reference.cover("restart without a drain");
        }
        self.stop().await?;
        tokio::time::sleep_until(resume_at).await;
        self.digest.paused = false;
        self.serves_until = None;
        for absence in self.server.spy.unapplied() {
            self.reference.unapplied(&absence)?;
        }
        if let Some(loss) = loss {
            self.lose_records(loss).await?;
        }
        let spy = self.server.spy.clone();
        self.server = Server::start(&self.setup, spy.clone(), self.begun).await.map_err(|error| error.to_string())?;
        let epoch = spy.epoch().ok_or("the log was not asked for its epoch")?;
        self.reference.restart(epoch, spy.from());
        self.observe_log()
    }
}
