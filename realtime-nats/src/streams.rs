//! The streams of a service, and their settings.

use std::time::Duration;

use realtime_core::NodeId;
use serde_json::{Value, json};

use crate::api::{self, Requests};
use crate::config::NatsConfig;
use crate::error::{Fault, code};

/// The age at which a key leaves its stream, as long as none has to be kept for longer.
const MIN_KEYS_AGE: Duration = Duration::from_secs(300);
/// The longest time for which a key is kept.
pub(crate) const MAX_KEYS_AGE: Duration = Duration::from_secs(24 * 3600);

/// The names of a service's streams and subjects.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub(crate) prefix: String,
    /// The stream of the life, of users' rooms, of how far they are known to be complete, and of
    /// revoked tokens.
    pub(crate) state: String,
    pub(crate) keys: String,
    pub(crate) probe: String,
    /// The stream of the directory.
    pub(crate) nodes: String,
    /// The subject of the pipe to all nodes.
    pub(crate) pipe: String,
}

impl Names {
    pub(crate) fn new(prefix: &str) -> Self {
        let stream = |name: &str| format!("{prefix}_{name}");
        Self {
            prefix: prefix.to_owned(),
            state: stream("state"),
            keys: stream("keys"),
            probe: stream("probe"),
            nodes: stream("nodes"),
            pipe: format!("{prefix}.pipe"),
        }
    }

    pub(crate) fn log(&self, life: &str) -> String {
        format!("{}_log_{life}", self.prefix)
    }

    /// Returns the subject of the records that change no rooms.
    pub(crate) fn events(&self, life: &str) -> String {
        format!("{}.log.{life}.events", self.prefix)
    }

    /// Returns the subject of the records that change rooms.
    pub(crate) fn changes(&self, life: &str) -> String {
        format!("{}.log.{life}.rooms", self.prefix)
    }

    /// Returns the subjects of all lives' records.
    pub(crate) fn logs(&self) -> String {
        format!("{}.log.>", self.prefix)
    }

    pub(crate) fn life(&self) -> String {
        format!("{}.state.life", self.prefix)
    }

    /// Returns the subject of the position up to which all changes of rooms are in their values.
    pub(crate) fn complete(&self, life: &str) -> String {
        format!("{}.state.complete.{life}", self.prefix)
    }

    /// Returns the subject of a user's rooms, or `>` for those of all.
    pub(crate) fn rooms(&self, life: &str, user: &str) -> String {
        format!("{}.state.rooms.{life}.{user}", self.prefix)
    }

    /// Returns the subject of a revoked token, or `>` for all.
    pub(crate) fn revoked(&self, token: &str) -> String {
        format!("{}.state.revoked.{token}", self.prefix)
    }

    /// Returns the subject of a key, or `>` for all.
    pub(crate) fn key(&self, life: &str, key: &str) -> String {
        format!("{}.keys.{life}.{key}", self.prefix)
    }

    pub(crate) fn probe(&self) -> String {
        format!("{}.probe", self.prefix)
    }

    /// Returns the subject of a node's entry in the directory, or of all with `>`.
    pub(crate) fn node(&self, node: &str, entry: &str) -> String {
        format!("{}.nodes.{node}.{entry}", self.prefix)
    }

    /// Returns the subject of the pipe to one node.
    pub(crate) fn pipe_to(&self, node: NodeId) -> String {
        format!("{}.{node}", self.pipe)
    }

    /// Returns the settings of the streams that every life shares.
    pub(crate) fn shared(&self, config: &NatsConfig) -> [Value; 4] {
        let values = |name: &str, subject: &str, storage: &str| {
            json!({
                "name": name,
                "subjects": [format!("{}.{subject}", self.prefix)],
                "storage": storage,
                "max_msgs_per_subject": 1,
                "num_replicas": config.replicas,
                "retention": "limits",
                "discard": "old",
            })
        };
        let mut keys = values(&self.keys, "keys.>", "file");
        keys["max_msgs"] = config.bounds.keys.into();
        keys["max_age"] = nanos(MIN_KEYS_AGE).into();
        let mut probe = values(&self.probe, "probe", "file");
        probe["max_msgs"] = 1.into();
        let mut nodes = values(&self.nodes, "nodes.>", "memory");
        nodes["allow_direct"] = true.into();
        [
            values(&self.state, "state.>", "file"),
            keys,
            probe,
            // In memory: what a restart loses is lost as a whole, with its incarnations.
            nodes,
        ]
    }

    /// Returns the settings of a life's log. `largest` is the size of the largest message: a bound
    /// of fewer bytes would leave no record.
    pub(crate) fn log_settings(&self, life: &str, config: &NatsConfig, largest: usize) -> Value {
        json!({
            "name": self.log(life),
            "subjects": [format!("{}.log.{life}.*", self.prefix)],
            "storage": "file",
            "max_msgs": config.bounds.records,
            "max_bytes": config.bounds.bytes.max(largest + 1024),
            "num_replicas": config.replicas,
            "retention": "limits",
            "discard": "old",
        })
    }
}

/// Creates a stream, or gives an existing one the bounds of these settings.
pub(crate) async fn ensure(requests: &impl Requests, settings: &Value) -> Result<(), Fault> {
    let name = settings["name"].as_str().unwrap_or_default();
    let no_room = match api::ask::<Value>(requests, &format!("STREAM.CREATE.{name}"), settings).await {
        Err(fault) if fault.has_code(code::OTHER_CONFIG) => None,
        // Also for a stream that is there.
        Err(Fault::Api { code, description }) if code == code::NO_STORAGE => {
            let (stream, bytes) = (name.to_owned(), settings["max_bytes"].to_string());
            Some(Fault::NoRoom { stream, bytes, description })
        }
        answer => return answer.map(drop),
    };
    let mut config = match (api::info(requests, name).await, no_room) {
        (Err(fault), Some(no_room)) if fault.is_missing_stream() => return Err(no_room),
        (info, _) => info?.config,
    };
    let mut differs = false;
    for bound in ["max_msgs", "max_bytes"] {
        if !settings[bound].is_null() && settings[bound] != config[bound] {
            config[bound] = settings[bound].clone();
            differs = true;
        }
    }
    if differs {
        api::ask::<Value>(requests, &format!("STREAM.UPDATE.{name}"), &config).await?;
    }
    Ok(())
}

/// Sets the age at which a stream's messages are dropped, unless it is longer already; returns the
/// one that holds.
pub(crate) async fn extend_age(requests: &impl Requests, stream: &str, age: Duration) -> Result<Duration, Fault> {
    let mut config = api::info(requests, stream).await?.config;
    let current = Duration::from_nanos(config["max_age"].as_u64().unwrap_or_default());
    if current >= age {
        return Ok(current);
    }
    config["max_age"] = nanos(age).into();
    api::ask::<Value>(requests, &format!("STREAM.UPDATE.{stream}"), &config).await?;
    Ok(age)
}

/// Returns a duration as JetStream's settings have it.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(i64::MAX as u64).min(i64::MAX as u64)
}
