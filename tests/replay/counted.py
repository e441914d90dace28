"""How many numbers of the index of episodes a draw looks at."""

import math

import numpy as np

from replay.sampler import Sampler


class Counted(np.ndarray):
    """An array that adds what is read of it to ``reads``; a row or a range of columns is a view, not read yet."""

    reads: list[int]

    def __array_finalize__(self, source):
        self.reads = getattr(source, "reads", [])

    def __getitem__(self, key):
        found = super().__getitem__(key)
        whole_row = self.ndim == 2 and not isinstance(key, tuple)
        if whole_row or isinstance(key[-1] if isinstance(key, tuple) else key, slice):
            return found
        self.reads.append(found.size)  # a number of NumPy has one, too
        return found.view(np.ndarray) if isinstance(found, Counted) else found

    def __array_function__(self, function, types, args, kwargs):
        if function is np.searchsorted:  # a bisection
            self.reads.append(args[1].size * math.ceil(math.log2(max(2, args[0].size))))
        else:
            self.reads.append(self.size)
        plain = [arg.view(np.ndarray) if isinstance(arg, Counted) else arg for arg in args]
        return function(*plain, **kwargs)

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        self.reads += [array.size for array in inputs if isinstance(array, Counted)]
        return getattr(ufunc, method)(*(np.asarray(array).view(np.ndarray) for array in inputs), **kwargs)


def reads_of_a_draw(sampler: Sampler, count: int) -> int:
    """Numbers of the index that ``sampler.draw(count)`` reads."""
    reads: list[int] = []
    for stream, rows in enumerate(sampler.index._rows):
        sampler.index._rows[stream] = rows.view(Counted)
        sampler.index._rows[stream].reads = reads
    sampler.draw(count)
    return sum(reads)
