//! What `/v1` is, for programs: OpenAPI 3.1, whose schemas are those of the types that are read and
//! written.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::login::Ways;
use super::shape::{
    Approve, Ask, Asked, Failure, GrantShown, HoldShown, List, LoginToken, RequestShown, SamlLogin,
    SessionShown, TokenShown, WantToken, Words,
};
use crate::STATUS;
use crate::status::Status;

/// Where it is published.
pub const OPENAPI: &str = "/v1/openapi.json";

const LOGIN: &str = "/v1/login";

/// Those that ask for no credential.
const OPEN: [&str; 3] = [LOGIN, "/v1/login/saml", STATUS];

/// What is read whole.
const WITHOUT_PAGES: [&str; 3] = [LOGIN, "/v1/sessions", STATUS];

/// One call.
struct Call {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    takes: Option<Value>,
    /// With which status.
    gives: Vec<(u16, Option<Value>)>,
}

pub fn openapi() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let failure = of::<Failure>(&mut schemas);
    let mut paths = Map::new();
    for call in calls(&mut schemas) {
        let path = paths.entry(call.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(call.method.to_owned(), operation(&call, &failure));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Gatepost",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Ask for connections, decide about them, end them. Who calls gives a name \
                            and its secret, or a token of an identity provider, as to PostgreSQL: over \
                            TLS, or on the same machine.",
        },
        "security": [{ "basic": [] }, { "bearer": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "basic": { "type": "http", "scheme": "basic" },
                "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
            },
            "schemas": schemas.take_definitions(true),
        },
    })
}

fn calls(schemas: &mut SchemaGenerator) -> Vec<Call> {
    let mut calls = vec![
        Call {
            method: "post",
            path: "/v1/requests",
            summary: "Ask for a connection",
            takes: Some(of::<Ask>(schemas)),
            gives: vec![
                (200, Some(of::<Asked>(schemas))),
                (201, Some(of::<Asked>(schemas))),
                (202, Some(of::<Asked>(schemas))),
            ],
        },
        Call {
            method: "post",
            path: "/v1/grants/{id}/token",
            summary: "Make a password for a grant of one's own",
            takes: Some(of::<WantToken>(schemas)),
            gives: vec![(201, Some(of::<TokenShown>(schemas)))],
        },
        Call {
            method: "post",
            path: "/v1/login/saml",
            summary: "End a login that a program has begun at /saml/login",
            takes: Some(of::<SamlLogin>(schemas)),
            gives: vec![(201, Some(of::<LoginToken>(schemas)))],
        },
        Call {
            method: "post",
            path: "/v1/sessions/{id}/kill",
            summary: "End a session at once",
            takes: None,
            gives: vec![(204, None)],
        },
    ];
    let mut read = |path, summary, row: Value| {
        calls.push(Call {
            method: "get",
            path,
            summary,
            takes: None,
            gives: vec![(200, Some(row))],
        });
    };
    read(
        "/v1/requests",
        "Requests: one's own, and those to decide",
        of::<List<RequestShown>>(schemas),
    );
    read("/v1/requests/{id}", "One request", of::<RequestShown>(schemas));
    read(
        "/v1/holds",
        "Statements that wait: one's own, and those to decide",
        of::<List<HoldShown>>(schemas),
    );
    read("/v1/holds/{id}", "One statement that waits, or has", of::<HoldShown>(schemas));
    read("/v1/grants", "One's own grants; all for an admin", of::<List<GrantShown>>(schemas));
    read("/v1/grants/{id}", "One grant", of::<GrantShown>(schemas));
    read(LOGIN, "How people log in here; for anybody", of::<Ways>(schemas));
    read(STATUS, "Which protections are on; for anybody", of::<Status>(schemas));
    read("/v1/sessions", "One's own sessions; all for an admin", of::<List<SessionShown>>(schemas));
    let mut say = |path, summary, takes: Option<Value>, row: Value| {
        calls.push(Call { method: "post", path, summary, takes, gives: vec![(200, Some(row))] });
    };
    let (approve, words) = (of::<Approve>(schemas), of::<Words>(schemas));
    let (request, hold) = (of::<RequestShown>(schemas), of::<HoldShown>(schemas));
    let grant = of::<GrantShown>(schemas);
    say("/v1/requests/{id}/approve", "Agree to a request", Some(approve.clone()), request.clone());
    say("/v1/requests/{id}/deny", "Deny a request", Some(words.clone()), request.clone());
    say("/v1/requests/{id}/withdraw", "Take one's own request back", None, request);
    say("/v1/holds/{id}/approve", "Let a statement run", Some(approve), hold.clone());
    say("/v1/holds/{id}/deny", "Refuse a statement", Some(words.clone()), hold);
    say("/v1/grants/{id}/revoke", "End a grant", Some(words), grant);
    calls.sort_by_key(|call| (call.path, call.method));
    calls
}

fn operation(call: &Call, failure: &Value) -> Value {
    let mut parameters = Vec::new();
    if call.path.contains("{id}") {
        parameters.push(json!({
            "name": "id", "in": "path", "required": true, "schema": { "type": "string" },
        }));
    } else if call.method == "get" && !WITHOUT_PAGES.contains(&call.path) {
        parameters.push(json!({
            "name": "all", "in": "query", "schema": { "type": "boolean" },
            "description": "Those that are over, too.",
        }));
        parameters.push(json!({
            "name": "behind", "in": "query", "schema": { "type": "string" },
            "description": "The page behind this one of a list.",
        }));
    }
    let mut responses = Map::new();
    for (status, gives) in &call.gives {
        let mut response = json!({ "description": call.summary });
        if let (Some(gives), Some(response)) = (gives, response.as_object_mut()) {
            response.insert("content".to_owned(), content(gives));
        }
        responses.insert(status.to_string(), response);
    }
    let refused = json!({ "description": "Why it was not done", "content": content(failure) });
    responses.insert("default".to_owned(), refused);
    let mut operation = json!({
        "summary": call.summary,
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(operation) = operation.as_object_mut().filter(|_| OPEN.contains(&call.path)) {
        operation.insert("security".to_owned(), json!([]));
    }
    if let (Some(takes), Some(operation)) = (&call.takes, operation.as_object_mut()) {
        operation.insert("requestBody".to_owned(), json!({ "content": content(takes) }));
    }
    operation
}

fn content(schema: &Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

fn of<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Value {
    schemas.subschema_for::<T>().to_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call that nobody can read about would be a surprise.
    #[test]
    fn each_route_is_published() {
        let published = openapi();
        let mut routes = 0;
        assert!(published.pointer(&format!("/paths/{}/get", STATUS.replace('/', "~1"))).is_some());
        for route in include_str!("../v1.rs").split(".route(\"").skip(1) {
            let (path, rest) = route.split_once('"').unwrap();
            let handlers = rest.split('\n').next().unwrap();
            for method in ["get", "post", "put", "patch", "delete"] {
                if handlers.contains(&format!(" {method}("))
                    || handlers.contains(&format!(".{method}("))
                {
                    let pointer = format!("/paths/{}/{method}", path.replace('/', "~1"));
                    assert!(published.pointer(&pointer).is_some(), "{method} {path}");
                    routes += 1;
                }
            }
        }
        let calls = published["paths"].as_object().unwrap().values();
        let calls: usize = calls.map(|methods| methods.as_object().unwrap().len()).sum();
        assert_eq!(calls, routes + 1, "what is published is there");
    }

    /// The published page is what the code says. `UPDATE_GOLDEN=1` writes it anew.
    #[test]
    fn the_published_page_is_this() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        let now = format!("{}\n", serde_json::to_string_pretty(&openapi()).unwrap());
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &now).unwrap();
        }
        let published = std::fs::read_to_string(path).unwrap_or_default();
        assert!(published == now, "docs/openapi.json is old: UPDATE_GOLDEN=1 cargo test -p api");
    }
}
