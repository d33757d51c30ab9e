"""Writes invoke.json: calls of functions, signed by botocore, with the address that its client for AWS Lambda calls.

    pip install botocore && python3 generate.py > invoke.json
"""

import json

import botocore.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
ENDPOINT = "https://lambda.eu-central-1.amazonaws.com"
ARN = "arn:aws:lambda:eu-central-1:123456789012:function:auth"


def address(name, qualifier):
    """The URL that the client of botocore would call."""
    session = botocore.session.get_session()
    client = session.create_client(
        "lambda", region_name="eu-central-1", endpoint_url=ENDPOINT, aws_access_key_id="AKID", aws_secret_access_key=SECRET
    )
    seen = []

    def stop(request, **_):
        seen.append(request.url)
        raise StopIteration

    client.meta.events.register("before-send.lambda.Invoke", stop)
    try:
        client.invoke(FunctionName=name, Payload=b"{}", **({"Qualifier": qualifier} if qualifier else {}))
    except StopIteration:
        pass
    return seen[0]


vectors = []
for name, qualifier, token in [("auth", None, None), (ARN, "$LATEST", "session/token+=="), ("auth", "prod", None)]:
    url = address(name, qualifier)
    body = json.dumps({"name": name})
    headers = {"content-type": "application/json", "x-amz-invocation-type": "RequestResponse"}
    request = AWSRequest("POST", url, headers=headers, data=body)
    SigV4Auth(Credentials("AKID", SECRET, token), "lambda", "eu-central-1").add_auth(request)
    vectors.append(
        {
            "name": name,
            "qualifier": qualifier,
            "token": token,
            "body": body,
            "date": request.headers["X-Amz-Date"],
            "url": url,
            "authorization": request.headers["Authorization"],
        }
    )
print(json.dumps(vectors, indent=2))
