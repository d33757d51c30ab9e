"""A client of HTTP/2, by h2, for the scripts beside it."""

import socket
import ssl

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset

PATIENCE = 30


class Client:
    """A connection: in cleartext with prior knowledge, or, with the certificate of an authority, over TLS to `localhost`. Cookies go in fields of their own."""

    def __init__(self, port, ca=None):
        self.socket = socket.create_connection(("127.0.0.1", int(port)), PATIENCE)
        if ca:
            context = ssl.create_default_context(cafile=ca)
            context.set_alpn_protocols(["h2"])
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
            assert self.socket.selected_alpn_protocol() == "h2"
        self.h2 = H2Connection(H2Configuration(header_encoding="utf-8", split_outbound_cookies=True))
        self.h2.initiate_connection()
        self.answers, self.streams, self.ended = {}, {}, set()

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

    def open(self, fields, end):
        """Sends the head of a request: its stream."""
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, fields, end_stream=end)
        return stream

    def ask(self, fields, end):
        """Sends the head of a request and waits for that of the response: the stream."""
        stream = self.open(fields, end)
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

    def exchange(self, fields, body):
        """A request and its response to the end: status and body."""
        stream = self.open(fields, end=not body)
        if body:
            self.send(stream, body)
            self.h2.end_stream(stream)
        while stream not in self.ended:
            self.turn()
        return int(self.answers.pop(stream)[":status"]), bytes(self.streams.pop(stream, b""))
