//! Listeners: how many connections one serves at once, and how they come, change and go while the gateway runs.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use edgeward_tests::{Ca, Connection, Gateway, Origin, Process, empty, eventually, get, raw, within};
use http::Request;
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinHandle};

fn config(connections: u32) -> Value {
    json!({
        "workers": 3,
        "limits": {"connections": connections},
        "routes": [{"path": "/", "respond": {"status": 204}}],
    })
}

async fn ask(connection: &mut Connection) -> u16 {
    connection.send(Request::get("/"), empty()).await.status
}

/// A connection that asks as soon as it is served; it stays open.
fn another(address: SocketAddr) -> JoinHandle<Connection> {
    tokio::spawn(async move {
        let mut connection = Connection::h1(address).await;
        assert_eq!(ask(&mut connection).await, 204);
        connection
    })
}

#[tokio::test]
async fn connections_above_the_limit_wait_for_a_place_or_a_higher_limit() {
    let mut setup = config(2);
    let gateway = Gateway::start(setup.clone()).await;
    let address = gateway.address();
    let first = within("the first", another(address)).await.unwrap();
    let mut second = within("the second", another(address)).await.unwrap();

    let third = another(address);
    assert_eq!(ask(&mut second).await, 204);
    assert!(gateway.metrics().contains("\nedgeward_connections 2\n"));
    assert!(!third.is_finished(), "above the limit");
    setup["limits"]["connections"] = json!(3);
    let next = gateway.snapshot(setup).await.unwrap();
    gateway.proxy.publish(next).unwrap();
    let third = within("the third, after the limit was raised", third)
        .await
        .unwrap();

    let fourth = another(address);
    assert_eq!(ask(&mut second).await, 204);
    assert!(!fourth.is_finished(), "above the new limit");
    drop(first);
    let fourth = within("the fourth, after the first went", fourth).await.unwrap();
    drop((third, fourth));
}

#[tokio::test]
async fn a_limit_below_the_number_of_workers_starves_nobody() {
    let gateway = Gateway::start(config(1)).await;
    for _ in 0..24 {
        let connection = within("a connection", another(gateway.address())).await.unwrap();
        drop(connection);
    }
}

#[tokio::test]
async fn a_client_has_so_many_connections_at_once() {
    let mut setup = config(100);
    setup["limits"]["connections-per-address"] = json!(2);
    setup["listeners"] =
        json!([{"address": "127.0.0.1:0"}, {"address": "127.0.0.2:0", "trusted-hops": ["127.0.0.1"]}]);
    let gateway = Gateway::start(setup).await;
    let addresses = gateway.proxy.addresses();
    let address = |ip: &str| {
        addresses
            .iter()
            .find(|(_, bound)| bound.ip().to_string() == ip)
            .unwrap()
            .1
    };
    let open = address("127.0.0.1");
    let first = another(open).await.unwrap();
    let mut second = another(open).await.unwrap();
    assert_eq!(raw(open, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await, "");
    eventually("the refusal is counted", async || {
        let counted = "\nedgeward_connections_refused_total 1\n";
        gateway.metrics().contains(counted).then_some(())
    })
    .await;
    // from a trusted hop come the connections of many
    let hops = [
        another(address("127.0.0.2")).await.unwrap(),
        another(address("127.0.0.2")).await.unwrap(),
    ];
    drop((first, hops));
    eventually("a place", async || {
        raw(open, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 204")
            .then_some(())
    })
    .await;
    assert_eq!(ask(&mut second).await, 204, "what was open is not disturbed");
}

fn setup(listeners: Value, origin: &Origin) -> Value {
    json!({
        "workers": 2,
        "listeners": listeners,
        "upstreams": {"origin": {"endpoints": [origin.endpoint()]}},
        "routes": [{"path": "/{path+}", "upstream": "origin"}],
    })
}

async fn publish(gateway: &Gateway, setup: Value) {
    let next = gateway.snapshot(setup).await.unwrap();
    gateway.proxy.publish(next).unwrap();
}

fn address_of(gateway: &Gateway, name: &str) -> SocketAddr {
    let addresses = gateway.proxy.addresses();
    addresses.iter().find(|(known, _)| known == name).unwrap().1
}

/// Requests one after the other, on one connection each of HTTP/1.1 and HTTP/2, until told to stop: how many there were.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    async fn start(address: SocketAddr) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            done: Arc::default(),
            clients: Vec::new(),
        };
        for mut connection in [Connection::h1(address).await, Connection::h2(address).await] {
            let (stop, done) = (Arc::clone(&load.stop), Arc::clone(&load.done));
            load.clients.push(tokio::spawn(async move {
                while !stop.load(Relaxed) {
                    assert_eq!(connection.get("/echo").await.status, 200);
                    done.fetch_add(1, Relaxed);
                }
            }));
        }
        load
    }

    /// Waits until some more requests were answered.
    async fn goes_on(&self) {
        let before = self.done.load(Relaxed);
        eventually("the load to go on", async || {
            (self.done.load(Relaxed) > before + 10).then_some(())
        })
        .await;
    }

    async fn stop(self) {
        self.stop.store(true, Relaxed);
        for client in self.clients {
            client
                .await
                .expect("a connection of another listener was disturbed");
        }
    }
}

#[tokio::test]
async fn listeners_come_and_go_and_the_connections_of_others_do_not_notice() {
    let origin = Origin::start();
    let main = json!({"name": "main", "address": "127.0.0.1:0"});
    let alone = setup(json!([main]), &origin);
    let both = setup(
        json!([{"name": "second", "address": "127.0.0.1:0"}, main]),
        &origin,
    );
    let gateway = Gateway::start(alone.clone()).await;
    let address = address_of(&gateway, "main");
    let load = Load::start(address).await;
    for _ in 0..3 {
        publish(&gateway, both.clone()).await;
        assert_eq!(address_of(&gateway, "main"), address, "the socket stays");
        let second = address_of(&gateway, "second");
        assert_eq!(get(second, "/echo").await.status, 200);
        load.goes_on().await;
        publish(&gateway, alone.clone()).await;
        load.goes_on().await;
        edgeward_tests::closed(second).await;
    }
    load.stop().await;
}

/// Waits until the gateway has closed a connection; what is asked before its end arrives may still be answered.
async fn closes(connection: &mut Connection) {
    within("the end of a connection", async {
        while connection.try_send(Request::get("/echo"), empty()).await.is_ok() {}
    })
    .await;
}

#[tokio::test]
async fn connections_of_a_removed_listener_finish_what_runs_and_close() {
    let origin = Origin::start();
    let main = json!({"name": "main", "address": "127.0.0.1:0"});
    let gone = json!({"name": "gone", "address": "127.0.0.1:0"});
    let gateway = Gateway::start(setup(json!([main, gone]), &origin)).await;
    let address = address_of(&gateway, "gone");
    let mut idle = [Connection::h1(address).await, Connection::h2(address).await];
    for connection in &mut idle {
        assert_eq!(connection.get("/echo").await.status, 200);
    }
    let mut running = Vec::new();
    for (mut connection, key) in [
        (Connection::h1(address).await, "h1"),
        (Connection::h2(address).await, "h2"),
    ] {
        running.push(tokio::spawn(async move {
            let reply = connection.get(&format!("/hold/{key}")).await;
            (connection, reply)
        }));
        origin.wait_for(&format!("/hold/{key}"), 1).await;
    }
    publish(&gateway, setup(json!([main]), &origin)).await;
    for mut connection in idle {
        closes(&mut connection).await;
    }
    origin.release("h1");
    origin.release("h2");
    for exchange in running {
        let (mut connection, reply) = within("what runs", exchange).await.unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (200, "released"));
        if !connection.is_h2() {
            assert_eq!(reply.header("connection"), "close");
        }
        closes(&mut connection).await;
    }
    assert_eq!(get(address_of(&gateway, "main"), "/echo").await.status, 200);
}

#[tokio::test]
async fn a_changed_address_moves_the_listener_and_a_changed_name_does_not() {
    let origin = Origin::start();
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let at = |name: &str, address: String| setup(json!([{"name": name, "address": address}]), &origin);
    let gateway = Gateway::start(at("web", "127.0.0.1:0".to_owned())).await;
    let old = gateway.address();
    publish(&gateway, at("web", free.to_string())).await;
    assert_eq!(gateway.proxy.addresses(), [("web".to_owned(), free)]);
    let mut connection = Connection::h1(free).await;
    assert_eq!(connection.get("/echo").await.status, 200);
    eventually("the old address to close", async || {
        TcpStream::connect(old).await.is_err().then_some(())
    })
    .await;
    publish(&gateway, at("renamed", free.to_string())).await;
    assert_eq!(gateway.proxy.addresses(), [("renamed".to_owned(), free)]);
    assert_eq!(connection.get("/echo").await.status, 200, "the socket stayed");
}

#[tokio::test]
async fn changed_tls_holds_for_new_connections_and_open_ones_stay() {
    let (origin, ca) = (Origin::start(), Ca::new());
    let folder = tempfile::tempdir().unwrap();
    ca.issue(&["a.example"]).write(folder.path(), "a");
    let file = ca.write(folder.path());
    let with = |tls: Value| {
        let mut all = json!({"certificates": [{"cert": "a.crt", "key": "a.key"}]});
        all.as_object_mut()
            .unwrap()
            .extend(tls.as_object().unwrap().clone());
        setup(
            json!([{"name": "tls", "address": "127.0.0.1:0", "tls": all}]),
            &origin,
        )
    };
    let gateway = Gateway::start_in(folder, with(json!({}))).await;
    let address = gateway.address();
    let old = Arc::new(
        rustls::ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS12])
            .with_root_certificates(ca.roots())
            .with_no_client_auth(),
    );
    let (anonymous, known) = (
        ca.client(&["http/1.1"], None),
        ca.client(&["http/1.1"], Some(&ca.issue(&["client"]))),
    );
    let is_served = async |client| {
        let Ok(mut connection) = Connection::tls(address, "a.example", client).await else {
            return false;
        };
        connection.try_send(Request::get("/echo"), empty()).await.is_ok()
    };
    let mut open = Connection::tls(address, "a.example", &old).await.unwrap();
    assert!(is_served(&old).await && is_served(&anonymous).await);
    publish(&gateway, with(json!({"policy": "modern"}))).await;
    assert!(!is_served(&old).await && is_served(&anonymous).await);
    publish(&gateway, with(json!({"client-auth": {"ca": file}}))).await;
    assert!(!is_served(&old).await && !is_served(&anonymous).await);
    assert!(is_served(&known).await);
    assert_eq!(open.get("/echo").await.status, 200, "opened before");
    let mut cleartext = with(json!({}));
    cleartext["listeners"][0].as_object_mut().unwrap().remove("tls");
    publish(&gateway, cleartext).await;
    assert_eq!(get(address, "/echo").await.status, 200);
    assert_eq!(open.get("/echo").await.status, 200, "opened before");
}

#[tokio::test]
async fn a_listener_that_cannot_listen_leaves_everything_as_it_was() {
    let origin = Origin::start();
    let main = json!({"name": "main", "address": "127.0.0.1:0"});
    let gateway = Gateway::start(setup(json!([main]), &origin)).await;
    let before = gateway.proxy.addresses();
    let load = Load::start(gateway.address()).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let fresh = json!({"name": "fresh", "address": "127.0.0.1:0"});
    let blocked = json!({"name": "blocked", "address": address.to_string()});
    let mut wanted = setup(json!([fresh, blocked]), &origin);
    wanted["routes"] = json!([{"path": "/{path+}", "respond": {"status": 404}}]);
    let id = gateway.proxy.current().id();
    let next = gateway.snapshot(wanted.clone()).await.unwrap();
    let problem = gateway.proxy.publish(next).unwrap_err().to_string();
    assert!(
        problem.contains("`blocked`") && problem.contains(&address.to_string()),
        "{problem}"
    );
    assert_eq!(gateway.proxy.addresses(), before);
    assert_eq!(gateway.proxy.current().id(), id);
    load.goes_on().await;
    load.stop().await;
    drop(taken);
    publish(&gateway, wanted).await;
    assert_eq!(get(address, "/echo").await.status, 404);
}

#[tokio::test]
async fn listeners_of_the_file_come_move_and_go_while_it_runs() {
    let origin = Origin::start();
    let folder = tempfile::tempdir().unwrap();
    let free = || {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap()
    };
    let write = |second: Option<SocketAddr>| {
        let mut config = crate::process::config(&origin);
        if let Some(address) = second {
            let listeners = config["listeners"].as_array_mut().unwrap();
            listeners.insert(0, json!({"name": "second", "address": address.to_string()}));
        }
        crate::process::write(folder.path(), &config);
    };
    let listens = async |address: SocketAddr| {
        eventually("a listener to open", async || {
            TcpStream::connect(address).await.is_ok().then_some(())
        })
        .await;
        assert_eq!(get(address, "/echo").await.status, 200);
    };
    write(None);
    let process = Process::start(folder.path());
    let load = Load::start(process.address()).await;
    let (first, moved) = (free(), free());
    write(Some(first));
    listens(first).await;
    load.goes_on().await;
    let mut open = Connection::h1(first).await;
    assert_eq!(open.get("/echo").await.status, 200);
    write(Some(moved));
    listens(moved).await;
    edgeward_tests::closed(first).await;
    closes(&mut open).await;
    load.goes_on().await;
    // an address that is taken: what was said before holds
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    write(Some(taken.local_addr().unwrap()));
    eventually("the log to say so", async || {
        let address = taken.local_addr().unwrap().to_string();
        process.log().contains(&address).then_some(())
    })
    .await;
    listens(moved).await;
    write(None);
    edgeward_tests::closed(moved).await;
    load.goes_on().await;
    load.stop().await;
}
