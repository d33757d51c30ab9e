"""A server and a client of grpcio, with the gateway between them: `grpc_calls.py SERVER GATEWAY`. Ends with an error at the first surprise.

No protocol buffers: messages are bytes, so that nothing has to be generated.
"""

import queue
import sys
import time
from concurrent import futures

import grpc

SERVER, GATEWAY = sys.argv[1:]
PATIENCE = 30


def unary(request, context):
    if request == b"fail":
        context.set_trailing_metadata((("x-why", "asked to"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as you wish \u00e9")
    if request == b"left":
        return str(context.time_remaining()).encode()
    if request == b"sleep":
        time.sleep(3)
    return request


def counting(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def endless(request, context):
    number = 0
    while context.is_active():
        yield str(number).encode()
        number += 1
        time.sleep(0.05)


def talking(requests, context):
    for request in requests:
        yield request.upper()


class Talk(grpc.GenericRpcHandler):
    def service(self, details):
        return {
            "/test.Talk/Unary": grpc.unary_unary_rpc_method_handler(unary),
            "/test.Talk/Counting": grpc.unary_stream_rpc_method_handler(counting),
            "/test.Talk/Endless": grpc.unary_stream_rpc_method_handler(endless),
            "/test.Talk/Talking": grpc.stream_stream_rpc_method_handler(talking),
        }.get(details.method)


def refused(call, expected):
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == expected, (error.code(), error.details())
        return error
    raise AssertionError(f"was not refused with {expected}")


def main():
    server = grpc.server(futures.ThreadPoolExecutor(8), handlers=(Talk(),))
    assert server.add_insecure_port(SERVER)
    server.start()
    channel = grpc.insecure_channel(GATEWAY)
    call = channel.unary_unary("/test.Talk/Unary")

    assert call(b"hello", timeout=PATIENCE) == b"hello"
    large = bytes(range(256)) * 8192
    assert call(large, timeout=PATIENCE) == large
    failed = refused(lambda: call(b"fail", timeout=PATIENCE), grpc.StatusCode.FAILED_PRECONDITION)
    assert failed.details() == "as you wish \u00e9"
    assert ("x-why", "asked to") in failed.trailing_metadata()

    # the server knows how long it has; grpcio rounds up what it tells
    left = float(call(b"left", timeout=PATIENCE))
    assert PATIENCE - 10 < left < PATIENCE * 1.05, left

    counted = channel.unary_stream("/test.Talk/Counting")(b"1000", timeout=PATIENCE)
    assert [int(number) for number in counted] == list(range(1000))

    # each answer comes before the next question is asked
    questions = queue.Queue()
    answers = channel.stream_stream("/test.Talk/Talking")(iter(questions.get, None), timeout=PATIENCE)
    for question in (b"one", b"two", b"three"):
        questions.put(question)
        assert next(answers) == question.upper()
    questions.put(None)
    assert list(answers) == [] and answers.code() == grpc.StatusCode.OK

    refused(lambda: call(b"sleep", timeout=0.5), grpc.StatusCode.DEADLINE_EXCEEDED)
    endless = channel.unary_stream("/test.Talk/Endless")(b"", timeout=1)
    refused(lambda: list(endless), grpc.StatusCode.DEADLINE_EXCEEDED)

    refused(lambda: channel.unary_unary("/test.Talk/Nothing")(b"", timeout=PATIENCE), grpc.StatusCode.UNIMPLEMENTED)
    refused(lambda: channel.unary_unary("/other/Nothing")(b"", timeout=PATIENCE), grpc.StatusCode.UNIMPLEMENTED)
    server.stop(None).wait()
    refused(lambda: call(b"hello", timeout=PATIENCE), grpc.StatusCode.UNAVAILABLE)
    print("all calls went as expected")


main()
