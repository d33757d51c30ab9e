"""A signer of AWS: `sigv4_calls.py ADDRESS PORT HOST REGION KEY SECRET`. Signs random requests with botocore and sends them. Ends with an error at the first
surprise.

Each request has to be let in as it was signed, in fields or in the query, and to be refused when one thing about it was changed on the way.
"""

import http.client
import random
import string
import sys
import urllib.parse

from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

ADDRESS, PORT, HOST, REGION, KEY, SECRET = sys.argv[1:]
CREDENTIALS = Credentials(KEY, SECRET)
COUNT = 60
dice = random.Random(20261129)


def word(letters, least=1, most=10):
    return "".join(dice.choice(letters) for _ in range(dice.randint(least, most)))


PLAIN = string.ascii_letters + string.digits + "-._~"
# what has to be encoded, but nothing that the gateway refuses as ambiguous
ODD = PLAIN + " +:@!$&'()*,=äß€"


def target():
    segments = [urllib.parse.quote(word(ODD).strip(".") or "x") for _ in range(dice.randint(0, 4))]
    path = "/prod/" + "/".join(segments)
    pairs = [(word(ODD), word(ODD, 0)) for _ in range(dice.randint(0, 4))]
    if pairs and dice.random() < 0.5:
        pairs.append((pairs[0][0], word(ODD)))
    return path, urllib.parse.urlencode(pairs, quote_via=urllib.parse.quote)


def signed(form):
    path, query = target()
    method = dice.choice(["GET", "POST", "PUT", "DELETE"])
    body = dice.randbytes(dice.randint(1, 3000)) if form == "header" and method in ("POST", "PUT") else b""
    url = f"http://{HOST}{path}" + (f"?{query}" if query else "")
    headers = {"X-Custom": f"  {word(PLAIN)}   {word(PLAIN)} "} if form == "header" else {}
    request = AWSRequest(method=method, url=url, data=body, headers=headers)
    if form == "header":
        SigV4Auth(CREDENTIALS, "execute-api", REGION).add_auth(request)
    else:
        SigV4QueryAuth(CREDENTIALS, "execute-api", REGION, expires=60).add_auth(request)
    sent = request.prepare()
    split = urllib.parse.urlsplit(sent.url)
    whole = split.path + (f"?{split.query}" if split.query else "")
    return method, whole, dict(sent.headers.items()), body


def send(method, whole, headers, body):
    connection = http.client.HTTPConnection(ADDRESS, int(PORT), timeout=30)
    connection.putrequest(method, whole, skip_host=True, skip_accept_encoding=True)
    connection.putheader("Host", HOST)
    for name, value in headers.items():
        if name.lower() not in ("host", "content-length"):
            connection.putheader(name, value)
    if body:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body or None)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response.status, text


def changed(method, whole, headers, body):
    """The same with one thing about it changed, and what that was."""
    ways = ["method", "path", "query"]
    if body:
        ways.append("body")
    if "X-Custom" in headers:
        ways.append("field")
    way = dice.choice(ways)
    if way == "method":
        method = {"GET": "DELETE", "DELETE": "GET", "POST": "PUT", "PUT": "POST"}[method]
    elif way == "path":
        path, mark, query = whole.partition("?")
        whole = path.rstrip("/") + "/more" + mark + query
    elif way == "query":
        whole += ("&" if "?" in whole else "?") + "more=1"
    elif way == "body":
        body = bytes([body[0] ^ 1]) + body[1:]
    else:
        headers = {**headers, "X-Custom": "another"}
    return way, (method, whole, headers, body)


for number in range(COUNT):
    for form in ("header", "query"):
        request = signed(form)
        status, text = send(*request)
        assert status == 200, (number, form, request, status, text)
        way, other = changed(*request)
        status, text = send(*other)
        assert status == 403, (number, form, way, request, other, status, text)
        assert b"does not match the signature" in text, (way, text)
stranger = SigV4Auth(Credentials("AKIANOBODY", SECRET), "execute-api", REGION)
request = AWSRequest(method="GET", url=f"http://{HOST}/prod/a")
stranger.add_auth(request)
status, text = send("GET", "/prod/a", dict(request.headers.items()), b"")
assert (status, b"security token" in text) == (403, True), (status, text)
status, text = send("GET", "/prod/a", {}, b"")
assert (status, text) == (403, b'{"message":"Missing Authentication Token"}'), (status, text)
print(f"{COUNT} requests in fields and {COUNT} in the query were let in, and refused when they were changed")
