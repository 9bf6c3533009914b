//! What a browser is shown: words, at most a link. Whatever comes from elsewhere is escaped, and a
//! browser that believed it all the same may neither run nor load anything of it.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use gateway::saml::{Given, USER};
use identity::Identity;

pub(super) struct Page {
    status: StatusCode,
    /// Where the browser goes on by itself.
    next: Option<String>,
    body: String,
}

impl Page {
    pub(super) fn refusal(status: StatusCode, words: &str) -> Page {
        Page { status, next: None, body: format!("<p>{}", escaped(words)) }
    }

    /// Of several providers.
    pub(super) fn choice(providers: &[String]) -> Page {
        let link = |it: &String| {
            format!("<li><a href=\"/saml/login?issuer={}\">{}</a>", in_query(it), escaped(it))
        };
        let links: String = providers.iter().map(link).collect();
        Page { status: StatusCode::OK, next: None, body: format!("<p>Log in at<ul>{links}</ul>") }
    }

    /// From what the provider has posted to a page of our own: so the browser brings its cookie, whatever
    /// it thinks of cookies that other sites ask for.
    pub(super) fn on(next: &str) -> Page {
        let body = format!("<p><a href=\"{}\">Go on</a>", escaped(next));
        Page { status: StatusCode::OK, next: Some(next.to_owned()), body }
    }

    pub(super) fn token(given: &Given) -> Page {
        let body = format!(
            "<p>You are {}.\n<p>For {} minutes this is your password, with the user name <b>{USER}</b>:\n\
             <pre>{}</pre>\n<p>For example:\n<pre>psql \"host=… dbname=… user={USER} \
             sslmode=verify-full\"</pre>\n<p>It is shown once. Close this window when you have it.",
            who(&given.identity),
            given.lasts.as_secs() / 60,
            escaped(given.token.text()),
        );
        Page { status: StatusCode::OK, next: None, body }
    }

    /// A person lets it go on: nobody else can have opened this page and clicked.
    pub(super) fn program(address: &str, identity: &Identity) -> Page {
        let body = format!(
            "<p>You are {}.\n<p>A program on this machine has asked for this login, and gets a password \
             of yours for some minutes. Only go on if you have just started it.\n\
             <p><a href=\"{}\">Go on</a>",
            who(identity),
            escaped(address),
        );
        Page { status: StatusCode::OK, next: None, body }
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let Page { status, next, body } = self;
        let next = next.map_or_else(String::new, |next| {
            format!("<meta http-equiv=\"refresh\" content=\"0;url={}\">", escaped(&next))
        });
        let html = format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">{next}<title>Gatepost</title>\n\
             {body}\n"
        );
        let mut response = (status, Html(html)).into_response();
        guard(response.headers_mut());
        response
    }
}

/// Nothing runs, nothing is loaded, nothing is kept, nobody frames it, and where it leads to is told
/// nothing of it.
pub(super) fn guard(headers: &mut HeaderMap) {
    let guards: [(HeaderName, &str); 6] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in guards {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

fn who(identity: &Identity) -> String {
    format!("<b>{}</b> of {}", escaped(&identity.subject), escaped(&identity.issuer))
}

/// Right in a text and in a quoted value.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(character),
        }
    }
    out
}

fn in_query(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_elsewhere_is_markup() {
        let evil = "\"><script>alert('x')</script>&amp;";
        let identity = Identity::new(evil, evil);
        let pages = [
            Page::refusal(StatusCode::OK, evil),
            Page::choice(&[evil.to_owned()]),
            Page::on(evil),
            Page::program(evil, &identity),
        ];
        for page in pages {
            let body = page.body;
            assert!(!body.contains("<script") && !body.contains("'x'"), "{body}");
            assert!(!body.contains("\"\">"), "{body}");
        }
    }
}
