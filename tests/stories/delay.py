"""A TCP relay that adds a delay to each direction, as a network between client and server would.

`python delay.py <host> <port> <seconds>` prints the port on which it listens. The end of a connection is delayed too, which is
what makes a client use a connection that the server has already closed.
"""

from __future__ import annotations

import asyncio
import sys


async def relay(source: asyncio.StreamReader, sink: asyncio.StreamWriter, delay: float) -> None:
    """Copy what `source` gives to `sink`, each piece `delay` seconds later, and then its end."""
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, piece = await pieces.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not piece:
                break
            sink.write(piece)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()

    delivery = asyncio.ensure_future(deliver())
    try:
        while True:
            piece = await source.read(65536)
            pieces.put_nowait((loop.time() + delay, piece))
            if not piece:
                break
        await delivery
    except OSError:
        delivery.cancel()


async def serve(host: str, target: int, delay: float) -> None:
    """Relay connections until killed."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection(host, target)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(relay(reader, upstream_writer, delay), relay(upstream_reader, writer, delay))
        for end in (writer, upstream_writer):
            end.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
