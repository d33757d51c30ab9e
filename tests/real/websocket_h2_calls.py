"""A WebSocket over HTTP/2 (RFC 8441), by h2 and wsproto: `websocket_h2_calls.py PORT CA`. Ends with an error at the first surprise. The other end has to
answer messages with themselves, and `close 4001` with a Close.
"""

import sys

from h2_client import Client
from wsproto.frame_protocol import FrameProtocol, Opcode

PORT, CA = sys.argv[1:]


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


client = Client(PORT, CA)
while not client.h2.remote_settings.enable_connect_protocol:
    client.turn()
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
