//! Asking whoever sits at the terminal for a secret, without showing it.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Read, Write as _};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// A provider's token is some kilobytes.
const SECRET_BYTES_MAX: usize = 64 << 10;

const INTERRUPT: u8 = 3;
const END: u8 = 4;
const BACKSPACE: [u8; 2] = [8, 127];
const ERASE_ALL: u8 = 21;

pub(crate) fn is_there() -> bool {
    io::stdin().is_terminal()
}

/// Reads each byte as it is typed: the terminal's own lines end after 4,095, and tokens don't.
pub(crate) fn secret(prompt: &str) -> io::Result<String> {
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    let before = tcgetattr(&terminal)?;
    let mut silent = before.clone();
    // Without ISIG an interrupt is a byte, too, so that the terminal is always set back.
    silent.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
    tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
    let read = terminal.write_all(prompt.as_bytes()).and_then(|()| line(&mut terminal));
    tcsetattr(&terminal, OptionalActions::Now, &before)?;
    terminal.write_all(b"\n")?;
    read
}

fn line(input: &mut impl Read) -> io::Result<String> {
    let mut typed = Vec::new();
    let mut byte = [0];
    loop {
        input.read_exact(&mut byte)?;
        match byte {
            [b'\r' | b'\n'] if !typed.is_empty() => break,
            [INTERRUPT | END | b'\r' | b'\n'] => return Err(io::ErrorKind::Interrupted.into()),
            [ERASE_ALL] => typed.clear(),
            [it] if BACKSPACE.contains(&it) => drop(typed.pop()),
            [it] if typed.len() < SECRET_BYTES_MAX => typed.push(it),
            _ => return Err(io::Error::other("it is too long")),
        }
    }
    let text = String::from_utf8(typed).map_err(|_| io::Error::other("it is not UTF-8"))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed() {
        let typed = |bytes: &[u8]| line(&mut &*bytes).ok();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(typed(b"gp_abc\r"), some("gp_abc"));
        assert_eq!(typed(b" gp_abd\x7fc\nrest"), some("gp_abc"));
        assert_eq!(typed(b"wrong\x15right\n"), some("right"));
        let long = "x".repeat(10_000);
        assert_eq!(typed(format!("{long}\n").as_bytes()), some(&long));
        for none in [&b"\n"[..], b"abc\x03", b"abc\x04", b"abc", b"\xff\n", b""] {
            assert_eq!(typed(none), None, "{none:?}");
        }
        assert_eq!(typed(&[b'x'; SECRET_BYTES_MAX + 1]), None);
    }
}
