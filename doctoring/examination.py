"""Runs every check; none can keep another from running, and what one raises becomes its row."""

import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any

from doctoring import machine, needs, packages
from doctoring.child import Done
from doctoring.request import Request, read, split
from doctoring.row import Row, Status, fail, ok, refused, warn
from doctoring.table import table
from utils.errors import UserError

UNKNOWN = warn("not checked: the settings are not known", "mend the row configuration first")
NO_DATA = warn("not checked: the data set is not known", "mend the row data set first")


class Examination:
    """The checks of one command line, in the order of the table.

    Child processes run meanwhile in threads; this process imports torch only after a child did so without harm.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.arguments = list(arguments)
        self._pool = ThreadPoolExecutor(3)
        self._torch: Future[Done] = self._pool.submit(machine.probe_torch)
        self._dm_control = self._pool.submit(machine.import_dm_control)
        self._rendering = self._pool.submit(machine.rendering)

    def rows(self) -> dict[str, Row]:
        """Every row, the same ones whatever is found."""
        checks: dict[str, Callable[[], Row]] = {
            "python": packages.python,
            "packages": self._packages,
            "combinations": packages.combinations,
            "torch": lambda: machine.import_torch(self._torch.result()),
            "dm_control": lambda: self._dm_control.result(),
            "rendering": self._rendered,
            "configuration": self._configuration,
            "device": self._device,
            "torch.compile": lambda: machine.compiler(self._uses_gpu),
            "snapshot": lambda: self._of_request(needs.snapshot),
            "data set": lambda: self._data_set,
            "disk": lambda: self._of_need(lambda need: needs.disk(self.request, need)),
            "memory": lambda: self._of_need(lambda need: needs.memory(self.request, need)),
            "open files": lambda: self._of_need(needs.open_files),
            "write access": lambda: self._of_request(needs.writable),
            "wandb": lambda: needs.wandb_login(self._setting("use_wandb", False)),
        }
        return {name: answer(check) for name, check in checks.items()}

    @property
    def request(self) -> Request:
        """The request with its settings. Raises whatever is wrong with it."""
        if isinstance(self._read, Exception):
            raise self._read
        return self._read

    @cached_property
    def _read(self) -> Request | Exception:
        """What was read, or why it was refused: several rows ask, and to read takes seconds."""
        torch = self._torch.result()
        if torch.failure:
            return UserError("the settings cannot be checked without torch. Mend the row torch first.")
        try:
            return read(self.arguments)
        except Exception as error:  # its row says what it was
            return error

    @cached_property
    def need(self) -> Any:
        """The forecast of disk and memory."""
        return self.request.script.forecast(self.request.settings, self.request.script.phase)

    @property
    def _known(self) -> bool:
        return not isinstance(self._read, Exception)

    def _packages(self) -> Row:
        row = packages.packages()
        extra = packages.extra_of(self.request.settings.domain) if self._known else None
        if row.status is Status.FAIL or extra is None or packages.installed(extra) is not None:
            return row
        return fail(f"missing: {extra}, for task={self.request.settings.task}", f"pip install -e '.[{extra}]'")

    def _configuration(self) -> Row:
        request = self.request
        job = "first job of a sweep, " if request.first_of_sweep else ""
        settings = request.settings
        return ok(f"{job}{request.script.file}: agent={settings.agent.name} on {settings.task}")

    def _setting(self, key: str, default: Any) -> Any:
        """A setting; from the command line's own words while the settings as a whole are refused."""
        if self._known:
            return getattr(self.request.settings, key)
        given = split(self.arguments).value(key)
        if given is None:
            return default
        return given.lower() == "true" if isinstance(default, bool) else given

    def _rendered(self) -> Row:
        found = self._rendering.result()
        observes = self.request.settings.observes if self._known else self._setting("obs_type", self._meant)
        if observes == "pixels":
            return found
        if not self._setting("save_video", True):
            return ok("not needed: obs_type=states, save_video=false")
        if found.status is Status.OK:
            return ok(f"for videos only (obs_type=states): {found.found}")
        return warn(f"obs_type=states needs none, but there will be no videos\n{found.found}", found.fix)

    @property
    def _meant(self) -> str:
        """The kind of observations, while the settings as a whole are refused."""
        return "states" if (split(self.arguments).value("configs") or "").startswith("dmc_states") else "pixels"

    def _device(self) -> Row:
        return machine.device(self._setting("device", "auto"), machine.gpus(self._torch.result()))

    @property
    def _uses_gpu(self) -> bool:
        return self._setting("device", "auto") != "cpu" and bool(machine.gpus(self._torch.result()))

    def _of_request(self, check: Callable[[Request], Row]) -> Row:
        if not self._known:
            return UNKNOWN
        from entry.settings import worded

        with worded(self.request.script):
            return check(self.request)

    @cached_property
    def _data_set(self) -> Row:
        return answer(lambda: self._of_request(needs.data_set))

    def _of_need(self, check: Callable[[Any], Row]) -> Row:
        if self._data_set.status is Status.FAIL:
            return NO_DATA
        return self._of_request(lambda request: check(self.need))


def answer(check: Callable[[], Row]) -> Row:
    """The row of a check; an exception is a FAIL row."""
    try:
        return check()
    except UserError as error:
        return refused(error)
    except ImportError as error:
        return fail(f"{type(error).__name__}: {error}", "make setup")
    except Exception as error:  # whatever a broken machine or a library comes up with
        return refused(
            UserError(f"{type(error).__name__}: {error}"), "mend the rows above first; if they are OK, report it"
        )


def main(arguments: Sequence[str]) -> int:
    """Print the table; 1 when there is a FAIL, else 0."""
    warnings.simplefilter("ignore")  # of libraries; what matters has a row
    started = time.perf_counter()
    rows = Examination(arguments).rows()
    print(table(rows))
    counts = {status: sum(row.status is status for row in rows.values()) for status in Status}
    summary = ", ".join(f"{count} {status.value}" for status, count in counts.items())
    print(f"\n{len(rows)} checks in {time.perf_counter() - started:.1f} s: {summary}")
    return 1 if counts[Status.FAIL] else 0
