"""Explores thousands of generated programs: `python -m tests.exploration --programs 10000`.

It shows how far it is, prints what the programs were made of and what was found, and fails if anything was.
"""

from __future__ import annotations

import argparse
import math
import sys
import warnings

from tests.exploration.campaign import Campaign


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.exploration", description=__doc__)
    parser.add_argument("--programs", type=int, default=10_000, help="how many programs (default: %(default)s)")
    parser.add_argument("--schedules", type=int, default=2, help="how many schedules for each (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so many minutes (default: never)")
    parser.add_argument("--seed", type=int, default=0, help="of the programs (default: %(default)s)")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    campaign = Campaign(options.programs, seconds=options.minutes * 60, seed=options.seed, schedules=options.schedules)
    campaign.run()
    if campaign.faults:
        print(campaign.details())
    print(campaign)
    return 1 if campaign.faults else 0


if __name__ == "__main__":
    sys.exit(main())
