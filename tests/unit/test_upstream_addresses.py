"""Which addresses are visited for a caller."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixvox.errors import UriNotAllowedError
from pixvox.upstream.addresses import AddressRules, is_public, parsed, redirected

FIELD = "images[0].uri"


@pytest.mark.parametrize(
    "ip",
    [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "192.169.0.0",
        "223.255.255.255",
        "2606:4700:4700::1111",
        "2a00:1450:4001::1",
        "2001:4860:4860::8888",
        "64:ff9b::8.8.8.8",
    ],
)
def test_public_ip_addresses_are_public(ip):
    assert is_public(ip_address(ip))


@pytest.mark.parametrize(
    "ip",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.100.100.200",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.0.1",
        "169.254.169.254",
        "172.16.0.0",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:10::1",
        "2001:20::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "2002:808:808::1",
        "3fff::1",
        "4000::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_special_ip_addresses_are_not_public(ip):
    assert not is_public(ip_address(ip))


@pytest.mark.parametrize(
    ("uri", "host", "port"),
    [
        ("http://example.com/a.png", "example.com", 80),
        ("HTTPS://Example.COM./a.png", "example.com", 443),
        ("https://example.com:8443", "example.com", 8443),
        ("https://example.com:/a.png", "example.com", 443),
        ("https://my_bucket.s3-eu.example.com/a.png", "my_bucket.s3-eu.example.com", 443),
        ("https://bücher.example/a.png", "xn--bcher-kva.example", 443),
        ("https://例え.テスト/a.png", "xn--r8jz45g.xn--zckzah", 443),
        ("http://8.8.8.8:9000/a.png", "8.8.8.8", 9000),
        ("http://[2606:4700:4700:0:0::1111]/a.png", "2606:4700:4700::1111", 80),
        ("http://[2606:4700:4700::1111]:81/a.png", "2606:4700:4700::1111", 81),
        ("http://localhost.example.com/", "localhost.example.com", 80),
        ("http://1.2.3.com/", "1.2.3.com", 80),
    ],
)
def test_addresses_of_public_hosts_are_taken_apart(uri, host, port):
    address = parsed(uri, field=FIELD)
    AddressRules().check(address, field=FIELD)
    assert (address.host, address.port) == (host, port)


@pytest.mark.parametrize(
    "uri",
    [
        "http://localhost/",
        "http://LOCALHOST./",
        "http://foo.localhost/",
        "http://localhost:8080/",
        "http://printer.local/",
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://internal/",
        "http://router.home.arpa/",
        "http://localhost.localdomain/",
        "http://lo\uff43alhost/",
        "http://127.0.0.1/",
        "http://127.0.0.1./",
        "http://127。0。0。1/",
        "http://①②⑦.⓪.⓪.①/",
        "http://0.0.0.0/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/",
        "http://[::]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[fd00:ec2::254]/latest/meta-data/",
        "http://[64:ff9b::7f00:1]/",
    ],
)
def test_hosts_that_are_not_public_are_refused(uri):
    address = parsed(uri, field=FIELD)
    with pytest.raises(UriNotAllowedError) as caught:
        AddressRules().check(address, field=FIELD)
    assert caught.value.violations[0].field == FIELD
    assert "does not lead to a public host" in caught.value.message


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("", "is empty"),
        ("https://example.com/" + "a" * 2048, "more than 2048 characters"),
        ("example.com/a.png", "neither http nor https"),
        ("//example.com/a.png", "neither http nor https"),
        ("file:///etc/passwd", "neither http nor https"),
        ("ftp://example.com/a.png", "neither http nor https"),
        ("gopher://example.com/", "neither http nor https"),
        ("data:image/png;base64,AAAA", "neither http nor https"),
        ("http://", "malformed host"),
        ("http:///a.png", "malformed host"),
        ("http:example.com", "malformed host"),
        ("http://?x", "malformed host"),
        ("http://:80/", "malformed host"),
        ("http://./", "malformed host"),
        ("http://a..b/", "malformed host"),
        ("http://-a.example/", "malformed host"),
        ("http://" + "a" * 64 + ".example/", "malformed host"),
        ("http://" + "a." * 127 + "example/", "malformed host"),
        ("http://%31%32%37.0.0.1/", "four decimal numbers"),
        ("http://exa%6dple.com/", "malformed host"),
        ("http://[::1", "malformed"),
        ("http://[::1]x/", "malformed"),
        ("http://[fe80::1%25eth0]/", "malformed"),
        ("http://[v1.x]/", "malformed"),
        ("http://[1:2]/", "malformed"),
        ("http://[127.0.0.1]/", "malformed"),
        ("http://::1/", "malformed host or port"),
        ("http://example.com:0/", "port outside"),
        ("http://example.com:65536/", "port outside"),
        ("http://example.com:999999/", "malformed host or port"),
        ("http://example.com:-1/", "malformed host or port"),
        ("http://example.com:８０/", "malformed host or port"),
        ("http://example.com:80:80/", "malformed host or port"),
        ("http://user:secret@example.com/", "credentials"),
        ("http://@example.com/", "credentials"),
        ("http://example.com@127.0.0.1/", "credentials"),
        ("http://2130706433/", "four decimal numbers"),
        ("http://0x7f.1/", "four decimal numbers"),
        ("http://0x7f000001/", "four decimal numbers"),
        ("http://0X7F.0.0.1/", "four decimal numbers"),
        ("http://127.0.0.0x1/", "four decimal numbers"),
        ("http://127.0.0.0x/", "four decimal numbers"),
        ("http://0177.0.0.1/", "four decimal numbers"),
        ("http://127.1/", "four decimal numbers"),
        ("http://127.0.1/", "four decimal numbers"),
        ("http://017700000001/", "four decimal numbers"),
        ("http://127.0.0.256/", "four decimal numbers"),
        ("http://1.2.3.4.5/", "four decimal numbers"),
        ("http://0/", "four decimal numbers"),
        ("http://example.com/a b.png", "control character"),
        (" http://example.com/", "control character"),
        ("http://example.com/\n", "control character"),
        ("http://exam\tple.com/", "control character"),
        ("http://example.com/\r\nHost: x", "control character"),
        ("http://example.com/\x00", "control character"),
        ("http://example.com/\u202e", "control character"),
        ("http://example.com/\udc80", "control character"),
        ("http://example.com\\@127.0.0.1/", "backslash"),
        ("http:\\\\example.com/", "backslash"),
        ("http://a℀b.example/", "malformed"),
        ("http://" + "ü" * 70 + ".example/", "internationalised name"),
    ],
)
def test_doubtful_addresses_are_refused_without_being_repeated(uri, why):
    with pytest.raises(UriNotAllowedError, match=why) as caught:
        parsed(uri, field=FIELD)
    (violation,) = caught.value.violations
    assert violation.field == FIELD
    assert "http or https" in violation.description
    assert "secret" not in f"{caught.value.message} {violation}"


def test_an_address_of_2048_characters_is_not_too_long():
    uri = "https://example.com/".ljust(2048, "a")
    assert parsed(uri, field=FIELD).uri == uri


@pytest.mark.parametrize(
    ("uri", "sent"),
    [
        ("https://example.com", "https://example.com/"),
        ("https://example.com?x=1", "https://example.com/?x=1"),
        ("https://example.com:443/a", "https://example.com/a"),
        ("http://example.com:443/a", "http://example.com:443/a"),
        ("https://example.com/a.png#part", "https://example.com/a.png"),
        ("https://example.com/a/../b//c", "https://example.com/a/../b//c"),
        (
            "https://example.com/a%2Fb%7E?X-Credential=AK%2F2026%2Feu&sig=a%2Bb+c%3D%3d",
            "https://example.com/a%2Fb%7E?X-Credential=AK%2F2026%2Feu&sig=a%2Bb+c%3D%3d",
        ),
        ("https://example.com/ü.png?q=ü", "https://example.com/%C3%BC.png?q=%C3%BC"),
        ('https://example.com/"a|b"?{c}', "https://example.com/%22a%7Cb%22?%7Bc%7D"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("http://[2606:4700:4700::1111]:81/", "http://[2606:4700:4700::1111]:81/"),
    ],
)
def test_an_address_is_sent_as_it_was_signed_and_escaped_where_it_must(uri, sent):
    assert parsed(uri, field=FIELD).uri == sent


def test_what_is_shown_of_an_address_has_neither_path_nor_query_and_is_cut():
    address = parsed(f"https://{'a' * 60}.{'b' * 60}.example:81/secret?signature=secret", field=FIELD)
    assert address.shown.startswith("https://aaa")
    assert len(address.shown) == 120
    assert parsed("https://example.com:81/secret?signature=secret", field=FIELD).shown == "https://example.com:81"
    assert "secret" not in address.shown + repr(address)


@pytest.mark.parametrize(
    ("allowed", "uri"),
    [
        ("localhost", "http://localhost/"),
        ("localhost", "http://LOCALHOST.:8080/"),
        ("LocalHost:8080", "http://localhost:8080/"),
        ("minio.internal:9000", "https://minio.internal:9000/a.png"),
        ("10.0.0.5", "http://10.0.0.5:1234/"),
        ("10.0.0.5:80", "http://10.0.0.5/"),
        ("10.0.0.5:443", "https://10.0.0.5/"),
        ("::1", "http://[::1]:1234/"),
        ("[::1]", "http://[0:0:0:0:0:0:0:1]/"),
        ("[::1]:80", "http://[::1]/"),
        ("bücher.local", "http://xn--bcher-kva.local/"),
    ],
)
def test_an_allowed_host_is_visited(allowed, uri):
    AddressRules([allowed]).check(parsed(uri, field=FIELD), field=FIELD)


@pytest.mark.parametrize(
    ("allowed", "uri"),
    [
        ("localhost", "http://foo.localhost/"),
        ("localhost", "http://127.0.0.1/"),
        ("127.0.0.1", "http://localhost/"),
        ("127.0.0.1", "http://127.0.0.2/"),
        ("127.0.0.1", "http://[::ffff:127.0.0.1]/"),
        ("127.0.0.1:8080", "http://127.0.0.1/"),
        ("127.0.0.1:8080", "http://127.0.0.1:8081/"),
        ("[::1]:80", "http://[::1]:81/"),
        ("example.com", "http://minio.internal/"),
    ],
)
def test_an_allowed_host_allows_no_other(allowed, uri):
    with pytest.raises(UriNotAllowedError):
        AddressRules([allowed]).check(parsed(uri, field=FIELD), field=FIELD)


@pytest.mark.parametrize(
    "entry", ["", "http://example.com", "10.0.0.0/8", "*.example.com", "a b", "10.0.0", "a:x", "1:2:3"]
)
def test_a_mistaken_entry_of_the_allowed_hosts_is_refused_at_once(entry):
    with pytest.raises(ValueError, match="in the allowed hosts"):
        AddressRules([entry])


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/b.png", "https://example.com/b.png"),
        ("b.png?x=1", "https://example.com/dir/b.png?x=1"),
        ("?x=1", "https://example.com/dir/a.png?x=1"),
        ("//other.example/b.png", "https://other.example/b.png"),
        ("https://other.example:8443/b.png#part", "https://other.example:8443/b.png"),
    ],
)
def test_a_redirect_is_followed_from_where_it_stands(location, target):
    start = parsed("https://example.com/dir/a.png?signature=secret", field=FIELD)
    assert redirected(start, location, field=FIELD).uri == target


@pytest.mark.parametrize(
    "location",
    [
        "http://example.com/b.png",
        "ftp://example.com/b.png",
        "file:///etc/passwd",
        "https://user:secret@example.com/",
        "https://[::1/",
        "https://2130706433/",
        "https://example.com/\udcff",
        "/" + "a" * 2048,
    ],
)
def test_a_redirect_to_a_doubtful_address_or_out_of_https_is_refused(location):
    start = parsed("https://example.com/a.png?signature=secret", field=FIELD)
    with pytest.raises(UriNotAllowedError, match=r"https://example\.com redirects to an") as caught:
        redirected(start, location, field=FIELD)
    assert "secret" not in caught.value.message


def test_a_redirect_from_http_to_https_is_followed():
    start = parsed("http://example.com/a.png", field=FIELD)
    assert redirected(start, "https://example.com/a.png", field=FIELD).scheme == "https"


@given(st.text() | st.text(alphabet="htps:/.@[]%?#\\0127x-_aé。①", max_size=40).map("http://{}".format))
def test_any_text_is_either_taken_apart_or_refused(text):
    try:
        address = parsed(text, field=FIELD)
    except UriNotAllowedError:
        return
    # What is sent means the same when it is read again.
    assert parsed(address.uri, field=FIELD) == address
    assert address.uri.isascii()


@given(st.text(alphabet="htps:/.@[]%?#\\0127x-_aé。①", max_size=40))
def test_any_location_is_either_followed_or_refused(location):
    start = parsed("https://example.com/a.png", field=FIELD)
    try:
        assert redirected(start, location, field=FIELD).scheme == "https"
    except UriNotAllowedError:
        return
