"""A server and a client of websockets, with the gateway between them: `websocket_calls.py SERVER CLEARTEXT TLS CA`. Ends with an error at the first
surprise. The library has passed the Autobahn test suite on both sides.
"""

import asyncio
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus

SERVER, CLEARTEXT, TLS, CA = sys.argv[1:]
PATIENCE = 30


async def answer(socket):
    async for message in socket:
        if message == "close":
            await socket.close(4000, "as you wish")
        elif message == "break off":
            socket.transport.abort()
        else:
            await socket.send(message)


async def messages(socket):
    for message in ("", "text \u00e9\U0001f600", b"", b"\x00\xff", "x" * 125, "x" * 126, "x" * 65536, bytes(range(256)) * 8192):
        await socket.send(message)
        assert await asyncio.wait_for(socket.recv(), PATIENCE) == message
    # in fragments, which the server's library puts together
    await socket.send(part for part in ("one ", "two ", "three"))
    assert await socket.recv() == "one two three"
    latency = await asyncio.wait_for(await socket.ping(), PATIENCE)
    assert latency >= 0
    # many at once
    for number in range(500):
        await socket.send(str(number))
    for number in range(500):
        assert await asyncio.wait_for(socket.recv(), PATIENCE) == str(number)


async def main():
    trust = ssl.create_default_context(cafile=CA)
    host, port = SERVER.rsplit(":", 1)
    async with serve(answer, host, int(port), subprotocols=["chat"], max_size=None):
        for url, tls in ((f"ws://{CLEARTEXT}/talk", None), (f"wss://localhost:{TLS.rsplit(':', 1)[1]}/talk", trust)):
            options = {"ssl": tls, "subprotocols": ["chat", "other"], "max_size": None, "open_timeout": PATIENCE, "proxy": None}
            for compression in ("deflate", None):
                async with connect(url, compression=compression, **options) as socket:
                    assert socket.subprotocol == "chat"
                    extensions = socket.response.headers.get("sec-websocket-extensions", "")
                    assert ("permessage-deflate" in extensions) == (compression is not None), extensions
                    await messages(socket)
                assert socket.close_code == 1000

            async with connect(url, **options) as socket:
                await socket.send("close")
                try:
                    await asyncio.wait_for(socket.recv(), PATIENCE)
                    raise AssertionError("no Close")
                except ConnectionClosedError as closed:
                    assert (closed.rcvd.code, closed.rcvd.reason) == (4000, "as you wish"), closed

            # a server that breaks off is not taken for one that says Close
            async with connect(url, **options) as socket:
                await socket.send("break off")
                try:
                    await asyncio.wait_for(socket.recv(), PATIENCE)
                    raise AssertionError("nothing broke off")
                except ConnectionClosedOK:
                    raise AssertionError("a Close that nobody said") from None
                except ConnectionClosedError as closed:
                    assert closed.rcvd is None, closed

            try:
                async with connect(url.replace("/talk", "/nowhere"), **options):
                    raise AssertionError("agreed without a route")
            except InvalidStatus as refused:
                assert refused.response.status_code == 404, refused
    print("all went as expected")


asyncio.run(main())
