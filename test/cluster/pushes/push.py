"""A backend in Python: pushes once and prints the response as one line of JSON.

python3 push.py <directory of the generated code> <host:port of a router> <clientId> <payload> <ttl>
"""

import json
import sys

sys.path.insert(0, sys.argv[1])

import grpc  # noqa: E402
from longline.v1 import push_pb2, push_pb2_grpc  # noqa: E402

address, client_id, payload, ttl_ms = sys.argv[2:6]
with grpc.insecure_channel(address) as channel:
    service = push_pb2_grpc.PushServiceStub(channel)
    request = push_pb2.PushRequest(
        client_id=client_id, payload=payload.encode(), ttl_ms=int(ttl_ms)
    )
    try:
        response = service.Push(request, timeout=10)
        answer = {
            "verdict": push_pb2.Verdict.Name(response.verdict),
            "messageId": response.message_id,
        }
    except grpc.RpcError as error:
        answer = {"code": error.code().name, "details": error.details()}
print(json.dumps(answer))
