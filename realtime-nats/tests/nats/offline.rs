use crate::server::Server;

realtime_testkit::broker_tests!(Server; offline);
