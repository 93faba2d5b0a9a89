"""How long a secret must be that people choose and that lets programs in.

A token is shown with each request, and who tries others may do so for as long as they like. So it must not be guessable: 128
bits, as OWASP ASVS 5.0 (7.2.3) asks of reference tokens; NIST SP 800-63B asks 64 or more of a session's secret. That is what 22
characters of base64url or 32 of hexadecimal hold where they are random. Whether they are cannot be seen; that few differ can.
"""

LEAST_CHARACTERS = 22
LEAST_DIFFERENT = 8  # fewer have 22 random characters of base64url once in 2 * 10**12, 32 of hexadecimal once in 2 * 10**7


def weak(token: str) -> str:
    """Why ``token`` may not let anybody in, and what to do; "" where it may. It is not repeated."""
    todo = "make one with: openssl rand -hex 32"
    if len(token) < LEAST_CHARACTERS:
        return f"has {len(token)} characters and can be guessed; {LEAST_CHARACTERS} is the least, {todo}"
    if len(set(token)) < LEAST_DIFFERENT:
        return f"has {len(set(token))} different characters and can be guessed; {LEAST_DIFFERENT} is the least, {todo}"
    return ""
