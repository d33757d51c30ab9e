"""A WebSocket over HTTP/2 (RFC 8441), by h2 and wsproto: `websocket_h2_calls.py PORT CA`. Ends with an error at the first surprise. The other end has to
answer messages with themselves, and `close 4001` with a Close.
"""

import socket
import ssl
import sys

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, RemoteSettingsChanged, ResponseReceived, StreamEnded, StreamReset
from wsproto.frame_protocol import FrameProtocol, Opcode

PORT, CA = sys.argv[1:]
PATIENCE = 30


class Client:
    def __init__(self):
        context = ssl.create_default_context(cafile=CA)
        context.set_alpn_protocols(["h2"])
        raw = socket.create_connection(("127.0.0.1", int(PORT)), PATIENCE)
        self.socket = context.wrap_socket(raw, server_hostname="localhost")
        assert self.socket.selected_alpn_protocol() == "h2"
        self.h2 = H2Connection(H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.answers, self.streams, self.ended = {}, {}, set()
        while not self.h2.remote_settings.enable_connect_protocol:
            self.turn()

    def turn(self):
        """Sends what is to be sent and reads once."""
        self.socket.sendall(self.h2.data_to_send())
        data = self.socket.recv(65536)
        assert data, "the connection ended"
        for event in self.h2.receive_data(data):
            assert not isinstance(event, (ConnectionTerminated, StreamReset)), event
            if isinstance(event, ResponseReceived):
                self.answers[event.stream_id] = dict(event.headers)
            elif isinstance(event, DataReceived):
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                self.streams.setdefault(event.stream_id, bytearray()).extend(event.data)
            elif isinstance(event, StreamEnded):
                self.ended.add(event.stream_id)
        self.socket.sendall(self.h2.data_to_send())

    def ask(self, fields, end):
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, fields, end_stream=end)
        while stream not in self.answers:
            self.turn()
        return stream

    def send(self, stream, data):
        while data:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room == 0:
                self.turn()
                continue
            self.h2.send_data(stream, data[:room])
            data = data[room:]
            self.socket.sendall(self.h2.data_to_send())


class Talk:
    """A WebSocket on a stream of a client."""

    def __init__(self, client):
        self.client = client
        fields = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", "/talk"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "chat, other"),
        ]
        self.stream = client.ask(fields, end=False)
        answer = client.answers[self.stream]
        assert answer[":status"] == "200", answer
        assert answer["sec-websocket-protocol"] == "chat", answer
        self.frames = FrameProtocol(client=True, extensions=[])
        self.client.streams.setdefault(self.stream, bytearray())

    def send(self, message, fin=True):
        self.client.send(self.stream, self.frames.send_data(message, fin))

    def receive(self):
        """The next message, or the code of the Close."""
        parts = []
        while True:
            heard = self.client.streams[self.stream]
            self.frames.receive_bytes(bytes(heard))
            heard.clear()
            for frame in self.frames.received_frames():
                if frame.opcode is Opcode.CLOSE:
                    return frame.payload
                if frame.opcode in (Opcode.PING, Opcode.PONG):
                    return frame.opcode, bytes(frame.payload)
                parts.append(frame.payload)
                if frame.message_finished:
                    return (b"" if isinstance(frame.payload, bytes | bytearray) else "").join(parts)
            self.client.turn()


client = Client()
talks = [Talk(client), Talk(client)]
for talk in talks:
    for message in ("", "text \u00e9\U0001f600", b"", b"\x00\xff", "x" * 65536, bytes(range(256)) * 4096):
        talk.send(message)
        heard = talk.receive()
        assert heard == message, (message[:40], heard[:40])
    talk.client.send(talk.stream, talk.frames.ping(b"here"))
    assert talk.receive() == (Opcode.PONG, b"here")
# a request beside them on the same connection
other = client.ask([(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/beside")], end=True)
assert client.answers[other][":status"] == "200", client.answers[other]
talks[0].send("close 4001")
code, _reason = talks[0].receive()
assert code == 4001, code
talks[0].client.send(talks[0].stream, talks[0].frames.close(code))
while talks[0].stream not in client.ended:
    client.turn()
# the other one goes on
talks[1].send("still here")
assert talks[1].receive() == "still here"
