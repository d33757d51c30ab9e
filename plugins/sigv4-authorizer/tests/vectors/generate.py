"""Writes botocore.json: random requests that botocore (header and query form) and awscrt (version 4a) signed.

pip install botocore awscrt; python generate.py 72 > botocore.json
"""

import datetime
import hashlib
import json
import random
import sys
from urllib.parse import quote

import awscrt.auth
import awscrt.http
import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

NOW = datetime.datetime(2015, 8, 30, 12, 36, 0, tzinfo=datetime.timezone.utc)
ID, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
HOST, SERVICE, REGION = "api.test:8443", "execute-api", "us-east-1"
botocore.auth.get_current_datetime = lambda *_args, **_more: NOW
pick = random.Random(20150830)


def word():
    return "".join(pick.choice("abXY09-._~ /@:+*'()%üß,;=&$!") for _ in range(pick.randint(0, 6)))


def segment():
    return pick.choice([quote(word(), safe=""), quote(word(), safe="~@:,;=&$!'()*+"), "..", ".", "", "x"])


def request(form):
    path = "/" + "/".join(segment() for _ in range(pick.randint(0, 4)))
    if form.startswith("4a"):
        # awscrt looks for a scheme and an authority in the path
        path = "/r" + path.replace(":", "%3A")
    pairs = [(word(), word()) for _ in range(pick.randint(0, 4))]
    query = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs)
    method = pick.choice(["GET", "POST", "PUT", "DELETE"])
    # botocore moves bodies into the query when it signs there
    body = pick.choice(["", "hello", '{"a":1}', "ü" * 5]) if method in ("POST", "PUT") and form != "query" else ""
    names = ["x-custom", "accept", "content-type", "x-amz-target", "x-a"]
    headers = {pick.choice(names): pick.choice(["a", "  a   b ", '"x  y"', "a,b", "a\t b"]) for _ in range(pick.randint(0, 3))}
    return method, path + ("?" + query if query else ""), headers, body


def by_botocore(form, method, target, headers, body, token):
    made = AWSRequest(method=method, url=f"https://{HOST}{target}", data=body.encode(), headers=headers)
    made.context["payload_signing_enabled"] = True
    credentials = Credentials(ID, SECRET, token)
    if form == "query":
        expires = pick.choice([60, 3600, 604800])
        botocore.auth.SigV4QueryAuth(credentials, SERVICE, REGION, expires=expires).add_auth(made)
    else:
        botocore.auth.SigV4Auth(credentials, SERVICE, REGION).add_auth(made)
    return made.url.removeprefix(f"https://{HOST}"), list(made.headers.items())


def by_awscrt(form, method, target, headers, body, token):
    fields = awscrt.http.HttpHeaders([("host", HOST), *headers.items()])
    made = awscrt.http.HttpRequest(method, target, fields)
    in_query = form.endswith("query")
    kind = awscrt.auth.AwsSignatureType
    config = awscrt.auth.AwsSigningConfig(
        algorithm=awscrt.auth.AwsSigningAlgorithm.V4_ASYMMETRIC,
        signature_type=kind.HTTP_REQUEST_QUERY_PARAMS if in_query else kind.HTTP_REQUEST_HEADERS,
        credentials_provider=awscrt.auth.AwsCredentialsProvider.new_static(ID, SECRET, token),
        region=pick.choice([REGION, "*", f"eu-west-1,{REGION}"]),
        service=SERVICE,
        date=NOW,
        signed_body_value=hashlib.sha256(body.encode()).hexdigest(),
        expiration_in_seconds=60 if in_query else None,
    )
    made = awscrt.auth.aws_sign_request(made, config).result(10)
    return made.path, list(made.headers)


def main():
    out = []
    for number in range(int(sys.argv[1])):
        form = ["header", "query", "4a", "4a-query"][number % 4]
        token = pick.choice([None, None, "tok/+=en=="])
        sign = by_awscrt if form.startswith("4a") else by_botocore
        method, target, headers, body = request(form)
        target, fields = sign(form, method, target, headers, body, token)
        text = lambda value: value.decode() if isinstance(value, bytes) else value
        fields = [[name.lower(), text(value)] for name, value in fields if name.lower() != "host"]
        out.append({"form": form, "method": method, "target": target, "host": HOST, "headers": fields, "body": body, "token": token})
    print("[\n" + ",\n".join(json.dumps(one, ensure_ascii=False) for one in out) + "\n]")


main()
