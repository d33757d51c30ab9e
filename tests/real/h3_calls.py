"""A client of aioquic: `h3_calls.py ADDRESS PORT CA`. Ends with an error at the first surprise.

It comes over TLS first, where Alt-Svc tells it of HTTP/3, and then does what clients of HTTP/3 do: requests, uploads, many streams at once, trailers,
another address, new keys, a session that is resumed with early data.
"""

import asyncio
import http.client
import json
import re
import socket
import ssl
import sys

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, ErrorCode, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset

ADDRESS, PORT, CA = sys.argv[1:]
NAME = "example.test"
PATIENCE = 30


class Exchange:
    def __init__(self):
        self.head = None
        self.body = b""
        self.trailers = None
        self.ended = asyncio.get_running_loop().create_future()

    @property
    def status(self):
        return int(self.head[b":status"])

    def json(self):
        assert self.status == 200, (self.status, self.body)
        return json.loads(self.body)


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.exchanges = {}
        self.terminated = None

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            self.terminated = event
            for exchange in self.exchanges.values():
                if not exchange.ended.done():
                    exchange.ended.set_exception(ConnectionError(str(event)))
        if isinstance(event, StreamReset) and event.stream_id in self.exchanges:
            self.exchanges[event.stream_id].ended.set_exception(ConnectionError(str(event)))
        for event in self.http.handle_event(event):
            exchange = self.exchanges.get(event.stream_id)
            if isinstance(event, HeadersReceived):
                if exchange.head is None:
                    exchange.head = dict(event.headers)
                else:
                    exchange.trailers = dict(event.headers)
            elif isinstance(event, DataReceived):
                exchange.body += event.data
            if event.stream_ended and not exchange.ended.done():
                exchange.ended.set_result(None)

    def begin(self, method, path, body=b"", trailers=()):
        stream = self._quic.get_next_available_stream_id()
        exchange = self.exchanges[stream] = Exchange()
        head = [
            (b":method", method.encode()),
            (b":scheme", b"https"),
            (b":authority", NAME.encode()),
            (b":path", path.encode()),
            (b"te", b"trailers"),
        ]
        self.http.send_headers(stream, head, end_stream=not body and not trailers)
        if body:
            self.http.send_data(stream, body, end_stream=not trailers)
        if trailers:
            self.http.send_headers(stream, list(trailers), end_stream=True)
        self.transmit()
        return exchange

    async def ask(self, method, path, body=b"", trailers=()):
        exchange = self.begin(method, path, body, trailers)
        await asyncio.wait_for(exchange.ended, PATIENCE)
        return exchange


def echoed(exchange, name):
    return [value for field, value in exchange.json()["headers"] if field == name]


def alternative():
    """The port that Alt-Svc tells of, over TLS."""
    context = ssl.create_default_context(cafile=CA)
    connection = http.client.HTTPSConnection(ADDRESS, int(PORT), context=context, timeout=PATIENCE)
    connection.sock = context.wrap_socket(
        socket.create_connection((ADDRESS, int(PORT)), PATIENCE), server_hostname=NAME
    )
    connection.request("GET", "/echo", headers={"host": NAME})
    answer = connection.getresponse()
    assert answer.status == 200
    told = re.fullmatch(r'h3=":(\d+)"; ma=\d+', answer.headers["alt-svc"])
    assert told, answer.headers["alt-svc"]
    return int(told[1])


async def moved(client):
    """Gives the client another socket, and so another port."""
    other = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    other.bind(("::", 0))
    old = client._transport
    await asyncio.get_running_loop().create_datagram_endpoint(lambda: client, sock=other)
    assert client._transport is not old
    return old


async def requests(client):
    exchange = await client.ask("GET", "/echo/a?b=c")
    seen = exchange.json()
    assert (seen["method"], seen["path"], seen["query"]) == ("GET", "/echo/a", "b=c"), seen
    assert b"alt-svc" not in exchange.head

    large = bytes(range(256)) * 4096
    exchange = await client.ask("POST", "/echo", large)
    assert exchange.json()["body-bytes"] == len(large) == 1 << 20

    # a response that is larger than any window
    exchange = await client.ask("GET", "/bytes/5000000")
    assert (exchange.status, len(exchange.body)) == (200, 5_000_000)

    several = [client.begin("GET", f"/echo/{number}") for number in range(100)]
    for number, exchange in enumerate(several):
        await asyncio.wait_for(exchange.ended, PATIENCE)
        assert exchange.json()["path"] == f"/echo/{number}"

    exchange = await client.ask("POST", "/echo", b"body", [(b"x-sum", b"abc")])
    assert exchange.json()["trailers"] == [["x-sum", "abc"]], exchange.json()
    exchange = await client.ask("GET", "/trailers")
    assert (exchange.body, exchange.trailers) == (b"body", {b"x-checksum": b"abc"})

    for status in (204, 304, 404, 503):
        exchange = await client.ask("GET", f"/status/{status}")
        assert exchange.status == status
    exchange = await client.ask("GET", "/nowhere/%00")
    assert exchange.status == 400 and json.loads(exchange.body)["status"] == 400


async def main():
    port = alternative()
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=NAME, cafile=CA)
    tickets = []

    async with connect(
        ADDRESS, port, configuration=configuration, create_protocol=Client, session_ticket_handler=tickets.append
    ) as client:
        await requests(client)
        client.request_key_update()
        assert (await client.ask("GET", "/echo/new-keys")).status == 200
        before = echoed(await client.ask("GET", "/echo/here"), "x-forwarded-for")
        old = await moved(client)
        # the id of the connection is another one, too, as RFC 9000 section 9.5 asks for
        client.change_connection_id()
        old.close()
        after = await client.ask("POST", "/echo/there", b"moved" * 10_000)
        assert after.json()["body-bytes"] == 50_000
        assert echoed(after, "x-forwarded-for") == before
        assert client.terminated is None
        client.close(error_code=ErrorCode.H3_NO_ERROR)
        await asyncio.wait_for(client.wait_closed(), PATIENCE)

    assert tickets, "no session to resume"
    configuration.session_ticket = tickets[-1]
    async with connect(
        ADDRESS, port, configuration=configuration, create_protocol=Client, wait_connected=False
    ) as client:
        early = client.begin("GET", "/echo/early")
        late = client.begin("PUT", "/echo/late", b"late")
        await asyncio.wait_for(early.ended, PATIENCE)
        await asyncio.wait_for(late.ended, PATIENCE)
        assert client._quic.tls.session_resumed and client._quic.tls.early_data_accepted
        # what is not safe has waited for the handshake
        assert echoed(late, "early-data") == [] and late.json()["body"] == "late"
        assert echoed(early, "early-data") in ([], ["1"])
    print("all went as expected")


asyncio.run(main())
