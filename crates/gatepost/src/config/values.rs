//! Reads single values of the configuration and the command line: durations, counts, addresses
//! and names. Answers with one clause that can follow the key's name; knows no file and no place.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gateway::Address;
use gateway::settings::Host;

/// No bound is a number that a queue or a semaphore could not take.
pub(crate) const COUNT_MAX: usize = 1_000_000;

/// Ten years: every instant plus this is still an instant.
const DURATION_MAX: Duration = Duration::from_secs(3650 * 86_400);

/// `sockaddr_un` holds 108 bytes, the last of which is NUL.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// As long as a name in PostgreSQL.
const NAME_BYTES_MAX: usize = 63;

/// The port of PostgreSQL.
const PORT: u16 = 5432;

/// A whole number and its unit, zero included.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or((text, ""));
    if number.is_empty() {
        return Err(format!("`{text}` is not a duration such as 500ms, 30s, 15m, 1h or 2d"));
    }
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" => return Err(format!("`{text}` has no unit; write {text}s for seconds")),
        _ => {
            return Err(format!("`{text}` is not a duration such as 500ms, 30s, 15m, 1h or 2d"));
        }
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(millis))
        .map(Duration::from_millis)
        .filter(|it| *it <= DURATION_MAX)
        .ok_or_else(|| format!("`{text}` is too long; the longest duration is 3650d"))
}

/// A duration that something can wait for.
pub(crate) fn timeout(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err(format!("`{text}` leaves no time at all")),
        it => Ok(it),
    }
}

/// The shortest spelling that [`duration`] reads back.
pub(crate) fn write_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)]
        .into_iter()
        .find(|(_, unit)| millis > 0 && millis.is_multiple_of(*unit))
        .map_or_else(|| format!("{millis}ms"), |(name, unit)| format!("{}{name}", millis / unit))
}

pub(crate) fn count(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|it| (1..=COUNT_MAX).contains(it))
        .ok_or_else(|| format!("`{text}` is not a whole number from 1 to {COUNT_MAX}"))
}

/// The name of an identity or a connection. `|` is kept for `issuer|subject`, which names an
/// identity from elsewhere.
pub fn name(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("a name can't be empty".to_owned());
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(format!("a name has at most {NAME_BYTES_MAX} bytes, this one {}", text.len()));
    }
    if text.trim() != text {
        return Err("a name can't begin or end with a space".to_owned());
    }
    match text.chars().find(|c| c.is_control() || *c == '|') {
        Some(bad) => Err(format!("a name can't hold the character {bad:?}")),
        None => Ok(()),
    }
}

/// An IP address with a port, or the path of a socket.
pub(crate) fn listen(text: &str, base: &Path) -> Result<Address, String> {
    if text.contains('/') {
        return socket_path(base.join(text)).map(Address::Unix);
    }
    text.parse().map(Address::Tcp).map_err(|_| {
        format!(
            "`{text}` is not an address to listen on, such as 127.0.0.1:6432, \"[::1]:6432\" or \
             /run/gatepost/.s.PGSQL.6432"
        )
    })
}

pub(crate) fn http(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not an IP address and a port, such as 127.0.0.1:6480"))
}

/// Where a server is.
pub(crate) fn host(text: &str, base: &Path) -> Result<Host, String> {
    // A URL may hold a password, so it isn't repeated.
    if text.contains("://") || text.contains('@') {
        return Err("a URL is not an address; write host:port, and `database`, `user` and \
                    `password` as keys of their own"
            .to_owned());
    }
    if text.contains('/') {
        let path = base.join(text);
        let socket =
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".s.PGSQL."));
        let path = if socket { path } else { path.join(format!(".s.PGSQL.{PORT}")) };
        return socket_path(path).map(Host::Unix);
    }

    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => {
            host.parse::<Ipv6Addr>().map_err(|_| format!("`{host}` is not an IPv6 address"))?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err(bad_host(text)),
            }
        }
        None if text.parse::<Ipv6Addr>().is_ok() => {
            return Err(format!(
                "`{text}` needs brackets around the IPv6 address, as in \"[::1]:5432\""
            ));
        }
        None => match text.split_once(':') {
            Some((host, port)) => (checked_host_name(host, text)?, Some(port)),
            None => (checked_host_name(text, text)?, None),
        },
    };
    let port = match port {
        None => PORT,
        // `u16::from_str` would take a sign.
        Some(port) => port
            .parse()
            .ok()
            .filter(|it| *it != 0 && port.bytes().all(|b| b.is_ascii_digit()))
            .ok_or_else(|| format!("`{port}` is not a port, a number from 1 to 65535"))?,
    };
    Ok(Host::Tcp { host: host.to_owned(), port })
}

fn checked_host_name<'a>(host: &'a str, text: &str) -> Result<&'a str, String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    // A bare number would be an IPv4 address to some resolvers, and is a forgotten host.
    let number = host.bytes().all(|b| b.is_ascii_digit());
    if number || host.len() > 253 || !host.bytes().all(good) {
        return Err(bad_host(text));
    }
    Ok(host)
}

fn bad_host(text: &str) -> String {
    format!(
        "`{text}` is not an address such as db.internal:5432, \"[::1]:5432\" or /run/postgresql"
    )
}

fn socket_path(path: PathBuf) -> Result<PathBuf, String> {
    let bytes = path.as_os_str().len();
    if bytes > SOCKET_PATH_BYTES_MAX {
        return Err(format!(
            "the path of a Unix socket has at most {SOCKET_PATH_BYTES_MAX} bytes, {} has {bytes}",
            path.display()
        ));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("15m", 900_000),
            ("1h", 3_600_000),
            ("2d", 172_800_000),
            ("3650d", 315_360_000_000),
            ("0ms", 0),
        ] {
            let read = duration(text).unwrap();
            assert_eq!(read.as_millis(), millis, "{text}");
            assert_eq!(write_duration(read), text);
        }
        for text in [
            "",
            "s",
            "30",
            "30 s",
            "-1s",
            "+1s",
            "1.5h",
            "30S",
            "3651d",
            "99999999999999999999d",
            "٣s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(timeout("1ms").is_ok());
        assert!(timeout("0s").is_err());
    }

    #[test]
    fn counts_have_both_ends() {
        assert_eq!(count("1"), Ok(1));
        assert_eq!(count("1000000"), Ok(1_000_000));
        for text in ["0", "1000001", "-1", "1e3", "", "many", "18446744073709551616"] {
            assert!(count(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts() {
        let base = Path::new("/etc/gatepost");
        let tcp = |host: &str, port| Ok(Host::Tcp { host: host.to_owned(), port });
        let unix = |path: &str| Ok(Host::Unix(PathBuf::from(path)));
        assert_eq!(host("db", base), tcp("db", 5432));
        assert_eq!(host("db.internal:6000", base), tcp("db.internal", 6000));
        assert_eq!(host("10.0.0.5", base), tcp("10.0.0.5", 5432));
        assert_eq!(host("[::1]", base), tcp("::1", 5432));
        assert_eq!(host("[fe80::1]:6000", base), tcp("fe80::1", 6000));
        assert_eq!(host("/run/postgresql", base), unix("/run/postgresql/.s.PGSQL.5432"));
        assert_eq!(host("/tmp/.s.PGSQL.6000", base), unix("/tmp/.s.PGSQL.6000"));
        assert_eq!(host("./pg", base), unix("/etc/gatepost/./pg/.s.PGSQL.5432"));
        for bad in [
            "",
            "5432",
            ":5432",
            "db:",
            "db:0",
            "db:65536",
            "db:+1",
            "db:5432:1",
            "::1",
            "::1:5432",
            "[::1",
            "[::1]5432",
            "[db]:5432",
            "d b",
            "postgres://u:p@db/x",
            "u:p@db",
        ] {
            assert!(host(bad, base).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_looks_like_a_password_is_not_repeated() {
        for text in ["postgres://u:hunter2@db/x", "u:hunter2@db"] {
            assert!(!host(text, Path::new("/")).unwrap_err().contains("hunter2"));
        }
    }

    #[test]
    fn listen_addresses() {
        let base = Path::new("/etc/gatepost");
        assert!(matches!(listen("127.0.0.1:6432", base), Ok(Address::Tcp(_))));
        assert!(matches!(listen("[::]:6432", base), Ok(Address::Tcp(_))));
        assert_eq!(listen("./s", base), Ok(Address::Unix("/etc/gatepost/./s".into())));
        for bad in ["localhost:6432", "127.0.0.1", "::1:6432", "6432", ""] {
            assert!(listen(bad, base).is_err(), "{bad}");
        }
        let longest = format!("/{}", "x".repeat(SOCKET_PATH_BYTES_MAX - 1));
        assert!(listen(&longest, base).is_ok());
        assert!(listen(&format!("{longest}x"), base).is_err());
    }

    #[test]
    fn names() {
        for good in ["ci", "agent-7", "anna@example.com", "ü", "my db", &"x".repeat(63)] {
            assert_eq!(name(good), Ok(()), "{good}");
        }
        for bad in ["", " a", "a ", "a\0", "issuer|subject", "a\n", &"x".repeat(64)] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }
}
