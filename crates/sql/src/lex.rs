//! PostgreSQL's tokens: where each one starts and ends, and of which kind it is.
//!
//! The rules are those of the server's own lexer with `standard_conforming_strings` on. What a
//! token means is for others. Each call looks at one token; whoever walks a text calls it again
//! from where the last one ended, so walking is linear and nothing recurses.
//! <https://www.postgresql.org/docs/current/sql-syntax-lexical.html>

/// A quote, a dollar quote or a comment that nothing ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unlexed;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Space,
    /// `-- …` or `/* … */`, with the ones nested in it.
    Comment,
    /// An unquoted identifier or a keyword.
    Word,
    /// `"…"`, or `U&"…"`.
    QuotedName {
        unicode: bool,
    },
    Text(Quote),
    /// `$1`.
    Parameter,
    Number,
    /// Operators and punctuation, one byte each: longer operators are several tokens.
    Mark(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quote {
    /// `'…'` and `N'…'`.
    Plain,
    /// `E'…'`: a backslash escapes.
    Escape,
    /// `U&'…'`.
    Unicode,
    /// `B'…'` and `X'…'`.
    Bits,
    /// `$tag$…$tag$`; the length of `$tag$`.
    Dollar(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// The token that starts at `start`, or `None` at the end of the text.
pub(crate) fn token(text: &str, start: usize) -> Result<Option<Token>, Unlexed> {
    let bytes = text.as_bytes();
    let at = |ahead: usize| bytes.get(start + ahead).copied();
    let Some(first) = at(0) else { return Ok(None) };
    let (kind, end) = match (first, at(1), at(2)) {
        (b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c, ..) => {
            (Kind::Space, run(bytes, start, is_space))
        }
        (b'-', Some(b'-'), _) => (Kind::Comment, run(bytes, start, |b| !is_newline(b))),
        (b'/', Some(b'*'), _) => (Kind::Comment, comment_end(bytes, start)?),
        (b'\'', ..) => (Kind::Text(Quote::Plain), text_end(bytes, start + 1, false)?),
        (b'n' | b'N', Some(b'\''), _) => {
            (Kind::Text(Quote::Plain), text_end(bytes, start + 2, false)?)
        }
        (b'e' | b'E', Some(b'\''), _) => {
            (Kind::Text(Quote::Escape), text_end(bytes, start + 2, true)?)
        }
        (b'b' | b'B' | b'x' | b'X', Some(b'\''), _) => {
            (Kind::Text(Quote::Bits), text_end(bytes, start + 2, false)?)
        }
        (b'u' | b'U', Some(b'&'), Some(b'\'')) => {
            (Kind::Text(Quote::Unicode), text_end(bytes, start + 3, false)?)
        }
        (b'u' | b'U', Some(b'&'), Some(b'"')) => {
            (Kind::QuotedName { unicode: true }, name_end(bytes, start + 3)?)
        }
        (b'"', ..) => (Kind::QuotedName { unicode: false }, name_end(bytes, start + 1)?),
        (b'$', Some(b'0'..=b'9'), _) => {
            (Kind::Parameter, run(bytes, start + 1, |b| b.is_ascii_digit()))
        }
        (b'$', ..) => match dollar_tag(text, start) {
            Some(tag) => {
                let body = start + tag.len();
                let close = text.get(body..).and_then(|rest| rest.find(tag)).ok_or(Unlexed)?;
                (Kind::Text(Quote::Dollar(tag.len())), body + close + tag.len())
            }
            None => (Kind::Mark(first), start + 1),
        },
        (b'0'..=b'9', ..) => (Kind::Number, number_end(bytes, start)),
        (b, ..) if starts_name(b) => (Kind::Word, run(bytes, start, continues_name)),
        _ => (Kind::Mark(first), start + 1),
    };
    Ok(Some(Token { kind, start, end }))
}

fn run(bytes: &[u8], start: usize, takes: impl Fn(u8) -> bool) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    start + rest.iter().position(|&b| !takes(b)).unwrap_or(rest.len())
}

/// What bytes can be, as bits: each text is lexed byte by byte, and this is one look at each.
const SPACE: u8 = 1;
const STARTS_NAME: u8 = 2;
const CONTINUES_NAME: u8 = 4;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut rest: &mut [u8] = &mut classes;
    let mut byte = 0u8;
    while let Some((class, more)) = rest.split_first_mut() {
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c) {
            *class |= SPACE;
        }
        if byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80 {
            *class |= STARTS_NAME | CONTINUES_NAME;
        }
        if byte.is_ascii_digit() || byte == b'$' {
            *class |= CONTINUES_NAME;
        }
        byte = byte.wrapping_add(1);
        rest = more;
    }
    classes
};

fn is(b: u8, class: u8) -> bool {
    CLASSES.get(usize::from(b)).is_some_and(|of| of & class != 0)
}

fn is_space(b: u8) -> bool {
    is(b, SPACE)
}

fn is_newline(b: u8) -> bool {
    matches!(b, b'\n' | b'\r')
}

fn starts_name(b: u8) -> bool {
    is(b, STARTS_NAME)
}

fn continues_name(b: u8) -> bool {
    is(b, CONTINUES_NAME)
}

/// Digits, underscores and dots; letters that follow (hexadecimal, exponent, or junk that the
/// server takes for a name or an error) go on as a name does.
fn number_end(bytes: &[u8], start: usize) -> usize {
    let end = run(bytes, start, |b| b.is_ascii_digit() || b == b'.' || b == b'_');
    match bytes.get(end) {
        Some(&b) if starts_name(b) => run(bytes, end, continues_name),
        _ => end,
    }
}

fn comment_end(bytes: &[u8], start: usize) -> Result<usize, Unlexed> {
    let mut depth = 0u64;
    let mut position = start;
    loop {
        match (bytes.get(position), bytes.get(position + 1)) {
            (Some(b'/'), Some(b'*')) => {
                depth += 1;
                position += 2;
            }
            (Some(b'*'), Some(b'/')) => {
                depth = depth.saturating_sub(1);
                position += 2;
                if depth == 0 {
                    return Ok(position);
                }
            }
            (Some(_), _) => position += 1,
            (None, _) => return Err(Unlexed),
        }
    }
}

/// Where a text whose opening quote is behind `position` ends. Pieces that only white space with
/// a newline in it keeps apart are one text, under the rules of the first piece.
fn text_end(bytes: &[u8], position: usize, escapes: bool) -> Result<usize, Unlexed> {
    let mut position = position;
    loop {
        position = run(bytes, position, |b| b != b'\'' && !(escapes && b == b'\\'));
        match (bytes.get(position), bytes.get(position + 1)) {
            (Some(b'\\'), Some(_)) | (Some(b'\''), Some(b'\'')) => position += 2,
            (Some(b'\''), _) => match continued(bytes, position + 1) {
                Some(next) => position = next,
                None => return Ok(position + 1),
            },
            _ => return Err(Unlexed),
        }
    }
}

/// Behind the quote of the piece that continues a text which was closed before `position`.
fn continued(bytes: &[u8], position: usize) -> Option<usize> {
    let mut position = position;
    let mut newline = false;
    loop {
        match (bytes.get(position)?, bytes.get(position + 1)) {
            (&b, _) if is_space(b) => {
                newline |= is_newline(b);
                position += 1;
            }
            (b'-', Some(b'-')) => position = run(bytes, position, |b| !is_newline(b)),
            (b'\'', _) if newline => return Some(position + 1),
            _ => return None,
        }
    }
}

fn name_end(bytes: &[u8], position: usize) -> Result<usize, Unlexed> {
    let mut position = position;
    loop {
        position = run(bytes, position, |b| b != b'"');
        match (bytes.get(position), bytes.get(position + 1)) {
            (Some(b'"'), Some(b'"')) => position += 2,
            (Some(b'"'), _) => return Ok(position + 1),
            _ => return Err(Unlexed),
        }
    }
}

/// `$$` or `$tag$` at `start`.
fn dollar_tag(text: &str, start: usize) -> Option<&str> {
    let bytes = text.as_bytes();
    let end = match bytes.get(start + 1) {
        Some(&b) if starts_name(b) => {
            run(bytes, start + 1, |b| starts_name(b) || b.is_ascii_digit())
        }
        _ => start + 1,
    };
    if bytes.get(end) == Some(&b'$') { text.get(start..=end) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tokens other than white space, as text, with a letter for the kind.
    fn lex(text: &str) -> Result<Vec<String>, Unlexed> {
        let mut found = Vec::new();
        let mut position = 0;
        while let Some(token) = token(text, position)? {
            assert!(token.start == position && token.end > position);
            position = token.end;
            let letter = match token.kind {
                Kind::Space => continue,
                Kind::Comment => 'c',
                Kind::Word => 'w',
                Kind::QuotedName { .. } => 'q',
                Kind::Text(_) => 't',
                Kind::Parameter => 'p',
                Kind::Number => 'n',
                Kind::Mark(_) => 'm',
            };
            found.push(format!("{letter}{}", text.get(token.start..token.end).unwrap()));
        }
        assert_eq!(position, text.len());
        Ok(found)
    }

    #[test]
    fn tokens() {
        for (text, expected) in [
            ("select a$1, $1", vec!["wselect", "wa$1", "m,", "p$1"]),
            ("'a''b' 'c'", vec!["t'a''b'", "t'c'"]),
            ("'a' \n -- x\n 'b'", vec!["t'a' \n -- x\n 'b'"]),
            ("'a' -- x\n'b'", vec!["t'a' -- x\n'b'"]),
            ("'a' /* \n */ 'b'", vec!["t'a'", "c/* \n */", "t'b'"]),
            (r"'a\' x", vec![r"t'a\'", "wx"]),
            (r"E'a\' x'", vec![r"tE'a\' x'"]),
            ("e'a'\n'\\''", vec!["te'a'\n'\\''"]),
            ("xe'a'", vec!["wxe", "t'a'"]),
            (
                "u&'a' U&\"b\" n'c' B'1' X'ff'",
                vec!["tu&'a'", "qU&\"b\"", "tn'c'", "tB'1'", "tX'ff'"],
            ),
            ("\"a\"\"b\"", vec!["q\"a\"\"b\""]),
            ("$$a'b$$", vec!["t$$a'b$$"]),
            ("$a$ $b$ $$ $a$", vec!["t$a$ $b$ $$ $a$"]),
            ("a$$b$$", vec!["wa$$b$$"]),
            ("$1$$a$$", vec!["p$1", "t$$a$$"]),
            ("/* /* ' */ */x", vec!["c/* /* ' */ */", "wx"]),
            ("1--2\n+3", vec!["n1", "c--2", "m+", "n3"]),
            ("1.5e7 0xff 1_000", vec!["n1.5e7", "n0xff", "n1_000"]),
            ("a*/* x */b", vec!["wa", "m*", "c/* x */", "wb"]),
            ("größe=ü", vec!["wgröße", "m=", "wü"]),
            ("$ü$'$ü$", vec!["t$ü$'$ü$"]),
        ] {
            assert_eq!(lex(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_nothing_ends() {
        for text in ["'a", "'a''", "E'a\\'", "\"a", "$$a$", "$a$ $b$", "/* /* */", "U&'", "'a'\n'b"]
        {
            assert_eq!(lex(text), Err(Unlexed), "{text}");
        }
    }
}
