"""A program in a pseudo-terminal, by the modules that come with Python.

What the program writes is read as it comes and searched for what is awaited. The one clock is a deadline: reaching it
fails the check, and nothing else depends on time.
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

# The longest wait for anything, in seconds.
PATIENCE = 60

CONTROL = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|\][^\x07]*\x07|[=>]|\(B)|[\x00\x07\x0e\x0f]")


class Terminal:
    """A program with a terminal of its own, wide enough that no line is broken."""

    def __init__(self, words, environment=None):
        self.screen, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 200, 400, 0, 0))
        self.process = subprocess.Popen(
            words,
            stdin=inside,
            stdout=inside,
            stderr=inside,
            env=dict(os.environ, TERM="xterm", **(environment or {})),
            start_new_session=True,
            # The terminal of its session: ctrl-C is a signal to it then.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(inside)
        self.raw = b""
        # What was shown and not awaited yet, without control sequences.
        self.unread = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.screen)

    def send(self, text):
        os.write(self.screen, text.encode())

    def line(self, text):
        self.send(text + "\r")

    def interrupt(self):
        """ctrl-C, as a keyboard sends it: the terminal makes SIGINT of it."""
        self.send("\x03")

    def signal(self):
        """SIGINT straight to the process."""
        os.kill(self.process.pid, signal.SIGINT)

    def expect(self, pattern):
        """Reads on until the pattern is there: what stood before it and the match; what follows stays unread."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = re.search(pattern, self.unread)
            if found:
                before = self.unread[: found.start()]
                self.unread = self.unread[found.end() :]
                return before, found
            if not self._read(deadline):
                raise AssertionError(f"{pattern!r} was expected, but it ended behind {self.unread[-2000:]!r}")

    def end(self):
        """Reads to the end of the program: its status."""
        deadline = time.monotonic() + PATIENCE
        while self._read(deadline):
            pass
        return self.process.wait(PATIENCE)

    def _read(self, deadline):
        """Takes what is there, or comes: False at the end."""
        ready, _, _ = select.select([self.screen], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            raise AssertionError(f"nothing more comes after {PATIENCE} s behind {self.unread[-2000:]!r}")
        try:
            read = os.read(self.screen, 65536)
        except OSError:  # the other side is closed
            read = b""
        self.raw += read
        # The last bytes may be the start of a control sequence or of a character: they wait for their end.
        whole = re.sub(rb"(\x1b[^a-zA-Z\x07=>]*|[\xc0-\xff][\x80-\xbf]{0,2})$", b"", self.raw) if read else self.raw
        self.unread += CONTROL.sub("", whole.decode(errors="replace")).replace("\r", "")
        self.raw = self.raw[len(whole) :]
        return bool(read)
