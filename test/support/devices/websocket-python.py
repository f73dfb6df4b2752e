"""A WebSocket client for tests. Prints one JSON line per event to standard output; sends each line of
standard input as a text message."""

import asyncio
import base64
import json
import sys

import websockets


def report(**event):
    print(json.dumps(event), flush=True)


async def send_lines(socket):
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    async for line in reader:
        await socket.send(line.decode().rstrip("\n"))


async def main(url, subprotocols):
    options = {"subprotocols": subprotocols} if subprotocols else {}
    async with websockets.connect(url, max_size=None, **options) as socket:
        report(type="open", protocol=socket.subprotocol or "")
        sending = asyncio.create_task(send_lines(socket))
        try:
            async for message in socket:
                if isinstance(message, str):
                    report(type="message", text=message)
                else:
                    report(type="message", base64=base64.b64encode(message).decode())
        except websockets.ConnectionClosedError:
            pass
        sending.cancel()
        report(type="close", code=socket.close_code, reason=socket.close_reason)


asyncio.run(main(sys.argv[1], sys.argv[2:]))
