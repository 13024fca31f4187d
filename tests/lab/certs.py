# SPDX-License-Identifier: GPL-2.0-or-later
"""A private certificate authority for loopback servers.

    ca = CertificateAuthority(folder)        # folder/ca.pem, made once, kept
    cert = ca.issue("imap")                  # .chain and .key: PEM files; 127.0.0.1, ::1, localhost
    cert = ca.issue("old", expired=True)     # wrong on purpose
    cert = ca.issue("other", names=["mail.example"])
    context = ca.server_context(cert)        # an ssl.SSLContext for Python servers
    context = ca.client_context()            # and for clients that trust this authority only
"""

import datetime
import ipaddress
import os
import pathlib
import ssl
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOOPBACK_NAMES = ("127.0.0.1", "::1", "localhost")
DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Certificate:
    chain: pathlib.Path
    key: pathlib.Path


class CertificateAuthority:
    def __init__(self, folder, common_name="mailtree lab"):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.pem = self.folder / "ca.pem"
        self._key_file = self.folder / "ca.key"
        if not self._key_file.exists():
            self._create(common_name)
        self._certificate = x509.load_pem_x509_certificate(self.pem.read_bytes())
        self._key = serialization.load_pem_private_key(self._key_file.read_bytes(), None)

    def _create(self, common_name):
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(common_name)
        builder = _builder(name, name, key.public_key(), 3650)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
        certificate = builder.sign(key, hashes.SHA256())
        self.pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        _write_key(self._key_file, key)

    def issue(self, label, names=LOOPBACK_NAMES, days=825, expired=False):
        """A server certificate for `names`, in files called after `label`."""
        certificate_file = self.folder / f"{label}.pem"
        key_file = self.folder / f"{label}.key"
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(names[-1]), self._certificate.subject, key.public_key(), days, expired)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        _write_key(key_file, key)
        return Certificate(certificate_file, key_file)

    @staticmethod
    def server_context(certificate):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.chain, certificate.key)
        return context

    def client_context(self):
        return ssl.create_default_context(cafile=str(self.pem))


def _name(common_name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(subject, issuer, public_key, days, expired=False):
    now = datetime.datetime.utcnow().replace(microsecond=0)
    # A day of slack behind us: tests run with clocks that are put back.
    begin, end = (now - 30 * DAY, now - DAY) if expired else (now - DAY, now + days * DAY)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
    builder = builder.public_key(public_key).serial_number(x509.random_serial_number())
    return builder.not_valid_before(begin).not_valid_after(end)


def _key_usage(signs_certificates):
    return x509.KeyUsage(
        digital_signature=not signs_certificates, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=signs_certificates,
        crl_sign=signs_certificates, encipher_only=False, decipher_only=False)


def _alternative(name):
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write_key(path, key):
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                            serialization.NoEncryption())
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(pem)
