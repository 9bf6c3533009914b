//! A client that does as little as one can with rows: it counts them by their headers. `psql`
//! would spend more on keeping and printing them than the way to it costs.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};

use crate::contender::Contender;

pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are filled, and of those that are consumed.
    filled: usize,
    consumed: usize,
}

impl Client {
    pub fn connect(contender: &Contender) -> Result<Client, String> {
        let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, contender.port));
        let stream = connected.map_err(|e| format!("connecting: {e}"))?;
        stream.set_nodelay(true).map_err(|e| format!("connecting: {e}"))?;
        let mut client = Client { stream, buffer: vec![0; 256 * 1024], filled: 0, consumed: 0 };
        client.log_in(contender)?;
        Ok(client)
    }

    /// Sends one simple query.
    pub fn ask(&mut self, sql: &str) -> Result<(), String> {
        let mut body = sql.as_bytes().to_vec();
        body.push(0);
        self.send(b'Q', &body)
    }

    /// Reads up to a message of this kind.
    pub fn until(&mut self, wanted: u8) -> Result<(), String> {
        loop {
            let (tag, length) = self.header()?;
            let body = self.body(length)?;
            match tag {
                b'E' => return Err(String::from_utf8_lossy(&body).into_owned()),
                _ if tag == wanted => return Ok(()),
                _ => {}
            }
        }
    }

    /// Runs one simple query and counts its rows, of SELECT or of COPY OUT.
    pub fn count_rows(&mut self, sql: &str) -> Result<u64, String> {
        self.ask(sql)?;
        let mut rows = 0;
        loop {
            let (tag, length) = self.header()?;
            match tag {
                b'D' | b'd' => {
                    rows += 1;
                    self.skip(length)?;
                }
                b'Z' => {
                    self.skip(length)?;
                    return Ok(rows);
                }
                b'E' => return Err(String::from_utf8_lossy(&self.body(length)?).into_owned()),
                _ => self.skip(length)?,
            }
        }
    }

    /// The last column of the first row.
    pub fn last_value(&mut self, sql: &str) -> Result<String, String> {
        self.ask(sql)?;
        let mut found = None;
        loop {
            let (tag, length) = self.header()?;
            let body = self.body(length)?;
            match tag {
                b'D' if found.is_none() => {
                    let mut rest = body.get(2..).unwrap_or_default();
                    while let Some((length, after)) = rest.split_first_chunk() {
                        // NULL is -1.
                        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
                        let (value, after) = after.split_at_checked(length).ok_or("a short row")?;
                        found = Some(String::from_utf8_lossy(value).into_owned());
                        rest = after;
                    }
                }
                b'Z' => return found.ok_or_else(|| "no row".to_owned()),
                b'E' => return Err(String::from_utf8_lossy(&body).into_owned()),
                _ => {}
            }
        }
    }

    fn log_in(&mut self, contender: &Contender) -> Result<(), String> {
        let mut body = 196_608u32.to_be_bytes().to_vec();
        for text in ["user", &contender.user, "database", &contender.database, ""] {
            body.extend(text.as_bytes());
            body.push(0);
        }
        self.write(&length_of(&body))?;
        self.write(&body)?;
        let password = contender.password.as_bytes();
        let mut scram = ScramSha256::new(password, ChannelBinding::unsupported());
        loop {
            let (tag, length) = self.header()?;
            let body = self.body(length)?;
            let broken = |e: io::Error| format!("SCRAM: {e}");
            match (tag, body.first_chunk().map(|kind| u32::from_be_bytes(*kind))) {
                (b'R', Some(0)) | (b'S' | b'K' | b'N', _) => {}
                (b'R', Some(3)) => self.send(b'p', &[password, &[0]].concat())?,
                (b'R', Some(10)) => {
                    let mut answer = format!("{SCRAM_SHA_256}\0").into_bytes();
                    answer.extend(length_without_itself(scram.message()));
                    answer.extend(scram.message());
                    self.send(b'p', &answer)?;
                }
                (b'R', Some(11)) => {
                    scram.update(&body[4..]).map_err(broken)?;
                    let answer = scram.message().to_vec();
                    self.send(b'p', &answer)?;
                }
                (b'R', Some(12)) => scram.finish(&body[4..]).map_err(broken)?,
                (b'Z', _) => return Ok(()),
                _ => return Err(String::from_utf8_lossy(&body).into_owned()),
            }
        }
    }

    fn send(&mut self, tag: u8, body: &[u8]) -> Result<(), String> {
        let mut message = vec![tag];
        message.extend(length_of(body));
        message.extend(body);
        self.write(&message)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).map_err(|e| format!("writing: {e}"))
    }

    /// Tag and length of the body that follows.
    fn header(&mut self) -> Result<(u8, usize), String> {
        while self.filled - self.consumed < 5 {
            self.fill()?;
        }
        let header = &self.buffer[self.consumed..self.consumed + 5];
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
        let tag = header[0];
        self.consumed += 5;
        Ok((tag, length.checked_sub(4).ok_or("a message shorter than its length")? as usize))
    }

    fn body(&mut self, length: usize) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        while body.len() < length {
            if self.filled == self.consumed {
                self.fill()?;
            }
            let some = (length - body.len()).min(self.filled - self.consumed);
            body.extend(&self.buffer[self.consumed..self.consumed + some]);
            self.consumed += some;
        }
        Ok(body)
    }

    fn skip(&mut self, mut length: usize) -> Result<(), String> {
        while length > 0 {
            if self.filled == self.consumed {
                self.fill()?;
            }
            let some = length.min(self.filled - self.consumed);
            self.consumed += some;
            length -= some;
        }
        Ok(())
    }

    fn fill(&mut self) -> Result<(), String> {
        self.buffer.copy_within(self.consumed..self.filled, 0);
        self.filled -= self.consumed;
        self.consumed = 0;
        match self.stream.read(&mut self.buffer[self.filled..]) {
            Ok(0) => Err("the connection was closed".to_owned()),
            Ok(read) => {
                self.filled += read;
                Ok(())
            }
            Err(error) => Err(format!("reading: {error}")),
        }
    }
}

fn length_of(body: &[u8]) -> [u8; 4] {
    u32::try_from(body.len() + 4).expect("a small message").to_be_bytes()
}

fn length_without_itself(body: &[u8]) -> [u8; 4] {
    u32::try_from(body.len()).expect("a small message").to_be_bytes()
}
