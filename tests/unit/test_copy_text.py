"""The text format of COPY, as rows to load are read and written."""

import pytest

from crosskey.copy_text import field_of, field_of_text, read_fields, split_lines, text_of


@pytest.mark.parametrize("text", ["", "plain", "tab\there", "two\nlines\r\n", "\\N", "\\.", "back\\slash\\\\", "é\x08"])
def test_what_is_written_is_read(text: str) -> None:
    line = b"\t".join([field_of_text("first"), field_of_text(text), field_of_text("last")])
    assert split_lines(line + b"\n") == [line]
    assert read_fields([line], 1) == [text.encode()]
    assert text_of(field_of_text(text)) == text


def test_other_spellings_are_read() -> None:
    line = rb"\x41\102\N\q" + b"\t" + rb"\N"
    assert [read_fields([line], place) for place in (0, 1, 2)] == [[b"ABNq"], [None], [None]]


def test_json_values_are_written_as_postgresql_reads_them() -> None:
    assert [field_of(value) for value in (None, 12, True, "a\tb")] == [rb"\N", b"12", b"true", rb"a\tb"]


@pytest.mark.parametrize("lines", [b"\\.\n", b"a\n\\.\nb\n", b"a\n\\.\r\nb\n"])
def test_the_end_of_data_is_refused(lines: bytes) -> None:
    with pytest.raises(ValueError, match="ends the data"):
        split_lines(lines)


def test_a_value_that_only_looks_like_the_end_of_data_is_none() -> None:
    assert split_lines(b"a\\.\n\\.b\n") == [b"a\\.", b"\\.b"]
