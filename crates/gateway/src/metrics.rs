//! What the gateway counts about itself. Observation never steers: nothing reads these but
//! `/metrics`. Labels are our own words, never a client's.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::catalogs::CatalogMetrics;

#[derive(Default)]
pub(crate) struct Metrics {
    pub(crate) connections: Counter,
    pub(crate) sessions_open: Gauge,
    pub(crate) sessions: Counter,
    pub(crate) refusals: Family<Refused, Counter>,
    pub(crate) statements: Counter<u64, AtomicU64>,
    pub(crate) bytes_to_clients: Counter,
    pub(crate) bytes_from_clients: Counter,
    pub(crate) cancels: Family<Cancelled, Counter>,
    pub(crate) faults: Counter,
    pub(crate) raw_columns: Counter,
    pub(crate) catalogs: CatalogMetrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Refused {
    pub(crate) sqlstate: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Cancelled {
    pub(crate) result: &'static str,
}

impl Metrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let mut add = |name: &str, help: &str, metric: &Counter| {
            registry.register(name, help, metric.clone());
        };
        add("connections", "Connections accepted", &self.connections);
        add("sessions", "Sessions begun", &self.sessions);
        add("statements", "Statements answered", &self.statements);
        add("bytes_to_clients", "Bytes of replies sent to clients", &self.bytes_to_clients);
        add("bytes_from_clients", "Bytes of messages passed on", &self.bytes_from_clients);
        add("faults", "Sessions ended because a reply answered no message", &self.faults);
        add(
            "raw_columns",
            "Sessions ended because a reply named a masked column as it is stored: stays zero",
            &self.raw_columns,
        );
        registry.register("sessions_open", "Sessions open now", self.sessions_open.clone());
        registry.register("refusals", "Refusals by SQLSTATE", self.refusals.clone());
        registry.register(
            "cancels",
            "Cancel requests by what became of them",
            self.cancels.clone(),
        );
        self.catalogs.register(registry);
    }
}
