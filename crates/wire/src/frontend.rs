//! Messages from a client to a server: their tags, and the few of the login that we read or
//! write ourselves.

use crate::frame;
use crate::read::Body;

pub const BIND: u8 = b'B';
pub const CLOSE: u8 = b'C';
pub const COPY_DATA: u8 = b'd';
pub const COPY_DONE: u8 = b'c';
pub const COPY_FAIL: u8 = b'f';
pub const DESCRIBE: u8 = b'D';
pub const EXECUTE: u8 = b'E';
pub const FLUSH: u8 = b'H';
pub const FUNCTION_CALL: u8 = b'F';
pub const PARSE: u8 = b'P';
/// Password, SASL and GSS responses share this tag; what was asked decides which it is.
pub const PASSWORD: u8 = b'p';
pub const QUERY: u8 = b'Q';
pub const SYNC: u8 = b'S';
pub const TERMINATE: u8 = b'X';

pub fn write_ssl_request(out: &mut Vec<u8>) {
    frame::write_untagged(out, |out| out.extend_from_slice(&80_877_103i32.to_be_bytes()));
}

pub fn write_cancel_request(out: &mut Vec<u8>, pid: i32, key: &[u8]) {
    frame::write_untagged(out, |out| {
        out.extend_from_slice(&80_877_102i32.to_be_bytes());
        out.extend_from_slice(&pid.to_be_bytes());
        out.extend_from_slice(key);
    });
}

pub fn write_terminate(out: &mut Vec<u8>) {
    frame::write(out, TERMINATE, |_| {});
}

pub fn write_password(out: &mut Vec<u8>, password: &[u8]) {
    frame::write(out, PASSWORD, |out| frame::write_cstr(out, password));
}

pub fn write_sasl_initial(out: &mut Vec<u8>, mechanism: &str, data: &[u8]) {
    frame::write(out, PASSWORD, |out| {
        frame::write_cstr(out, mechanism.as_bytes());
        let length = i32::try_from(data.len()).unwrap_or(-1);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(data);
    });
}

pub fn write_sasl_response(out: &mut Vec<u8>, data: &[u8]) {
    frame::write(out, PASSWORD, |out| out.extend_from_slice(data));
}

/// A client's choice of a SASL mechanism, and what it says first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaslInitial<'a> {
    pub mechanism: &'a [u8],
    pub data: Option<&'a [u8]>,
}

impl<'a> SaslInitial<'a> {
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let mut body = Body(body);
        let mechanism = body.cstr()?;
        let data = match body.i32()? {
            -1 => None,
            length => Some(body.take(usize::try_from(length).ok()?)?),
        };
        body.is_empty().then_some(SaslInitial { mechanism, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sasl_initial_responses() {
        let read = |body: &'static [u8]| {
            SaslInitial::read(body).map(|initial| (initial.mechanism, initial.data))
        };
        assert_eq!(
            read(b"SCRAM-SHA-256\0\0\0\0\x02n,"),
            Some((b"SCRAM-SHA-256".as_slice(), Some(b"n,".as_slice())))
        );
        assert_eq!(read(b"X\0\xff\xff\xff\xff"), Some((b"X".as_slice(), None)));
        assert_eq!(read(b"X\0\xff\xff\xff\xfe"), None);
        assert_eq!(read(b"X\0\0\0\0\x03n,"), None);
        assert_eq!(read(b"X\0\0\0\0\x01n,"), None);
        assert_eq!(read(b"X"), None);
    }

    #[test]
    fn what_is_written_is_a_frame() {
        let mut out = Vec::new();
        write_sasl_initial(&mut out, "SCRAM-SHA-256", b"n,,n=,r=x");
        let frame = frame::whole(&out, 100).unwrap().unwrap();
        assert_eq!(frame.tag, PASSWORD);
        let initial = SaslInitial::read(frame.body).unwrap();
        assert_eq!(initial.data, Some(b"n,,n=,r=x".as_slice()));
    }
}
