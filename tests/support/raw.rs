//! Bytes as they are on the wire, on either side of the gateway: for what no HTTP library would send.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::within;

/// A connection of bytes.
pub struct Raw {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Raw {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within("connecting", TcpStream::connect(address)).await.unwrap();
        Self::from(stream)
    }

    /// Sends. The peer may have closed already: what it said before is what counts.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        drop(within("sending", self.stream.write_all(bytes.as_ref())).await);
    }

    /// Reads until the text occurs; everything received so far, and takes it off.
    pub async fn until(&mut self, text: &str) -> String {
        within(&format!("{text:?} on the wire"), async {
            loop {
                let found = self
                    .received
                    .windows(text.len())
                    .position(|window| window == text.as_bytes());
                if let Some(at) = found {
                    let rest = self.received.split_off(at + text.len());
                    let all = std::mem::replace(&mut self.received, rest);
                    return String::from_utf8_lossy(&all).into_owned();
                }
                let ended = self.stream.read_buf(&mut self.received).await.unwrap_or(0) == 0;
                assert!(
                    !ended,
                    "the peer closed before {text:?}: {:?}",
                    String::from_utf8_lossy(&self.received)
                );
            }
        })
        .await
    }

    /// Reads to the end.
    pub async fn to_end(&mut self) -> String {
        String::from_utf8_lossy(&self.to_end_bytes().await).into_owned()
    }

    /// The same, of what is no text.
    pub async fn to_end_bytes(&mut self) -> Vec<u8> {
        within("the end of the connection", async {
            while self.stream.read_buf(&mut self.received).await.unwrap_or(0) > 0 {}
        })
        .await;
        std::mem::take(&mut self.received)
    }

    /// Reads so many bytes.
    pub async fn bytes(&mut self, count: usize) -> Vec<u8> {
        within(&format!("{count} bytes"), async {
            while self.received.len() < count {
                let more = self.stream.read_buf(&mut self.received).await.unwrap_or(0);
                assert!(more > 0, "the peer closed after {:?}", self.received);
            }
        })
        .await;
        let rest = self.received.split_off(count);
        std::mem::replace(&mut self.received, rest)
    }

    /// Answers with JSON, and waits until the client has closed.
    pub async fn answer_json(&mut self, status: &str, body: &str) {
        self.send(json_answer(status, body)).await;
        self.finish().await;
        self.to_end().await;
    }

    /// Says that nothing more comes.
    pub async fn finish(&mut self) {
        drop(self.stream.shutdown().await);
    }
}

impl From<TcpStream> for Raw {
    fn from(stream: TcpStream) -> Self {
        Self {
            stream,
            received: Vec::new(),
        }
    }
}

/// A response with a body of JSON, after which the connection ends.
fn json_answer(status: &str, body: &str) -> String {
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close");
    format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Sends bytes on a connection of their own and reads to the end.
pub async fn raw(address: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    let mut connection = Raw::connect(address).await;
    connection.send(bytes).await;
    connection.to_end().await
}

/// A server on a free port that hands each of its connections to `answer`, beside the others; the task ends it.
pub async fn serve<F>(answer: impl Fn(Raw) -> F + Send + 'static) -> (SocketAddr, JoinHandle<()>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(Raw::from(stream)));
        }
    });
    (address, serving)
}

/// An upstream that of each connection reads a request head (`Content-Length` bytes are not waited for), sends `answer` and closes. The number of
/// connections is not limited.
pub async fn scripted_upstream(answer: impl AsRef<[u8]>) -> SocketAddr {
    let answer: Arc<[u8]> = answer.as_ref().into();
    let answering = move |mut connection: Raw| {
        let answer = Arc::clone(&answer);
        async move {
            connection.until("\r\n\r\n").await;
            connection.send(&answer).await;
            connection.finish().await;
            connection.to_end().await;
        }
    };
    serve(answering).await.0
}

/// An upstream that gives this answer to everything, as JSON.
pub async fn json_upstream(answer: &serde_json::Value) -> SocketAddr {
    scripted_upstream(json_answer("200 OK", &answer.to_string())).await
}
