//! That the harness itself gives what it promises, so that a failure elsewhere is not its fault.

use e2e::{Role, on_each_version, own_cluster};

on_each_version! {
    fn every_role_logs_in_its_own_way(server: Server) {
        let database = server.database();
        for role in Role::ALL {
            let login = database.login_as(role).with("PGSSLMODE", "verify-full")
                .with("PGSSLROOTCERT", server.certificates.ca().display().to_string());
            let mut login = e2e::Login { host: "localhost".to_owned(), ..login };
            login.clients = e2e::tls_clients();
            assert_eq!(login.psql("CREATE TABLE t (); SELECT current_user"), role.name());
            login.psql("DROP TABLE t");

            login.password = "wrong".to_owned();
            assert_eq!(login.try_psql("SELECT 1").is_ok(), role == Role::Trust);
        }
        let plain = database.login_as(Role::TlsOnly).with("PGSSLMODE", "disable");
        assert!(plain.try_psql("SELECT 1").unwrap_err().contains("rejects connection"));
    }

    fn client_programs_fit_the_server(server: Server) {
        let database = server.database();
        database.login().psql("CREATE TABLE fits ()");
        let dump = database.login().program("pg_dump").output().unwrap();
        assert!(String::from_utf8_lossy(&dump.stdout).contains("CREATE TABLE public.fits"));
    }

    fn databases_are_apart_and_go_away(server: Server) {
        let (one, two) = (server.database(), server.database());
        one.login().psql("CREATE TABLE only_here ()");
        assert_eq!(two.login().psql("SELECT to_regclass('only_here') IS NULL"), "t");
        let name = one.name.clone();
        drop(one);
        let sql = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
        assert_eq!(server.admin().psql(&sql), "0");
    }

    fn an_own_cluster_can_be_killed(server: Server) {
        let mut own = own_cluster(server.version);
        let login = own.server.database().login();
        drop(login);
        own.cluster.kill9().unwrap();
        assert!(own.server.admin().try_psql("SELECT 1").is_err());
        own.cluster.restart().unwrap();
        assert_eq!(own.server.admin().psql("SELECT 1"), "1");
    }
}

#[test]
fn python_has_psycopg() {
    let script = "import psycopg; print(psycopg.__version__.split('.')[0])";
    let output = std::process::Command::new(e2e::python()).args(["-c", script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "3");
}
