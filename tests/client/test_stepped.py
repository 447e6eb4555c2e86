"""A session's steps, performed on a server of the test's own, which breaks when it is told to."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretoken.client import stepped as module
from foretoken.client.kept import REPLAY, Input, Inputs
from foretoken.client.operations import Pause, Receive, Send, drive
from foretoken.client.outputs import Output, observed, want_of
from foretoken.client.stepped import Stepped
from foretoken.errors import (
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    InternalError,
    InvalidInput,
    Overloaded,
    Unavailable,
)
from foretoken.proto import sequences as wire

EVERY = 4  # steps between checkpoints
PART = 3  # observations of one message, of sessions here


@pytest.fixture(scope="module", autouse=True)
def short_parts():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PART", PART)
        yield


def broken(fault):
    """What ends a stream."""
    if fault == "full":
        return Overloaded("too many streams", retry_after=0.1)
    return Unavailable("the stream has broken")


class Server:
    """Sums what it sees. ``faults`` says, action by action, whether the stream breaks there.

    A durable state is written as a real server does it: taken every so often, kept back until what
    led to it has been delivered. What is not finite is refused, and so is the next message of a
    kind for which ``refusals`` or ``busy`` have a refusal.
    """

    def __init__(self, faults=(), width=1):
        self.faults = deque(faults)
        self.width = width
        self.sums, self.kept, self.candidate = [0.0], [0.0], None
        self.refusals, self.busy = deque(), deque()  # of observations, and of openings
        self.out = deque()
        self.streams = self.opens = self.told = 0
        self.moves = False
        self.seated = set()  # sessions on the stream

    def perform(self, action):
        if isinstance(action, Pause):
            return None
        fault = self.faults.popleft() if self.faults else None
        if isinstance(action, Send):
            if action.fresh:
                self.streams += 1
                self.out.clear()
                self.seated.clear()
            if fault is not None:
                self.out = deque([broken(fault)])
            elif not (self.out and isinstance(self.out[-1], Exception)):
                self._take(action.request)
            return None
        assert isinstance(action, Receive)
        if fault == "late":
            raise DeadlineExceeded("no answer in time")
        if fault is not None:
            self.out = deque([broken(fault)])
        found = self.out[0]
        if isinstance(found, Exception):
            raise found
        return self.out.popleft()

    def _take(self, asked):
        kind = asked.WhichOneof("message")
        if (kind == "open") == (asked.session in self.seated):
            error = "AlreadyExists" if kind == "open" else "NotFound"
            answer = wire.SequenceResponse(refusal=wire.Refusal(error=error, message=kind))
        elif kind == "open" and self.busy:
            answer = wire.SequenceResponse(refusal=self.busy.popleft())
        else:
            answer = getattr(self, f"_{kind}")(getattr(asked, kind))
            if kind == "open":
                self.seated.add(asked.session)
        answer.session = asked.session
        self.out.append(answer)

    def _open(self, said):
        self.opens += 1
        if self.opens > 1 and said.id:
            self.sums = list(self.kept) if not self.moves else self.sums
            self.candidate = None
        return wire.SequenceResponse(opened=self._opened())

    def _opened(self):
        durable = len(self.kept) - 1
        return wire.Opened(
            id="ses-1", model="m", version=3, step=self.step, durable_step=durable, width=self.width
        )

    @property
    def step(self):
        return len(self.sums) - 1

    def _observe(self, said):
        refusal = self.refusals.popleft() if self.refusals else None
        values = np.frombuffer(said.values).reshape(said.steps, -1).sum(axis=1)
        if not np.isfinite(values).all():
            refusal = wire.Refusal(error="InvalidInput", message="not finite")
        if refusal is not None:
            return wire.SequenceResponse(refusal=refusal)
        self.told += said.steps
        if self.candidate is not None and len(self.candidate) - 1 <= said.delivered:
            self.kept, self.candidate = self.candidate, None
        before = self.step
        for value in values:
            self.sums.append(self.sums[-1] + float(value))
        if self.candidate is None and self.step - len(self.kept) + 1 >= EVERY:
            self.candidate = list(self.sums)
        made = np.array(self.sums[before + 1 :])
        outputs = wire.Outputs(step=self.step, durable_step=len(self.kept) - 1)
        if said.want != wire.NOTHING:
            made = made[-1:] if said.want == wire.LAST else made
            outputs.outputs.add(name="sum", dtype="float64", shape=made.shape, data=made.tobytes())
        return wire.SequenceResponse(outputs=outputs)

    def _snapshot(self, said):
        return wire.SequenceResponse(snapshot=wire.Snapshot(step=self.step, data=b"x"))

    def _fork(self, said):
        self.seated.add(said.into)
        return wire.SequenceResponse(forked=self._opened())

    def _close(self, said):
        return wire.SequenceResponse(closed=wire.Closed(step=self.step))


def session(server, *, durable=False):
    stepped = Stepped(1, wire.SequenceOpen(model="m", durable=durable))

    def run(steps):
        return drive(steps, server.perform)

    run(stepped.begin())
    return stepped, run


FAULTS = st.lists(st.sampled_from([*[None] * 7, "lost", "full"]), max_size=60)
SIZES = st.lists(st.integers(1, 6), min_size=1, max_size=25)


@given(FAULTS, SIZES)
def test_a_durable_session_loses_nothing_and_doubles_nothing(faults, sizes):
    server = Server()
    stepped, run = session(server, durable=True)
    server.faults.extend(faults)
    values = np.arange(1.0, sum(sizes) + 1)
    expected, at = np.cumsum(values), 0
    for size in sizes:
        out = run(stepped.push(values[at : at + size], "every"))
        np.testing.assert_array_equal(out.sum, expected[at : at + size])
        at += size
        assert (out.step, stepped.step) == (at, at)
        assert out.durable_step <= at
    assert server.sums[-1] == expected[-1]


@given(FAULTS, SIZES, st.integers(1, 8), st.data())
def test_nor_does_one_that_is_told_ahead(faults, sizes, window, data):
    server = Server()
    stepped, run = session(server, durable=True)
    server.faults.extend(faults)
    values = np.arange(1.0, sum(sizes) + 1)
    expected, at, found = np.cumsum(values), 0, []
    for size in sizes:
        run(stepped.put(values[at : at + size], "every"))
        at += size
        while stepped.untaken >= window:
            found.append(run(stepped.take()).sum)
        if data.draw(st.integers(0, 9)) == 0:
            assert run(stepped.snapshot(include_bytes=False, keep=True)).step == at
    while stepped.untaken:
        found.append(run(stepped.take()).sum)
    assert [len(each) for each in found] == sizes
    np.testing.assert_array_equal(np.concatenate(found), expected)
    run(stepped.close())


def test_one_that_is_not_durable_says_so_when_its_stream_breaks():
    server = Server()
    stepped, run = session(server)
    run(stepped.push(1.0, "every"))
    server.faults.extend([None, "lost"])
    for _ in range(2):
        with pytest.raises(Unavailable, match="durable=True"):
            run(stepped.push(2.0, "every"))
    assert server.opens == 1
    run(stepped.close())


def test_one_that_has_moved_goes_on_where_it_is():
    server = Server()
    server.moves = True
    stepped, run = session(server)
    run(stepped.push(1.0, "every"))
    server.refusals.append(wire.Refusal(error="Unavailable", message="gone", resume="ses-1"))
    assert run(stepped.push(2.0, "every")).sum == 3.0
    assert (server.opens, server.told) == (2, 2)


def test_outputs_that_the_server_has_gone_past_are_not_passed_over():
    server = Server()
    stepped, run = session(server, durable=True)
    run(stepped.push(1.0, "every"))
    server.kept = [0.0, 1.0, 3.0]  # a state that is ahead
    server.faults.extend([None, "lost"])
    with pytest.raises(DataLoss, match="step 2"):
        run(stepped.push(2.0, "every"))


@pytest.mark.parametrize("error", ["Overloaded", "Unavailable"])
def test_what_is_refused_for_now_is_told_again(error):
    server = Server()
    stepped, run = session(server)
    server.refusals.extend([wire.Refusal(error=error, message="busy", retry_after=0.1)] * 2)
    assert run(stepped.push(5.0, "every")).sum == 5.0
    assert (server.opens, server.told) == (1, 1)


def test_an_opening_that_is_refused_for_now_comes_again_on_the_same_stream():
    server = Server()
    server.busy.extend([wire.Refusal(error="Overloaded", message="no room")] * 2)
    stepped, run = session(server)
    assert (server.opens, server.streams) == (1, 0)
    assert run(stepped.push(5.0, "every")).sum == 5.0


def test_a_stream_that_ends_as_overloaded_is_not_asked_again():
    server = Server(["full", None, "full"])
    stepped, run = session(server)
    assert (server.opens, server.streams) == (1, 2)
    assert run(stepped.push(5.0, "every")).sum == 5.0


@pytest.mark.parametrize("error", ["Overloaded", "Unavailable"])
def test_a_replay_that_is_refused_for_now_comes_again(error):
    server = Server()
    stepped, run = session(server, durable=True)
    run(stepped.push([1.0, 2.0], "every"))
    server.faults.extend([None, "lost"])
    server.refusals.extend([None, *[wire.Refusal(error=error, message="busy")] * 2])
    assert run(stepped.push(4.0, "every")).sum == 7.0
    assert (server.step, stepped.resumes, server.streams) == (3, 3, 3)
    assert not server.refusals


@pytest.mark.parametrize("durable", [False, True])
def test_nothing_behind_a_refused_part_is_told(durable):
    server = Server()
    stepped, run = session(server, durable=durable)
    values = np.ones(4 * PART)
    values[PART + 1] = np.nan
    for n in (1, 2):
        with pytest.raises(InvalidInput, match="not finite"):
            run(stepped.push(values, "every"))
        assert stepped.step == server.step == server.told == n * PART
    assert run(stepped.push([1.0] * (PART + 1), "last")).sum == 3 * PART + 1


def test_nor_is_what_was_to_come_behind_that():
    server = Server()
    stepped, run = session(server)
    values = np.ones(3 * PART)
    values[PART] = np.nan
    for each in (values, 1.0, 2.0):
        run(stepped.put(each, "every"))
    with pytest.raises(InvalidInput):
        run(stepped.take())
    run(stepped.forget())
    assert stepped.step == server.step == PART
    assert run(stepped.push(3.0, "every")).sum == PART + 3


def test_what_has_begun_is_told_to_its_end():
    server = Server()
    stepped, run = session(server)
    for size in (3 * PART, 1, 2 * PART):
        run(stepped.put(np.ones(size), "every"))
    run(stepped.forget())
    assert stepped.step == server.step == 3 * PART
    for size in (2 * PART, 1, 2 * PART):
        run(stepped.put(np.ones(size), "every"))
    assert run(stepped.take()).step == 5 * PART
    run(stepped.close())
    assert server.told == 5 * PART


def test_a_part_that_is_refused_for_now_is_told_again_with_those_behind_it():
    server = Server()
    stepped, run = session(server)
    busy = wire.Refusal(error="Overloaded", message="busy")
    server.refusals.extend([None, busy, busy, None, busy])
    run(stepped.put(np.arange(3 * PART), "every"))
    run(stepped.put(1.0, "every"))
    np.testing.assert_array_equal(run(stepped.take()).sum, np.cumsum(np.arange(3 * PART)))
    assert run(stepped.take()).step == server.told == 3 * PART + 1


def test_callers_may_use_their_arrays_again():
    server = Server()
    stepped, run = session(server, durable=True)
    mine = np.ones(2 * PART)
    run(stepped.put(mine, "every"))
    mine[:] = 100
    assert run(stepped.take()).sum[-1] == 2 * PART
    server.faults.append("lost")
    assert run(stepped.push(1.0, "every")).sum == 2 * PART + 1


def test_what_is_refused_for_good_is_no_part_of_the_session():
    server = Server()
    stepped, run = session(server, durable=True)
    run(stepped.push(1.0, "every"))
    server.refusals.append(wire.Refusal(error="InvalidInput", message="no such value"))
    with pytest.raises(InvalidInput, match="no such value"):
        run(stepped.push(9.0, "every"))
    assert run(stepped.push(2.0, "every")).sum == 3.0
    run(stepped.put(1.0, "every"))
    server.refusals.append(wire.Refusal(error="Overloaded", message="full", retry_after=2.0))
    run(stepped.put(9.0, "every"))
    run(stepped.put(4.0, "every"))
    assert run(stepped.take()).sum == 4.0
    with pytest.raises(Overloaded, match="full") as refused:
        run(stepped.take())  # others are behind it, so it cannot be told again
    assert refused.value.retry_after == 2.0
    assert run(stepped.take()).sum == 8.0


def test_errors_of_a_newer_server_are_internal():
    server = Server()
    stepped, run = session(server)
    server.refusals.append(wire.Refusal(error="Novel", message="what"))
    with pytest.raises(InternalError, match="Novel: what"):
        run(stepped.push(1.0, "every"))


def test_what_is_not_answered_in_time_is_no_part_of_a_durable_session():
    server = Server()
    stepped, run = session(server, durable=True)
    run(stepped.push(1.0, "every"))
    server.faults.extend([None, "late"])
    with pytest.raises(DeadlineExceeded):
        run(stepped.push(100.0, "every"))
    assert run(stepped.push(2.0, "every")).sum == 3.0


def test_after_that_one_that_is_not_durable_is_of_no_use():
    server = Server()
    stepped, run = session(server)
    server.faults.extend([None, "late"])
    with pytest.raises(DeadlineExceeded):
        run(stepped.push(1.0, "every"))
    with pytest.raises(FailedPrecondition, match="cut short"):
        run(stepped.push(2.0, "every"))
    run(stepped.close())


def test_a_closed_one_takes_nothing():
    server = Server()
    stepped, run = session(server)
    run(stepped.close())
    run(stepped.close())
    for steps in (stepped.push(1.0, "every"), stepped.snapshot(include_bytes=False, keep=True)):
        with pytest.raises(FailedPrecondition, match="closed"):
            run(steps)


def test_a_push_among_what_is_followed_is_refused():
    server = Server()
    stepped, run = session(server)
    run(stepped.put(1.0, "every"))
    with pytest.raises(FailedPrecondition, match="follow"):
        run(stepped.push(2.0, "every"))
    run(stepped.forget())
    assert run(stepped.push(2.0, "every")).sum == 3.0


@pytest.mark.parametrize(("want", "shape"), [("every", (2 * PART + 3,)), ("last", ())])
def test_many_observations_go_in_parts(want, shape):
    server = Server()
    stepped, run = session(server)
    values = np.ones(2 * PART + 3)
    out = run(stepped.push(values, want))
    assert np.shape(out.sum) == shape
    assert np.max(out.sum) == out.step == server.step == values.size
    nothing = run(stepped.push(values, "nothing"))
    assert (len(nothing), nothing.step) == (0, 2 * values.size)


def test_a_fork_is_a_session_of_its_own():
    server = Server()
    stepped, run = session(server, durable=True)
    run(stepped.push([1.0, 2.0], "nothing"))
    other = run(stepped.fork(2))
    assert (other.number, other.step, other.opened.version) == (2, 2, 3)
    assert run(other.push(4.0, "every")).sum == 7.0


def test_inputs_are_told_again_in_few_messages():
    inputs = Inputs(keep=True)
    inputs.begin(10)
    sizes = [1, REPLAY + 5, 3, 2 * REPLAY, 7]
    at = 10
    for size in sizes:
        inputs.pending.append(Input(np.arange(at, at + size, dtype=float)[:, None], wire.EVERY))
        at += size
        inputs.answer(10)
    assert inputs.step == at
    for step in (10, 11, 12, 10 + REPLAY, at - 1, at):
        again = list(inputs.since(step))
        assert all(0 < len(each) <= REPLAY for each in again)
        assert len(again) <= 2 + len(sizes)
        joined = np.concatenate([np.empty((0, 1)), *again])
        np.testing.assert_array_equal(joined[:, 0], np.arange(step, at))
    inputs.pending.append(Input(np.zeros((1, 1)), wire.EVERY))
    inputs.answer(at - 7)
    with pytest.raises(DataLoss):
        next(inputs.since(at - 8))
    assert sum(map(len, inputs.since(at - 7))) == 8


@pytest.mark.parametrize(
    ("given_", "width", "shape", "single"),
    [
        (3, 1, (1, 1), True),
        (np.float32(3), 1, (1, 1), True),
        ([3.0], 1, (1, 1), False),
        ([1, 2, 3], 1, (3, 1), False),
        ([[1], [2]], 1, (2, 1), False),
        ([1, 2], 2, (1, 2), True),
        ([[1, 2]], 2, (1, 2), False),
        (np.ones((5, 2)), 2, (5, 2), False),
    ],
)
def test_observations_as_callers_bring_them(given_, width, shape, single):
    values, one = observed(given_, width)
    assert (values.shape, values.dtype, one) == (shape, np.float64, single)


@pytest.mark.parametrize(
    ("given_", "width", "said"),
    [
        ([], 1, r"\[T\]"),
        ("three", 1, "numbers"),
        (["a"], 1, "numbers"),
        (3, 2, r"\[2\]"),
        ([1, 2, 3], 2, r"\[T, 2\]"),
        (np.ones((2, 3)), 2, r"\(2, 3\)"),
        (np.ones((0, 2)), 2, r"\(0, 2\)"),
        (np.ones((1, 2, 1)), 1, r"\(1, 2, 1\)"),
    ],
)
def test_other_observations_are_refused(given_, width, said):
    with pytest.raises(InvalidInput, match=said):
        observed(given_, width)


def test_wants_are_few():
    with pytest.raises(InvalidInput, match="every, last, nothing"):
        want_of("some")


def test_an_output_is_a_mapping_with_attributes():
    out = Output(4, 2, {"mean": 1.5, "step": 9})
    assert (out.mean, out["mean"], out.step, out["step"], len(out)) == (1.5, 1.5, 4, 9, 2)
    assert dict(out) == {"mean": 1.5, "step": 9}
    with pytest.raises(AttributeError, match="mean, step"):
        _ = out.median
    with pytest.raises(KeyError):
        _ = out["median"]
