"""Data loss prevention filter: finds names and texts that look like a secret or personal data, in any spelling.

It is wide on purpose where the shape is clear: RFC 7519 tokens, RFC 6750 headers, mail addresses. It is narrow where
numbers are ordinary. A card must satisfy ISO/IEC 7812's check digit and an IBAN ISO 13616's, so an order number is
neither. A UUID, a commit hash, a version and a time are no secrets. Time and memory are linear in the text. For that,
every repetition in a pattern is bounded, no digit is added twice, and accents are not sorted.
"""

import re
import unicodedata
from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import Literal
from urllib.parse import unquote

Kind = Literal["secret", "personal_data"]


def _words_of(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SHORTEST = 5  # pin=1
_MOST_ENCODINGS = 4  # a text that is percent-encoded more often hides something

# _PARTS match anywhere in a name without its separators, _WORDS match whole words of it.
_SECRET_PARTS = re.compile(
    "passw|passphrase|passcode|secret|token|credential|authori[sz]|apikey|privatekey|cookie|session|bearer|jwt|csrf|xsrf"
)
_SECRET_WORDS = _words_of("key keys pass pwd pin otp totp auth sid cvv cvc cvv2")
_NO_KEYS = _words_of("monkey donkey turkey hockey jockey whiskey hotkey")
_PERSONAL_PARTS = re.compile(
    "email|phonenumber|telephone|mobilenumber|address|birth|passport|iban|socialsecurity|nationalid|taxid|postcode"
    "|postalcode|zipcode|(?:first|last|full|sur|given|family|middle|maiden|nick|user|real)name"
    "|(?:credit|debit|bank)card|card(?:number|holder)|accountnumber"
)
_PERSONAL_WORDS = _words_of("mail mails phone phones tel fax dob ssn street msisdn")

# name=value, "name": value, and header lines, inside a text.
_PAIR = re.compile(
    r"""(?<![\w.\[\]-])([\w.\[\]-]++)(?:[\\"']{0,4}\s{0,4}=\s{0,4}|[\\"']{1,4}\s{0,4}:\s{0,4})(?=[^\s=&;])"""
)
_HEADER = re.compile(r"(?:authorization|cookie|passw(?:or)?d|secret|api[ _-]?key)\s{0,3}:\s{0,3}\S", re.I)
_SECRET = re.compile(
    r"""ey[JA][\w=-]{10,}                                                 # base64url of a JSON object: JWS, JWE
    |(?i:bearer|dpop)\s{1,4}(?:(?=\S{0,64}\d)\S{4}|\S{16})
    |(?i:basic)\s{1,4}(?=\S{0,99}[A-Z])(?=\S{0,99}[a-z])(?=\S{0,99}[\d=])[A-Za-z\d+/]{8}
    |://[^\s/?\#@]{0,64}:[^\s/?\#@]{1,64}@                                # a password in an URL
    |\b(?:[spr]k_(?:live|test)_\w|A[KS]IA[A-Z\d]{12}|gh[a-z]_\w{16}|github_pat_|xox[a-z]-\w|AIza[\w-]{20}|glpat-\w)
    |-----BEGIN\ |\bssh-(?:rsa|ed25519)\ """,
    re.X,
)
# Neither logo@2x.png nor package@1.2.3 is an address.
_EMAIL = re.compile(r"[\w.+%'-]@(?!\d+x\.)(?!\d+\.\d)[\w-]{1,63}(?:\.[\w-]{1,63}){0,8}\.[^\W\d_]{2}")
_PERSONAL_NUMBER = re.compile(
    r"""(?<![\w.+])\+(?:[\s().-]{0,2}\d){8,15}(?!\d)                         # E.164
    |(?<![\w.:,-])\(?0[1-9]\d{1,4}\)?[\s/-]?\d(?:[\s-]?\d){5,8}(?!\w)     # national, with its leading 0
    |(?<!\w)00[1-9]\d{8,13}(?!\w)|\btel:\+?[\d(]
    |(?<![\w.-])(?:1[\s.-])?\(?[2-9]\d{2}\)?[\s.-][2-9]\d{2}[\s.-]\d{4}(?![\w-])                # North America
    |(?<![\w-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])      # US social security number
    |\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\ ?\d{2}\ ?\d{2}\ ?\d{2}\ ?[A-D]\b                    # UK national insurance
    |(?i:\b[a-z]{6}\d{2}[a-ehlmprst]\d{2}[a-z]\d{3}[a-z]\b)               # Italian codice fiscale
    |(?<!\d)\d{3}\.\d{3}\.\d{3}-\d{2}(?!\d)                               # Brazilian CPF
    |(?<!\d)756\.\d{4}\.\d{4}\.\d{2}(?!\d)                                # Swiss AHV
    """,
    re.X,
)
_FEWEST_DIGITS = 6  # of any number here
_DIGITS = re.compile(r"(?<!\d)\d(?:[ .-]?\d){12,}")
_DIGIT_GROUPS = re.compile(r"\d+")
_LENGTHS_OF_CARDS = {"2": (16,), "3": (14, 15, 16), "4": (13, 16, 19), "5": (16,), "6": (16, 17, 18, 19)}
_CARD = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|35\d{14}|6\d{15,18}"
)
_IBAN = re.compile(r"(?<![A-Z\d])[A-Z]{2}\d{2}(?:[ -]?[A-Z\d]{4}){2,7}(?:[ -]?[A-Z\d]{1,3})?(?![A-Z\d])")

# UUIDs, object ids, trace ids and commit hashes: some of them satisfy a check digit by chance.
_IDENTIFIER = re.compile(
    r"(?<![A-Za-z\d])(?:(?i:[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12})|[\da-f]{24}|[\da-f]{32}|[\da-f]{40})(?![A-Za-z\d])"
)
_RUN = re.compile(r"[\w-]{28,}|(?<![\w/+.:%-])[A-Za-z\d+][A-Za-z\d+/]{27,}={0,2}(?![\w/+.-])", re.A)
_SEGMENT = re.compile(r"[A-Za-z\d]+")
_HASH = re.compile(r"[\da-fA-F]{7,}")
_ENOUGH = 200  # pairs of a text that decide whether it is random
# Pairs of letters that are frequent in words: four in five of an English text's pairs are listed here, at least half
# in other languages, a sixth in random text.
_PAIRS_IN_WORDS = _words_of(
    "ab ac ad ai al am an ap ar as at au be bl ca ce ch ck cl co ct da de di ea ec ed ef el em en ep er es et ex fa"
    " fi fo ge ha he hi ho ic ie ig il im in io is it ke la le lf li ll lo ls lu ma me mo mp na nc nd ne ng ni no ns"
    " nt od ol om on oo op or ot ou pa pe pl po pr pt ra rd re rg ri rk rn ro rr rs rt rz sa sc se si ss st su ta te"
    " th ti to tr ts tt ty ue ul un up ur us ut va ve vi we wi wo ze"
)

# Letters of other alphabets that look like Latin ones.
_LOOKALIKES = str.maketrans("аеорсухіјѕԁкмтвнАЕОРСХІЈЅКМТВНαορνικτε", "aeopcyxijsdkmtbhAEOPCXIJSKMTBHaopvikte")
# Two Arabic phrases that are one character each, and 18 and 8 after NFKD.
_LONG = dict.fromkeys((0xFDFA, 0xFDFB), " ")
_PIECE = 64  # characters
_CONTROLS = re.compile(r"[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def kind_of_name(name: str) -> Kind | None:
    """Returns the kind of data that a field of this name would hold; None for harmless data."""
    for plain in _spellings(name):
        if plain is None:
            return "secret"
        words = _words(plain)
        joined = "".join(filter(str.isalpha, plain)).lower()
        if words & _SECRET_WORDS or _SECRET_PARTS.search(joined) or (joined.endswith("key") and not words & _NO_KEYS):
            return "secret"
        if words & _PERSONAL_WORDS or _PERSONAL_PARTS.search(joined):
            return "personal_data"
    return None


def kind_of_text(text: str) -> Kind | None:
    """Returns the kind of data found in this text, also percent-encoded, as `name=value` or as `"name": value`."""
    if len(text) < _SHORTEST:
        return None
    for plain in _spellings(text):
        if plain is None:
            return "secret"
        if kind := _kind_of_plain(_IDENTIFIER.sub(" ", plain)):
            return kind
    return None


def _kind_of_plain(text: str) -> Kind | None:
    named = {kind_of_name(name) for name in set(_PAIR.findall(text))}
    if "secret" in named or _SECRET.search(text) or _HEADER.search(text) or _has_random_run(text):
        return "secret"
    if "personal_data" in named or _EMAIL.search(text) or _has_personal_number(text):
        return "personal_data"
    return None


def _spellings(text: str) -> Iterator[str | None]:
    """Yields the text in plain letters, then fully percent-decoded; None for more than _MOST_ENCODINGS encodings."""
    plain = decoded = _plain(text)
    yield plain
    for _ in range(_MOST_ENCODINGS):
        if (further := _plain(unquote(decoded))) == decoded:
            break
        decoded = further
    else:
        yield None
    if decoded != plain:
        yield decoded


def _plain(text: str) -> str:
    """Replaces full-width and decorated letters by plain ones (UAX #15, NFKD).

    Drops accents, invisible characters and control characters.
    """
    if not text.isascii():
        text = "".join(map(_plain_character, _taken_apart(text))).translate(_LOOKALIKES)
    return _CONTROLS.sub("", text)


def _taken_apart(text: str) -> Iterator[str]:
    """Works in pieces: NFKD sorts the accents on one letter in quadratic time, and the caller drops them anyway."""
    text = text.translate(_LONG)
    for start in range(0, len(text), _PIECE):
        yield from unicodedata.normalize("NFKD", text[start : start + _PIECE])


def _plain_character(char: str) -> str:
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    return "" if unicodedata.category(char) in ("Mn", "Me", "Cf") else char


def _words(name: str) -> set[str]:
    """Splits a name into words: userKey, user-key and USER_KEY give user and key; K.e.Y gives key."""
    separated = re.findall(r"[^\W\d_]+", name)
    humps = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    joined = "".join(separated)
    return {word.lower() for word in (*separated, *humps, joined)}


def _has_random_run(text: str) -> bool:
    return any(_is_random(run) for run in _RUN.findall(text))


def _is_random(run: str) -> bool:
    """Whether the run holds more randomness than a public identifier.

    A KSUID has 27 characters, a commit hash 40 hexadecimal digits, a trace id 32.
    """
    segments: list[str] = _SEGMENT.findall(run)
    hashes = {segment for segment in segments if _HASH.fullmatch(segment) and not segment.isdigit()}
    if any(len(each) > 32 and len(each) != 40 for each in hashes):
        return True
    others = [segment for segment in segments if segment not in hashes]
    if sum(map(len, others)) < 28 or max(map(len, others)) < 8:
        return False
    pairs = [left + right for segment in others for left, right in pairwise(segment.lower())][:_ENOUGH]
    wordlike = sum(pair in _PAIRS_IN_WORDS or pair.isdigit() for pair in pairs)
    return wordlike < 0.45 * len(pairs) and len(set(pairs)) > len(pairs) / 2


def _has_personal_number(text: str) -> bool:
    if sum(map(str.isdigit, text)) < _FEWEST_DIGITS:
        return False
    return bool(_PERSONAL_NUMBER.search(text)) or _has_card(text) or _has_iban(text)


def _has_card(text: str) -> bool:
    return any(_holds_card(_DIGIT_GROUPS.findall(run)) for run in _DIGITS.findall(text))


def _holds_card(groups: list[str]) -> bool:
    """Whether some consecutive groups of digits form a card number."""
    digits = "".join(groups)
    borders = set(accumulate(map(len, groups), initial=0))
    sums = _luhn_sums(digits)
    for first in borders:
        for length in _LENGTHS_OF_CARDS.get(digits[first : first + 1], ()):
            end = first + length
            of_this = sums[(end - 1) % 2]
            if end in borders and (of_this[end] - of_this[first]) % 10 == 0 and _CARD.fullmatch(digits, first, end):
                return True
    return False


def _luhn_sums(digits: str) -> tuple[list[int], list[int]]:
    """Returns running Luhn sums (ISO/IEC 7812-1, annex B): digits at odd places doubled, then those at even places.

    The running sums serve every end of a number, so no digit is added twice. A number's last digit is not doubled.
    """
    plain = list(map(int, digits))
    doubled = [2 * digit if digit < 5 else 2 * digit - 9 for digit in plain]
    even, odd = list(plain), list(doubled)
    even[1::2], odd[1::2] = doubled[1::2], plain[1::2]
    return list(accumulate(even, initial=0)), list(accumulate(odd, initial=0))


def _has_iban(text: str) -> bool:
    candidates = {found for form in (text, text.upper()) for found in _IBAN.findall(form)}
    return any(_is_iban(re.sub(r"[ -]", "", found)) for found in candidates)


def _is_iban(compact: str) -> bool:
    """Checks ISO 13616: country and check digits move to the end, letters count from 10, and modulo 97 leaves 1."""
    number = "".join(str(int(char, 36)) for char in compact[4:] + compact[:4])
    return len(compact) >= 15 and int(number) % 97 == 1
