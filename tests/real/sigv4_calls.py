"""A signer of AWS: `sigv4_calls.py MODE GATEWAY HOST REGION KEY SECRET [TOKEN]`. Signs random requests with botocore, or with awscrt (SigV4a), and sends them.
Ends with an error at the first surprise.

Each request has to be let in as it was signed, in fields or in the query, and to be refused when one thing about it was changed on the way. MODE says what
else: `plain`: a key without a session token, whose policy denies `GET /secret`; `session`: a key with TOKEN; `sigv4a`: sets of regions; `http2`: over HTTP/2;
`clock`: times that differ.
`fields` sends nothing: KEY has several ids with commas, and of each a line of JSON has the fields that sign `GET /prod/a`.
"""

import dataclasses
import datetime
import http.client
import json
import random
import re
import string
import sys
import threading
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import botocore.auth
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

MODE, GATEWAY, HOST, REGION, KEY, SECRET, *TOKEN = sys.argv[1:]
CREDENTIALS = Credentials(KEY, SECRET, *TOKEN)
FORMS = ("header", "query")
COUNT = 60
NO_MATCH = "The request signature we calculated does not match the signature you provided."
NO_TOKEN = "The security token included in the request is invalid."
dice = random.Random(20261129)

PLAIN = string.ascii_letters + string.digits + "-._~"
# what has to be encoded, but nothing that the gateway refuses as ambiguous
ODD = PLAIN + " +:@!$&'()*,=äß€"


@dataclasses.dataclass(frozen=True)
class Request:
    method: str
    target: str
    fields: tuple = ()
    body: bytes = dataclasses.field(default=b"", repr=False)
    host: str = HOST

    def but(self, **other):
        return dataclasses.replace(self, **other)

    def set(self, name, value):
        """With another value of a field, or, with `None`, without the field."""
        kept = tuple(field for field in self.fields if field[0].lower() != name.lower())
        return self.but(fields=kept if value is None else (*kept, (name, value)))


def word(letters, least=1, most=10):
    return "".join(dice.choice(letters) for _ in range(dice.randint(least, most)))


def target():
    segments = [urllib.parse.quote(word(ODD).strip(".") or "x") for _ in range(dice.randint(0, 4))]
    path = "/prod/" + "/".join(segments)
    pairs = [(word(ODD), word(ODD, 0)) for _ in range(dice.randint(0, 4))]
    if pairs and dice.random() < 0.5:
        pairs.append((pairs[0][0], word(ODD)))
    query = urllib.parse.urlencode(pairs, quote_via=urllib.parse.quote)
    return path + (f"?{query}" if query else "")


def made(form):
    """A request that is not signed yet."""
    method = dice.choice(["GET", "POST", "PUT", "DELETE"])
    # botocore moves bodies into the query when it signs there
    body = dice.randbytes(dice.randint(1, 3000)) if form == "header" and method in ("POST", "PUT") else b""
    fields = [("X-Custom", f"  {word(PLAIN)}   {word(PLAIN)} ") for _ in range(dice.randint(0, 3))]
    if dice.random() < 0.5:
        fields.insert(dice.randint(0, len(fields)), ("Cookie", f"a={word(PLAIN)}; b={word(PLAIN)}; a={word(PLAIN)}"))
    # what the gateway writes itself is signed as it came
    for field in (("X-Request-Id", word(PLAIN)), ("Via", "1.1 before"), ("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=192.0.2.1")):
        if dice.random() < 0.3:
            fields.append(field)
    return Request(method, target(), tuple(fields), body)


def signed(form, request=None, credentials=CREDENTIALS, region=REGION, signers=(SigV4Auth, SigV4QueryAuth), expires=60):
    """A request, or a random one, with a signature of one of the signers."""
    request = request or made(form)
    aws = AWSRequest(method=request.method, url=f"http://{request.host}{request.target}", data=request.body)
    for name, value in (("Host", request.host), *request.fields):
        aws.headers.add_header(name, value)
    in_header, in_query = signers
    if form == "header":
        in_header(credentials, "execute-api", region).add_auth(aws)
    else:
        in_query(credentials, "execute-api", region, expires=expires).add_auth(aws)
    fields = tuple(field for field in aws.headers.items() if field[0].lower() not in ("host", "content-length"))
    return request.but(target=aws.url.removeprefix(f"http://{request.host}"), fields=fields)


def send(request):
    """Over HTTP/1.1: status and text."""
    connection = http.client.HTTPConnection(GATEWAY, timeout=30)
    connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
    connection.putheader("Host", request.host)
    for name, value in request.fields:
        connection.putheader(name, value)
    if request.body:
        connection.putheader("Content-Length", str(len(request.body)))
    connection.endheaders(request.body or None)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response.status, text


def let_in(request, send=send):
    status, text = send(request)
    assert status == 200, (request, status, text)


def refused(request, says, send=send):
    """It has to be refused in these words of AWS, or in more that begin so; what they are."""
    status, text = send(request)
    assert status == 403, (request, status, text)
    message = json.loads(text)["message"]
    assert message.startswith(says), (request, says, message)
    return message


def changed(request):
    """The same with one thing about it changed."""
    customs = [field for field in request.fields if field[0].lower() == "x-custom"]
    ways = ["method", "path", "query", "host"]
    if request.body:
        ways.append("body")
    if customs:
        ways.append("field")
    if len(customs) > 1:
        ways.append("order")
    way = dice.choice(ways)
    if way == "method":
        return request.but(method={"GET": "DELETE", "DELETE": "GET", "POST": "PUT", "PUT": "POST"}[request.method])
    if way == "path":
        path, mark, query = request.target.partition("?")
        return request.but(target=path.rstrip("/") + "/more" + mark + query)
    if way == "query":
        return request.but(target=request.target + ("&" if "?" in request.target else "?") + "more=1")
    if way == "host":
        return request.but(host=request.host.partition(":")[0] + ":81")
    if way == "body":
        return request.but(body=bytes([request.body[0] ^ 1]) + request.body[1:])
    if way == "field":
        return request.set("X-Custom", "another")
    others = [field for field in request.fields if field not in customs]
    return request.but(fields=(*others, *reversed(customs)))


def hold(count=COUNT, send=send, **how):
    """Random requests of both forms: let in as they are, refused when they are changed."""
    for _ in range(count):
        for form in FORMS:
            request = signed(form, **how)
            let_in(request, send)
            refused(changed(request), NO_MATCH, send)


def plain():
    hold()
    refused(signed("header", credentials=Credentials("AKIANOBODY", SECRET)), NO_TOKEN)
    for form in FORMS:
        refused(signed(form, credentials=Credentials(KEY, SECRET, "a token that is not its own")), NO_TOKEN)
    refused(Request("GET", "/prod/a"), "Missing Authentication Token")
    status, text = send(signed("header", Request("GET", "/prod/secret")))
    assert (status, b"POLICY_DENIED" in text) == (403, True), (status, text)


def session():
    hold()
    name, token = "X-Amz-Security-Token", CREDENTIALS.token
    parameter = f"&{name}={urllib.parse.quote(token, safe='')}"
    for form in FORMS:
        for _ in range(10):
            refused(signed(form, credentials=Credentials(KEY, SECRET, token[:-1])), NO_TOKEN)
            refused(signed(form, credentials=Credentials(KEY, SECRET)), NO_TOKEN)
            request, later = signed(form), signed(form, credentials=Credentials(KEY, SECRET))
            if form == "header":
                assert "x-amz-security-token" in dict(request.fields)["Authorization"], request
                refused(request.set(name, token + "x"), NO_MATCH)
                refused(request.set(name, None), NO_MATCH)
                # added after signing, it counts as well, if it is the one of the key
                let_in(later.set(name, token))
                refused(later.set(name, token + "x"), NO_TOKEN)
            else:
                assert parameter in request.target, request
                refused(request.but(target=request.target.replace(parameter, parameter + "x")), NO_MATCH)
                refused(request.but(target=request.target.replace(parameter, "")), NO_MATCH)
                let_in(later.but(target=later.target + parameter))
                refused(later.but(target=later.target + parameter + "x"), NO_TOKEN)


def sigv4a():
    from botocore.crt.auth import CrtSigV4AsymAuth, CrtSigV4AsymQueryAuth

    asymmetric = {"signers": (CrtSigV4AsymAuth, CrtSigV4AsymQueryAuth)}
    before, after = REGION[:3] + "*", "*" + REGION[-2:]
    for regions in (REGION, "*", before, after, f"us-east-1,{REGION}", f"us-*, {before}"):
        hold(10, region=regions, **asymmetric)
    for form in FORMS:
        for regions in ("us-east-1", "us-*", f"us-east-1,{REGION}x", REGION[:-1], f"*{REGION}1"):
            message = refused(signed(form, region=regions, **asymmetric), "Credential should be scoped to a valid region, not '")
            assert message.endswith(f"'{regions}'."), message
        refused(signed(form, credentials=Credentials(KEY, SECRET + "x"), **asymmetric), NO_MATCH)
        refused(signed(form, credentials=Credentials("AKIANOBODY", SECRET), **asymmetric), NO_TOKEN)
        # what is signed for one region is not made good for all of them
        request = signed(form, **asymmetric)
        assert "AWS4-ECDSA-P256-SHA256" in str(request), request
        if form == "header":
            refused(request.set("X-Amz-Region-Set", "*"), NO_MATCH)
        else:
            refused(request.but(target=request.target.replace(f"Region-Set={REGION}", "Region-Set=%2A")), NO_MATCH)


def http2():
    from h2_client import Client

    client = Client(GATEWAY.rpartition(":")[2])

    def send(request):
        pseudo = [(":method", request.method), (":scheme", "http"), (":authority", request.host), (":path", request.target)]
        # fields of different names come in any order
        names = list(dict(request.fields))
        dice.shuffle(names)
        fields = [field for name in names for field in request.fields if field[0] == name]
        return client.exchange(pseudo + fields, request.body)

    hold(send=send)
    for form in FORMS:
        # as it is written, with its port
        request = signed(form, made(form).but(host=f"{HOST.upper()}:8443"))
        let_in(request, send)
        refused(request.but(host=f"{HOST}:8443"), NO_MATCH, send)
        refused(request.but(host=HOST.upper()), NO_MATCH, send)


def clock():
    skew = threading.local()
    now = botocore.auth.get_current_datetime
    botocore.auth.get_current_datetime = lambda **how: now(**how) + datetime.timedelta(seconds=getattr(skew, "seconds", 0))
    done = threading.Event()

    def load():
        rounds = 0
        while rounds == 0 or not done.is_set():
            hold(1)
            rounds += 1
        return rounds

    time = r"\d{8}T\d{6}Z"
    early = rf"Signature not yet current: {time} is still later than {time} \({time} \+ 5 min\.\)"
    late = rf"Signature expired: {time} is now earlier than {time} \({time} - 5 min\.\)"
    over = rf"Signature expired: {time} is now earlier than {time} \({time} \+ 3600 sec\.\)"
    # five minutes are tolerated, but not behind the end of a presigned request; a minute is for a machine that has other things to do
    cases = [("header", -240, None), ("header", 240, None), ("header", -360, late), ("header", 360, early)]
    cases += [("query", -3540, None), ("query", 240, None), ("query", -3660, over), ("query", 360, early)]
    with ThreadPoolExecutor(4) as pool:
        others = [pool.submit(load) for _ in range(4)]
        try:
            for _ in range(5):
                for form, skew.seconds, says in cases:
                    request = signed(form, expires=3600)
                    if says is None:
                        let_in(request)
                    else:
                        message = refused(request, "Signature ")
                        assert re.fullmatch(says, message), (form, skew.seconds, message)
        finally:
            done.set()
    assert all(other.result() > 0 for other in others)


def fields():
    for key in KEY.split(","):
        print(json.dumps(signed("header", Request("GET", "/prod/a"), Credentials(key, SECRET, *TOKEN)).fields))


{"plain": plain, "session": session, "sigv4a": sigv4a, "http2": http2, "clock": clock, "fields": fields}[MODE]()
