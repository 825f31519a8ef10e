//! Many publishers, joins and leaves, and clients that read fast, slowly or not at all and resume
//! with their cursor: each sees exactly what the log holds for it, in the log's order.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Client, CoreProvider, Logged, SeededRng, in_time, note, read_log, runtime};
use futures_util::future::join_all;
use realtime_core::spi::Cursor;
use realtime_core::{
    MemoryBackplane, OutboxConfig, RealtimeBroadcast, RealtimeProvider, RoomMembership, Target, WindowConfig,
};
use realtime_testkit::conformance::{ClientUnderTest, Setup, Visitor};

const USERS: [&str; 4] = ["ann", "bob", "cid", "dee"];
const TENANTS: [&str; 2] = ["acme", "globex"];
/// Rooms that users are joined to and removed from while events are sent.
const ROOMS: [&str; 3] = ["red", "green", "blue"];
/// Rooms that clients name themselves with each connect.
const NAMED: [&str; 2] = ["north", "south"];
const END: &str = "end";

/// The identity of a client over all its connections, and what it received.
struct Watcher {
    user: &'static str,
    tenant: &'static str,
    rooms: Vec<&'static str>,
    /// The position of the first connect.
    from: u64,
    seen: Vec<(u64, String)>,
    resumes: usize,
}

fn random_target(dice: &mut SeededRng) -> Target {
    let user = USERS[dice.below(USERS.len())];
    let tenant = TENANTS[dice.below(TENANTS.len())];
    let room = if dice.one_in(3) { NAMED[dice.below(NAMED.len())] } else { ROOMS[dice.below(ROOMS.len())] };
    let target = match dice.below(8) {
        0 => Target::all(),
        1 => Target::tenant(tenant),
        2 | 3 => Target::user(user),
        4 => Target::user_in(tenant, user),
        5 => Target::room_in(tenant, room),
        _ => Target::room(room),
    };
    if dice.one_in(6) { target.except_user(USERS[dice.below(USERS.len())]) } else { target }
}

async fn publish(node: CoreProvider, name: usize, count: usize, mut dice: SeededRng) {
    for n in 0..count {
        let receipt = node.dispatcher.send(random_target(&mut dice), note(&format!("{name}-{n}"))).await.unwrap();
        assert!(receipt.position.is_some());
        if dice.one_in(10) {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }
}

/// Joins the user to random rooms and removes it again.
async fn join_and_leave(node: CoreProvider, user: &'static str, count: usize, mut dice: SeededRng) {
    for _ in 0..count {
        let room = ROOMS[dice.below(ROOMS.len())];
        if dice.one_in(2) {
            node.dispatcher.join_room(user, room).await.unwrap();
        } else {
            node.dispatcher.leave_room(user, room).await.unwrap();
        }
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
}

/// Runs a client that reconnects at random until it receives [`END`].
async fn watch(nodes: Vec<CoreProvider>, finishing: Arc<AtomicBool>, mut dice: SeededRng) -> Watcher {
    let user = USERS[dice.below(USERS.len())];
    let tenant = TENANTS[dice.below(TENANTS.len())];
    let rooms: Vec<_> = NAMED.into_iter().filter(|_| dice.one_in(2)).collect();
    let mut visitor = Visitor::user(user).with_tenant(tenant);
    visitor.rooms = rooms.iter().map(|room| (*room).to_owned()).collect();
    let mut watcher = Watcher { user, tenant, rooms, from: 0, seen: Vec::new(), resumes: 0 };
    loop {
        let node = &nodes[dice.below(nodes.len())];
        if let Some(cursor) = &visitor.cursor {
            // A node that is behind the cursor's node does not know the position yet.
            let position = cursor.parse::<Cursor>().unwrap().position();
            crate::support::eventually("the node catches up", || node.dispatcher.hub().applied() >= position).await;
        }
        let admitted = node.admit(visitor.clone()).await.unwrap();
        let mut client = if dice.one_in(2) {
            Client::by_sink(&node.dispatcher, admitted)
        } else {
            Client::by_session(&node.dispatcher, admitted)
        };
        let welcome = in_time("the connected event", client.next()).await.unwrap();
        assert_eq!(welcome.name, "connected");
        assert_eq!(welcome.payload["resumed"], visitor.cursor.is_some(), "{welcome:?}");
        if visitor.cursor.is_none() {
            watcher.from = welcome.cursor.as_ref().unwrap().parse::<Cursor>().unwrap().position().get();
        } else {
            watcher.resumes += 1;
            assert_eq!(welcome.cursor, visitor.cursor);
        }
        visitor.cursor = welcome.cursor;
        loop {
            let is_finishing = finishing.load(Ordering::Relaxed);
            match dice.below(60) {
                0 if !is_finishing => break,
                1 if !is_finishing => tokio::time::sleep(Duration::from_millis(10)).await,
                2..=6 => tokio::task::yield_now().await,
                _ => {}
            }
            let received = match tokio::time::timeout(Duration::from_millis(50), client.next()).await {
                Ok(received) => received.unwrap(),
                // No event at the moment: choose again.
                Err(_) => continue,
            };
            visitor.cursor.clone_from(&received.cursor);
            match received.name.as_str() {
                "cursor" => {}
                "note" => {
                    let position = received.cursor.unwrap().parse::<Cursor>().unwrap().position().get();
                    let label = received.payload.as_str().unwrap().to_owned();
                    if label == END {
                        return watcher;
                    }
                    watcher.seen.push((position, label));
                }
                _ => panic!("{received:?}"),
            }
        }
    }
}

/// Returns what this watcher receives according to the log.
fn expected(watcher: &Watcher, log: &[Logged]) -> Vec<(u64, String)> {
    let mut joined: HashMap<&str, bool> = HashMap::new();
    let mut expected = Vec::new();
    for record in log {
        for (kind, is_in) in [("join", true), ("leave", false)] {
            let change = &record.kind[kind];
            if change["user"] == watcher.user {
                joined.insert(change["room"].as_str().unwrap(), is_in);
            }
        }
        let Some(target) = record.kind["event"].get("target") else { continue };
        let scope = &target["scope"];
        let in_tenant = |scope: &serde_json::Value| scope["tenant"].is_null() || scope["tenant"] == watcher.tenant;
        let matches = if scope == "all" {
            true
        } else if let Some(tenant) = scope.get("tenant") {
            tenant == watcher.tenant
        } else if let Some(user) = scope.get("user") {
            user["name"] == watcher.user && in_tenant(user)
        } else {
            let room = scope["room"]["name"].as_str().unwrap();
            let member = watcher.rooms.contains(&room) || joined.get(room).copied().unwrap_or_default();
            member && in_tenant(&scope["room"])
        };
        let except =
            target["except_users"].as_array().is_some_and(|users| users.iter().any(|user| user == watcher.user));
        if matches && !except && record.position > watcher.from {
            expected.push((record.position, serde_json::from_slice(&record.payload).unwrap()));
        }
    }
    assert_eq!(expected.pop().map(|(_, label)| label), Some(END.to_owned()));
    expected
}

/// Runs publishers, joins, leaves and watchers over `node_count` nodes, and compares each watcher
/// with the log.
async fn run(node_count: usize, mut dice: SeededRng) {
    let backplane = MemoryBackplane::new(100_000);
    let setup = Setup::default()
        .with_outbox(OutboxConfig::default().with_frames(8).with_bytes(1024))
        .with_limits(realtime_core::Limits::default().with_connections_per_user(1_000))
        .with_window(WindowConfig::default().with_records(100_000));
    let mut nodes = Vec::new();
    for _ in 0..node_count {
        nodes.push(CoreProvider::attached(setup.clone(), runtime().with_backplane(backplane.clone())).await);
    }
    let finishing = Arc::new(AtomicBool::new(false));
    let watchers: Vec<_> =
        (0..24).map(|_| tokio::spawn(watch(nodes.clone(), Arc::clone(&finishing), dice.split()))).collect();
    let mut work = Vec::new();
    for name in 0..6 {
        work.push(tokio::spawn(publish(nodes[name % node_count].clone(), name, 300, dice.split())));
    }
    for user in USERS {
        work.push(tokio::spawn(join_and_leave(nodes[dice.below(node_count)].clone(), user, 100, dice.split())));
    }
    for done in join_all(work).await {
        done.unwrap();
    }
    finishing.store(true, Ordering::Relaxed);
    nodes[0].dispatcher.to_all(note(END)).await.unwrap();
    let watchers = in_time("all watchers", join_all(watchers)).await;
    let log = read_log(&backplane).await;
    let mut resumes = 0;
    for watcher in watchers {
        let watcher = watcher.unwrap();
        resumes += watcher.resumes;
        let expected = expected(&watcher, &log);
        let wrong = expected.iter().zip(&watcher.seen).position(|(expected, seen)| expected != seen);
        assert!(
            expected == watcher.seen,
            "{} of {} in {:?} from {}: {} instead of {} events, the first wrong one at {wrong:?}: {:?} instead of {:?}",
            watcher.user,
            watcher.tenant,
            watcher.rooms,
            watcher.from,
            watcher.seen.len(),
            expected.len(),
            wrong.map(|at| &watcher.seen[at]),
            wrong.map(|at| &expected[at]),
        );
    }
    let overflows: u64 = nodes.iter().map(|node| node.stats().overflows).sum();
    println!("{} records, {resumes} resumes, {overflows} overflows", log.len());
    assert!(
        resumes > 0 && overflows > 0,
        "too few resumes ({resumes}) or overflows ({overflows}) for a meaningful test"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_client_sees_exactly_what_the_log_holds() {
    run(1, SeededRng::new("one node")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_that_change_nodes_see_exactly_what_the_log_holds() {
    run(2, SeededRng::new("two nodes")).await;
}
