"""Unary calls without a pause from several threads; prints counts by status as one line of JSON.

python3 load.py <host:port> <path of a method> <seconds> <threads>
"""

import collections
import json
import sys
import threading
import time

import grpc

address, path, seconds, threads = sys.argv[1:5]
end = time.monotonic() + float(seconds)
counts = collections.Counter()
channel = grpc.insecure_channel(address)
call = channel.unary_unary(path)


def run():
    while time.monotonic() < end:
        try:
            call(b"", timeout=10)
            counts["OK"] += 1
        except grpc.RpcError as error:
            counts[f"{error.code().name} {error.details()}"] += 1


running = [threading.Thread(target=run) for _ in range(int(threads))]
for thread in running:
    thread.start()
for thread in running:
    thread.join()
print(json.dumps(counts))
