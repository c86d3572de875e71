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

"""Certificates for servers on 127.0.0.1 that live for a day."""

import datetime
import ipaddress
import pathlib
import secrets

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from devcloud import ports

_VALID = datetime.timedelta(days=1)


def self_signed(directory: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Make a server's certificate that no authority has signed.

    :returns: the path of the certificate, for clients that shall trust it,
        and of a file with the certificate and its key
    """
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(key)
    public = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    trusted = directory / "certificate.pem"
    trusted.write_bytes(public)
    served = directory / "certificate-and-key.pem"
    served.touch(mode=0o600)
    served.write_bytes(public + private)
    return trusted, served


def _certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    # Of several with one name in a file, OpenSSL takes the first for all.
    common_name = f"devcloud {secrets.token_hex(4)}"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    address = x509.IPAddress(ipaddress.ip_address(ports.HOST))
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A clock may be a moment behind the one that checks.
        .not_valid_before(now - _VALID)
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
