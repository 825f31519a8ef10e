use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use realtime_socketio::*;

#[derive(Default)]
struct Out { queue: VecDeque<Frame>, waker: Option<Waker>, end: Option<Farewell> }
#[derive(Clone, Default)]
struct Outbox(Arc<Mutex<Out>>);
impl Outbox {
    fn push(&self, f: Frame) { let mut o = self.0.lock().unwrap(); o.queue.push_back(f); let w = o.waker.take(); drop(o); if let Some(w) = w { w.wake() } }
    fn end(&self, f: Farewell) { let mut o = self.0.lock().unwrap(); o.end = Some(f); let w = o.waker.take(); drop(o); if let Some(w) = w { w.wake() } }
}
struct Src(Outbox);
impl Source for Src {
    fn poll_take(&mut self, cx: &mut Context<'_>, room: Window, into: &mut VecDeque<Frame>) -> Poll<Result<(), Farewell>> {
        let mut o = self.0.0.lock().unwrap();
        let mut bytes = 0;
        while into.len() < room.packets && bytes < room.bytes {
            let Some(f) = o.queue.pop_front() else { break };
            bytes += f.packet.len();
            into.push_back(f);
        }
        if !into.is_empty() { return Poll::Ready(Ok(())) }
        if let Some(end) = o.end.take() { return Poll::Ready(Err(end)) }
        o.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
struct In { queue: Mutex<VecDeque<Received>>, tx: tokio::sync::Notify, max: AtomicUsize }
impl Inlet for Arc2 { 
    fn accept(&self, r: Received) { let mut q = self.0.queue.lock().unwrap(); q.push_back(r); self.0.max.fetch_max(q.len(), SeqCst); drop(q); self.0.tx.notify_one(); }
    fn answer(&self, i: u64, a: Arguments) { self.1.push(Frame::from(Encoded::event("a", &[Part::Json(&format!("[{i},{}]", std::str::from_utf8(&a.json).unwrap()))], None))); }
    fn malformed(&self, e: Malformed) { println!("malformed {e}"); }
    fn is_full(&self) -> bool { self.0.queue.lock().unwrap().len() >= 64 }
}
struct Arc2(Arc<In>, Outbox);
fn num(r: &Received) -> u64 { let v: serde_json::Value = serde_json::from_slice(&r.arguments.json).unwrap(); v.as_u64().or(v[0].as_u64()).unwrap() }
struct App { conns: Mutex<HashMap<usize, Outbox>>, next: AtomicUsize, ended: Mutex<Vec<String>> }
struct Acc(Arc<App>);
#[async_trait]
impl Acceptor for Acc {
    async fn accept(&self, offer: Offer<'_>) -> Result<Accepted, String> {
        let auth: serde_json::Value = offer.auth.map(|a| serde_json::from_str(a).unwrap()).unwrap_or_default();
        if auth["bad"] == true { return Err("unauthorized: bad token".into()) }
        let app = self.0.clone();
        let id = app.next.fetch_add(1, SeqCst);
        let outbox = Outbox::default();
        outbox.push(Frame::from(Encoded::event("connected", &[Part::Json(&format!("{{\"id\":{id}}}"))], None)));
        if let Some(n) = auth["burst"].as_u64() { for i in 0..n { outbox.push(ev(i)); } }
        app.conns.lock().unwrap().insert(id, outbox.clone());
        let inlet = Arc::new(In { queue: Default::default(), tx: Default::default(), max: AtomicUsize::new(0) });
        let (i2, o2, c2) = (inlet.clone(), outbox.clone(), offer.carrier.clone());
        let worker = tokio::spawn(async move {
            let mut n = 0u64; let mut bad = 0; let mut delay = 0;
            loop {
                let r = i2.queue.lock().unwrap().pop_front();
                if i2.queue.lock().unwrap().len() < 64 { c2.resume(); }
                let Some(r) = r else { i2.tx.notified().await; continue };
                match r.name.as_str() {
                    "n" => { let v: u64 = num(&r); if v != n { bad += 1; } n = v + 1; if delay > 0 && v % 64 == 0 { tokio::time::sleep(Duration::from_millis(delay)).await; } 
                        if let Some(a) = r.ack { o2.push(Frame::from(Encoded::ack(a, &[Part::Json(&format!("{v}"))]))); } }
                    "delay" => { delay = num(&r); }
                    "report" => { let max = i2.max.load(SeqCst); o2.push(Frame::from(Encoded::ack(r.ack.unwrap(), &[Part::Json(&format!("{{\"n\":{n},\"bad\":{bad},\"max\":{max}}}"))]))); }
                    "burst" => { let k: u64 = num(&r); let t = Instant::now(); for i in 0..k { o2.push(ev(i)); } println!("burst {k} pushed in {:?}", t.elapsed()); }
                    "bin" => {
                        let b = r.arguments.attachments.clone();
                        let parts: Vec<_> = b.into_iter().map(Part::Binary).collect();
                        o2.push(Frame::from(Encoded::event("bin", &parts, Some("cur"))));
                        if let Some(a) = r.ack { o2.push(Frame::from(Encoded::ack(a, &parts))); }
                    }
                    "askme" => { for i in 0..num(&r) { o2.push(Frame { packet: Encoded::event("q", &[Part::Json(&i.to_string())], None), ask: Some(i) }); } }
                    "kick" => o2.end(Farewell::Final),
                    "reset" => o2.end(Farewell::Reconnect),
                    "bigburst" => { let k: u64 = num(&r); let pad = "x".repeat(1000); for i in 0..k { o2.push(Frame::from(Encoded::event("e", &[Part::Json(&i.to_string()), Part::Json(&format!("\"{pad}\""))], None))); } }
                    "flood" => { let k: u64 = num(&r); let pad = "x".repeat(4000); for _ in 0..k { o2.push(Frame::from(Encoded::event("f", &[Part::Json(&format!("\"{pad}\""))], None))); } }
                    _ => println!("other {} {:?}", r.name, r.arguments),
                }
            }
        });
        let a2 = app.clone();
        Ok(Accepted { inlet: Arc::new(Arc2(inlet, outbox.clone())), source: Box::new(Src(outbox)), ended: Box::new(move |e| { worker.abort(); a2.conns.lock().unwrap().remove(&id); println!("ended {id} {e:?}"); a2.ended.lock().unwrap().push(format!("{e:?}")); }) })
    }
}
fn ev(i: u64) -> Frame { Frame::from(Encoded::event("e", &[Part::Json(&i.to_string())], Some("v1-abcdefgh-123"))) }

#[tokio::main]
async fn main() {
    let arg = |n: &str, d: u64| std::env::var(n).ok().and_then(|v| v.parse().ok()).unwrap_or(d);
    let app = Arc::new(App { conns: Default::default(), next: AtomicUsize::new(0), ended: Default::default() });
    let config = EngineConfig { ping_interval: Duration::from_millis(arg("PING", 25000)), ping_timeout: Duration::from_millis(arg("PONG", 20000)), write_stall: Duration::from_millis(arg("STALL", 30000)), max_message: arg("MAX", 1 << 20) as usize, connect_timeout: Duration::from_millis(arg("CT", 10000)), ..EngineConfig::default() };
    let server = Server::new(&config, Arc::new(Acc(app.clone())));
    let s2 = server.clone();
    let (a3, s3) = (app.clone(), server.clone());
    let router = axum::Router::new().route_service("/socket.io/", server.service())
        .route("/stat", axum::routing::get(move || async move { format!("{{\"conns\":{},\"sessions\":{},\"ended\":{}}}", a3.conns.lock().unwrap().len(), s3.sessions(), serde_json::to_string(&*a3.ended.lock().unwrap()).unwrap()) }))
        .route("/all/{n}", axum::routing::get(move |axum::extract::Path(n): axum::extract::Path<u64>| { let app = app.clone(); async move { let cs: Vec<_> = app.conns.lock().unwrap().values().cloned().collect(); let e = Encoded::event("e", &[Part::Json("{\"msg\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}")], Some("v1-abcdefgh-123")); for _ in 0..n { for c in &cs { c.push(Frame::from(e.clone())); } } "ok" } }))
        .route("/room/{n}", axum::routing::get({ let s5 = server.clone(); move |axum::extract::Path(n): axum::extract::Path<u64>| async move { for _ in 0..n { let _ = s5.io().of("/").unwrap().broadcast().emit("e", &(serde_json::json!({"msg":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}), "v1-abcdefgh-123")).await; } "ok" } }))
        .route("/close", axum::routing::get(move || async move { let t = Instant::now(); s2.close().await; format!("{:?} {}", t.elapsed(), s2.sessions()) }));
    let l = tokio::net::TcpListener::bind(("127.0.0.1", arg("PORT", 0) as u16)).await.unwrap();
    let buf = arg("SNDBUF", 0); let low = arg("LOWAT", 0);
    println!("{}", l.local_addr().unwrap());
    use axum::serve::ListenerExt;
    let l = l.tap_io(move |tcp| { let _ = tcp.set_nodelay(true); if buf > 0 { socket2::SockRef::from(&*tcp).set_send_buffer_size(buf as usize).unwrap(); } if low > 0 { socket2::SockRef::from(&*tcp).set_tcp_notsent_lowat(low as u32).unwrap(); } });
    axum::serve(l, router).await.unwrap();
}
