//! The properties of a server without which it would lose a log, or could not keep one.

use async_nats::ServerInfo;

use crate::config::NatsConfig;
use crate::connector::Connection;
use crate::error::Fault;

/// The oldest version that is tested.
const OLDEST: (u64, u64) = (2, 9);

/// Checks version, JetStream and the size of messages.
pub(crate) fn check(connection: &Connection, config: &NatsConfig) -> Result<(), Fault> {
    check_info(&connection.client.server_info(), connection.address(), config)
}

fn check_info(info: &ServerInfo, address: &str, config: &NatsConfig) -> Result<(), Fault> {
    let mut numbers = info.version.split(['.', '-']).map(|part| part.parse::<u64>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (major, minor) = OLDEST;
    if version < OLDEST {
        return Err(Fault::Config(format!(
            "NATS at {address} has version {}, and version {major}.{minor} or newer is required",
            info.version
        )));
    }
    if !info.jetstream {
        return Err(Fault::Config(format!(
            "NATS at {address} has no JetStream, which keeps the log: start it with jetstream {{ store_dir }}, or -js"
        )));
    }
    let required = config.payload();
    if info.max_payload < required {
        return Err(Fault::Config(format!(
            "NATS at {address} has max_payload {}, and {required} is required: with_max_event_bytes({}) and 16 KiB",
            info.max_payload, config.max_event_bytes
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(version: &str, jetstream: bool, max_payload: usize) -> ServerInfo {
        ServerInfo { version: version.to_owned(), jetstream, max_payload, ..ServerInfo::default() }
    }

    #[test]
    fn error_names_what_was_found_and_what_is_required() {
        const MIB: usize = 1024 * 1024;
        let config = NatsConfig::default();
        for (info, found, required) in [
            (info("2.8.4", true, MIB), "2.8.4", "2.9 or newer"),
            (info("2.9.10", false, MIB), "no JetStream", "store_dir"),
            (info("2.9.10", true, MIB - 1), "max_payload 1048575", "1048576 is required"),
            (info("", true, MIB), "version", "2.9 or newer"),
        ] {
            let error = check_info(&info, "host:4222", &config).unwrap_err().to_string();
            assert!(error.contains(found) && error.contains(required) && error.contains("host:4222"), "{error}");
        }
        for version in ["2.9.0", "2.10.29", "2.15.1", "2.12.0-RC.1", "3.0.0"] {
            check_info(&info(version, true, MIB), "host", &config).unwrap();
        }
    }
}
