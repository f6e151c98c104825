"""Answers to the exercises of lesson 00."""

from __future__ import annotations

# ---------------------------------------------------------------------- 0a


def bytes_by_constructor(text):
    return bytes(text, "utf-8")


def bytes_by_hand(text):
    return b"".join(character.encode() for character in text)


def no_return(text):
    text.encode()


def stays_text(text):
    return text


def ascii_only(text):
    return text.encode("ascii", "replace")


def latin(text):
    return bytes(ord(character) % 256 for character in text)


def one_byte_a_character(text):
    return text.encode()[: len(text)]


RIGHT = {
    "0a": [bytes_by_constructor, bytes_by_hand],
}
WRONG = {
    "0a": [
        (no_return, "Did you forget `return`?"),
        (stays_text, "returned text"),
        (ascii_only, "and UTF-8 gives"),
        (one_byte_a_character, "One character may take several bytes"),
        (latin, "and UTF-8 gives"),
    ],
}
