//! A PostgreSQL server for one test, from Debian's package, on a free loopback port.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The server; stopped at the end of the test.
pub struct Postgres {
    directory: tempfile::TempDir,
    port: u16,
}

fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    versions
        .map(|version| version.path().join("bin").join(name))
        .find(|path| path.exists())
        .expect("postgresql is not installed; `tests/run` installs what tests need")
}

impl Postgres {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let server = Self { directory, port };
        let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        if root {
            // PostgreSQL does not run as root.
            server.run(
                Command::new("chown")
                    .arg("postgres")
                    .arg(server.directory.path()),
            );
        }
        let data = server.data();
        server.run(
            server
                .as_its_user("initdb")
                .args(["-A", "trust", "-U", "postgres", "--no-sync", "-D"])
                .arg(&data),
        );
        let options = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off \
             -c max_connections=200"
        );
        server.run(
            server
                .as_its_user("pg_ctl")
                .args(["-w", "-l", "/dev/null", "-o", &options, "-D"])
                .arg(&data)
                .arg("start"),
        );
        server
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn as_its_user(&self, name: &str) -> Command {
        let program = program(name);
        if std::fs::metadata(self.directory.path())
            .unwrap()
            .permissions()
            .readonly()
        {
            return Command::new(program);
        }
        let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        if !root {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command
            .args([
                "--reuid",
                "postgres",
                "--regid",
                "postgres",
                "--clear-groups",
            ])
            .arg(program);
        command
    }

    fn run(&self, command: &mut Command) {
        let out = command
            .stdin(Stdio::null())
            .current_dir("/")
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{command:?}: {stderr}");
    }

    /// Creates a database and returns its URL.
    pub async fn database(&self, name: &str) -> String {
        let url = |name: &str| format!("postgres://postgres@127.0.0.1:{}/{name}", self.port);
        sqlx::any::install_default_drivers();
        let pool = sqlx::AnyPool::connect(&url("postgres")).await.unwrap();
        let make = format!("CREATE DATABASE {name}");
        sqlx::query(&make).execute(&pool).await.unwrap();
        pool.close().await;
        url(name)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = self.data();
        let mut stop = self.as_its_user("pg_ctl");
        let _ = stop
            .args(["-m", "immediate", "-D"])
            .arg(data)
            .arg("stop")
            .output();
    }
}
