//! The origin behind every contender: one thread, HTTP/1.1 with keep-alive, canned answers. `/64k` and `/1g` by the beginning of the path, `/echo`
//! answers with the head it got, everything else is 1 KiB. Bodies by content-length are read and forgotten.

use std::{io, sync::Arc};

use anyhow::{Context as _, Result};
use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// Largest head.
const HEAD_MAX: usize = 64 << 10;
/// Bytes of the stream.
const STREAM: usize = 1 << 30;

struct Pages {
    small: Vec<u8>,
    large: Vec<u8>,
}

/// Serves until it is killed.
pub(crate) fn origin(port: u16) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .with_context(|| format!("origin: cannot listen on port {port}"))?;
        let pages = Arc::new(Pages {
            small: page(1 << 10),
            large: page(64 << 10),
        });
        loop {
            let (stream, _) = listener.accept().await.context("origin: accept")?;
            let pages = Arc::clone(&pages);
            tokio::spawn(async move {
                // a client that goes away ends its connection, nothing more
                drop(serve(stream, &pages).await);
            });
        }
    })
}

fn head(size: usize) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {size}\r\n\r\n").into_bytes()
}

fn page(size: usize) -> Vec<u8> {
    let mut page = head(size);
    page.resize(page.len() + size, b'x');
    page
}

async fn serve(mut stream: TcpStream, pages: &Pages) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = BytesMut::with_capacity(HEAD_MAX);
    loop {
        let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
            if buffer.len() > HEAD_MAX || stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let request = buffer.split_to(end + 4);
        let mut body = content_length(&request);
        while body > 0 {
            if buffer.is_empty() && stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            let part = body.min(buffer.len());
            buffer.advance(part);
            body -= part;
        }
        let path = request[..].split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        if path.starts_with(b"/64k") {
            stream.write_all(&pages.large).await?;
        } else if path.starts_with(b"/1g") {
            stream.write_all(&head(STREAM)).await?;
            let block = &pages.large[pages.large.len() - (64 << 10)..];
            for _ in 0..STREAM / block.len() {
                stream.write_all(block).await?;
            }
        } else if path.starts_with(b"/echo") {
            let mut answer = head(request.len());
            answer.extend_from_slice(&request);
            stream.write_all(&answer).await?;
        } else {
            stream.write_all(&pages.small).await?;
        }
    }
}

/// Bytes of the body that follows; none with GET, which saves a look at the fields.
fn content_length(request: &[u8]) -> usize {
    if request.starts_with(b"GET ") {
        return 0;
    }
    super::load::field(&String::from_utf8_lossy(request), "content-length")
        .and_then(|value| value.parse().ok())
        .unwrap_or(0)
}
