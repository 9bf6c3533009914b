//! Both sides against the RFC's example, each other, PostgreSQL's own verifiers and nonsense.

use std::num::NonZeroU32;

use proptest::prelude::*;

use super::message::encode;
use super::*;

/// Passwords, and what PostgreSQL 15 had in `pg_authid.rolpassword` after `CREATE ROLE … PASSWORD`.
const POSTGRES: &[(&str, &str, &str)] = &[
    (
        "plain",
        "pencil",
        "SCRAM-SHA-256$4096:XtvKeMztUeHNxDET87PFxg==\
         $GmWiFe6L7T8CRhZ7oZhE2dxcIrguXyM3XG3L191PP2o=:\
         25MhUt6/kBFFYJPxqiZbb+G7LndqM6KUObJh37lMLnA=",
    ),
    (
        "mapped to nothing",
        "I\u{ad}X",
        "SCRAM-SHA-256$4096:isBvVLELiJnmKOb9WPPdKw==\
         $TfR3933GG9xTf9fLGmvtoTNGlh+gqvqBPZycBpfXn0c=:\
         Kc0lfv9WrefSblIOP37ROITKFAYPlZX44DIR4fpaOCg=",
    ),
    (
        "compatibility forms",
        "\u{2168}\u{a0}\u{aa}",
        "SCRAM-SHA-256$4096:JwY5ySX4k9annU0GXkCHGw==\
         $WWNbre8CNuRLkvuqaYpdmy2BygKLq/RsceJHmuQRoeE=:\
         e7NEOETXjvwtwAJjhpWNTU2ZqME2R/zQRj0Hs4yvwMo=",
    ),
    (
        "prohibited: bidirectional, ends left to right",
        "\u{627}1",
        "SCRAM-SHA-256$4096:qBvjQup1lurxU/SXtZuKAA==\
         $ULnXHJNndoI2ss/LQdbFQhfCxmtCX4nuidjltAT/Pgw=:\
         rQGMUR/FzVUseX3jnzrtZg8b8+5Zku67TlQrCjKc/Ik=",
    ),
    (
        "prohibited: unassigned in Unicode 3.2",
        "\u{1f600}\u{ad}",
        "SCRAM-SHA-256$4096:bylrcgyLVf4C4tiO+XNyZg==\
         $qTIVd+Bhlywi95DOv+4JD6dOG/TdVMfvEn2Ws6THO6Y=:\
         Jx11jFflW0YwGQdPi0XUFK653itiFcJfEUZHrDzhhQs=",
    ),
    (
        "ASCII is taken as it is",
        "tab\there",
        "SCRAM-SHA-256$4096:nIckzeG0Q5wPNkaSoCEGvg==\
         $PejilvTW5JSH/vsbpHPw4KM93bbPtxhWgrsjDXr6mLU=:\
         G43BaVviuNonCtV71kp5bUvymQdAW1hIkCzO1UH0BFw=",
    ),
    (
        "nothing would be left",
        "\u{ad}\u{200b}",
        "SCRAM-SHA-256$4096:K8tB7CFZEa6i4pO49ZSsnA==\
         $Uxs1FQSsOg9/n1aIL+PQpCPxgDxVquI6iT7NlIATTq8=:\
         GC8gYo5GSuw4Lky7vk3GnVSjGLs0b852/JvrLfJJEqo=",
    ),
    (
        "composed",
        "cafe\u{301}",
        "SCRAM-SHA-256$4096:XZsGp9tAfCbswuF3lhsFxA==\
         $F3Cwnl7i+cv2hkCkRbhvAqJwRlNl6SxcQii3Z7vtp2c=:\
         hmEq0Lup/flDSOFPH6E18n0bCf6tsVPUXeBwiKJXMFk=",
    ),
    (
        "prohibited: unassigned in Unicode 3.2",
        "x\u{221}\u{aa}",
        "SCRAM-SHA-256$4096:RdrJC0nKqL2KD1hGpMKvtw==\
         $eHp72uSLSGqrrSWF+Fa7L9jT62UL6wRFYPRezGsGUMg=:\
         cfK+e9By82oLMvOZr2RPIXyuJPtHNZ5n38Xm49xVD6k=",
    ),
    (
        "prohibited: bidirectional, mixed",
        "\u{627}a\u{628}",
        "SCRAM-SHA-256$4096:ydC+T8f22VQmS6XKP151wA==\
         $5ZrYmQ5oT5PJfjpwMJlnq6ftjcNPorkmMFQl0aXC6NY=:\
         zwB/UNqWwCKJPHr9mawZOVrgzEFAV+rZJs+1x1Z1kVU=",
    ),
    (
        "right to left",
        "\u{627}1\u{628}\u{ad}",
        "SCRAM-SHA-256$4096:l09dOsz6D3qO/qsT2VK/DA==\
         $U4FljVYskZ6emXajiB080ifnQIHWkDglv/P7iGmEcHg=:\
         cf61iIQ7UdYFoDop7a5NcL5WMXXEZnyqND670+XuBJ0=",
    ),
    (
        "prohibited: control character",
        "\u{aa}\t",
        "SCRAM-SHA-256$4096:SEdpBbtYunTp/Mr61DzwzA==\
         $UvZy6eascEQXWF7UOFCI6tnaRPqVb4uI5CZ/X2vDdaU=:\
         utF1LpDHuBOX2g+B99jpKFGn2mOlyTIOcgoEk/3W/MQ=",
    ),
];

#[test]
fn a_verifier_is_the_one_that_postgresql_stores() {
    for (what, password, stored) in POSTGRES {
        let verifier: Verifier = stored.parse().unwrap();
        let salt = stored.split([':', '$']).nth(2).unwrap();
        let salt = message::decode(salt.as_bytes(), "salt").unwrap();
        assert_eq!(Verifier::derive(password.as_bytes(), &salt, ITERATIONS), verifier, "{what}");
        assert_eq!(verifier.to_string(), *stored, "{what}");
        let other = format!("{password}x");
        assert_ne!(Verifier::derive(other.as_bytes(), &salt, ITERATIONS), verifier, "{what}");
    }
}

#[test]
fn a_password_that_is_not_utf8_is_taken_as_it_is() {
    let derive = |password: &[u8]| Verifier::derive(password, b"salt", one());
    assert_ne!(derive(b"\xff\xc2\xad"), derive(b"\xff"));
    assert_ne!(derive(b""), derive(b"x"));
}

#[test]
fn what_is_no_verifier_is_refused() {
    let good = POSTGRES[0].2;
    assert!(good.parse::<Verifier>().is_ok());
    for bad in [
        "",
        "md5d8578edf8458ce06fbc5bb76a58c5ca4",
        &good.replace("SHA-256", "SHA-512"),
        &good.replace("$4096", "$0"),
        &good.replace("$4096", "$+4096"),
        &good.replace("$4096", "$99999999999"),
        &good.replace("==$", "=$"),
        &good.replace("PP2o=", "PP2o"),
        &good.replace("PP2o=:", "PA==:"),
        &format!("{good} "),
        &format!("{good}:"),
    ] {
        assert_eq!(bad.parse::<Verifier>(), Err(ScramError::Verifier), "{bad}");
    }
}

#[test]
fn salts_depend_on_name_and_key_and_nothing_else() {
    let salts = Salts::new([1; 32]);
    assert_eq!(salts.salt_of("agent-7"), Salts::new([1; 32]).salt_of("agent-7"));
    assert_ne!(salts.salt_of("agent-7"), salts.salt_of("agent-8"));
    assert_ne!(salts.salt_of("agent-7"), Salts::new([2; 32]).salt_of("agent-7"));
}

/// RFC 7677, section 3.
#[test]
fn the_rfcs_example() {
    let salt = message::decode(b"W22ZaJ0SNY7soEsUEjb6gQ==", "salt").unwrap();
    let (first, client) = client::begin_with_nonce(
        ClientBinding::Unsupported,
        "user",
        "rOprNGfwEbeRWgbNEkqO".to_owned(),
    );
    assert_eq!(first, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let (server_first, server) = server::begin_with_nonce(
        SCRAM_SHA_256,
        first.as_bytes(),
        None,
        &salt,
        ITERATIONS,
        vec![Verifier::derive(b"pencil", &salt, ITERATIONS)],
        "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
    )
    .unwrap();
    assert_eq!(
        server_first,
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let challenge = client.challenge(server_first.as_bytes()).unwrap();
    assert_eq!((challenge.salt(), challenge.iterations()), (&salt[..], ITERATIONS));
    let (client_final, answered) =
        challenge.answer(&ClientKeys::derive(b"pencil", &salt, ITERATIONS));
    assert_eq!(
        String::from_utf8(client_final.clone()).unwrap(),
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
         p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );
    let (index, server_final) = server.finish(&client_final).unwrap();
    assert_eq!(index, 0);
    assert_eq!(server_final, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    answered.verify(server_final.as_bytes()).unwrap();
}

const SALT: &[u8] = b"sixteen bytes of";
const HASH: &[u8] = &[7; 32];

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

fn verifiers(passwords: &[&str]) -> Vec<Verifier> {
    passwords.iter().map(|p| Verifier::derive(p.as_bytes(), SALT, one())).collect()
}

/// A whole exchange; the index of the verifier that fits.
fn exchange(
    client: ClientBinding,
    server: Option<&[u8]>,
    password: &str,
    known: &[&str],
) -> Result<usize, ScramError> {
    let mechanism = client.mechanism();
    let (first, client) = Client::begin(client)?;
    let (first, server) =
        Server::begin(mechanism, first.as_bytes(), server, SALT, one(), verifiers(known))?;
    let challenge = client.challenge(first.as_bytes())?;
    let keys = ClientKeys::derive(password.as_bytes(), challenge.salt(), challenge.iterations());
    let (last, answered) = challenge.answer(&keys);
    let (index, last) = server.finish(&last)?;
    answered.verify(last.as_bytes())?;
    Ok(index)
}

fn endpoint(hash: &[u8]) -> ClientBinding {
    ClientBinding::Endpoint(hash.to_vec())
}

#[test]
fn any_one_of_a_names_secrets_opens() {
    let many: Vec<String> = (0..40).map(|n| format!("secret {n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (index, secret) in many.iter().enumerate() {
        let plain = exchange(ClientBinding::Unsupported, None, secret, &many);
        assert_eq!(plain, Ok(index));
    }
    let refused = Err(ScramError::Refused);
    assert_eq!(exchange(ClientBinding::Unsupported, None, "secret 40", &many), refused);
    assert_eq!(exchange(ClientBinding::Unsupported, None, "secret", &["Secret"]), refused);
    assert_eq!(exchange(ClientBinding::Unsupported, None, "secret", &[]), refused);
    assert_eq!(exchange(ClientBinding::Unsupported, None, "", &[]), refused);
}

#[test]
fn every_pair_of_bindings() {
    use ClientBinding::{NotOffered, Unsupported};
    let known = &["secret"];
    assert_eq!(exchange(Unsupported, None, "secret", known), Ok(0));
    assert_eq!(exchange(Unsupported, Some(HASH), "secret", known), Ok(0));
    assert_eq!(exchange(NotOffered, None, "secret", known), Ok(0));
    assert_eq!(exchange(NotOffered, Some(HASH), "secret", known), Err(ScramError::Downgrade));
    assert_eq!(exchange(endpoint(HASH), Some(HASH), "secret", known), Ok(0));
    assert_eq!(exchange(endpoint(HASH), None, "secret", known), Err(ScramError::Mechanism));
    let other = exchange(endpoint(&[8; 32]), Some(HASH), "secret", known);
    assert_eq!(other, Err(ScramError::BindingMismatch));
    let wrong = exchange(endpoint(HASH), Some(HASH), "wrong", known);
    assert_eq!(wrong, Err(ScramError::Refused));
}

#[test]
fn the_better_mechanism_is_offered_first() {
    assert_eq!(mechanisms(Some(HASH)), [SCRAM_SHA_256_PLUS, SCRAM_SHA_256]);
    assert_eq!(mechanisms(None), [SCRAM_SHA_256]);
}

fn begin(mechanism: &str, first: &[u8], binding: Option<&[u8]>) -> Result<Server, ScramError> {
    let known = verifiers(&["secret"]);
    let (_, server) =
        server::begin_with_nonce(mechanism, first, binding, SALT, one(), known, "server")?;
    Ok(server)
}

#[test]
fn first_messages_that_a_server_accepts() {
    for (mechanism, first, binding) in [
        (SCRAM_SHA_256, &b"n,,n=,r=abc"[..], None),
        (SCRAM_SHA_256, b"n,,n=,r=abc", Some(HASH)),
        (SCRAM_SHA_256, b"y,,n=*,r=abc", None),
        (SCRAM_SHA_256, b"n,,n=J\xfcrgen,r=abc", None),
        (SCRAM_SHA_256, b"n,,n=,r=abc,", None),
        (SCRAM_SHA_256, b"n,,n=,r=abc,x=later,y=", None),
        (SCRAM_SHA_256_PLUS, b"p=tls-server-end-point,,n=,r=abc", Some(HASH)),
    ] {
        let shown = first.escape_ascii();
        assert_eq!(begin(mechanism, first, binding).map(|_| ()), Ok(()), "{shown}");
    }
}

#[test]
fn first_messages_that_a_server_refuses() {
    use ScramError::*;
    let malformed = Malformed("");
    let long = [&b"n,,n=,r="[..], &[b'a'; MESSAGE_BYTES_MAX]].concat();
    for (mechanism, first, binding, error) in [
        ("SCRAM-SHA-1", &b"n,,n=,r=abc"[..], None, &Mechanism),
        (SCRAM_SHA_256_PLUS, b"n,,n=,r=abc", None, &Mechanism),
        (SCRAM_SHA_256_PLUS, b"n,,n=,r=abc", Some(HASH), &BindingMissing),
        (SCRAM_SHA_256_PLUS, b"y,,n=,r=abc", Some(HASH), &BindingMissing),
        (SCRAM_SHA_256, b"y,,n=,r=abc", Some(HASH), &Downgrade),
        (SCRAM_SHA_256, b"p=tls-server-end-point,,n=,r=abc", Some(HASH), &BindingUnexpected),
        (SCRAM_SHA_256_PLUS, b"p=tls-unique,,n=,r=abc", Some(HASH), &BindingType),
        (SCRAM_SHA_256, b"n,a=root,n=,r=abc", None, &AuthorizationIdentity),
        (SCRAM_SHA_256, b"n,,m=x,n=,r=abc", None, &Extension),
        (SCRAM_SHA_256, &long, None, &TooLong),
        (SCRAM_SHA_256, b"", None, &malformed),
        (SCRAM_SHA_256, b"n", None, &malformed),
        (SCRAM_SHA_256, b"n,", None, &malformed),
        (SCRAM_SHA_256, b"n,x=,n=,r=abc", None, &malformed),
        (SCRAM_SHA_256, b"n;,n=,r=abc", None, &malformed),
        (SCRAM_SHA_256, b"z,,n=,r=abc", None, &malformed),
        (SCRAM_SHA_256, b"n,,", None, &malformed),
        (SCRAM_SHA_256, b"n,,n=", None, &malformed),
        (SCRAM_SHA_256, b"n,,r=abc", None, &malformed),
        (SCRAM_SHA_256, b"n,,n=,r=a c", None, &malformed),
        (SCRAM_SHA_256, b"n,,n=,r=abc\0", None, &malformed),
        (SCRAM_SHA_256, b"n,,n=,r=abc,1=x", None, &malformed),
        (SCRAM_SHA_256, b"n,,n=,r=abc,x", None, &malformed),
        (SCRAM_SHA_256_PLUS, b"p", Some(HASH), &malformed),
        (SCRAM_SHA_256_PLUS, b"p=tls-server-end-point", Some(HASH), &malformed),
    ] {
        let shown = first.escape_ascii();
        assert_same(begin(mechanism, first, binding).map(|_| ()), error, &shown.to_string());
    }
}

/// The longest message passes, one byte more doesn't.
#[test]
fn the_length_of_a_message_is_bounded() {
    let first = |length: usize| {
        let mut first = b"n,,n=,r=".to_vec();
        first.resize(length, b'a');
        begin(SCRAM_SHA_256, &first, None).map(|_| ())
    };
    assert_eq!(first(MESSAGE_BYTES_MAX), Ok(()));
    assert_eq!(first(MESSAGE_BYTES_MAX + 1), Err(ScramError::TooLong));
}

#[test]
fn final_messages_that_a_server_refuses() {
    use ScramError::*;
    let malformed = Malformed("");
    let proof = encode(&[0; 32]);
    let short = encode(&[0; 31]);
    let bound = encode(b"p=tls-server-end-point,,another hash");
    for (plus, last, error) in [
        (false, format!("c=biws,r=abcserver,p={proof}"), &Refused),
        (false, format!("c=biws,r=abcserver,x=later,p={proof}"), &Refused),
        (false, format!("c=biws,r=abcservex,p={proof}"), &Nonce),
        (false, format!("c=biws,r=abc,p={proof}"), &Nonce),
        (false, format!("c=eSws,r=abcserver,p={proof}"), &malformed),
        (false, format!("c=,r=abcserver,p={proof}"), &malformed),
        (false, format!("r=abcserver,p={proof}"), &malformed),
        (false, format!("c=biws,p={proof}"), &malformed),
        (false, "c=biws,r=abcserver".to_owned(), &malformed),
        (false, "c=biws,r=abcserver,p=".to_owned(), &malformed),
        (false, "c=biws,r=abcserver,p=no base64".to_owned(), &malformed),
        (false, format!("c=biws,r=abcserver,p={short}"), &malformed),
        (false, format!("c=biws,r=abcserver,p={proof},x=more"), &malformed),
        (false, String::new(), &malformed),
        (false, format!("c=biws,r=abcserver,x={}", "a".repeat(MESSAGE_BYTES_MAX)), &TooLong),
        (true, format!("c=biws,r=abcserver,p={proof}"), &BindingMismatch),
        (true, format!("c={bound},r=abcserver,p={proof}"), &BindingMismatch),
    ] {
        let server = match plus {
            false => begin(SCRAM_SHA_256, b"n,,n=,r=abc", Some(HASH)),
            true => begin(SCRAM_SHA_256_PLUS, b"p=tls-server-end-point,,n=,r=abc", Some(HASH)),
        };
        assert_same(server.unwrap().finish(last.as_bytes()), error, &last);
    }
}

/// The verifier alone, as a thief of the state file has it, opens nothing.
#[test]
fn a_stored_key_is_no_client_key() {
    let stolen = &verifiers(&["secret"])[0];
    let (first, client) = Client::begin(ClientBinding::Unsupported).unwrap();
    let (first, server) =
        Server::begin(SCRAM_SHA_256, first.as_bytes(), None, SALT, one(), verifiers(&["secret"]))
            .unwrap();
    let challenge = client.challenge(first.as_bytes()).unwrap();
    let keys = ClientKeys { client_key: stolen.stored_key, server_key: stolen.server_key };
    let (last, _) = challenge.answer(&keys);
    assert_eq!(server.finish(&last), Err(ScramError::Refused));
}

fn challenged(server_first: &[u8]) -> Result<Challenge, ScramError> {
    let nonce = "abc".to_owned();
    client::begin_with_nonce(ClientBinding::Unsupported, "", nonce).1.challenge(server_first)
}

#[test]
fn first_messages_that_a_client_refuses() {
    use ScramError::*;
    let malformed = Malformed("");
    assert!(challenged(b"r=abcserver,s=AAAA,i=4096").is_ok());
    assert!(challenged(b"r=abcserver,s=AAAA,i=1000000").is_ok());
    for (first, error) in [
        (&b"r=abcserver,s=AAAA,i=1000001"[..], &Iterations(1_000_001)),
        (b"r=abc,s=AAAA,i=4096", &Nonce),
        (b"r=abxserver,s=AAAA,i=4096", &Nonce),
        (b"r=,s=AAAA,i=4096", &Nonce),
        (b"r=abc\x01,s=AAAA,i=4096", &malformed),
        (b"r=abcserver,s=AAA,i=4096", &malformed),
        (b"r=abcserver,s=AAAA,i=0", &malformed),
        (b"r=abcserver,s=AAAA,i=-1", &malformed),
        (b"r=abcserver,s=AAAA,i=+1", &malformed),
        (b"r=abcserver,s=AAAA,i=", &malformed),
        (b"r=abcserver,s=AAAA,i=99999999999", &malformed),
        (b"r=abcserver,s=AAAA,i=1,x=", &malformed),
        (b"m=x,r=abcserver,s=AAAA,i=1", &malformed),
        (b"r=abcserver,i=1", &malformed),
        (b"r=abcserver", &malformed),
        (b"", &malformed),
        (&[b'r'; MESSAGE_BYTES_MAX + 1], &TooLong),
    ] {
        assert_same(challenged(first).map(|_| ()), error, &first.escape_ascii().to_string());
    }
}

#[test]
fn a_server_that_does_not_know_the_password_is_refused() {
    use ScramError::*;
    let malformed = Malformed("");
    let keys = ClientKeys::derive(b"secret", SALT, one());
    let forged = format!("v={}", encode(&[0; 32]));
    for (last, error) in [
        (forged.as_str(), &ServerSignature),
        ("e=other-error", &Server("other-error".to_owned())),
        ("e=other\u{7}error", &malformed),
        ("v=", &malformed),
        ("v=AAAA", &malformed),
        (&format!("{forged},x=more"), &malformed),
        ("x=", &malformed),
        ("", &malformed),
    ] {
        let challenge = challenged(b"r=abcserver,s=AAAA,i=1").unwrap();
        let (_, answered) = challenge.answer(&keys);
        assert_same(answered.verify(last.as_bytes()), error, last);
    }
}

#[test]
fn debug_shows_no_secret() {
    let verifier = &verifiers(&["secret"])[0];
    assert_eq!(format!("{verifier:?}"), "Verifier(…)");
    assert_eq!(format!("{:?}", ClientKeys::derive(b"secret", SALT, one())), "ClientKeys(…)");
    assert_eq!(format!("{:?}", Salts::new([0; 32])), "Salts(…)");
    let server = begin(SCRAM_SHA_256, b"n,,n=,r=abc", None).unwrap();
    assert_eq!(format!("{server:?}"), "scram::Server(…)");
}

/// What a message is malformed by is for people; the tests compare the kind alone.
fn assert_same<T: std::fmt::Debug>(found: Result<T, ScramError>, expected: &ScramError, of: &str) {
    let found = found.expect_err(of);
    match (&found, expected) {
        (ScramError::Malformed(_), ScramError::Malformed(_)) => {}
        _ => assert_eq!(&found, expected, "{of}"),
    }
}

/// Bytes that look enough like SCRAM to get past its first checks.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "n,,",
            "y,,",
            "p=tls-server-end-point,,",
            "n=",
            "r=",
            "abc",
            "abcserver",
            "c=biws",
            "s=AAAA",
            "i=1",
            "p=",
            "v=",
            "e=",
            ",",
            "=",
            "x=y",
            "\0",
        ])
        .prop_map(|piece| piece.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_bytes_get_an_answer(bytes in message(), plus: bool) {
        let _ = begin(SCRAM_SHA_256, &bytes, plus.then_some(HASH));
        let _ = begin(SCRAM_SHA_256_PLUS, &bytes, Some(HASH));
        let server = begin(SCRAM_SHA_256, b"n,,n=,r=abc", None).unwrap();
        prop_assert!(server.finish(&bytes).is_err());
        if let Ok(challenge) = challenged(&bytes) {
            let keys = ClientKeys::derive(b"secret", SALT, one());
            let _ = challenge.answer(&keys);
        }
        let keys = ClientKeys::derive(b"secret", SALT, one());
        let (_, answered) = challenged(b"r=abcserver,s=AAAA,i=1").unwrap().answer(&keys);
        prop_assert!(answered.verify(&bytes).is_err());
    }

    #[test]
    fn any_text_is_a_verifier_that_prints_the_same_or_none(text in "(SCRAM-SHA-256)?[$:A-Z0-9=]{0,90}") {
        if let Ok(verifier) = text.parse::<Verifier>() {
            prop_assert_eq!(verifier.to_string().parse::<Verifier>(), Ok(verifier));
        }
    }

    #[test]
    fn the_right_password_opens_and_another_does_not(right: String, other: String) {
        let known = &[right.as_str()];
        prop_assert_eq!(exchange(endpoint(HASH), Some(HASH), &right, known), Ok(0));
        let prepared = |text: &str| Verifier::derive(text.as_bytes(), SALT, one());
        if prepared(&right) != prepared(&other) {
            let refused = exchange(endpoint(HASH), Some(HASH), &other, known);
            prop_assert_eq!(refused, Err(ScramError::Refused));
        }
    }
}
