//! A certificate authority that speaks ACME: Let's Encrypt's own test server, with a name server for which every name is this machine.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::{Value, json};

use crate::{Ca, Connection, DEADLINE};

/// A running Pebble; killed when dropped. It forgets everything then.
pub struct Pebble {
    child: Child,
    folder: PathBuf,
    ca: Ca,
    port: u16,
    management: u16,
}

impl Pebble {
    /// Starts one that looks for challenges at these ports. `settings` are added to its configuration.
    #[must_use]
    pub fn start(folder: &Path, http: u16, tls: u16, settings: &Value) -> Self {
        // it takes no port 0: another may get the port first
        Self::until_started(folder, free_port, http, tls, settings)
    }

    /// Another one in place of this one, at the same address.
    #[must_use]
    pub fn restart(self, http: u16, tls: u16, settings: &Value) -> Self {
        let (folder, port) = (self.folder.clone(), self.port);
        drop(self);
        Self::until_started(&folder, || port, http, tls, settings)
    }

    fn until_started(folder: &Path, port: impl Fn() -> u16, http: u16, tls: u16, settings: &Value) -> Self {
        let began = Instant::now();
        loop {
            if let Some(pebble) = Self::start_on(folder, port(), http, tls, settings) {
                return pebble;
            }
            assert!(
                began.elapsed() < DEADLINE,
                "pebble does not start: {}",
                log(folder)
            );
        }
    }

    fn start_on(folder: &Path, port: u16, http: u16, tls: u16, settings: &Value) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        let ca = Ca::new();
        let _path = ca.write(folder);
        ca.issue(&["127.0.0.1"]).write(folder, "pebble");
        let management = free_port();
        let mut config = json!({
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": folder.join("pebble.crt"),
            "privateKey": folder.join("pebble.key"),
            "httpPort": http,
            "tlsPort": tls,
        });
        for (key, value) in settings.as_object().unwrap() {
            config[key] = value.clone();
        }
        fs::write(folder.join("pebble.json"), json!({"pebble": config}).to_string()).unwrap();
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("pebble.log"))
            .unwrap();
        let child = Command::new("pebble")
            .arg("-config")
            .arg(folder.join("pebble.json"))
            .args(["-dnsserver", &name_server().to_string()])
            // no pauses before it looks; every challenge is looked at
            .envs([("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_AUTHZREUSE", "0")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut pebble = Self {
            child,
            folder: folder.to_owned(),
            ca,
            port,
            management,
        };
        let began = Instant::now();
        while began.elapsed() < DEADLINE {
            if std::net::TcpStream::connect(pebble.address()).is_ok() {
                return Some(pebble);
            }
            if pebble.child.try_wait().unwrap().is_some() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The CA of its server, which has nothing to do with what it issues.
    #[must_use]
    pub fn own_ca(&self) -> &Ca {
        &self.ca
    }

    /// URL of its directory.
    #[must_use]
    pub fn directory(&self) -> String {
        format!("https://{}/dir", self.address())
    }

    /// File with the CA of its server.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A client that trusts what it issues.
    pub async fn client(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.management));
        let own = self.ca.client(&["http/1.1"], None);
        let management = Box::pin(Connection::tls(address, "127.0.0.1", &own)).await;
        let root = management.unwrap().get("/roots/0").await;
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(&root.body).unwrap())
            .unwrap();
        let mut client = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(client)
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        log(&self.folder)
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        // it may have ended by itself
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("pebble.log")).unwrap_or_default()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// A name server (RFC 1035 section 4) for which every name has the address 127.0.0.1 and nothing else. It lives as long as the process.
fn name_server() -> SocketAddr {
    const A: [u8; 2] = [0, 1];
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query) {
            let Some(answer) = answer(&query[..length], A) else {
                continue;
            };
            drop(socket.send_to(&answer, client));
        }
    });
    address
}

fn answer(query: &[u8], a: [u8; 2]) -> Option<Vec<u8>> {
    let name = query.get(12..)?.iter().position(|&byte| byte == 0)?;
    // the root label, type and class
    let question = query.get(12..12 + name + 5)?;
    let is_a = question.get(name + 1..name + 3)? == a;
    let mut answer = query.get(..2)?.to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    answer.extend(question);
    if is_a {
        answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
    }
    Some(answer)
}
