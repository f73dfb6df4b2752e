"""A backend in Python: one PushStream with messages of up to 20 MiB; prints id and outcome as JSON.

python3 stream.py <directory of the generated code> <host:port of a router>
"""

import json
import sys

sys.path.insert(0, sys.argv[1])

import grpc  # noqa: E402
from longline.v1 import push_pb2, push_pb2_grpc  # noqa: E402

MIB = 1024 * 1024


def item(correlation_id, payload_bytes):
    push = push_pb2.PushRequest(
        client_id=f"python-{correlation_id}",
        payload=bytes(payload_bytes),
        ttl_ms=60_000,
        wait_for=push_pb2.WAIT_FOR_STORED,
    )
    return push_pb2.PushStreamItem(correlation_id=correlation_id, push=push)


def requests():
    legal = [item(2**64 - i, MIB) for i in range(1, 6)]
    yield push_pb2.PushStreamRequest(items=legal)
    yield push_pb2.PushStreamRequest(items=[item(2**53 + 1, MIB + 1), item(2**53 + 2, 1)])
    yield push_pb2.PushStreamRequest(items=[item(i, MIB) for i in range(1, 21)])
    yield push_pb2.PushStreamRequest(items=[item(100, 1)])


outcomes = {}
with grpc.insecure_channel(sys.argv[2]) as channel:
    stub = push_pb2_grpc.PushServiceStub(channel)
    for response in stub.PushStream(requests(), timeout=60):
        for result in response.results:
            is_push = result.WhichOneof("outcome") == "push"
            outcomes[str(result.correlation_id)] = (
                push_pb2.Verdict.Name(result.push.verdict) if is_push else result.failure.code
            )
print(json.dumps(outcomes))
