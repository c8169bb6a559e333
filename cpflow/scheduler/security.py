"""TLS between client, scheduler and workers."""

from __future__ import annotations

import os
from typing import Any

from cpflow.errors import ConfigurationError
from cpflow.scheduler.profiles import Security


def dask_security(security: Security | None) -> Any:
    """Return what Dask takes for TLS: the same files for client, scheduler and workers.

    Raises
    ------
    ConfigurationError
        If a file is not there, or everybody may read the key.
    """
    if security is None:
        return None
    for name in ("ca_file", "cert", "key"):
        path = getattr(security, name)
        if not os.access(path, os.R_OK):
            raise ConfigurationError(
                f"security.{name}: {path} is not there, or not for you",
                hint="name the files of TLS in the cluster profile",
            )
    if security.key.stat().st_mode & 0o007:
        raise ConfigurationError(
            f"security.key: everybody may use {security.key}", hint=f"chmod o= {security.key}"
        )
    from distributed.security import Security as DaskSecurity

    cert, key = str(security.cert), str(security.key)
    return DaskSecurity(
        require_encryption=True,
        tls_ca_file=str(security.ca_file),
        tls_client_cert=cert,
        tls_client_key=key,
        tls_scheduler_cert=cert,
        tls_scheduler_key=key,
        tls_worker_cert=cert,
        tls_worker_key=key,
    )


def configured_security(address: str) -> Any:
    """Return the certificates of Dask's own configuration, for an address that asks for them.

    Raises
    ------
    ConfigurationError
        If it has none.
    """
    from distributed.security import Security as DaskSecurity

    security = DaskSecurity()
    if security.tls_ca_file is None:
        raise ConfigurationError(
            f"{address} takes nobody without a certificate",
            hint="write a profile: kind: address, address: ..., security: {ca_file, cert, key}; "
            "--cluster FILE.yaml",
        )
    return security
