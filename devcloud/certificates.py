# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""Certificates for servers on 127.0.0.1, valid for a day."""

import datetime
import ipaddress
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from devcloud import ports

_VALID = datetime.timedelta(days=1)
_CA_NAME = "devcloud"


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: str,
    issuer: str,
    key: ec.EllipticCurvePrivateKey,
    valid_for: datetime.timedelta = _VALID,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # The clock of the checking process may be a moment behind.
        .not_valid_before(now - _VALID)
        .not_valid_after(now + valid_for)
    )


def _server(
    issuer: str,
    key: ec.EllipticCurvePrivateKey,
    valid_for: datetime.timedelta = _VALID,
) -> x509.CertificateBuilder:
    """Return the certificate of a server on 127.0.0.1, not signed yet."""
    address = x509.IPAddress(ipaddress.ip_address(ports.HOST))
    return _builder(ports.HOST, issuer, key, valid_for).add_extension(
        x509.SubjectAlternativeName([address]), critical=False
    )


def _write(
    path: pathlib.Path,
    certificate: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
) -> pathlib.Path:
    """Write a certificate and its key to a file only its owner can read."""
    pem = serialization.Encoding.PEM
    path.touch(mode=0o600)
    path.write_bytes(
        certificate.public_bytes(pem)
        + key.private_bytes(
            pem,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def signed(directory: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Make a certificate authority and a server's certificate.

    :returns: the path of the authority's certificate, and of a file with the
        server's certificate and key
    """
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = (
        _builder(_CA_NAME, _CA_NAME, ca_key)
        .add_extension(x509.BasicConstraints(True, 0), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    server = _server(_CA_NAME, key).sign(ca_key, hashes.SHA256())
    ca_path = directory / "ca.pem"
    ca_path.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    return ca_path, _write(directory / "server.pem", server, key)


def self_signed(
    directory: pathlib.Path, valid_for: datetime.timedelta = _VALID
) -> tuple[pathlib.Path, pathlib.Path]:
    """Make a server's certificate that no authority has signed.

    :param valid_for: less than 0 for one that has expired
    :returns: the path of the certificate, for clients that trust it, and of a
        file with the certificate and its key
    """
    key = ec.generate_private_key(ec.SECP256R1())
    server = _server(ports.HOST, key, valid_for).sign(key, hashes.SHA256())
    path = directory / "self-signed.crt"
    path.write_bytes(server.public_bytes(serialization.Encoding.PEM))
    return path, _write(directory / "self-signed.pem", server, key)
