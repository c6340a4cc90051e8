"""What a simulated source does, told by the connectionOptions of a CustomDatabase service.

Both ingestion images use it, so one configuration makes the same run in both. The
options are described in test/images/README.md.
"""

import os
import signal
import sys
import time
from dataclasses import dataclass, field

MIB = 1 << 20
PAGE = 4096
POINTS = ("init", "constructor", "reading", "end")
FAULTS = ("raise", "exit", "signal", "memory", "hang")
RAW = {"notUtf8": b"\xff\xfe\xc3(", "nul": b"before\x00after"}
SECRET_WORDS = ("password", "secret", "token")


class SimulatedError(Exception):
    """The exception that fault `raise` raises."""


@dataclass
class Fault:
    """What goes wrong (kind, value) and when (point)."""

    kind: str = ""
    value: str = ""
    point: str = "reading"

    def strike(self, point, by_exit=sys.exit):
        """Do the fault if this is its point; `by_exit` ends the process with a code."""
        if not self.kind or point != self.point:
            return
        if self.kind == "raise":
            raise SimulatedError(self.value or f"simulated failure at {point}")
        if self.kind == "exit":
            by_exit(int(self.value))
        elif self.kind == "signal":
            os.kill(os.getpid(), signal.Signals[self.value])
        elif self.kind == "memory":
            _held.append(_touched_memory(int(self.value)))
        else:
            while True:
                signal.pause()


@dataclass
class Plan:
    """One run as the options describe it."""

    duration: float = 0.0
    rows: int = 10
    errors: int = 0
    fault: Fault = field(default_factory=Fault)
    fail_attempts: int = 0
    ignore_sigterm: bool = False
    log_bytes: int = 0
    log_line_bytes: int = 0
    log_raw: tuple = ()
    secrets: tuple = ()

    def of_attempt(self, attempt):
        """The plan of the attempt (1 is the first): after `failAttempts` all goes well."""
        if self.fail_attempts and attempt > self.fail_attempts:
            self.errors, self.fault = 0, Fault()
        return self


# Memory stays allocated until the process ends, or the limit would not be reached.
_held = []


def parse(options, token=""):
    """Make a Plan of the options (strings by name); ValueError names a bad value.

    Options that it does not know are left alone: a real service may carry others.
    `token` is printed by `printSecrets`, beside the options that look like a secret.
    """
    options = {str(name): str(value) for name, value in (options or {}).items()}
    plan = Plan(
        duration=_number(options, "duration", float, 0.0),
        rows=_number(options, "rows", int, 10),
        errors=_number(options, "errors", int, 0),
        fault=_fault(options),
        fail_attempts=_number(options, "failAttempts", int, 0),
        ignore_sigterm=_truth(options, "ignoreSigterm"),
        log_bytes=_number(options, "logBytes", int, 0),
        log_line_bytes=_number(options, "logLineBytes", int, 0),
        log_raw=_raw(options),
    )
    if plan.errors > plan.rows:
        raise ValueError(f"option errors: {plan.errors} of {plan.rows} rows cannot fail")
    if _truth(options, "printSecrets"):
        plan.secrets = _secrets(options, token)
    return plan


def read(plan, out=None):
    """Read the source: yield (name, error), error None for a row that is read well.

    The pauses between the rows add up to the duration; then the fault of point
    `reading` strikes. `out` takes the log's bytes (standard output when None).
    """
    write_log(plan, out or sys.stdout.buffer)
    if plan.rows == 0:
        time.sleep(plan.duration)
    for number in range(plan.rows):
        time.sleep(plan.duration / plan.rows)
        name = f"table_{number + 1}"
        failed = number >= plan.rows - plan.errors
        yield name, f"cannot read {name}: simulated error" if failed else None
    plan.fault.strike("reading")


def prepare_signals(plan):
    """Ignore SIGTERM where the plan says so; the default disposition stays otherwise."""
    if plan.ignore_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def write_log(plan, out):
    """Write the log volume, the long line, the odd bytes and the secrets to `out`."""
    line = b"simulated log line ".ljust(99, b".") + b"\n"
    whole, rest = divmod(plan.log_bytes, len(line))
    for _ in range(whole):
        out.write(line)
    if rest:
        out.write(line[: rest - 1] + b"\n")
    if plan.log_line_bytes:
        _write_long_line(out, plan.log_line_bytes)
    for name in plan.log_raw:
        out.write(b"raw bytes: " + RAW[name] + b"\n")
    for secret in plan.secrets:
        out.write(b"connecting with " + secret.encode() + b"\n")
    out.flush()


def _write_long_line(out, size):
    while size > 0:
        out.write(b"x" * min(size, MIB))
        size -= MIB
    out.write(b"\n")


def _touched_memory(mebibytes):
    chunks = []
    for _ in range(mebibytes):
        chunk = bytearray(MIB)
        chunk[::PAGE] = b"\x01" * (MIB // PAGE)
        chunks.append(chunk)
    return chunks


def _fault(options):
    text = options.get("fault", "")
    if not text:
        return Fault()
    kind, _, value = text.partition(":")
    point = options.get("faultAt", "reading")
    if kind not in FAULTS:
        raise ValueError(f"option fault: {text!r} starts with none of {', '.join(FAULTS)}")
    if point not in POINTS:
        raise ValueError(f"option faultAt: {point!r} is none of {', '.join(POINTS)}")
    if kind in ("exit", "memory") and not value.isdigit():
        raise ValueError(f"option fault: {kind} needs a number, as in {kind}:3")
    if kind == "signal" and value not in signal.Signals.__members__:
        raise ValueError(f"option fault: {value!r} is no signal, as in signal:SIGSEGV")
    if kind == "raise" and point == "end":
        raise ValueError("option faultAt: nobody is left at the end whom raise could reach; exit:1 ends the process")
    if point == "init" and options.get("failAttempts"):
        raise ValueError("option failAttempts: before the first status nobody knows which attempt this is")
    return Fault(kind, value, point)


def _raw(options):
    names = tuple(name.strip() for name in options.get("logRaw", "").split(",") if name.strip())
    for name in names:
        if name not in RAW:
            raise ValueError(f"option logRaw: {name!r} is none of {', '.join(RAW)}")
    return names


def _secrets(options, token):
    found = [value for name, value in options.items() if _looks_secret(name)]
    return tuple(found + ([token] if token else []))


def _looks_secret(name):
    return name != "printSecrets" and any(word in name.lower() for word in SECRET_WORDS)


def _number(options, name, kind, default):
    text = options.get(name, "")
    try:
        number = kind(text) if text else default
    except ValueError as err:
        raise ValueError(f"option {name}: {text!r} is not a number") from err
    if not 0 <= number < float("inf"):
        raise ValueError(f"option {name}: {text!r} is out of range")
    return number


def _truth(options, name):
    text = options.get(name, "false").lower()
    if text not in ("true", "false"):
        raise ValueError(f"option {name}: {text!r} is neither true nor false")
    return text == "true"
