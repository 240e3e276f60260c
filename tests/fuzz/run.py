"""Fuzz with atheris: ``python tests/fuzz/run.py [--seconds 60] [TARGET ...]``.

Starts from ``corpus/TARGET`` and keeps what it finds below ``build/fuzz/TARGET``. An input that fails is
printed with its file; put it, once it is mended, into ``corpus/TARGET``, where the tests replay it.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TARGETS = sorted(file.stem.removeprefix("fuzz_") for file in HERE.glob("fuzz_*.py"))
LONGEST = 4096


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"one or more of {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := sorted(set(options.targets) - set(TARGETS)):
        parser.error(f"expected targets out of {', '.join(TARGETS)}, found {', '.join(unknown)}")
    if options.inside:
        return fuzz(options.targets[0], options.seconds)
    try:
        importlib.import_module("atheris")
    except ImportError:
        print("error: atheris is not installed\nhint: pip install atheris", file=sys.stderr)
        return 3
    failed = [target for target in options.targets or TARGETS if not passes(target, options.seconds)]
    print(f"findings in: {', '.join(failed)}" if failed else "nothing found")
    return 1 if failed else 0


def passes(target: str, seconds: int) -> bool:
    """Fuzz in a process of its own: the engine ends its process at the first finding."""
    print(f"fuzzing {target} for {seconds} s", flush=True)
    command = [sys.executable, str(HERE / "run.py"), "--inside", "--seconds", str(seconds), target]
    return subprocess.run(command, check=False).returncode == 0


def fuzz(target: str, seconds: int) -> int:
    import atheris

    sys.path.insert(0, str(HERE))
    with atheris.instrument_imports(include=["tiffin"]):
        module = importlib.import_module(f"fuzz_{target}")
    found = Path("build/fuzz") / target
    found.mkdir(parents=True, exist_ok=True)
    settings = [
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST}",
        "-timeout=10",
        "-rss_limit_mb=2048",
        "-print_final_stats=0",
        "-verbosity=0",
        f"-artifact_prefix={found}/",
    ]
    atheris.Setup([sys.argv[0], *settings, str(found), str(HERE / "corpus" / target)], module.run)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
