"""An authority for tests, and a certificate that it signs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def make_certificates(
    directory: Path,
    *,
    begin: timedelta = timedelta(hours=-1),
    end: timedelta = timedelta(days=1),
) -> dict[str, str]:
    """Write ca.pem, cert.pem and key.pem; return their names as a profile's `security` does."""
    directory.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [_name(f"{directory.name} authority"), _name("dask")]
    for i, file in enumerate(("ca.pem", "cert.pem")):
        certificate = (
            x509.CertificateBuilder()
            .subject_name(names[i])
            .issuer_name(names[0])
            .public_key(keys[i].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begin)
            .not_valid_after(now + end)
            .add_extension(x509.BasicConstraints(ca=i == 0, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(keys[i].public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key()), False
            )
            .sign(keys[0], hashes.SHA256())
        )
        (directory / file).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key = directory / "key.pem"
    key.touch(0o600)
    key.write_bytes(
        keys[1].private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return {"ca_file": "ca.pem", "cert": "cert.pem", "key": "key.pem"}
