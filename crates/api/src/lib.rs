//! What Gatepost says over HTTP: whether it is well, and what it counts. Thin over the gateway's
//! handle: nothing is decided or kept here.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use gateway::Gateway;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

/// A bound address, not yet served.
pub struct Api {
    listener: TcpListener,
    facts: Arc<Facts>,
}

struct Facts {
    gateway: Arc<Gateway>,
    registry: Registry,
}

impl Api {
    pub async fn bind(address: SocketAddr, gateway: Arc<Gateway>) -> std::io::Result<Api> {
        let mut registry = Registry::with_prefix("gatepost");
        gateway.register_metrics(&mut registry);
        let listener = TcpListener::bind(address).await?;
        Ok(Api { listener, facts: Arc::new(Facts { gateway, registry }) })
    }

    /// Serves for as long as the process lives: `/healthz` says that it is stopping, too.
    pub async fn serve(self) -> std::io::Result<()> {
        let routes = Router::new()
            .route("/healthz", get(health))
            .route("/metrics", get(metrics))
            .with_state(self.facts);
        axum::serve(self.listener, routes).await
    }
}

/// 200 while new sessions are let in, 503 while the gateway stops.
async fn health(State(facts): State<Arc<Facts>>) -> (StatusCode, &'static str) {
    if facts.gateway.is_stopping() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

async fn metrics(State(facts): State<Arc<Facts>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &facts.registry) {
        Ok(()) => (
            [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
            text,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
