use realtime_redis::{RedisBackplane, RedisConfig};
use realtime_testkit::in_time;

use crate::server::Server;

pub(crate) async fn connect(server: &Server) -> RedisBackplane {
    connect_with(server, RedisConfig::default()).await
}

pub(crate) async fn connect_with(server: &Server, options: RedisConfig) -> RedisBackplane {
    in_time("a connection", RedisBackplane::connect(&server.url(), options)).await.expect("a backplane")
}
