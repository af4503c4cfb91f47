"""The vendor's regions that have its Qwen models, and the addresses that belong to one.

Source: "Regions and endpoints" and "Qwen - text-to-image API reference" of Alibaba Cloud Model Studio.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

HTTP_PATH = "/api/v1"
WEBSOCKET_PATH = "/api-ws/v1"

_ALIASES = {"intl": "sg", "cn": "bj"}


@dataclass(frozen=True, slots=True)
class Region:
    """A region of the vendor. A key belongs to exactly one.

    Attributes:
        name: ``sg`` or ``bj``; stands in receipts, errors and price tables.
        title: For a person.
        http_base: Address of calls, with its path.
        ws_base: Address of WebSockets, with its path.
    """

    name: str
    title: str
    http_base: str
    ws_base: str


def _classic(name: str, title: str, host: str) -> Region:
    return Region(name, title, f"https://{host}{HTTP_PATH}", f"wss://{host}{WEBSOCKET_PATH}")


REGIONS = {
    "sg": _classic("sg", "Singapore", "dashscope-intl.aliyuncs.com"),
    "bj": _classic("bj", "Beijing", "dashscope.aliyuncs.com"),
}


def region_named(text: str) -> Region:
    """Return a region by its name or by its name in the vendor's older tools.

    Raises:
        ValueError: There is no such region.
    """
    name = text.strip().lower()
    region = REGIONS.get(_ALIASES.get(name, name))
    if region is None:
        message = f"region: {text!r} is not one of {', '.join((*REGIONS, *_ALIASES))}"
        raise ValueError(message)
    return region


def http_address(text: str) -> str:
    """Return the base address of calls that an operator wrote; a bare host gets the vendor's path.

    Raises:
        ValueError: It is none.
    """
    return _address("http_base", text, ("http", "https"), HTTP_PATH)


def websocket_address(text: str) -> str:
    """Return the base address of WebSockets that an operator wrote; a bare host gets the vendor's path.

    Raises:
        ValueError: It is none.
    """
    return _address("ws_base", text, ("ws", "wss"), WEBSOCKET_PATH)


def websocket_address_beside(http_base: str) -> str:
    """Return where WebSockets are if calls are at `http_base`; all addresses of the vendor differ in this way.

    Raises:
        ValueError: `http_base` does not end like an address of the vendor.
    """
    if not http_base.endswith(HTTP_PATH):
        message = f"ws_base: has to be given, because http_base does not end in {HTTP_PATH}"
        raise ValueError(message)
    scheme, _, rest = http_base.removesuffix(HTTP_PATH).partition("://")
    return f"{'ws' if scheme == 'http' else 'wss'}://{rest}{WEBSOCKET_PATH}"


def _address(name: str, text: str, schemes: tuple[str, ...], default_path: str) -> str:
    expected = f"{name}: has to be {' or '.join(schemes)}://HOST, perhaps with a port and a path"
    try:
        parts = urlsplit(text.strip().rstrip("/"))
        valid = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise ValueError(expected) from error
    if not valid or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(expected)
    return f"{parts.scheme}://{parts.netloc}{parts.path or default_path}"
