//! Where a login in the browser comes back to: a port of this machine's own that is open for one
//! answer (RFC 8252, section 7.3). What the answer is worth is the business of who waits for it.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Browsers open connections ahead and say nothing on them.
const CONNECTIONS_MAX: usize = 16;

/// For one request, and for the answer to it.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// Of a request's head: a code, a state, and what a browser says of itself.
const HEAD_BYTES_MAX: usize = 32 << 10;

const PATH: &str = "/callback";

/// The page says the same however it went: the terminal knows.
const PAGE: &str = "<!doctype html><meta charset=utf-8><title>Gatepost</title>\
    <p>Go back to your terminal: the login goes on there. This window can be closed.\n";

pub(crate) struct Loopback {
    listener: TcpListener,
    uri: String,
    state: String,
}

/// The parameters that came back, each once.
pub(crate) struct Answer(BTreeMap<String, String>);

impl Loopback {
    pub(crate) async fn open() -> io::Result<Loopback> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let uri = format!("http://{}{PATH}", listener.local_addr()?);
        Ok(Loopback { listener, uri, state: random_text()? })
    }

    /// Where the browser is to be sent back to.
    pub(crate) fn uri(&self) -> &str {
        &self.uri
    }

    /// What has to come back as `state`, so that no page of somebody else's can answer.
    pub(crate) fn state(&self) -> &str {
        &self.state
    }

    /// The first answer with our state. What comes without it is turned away and changes nothing.
    pub(crate) async fn answer(&self) -> io::Result<Answer> {
        let mut visitors = JoinSet::new();
        loop {
            tokio::select! {
                Some(served) = visitors.join_next() => {
                    if let Ok(Some(answer)) = served {
                        return Ok(answer);
                    }
                }
                accepted = self.listener.accept(), if visitors.len() < CONNECTIONS_MAX => {
                    let (stream, _) = accepted?;
                    let state = self.state.clone();
                    visitors.spawn(async move {
                        let attended = attend(stream, &state);
                        tokio::time::timeout(REQUEST_TIME, attended).await.ok().flatten()
                    });
                }
            }
        }
    }
}

impl Answer {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn of(head: &[u8], state: &str) -> Option<Answer> {
        let line = head.split(|byte| *byte == b'\r').next()?;
        let mut words = std::str::from_utf8(line).ok()?.split(' ');
        let ("GET", target) = (words.next()?, words.next()?) else { return None };
        let (path, query) = target.split_once('?')?;
        let mut parameters = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            // Of two states it could not be said which one counts.
            if parameters.insert(name.into_owned(), value.into_owned()).is_some() {
                return None;
            }
        }
        let is_ours = path == PATH && parameters.get("state").is_some_and(|it| it == state);
        is_ours.then_some(Answer(parameters))
    }
}

/// 256 bits that nobody guesses, in characters that stand in a URL as they are.
pub(super) fn random_text() -> io::Result<String> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| io::Error::other("the system's random source failed"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

async fn attend(mut stream: TcpStream, state: &str) -> Option<Answer> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.ok()? == 0 || head.len() > HEAD_BYTES_MAX {
            return None;
        }
    }
    let answer = Answer::of(&head, state);
    let (status, page) = match &answer {
        Some(_) => ("200 OK", PAGE),
        None => ("404 Not Found", "not here\n"),
    };
    let response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
         Content-Security-Policy: default-src 'none'\r\nCache-Control: no-store\r\n\
         Referrer-Policy: no-referrer\r\nConnection: close\r\n\r\n{page}",
        page.len()
    );
    // Whoever is gone before the page is there has said what there was to say.
    let _unread = async {
        stream.write_all(response.as_bytes()).await?;
        stream.shutdown().await
    }
    .await;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn visit(uri: &str, request: &str) -> String {
        let address = uri.strip_prefix("http://").unwrap().strip_suffix(PATH).unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut said = Vec::new();
        // Who hangs up on unread words is a reset.
        let _reset = stream.read_to_end(&mut said).await;
        String::from_utf8(said).unwrap()
    }

    #[tokio::test]
    async fn only_our_state_answers() {
        let loopback = Loopback::open().await.unwrap();
        let (uri, state) = (loopback.uri().to_owned(), loopback.state().to_owned());
        let waiting = tokio::spawn(async move { loopback.answer().await.unwrap() });
        // A browser's connection ahead of need keeps nobody from answering.
        let address = uri.strip_prefix("http://").unwrap().strip_suffix(PATH).unwrap();
        let _silent = TcpStream::connect(address).await.unwrap();
        for wrong in [
            "GET /callback?code=x HTTP/1.1\r\n\r\n".to_owned(),
            "GET /callback?code=x&state= HTTP/1.1\r\n\r\n".to_owned(),
            format!("GET /callback?code=x&state={state}x HTTP/1.1\r\n\r\n"),
            format!("GET /callback?state=x&state={state} HTTP/1.1\r\n\r\n"),
            format!("GET /callback?code=a&code=b&state={state} HTTP/1.1\r\n\r\n"),
            format!("GET /other?code=x&state={state} HTTP/1.1\r\n\r\n"),
            format!("POST /callback?code=x&state={state} HTTP/1.1\r\n\r\n"),
            format!("GET /callback#code=x&state={state} HTTP/1.1\r\n\r\n"),
            "\r\n\r\n".to_owned(),
        ] {
            let said = visit(&uri, &wrong).await;
            assert!(said.starts_with("HTTP/1.1 404 "), "{wrong}: {said}");
        }
        let right = format!("GET /callback?state={state}&code=a%2Bb+c&x=%3Cp%3E HTTP/1.1\r\n\r\n");
        let said = visit(&uri, &right).await;
        assert!(said.starts_with("HTTP/1.1 200 ") && !said.contains("<p>x"), "{said}");
        let answer = waiting.await.unwrap();
        assert_eq!((answer.get("code"), answer.get("x")), (Some("a+b c"), Some("<p>")));
        assert_eq!(answer.get("error"), None);
    }

    #[tokio::test]
    async fn a_head_has_an_end() {
        let loopback = Loopback::open().await.unwrap();
        let uri = loopback.uri().to_owned();
        let endless = format!("GET /callback?{}", "x".repeat(HEAD_BYTES_MAX));
        tokio::select! {
            _ = loopback.answer() => panic!("that was no answer"),
            said = visit(&uri, &endless) => assert_eq!(said, ""),
        }
    }

    #[test]
    fn states_differ() {
        let (one, other) = (random_text().unwrap(), random_text().unwrap());
        assert_eq!(one.len(), 43);
        assert_ne!(one, other);
    }
}
