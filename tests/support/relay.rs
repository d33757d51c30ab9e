//! A way for the packets between a QUIC client and the gateway, on which those of the gateway can be held up.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use tokio::{net::UdpSocket, sync::watch, task::JoinSet};

/// The way of one client; it ends when dropped.
pub struct Relay {
    /// Where its client finds it.
    pub address: SocketAddr,
    held: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Relay {
    /// A way to the gateway at this address.
    pub async fn to(gateway: SocketAddr) -> Self {
        let near = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        let far = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        far.connect(gateway).await.unwrap();
        let address = near.local_addr().unwrap();
        let (held, mut holding) = watch::channel(false);
        let (client, mut clients) = watch::channel(None);
        let mut tasks = JoinSet::new();
        let (from, to) = (Arc::clone(&near), Arc::clone(&far));
        tasks.spawn(async move {
            let mut packet = [0; 2048];
            while let Ok((length, sender)) = from.recv_from(&mut packet).await {
                client.send_replace(Some(sender));
                drop(to.send(&packet[..length]).await);
            }
        });
        tasks.spawn(async move {
            let mut packet = [0; 2048];
            while let Ok(length) = far.recv(&mut packet).await {
                // what is too much for the socket meanwhile is lost, and sent again
                drop(holding.wait_for(|held| !*held).await);
                let client = *clients.borrow_and_update();
                if let Some(client) = client {
                    drop(near.send_to(&packet[..length], client).await);
                }
            }
        });
        Self {
            address,
            held,
            _tasks: tasks,
        }
    }

    /// Lets nothing of the gateway through: for its client no handshake comes to an end, and so for the gateway neither.
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    /// Lets everything through again.
    pub fn release(&self) {
        self.held.send_replace(false);
    }
}
