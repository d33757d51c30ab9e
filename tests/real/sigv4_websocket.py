"""A signer of AWS and a client of websockets: `sigv4_websocket.py GATEWAY REGION KEY SECRET`. Upgrades by addresses that botocore signed. Ends with an error at
the first surprise.
"""

import asyncio
import sys

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

GATEWAY, REGION, KEY, SECRET = sys.argv[1:]
PATIENCE = 30


def presigned(query, key=KEY):
    request = AWSRequest(method="GET", url=f"http://{GATEWAY}/talk{query}")
    SigV4QueryAuth(Credentials(key, SECRET), "execute-api", REGION, expires=60).add_auth(request)
    return "ws" + request.url.removeprefix("http")


async def status(url):
    """That of a refusal; `None` where the socket was opened."""
    try:
        async with connect(url, open_timeout=PATIENCE, proxy=None) as socket:
            await socket.send("hello")
            assert await asyncio.wait_for(socket.recv(), PATIENCE) == "hello"
            return None
    except InvalidStatus as refused:
        return refused.response.status_code


async def main():
    for query in ("", "?room=blue&name=a%20b", "?a=2&a=1"):
        url = presigned(query)
        assert await status(url) is None, url
        for other in (url + "&more=1", url.replace("/talk", "/talk/more"), url[:-1] + ("0" if url[-1] != "0" else "1")):
            assert await status(other) == 403, other
    assert await status(presigned("", "AKIANOBODY")) == 403
    assert await status(f"ws://{GATEWAY}/talk") == 403
    print("sockets were opened by presigned addresses, and by no others")


asyncio.run(main())
