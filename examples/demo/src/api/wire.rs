use std::num::NonZeroU32;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::failure::{Body, Failure};
use crate::wires::{Fault, Wires, is_link};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Order {
    link: String,
    cut: bool,
    bytes_per_second: Option<NonZeroU32>,
}

/// Cuts or slows down the connections whose requests said `?link=…`.
pub(super) async fn set(State(wires): State<Wires>, Body(order): Body<Order>) -> Result<Json<Value>, Failure> {
    if !is_link(&order.link) {
        return Err(Failure::bad_request("invalid_body", "link must be 8 to 64 letters and digits"));
    }
    let connections = wires.set(&order.link, Fault { cut: order.cut, rate: order.bytes_per_second });
    Ok(Json(json!({
        "link": order.link,
        "cut": order.cut,
        "bytesPerSecond": order.bytes_per_second,
        "connections": connections,
    })))
}
