//! Tables of statements with what must be cut, each with near twins that must pass untouched;
//! and random and hostile text.

use proptest::prelude::*;

use super::*;

fn patterns() -> Patterns {
    Patterns::new(["Pin", "iban"])
}

fn redacted(text: &str) -> String {
    redact(text, &patterns()).unwrap_or_else(|_| panic!("unlexed: {text}")).text.into_owned()
}

/// The word `hush` is the secret in every text: none may be left, and the rest must be there.
#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        let result = redacted(text);
        assert_eq!(&result, expected, "{text}");
        assert!(!result.contains("hush"), "{text}");
    }
}

#[track_caller]
fn untouched(texts: &[&str]) {
    for text in texts {
        let result = redact(text, &patterns()).unwrap();
        assert!(matches!(result.text, Cow::Borrowed(_)), "{text} became {}", result.text);
        assert_eq!(result.text, *text);
        assert_eq!((result.count, &result.parameters[..]), (0, &[][..]), "{text}");
    }
}

#[test]
fn roles() {
    check(&[
        ("CREATE ROLE a PASSWORD 'hush'", "CREATE ROLE a PASSWORD '***'"),
        (
            "create user a with encrypted password 'hush'",
            "create user a with encrypted password '***'",
        ),
        ("ALTER ROLE a PASSWORD E'hu\\'hush' LOGIN", "ALTER ROLE a PASSWORD E'***' LOGIN"),
        (
            "ALTER USER a PASSWORD U&'hush' UESCAPE '!'",
            "ALTER USER a PASSWORD U&'***' UESCAPE '***'",
        ),
        ("ALTER USER a PASSWORD $x$hush$x$", "ALTER USER a PASSWORD $x$***$x$"),
        ("ALTER USER a PASSWORD 'hu'\n'hush'", "ALTER USER a PASSWORD '***'"),
        ("ALTER USER a PASSWORD /* ' */ --x\n 'hush'", "ALTER USER a PASSWORD /* ' */ --x\n '***'"),
        (
            "CREATE ROLE a PASSWORD 'hush' VALID UNTIL '2030-01-01'",
            "CREATE ROLE a PASSWORD '***' VALID UNTIL '2030-01-01'",
        ),
        (
            "CREATE ROLE a VALID UNTIL '2030-01-01' PASSWORD 'hush'",
            "CREATE ROLE a VALID UNTIL '2030-01-01' PASSWORD '***'",
        ),
        // What the server refuses is recorded too.
        ("ALTER ROLE a PASSWORD \"hush\"", "ALTER ROLE a PASSWORD '***'"),
        ("ALTER ROLE a PASSWORD hush", "ALTER ROLE a PASSWORD '***'"),
        (
            "SELECT 1; ALTER ROLE a PASSWORD 'hush'; SELECT 'b'",
            "SELECT 1; ALTER ROLE a PASSWORD '***'; SELECT 'b'",
        ),
        (
            "UPDATE pg_authid SET rolpassword = 'hush' WHERE rolname = 'a'",
            "UPDATE pg_authid SET rolpassword = '***' WHERE rolname = 'a'",
        ),
        ("SELECT 'SCRAM-SHA-256$4096:hush'", "SELECT '***'"),
    ]);
    untouched(&[
        "ALTER ROLE a PASSWORD NULL",
        "CREATE ROLE a LOGIN VALID UNTIL '2030-01-01'",
        "ALTER ROLE a SET search_path = 'x'",
        "SELECT password FROM accounts WHERE name = 'anna'",
        "GRANT password_readers TO anna",
        "SELECT 'SCRAM-SHA-256'",
    ]);
}

#[test]
fn foreign_servers_and_subscriptions() {
    check(&[
        (
            "CREATE USER MAPPING FOR a SERVER s OPTIONS (user 'u', password 'hush')",
            "CREATE USER MAPPING FOR a SERVER s OPTIONS (user 'u', password '***')",
        ),
        (
            "ALTER USER MAPPING FOR a SERVER s OPTIONS (SET password 'hush', ADD x 'hush')",
            "ALTER USER MAPPING FOR a SERVER s OPTIONS (SET password '***', ADD x '***')",
        ),
        (
            "CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (host 'h', \"Auth\" 'hush')",
            "CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (host 'h', \"Auth\" '***')",
        ),
        (
            "CREATE FOREIGN TABLE t (a int) SERVER s OPTIONS (secret_key 'hush', file 'f')",
            "CREATE FOREIGN TABLE t (a int) SERVER s OPTIONS (secret_key '***', file 'f')",
        ),
        (
            "CREATE SUBSCRIPTION s CONNECTION 'hush' PUBLICATION p",
            "CREATE SUBSCRIPTION s CONNECTION '***' PUBLICATION p",
        ),
        ("ALTER SUBSCRIPTION s CONNECTION $$hush$$", "ALTER SUBSCRIPTION s CONNECTION $$***$$"),
    ]);
    untouched(&[
        "CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (host 'h', port '5432')",
        "DROP USER MAPPING FOR a SERVER s",
        "ALTER ROLE a CONNECTION LIMIT 5",
        "CREATE TABLE options (host text DEFAULT 'h')",
    ]);
}

#[test]
fn connection_strings() {
    check(&[
        ("SELECT dblink_connect('c', 'hush')", "SELECT dblink_connect('***', '***')"),
        (
            "SELECT * FROM dblink('host=h pass' || 'word=hush', 'SELECT 1') AS t(a int)",
            "SELECT * FROM dblink('***' || '***', 'SELECT 1') AS t(a int)",
        ),
        ("SELECT public . dblink_exec ('hush', 'x')", "SELECT public . dblink_exec ('***', 'x')"),
        ("SELECT 'host=h password=hush'", "SELECT '***'"),
        ("SELECT 'host=h password = ''hush'''", "SELECT '***'"),
        ("SELECT $$host=h password=hush$$", "SELECT $$***$$"),
        ("SELECT 'postgres://u:hush@h/d'", "SELECT '***'"),
        ("SELECT $$see postgres://u:hush@h/d$$", "SELECT $$***$$"),
        ("SELECT 'postgres://u:' || 'hush' || '@h'", "SELECT 'postgres://u:' || '***' || '***'"),
        ("SELECT '{\"password\": \"hush\"}'::json", "SELECT '***'::json"),
        (
            "SELECT $${\"password\": \"hu;sh hush\"}$$::json",
            "SELECT $${\"password\": '***'}$$::json",
        ),
        (
            "SELECT jsonb_build_object('password', 'hush')",
            "SELECT jsonb_build_object('password', '***')",
        ),
        ("-- password: hush\nSELECT 1", "-- ***\nSELECT 1"),
        ("SELECT /* ALTER ROLE a PASSWORD 'hush' */ 1", "SELECT /* *** */ 1"),
    ]);
    untouched(&[
        "SELECT 'host=h user=u'",
        "SELECT 'https://example.org/a@b'",
        "SELECT 'http://localhost:8080/'",
        "SELECT name FROM links WHERE kind = 'dblink'",
        "SELECT 1 -- asks for a password",
        "INSERT INTO notes VALUES ('anna forgot her password again')",
    ]);
}

#[test]
fn programs_and_settings() {
    check(&[
        ("COPY t FROM PROGRAM 'curl hush'", "COPY t FROM PROGRAM '***'"),
        ("COPY (SELECT 'a') TO PROGRAM 'hush' CSV", "COPY (SELECT 'a') TO PROGRAM '***' CSV"),
        ("ALTER SYSTEM SET primary_conninfo = 'hush'", "ALTER SYSTEM SET primary_conninfo = '***'"),
        ("ALTER SYSTEM SET a TO 'hush', \"hush\"", "ALTER SYSTEM SET a TO '***', '***'"),
        ("ALTER SYSTEM SET a = 5", "ALTER SYSTEM SET a = '***'"),
        ("SET app.password = 'hush'", "SET app.password = '***'"),
        ("SET LOCAL app.password TO hush", "SET LOCAL app.password TO '***'"),
        ("SET app.pin = 1234", "SET app.pin = '***'"),
        ("ALTER ROLE a SET app.token = hush", "ALTER ROLE a SET app.token = '***'"),
        (
            "SELECT set_config('app.secret', 'hush', false)",
            "SELECT set_config('app.secret', '***', false)",
        ),
        (
            "SELECT set_config('app.' || x, 'hush', false)",
            "SELECT set_config('app.' || x, '***', false)",
        ),
        ("SELECT set_config($1, 'hush', false)", "SELECT set_config($1, '***', false)"),
        (
            "SELECT set_config(new_value => 'hush', setting_name => 'a')",
            "SELECT set_config(new_value => '***', setting_name => '***')",
        ),
    ]);
    untouched(&[
        "COPY t FROM '/tmp/program'",
        "COPY program FROM STDIN",
        "ALTER SYSTEM RESET ALL",
        "ALTER SYSTEM RESET primary_conninfo",
        "SET app.colour = 'red'",
        "SET ROLE password_admin",
        "SELECT set_config('app.colour', 'red', false)",
        "SHOW password_encryption",
    ]);
}

#[test]
fn keys() {
    check(&[
        ("SELECT pgp_sym_encrypt('data', 'hush')", "SELECT pgp_sym_encrypt('data', '***')"),
        ("SELECT pgp_sym_decrypt(c, 'hush', 'a=1')", "SELECT pgp_sym_decrypt(c, '***', '***')"),
        (
            "SELECT pgp_sym_encrypt(f('a', 'b'), convert_to('hush', 'utf8'))",
            "SELECT pgp_sym_encrypt(f('a', 'b'), convert_to('***', '***'))",
        ),
        (
            "SELECT \"pgp_sym_decrypt\"(c, (SELECT 'hush'))",
            "SELECT \"pgp_sym_decrypt\"(c, (SELECT '***'))",
        ),
        ("SELECT crypt('hush', gen_salt('bf'))", "SELECT crypt('***', gen_salt('bf'))"),
        ("SELECT encrypt('d', 'hush', 'aes')", "SELECT encrypt('d', '***', 'aes')"),
        ("SELECT hmac('d', E'\\\\x68hush', 'sha256')", "SELECT hmac('d', E'***', 'sha256')"),
        (
            "SELECT U&\"p\\0067p_sym_encrypt\"('d', 'hush')",
            "SELECT U&\"p\\0067p_sym_encrypt\"('***', '***')",
        ),
        ("SELECT '-----BEGIN RSA PRIVATE KEY-----hush'", "SELECT '***'"),
    ]);
    untouched(&[
        "SELECT digest('d', 'sha256'), gen_salt('bf')",
        "SELECT name FROM crypt",
        "SELECT encrypt FROM t WHERE a = 'b'",
    ]);
    let parameters = |text| redact(text, &patterns()).unwrap().parameters;
    assert_eq!(parameters("SELECT pgp_sym_encrypt($1, $2), crypt($3, $4)"), [2, 3]);
    assert_eq!(parameters("UPDATE t SET pin = $12, a = $3"), [12]);
    assert_eq!(parameters("DO $$ x := crypt($1, 'b') $$"), Vec::<u16>::new());
    assert_eq!(parameters("SELECT digest($1, $2)"), Vec::<u16>::new());
}

#[test]
fn names() {
    check(&[
        (
            "SELECT * FROM u WHERE PIN = 1234 AND a = 5",
            "SELECT * FROM u WHERE PIN = '***' AND a = 5",
        ),
        ("SELECT * FROM u WHERE 'hush' = u.password", "SELECT * FROM u WHERE '***' = u.password"),
        ("SELECT 'hush' AS password, 'a' AS b", "SELECT '***' AS password, 'a' AS b"),
        ("UPDATE u SET \"Iban\" = 'hush', a = 'b'", "UPDATE u SET \"Iban\" = '***', a = 'b'"),
        ("UPDATE u SET (a, pin) = ('hush', 'hush')", "UPDATE u SET (a, pin) = ('***', '***')"),
        (
            "SELECT * FROM u WHERE password IN ('hush', 'hush') OR a = 'b'",
            "SELECT * FROM u WHERE password IN ('***', '***') OR a = 'b'",
        ),
        (
            "SELECT * FROM u WHERE password = (SELECT 'hush')",
            "SELECT * FROM u WHERE password = (SELECT '***')",
        ),
        (
            "SELECT * FROM u WHERE password = CASE WHEN a THEN 'hush' ELSE 'hush' END",
            "SELECT * FROM u WHERE password = CASE WHEN a THEN '***' ELSE '***' END",
        ),
        ("UPDATE u SET password = left('hush', 3)", "UPDATE u SET password = left('***', '***')"),
        (
            "INSERT INTO u (a, pin) VALUES ('b', 1), ('c', 2)",
            "INSERT INTO u (a, pin) VALUES ('***', '***'), ('***', '***')",
        ),
        ("SELECT login(pin => 'hush', a => 'b')", "SELECT login(pin => '***', a => 'b')"),
        ("SELECT check_password('hush', 'a')", "SELECT check_password('***', '***')"),
        (
            "CREATE TABLE u (a text, token text DEFAULT 'hush', b text DEFAULT 'c')",
            "CREATE TABLE u (a text, token text DEFAULT '***', b text DEFAULT 'c')",
        ),
    ]);
    untouched(&[
        "SELECT * FROM u WHERE shipping = 1234 AND pinned = 'b'",
        "SELECT password, pin FROM u WHERE a = 'b' LIMIT 3",
        "INSERT INTO u (a, b) SELECT 'c', password FROM w WHERE d = 'e'",
        "CREATE TABLE u (password varchar(255), b text DEFAULT 'c')",
        "SELECT tokens FROM u WHERE tokens = 5",
    ]);
}

#[test]
fn inside_other_text() {
    check(&[
        (
            "DO $$ BEGIN ALTER ROLE a PASSWORD 'hush'; PERFORM 'b'; END $$",
            "DO $$ BEGIN ALTER ROLE a PASSWORD '***'; PERFORM 'b'; END $$",
        ),
        (
            "CREATE FUNCTION f() RETURNS void AS $f$ BEGIN EXECUTE $x$ALTER ROLE a PASSWORD 'hush';$x$; END $f$ LANGUAGE plpgsql",
            "CREATE FUNCTION f() RETURNS void AS $f$ BEGIN EXECUTE $x$ALTER ROLE a PASSWORD '***';$x$; END $f$ LANGUAGE plpgsql",
        ),
        ("DO 'BEGIN ALTER ROLE a PASSWORD ''hush''; END'", "DO '***'"),
        ("DO E'BEGIN ALTER ROLE a PASSWORD \\'hush\\'; END'", "DO E'***'"),
        (
            "DO $$ DECLARE pw text := 'hush'; b text := 'c'; BEGIN END $$",
            "DO $$ DECLARE pw text := '***'; b text := 'c'; BEGIN END $$",
        ),
        (
            "DO $$ BEGIN EXECUTE 'ALTER ROLE a PASSWORD ' || quote_literal('hush'); END $$",
            "DO $$ BEGIN EXECUTE 'ALTER ROLE a PASSWORD ' || quote_literal('***'); END $$",
        ),
        (
            "DO $$ BEGIN EXECUTE format('ALTER ROLE %I PASSWORD %L', 'a', 'hush'); END $$",
            "DO $$ BEGIN EXECUTE format('ALTER ROLE %I PASSWORD %L', '***', '***'); END $$",
        ),
        // Not SQL, and a word in it that could go with a secret.
        ("SELECT $$it's my password: hush$$", "SELECT $$***$$"),
    ]);
    untouched(&[
        "DO $$ BEGIN PERFORM 'b'; END $$",
        "SELECT $$it's raining$$",
        "CREATE FUNCTION f() RETURNS text AS $f$ SELECT password FROM u WHERE a = 'b'; $f$ LANGUAGE sql",
    ]);
}

#[test]
fn deeper_than_it_reads_is_cut_whole() {
    let nested = |depth: usize| {
        let mut text = "ALTER ROLE a PASSWORD 'hush'".to_owned();
        for level in 0..depth {
            text = format!("DO $a{level}$ {text}; $a{level}$");
        }
        text
    };
    for depth in 0..20 {
        let result = redacted(&nested(depth));
        assert!(!result.contains("hush"));
        assert_eq!(result.contains("ALTER ROLE a PASSWORD '***'"), depth < NESTING_MAX, "{depth}");
    }
}

#[test]
fn what_cannot_be_lexed() {
    for text in ["ALTER ROLE a PASSWORD 'hush", "SELECT 'a", "SELECT \"a", "/* a", "$a$ b"] {
        assert_eq!(redact(text, &patterns()), Err(Unlexed), "{text}");
    }
}

#[test]
fn names_are_matched_in_any_script() {
    let patterns = Patterns::new(["Größe"]);
    assert_eq!(
        redact("SET a.GRÖSSE = 'x'; SET a.GRÖßE = 'y'", &patterns).unwrap().text,
        "SET a.GRÖSSE = 'x'; SET a.GRÖßE = '***'"
    );
}

/// A megabyte of each: a quadratic pass would take hours.
#[test]
fn hostile_text_takes_linear_time() {
    let megabyte = |piece: &str| piece.repeat(1_000_000 / piece.len());
    let comments = "/*".repeat(100_000) + "password" + &"*/".repeat(100_000);
    redact(&comments, &patterns()).unwrap();
    for piece in [
        "password",
        "password ",
        "password=",
        "password'",
        "(",
        "(password",
        "password,",
        ")",
        "'password'",
        "''",
        "$a$ $b$ ",
        "$$password$$",
        "://",
        "://a:",
        "a://b:c",
        "--password\n",
        "E'\\",
        "\"\"",
        "'a'\n",
        "+-*/",
        "pgp_(",
        "1",
        "u&\"\"",
        "crypt('a',",
        "password=(",
        "'%password%'||",
    ] {
        // Unlexed or not: it ends, soon.
        let _unlexed_or_not = redact(&megabyte(piece), &patterns());
        let quoted = format!("SELECT '{}'", megabyte(piece).replace('\'', "''"));
        redact(&quoted, &patterns()).unwrap();
    }
    let mut tags = String::new();
    for tag in 0..50_000 {
        tags += &format!("$a{tag}$ password ");
    }
    for tag in (0..50_000).rev() {
        tags += &format!("$a{tag}$ ");
    }
    assert_eq!(redact(&tags, &patterns()).unwrap().count, 1);
}

proptest! {
    #[test]
    fn any_text_is_read(text in "\\PC*") {
        let _unlexed_or_not = redact(&text, &patterns());
    }

    /// Text made of the words and marks that matter, so that it reaches the odd corners.
    #[test]
    fn likely_text_is_read(words in prop::collection::vec(prop::sample::select(vec![
        "password", "'", "''", "'x'", "$$", "$a$", "(", ")", ",", ";", "=", "E'\\", "\"", "/*", "*/", "--", "\n",
        "ALTER", "SYSTEM", "USER", "MAPPING", "OPTIONS", "SET", "set_config", "pgp_x", "ü", "://", ":", "@", " ",
        "U&\"", "%L", "||", "AS", "INSERT", "1", "$1",
    ]), 0..40)) {
        let text = words.concat();
        if let Ok(once) = redact(&text, &patterns()) {
            prop_assert_eq!(once.count == 0, matches!(once.text, Cow::Borrowed(_)));
            if once.count == 0 {
                prop_assert_eq!(&*once.text, &text);
            }
        }
    }

    /// Whatever surrounds the command, its password goes.
    #[test]
    fn a_password_never_stays(before in "[a-z0-9 ,;()=+]{0,40}", after in "[a-z0-9 ,;()=+]{0,40}") {
        let text = format!("{before} ; ALTER ROLE a PASSWORD 'hush' {after}");
        prop_assert!(!redacted(&text).contains("hush"), "{}", text);
    }
}
