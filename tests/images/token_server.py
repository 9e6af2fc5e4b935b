"""A token server for a registry, as hosted registries have one.

The distribution project documents the protocol: the registry answers 401 with ``Bearer
realm="...",service="...",scope="..."``; the server at that address gives a client, with
or without a password, a token that says what it may do. The token is signed by a key
whose certificate the registry knows.
"""

import base64
import datetime as dt
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

ISSUER, SERVICE = "tests", "registry of the tests"
CERTIFICATE = "/etc/tokens.pem"
LIFE_SECONDS = 300
BEFORE_SECONDS = 10
# Half of a signature of P-256.
NUMBER_BYTES = 32


class Tokens:
    """What each client may do, and the key that signs it.

    Parameters
    ----------
    user, password : str
        The user that may do everything; all others may pull.
    """

    def __init__(self, user: str, password: str) -> None:
        #: Who has asked, and about which repository.
        self.asked: set[tuple[str, str]] = set()
        self._known = f"{user}:{password}"
        self._user = user
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
        now = dt.datetime.now(dt.UTC)
        day = dt.timedelta(days=1)
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def pem(self) -> str:
        """The certificate, for the registry."""
        return self._certificate.public_bytes(Encoding.PEM).decode()

    def answer(self, authorization: str, scopes: list[str]) -> dict[str, str] | None:
        """Return the token for what is asked for; None for a wrong password."""
        who = ""
        if authorization:
            kind, _, secret = authorization.partition(" ")
            if kind != "Basic" or base64.b64decode(secret).decode() != self._known:
                return None
            who = self._user
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            self.asked.add((who, name))
            may = [one for one in actions.split(",") if who or one == "pull"]
            access.append({"type": kind, "name": name, "actions": may})
        return {"token": self._signed(who, access)}

    def _signed(self, who: str, access: list[dict[str, Any]]) -> str:
        now = int(time.time())
        der = self._certificate.public_bytes(Encoding.DER)
        header = {
            "typ": "JWT",
            "alg": "ES256",
            "x5c": [base64.b64encode(der).decode()],
        }
        claims = {
            "iss": ISSUER,
            "aud": SERVICE,
            "sub": who,
            "iat": now,
            "nbf": now - BEFORE_SECONDS,
            "exp": now + LIFE_SECONDS,
            "jti": secrets.token_hex(8),
            "access": access,
        }
        text = ".".join(_word(json.dumps(part).encode()) for part in (header, claims))
        signature = self._key.sign(text.encode(), ec.ECDSA(hashes.SHA256()))
        numbers = decode_dss_signature(signature)
        raw = b"".join(number.to_bytes(NUMBER_BYTES, "big") for number in numbers)
        return f"{text}.{_word(raw)}"


def _word(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@contextmanager
def serving(tokens: Tokens) -> Iterator[dict[str, Any]]:
    """Give tokens on a port of loopback; yield the registry's ``auth``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = parse_qs(urlsplit(self.path).query)
            given = tokens.answer(
                self.headers.get("Authorization", ""), asked.get("scope", [])
            )
            body = json.dumps(given or {"details": "wrong password"}).encode()
            self.send_response(200 if given else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Keep the tests' stderr for what is wrong."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield {
                "token": {
                    "realm": f"http://localhost:{server.server_port}/token",
                    "service": SERVICE,
                    "issuer": ISSUER,
                    "rootcertbundle": CERTIFICATE,
                }
            }
        finally:
            server.shutdown()
            thread.join()
