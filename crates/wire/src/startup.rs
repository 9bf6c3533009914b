//! The first packet of a connection, which has no tag: a start-up, or a request that comes
//! before one.

use crate::frame;
use crate::read::Body;

const SSL_REQUEST: i32 = 80_877_103;
const GSSENC_REQUEST: i32 = 80_877_104;
const CANCEL_REQUEST: i32 = 80_877_102;

/// Before protocol 3.2 a cancel key has four bytes; its longest form has 256.
pub const CANCEL_KEY_BYTES_MAX: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstPacket {
    Ssl,
    GssEnc,
    Cancel { pid: i32, key: Vec<u8> },
    Startup(Startup),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    pub major: u16,
    pub minor: u16,
}

impl Version {
    pub const V3_0: Version = Version { major: 3, minor: 0 };
}

/// What a client asks for when it begins. Names and values are bytes: their encoding is not
/// known before the login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    pub version: Version,
    /// In the order in which they were sent.
    pub parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StartupError {
    #[error("invalid length of startup packet")]
    Length,
    #[error("invalid startup packet layout: expected terminator as last byte")]
    Layout,
}

impl Startup {
    /// The last value of a parameter: PostgreSQL lets a later one win.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let mut values = self.parameters.iter().rev();
        values.find(|(key, _)| key == name.as_bytes()).map(|(_, value)| value.as_slice())
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        frame::write_untagged(out, |out| {
            out.extend_from_slice(&self.version.major.to_be_bytes());
            out.extend_from_slice(&self.version.minor.to_be_bytes());
            for (name, value) in &self.parameters {
                frame::write_cstr(out, name);
                frame::write_cstr(out, value);
            }
            out.push(0);
        });
    }
}

/// Reads the packet at the start of `bytes`; the count is what it occupied. `Ok(None)` asks for
/// more bytes; the length is judged as soon as it is there.
pub fn read(bytes: &[u8], bytes_max: usize) -> Result<Option<(FirstPacket, usize)>, StartupError> {
    let Some((length, _)) = bytes.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| StartupError::Length)?;
    if !(8..=bytes_max).contains(&length) {
        return Err(StartupError::Length);
    }
    let Some(packet) = bytes.get(4..length) else {
        return Ok(None);
    };
    let mut body = Body(packet);
    let code = body.i32().ok_or(StartupError::Length)?;
    let packet = match code {
        SSL_REQUEST if body.is_empty() => FirstPacket::Ssl,
        GSSENC_REQUEST if body.is_empty() => FirstPacket::GssEnc,
        SSL_REQUEST | GSSENC_REQUEST => return Err(StartupError::Length),
        CANCEL_REQUEST => {
            let pid = body.i32().ok_or(StartupError::Length)?;
            if body.is_empty() || body.0.len() > CANCEL_KEY_BYTES_MAX {
                return Err(StartupError::Length);
            }
            FirstPacket::Cancel { pid, key: body.0.to_vec() }
        }
        version => FirstPacket::Startup(startup(version, body)?),
    };
    Ok(Some((packet, length)))
}

fn startup(version: i32, mut body: Body<'_>) -> Result<Startup, StartupError> {
    let [a, b, c, d] = version.to_be_bytes();
    let version = Version { major: u16::from_be_bytes([a, b]), minor: u16::from_be_bytes([c, d]) };
    let mut parameters = Vec::new();
    if version.major != 3 {
        // Only version 3 is known to be made of pairs; others are refused by their number.
        return Ok(Startup { version, parameters });
    }
    loop {
        match body.cstr().ok_or(StartupError::Layout)? {
            b"" if body.is_empty() => break,
            b"" => return Err(StartupError::Layout),
            name => {
                let value = body.cstr().ok_or(StartupError::Layout)?;
                parameters.push((name.to_vec(), value.to_vec()));
            }
        }
    }
    Ok(Startup { version, parameters })
}

/// The settings in a start-up packet's `options`: arguments of a server's command line, of which
/// `-c name=value` and `--name=value` make settings. `None` if there is anything else in them.
/// <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-OPTIONS>
pub fn options(text: &str) -> Option<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut arguments = arguments(text).into_iter();
    while let Some(argument) = arguments.next() {
        let setting = match argument.strip_prefix("--").or_else(|| argument.strip_prefix("-c")) {
            Some("") if argument == "-c" => arguments.next()?,
            Some(setting) => setting.to_owned(),
            None => return None,
        };
        let (name, value) = setting.split_once('=')?;
        // On a command line a server takes either mark.
        found.push((name.replace('-', "_"), value.to_owned()));
    }
    Some(found)
}

/// Between white space; a backslash makes the next character an ordinary one.
fn arguments(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut current: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}' => found.extend(current.take()),
            '\\' => {
                let current = current.get_or_insert_default();
                current.extend(characters.next());
            }
            other => current.get_or_insert_default().push(other),
        }
    }
    found.extend(current);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 10_000;

    fn packet(code: i32, rest: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        frame::write_untagged(&mut out, |out| {
            out.extend_from_slice(&code.to_be_bytes());
            out.extend_from_slice(rest);
        });
        out
    }

    #[test]
    fn packets() {
        let v3 = 3 << 16;
        let good = |parameters: &[(&str, &str)]| {
            Ok(FirstPacket::Startup(Startup {
                version: Version::V3_0,
                parameters: parameters
                    .iter()
                    .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
                    .collect(),
            }))
        };
        let cases: &[(Vec<u8>, Result<FirstPacket, StartupError>)] = &[
            (packet(SSL_REQUEST, b""), Ok(FirstPacket::Ssl)),
            (packet(SSL_REQUEST, b"x"), Err(StartupError::Length)),
            (packet(GSSENC_REQUEST, b""), Ok(FirstPacket::GssEnc)),
            (
                packet(CANCEL_REQUEST, &[0, 0, 0, 7, 1, 2, 3, 4]),
                Ok(FirstPacket::Cancel { pid: 7, key: vec![1, 2, 3, 4] }),
            ),
            (packet(CANCEL_REQUEST, &[0, 0, 0, 7]), Err(StartupError::Length)),
            (packet(v3, b"user\0a\0\0"), good(&[("user", "a")])),
            (packet(v3, b"user\0a\0database\0\0\0"), good(&[("user", "a"), ("database", "")])),
            (packet(v3, b"\0"), good(&[])),
            (packet(v3, b"user\0a\0"), Err(StartupError::Layout)),
            (packet(v3, b"user\0a"), Err(StartupError::Layout)),
            (packet(v3, b"user\0\0"), Err(StartupError::Layout)),
            (packet(v3, b"user\0a\0\0x"), Err(StartupError::Layout)),
            (packet(v3, b""), Err(StartupError::Layout)),
            (vec![0, 0, 0, 7, 0, 3, 0], Err(StartupError::Length)),
            (vec![255, 255, 255, 255, 0, 3, 0, 0], Err(StartupError::Length)),
            (vec![0, 0, 0, 0], Err(StartupError::Length)),
        ];
        for (bytes, want) in cases {
            let got = read(bytes, MAX).map(|packet| packet.expect("complete").0);
            assert_eq!(&got, want, "{bytes:?}");
        }
    }

    #[test]
    fn every_piece_but_the_whole_asks_for_more() {
        let bytes = packet(3 << 16, b"user\0agent\0\0");
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut], MAX), Ok(None), "{cut}");
        }
        assert!(read(&bytes, bytes.len()).unwrap().is_some());
        assert_eq!(read(&bytes, bytes.len() - 1), Err(StartupError::Length));
    }

    #[test]
    fn a_startup_is_read_as_it_was_written() {
        let startup = Startup {
            version: Version { major: 3, minor: 2 },
            parameters: vec![(b"user".to_vec(), b"a".to_vec()), (b"user".to_vec(), b"b".to_vec())],
        };
        let mut out = Vec::new();
        startup.write(&mut out);
        assert_eq!(startup.get("user"), Some(b"b".as_slice()));
        assert_eq!(read(&out, MAX).unwrap(), Some((FirstPacket::Startup(startup), out.len())));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&bytes, 64);
        }
    }

    #[test]
    fn options_are_settings() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        for (text, want) in [
            ("", Some(vec![])),
            ("-c geqo=off", Some(vec![pair("geqo", "off")])),
            (
                " -cgeqo=off --search-path=a,b\t-c  a.b=x\\ y\\\\",
                Some(vec![pair("geqo", "off"), pair("search_path", "a,b"), pair("a.b", "x y\\")]),
            ),
            ("-c", None),
            ("-c geqo", None),
            ("--geqo", None),
            ("-d 5", None),
            ("-c geqo=off -O", None),
            ("geqo=off", None),
        ] {
            assert_eq!(options(text), want, "{text}");
        }
    }
}
