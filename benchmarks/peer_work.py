"""One program's side of a comparison, in a process of its own: makes its answer once, then repeats it when told.

python peer_work.py PEER WORK INPUTS.npz ANSWER.npy; then one turn for each line on standard input, and after it the
processor seconds of one repetition, by one thread, those of programs it started included.
"""

from __future__ import annotations

import resource
import sys

import classical_works
import file_works
import network_works
import numpy as np
import torch

LEAST_SECONDS = 0.2
"""A turn repeats short work for so long."""
WORKS: classical_works.Works = classical_works.WORKS | network_works.WORKS | file_works.WORKS


def main() -> None:
    torch.set_num_threads(1)
    peer, work, inputs, answer = sys.argv[1:]
    with np.load(inputs) as file, torch.no_grad():
        run = WORKS[peer, work]({name: torch.from_numpy(file[name]) for name in file.files})
        np.save(answer, np.asarray(run()))
        print("ready", flush=True)
        for _ in sys.stdin:
            print(_turn(run), flush=True)


def _turn(run: classical_works.Answer) -> float:
    """Seconds of a repetition, on average over a turn."""
    before, count = _seconds(), 0
    while count == 0 or _seconds() - before < LEAST_SECONDS:
        run()
        count += 1
    return (_seconds() - before) / count


def _seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


if __name__ == "__main__":
    main()
