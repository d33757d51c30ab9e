//! TLS handshakes that come to nothing.

use std::{sync::Arc, time::Duration};

use edgeward_tests::{Ca, Connection, Raw};

use crate::{
    site::{SLOW, Site},
    tally::Turn,
};

/// The beginning of a ClientHello: a record of which little came.
const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

/// Connections that end in the middle of a ClientHello.
pub(crate) async fn broken_off(site: Arc<Site>) -> Turn {
    for length in [0, 1, HELLO.len()] {
        let mut connection = Raw::connect(site.tls()).await;
        connection.send(&HELLO[..length]).await;
    }
    Ok("broken off")
}

/// What is no TLS gets an alert, or a closed connection.
pub(crate) async fn no_tls(site: Arc<Site>) -> Turn {
    let mut connection = Raw::connect(site.tls()).await;
    connection.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let answer = connection.to_end_bytes().await;
    // 21 is the record type of alerts
    if answer.first().is_none_or(|first| *first == 21) {
        Ok("refused")
    } else {
        Err(format!("{answer:?}"))
    }
}

/// A handshake that does not go on.
pub(crate) async fn stalled(site: Arc<Site>) -> Turn {
    let mut connection = Raw::connect(site.tls()).await;
    connection.send(HELLO).await;
    match tokio::time::timeout(SLOW + Duration::from_secs(60), connection.to_end_bytes()).await {
        Ok(_alert) => Ok("closed by the gateway"),
        Err(_elapsed) => Err("a handshake that stalls stays".into()),
    }
}

/// A client that does not believe the certificate.
pub(crate) async fn distrusted(site: Arc<Site>) -> Turn {
    let stranger = Ca::new().client(&["h2", "http/1.1"], None);
    match Connection::tls(site.tls(), "example.test", &stranger).await {
        Ok(_connection) => Err("a certificate of another CA was believed".into()),
        Err(_alert) => Ok("refused"),
    }
}
