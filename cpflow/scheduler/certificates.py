"""Are the files of TLS in order? A handshake with oneself tells, without any connection."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from cpflow.findings import Finding, error, sound, warning
from cpflow.scheduler.profiles import Security

_DAY = 86400
_SOON = 30


def examine_certificates(security: Security) -> Iterator[Finding]:
    """Yield whether the certificate of a profile is its authority's, and until when."""
    try:
        end = _end_of(security)
    except (OSError, ssl.SSLError) as failure:
        reason = getattr(failure, "verify_message", "") or str(failure)
        yield error(
            "certificates",
            f"{security.cert} cannot be used with {security.key} and {security.ca_file}: {reason}",
            "have the authority make a new one, and restart scheduler and workers with it",
        )
        return
    days = (end - time.time()) / _DAY
    text = f"{security.cert} is good until {datetime.fromtimestamp(end, UTC):%Y-%m-%d %H:%M} UTC"
    if days < _SOON:
        yield warning(
            "certificates",
            f"{text}, for {days:.0f} days: nobody gets in afterwards, and workers that reconnect "
            "are lost",
            "have the authority make a new one in time",
        )
    else:
        yield sound("certificates", text)


def _end_of(security: Security) -> float:
    """Return when the certificate, or that of its authority, ends; seconds since 1970."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(security.cert, security.key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(security.ca_file)
    shown = _handshake(client, server)
    found: list[Any] = [shown, *client.get_ca_certs()]
    return min(float(ssl.cert_time_to_seconds(one["notAfter"])) for one in found)


def _handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> dict[str, Any]:
    """Return the certificate that a client is shown, as it takes it for good."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    waiting = list(ends)
    while waiting:
        end = waiting.pop(0)
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            waiting.append(end)
    found: dict[str, Any] = ends[0].getpeercert() or {}
    return found
