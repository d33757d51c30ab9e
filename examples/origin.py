#!/usr/bin/env python3
"""The upstream of the examples, on 127.0.0.1:9000: answers every request with that request as JSON.

/fields?name=value&... answers with these header fields, /status/N with that status. For looking around only.
"""
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


def decoded(value):
    """A field value as UTF-8; the standard library takes it for Latin-1."""
    return value.encode("latin-1").decode("utf-8", "replace")


class Origin(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self):
        url = urlsplit(self.path)
        body = self.body()
        status, fields = 200, [("content-type", "application/json"), ("x-origin", "echo")]
        if url.path == "/fields":
            pairs = [pair.partition("=") for pair in url.query.split("&")]
            fields = [(unquote(name), unquote(value)) for name, _, value in pairs]
            text = "fields"
        elif url.path.startswith("/status/"):
            status = int(url.path.rsplit("/", 1)[1])
            fields, text = [], f"status {status}"
        else:
            text = json.dumps(
                {
                    "method": self.command,
                    "path": url.path,
                    "query": url.query or None,
                    "headers": [[name.lower(), decoded(value)] for name, value in self.headers.items()],
                    "body": body.decode("utf-8", "replace"),
                    "body-bytes": len(body),
                },
                separators=(",", ":"),
                ensure_ascii=False,
            )
        content = text.encode()
        self.send_response_only(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def body(self):
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer


if __name__ == "__main__":
    print("origin on http://127.0.0.1:9000, ends with Ctrl-C")
    ThreadingHTTPServer(("127.0.0.1", 9000), Origin).serve_forever()
