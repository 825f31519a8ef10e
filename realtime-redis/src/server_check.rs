//! The settings of a server without which it would lose a log.

use redis::Value;

use crate::entries::into_text;
use crate::error::Fault;
use crate::link::Link;

/// The oldest major version whose scripts are checked before they run.
const OLDEST: u32 = 7;

/// Checks version, role and eviction of a server, and warns unless it keeps the writes that it
/// accepts.
pub(crate) async fn check(link: &Link, address: &str) -> Result<(), Fault> {
    let info = into_text(link.command(&redis::cmd("INFO")).await?)?;
    let info = Info(&info);
    info.check(address)?;
    if info.field("aof_enabled") != Some("1") {
        tracing::warn!(%address, "Redis has no append-only file: a restart loses the log; set `appendonly yes`");
    }
    let replicas = info.field("connected_slaves").is_some_and(|replicas| replicas != "0");
    if replicas && needs_no_replica(link).await {
        tracing::warn!(%address, "Redis accepts writes without a replica: a failover can lose them \
            (min-replicas-to-write 1)");
    }
    Ok(())
}

/// Returns whether the server is known to accept writes that no replica gets.
async fn needs_no_replica(link: &Link) -> bool {
    let mut command = redis::cmd("CONFIG");
    command.arg("GET").arg("min-replicas-to-write");
    // A service may forbid CONFIG, and then there is nothing to say.
    let Ok(Value::Array(setting)) = link.command(&command).await else { return false };
    setting.into_iter().nth(1).is_some_and(|value| into_text(value).is_ok_and(|value| value == "0"))
}

/// The answer of INFO: a line for each field.
struct Info<'a>(&'a str);

impl Info<'_> {
    fn field(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    fn check(&self, address: &str) -> Result<(), Fault> {
        let version = self.field("redis_version").unwrap_or("unknown");
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_none_or(|major| major < OLDEST) {
            let required = format!("version {OLDEST} or newer is required");
            return Err(Fault::Config(format!("Redis at {address} has version {version}, and {required}")));
        }
        let role = self.field("role").unwrap_or("unknown");
        if role != "master" {
            return Err(Fault::Config(format!("Redis at {address} has the role {role}, and the primary is required")));
        }
        let policy = self.field("maxmemory_policy").unwrap_or("unknown");
        if policy != "noeviction" {
            return Err(Fault::Config(format!(
                "Redis at {address} has maxmemory-policy {policy}, and noeviction is required: it could evict the log"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(version: &str, role: &str, policy: &str) -> String {
        format!("# Server\r\nredis_version:{version}\r\nrole:{role}\r\nmaxmemory_policy:{policy}\r\n")
    }

    #[test]
    fn error_names_what_was_found_and_what_is_required() {
        for (info, found, required) in [
            (text("6.2.14", "master", "noeviction"), "6.2.14", "7 or newer"),
            (text("7.0.15", "slave", "noeviction"), "slave", "primary"),
            (text("7.0.15", "master", "allkeys-lru"), "allkeys-lru", "noeviction"),
            (String::new(), "unknown", "7 or newer"),
        ] {
            let error = Info(&info).check("host:6379").unwrap_err().to_string();
            assert!(error.contains(found) && error.contains(required) && error.contains("host:6379"), "{error}");
        }
        for version in ["7.0.0", "7.4.2", "8.2.1", "10.0"] {
            Info(&text(version, "master", "noeviction")).check("host").unwrap();
        }
    }
}
