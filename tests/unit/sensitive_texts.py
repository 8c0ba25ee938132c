"""Secrets and personal data as tests hide them in reports: texts, and names of fields in any spelling."""

import base64
import hashlib

from hypothesis import strategies as st

SECRET_NAMES = ["password", "token", "api_key", "secret", "authorization", "cookie", "session", "access_key", "passwd"]
PERSONAL_NAMES = ["email", "phone", "address", "birth_date", "first_name", "last_name", "iban", "card_number"]
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"
WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}  # Unicode's full-width forms of ASCII


def random_text(seed: bytes) -> str:
    """64 characters of base64url that no shrinking makes regular."""
    return base64.urlsafe_b64encode(hashlib.sha384(seed).digest()).decode()


SECRETS = [
    JWT, f"x {JWT}", "Bearer abc123", "bearer  " + "x" * 20, "DPoP a1b2c3d4", "Basic YWxpY2U6c2VjcmV0",
    "sk_live_4eC39HqLyjWD", "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "ghp_" + "a1B2" * 9, "xoxb-12345", "glpat-abcdef", "-----BEGIN PRIVATE KEY-----", "ssh-ed25519 AAAA",
    "https://alice:hunter2@example.com/", "redis://:hunter2@cache", "/callback?access_token=x",
    "https://a.example/#id_token=x", "?a=1&PassWord=x", "?api%5Fkey=x", "password=hunter2", "key = 1", '{"token": "x"}',
    '{\\"client_secret\\":\\"x\\"}', "Authorization: Digest x", "Set-Cookie: a=b", "api key: x", "%2525252525",
    random_text(b"1"), "/x/" + random_text(b"2") + "/y", hashlib.sha256(b"3").hexdigest(), "9f" * 20 + "0",
]  # fmt: skip
PERSONAL = [
    "alice@example.com", "mailto:alice.b+c@mail.example.co.uk", "alice%40example.com", "alice%2540example.com",
    "ali\u00adce@exam\u200bple.com", "ａｌｉｃｅ＠ｅｘａｍｐｌｅ．ｃｏｍ", "alice@163.com", "/u?email=x",
    "?first-name=x",
    "+49 170 1234567", "+1 (555) 234-5678", "%2B491701234567", "00491701234567", "0170 1234567", "(555) 234-5678",
    "tel:+15552345678", "4111 1111 1111 1111", "4111111111111111", "4111-1111-1111-1111", "5500.0000.0000.0004",
    "3782 822463 10005", "order 42 for 6011111111111117", "٤١١١١١١١١١١١١١١١", "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
    "123-45-6789", "AB 12 34 56 C", "RSSMRA85T10A562S", "123.456.789-09", "756.1234.5678.97",
    "DE89 3704 0044 0532 0130 00", "de89370400440532013000", "my GB82 WEST 1234 5698 7654 32 account",
]  # fmt: skip


@st.composite
def spelt(draw: st.DrawFn, words: list[str]) -> str:
    """One of the words in any case, with any separators, in wide letters, with accents or invisible characters."""
    word = draw(st.sampled_from(words))
    shape = draw(
        st.sampled_from(["case", "kebab", "camel", "apart", "wide", "accent", "invisible", "around", "encoded"])
    )
    match shape:
        case "case":
            flips = draw(st.lists(st.booleans(), min_size=len(word), max_size=len(word)))
            return "".join(c.upper() if flip else c for c, flip in zip(word, flips, strict=True))
        case "kebab":
            return word.replace("_", draw(st.sampled_from(["-", ".", " ", "", "__"])))
        case "camel":
            return "my" + word.title().replace("_", "")
        case "apart":
            return draw(st.sampled_from(["-", ".", "_", " "])).join(word)
        case "wide":
            return word.translate(WIDE)
        case "accent":
            return "\u0301".join(word)
        case "invisible":
            return draw(st.sampled_from(["\u200b", "\u00ad", "\u2060", "\0", "\x1b"])).join(word)
        case "around":
            return (
                draw(st.sampled_from(["user", "X", "2", "new"])) + "_" + word + draw(st.sampled_from(["", "_2", "[]"]))
            )
        case _:
            return "".join(f"%{ord(c):02x}" for c in word)
