//! Messages from a server to a client: their tags, those that a gate says itself, and those
//! that it reads while it logs in.

use crate::frame;
use crate::read::Body;
use crate::startup::Version;

pub const AUTHENTICATION: u8 = b'R';
pub const BACKEND_KEY_DATA: u8 = b'K';
pub const BIND_COMPLETE: u8 = b'2';
pub const CLOSE_COMPLETE: u8 = b'3';
pub const COMMAND_COMPLETE: u8 = b'C';
pub const COPY_BOTH_RESPONSE: u8 = b'W';
pub const COPY_DATA: u8 = b'd';
pub const COPY_DONE: u8 = b'c';
pub const COPY_IN_RESPONSE: u8 = b'G';
pub const COPY_OUT_RESPONSE: u8 = b'H';
pub const DATA_ROW: u8 = b'D';
pub const EMPTY_QUERY: u8 = b'I';
pub const ERROR: u8 = b'E';
pub const FUNCTION_CALL_RESPONSE: u8 = b'V';
pub const NEGOTIATE_PROTOCOL_VERSION: u8 = b'v';
pub const NO_DATA: u8 = b'n';
pub const NOTICE: u8 = b'N';
pub const NOTIFICATION: u8 = b'A';
pub const PARAMETER_DESCRIPTION: u8 = b't';
pub const PARAMETER_STATUS: u8 = b'S';
pub const PARSE_COMPLETE: u8 = b'1';
pub const PORTAL_SUSPENDED: u8 = b's';
pub const READY_FOR_QUERY: u8 = b'Z';
pub const ROW_DESCRIPTION: u8 = b'T';

/// What a server asks for, or says, while a client logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication<'a> {
    Ok,
    Cleartext,
    Md5 {
        salt: [u8; 4],
    },
    Sasl {
        mechanisms: Vec<&'a [u8]>,
    },
    SaslContinue(&'a [u8]),
    SaslFinal(&'a [u8]),
    /// Kerberos, GSS, SSPI and what may come: their number.
    Other(i32),
}

impl<'a> Authentication<'a> {
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let mut body = Body(body);
        Some(match body.i32()? {
            0 => Authentication::Ok,
            3 => Authentication::Cleartext,
            5 => Authentication::Md5 { salt: *body.0.first_chunk()? },
            10 => {
                let mut mechanisms = Vec::new();
                loop {
                    match body.cstr()? {
                        b"" => break,
                        mechanism => mechanisms.push(mechanism),
                    }
                }
                Authentication::Sasl { mechanisms }
            }
            11 => Authentication::SaslContinue(body.0),
            12 => Authentication::SaslFinal(body.0),
            other => Authentication::Other(other),
        })
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        let (code, data): (i32, &[u8]) = match self {
            Authentication::Ok => (0, &[]),
            Authentication::Cleartext => (3, &[]),
            Authentication::Md5 { salt } => (5, salt),
            Authentication::Sasl { .. } => (10, &[]),
            Authentication::SaslContinue(data) => (11, data),
            Authentication::SaslFinal(data) => (12, data),
            Authentication::Other(code) => (*code, &[]),
        };
        frame::write(out, AUTHENTICATION, |out| {
            out.extend_from_slice(&code.to_be_bytes());
            out.extend_from_slice(data);
            if let Authentication::Sasl { mechanisms } = self {
                for mechanism in mechanisms {
                    frame::write_cstr(out, mechanism);
                }
                out.push(0);
            }
        });
    }
}

/// The fields of an error or a notice, as we say them. The severity stands twice: once in the
/// words of the server's language, once for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report<'a> {
    pub severity: &'a str,
    pub code: &'a str,
    pub message: &'a str,
    pub detail: Option<&'a str>,
    pub hint: Option<&'a str>,
    /// Where in the text of the client, in characters from 1.
    pub position: Option<u32>,
}

impl Report<'_> {
    pub fn write_error(&self, out: &mut Vec<u8>) {
        self.write(out, ERROR);
    }

    pub fn write_notice(&self, out: &mut Vec<u8>) {
        self.write(out, NOTICE);
    }

    fn write(&self, out: &mut Vec<u8>, tag: u8) {
        let fields = [
            (b'S', Some(self.severity)),
            (b'V', Some(self.severity)),
            (b'C', Some(self.code)),
            (b'M', Some(self.message)),
            (b'D', self.detail),
            (b'H', self.hint),
        ];
        frame::write(out, tag, |out| {
            for (field, text) in fields {
                if let Some(text) = text {
                    out.push(field);
                    frame::write_cstr(out, text.as_bytes());
                }
            }
            if let Some(position) = self.position {
                out.push(b'P');
                frame::write_cstr(out, position.to_string().as_bytes());
            }
            out.push(0);
        });
    }
}

/// An error whose fields stand in `body` already.
pub fn write_error_body(out: &mut Vec<u8>, body: &[u8]) {
    frame::write(out, ERROR, |out| out.extend_from_slice(body));
}

/// A message of any kind, whose body stands in `body` already.
pub fn write_message(out: &mut Vec<u8>, tag: u8, body: &[u8]) {
    frame::write(out, tag, |out| out.extend_from_slice(body));
}

/// What we want to know of a server's error. Its other fields can be long and come later, so a
/// body that is not whole is read as far as it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ErrorFields<'a> {
    /// In PostgreSQL's own words, whatever the server's language.
    pub severity: &'a [u8],
    pub code: &'a [u8],
    pub message: &'a [u8],
}

impl<'a> ErrorFields<'a> {
    pub fn read(body: &'a [u8]) -> Self {
        let mut body = Body(body);
        let mut fields = ErrorFields::default();
        while let Some(field @ 1..) = body.u8() {
            let Some(text) = body.cstr() else {
                break;
            };
            match field {
                b'V' => fields.severity = text,
                b'C' => fields.code = text,
                b'M' => fields.message = text,
                _ => {}
            }
        }
        fields
    }
}

/// A message as it came, of which all is here.
pub fn write_as_it_came(out: &mut Vec<u8>, frame: &frame::Frame<'_>) {
    frame::write(out, frame.tag, |out| out.extend_from_slice(frame.body));
}

/// A setting that a server reports: its name and value.
pub fn parameter_status(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut body = Body(body);
    Some((body.cstr()?, body.cstr()?))
}

/// The command tag of CommandComplete, as far as it is here.
pub fn command_tag(body: &[u8]) -> &[u8] {
    body.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// The types of a prepared statement's parameters, as far as they are here.
pub fn parameter_types(body: &[u8]) -> Vec<u32> {
    let mut body = Body(body);
    let count = body.u16().unwrap_or(0);
    (0..count).map_while(|_| body.i32()).map(i32::cast_unsigned).collect()
}

/// The values of a DataRow; `None` where it is not one.
pub fn data_row(body: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    let mut body = Body(body);
    let count = body.u16()?;
    // Grows with what is really there, whatever the count says.
    let mut values = Vec::new();
    for _ in 0..count {
        let length = body.i32()?;
        values.push(match usize::try_from(length) {
            Ok(length) => Some(body.take(length)?),
            Err(_) => None,
        });
    }
    body.is_empty().then_some(values)
}

/// The backend's process and the key that cancels its query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackendKey<'a> {
    pub pid: i32,
    pub key: &'a [u8],
}

impl<'a> BackendKey<'a> {
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let mut body = Body(body);
        let pid = body.i32()?;
        let fits = (1..=crate::startup::CANCEL_KEY_BYTES_MAX).contains(&body.0.len());
        fits.then_some(BackendKey { pid, key: body.0 })
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        frame::write(out, BACKEND_KEY_DATA, |out| {
            out.extend_from_slice(&self.pid.to_be_bytes());
            out.extend_from_slice(self.key);
        });
    }
}

/// Says which version we speak, and which protocol options of the client we don't know.
pub fn write_negotiate(out: &mut Vec<u8>, version: Version, unknown: &[&[u8]]) {
    frame::write(out, NEGOTIATE_PROTOCOL_VERSION, |out| {
        // The documentation calls the field a minor version; servers send the whole number.
        let number = (i32::from(version.major) << 16) | i32::from(version.minor);
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(&i32::try_from(unknown.len()).unwrap_or(0).to_be_bytes());
        for name in unknown {
            frame::write_cstr(out, name);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn authentication_is_read_as_it_was_written() {
        for said in [
            Authentication::Ok,
            Authentication::Cleartext,
            Authentication::Md5 { salt: [1, 2, 3, 4] },
            Authentication::Sasl { mechanisms: vec![b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256"] },
            Authentication::SaslContinue(b"r=x"),
            Authentication::SaslFinal(b"v=y"),
            Authentication::Other(7),
        ] {
            let mut out = Vec::new();
            said.write(&mut out);
            let frame = frame::whole(&out, 100).unwrap().unwrap();
            assert_eq!(Authentication::read(frame.body), Some(said));
        }
        assert_eq!(Authentication::read(&[0, 0, 0, 5, 1, 2]), None);
        assert_eq!(Authentication::read(b"\0\0\0\x0aSCRAM"), None);
        assert_eq!(Authentication::read(&[0, 0]), None);
    }

    #[test]
    fn a_report_has_the_fields_that_clients_look_for() {
        let mut out = Vec::new();
        Report {
            severity: "FATAL",
            code: "28P01",
            message: "no",
            detail: None,
            hint: Some("ask"),
            position: None,
        }
        .write_error(&mut out);
        let frame = frame::whole(&out, 100).unwrap().unwrap();
        assert_eq!(frame.body, b"SFATAL\0VFATAL\0C28P01\0Mno\0Hask\0\0");
        let fields = ErrorFields::read(frame.body);
        assert_eq!((fields.code, fields.message), (b"28P01".as_slice(), b"no".as_slice()));
        let cut = ErrorFields::read(b"SERROR\0C28P01\0Mcut off");
        assert_eq!((cut.code, cut.message), (b"28P01".as_slice(), b"".as_slice()));
    }

    #[test]
    fn backend_keys() {
        let read = |body: &'static [u8]| BackendKey::read(body).map(|key| (key.pid, key.key));
        assert_eq!(read(&[0, 0, 0, 9, 1, 2, 3, 4]), Some((9, [1, 2, 3, 4].as_slice())));
        assert_eq!(read(&[0, 0, 0, 9]), None);
        assert_eq!(read(&[0, 0]), None);
    }

    #[test]
    fn values_of_a_row() {
        let row = [0, 3, 0, 0, 0, 1, b'a', 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        assert_eq!(data_row(&row), Some(vec![Some(b"a".as_slice()), None, Some(b"".as_slice())]));
        assert_eq!(data_row(&row[..14]), None);
        assert_eq!(data_row(&[row.as_slice(), b"x"].concat()), None, "more than it says");
        assert_eq!(data_row(&[0, 0]), Some(vec![]));
    }

    proptest! {
        #[test]
        fn any_body_is_read_without_panic(body in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Authentication::read(&body);
            let _ = ErrorFields::read(&body);
            let _ = BackendKey::read(&body);
            let _ = (parameter_status(&body), command_tag(&body), parameter_types(&body));
            let _ = data_row(&body);
        }
    }
}
