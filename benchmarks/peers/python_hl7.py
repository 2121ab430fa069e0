"""Peer: python-hl7's MLLP server, untouched bytes to Kafka with acks=all, and only then the ACK.

    pip install hl7 aiokafka ; python python_hl7.py PORT BOOTSTRAP TOPIC [--full-parse]
One process, one event loop. By default only the MSH segment is parsed (an ACK needs no more): the fast
and fair setting. --full-parse parses the whole message, which is what reader.readmessage() does.
"""

import asyncio
import sys

import hl7
import hl7.mllp
from aiokafka import AIOKafkaProducer

PORT, BOOTSTRAP, TOPIC = int(sys.argv[1]), sys.argv[2], sys.argv[3]
FULL, LIMIT = "--full-parse" in sys.argv, 16 * 2**20  # the reader's default limit is 64 KiB


async def main():
    # linger_ms=0 is the default; idempotent like the Java client. While the broker is away an idempotent aiokafka
    # producer retries for ever: no AE, the sender waits (request_timeout_ms bounds one request, not the send)
    producer = AIOKafkaProducer(
        bootstrap_servers=BOOTSTRAP,
        acks="all",
        enable_idempotence=True,
        linger_ms=0,
        max_request_size=LIMIT,
        request_timeout_ms=10_000,
    )
    await producer.start()

    async def serve(reader, writer):
        try:
            while not writer.is_closing():
                block = await reader.readblock()  # bytes; readmessage() would decode (ASCII by default)
                text = (block if FULL else block.split(b"\r", 1)[0]).decode("latin-1")
                message = hl7.parse(text)
                try:
                    await producer.send_and_wait(TOPIC, block)
                    code = "AA"
                except Exception as e:  # noqa: BLE001
                    print("send failed:", type(e).__name__, file=sys.stderr)
                    code = "AE"
                writer.writeblock(str(message.create_ack(code)).encode("latin-1"))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the sender hung up
        except Exception as e:  # noqa: BLE001 - bad frame, too long, not HL7: the library leaves it to the caller
            print("closed:", type(e).__name__, e, file=sys.stderr)
        finally:
            writer.close()

    server = await hl7.mllp.start_hl7_server(serve, "127.0.0.1", PORT, limit=LIMIT, backlog=128)
    async with server:
        await server.serve_forever()


asyncio.run(main())
