"""The real python-socketio, many clients at a time, driven by the cluster tests over JSON lines.

It takes the same orders and gives the same answers as client.mjs in the folder beside; see there.
"""

import asyncio
import json
import sys

import socketio

clients = {}


def tell(client, event, **detail):
    print(json.dumps({"client": client, "event": event, **detail}), flush=True)


def saying(auth):
    """What the library says when it connects; with "tokens" one after the other, and the last of them from then on."""
    if not auth or "tokens" not in auth:
        return auth
    left = list(auth["tokens"])
    return lambda: {"token": left.pop(0) if len(left) > 1 else left[0]}


class Rooms:
    """One connection with several rooms, each of which is a client to the tests."""

    def __init__(self, first, url, transports, rooms):
        self.url, self.transports = url, transports
        self.names = [name for name, _ in rooms]
        # The library says the same in all of them.
        self.auth = saying(rooms[0][1])
        self.socket = socketio.AsyncClient(
            reconnection_delay=0.1, reconnection_delay_max=0.5, handle_sigint=False
        )
        for number, name in enumerate(self.names, first):
            self.listen(number, name)
        self.task = asyncio.create_task(self.run())

    def listen(self, number, name):
        def connected():
            tell(number, "connected")

        def disconnected(reason=""):
            tell(number, "disconnected", reason=str(reason))

        def counted(*values):
            if len(values) == 1 and type(values[0]) is int:
                tell(number, "count", value=values[0])
            else:
                tell(number, "violation", reason=f"user count with {values!r}")

        self.socket.on("connect", connected, namespace=name)
        self.socket.on("disconnect", disconnected, namespace=name)
        self.socket.on("user count", counted, namespace=name)

    async def run(self):
        await self.socket.connect(
            self.url, transports=self.transports, namespaces=self.names, auth=self.auth, retry=True
        )
        await self.socket.wait()

    async def close(self):
        await self.socket.disconnect()
        self.task.cancel()


class Client:
    """One client that comes back by itself, as the library does it, only faster than by default."""

    def __init__(self, number, url, transports, auth):
        self.number = number
        self.auth = saying(auth)
        self.url = url
        self.transports = transports
        self.socket = socketio.AsyncClient(
            reconnection_delay=0.1, reconnection_delay_max=0.5, handle_sigint=False
        )
        self.socket.on("connect", self.connected)
        self.socket.on("disconnect", self.disconnected)
        self.socket.on("user count", self.counted)
        self.task = asyncio.create_task(self.run())

    async def run(self):
        await self.socket.connect(
            self.url, transports=self.transports, auth=self.auth, retry=True
        )
        await self.socket.wait()

    async def connected(self):
        tell(self.number, "connected")
        # The library upgrades before it says that it is connected.
        if "polling" in self.transports and self.socket.transport() == "websocket":
            tell(self.number, "upgraded")

    async def disconnected(self, reason=""):
        tell(self.number, "disconnected", reason=str(reason))

    async def counted(self, *values):
        if len(values) == 1 and type(values[0]) is int:
            tell(self.number, "count", value=values[0])
        else:
            tell(self.number, "violation", reason=f"user count with {values!r}")

    async def close(self):
        await self.socket.disconnect()
        self.task.cancel()


async def follow(order):
    if "open" in order:
        wanted = order["open"]
        if "rooms" in wanted:
            first, rooms = wanted["first"], wanted["rooms"]
            clients[first] = Rooms(first, wanted["url"], wanted["transports"], rooms)
            return
        for number in range(wanted["first"], wanted["first"] + wanted["clients"]):
            auth = wanted.get("options", {}).get("auth")
            clients[number] = Client(number, wanted["url"], wanted["transports"], auth)
    if "close" in order:
        await clients.pop(order["close"]).close()


async def main():
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        await follow(json.loads(line))
    for client in clients.values():
        await client.close()


asyncio.run(main())
