"""What becomes of campaigns when things go wrong: real sshds on stand-in boards, and more on simulated clocks.

Nothing may be lost, nothing made twice, no number wrong, no process left on a board, no wait without end. Zero failures
in n trials prove a failure rate below 3 / n with 95 % confidence, so the number of trials stands beside the result.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from typing import Any

from benchmarks import _simulated_faults
from benchmarks._fault_tally import Outcome, lines, tally
from hilnas.output import answer

PER_KIND = 10
SIMULATED_PER_KIND = 55


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="two moments of each kind")
    parser.add_argument("--kind", action="append", help="only this kind on real sshds (may be repeated)")
    parser.add_argument("--simulated-only", action="store_true", help="no real sshd, no root needed")
    chosen = parser.parse_args()
    began = time.monotonic()
    simulated = tally(_simulated_faults.campaign(2 if chosen.quick else SIMULATED_PER_KIND))
    simulated_s = time.monotonic() - began
    outcomes, undisturbed = ([], {}) if chosen.simulated_only else _real(2 if chosen.quick else PER_KIND, chosen.kind)
    real = tally(outcomes)
    real_s = time.monotonic() - began - simulated_s
    seconds = {"real": real_s, "simulated": simulated_s}
    found = {**real, "undisturbed": undisturbed, "simulated": simulated, "seconds": seconds}
    if chosen.json:
        print(json.dumps(answer(found), indent=2))
        return
    print(
        "\n".join(
            [f"real sshds ({real_s:.0f} s)", *lines(real), "", f"simulated ({simulated_s:.0f} s)", *lines(simulated)]
        )
    )
    if undisturbed:
        print(
            f"{undisturbed['campaigns']} undisturbed campaigns: invocations took up to {undisturbed['slowest']:.2f} "
            f"times their network's median; networks are at least {undisturbed['least_apart']:.1f} times apart"
        )
    for name, part in (("real", real), ("simulated", simulated)):
        if part["injected"]:
            bad = part["injected"] - part["survived"]
            print(f"{name}: {bad} of {part['injected']} campaigns went wrong", *_bound(bad, part["injected"]))


def _real(per_kind: int, kinds: list[str] | None) -> tuple[list[Outcome], dict[str, float]]:
    from benchmarks._boards import farm
    from benchmarks._injectors import INJECTORS
    from benchmarks._real_faults import campaign

    with farm() as opened:
        outcomes, undisturbed = campaign(opened, per_kind, kinds or list(INJECTORS))
    for outcome in outcomes:
        if not outcome.survived:
            print(outcome, file=sys.stderr)
    return outcomes, asdict(undisturbed)


def _bound(bad: int, n: int) -> list[Any]:
    return [] if bad else [f"(a failure rate below {3 / n:.2%} with 95 % confidence)"]


if __name__ == "__main__":
    main()
