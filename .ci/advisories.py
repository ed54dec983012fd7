"""Known vulnerabilities of the pinned packages, by pip-audit, without crying wolf.

Prints what is known against the packages of a requirements file, and how many could be looked up at
all. Exits with 1 where there is a known vulnerability and with 0 otherwise, also where the
advisories cannot be reached: then nothing is known, and that is said.

    python .ci/advisories.py constraints.txt [options of pip-audit]
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

SECONDS = 180
"""How long to wait for the advisories of all packages together."""


def main(requirements: str, *options: str) -> int:
    """Ask pip-audit, and say what it found."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", requirements, "--no-deps"]
    command += ["--disable-pip", "--format=json", "--progress-spinner=off", *options]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        found = json.loads(asked.stdout)
    except subprocess.TimeoutExpired:
        print(f"advisories: no answer in {SECONDS} s; nothing is known of {requirements}")
        return 0
    except json.JSONDecodeError:
        last = (asked.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
        print(f"advisories: they cannot be read, and nothing is known of {requirements}: {last}")
        return 0
    lines, vulnerable = report(found)
    print("\n".join(lines))
    return 1 if vulnerable else 0


def report(found: dict[str, Any]) -> tuple[list[str], bool]:
    """What pip-audit's JSON says, in lines, and whether a package is vulnerable.

    Args:
        found: ``dependencies``, each with a name and either ``version`` and ``vulns`` or the reason
            why it was skipped.
    """
    packages = found["dependencies"]
    read = [package for package in packages if "skip_reason" not in package]
    lines = [f"advisories: {len(read)} of {len(packages)} packages could be looked up"]
    if not read:
        lines.append("advisories: so nothing is known of any of them")
    for package in read:
        for advisory in package["vulns"]:
            fixed = ", ".join(advisory["fix_versions"]) or "no version yet"
            names = " ".join([advisory["id"], *advisory.get("aliases", ())])
            lines.append(f"{package['name']} {package['version']}: {names}, fixed in {fixed}")
            lines.append(f"    {' '.join(advisory['description'].split())[:300]}")
    vulnerable = any(package["vulns"] for package in read)
    if read and not vulnerable:
        lines.append("advisories: no known vulnerability in those")
    return lines, vulnerable


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
