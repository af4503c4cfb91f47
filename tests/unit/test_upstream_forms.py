"""Forms with files, as servers read them."""

from __future__ import annotations

from email import message_from_bytes
from email.policy import HTTP

from pixvox.upstream.forms import FormFile, encoded_form


def parts_of(body, content_type):
    message = message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body, policy=HTTP)
    return [(part, part.get_payload(decode=True)) for part in message.iter_parts()]


def test_fields_come_first_and_numbers_are_written_as_json():
    file = FormFile("image", "1.png", "image/png", b"\x89PNG\r\n--x")
    parts = parts_of(*encoded_form({"prompt": "a cät\r\n", "n": 2, "stream": True}, [file]))
    names = [part.get_param("name", header="content-disposition") for part, _ in parts]
    assert names == ["prompt", "n", "stream", "image"]
    assert [data for _, data in parts] == ["a cät\r\n".encode(), b"2", b"true", b"\x89PNG\r\n--x"]
    assert (parts[3][0].get_filename(), parts[3][0].get_content_type()) == ("1.png", "image/png")


def test_no_name_can_end_its_line():
    body, _ = encoded_form({'a"\r\nX-Evil: 1': "value"}, [])
    assert b"\r\nX-Evil" not in body
    assert b"a%22%0D%0AX-Evil" in body


def test_every_form_has_a_boundary_of_its_own():
    assert encoded_form({}, [])[1] != encoded_form({}, [])[1]
