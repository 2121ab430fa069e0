"""Questions put to TCP ports: is it free, who holds it, does the service behind it do its work.

The one file of the local services that holds network clients; each answer comes within seconds.
"""

import socket
from contextlib import ExitStack
from pathlib import Path

LOOPBACK = "127.0.0.1"
_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp, proc(5)


def free_ports(count: int) -> list[int]:
    """Ports that nobody holds at this moment, all different."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind((LOOPBACK, 0))
        return [int(listener.getsockname()[1]) for listener in listeners]


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of the loopback address, and of all addresses (Orthanc takes those)."""
    for address in (LOOPBACK, "0.0.0.0"):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((address, port))
                listener.listen(1)
            except OSError:
                return False
    return True


def holder(port: int) -> str:
    """Who listens on `port`, in words: `java, process 4711`. Another user's processes cannot be named."""
    inodes = {
        f"socket:[{fields[9]}]"
        for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
        if table.exists()
        for fields in map(str.split, table.read_text().splitlines()[1:])
        if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port
    }
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(handle.readlink()) in inodes for handle in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()}, process {process.name}"
        except OSError:  # it has ended, or is not ours to look into
            continue
    return "a process of another user"


def http_answers(url: str, *, within_seconds: float) -> bool:
    """Whether GET `url` is answered with success."""
    import requests  # here and below: every command of ours comes by, and few of them ask

    try:
        with requests.Session() as session:
            session.trust_env = False  # a proxy of this machine is not asked about loopback
            return session.get(url, timeout=within_seconds).ok
    except requests.RequestException:
        return False


def group_coordinator_answers(bootstrap: str) -> bool:
    """Whether the broker answers, and its group coordinator too, which loads for seconds after the first question."""
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError

    host, _, port = bootstrap.rpartition(":")
    try:  # first without the client, which writes a warning for every refused connection
        socket.create_connection((host, int(port)), timeout=1).close()
        admin = KafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5_000)
        try:
            admin.list_group_offsets({"radstream.readiness": None})
        finally:
            admin.close()
    except (OSError, KafkaError):
        return False
    return True
