//! What Gatepost says and does over HTTP: whether it is well, what is on, what it counts; requests,
//! grants, holds and sessions. Thin over the gateway's handle: nothing is decided or kept here.

pub mod status;
pub mod v1;

mod front;
mod saml;

use std::net::SocketAddr;
use std::sync::Arc;

use audit::Health;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use gateway::{Address, Gateway};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::status::Status;

/// Where a running gateway says which of its protections are on.
pub const STATUS: &str = "/v1/status";

/// A bound address, not yet served.
pub struct Api {
    listener: TcpListener,
    facts: Arc<Facts>,
}

pub(crate) struct Facts {
    pub(crate) gateway: Arc<Gateway>,
    registry: Registry,
    /// Where PostgreSQL's clients connect.
    pub(crate) port: Option<u16>,
}

impl Api {
    /// `listen` is where PostgreSQL's clients are served.
    pub async fn bind(
        address: SocketAddr,
        gateway: Arc<Gateway>,
        listen: &[Address],
    ) -> std::io::Result<Api> {
        let mut registry = Registry::with_prefix("gatepost");
        gateway.register_metrics(&mut registry);
        let listener = TcpListener::bind(address).await?;
        let port = v1::login::port(listen);
        Ok(Api { listener, facts: Arc::new(Facts { gateway, registry, port }) })
    }

    /// Serves for as long as the process lives: `/healthz` says that it is stopping, too.
    pub async fn serve(self) {
        let routes = Router::new()
            .route("/healthz", get(health))
            .route("/metrics", get(metrics))
            .route(STATUS, get(status))
            .merge(v1::routes())
            .merge(saml::routes())
            .with_state(self.facts.clone());
        front::serve(self.listener, routes, self.facts.gateway.clone()).await;
    }
}

/// 200 while statements can run, 503 while the gateway stops or its journal can't be written.
async fn health(State(facts): State<Arc<Facts>>) -> (StatusCode, String) {
    if facts.gateway.is_stopping() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned());
    }
    match facts.gateway.journal_health() {
        Health::Writing => (StatusCode::OK, "ok\n".to_owned()),
        Health::Refusing { why, .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("the journal can't be written: {why}\n"))
        }
    }
}

async fn metrics(State(facts): State<Arc<Facts>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &facts.registry) {
        Ok(()) => {
            let format = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
            (format, as_prometheus_text(&text)).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn status(State(facts): State<Arc<Facts>>) -> Response {
    match serde_json::to_string(&Status::of(&facts.gateway)) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// OpenMetrics names a counter without `_total` where it describes it; Prometheus' own text
/// format, which every tool reads, names the metric as it is.
fn as_prometheus_text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let lines: Vec<&str> = open_metrics.lines().collect();
    let is_counter = |name: &str| lines.contains(&format!("# TYPE {name} counter").as_str());
    for line in &lines {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what @ ("HELP" | "TYPE")), Some(name), Some(rest))
                if is_counter(name) =>
            {
                text.push_str(&format!("# {what} {name}_total {rest}\n"));
            }
            (Some("#"), Some("EOF"), ..) => {}
            _ => text.push_str(&format!("{line}\n")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn counters_are_described_by_their_names() {
        let open_metrics = "# HELP a Help.\n# TYPE a counter\na_total 1\n# HELP b Help.\n\
                            # TYPE b gauge\nb 2\n# EOF\n";
        assert_eq!(
            super::as_prometheus_text(open_metrics),
            "# HELP a_total Help.\n# TYPE a_total counter\na_total 1\n# HELP b Help.\n\
             # TYPE b gauge\nb 2\n"
        );
    }
}
