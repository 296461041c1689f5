"""One line for each feature of a client: what the programs of this folder print.

    # CLIENT VERSION
    ok - CLIENT: FEATURE
    not ok - CLIENT: FEATURE # WHY

and at the end `1..N`, so that a program that ended early is noticed.
"""

import asyncio
import importlib.metadata
import inspect
import os
import sys
import traceback


class Client:
    """The checks of one client, run in the order in which they are written."""

    def __init__(self, name, package=None, of_the_machine=False):
        self.name = name
        # A tool of the machine has no version in the table of docs/postgres.md: it is another one elsewhere.
        self.title = name if of_the_machine else f"{name} {importlib.metadata.version(package or name)}"
        self.checks = []

    def check(self, feature):
        """Declares a feature; the function fails by raising."""

        def declare(function):
            self.checks.append((feature, function))
            return function

        return declare

    def run(self):
        """Runs every check and ends the process: 0 when all have passed, else 1."""
        print(f"# {self.title}", flush=True)
        failed = 0
        # Those alone whose names begin with this.
        chosen = os.environ.get("CLIENT_FEATURES", "")
        self.checks = [check for check in self.checks if check[0].startswith(chosen)]
        for feature, function in self.checks:
            try:
                result = function()
                if inspect.isawaitable(result):
                    asyncio.run(bounded(result))
            except BaseException as error:  # an interrupted or exiting client has failed, too
                failed += 1
                why = " ".join(f"{type(error).__name__}: {error}".split())
                print(f"not ok - {self.name}: {feature} # {why}", flush=True)
                traceback.print_exc(file=sys.stderr)
            else:
                print(f"ok - {self.name}: {feature}", flush=True)
        print(f"1..{len(self.checks)}", flush=True)
        sys.exit(1 if failed else 0)


async def bounded(awaitable):
    """Nothing that is awaited here takes longer than a minute."""
    return await asyncio.wait_for(awaitable, 60)


def equal(got, wanted):
    """Fails with both values."""
    if got != wanted or type(got) is not type(wanted):
        raise AssertionError(f"{wanted!r} was expected, not {got!r}")


def raises(error_type, function, *arguments):
    """The error that a call has to raise."""
    try:
        result = function(*arguments)
    except error_type as error:
        return error
    raise AssertionError(f"{error_type.__name__} was expected, not {result!r}")
