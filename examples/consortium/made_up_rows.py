"""Print rows of a hospital that does not exist, to try the example with.

python made_up_rows.py 3 > rows.csv      # those of the third hospital
"""

import math
import sys
from random import Random


def rows(hospital: int, count: int = 400) -> list[str]:
    """Return lines of CSV; hospitals differ in how old and how ill their patients are."""
    rng = Random(f"hospital {hospital}")
    lines = ["patient,age,stay_days,medicines,readmitted"]
    for patient in range(1, count + 1):
        age = rng.gauss(54 + 3 * hospital, 14)
        stay = rng.expovariate(1 / (4 + hospital / 2))
        medicines = max(0, round(rng.gauss(4 + age / 15, 3)))
        risk = 0.05 * (age - 62) + 0.3 * (stay - 6) + 0.25 * (medicines - 8)
        readmitted = int(rng.random() < 1 / (1 + math.exp(-risk)))
        lines.append(f"{patient},{age:.1f},{stay:.1f},{medicines},{readmitted}")
    return lines


if __name__ == "__main__":
    print("\n".join(rows(int(sys.argv[1]))))
