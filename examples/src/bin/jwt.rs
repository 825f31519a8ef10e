//! JSON Web Tokens: a login that makes one, and connections with it, from a browser too, where no
//! token is in a URL. Open the printed address.
//!
//! `POST /login` with a name answers with a token of five minutes; a real login asks for a
//! password, and is another program, with another key, more often than not. The page opens a
//! WebSocket with the token as a subprotocol, and an event stream with a one-time ticket.

use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::response::Html;
use axum::routing::{get, post};
use clap::Parser;
use jsonwebtoken::{EncodingKey, Header, encode};
use realtime_unified::TicketConfig;
use realtime_unified::auth::{JwtAlgorithm, JwtAuthenticator, JwtClaims, JwtConfig, JwtKey};
use realtime_unified::prelude::*;
use serde_json::json;
use tokio::net::TcpListener;

const ISSUER: &str = "https://login.example";
const AUDIENCE: &str = "notifications";

#[derive(Parser)]
struct Args {
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:3008")]
    listen: SocketAddr,
    /// The secret that signs tokens, of at least 32 bytes.
    #[arg(long, default_value = "not a secret: everybody can read it here")]
    secret: String,
    /// The seconds for which a token is valid.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
}

#[derive(Clone)]
struct Login {
    key: EncodingKey,
    lifetime: Duration,
}

/// Makes a token for whoever says a name.
async fn login(State(login): State<Login>, name: String) -> Result<String, Rejection> {
    let exp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + login.lifetime;
    let claims = json!({
        "sub": name, "iss": ISSUER, "aud": AUDIENCE, "exp": exp.as_secs(),
        "rooms": ["lobby"], "role": if name == "ann" { "editor" } else { "reader" },
    });
    encode(&Header::default(), &claims, &login.key).map_err(|_| Refusal::bad_request("no such name").into())
}

/// Publishes to everybody in the lobby, for those whose token says that they may.
async fn publish(cx: Context, text: String) -> Result<Receipt, HandlerError> {
    let role: Option<String> = cx.identity().claims::<JwtClaims>().and_then(|claims| claims.get("role"));
    if role.as_deref() != Some("editor") {
        return Err(HandlerError::new("forbidden", "only editors publish"));
    }
    Ok(cx.to_room("lobby").send("published", &text).await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    realtime_examples::start_log();
    let tokens = JwtConfig::default()
        // Where the login is somebody else's: .with_jwks(Jwks::from_url("https://…/jwks.json"))
        .with_key(JwtKey::from_secret(JwtAlgorithm::Hs256, &args.secret)?)
        .with_issuer(ISSUER)
        .with_audience(AUDIENCE)
        .with_rooms_claim("rooms");
    let service = NotificationService::builder()
        .provider(SseProvider::default())
        .provider(WsProvider::default())
        .provider(SocketIoProvider::default())
        .authenticator(JwtAuthenticator::new(tokens)?)
        .tickets(TicketConfig::default())
        .on("publish", publish)
        .build()
        .await?;
    let key = EncodingKey::from_secret(args.secret.as_bytes());
    let lifetime = Duration::from_secs(args.seconds);
    let app =
        Router::new().route("/", get(Html(PAGE))).route("/login", post(login)).with_state(Login { key, lifetime });

    let listener = TcpListener::bind(args.listen).await?;
    let url = format!("http://{}", listener.local_addr()?);
    println!("listening on {url}");
    println!("try: curl -N -H \"authorization: Bearer $(curl -s -d ann {url}/login)\" {url}/sse");
    Ok(service.serve(listener, app, Drain::now()).await?)
}

const PAGE: &str = r#"<!doctype html>
<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Tokens</title>
<style>body { font: 1.2rem system-ui; margin: 3rem } li { margin: .4rem 0 }</style>
<h1>Tokens</h1>
<button id="ann">Log in as ann, who publishes</button> <button id="bob">as bob, who reads</button>
<button id="send" disabled>Publish</button>
<ul id="log"></ul>
<script>
  const show = (text) => document.getElementById('log').append(
    Object.assign(document.createElement('li'), { textContent: text }));

  async function login(name) {
    const token = await (await fetch('/login', { method: 'POST', body: name })).text();
    const socket = new WebSocket(`ws://${location.host}/ws`, ['bearer', token]);
    socket.onopen = () => show(`websocket open: ${socket.protocol}`);
    socket.onclose = ({ code }) => show(`websocket closed: ${code}`);
    socket.onmessage = ({ data }) => {
      const { type, payload } = JSON.parse(data);
      show(`websocket ${type}: ${payload.message ?? payload}`);
    };
    const headers = { authorization: `Bearer ${token}` };
    const { ticket } = await (await fetch('/ticket', { method: 'POST', headers })).json();
    const source = new EventSource(`/sse?ticket=${ticket}`);
    for (const name of ['connected', 'published']) {
      source.addEventListener(name, ({ data }) => show(`sse ${name}: ${JSON.parse(data).message ?? JSON.parse(data)}`));
    }
    source.onerror = () => source.readyState === EventSource.CLOSED && show('sse closed: log in again');
    document.getElementById('send').onclick = () => socket.send(JSON.stringify({ type: 'publish', payload: 'hello' }));
    document.getElementById('send').disabled = false;
  }
  for (const name of ['ann', 'bob']) document.getElementById(name).onclick = () => login(name);
</script>
"#;
