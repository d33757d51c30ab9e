//! WebSockets over HTTP/1.1 and HTTP/2, with and without TLS.

use std::{sync::Arc, time::Duration};

use edgeward_tests::{Over, Socket, hear, hear_close, tell};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    site::{Site, WEBSOCKET_IDLE},
    tally::Turn,
};

async fn open(site: &Site, over: Over) -> Result<Socket, String> {
    let address = match over {
        Over::Http1 | Over::Http2 => site.plain(),
        Over::Http1Tls(_) | Over::Http2Tls(_) => site.tls(),
    };
    let opened = over.open(address, "/talk", &[]).await;
    let opened = opened.map_err(|status| format!("{status} to a handshake"))?;
    if opened.headers.get("x-mark").is_none_or(|mark| mark != "soak") {
        return Err("the answer was not marked".into());
    }
    Ok(opened.socket)
}

fn every_way(site: &Site) -> [Over; 4] {
    [
        Over::Http1,
        Over::Http1Tls(Arc::clone(site.client("http/1.1"))),
        Over::Http2,
        Over::Http2Tls(Arc::clone(site.client("h2"))),
    ]
}

async fn close(mut socket: Socket) -> Result<(), String> {
    let closed = socket.close(None).await;
    closed.map_err(|error| format!("closing: {error}"))?;
    hear_close(&mut socket).await;
    Ok(())
}

/// Messages of all sizes, and their echoes.
pub(crate) async fn busy(site: Arc<Site>) -> Turn {
    for over in every_way(&site) {
        let mut socket = open(&site, over).await?;
        for size in [0, 1, 125, 126, 5_000, 70_000] {
            let message = Message::binary(vec![b'w'; size]);
            tell(&mut socket, message.clone()).await;
            if hear(&mut socket).await != message {
                return Err(format!("another echo of {size} bytes"));
            }
        }
        close(socket).await?;
    }
    Ok("talked")
}

/// WebSockets that say little, but enough.
pub(crate) async fn quiet(site: Arc<Site>) -> Turn {
    let mut sockets = Vec::new();
    for over in every_way(&site) {
        sockets.push(open(&site, over).await?);
    }
    for turn in 0..4 {
        site.rest(WEBSOCKET_IDLE / 2).await;
        for socket in &mut sockets {
            let message = if turn % 2 == 0 {
                Message::Ping("here".into())
            } else {
                Message::text("here")
            };
            tell(socket, message).await;
            hear(socket).await;
        }
    }
    for socket in sockets {
        close(socket).await?;
    }
    Ok("talked")
}

/// WebSockets that say nothing: the gateway closes them.
pub(crate) async fn silent(site: Arc<Site>) -> Turn {
    for over in every_way(&site) {
        let mut socket = open(&site, over).await?;
        let close =
            tokio::time::timeout(WEBSOCKET_IDLE + Duration::from_secs(60), hear_close(&mut socket)).await;
        match close {
            Ok(Some(1001)) => {}
            Ok(other) => return Err(format!("Close {other:?}")),
            Err(_elapsed) => return Err("no Close".into()),
        }
    }
    Ok("closed by the gateway")
}

/// Clients that go away without a Close, in the middle of their messages.
pub(crate) async fn aborted(site: Arc<Site>) -> Turn {
    for over in every_way(&site) {
        let mut socket = open(&site, over).await?;
        for _ in 0..3 {
            tell(&mut socket, Message::binary(vec![b'g'; 30_000])).await;
        }
        hear(&mut socket).await;
    }
    Ok("aborted")
}
