"""How to reach the cluster: the options that every aiokafka client shares.

Owns the translation from the configuration's security block to client options. Never opens a connection itself.
Called by the session, the worker, the readers and the topic administration.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaptive_stream.config import Config


def connection(config: Config) -> dict[str, Any]:
    """Return the keyword arguments that every aiokafka client takes to reach this cluster."""
    kafka = config.kafka
    security = kafka.security
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap,
        "client_id": kafka.client_id,
        "request_timeout_ms": kafka.request_timeout_ms,
        "metadata_max_age_ms": kafka.metadata_max_age_ms,
        "security_protocol": str(security.protocol),
    }
    if "SSL" in options["security_protocol"]:
        context = ssl.create_default_context(cafile=str(security.ca_file) if security.ca_file else None)
        if security.cert_file:
            context.load_cert_chain(
                str(security.cert_file),
                str(security.key_file) if security.key_file else None,
                security.secret_key_password(),
            )
        options["ssl_context"] = context
    if options["security_protocol"].startswith("SASL"):
        options["sasl_mechanism"] = str(security.mechanism)
        options["sasl_plain_username"] = security.username
        options["sasl_plain_password"] = security.secret_password()
    return options
