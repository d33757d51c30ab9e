//! A way for the packets between a QUIC client and the gateway, on which those of the gateway can be held up, and the client gets another address
//! without knowing.

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
    near: Arc<UdpSocket>,
    far: watch::Sender<Arc<UdpSocket>>,
    client: watch::Receiver<Option<SocketAddr>>,
    tasks: JoinSet<()>,
}

impl Relay {
    /// A way to the gateway at this address.
    pub async fn to(gateway: SocketAddr) -> Self {
        let near = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        let far = watch::Sender::new(socket_to(gateway).await);
        let (sender, client) = watch::channel(None);
        let mut relay = Self {
            address: near.local_addr().unwrap(),
            held: watch::Sender::new(false),
            near: Arc::clone(&near),
            far: far.clone(),
            client,
            tasks: JoinSet::new(),
        };
        relay.tasks.spawn(async move {
            let mut packet = [0; 2048];
            while let Ok((length, client)) = near.recv_from(&mut packet).await {
                sender.send_replace(Some(client));
                let far = Arc::clone(&far.borrow());
                drop(far.send(&packet[..length]).await);
            }
        });
        relay.way_back();
        relay
    }

    /// What the gateway sends to the socket that is in use now goes to the client.
    fn way_back(&mut self) {
        let (far, near, client) = (
            self.far.borrow().clone(),
            Arc::clone(&self.near),
            self.client.clone(),
        );
        let mut holding = self.held.subscribe();
        self.tasks.spawn(async move {
            let mut packet = [0; 2048];
            while let Ok(length) = far.recv(&mut packet).await {
                // what is too much for the socket meanwhile is lost, and sent again
                drop(holding.wait_for(|held| !*held).await);
                let client = *client.borrow();
                if let Some(client) = client {
                    drop(near.send_to(&packet[..length], client).await);
                }
            }
        });
    }

    /// Sends to the gateway from another port from now on, as a NAT does that has forgotten a client (RFC 9000 section 9). The client does not notice.
    pub async fn rebind(&mut self) {
        let gateway = self.far.borrow().peer_addr().unwrap();
        self.far.send_replace(socket_to(gateway).await);
        self.way_back();
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

async fn socket_to(gateway: SocketAddr) -> Arc<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.connect(gateway).await.unwrap();
    Arc::new(socket)
}
