"""``python -m tests.conformance http://127.0.0.1:3000 [PROTOCOL ...]``: does this server speak the protocols?"""

from __future__ import annotations

import sys

from tests.conformance.checking import problems, protocols, vectors


def main(arguments: list[str]) -> int:
    """Ask every vector; exit code 1 when an answer was wrong."""
    if not arguments or not set(arguments[1:]) <= set(protocols()):
        print(f"usage: python -m tests.conformance URL [{'] ['.join(protocols())}]", file=sys.stderr)
        return 2
    url, *chosen = arguments
    asked = wrong = 0
    for protocol in chosen or protocols():
        for vector in vectors(protocol):
            asked += 1
            if found := problems(url, vector):
                wrong += 1
                print(f"{protocol}: {vector['name']}", *(f"    {line}" for line in found), sep="\n")
    print(f"{asked - wrong} of {asked} answers were right")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
