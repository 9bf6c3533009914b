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

/// A statement to prepare. Bodies can be looked at before they are whole; what is missing is
/// said to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parse<'a> {
    pub name: &'a [u8],
    pub text: &'a [u8],
    /// The text goes on behind what has been shown.
    pub text_is_cut: bool,
    /// The parameters' types that the client names; zero leaves one to the server.
    pub types: Vec<u32>,
}

impl<'a> Parse<'a> {
    pub fn read(body: &'a [u8], is_whole: bool) -> Option<Self> {
        let mut body = Body(body);
        let name = kept(body.cstr()?);
        let Some(text) = body.cstr() else {
            let text = body.0;
            return (!is_whole).then_some(Parse { name, text, text_is_cut: true, types: vec![] });
        };
        let count = body.u16();
        let types = (0..count.unwrap_or(0)).map_while(|_| body.i32()).map(i32::cast_unsigned);
        Some(Parse { name, text, text_is_cut: false, types: types.collect() })
    }
}

/// A portal to make of a prepared statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind<'a> {
    pub portal: &'a [u8],
    pub statement: &'a [u8],
    pub parameters: Vec<Value<'a>>,
    /// There are more parameters behind what has been shown.
    pub is_cut: bool,
}

/// A parameter's value as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value<'a> {
    pub is_binary: bool,
    /// What is here of it; `None` is NULL.
    pub bytes: Option<&'a [u8]>,
}

impl<'a> Bind<'a> {
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let mut body = Body(body);
        let (portal, statement) = (kept(body.cstr()?), kept(body.cstr()?));
        let (parameters, is_cut) = values(&mut body);
        Some(Bind { portal, statement, parameters, is_cut })
    }
}

/// A call of a function by its oid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionCall<'a> {
    pub function: u32,
    pub arguments: Vec<Value<'a>>,
    pub is_cut: bool,
}

impl<'a> FunctionCall<'a> {
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let mut body = Body(body);
        let function = body.i32()?.cast_unsigned();
        let (arguments, is_cut) = values(&mut body);
        Some(FunctionCall { function, arguments, is_cut })
    }
}

/// Format codes, then values, as far as they are here.
fn values<'a>(body: &mut Body<'a>) -> (Vec<Value<'a>>, bool) {
    let formats = body.u16().and_then(|count| body.take(2 * usize::from(count)));
    let (Some(formats), Some(count)) = (formats, body.u16()) else {
        return (Vec::new(), true);
    };
    let mut formats = formats.chunks_exact(2).map(|format| format != [0, 0]);
    let for_all = if formats.len() == 1 { formats.next() } else { None };
    // As many as can be here: each says its length.
    let mut values = Vec::with_capacity(usize::from(count).min(body.0.len() / 4));
    for _ in 0..count {
        let is_binary = for_all.unwrap_or_else(|| formats.next().unwrap_or(false));
        let Some(length) = body.i32() else {
            return (values, true);
        };
        let Ok(length) = usize::try_from(length) else {
            values.push(Value { is_binary, bytes: None });
            continue;
        };
        match body.take(length) {
            Some(bytes) => values.push(Value { is_binary, bytes: Some(bytes) }),
            None => {
                values.push(Value { is_binary, bytes: Some(body.0) });
                return (values, true);
            }
        }
    }
    (values, false)
}

/// A name that a message begins with: of the portal to execute, of what to describe or close
/// (behind a byte that says which).
pub fn name(body: &[u8]) -> Option<&[u8]> {
    Body(body).cstr().map(kept)
}

/// Of a statement's or portal's name the server keeps no more (NAMEDATALEN, less one), and looks at
/// no more: names that begin alike are one.
const NAME_BYTES_MAX: usize = 63;

fn kept(name: &[u8]) -> &[u8] {
    name.get(..NAME_BYTES_MAX).unwrap_or(name)
}

pub fn write_query(out: &mut Vec<u8>, text: &str) {
    frame::write(out, QUERY, |out| frame::write_cstr(out, text.as_bytes()));
}

pub fn write_parse(out: &mut Vec<u8>, name: &[u8], text: &str) {
    write_parse_of(out, name, text, &[]);
}

/// With the types of parameters, as [`Parse`] has them.
pub fn write_parse_of(out: &mut Vec<u8>, name: &[u8], text: &str, types: &[u32]) {
    frame::write(out, PARSE, |out| {
        frame::write_cstr(out, name);
        frame::write_cstr(out, text.as_bytes());
        // A message that was read has no more than fit.
        out.extend_from_slice(&u16::try_from(types.len()).unwrap_or(0).to_be_bytes());
        types.iter().for_each(|oid| out.extend_from_slice(&oid.to_be_bytes()));
    });
}

/// Values as they came, for results in text.
pub fn write_bind(out: &mut Vec<u8>, portal: &[u8], statement: &[u8], values: &[Value<'_>]) {
    let count = u16::try_from(values.len()).unwrap_or(0).to_be_bytes();
    frame::write(out, BIND, |out| {
        frame::write_cstr(out, portal);
        frame::write_cstr(out, statement);
        out.extend_from_slice(&count);
        for value in values {
            out.extend_from_slice(&u16::from(value.is_binary).to_be_bytes());
        }
        out.extend_from_slice(&count);
        for value in values {
            let length = value.bytes.map_or(-1, |bytes| i32::try_from(bytes.len()).unwrap_or(-1));
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(value.bytes.unwrap_or_default());
        }
        out.extend_from_slice(&[0; 2]);
    });
}

/// Asks a statement without parameters, from Parse to Close, under a `name` of its own for statement
/// and portal. It leaves nothing behind; what makes the answers come is the caller's to send.
pub fn write_question(out: &mut Vec<u8>, name: &[u8], text: &str) {
    write_parse(out, name, text);
    write_bind(out, name, name, &[]);
    write_asked(out, name);
}

/// The end of a question whose Parse and Bind are written, under one `name`.
pub fn write_asked(out: &mut Vec<u8>, name: &[u8]) {
    frame::write(out, EXECUTE, |out| {
        frame::write_cstr(out, name);
        out.extend_from_slice(&0i32.to_be_bytes());
    });
    for what in [b'P', b'S'] {
        frame::write(out, CLOSE, |out| {
            out.push(what);
            frame::write_cstr(out, name);
        });
    }
}

/// `what` is `S` for a statement, `P` for a portal.
pub fn write_describe(out: &mut Vec<u8>, what: u8, name: &[u8]) {
    frame::write(out, DESCRIBE, |out| {
        out.push(what);
        frame::write_cstr(out, name);
    });
}

/// As [`write_describe`].
pub fn write_close(out: &mut Vec<u8>, what: u8, name: &[u8]) {
    frame::write(out, CLOSE, |out| {
        out.push(what);
        frame::write_cstr(out, name);
    });
}

pub fn write_copy_done(out: &mut Vec<u8>) {
    frame::write(out, COPY_DONE, |_| {});
}

/// A Bind whose body is here.
pub fn write_bind_body(out: &mut Vec<u8>, body: &[u8]) {
    frame::write(out, BIND, |out| out.extend_from_slice(body));
}

/// An Execute whose body is here.
pub fn write_execute(out: &mut Vec<u8>, body: &[u8]) {
    frame::write(out, EXECUTE, |out| out.extend_from_slice(body));
}

pub fn write_sync(out: &mut Vec<u8>) {
    frame::write(out, SYNC, |_| {});
}

pub fn write_flush(out: &mut Vec<u8>) {
    frame::write(out, FLUSH, |_| {});
}

/// A call without arguments, of text results.
pub fn write_function_call(out: &mut Vec<u8>, function: u32) {
    frame::write(out, FUNCTION_CALL, |out| {
        out.extend_from_slice(&function.to_be_bytes());
        out.extend_from_slice(&[0; 6]);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parse_whole_and_cut() {
        let body = b"s\0SELECT $1\0\0\x01\0\0\0\x17";
        let whole = Parse::read(body, true).unwrap();
        assert_eq!((whole.name, whole.text), (b"s".as_slice(), b"SELECT $1".as_slice()));
        assert_eq!((whole.types, whole.text_is_cut), (vec![23], false));
        let cut = Parse::read(&body[..8], false).unwrap();
        assert_eq!((cut.text, cut.text_is_cut), (b"SELECT".as_slice(), true));
        assert_eq!(Parse::read(&body[..8], true), None);
        assert_eq!(Parse::read(b"s", false), None);
    }

    #[test]
    fn bind_whole_and_cut() {
        let body = b"p\0s\0\0\x02\0\0\0\x01\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\x01c\0\0";
        let whole = Bind::read(body).unwrap();
        assert_eq!((whole.portal, whole.statement), (b"p".as_slice(), b"s".as_slice()));
        let value = |is_binary, bytes: Option<&'static [u8]>| Value { is_binary, bytes };
        let all = [value(false, Some(b"ab")), value(true, None), value(false, Some(b"c"))];
        assert_eq!((whole.parameters.as_slice(), whole.is_cut), (all.as_slice(), false));
        let cut = Bind::read(&body[..17]).unwrap();
        assert_eq!(
            (cut.parameters.as_slice(), cut.is_cut),
            ([value(false, Some(b"a"))].as_slice(), true)
        );
        assert_eq!(Bind::read(b"p\0s"), None);
    }

    #[test]
    fn names_are_as_long_as_the_server_keeps_them() {
        let long = [b"a".repeat(63), b"bc".to_vec()].concat();
        let kept = &long[..63];
        assert_eq!(name(&[long.as_slice(), b"\0"].concat()), Some(kept));
        let parse = [long.as_slice(), b"\0SELECT 1\0\0\0"].concat();
        assert_eq!(Parse::read(&parse, true).unwrap().name, kept);
        let bind = [long.as_slice(), b"\0", &long, b"\0\0\0\0\0\0\0"].concat();
        let bind = Bind::read(&bind).unwrap();
        assert_eq!((bind.portal, bind.statement), (kept, kept));
        assert_eq!(name(&[kept, b"\0"].concat()), Some(kept));
    }

    proptest! {
        #[test]
        fn any_body_is_read_without_panic(body in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = (Parse::read(&body, true), Parse::read(&body, false), name(&body));
            let _ = (Bind::read(&body), FunctionCall::read(&body), SaslInitial::read(&body));
        }
    }

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
