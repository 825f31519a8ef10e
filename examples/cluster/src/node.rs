//! One node: a demo as a child process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::child;
use crate::upstream;

/// The time that a node has until it prints its address.
const START: Duration = Duration::from_secs(30);
/// The interval between two probes of its readiness, and the longest time of one.
const PROBE: Duration = Duration::from_millis(200);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// A node; it may be started again after its end.
pub(crate) struct Node {
    name: String,
    program: PathBuf,
    args: Vec<String>,
    /// Locked only briefly, never across an await.
    state: Mutex<State>,
    /// The current order to the process.
    order: watch::Sender<Order>,
}

/// An order to a node's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Run,
    /// End in order, by SIGTERM.
    Stop,
    /// End at once, by SIGKILL.
    Kill,
}

/// The phase of a node's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Phase {
    Ended,
    Running,
    Starting,
    Stopping,
}

/// The known state of a node.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    phase: Phase,
    /// The address, the same after each start.
    address: Option<SocketAddr>,
    pid: Option<u32>,
    /// `true` if the last probe of `/readyz` was answered with 200.
    ready: bool,
    /// The health in the last answer.
    health: Value,
    /// The exit status of the last process as text, or the error of the wait for its end.
    ended: Option<String>,
}

impl Node {
    pub(crate) fn new(name: String, program: PathBuf, mut args: Vec<String>) -> Self {
        args.extend(["--node".to_owned(), name.clone()]);
        let state =
            State { phase: Phase::Ended, address: None, pid: None, ready: false, health: Value::Null, ended: None };
        Self { name, program, args, state: Mutex::new(state), order: watch::Sender::new(Order::Run) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn snapshot(&self) -> State {
        self.state().clone()
    }

    /// Returns the address of a running node.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        let state = self.state();
        state.address.filter(|_| matches!(state.phase, Phase::Running | Phase::Stopping))
    }

    pub(crate) fn url(&self) -> Option<String> {
        self.state().address.map(|address| format!("http://{address}"))
    }

    /// Returns the address, if new connections may go to this node.
    pub(crate) fn ready_address(&self) -> Option<SocketAddr> {
        let ready = self.state().ready;
        self.address().filter(|_| ready)
    }

    /// Notes that the node has refused a connection.
    pub(crate) fn mark_unreachable(&self) {
        self.state().ready = false;
    }

    /// Starts the process, and waits until it accepts connections.
    ///
    /// # Errors
    /// When it is started already, or ends before it accepts connections.
    pub(crate) async fn start(self: &Arc<Self>) -> Result<(), String> {
        let listen = {
            let mut state = self.state();
            if state.phase != Phase::Ended {
                return Err(format!("{} is not ended", self.name));
            }
            state.phase = Phase::Starting;
            state.address.map_or_else(|| "127.0.0.1:0".to_owned(), |address| address.to_string())
        };
        self.order.send_replace(Order::Run);
        let started = self.spawn(&listen).await;
        if started.is_err() {
            self.state().phase = Phase::Ended;
        }
        started
    }

    async fn spawn(self: &Arc<Self>, listen: &str) -> Result<(), String> {
        let mut command = Command::new(&self.program);
        command.args(["--listen", listen, "--hold", "1", "--drain", "2"]).args(&self.args);
        if std::env::var_os("RUST_LOG").is_none() {
            command.env("RUST_LOG", "warn");
        }
        // In a group of its own: ctrl-C is for this program, which ends the nodes.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let failed = |error| format!("cannot start {}: {error}", self.program.display());
        let mut child = command.spawn().map_err(failed)?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        child.stderr.take().into_iter().for_each(|errors| drop(tokio::spawn(print(self.name.clone(), errors))));
        let address = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(address) = line.strip_prefix("listening on http://") {
                    return address.parse::<SocketAddr>().ok();
                }
            }
            None
        };
        let Ok(Some(address)) = timeout(START, address).await else {
            let ended = child::end(child).await.map_or_else(String::new, |status| format!(" ({status})"));
            return Err(format!("{} did not start{ended}: its own messages are above", self.name));
        };
        {
            let mut state = self.state();
            (state.phase, state.address, state.pid) = (Phase::Running, Some(address), child.id());
            (state.ready, state.health, state.ended) = (false, Value::Null, None);
        }
        tokio::spawn(Arc::clone(self).follow(child, address));
        self.probe(address).await;
        Ok(())
    }

    /// Asks the process to end in order.
    pub(crate) fn stop(&self) {
        let mut state = self.state();
        if state.phase == Phase::Running {
            state.phase = Phase::Stopping;
        }
        drop(state);
        self.order.send_replace(Order::Stop);
    }

    /// Kills the process.
    pub(crate) fn kill(&self) {
        self.order.send_replace(Order::Kill);
    }

    /// Waits until a process that has started has ended.
    pub(crate) async fn ended(&self) {
        while matches!(self.state().phase, Phase::Running | Phase::Stopping) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Follows a process until its end: carries out orders, and probes its readiness.
    async fn follow(self: Arc<Self>, mut child: Child, address: SocketAddr) {
        let mut orders = self.order.subscribe();
        orders.mark_changed();
        let probes = async {
            loop {
                tokio::time::sleep(PROBE).await;
                self.probe(address).await;
            }
        };
        tokio::pin!(probes);
        let ended = loop {
            tokio::select! {
                ended = child.wait() => break ended,
                Ok(()) = orders.changed() => match *orders.borrow_and_update() {
                    Order::Run => {}
                    Order::Stop => child::terminate(&child),
                    Order::Kill => drop(child.start_kill()),
                },
                () = &mut probes => {}
            }
        };
        let mut state = self.state();
        (state.phase, state.ready, state.pid) = (Phase::Ended, false, None);
        state.ended = Some(ended.map_or_else(|error| error.to_string(), |status| status.to_string()));
    }

    async fn probe(&self, address: SocketAddr) {
        let answer = timeout(PROBE_TIMEOUT, upstream::get_json(address, "/readyz")).await;
        let (ready, health) = match answer {
            Ok(Ok((status, body))) => (status.is_success(), body),
            Ok(Err(_)) | Err(_) => (false, Value::Null),
        };
        let mut state = self.state();
        (state.ready, state.health) = (ready, health);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prints what a node logs, each line with the node's name.
async fn print(name: String, errors: impl AsyncRead + Unpin) {
    let mut lines = BufReader::new(errors).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        eprintln!("[{name}] {line}");
    }
}
