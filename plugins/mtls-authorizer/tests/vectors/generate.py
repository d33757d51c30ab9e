"""Writes certificates.json: certificates that PyCA's cryptography makes, and what it says about them.

pip install cryptography; python generate.py > certificates.json
"""

import base64
import datetime
import ipaddress
import json

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BEGIN = datetime.datetime(2019, 5, 8, 12, 30, 2)
END = datetime.datetime(2099, 8, 5, 9, 36, 4)
KEY = ec.generate_private_key(ec.SECP256R1())
SHORT = {
    NameOID.COMMON_NAME: "CN", NameOID.SURNAME: "SN", NameOID.SERIAL_NUMBER: "serialNumber", NameOID.USER_ID: "UID",
    NameOID.EMAIL_ADDRESS: "emailAddress", NameOID.DOMAIN_COMPONENT: "DC",
}


def name(*attributes):
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])


def written(name):
    # control characters may be escaped, and the plugin does
    return name.rfc4514_string(SHORT).replace("\x1f", "\\1F")


ISSUER = name((NameOID.COUNTRY_NAME, "DE"), (NameOID.ORGANIZATION_NAME, "Example, Inc."), (NameOID.COMMON_NAME, "Clients"))


def time(moment):
    return f"{moment:%b} {moment.day:>2} {moment:%H:%M:%S %Y} GMT"


def make(label, subject, serial=0x0A1B2C, names=(), usage=None, authority=None, end=END):
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(ISSUER).public_key(KEY.public_key())
        .serial_number(serial).not_valid_before(BEGIN).not_valid_after(end)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
    if authority is not None:
        builder = builder.add_extension(x509.BasicConstraints(authority, None), critical=True)
    certificate = builder.sign(KEY, hashes.SHA256())
    of = lambda kind: [one.value for one in names if isinstance(one, kind)]
    spki = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    digest = hashes.Hash(hashes.SHA256())
    digest.update(spki)
    return {
        "name": label,
        "der": base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode(),
        "fingerprint": certificate.fingerprint(hashes.SHA256()).hex(),
        "spki": base64.b64encode(digest.finalize()).decode(),
        "says": {
            "subject": written(certificate.subject),
            "issuer": written(certificate.issuer),
            "serial": f"{certificate.serial_number:x}",
            "validity": [time(BEGIN), time(end)],
            "dns": of(x509.DNSName),
            "uris": of(x509.UniformResourceIdentifier),
            "emails": of(x509.RFC822Name),
            "ips": [str(one) for one in of(x509.IPAddress)],
            "client-auth": bool(usage) and ExtendedKeyUsageOID.CLIENT_AUTH in usage,
            "authority": bool(authority),
        },
    }


ADA = name(
    (NameOID.COUNTRY_NAME, "DE"), (NameOID.ORGANIZATION_NAME, "Example"), (NameOID.ORGANIZATIONAL_UNIT_NAME, "ops"),
    (NameOID.ORGANIZATIONAL_UNIT_NAME, "dev"), (NameOID.COMMON_NAME, "ada"), (NameOID.EMAIL_ADDRESS, "ada@example.com"),
)
EMPTY = name()
URI = x509.UniformResourceIdentifier
DNS = x509.DNSName
print(json.dumps([
    make("ada", ADA, names=[
        DNS("other.test"), DNS("ada.example.com"), x509.RFC822Name("ada@Example.com"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.7")), x509.IPAddress(ipaddress.ip_address("2001:db8::7")),
        x509.DirectoryName(EMPTY), x509.RegisteredID(NameOID.COMMON_NAME),
    ], usage=[ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
    make("svid", EMPTY, names=[URI("spiffe://example.org/ns/prod/sa/web")], usage=[ExtendedKeyUsageOID.CLIENT_AUTH]),
    make("two uris", EMPTY, names=[URI("spiffe://example.org/ns/prod/sa/web"), URI("urn:uuid:1")]),
    make("svid of an authority", EMPTY, names=[URI("spiffe://example.org/ns/prod/sa/web")], authority=True),
    make("escapes", name(
        (NameOID.ORGANIZATION_NAME, " #a,O=Other+\"<>;\\ "), (NameOID.COMMON_NAME, "#Lučić"),
        (NameOID.USER_ID, "u1"), (NameOID.DOMAIN_COMPONENT, "example"), (NameOID.SERIAL_NUMBER, "42"),
    ), serial=1),
    make("control character", name((NameOID.COMMON_NAME, "a\x1fb"), (NameOID.ORGANIZATION_NAME, "Example"))),
    make("wildcard", name((NameOID.COMMON_NAME, "w")), names=[DNS("*.example.com")], usage=[ExtendedKeyUsageOID.SERVER_AUTH]),
    make("expired", ADA, serial=(1 << 152) + 7, end=datetime.datetime(2020, 1, 1, 0, 0, 0)),
], indent=1, ensure_ascii=False))
