"""gloo's own threads: they do not take the core from the thread that computes."""

import os
import threading

import pytest

from crossent.ranks import patient_threads

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="of Linux")


def test_threads_that_are_started_meanwhile_are_patient_and_those_before_and_after_are_not():
    found = {}

    def note(name):
        found[name] = os.sched_getscheduler(0)

    def run(name):
        thread = threading.Thread(target=note, args=(name,))
        thread.start()
        thread.join()

    run("before")
    with patient_threads():
        run("meanwhile")
    run("after")
    note("this one")
    assert found == {"before": 0, "meanwhile": os.SCHED_BATCH, "after": 0, "this one": 0}


def test_a_process_that_has_chosen_how_it_is_scheduled_keeps_its_choice():
    found = []

    def chosen():
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        with patient_threads():
            found.append(os.sched_getscheduler(0))
        found.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=chosen)
    thread.start()
    thread.join()
    assert found == [os.SCHED_IDLE, os.SCHED_IDLE]
