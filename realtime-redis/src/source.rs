//! Where the primary of a log is: a server that is named, or one that sentinels or a cluster know.

use redis::io::tcp::TcpSettings;
use redis::{Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, Value};

use crate::entries::{into_array, into_text};
use crate::error::Fault;
use crate::limit::{RESPONSE, within};

/// The servers that know where the primary is.
#[derive(Clone)]
pub(crate) enum Source {
    /// The primary itself.
    Server(ConnectionInfo),
    /// Sentinels; the host of the primary is the name by which they know it.
    Sentinels { sentinels: Vec<ConnectionInfo>, primary: ConnectionInfo },
    /// Servers of a cluster; the primary is that of the shard with this key.
    Cluster { servers: Vec<ConnectionInfo>, key: String },
}

impl Source {
    /// Asks one server after the other for the primary.
    pub(crate) async fn locate(&self) -> Result<ConnectionInfo, Fault> {
        let mut last = Fault::Unexpected("no server that knows the primary");
        match self {
            Self::Server(info) => return Ok(info.clone()),
            Self::Sentinels { sentinels, primary } => {
                for sentinel in sentinels {
                    match of_sentinel(sentinel, primary).await {
                        Ok(found) => return Ok(found),
                        Err(error) => last = error,
                    }
                }
            }
            Self::Cluster { servers, key } => {
                for server in servers {
                    match of_cluster(server, key).await {
                        Ok(found) => return Ok(found),
                        Err(error) => last = error,
                    }
                }
            }
        }
        Err(last)
    }
}

/// Creates a client of this server.
pub(crate) fn client(info: ConnectionInfo) -> Result<Client, Fault> {
    let address = info.addr().to_string();
    Client::open(info).map_err(|error| Fault::Connect { address, error })
}

/// Reads a URL.
pub(crate) fn read(url: &str) -> Result<ConnectionInfo, Fault> {
    // What the library says of a URL is not repeated, so that no part of a password can be in it.
    let invalid = || Fault::Config("the URL of Redis cannot be read; expected redis://host:port".to_owned());
    let info: ConnectionInfo = url.into_connection_info().map_err(|_| invalid())?;
    if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        // An error means that the application has installed one, which is used then.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    // The answers of RESP3 have other shapes, and a blocked reader needs nothing of it.
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
    let info = info.set_redis_settings(settings).set_tcp_settings(TcpSettings::default().set_nodelay(true));
    client(info.clone()).map_err(|_| invalid())?;
    Ok(info)
}

/// Reads URLs, of which there must be one at least.
pub(crate) fn read_all(urls: &[&str]) -> Result<Vec<ConnectionInfo>, Fault> {
    if urls.is_empty() {
        return Err(Fault::Config("no URL of Redis".to_owned()));
    }
    urls.iter().map(|url| read(url)).collect()
}

async fn of_sentinel(sentinel: &ConnectionInfo, primary: &ConnectionInfo) -> Result<ConnectionInfo, Fault> {
    let (ConnectionAddr::Tcp(name, _) | ConnectionAddr::TcpTls { host: name, .. }) = primary.addr() else {
        return Err(Fault::Config("the URL of the primary has no host that names it".to_owned()));
    };
    let mut command = redis::cmd("SENTINEL");
    command.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    match ask(sentinel, &[command]).await?.pop() {
        Some(Value::Array(address)) => with_address(primary, address),
        _ => Err(Fault::Config(format!("the sentinel at {} knows no primary \"{name}\"", sentinel.addr()))),
    }
}

async fn of_cluster(server: &ConnectionInfo, key: &str) -> Result<ConnectionInfo, Fault> {
    let (mut slot, mut slots) = (redis::cmd("CLUSTER"), redis::cmd("CLUSTER"));
    slot.arg("KEYSLOT").arg(key);
    slots.arg("SLOTS");
    let answers: [Value; 2] =
        ask(server, &[slot, slots]).await?.try_into().map_err(|_| Fault::Unexpected("an answer is missing"))?;
    let [Value::Int(slot), slots] = answers else { return Err(Fault::Unexpected("not a slot")) };
    for range in into_array(slots)? {
        let mut range = into_array(range)?.into_iter();
        if let (Some(Value::Int(first)), Some(Value::Int(last)), Some(primary)) =
            (range.next(), range.next(), range.next())
            && (first..=last).contains(&slot)
        {
            return with_address(server, into_array(primary)?);
        }
    }
    Err(Fault::Unexpected("no server has the shard of the log"))
}

/// Sends commands to a server on a connection of their own.
async fn ask(server: &ConnectionInfo, commands: &[Cmd]) -> Result<Vec<Value>, Fault> {
    // Neither sentinels nor clusters have databases.
    let settings = server.redis_settings().clone().set_db(0);
    let client = client(server.clone().set_redis_settings(settings))?;
    let answers = async {
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut answers = Vec::with_capacity(commands.len());
        for command in commands {
            answers.push(command.query_async::<Value>(&mut connection).await?);
        }
        Ok(answers)
    };
    let address = server.addr().to_string();
    within(&address, RESPONSE, answers).await.map_err(|fault| match fault {
        Fault::Redis(error) => Fault::Connect { address: address.clone(), error },
        other => other,
    })
}

/// Returns the same connection to another host and port.
fn with_address(info: &ConnectionInfo, address: Vec<Value>) -> Result<ConnectionInfo, Fault> {
    let mut parts = address.into_iter();
    let (Some(host), Some(port)) = (parts.next(), parts.next()) else {
        return Err(Fault::Unexpected("an address without host and port"));
    };
    let port = match port {
        Value::Int(port) => u16::try_from(port).ok(),
        port => into_text(port)?.parse().ok(),
    };
    let (host, port) = (into_text(host)?, port.ok_or(Fault::Unexpected("an address without a port"))?);
    let address = match info.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
        }
        _ => ConnectionAddr::Tcp(host, port),
    };
    Ok(info.clone().set_addr(address))
}
