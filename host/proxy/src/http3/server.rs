//! The life of a connection.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use edgeward_core::config::Limits;
use parking_lot::Mutex;
use quinn::{Connection, RecvStream, SendStream};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    code::{Code, Fault},
    control::{self, Seen},
    frame::{FrameHeader, kind, put_integer},
    request,
};
use crate::{listen::ConnInfo, worker::Worker};

/// Setting of the longest field section that is accepted (RFC 9114 section 7.2.4.1).
const MAX_FIELD_SECTION_SIZE: u64 = 0x6;
/// Type of our control stream.
const CONTROL: u64 = 0x0;
/// Things that cost us and bring nothing, which a connection may do at once, and per second from there.
const CREDIT: f64 = 2000.0;
const CREDIT_PER_SECOND: f64 = 100.0;
/// Most time for what we say of the connection itself to be taken. Clients have to leave room for it from the start (RFC 9114 section 6.2).
const CONTROL_TIME: Duration = Duration::from_secs(5);
/// Most time for the last bytes to arrive before the connection is closed.
const LINGER_MAX: Duration = Duration::from_secs(2);

/// What the streams of a connection share.
pub(super) struct Link {
    pub(super) worker: Arc<Worker>,
    pub(super) connection: Connection,
    pub(super) limits: Limits,
    pub(super) seen: Mutex<Seen>,
    /// Cancelled when the handshake is complete: the client is no recording.
    pub(super) established: CancellationToken,
    credit: Mutex<(f64, Instant)>,
}

impl Link {
    /// Counts something that costs us and brings nothing.
    ///
    /// # Errors
    /// There was too much of it: costs the connection.
    pub(super) fn charge(&self, cost: u32) -> Result<(), Fault> {
        let mut credit = self.credit.lock();
        let now = Instant::now();
        let earned = (now - credit.1).as_secs_f64() * CREDIT_PER_SECOND;
        let left = (credit.0 + earned).min(CREDIT) - f64::from(cost);
        *credit = (left.max(0.0), now);
        if left < 0.0 {
            return Err(Fault::Connection(
                Code::ExcessiveLoad,
                "too much that brings nothing: requests given up, control frames",
            ));
        }
        Ok(())
    }

    /// Closes the connection if the fault costs it.
    pub(super) fn fail(&self, fault: &Fault) {
        if let Fault::Connection(code, what) = fault {
            tracing::debug!(peer = %self.connection.remote_address(), fault = %fault, "connection closed for a fault");
            self.connection.close(code.var_int(), what.as_bytes());
        }
    }
}

/// Serves a connection to its end. `completed` is ready when its handshake is.
///
/// # Cancel safety
/// Dropping the future closes the connection and ends the running exchanges.
pub(crate) async fn serve(
    worker: Arc<Worker>,
    conn: Arc<ConnInfo>,
    limits: Limits,
    connection: Connection,
    completed: impl Future<Output = bool> + Send + 'static,
) {
    let link = Arc::new(Link {
        worker,
        connection,
        limits,
        seen: Mutex::default(),
        established: CancellationToken::new(),
        credit: Mutex::new((CREDIT, Instant::now())),
    });
    let _closing = Closing(link.connection.clone());
    let mut streams = JoinSet::new();
    streams.spawn(complete(Arc::clone(&link), completed));
    let ended = tokio::select! {
        ended = run(&link, conn, &mut streams) => ended,
        () = link.worker.cut.cancelled() => return,
        error = link.connection.closed() => {
            tracing::debug!(%error, peer = %link.connection.remote_address(), "connection ended");
            return;
        }
    };
    let _control = match ended {
        Ok(control) => control,
        Err(fault) => {
            link.fail(&fault);
            return;
        }
    };
    // what was written last is on its way, and closing takes back what did not arrive
    let linger = (link.connection.rtt() * 4 + Duration::from_millis(30)).min(LINGER_MAX);
    let _closed = tokio::time::timeout(linger, link.connection.closed()).await;
}

/// Closes the connection at the end of its task.
struct Closing(Connection);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close(Code::NoError.var_int(), b"");
    }
}

/// Waits for the end of the handshake.
async fn complete(link: Arc<Link>, completed: impl Future<Output = bool>) {
    if tokio::time::timeout(link.limits.handshake_timeout.0, completed)
        .await
        .is_err()
    {
        link.connection
            .close(Code::NoError.var_int(), b"handshake took too long");
    }
    link.established.cancel();
}

/// Accepts streams until the connection ends: in order when it is idle or the gateway drains, and nothing runs any more. Hands our control stream
/// over then, which has to stay open.
async fn run(link: &Arc<Link>, conn: Arc<ConnInfo>, streams: &mut JoinSet<()>) -> Result<SendStream, Fault> {
    let gone = |_error| Fault::Gone;
    let begin = async {
        let mut control = link.connection.open_uni().await.map_err(gone)?;
        control
            .write_all(&settings(&link.limits))
            .await
            .map_err(|_error| Fault::Gone)?;
        Ok(control)
    };
    let mut control = in_time(begin).await?;
    let mut others = JoinSet::new();
    let idle = tokio::time::sleep(link.limits.idle_timeout.0);
    tokio::pin!(idle);
    let mut next_stream = 0;
    let mut ending = false;
    loop {
        tokio::select! {
            stream = link.connection.accept_bi() => {
                let (send, recv) = stream.map_err(gone)?;
                if ending {
                    // the client may send it elsewhere: RFC 9114 section 5.2
                    reject(send, recv);
                    continue;
                }
                next_stream = u64::from(quinn::VarInt::from(recv.id())) + 4;
                // wherever the client has moved: who it is was proven at the handshake, and the source of a packet proves nothing
                streams.spawn(request::serve(Arc::clone(link), Arc::clone(&conn), send, recv));
            }
            stream = link.connection.accept_uni() => {
                let stream = stream.map_err(gone)?;
                let link = Arc::clone(link);
                others.spawn(async move {
                    if let Err(fault) = control::serve(&link, stream).await {
                        link.fail(&fault);
                    }
                });
            }
            Some(_ended) = streams.join_next() => {}
            Some(_ended) = others.join_next() => {}
            () = conn.drain.cancelled(), if !ending => {
                ending = true;
                go_away(&mut control, next_stream).await?;
            }
            () = idle.as_mut() => {
                let left = conn.idle_left(link.limits.idle_timeout.0);
                if left.is_zero() && !ending {
                    ending = true;
                    go_away(&mut control, next_stream).await?;
                }
                idle.as_mut().reset(Instant::now() + left.max(Duration::from_secs(1)));
            }
        }
        if ending && streams.is_empty() {
            return Ok(control);
        }
    }
}

/// Our control stream's first bytes.
fn settings(limits: &Limits) -> BytesMut {
    let mut payload = BytesMut::new();
    put_integer(&mut payload, MAX_FIELD_SECTION_SIZE);
    put_integer(&mut payload, limits.head.0.saturating_mul(2).min(1 << 60));
    let mut out = BytesMut::new();
    put_integer(&mut out, CONTROL);
    let header = FrameHeader {
        kind: kind::SETTINGS,
        length: payload.len() as u64,
    };
    header.put(&mut out);
    out.extend_from_slice(&payload);
    out
}

/// No request from `stream` on will be served.
async fn go_away(control: &mut SendStream, stream: u64) -> Result<(), Fault> {
    let mut payload = BytesMut::new();
    put_integer(&mut payload, stream);
    let mut out = BytesMut::new();
    let header = FrameHeader {
        kind: kind::GOAWAY,
        length: payload.len() as u64,
    };
    header.put(&mut out);
    out.extend_from_slice(&payload);
    in_time(async { control.write_all(&out).await.map_err(|_error| Fault::Gone) }).await
}

/// What a client has to take, which costs its connection if it does not.
async fn in_time<T>(sent: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    tokio::time::timeout(CONTROL_TIME, sent)
        .await
        .unwrap_or(Err(Fault::Connection(
            Code::ExcessiveLoad,
            "no room for the control stream",
        )))
}

fn reject(mut send: SendStream, mut recv: RecvStream) {
    let code = Code::RequestRejected.var_int();
    let _gone = send.reset(code);
    let _gone = recv.stop(code);
}
