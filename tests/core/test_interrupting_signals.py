"""distill_core.interrupting_signals: a cluster's signals as Ctrl-C, once."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from distill_core.interrupting_signals import SignalInterrupt, interrupting


def test_the_first_signal_interrupts_and_those_after_it_do_not() -> None:
    usual = signal.getsignal(signal.SIGUSR1)
    with pytest.raises(SignalInterrupt) as caught, interrupting(signal.SIGUSR1, signal.SIGTERM):
        _signal_and_two_more()
    assert caught.value.number == signal.SIGUSR1
    assert isinstance(caught.value, KeyboardInterrupt)
    assert signal.getsignal(signal.SIGUSR1) == usual


def _signal_and_two_more() -> None:
    """A signal, and others while what it interrupts puts its things away."""
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR1)


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    usual = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        with interrupting(signal.SIGUSR1):
            os.kill(os.getpid(), signal.SIGUSR1)
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR1, usual)


def test_outside_the_main_thread_nothing_changes() -> None:
    seen = []

    def work() -> None:
        with interrupting(signal.SIGUSR1):
            seen.append(signal.getsignal(signal.SIGUSR1))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGUSR1)]
