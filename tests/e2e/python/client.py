"""A client of python-socketio as docs/clients.md has it. It writes a line of JSON for all that happens, and does what it is
told by lines of JSON: {"emit": [name, data]}, answered as "ack", or {"packet": text}, a packet of Engine.IO's messages.

usage: client.py URL USER [TRANSPORT...]
"""

import asyncio
import json
import sys

import socketio


def say(event, *args):
    print(json.dumps([event, *args]), flush=True)


async def main(url, user, *transports):
    sio = socketio.AsyncClient(reconnection_delay=0.1, reconnection_delay_max=0.2)
    place = None

    @sio.event
    async def connect():
        say("connect", sio.transport())

    @sio.event
    async def disconnect(reason):
        say("disconnect", reason)

    @sio.on("*")
    async def anything(event, data=None, cursor=None):
        nonlocal place
        say(event, data)
        place = cursor or place

    auth = lambda: {"user": user, "lastEventId": place}
    await sio.connect(url, auth=auth, transports=transports or None, wait_timeout=10)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async for line in lines:
        told = json.loads(line)
        if "emit" in told:
            await sio.emit(*told["emit"], callback=lambda *answer: say("ack", *answer))
        else:
            await sio.eio.send(told["packet"])
    await sio.disconnect()


asyncio.run(main(*sys.argv[1:]))
