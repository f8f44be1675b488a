"""The digest of RFC 2617 and RFC 7616 for the phones made of strings, and REGISTER with it. Knows no `bridge`."""

import hashlib
import re
import secrets

from .rawphone import Message, RawPhone, literal

_HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


def authorization(
    refused: Message, user: str, password: str, method: str, uri: str, algorithm: str = "SHA-256", count: int = 1
) -> str:
    """The Authorization line that answers a 401; `count` is how often its nonce was used."""
    challenges = [dict(re.findall(r'(\w+)="?([^",]+)"?', text)) for text in refused.all("WWW-Authenticate")]
    given = next(one for one in challenges if one.get("algorithm", "MD5") == algorithm)
    realm, nonce, client = given["realm"], given["nonce"], secrets.token_hex(4)

    def digest(text: str) -> str:
        return _HASHES[algorithm](text.encode()).hexdigest()

    secret, request = digest(f"{user}:{realm}:{password}"), digest(f"{method}:{uri}")
    proof = digest(f"{secret}:{nonce}:{count:08x}:{client}:auth:{request}")
    return (
        f'Authorization: Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}", response="{proof}", '
        f'algorithm={algorithm}, qop=auth, nc={count:08x}, cnonce="{client}"'
    )


async def register(
    phone: RawPhone, host: str, port: int, password: str, *, expires: int = 120, user: str = "", within: float = 5.0
) -> list[Message]:
    """REGISTER, and once more with the password: the answers; a phone at TCP must be connected."""
    phone.far, phone.cseq = (host, port), phone.cseq + 1
    user, uri = user or phone.user, f"sip:{literal(host)}:{port}"
    lines = [f"Expires: {expires}"]
    answers = []
    for number in (phone.cseq, phone.cseq + 1):
        to, branch = f"<sip:{user}@{literal(host)}:{port}>", f"z9hG4bK{secrets.token_hex(8)}"
        request = phone.request("REGISTER", uri, to=to, cseq=number, branch=branch, headers=lines)
        phone.send_raw(request)
        answers.append(await phone.final("REGISTER", number, request, within))
        if answers[-1].status != 401:
            break
        lines = [f"Expires: {expires}", authorization(answers[-1], user, password, "REGISTER", uri)]
    phone.cseq += 1
    return answers
