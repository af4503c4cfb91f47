"""Which addresses of other hosts the service visits for a caller, and how such an address is written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit

from pixvox.errors import UriNotAllowedError, Violation

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_URI_CHARACTERS = 2048
MAX_REDIRECTS = 3
REDIRECTS = frozenset({301, 302, 303, 307, 308})

_ALLOWED = f"an http or https address of a public host, without credentials, of at most {MAX_URI_CHARACTERS} characters"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_SHOWN_CHARACTERS = 120
# What RFC 3986 lets stand in a path and a query; a percent sign is already part of an escape.
_SAFE = "%/:@!$&'()*+,;=-._~?[]"

_AUTHORITY = re.compile(r"(?:\[(?P<ipv6>[0-9a-f:.]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>[0-9]{0,5}))?", re.IGNORECASE)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# A last label like these makes resolvers read the whole name as an IPv4 address in octal, hexadecimal or fewer parts.
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PRIVATE_DOMAINS = ("localhost", "localdomain", "local", "internal", "home.arpa")

# https://www.iana.org/assignments/iana-ipv4-special-registry, and 168.63.129.16, which is public by its number but is the
# control channel of the machine in Azure.
_PRIVATE_IPV4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
# https://www.iana.org/assignments/iana-ipv6-special-registry: only 2000::/3 is given out for the public, and of that not
# the protocol assignments (Teredo among them), documentation and 6to4.
_PUBLIC_IPV6 = IPv6Network("2000::/3")
_PRIVATE_IPV6 = tuple(IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
# A host without IPv4 reaches all IPv4 through this prefix (RFC 6052), so here the address inside decides.
_NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Address:
    """An http address, taken apart once, so that what is checked and what is visited are the same.

    Attributes:
        scheme: ``http`` or ``https``.
        host: A name in lower-case ASCII without a dot at its end, or an IP address in its usual spelling, without
            brackets.
        port: 1..65535.
        path: Begins with a slash; escaped; may be all that keeps a file from being found, so it is for nobody's eyes.
        query: Escaped; often holds a signature, as little for anybody's eyes.
    """

    scheme: str
    host: str
    port: int
    path: str = field(repr=False)
    query: str = field(repr=False)

    @property
    def uri(self) -> str:
        """The address in full."""
        query = f"?{self.query}" if self.query else ""
        return f"{self._origin}{self.path}{query}"

    @property
    def shown(self) -> str:
        """As much of the address as may stand in a message or a log."""
        text = self._origin
        return text if len(text) <= _MAX_SHOWN_CHARACTERS else f"{text[: _MAX_SHOWN_CHARACTERS - 1]}…"

    @property
    def _origin(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


class AddressRules:
    """Which addresses may be visited.

    Args:
        allowed_hosts: Hosts that may be visited though they are not public: names or IP addresses, with or without
            ``:port``. Compared with the host as the address names it, not with what it resolves to.

    Raises:
        ValueError: An entry of `allowed_hosts` is neither.
    """

    def __init__(self, allowed_hosts: Iterable[str] = ()) -> None:
        self._allowed_hosts = frozenset(host_and_port(entry) for entry in allowed_hosts)

    def check(self, address: Address, *, field: str) -> None:
        """Refuse an address whose host shows that it is not public; a name's IP addresses are checked when it is resolved.

        Raises:
            UriNotAllowedError: It is not public and not among the allowed hosts.
        """
        if not self.is_allowed(address.host, address.port) and not _seems_public(address.host):
            raise not_public(address, field=field)

    def is_allowed(self, host: str, port: int) -> bool:
        """Tell whether `allowed_hosts` has a host, written as in `Address.host`."""
        return (host, None) in self._allowed_hosts or (host, port) in self._allowed_hosts


def parsed(uri: str, *, field: str) -> Address:
    """Take apart an address that a caller sent in a request's field.

    Raises:
        UriNotAllowedError: It is no http address, or one of a doubtful form. The message does not repeat it.
    """
    try:
        return _parsed(uri)
    except _MalformedError as error:
        message = f"The address {error}."
        raise UriNotAllowedError(message, Violation(field, f"has to be {_ALLOWED}")) from error


def redirected(address: Address, location: str, *, field: str) -> Address:
    """Take apart the ``Location`` that an address answered with.

    Raises:
        UriNotAllowedError: It is of a doubtful form, or leads from https to http.
    """
    try:
        target = _parsed(urljoin(address.uri, location))
        if (address.scheme, target.scheme) == ("https", "http"):
            raise _MalformedError("is no longer encrypted")
    except (_MalformedError, ValueError) as error:
        what = error if isinstance(error, _MalformedError) else "is malformed"
        message = f"{address.shown} redirects to an address that {what}."
        raise UriNotAllowedError(message, Violation(field, f"has to be {_ALLOWED}")) from error
    return target


def not_public(address: Address, *, field: str) -> UriNotAllowedError:
    """Return the error for an address that leads to something not public."""
    return UriNotAllowedError(
        f"{address.shown} does not lead to a public host.",
        Violation(field, f"has to be {_ALLOWED}; an operator can allow other hosts"),
    )


def is_public(ip: IPv4Address | IPv6Address) -> bool:
    """Tell whether an IP address is one of a host on the public internet."""
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in _PRIVATE_IPV4)
    if ip in _NAT64:
        return is_public(IPv4Address(int(ip) & 0xFFFF_FFFF))
    return ip in _PUBLIC_IPV6 and not any(ip in network for network in _PRIVATE_IPV6)


def host_and_port(entry: str) -> tuple[str, int | None]:
    """Take apart a host that an operator wrote: a name or an IP address, with or without ``:port``.

    Raises:
        ValueError: It is neither.
    """
    try:
        return _authority(f"[{entry}]" if entry.count(":") > 1 and "[" not in entry else entry)
    except _MalformedError as error:
        message = f"{entry!r} in the allowed hosts {error}"
        raise ValueError(message) from error


class NotPublicError(Exception):
    """A host's name leads to something not public. No `OSError`, which aiohttp would take for a failed lookup."""


class _MalformedError(ValueError):
    """An address is not one to visit; the message goes on after "the address" and does not repeat it."""


def _parsed(uri: str) -> Address:
    if not uri or len(uri) > MAX_URI_CHARACTERS:
        raise _MalformedError("is empty" if not uri else f"has more than {MAX_URI_CHARACTERS} characters")
    # Parsers of URLs disagree about these, or drop them.
    if not uri.isprintable() or " " in uri or "\\" in uri:
        raise _MalformedError("holds a space, a backslash or a control character; escape it")
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise _MalformedError("is malformed") from error
    if parts.scheme not in _DEFAULT_PORTS:
        raise _MalformedError("is neither http nor https")
    if "@" in parts.netloc:
        raise _MalformedError("holds credentials")
    host, port = _authority(parts.netloc)
    return Address(
        scheme=parts.scheme,
        host=host,
        port=_DEFAULT_PORTS[parts.scheme] if port is None else port,
        path=quote(parts.path, safe=_SAFE) or "/",
        query=quote(parts.query, safe=_SAFE),
    )


def _authority(text: str) -> tuple[str, int | None]:
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        raise _MalformedError("has a malformed host or port")
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 1 <= port <= 65535:
        raise _MalformedError("has a port outside 1..65535")
    return (_name(match["name"]) if match["name"] else _ipv6(match["ipv6"])), port


def _ipv6(text: str) -> str:
    try:
        return str(IPv6Address(text))
    except AddressValueError as error:
        raise _MalformedError("has a malformed IPv6 address") from error


def _name(text: str) -> str:
    name = (text if text.isascii() else _in_ascii(text)).removesuffix(".").lower()
    labels = name.split(".")
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        try:
            return str(IPv4Address(name))
        except AddressValueError as error:
            raise _MalformedError("has an IPv4 address that is not written as four decimal numbers") from error
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _MalformedError("has a malformed host")
    return name


def _in_ascii(name: str) -> str:
    import idna  # noqa: PLC0415 - its tables are large, and names beyond ASCII are rare

    try:
        return idna.encode(name, uts46=True).decode()
    except idna.IDNAError as error:
        raise _MalformedError("has a host that is no internationalised name") from error


def _seems_public(host: str) -> bool:
    if ":" in host or _NUMERIC_LABEL.fullmatch(host.rpartition(".")[2]):
        return is_public(ip_address(host))
    return not any(host == domain or host.endswith(f".{domain}") for domain in _PRIVATE_DOMAINS)
