//! Faults of real processes: several nodes of the demo, a broker, clients that reconnect by
//! themselves, and an oracle that judges what each of them received.
//!
//! - [`broker`], [`node`], [`disk`]: the processes, and the disk that fills; [`proxy`]: the network
//!   between a node and its broker.
//! - [`cluster`]: the nodes, and which of them are ready; [`api`]: the interface of a node.
//! - [`population`]: the users and their rooms; [`client`]: one that reconnects by itself;
//!   [`sender`]: what is sent meanwhile.
//! - [`history`]: what was sent, and what a client saw; [`oracle`]: the comparison of both.
//! - [`world`]: all of that, running; [`fault`]: what happens to it; [`run`]: from the first event
//!   to the verdict; [`checks`]: readiness, presence and recovery; [`deploy`]: nodes that are
//!   replaced one after the other.

pub mod api;
pub mod broker;
pub mod checks;
pub mod client;
pub mod cluster;
pub mod deploy;
pub mod disk;
pub mod fault;
pub mod history;
pub mod node;
pub mod oracle;
pub mod population;
pub mod proxy;
pub mod run;
pub mod sender;
pub mod world;
