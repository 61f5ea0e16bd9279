"""The recorder: journal head and state behind one lock; `record` is one transaction."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from runner.errors import LeaseLostError, RefusedError
from runner.events.codec import GENESIS
from runner.events.facts import (
    BoundViolated,
    CallDispatched,
    CallReconciled,
    CallRefused,
    CallReleased,
    CallSettled,
    CallUnknown,
    ClockJumped,
    DispatchCall,
    Event,
    LimitsSet,
    LogRepaired,
    Proposal,
    RunCreated,
    RunResumed,
    RunStopped,
    Stamped,
    StartTool,
    StopAsked,
    ToolRefused,
    ToolStarted,
)
from runner.policy import gates
from runner.ports import Clock, Interrupt
from runner.state import State, evolve
from runner.store import journal, ledger, summary
from runner.store.database import Database
from runner.store.halted import halted, refuse_start, standing_halt
from runner.values import Ms, NanoUsd, Period, Scope, ScopeKind

Listener = Callable[[Stamped, State], None]

_DURABLE = (DispatchCall, StartTool, RunCreated, LimitsSet, StopAsked, RunStopped)
_JUMP_MS = 5_000


class JournalRecorder:
    """The one writer of one run. Safe to call from several threads; listeners hear of events after the commit."""

    def __init__(
        self, database: Database, run: str, *, state: State, head: str, clock: Clock, listeners: Sequence[Listener] = ()
    ) -> None:
        self._database, self._run, self._clock = database, run, clock
        self._state, self._head = state, head
        self._listeners = tuple(listeners)
        self._lock = threading.RLock()
        self._posted: deque[Event] = deque()
        self._offset = clock.now() - clock.monotonic() * 1000
        self._interrupt = Interrupt()
        self._model = ""

    @property
    def state(self) -> State:
        return self._state

    @property
    def interrupt(self) -> Interrupt:
        return self._interrupt

    def post(self, event: Event) -> None:
        """Leave a fact for the next `record` to append first."""
        self._posted.append(event)

    def listen(self, listener: Listener) -> None:
        """Let one more listener hear of every event from now on."""
        self._listeners = (*self._listeners, listener)

    def record(self, proposal: Proposal) -> Event:
        """Drain the inbox, judge the proposal, append what really happened; on disk when it returns."""
        if isinstance(proposal, DispatchCall):
            self._model = proposal.model
        answer = self._write(proposal)
        if answer is None:
            msg = "a proposal was recorded without an answer"
            raise AssertionError(msg)
        return answer

    def _write(self, proposal: Proposal | None) -> Event | None:
        with self._lock:
            posted = [self._posted.popleft() for _ in range(len(self._posted))]
            try:
                durable = isinstance(proposal, _DURABLE) or bool(posted)
                with self._database.transaction(durable=durable) as tx:
                    batch = _Batch(tx, self._run, self._state, self._head, self._now())
                    if (jump := self._jump()) is not None:
                        batch.append(jump)
                    # a log is repaired before its run is taken: what was left waits for the driver
                    early = isinstance(proposal, LogRepaired)
                    left = (*posted, *(() if early else journal.take(tx, self._run, self._state.seq + 1)))
                    # a new driver first takes the run, and then hears what was left for it: a stop must not be missed;
                    # one that was left for a run that had ended anyway asks for nothing any more
                    stale = _has_ended(self._state)
                    taking = batch.judge(proposal) if isinstance(proposal, RunResumed) and not stale else None
                    for event in left:
                        batch.append(event)
                    if proposal is None or self._interrupt.fired:  # perhaps by who saw the switch
                        batch.heed_the_switch()
                    answer = taking if taking is not None or proposal is None else batch.judge(proposal)
            except BaseException:
                self._posted.extendleft(reversed(posted))
                raise
            self._state, self._head = batch.state, batch.head
            batch.tell(self._listeners)
            if (stop := self._state.stop_asked) is not None and stop.now:
                self._interrupt.fire()  # whoever watches the inbox looks in vain: the word was taken out just now
        return answer

    def drain(self) -> None:
        """Append what others left, and nothing else."""
        if self.has_news():
            self._write(None)

    def has_news(self) -> bool:
        """Whether somebody left a fact that the next `record` would append first."""
        moved = abs(self._moved()) >= _JUMP_MS
        return bool(self._posted) or moved or journal.has_mail(self._database, self._run) or self._is_halted()

    def stop_waits(self) -> bool:
        """Whether another process has asked this run, or every run, to stop now."""
        return journal.stop_waits(self._database, self._run) or self._is_halted()

    def _is_halted(self) -> bool:
        return standing_halt(self._database) is not None

    def room(self, need: NanoUsd) -> bool:
        """Whether a call that was refused for other calls' holds is worth another try now."""
        with self._database.transaction(durable=False) as tx:
            rows = ledger.budgets(tx, _scopes(self._state, self._model), self._now())
        return ledger.worth_a_try(rows, need)

    def _now(self) -> Ms:
        return max(self._clock.now(), self._state.at)

    def _jump(self) -> ClockJumped | None:
        """A jump of the wall clock since the last look; it counts from now on."""
        moved = self._moved()
        self._offset += moved
        return ClockJumped(by_ms=moved) if abs(moved) >= _JUMP_MS else None

    def _moved(self) -> int:
        """How far the wall clock has moved by itself, against the monotonic one."""
        return round(self._clock.now() - self._clock.monotonic() * 1000 - self._offset)


class _Batch:
    """The events of one transaction, in order, with the state after each."""

    def __init__(self, tx: sqlite3.Connection, run: str, state: State, head: str, now: Ms) -> None:
        self.tx, self.run, self.state, self.head, self.now = tx, run, state, head, now
        self.appended: list[tuple[Stamped, State]] = []

    def tell(self, listeners: Sequence[Listener]) -> None:
        """Let listeners hear of what is now on disk."""
        for stamped, state in self.appended:
            for listener in listeners:
                listener(stamped, state)

    def append(self, event: Event) -> None:
        """Append one fact and move what it moves in the ledger."""
        seq = self.state.seq + 1
        if isinstance(event, RunResumed):
            self._take_lease(event)
        state = evolve(self.state, event, self.now, seq)
        stamped = journal.append(
            self.tx,
            run=self.run,
            epoch=state.epoch,
            seq=seq,
            at=self.now,
            event=event,
            prev=self.head,
            summary=summary.encoded(state),
        )
        violation = self._move_money(event)
        self.state, self.head = state, stamped.hash
        self.appended.append((stamped, state))
        if violation is not None:
            self.append(violation)

    def heed_the_switch(self) -> None:
        """Take the word of `runner stop --all`: it is for every run, those that start just now included."""
        stop = self.state.stop_asked
        if (stop is None or not stop.now) and halted(self.tx) is not None:
            self.append(StopAsked(by="all", now=True))

    def _take_lease(self, event: RunResumed) -> None:
        taken = self.tx.execute(
            "UPDATE run SET epoch = ?, owner = ? WHERE id = ? AND epoch = ?",
            (event.epoch, str(event.pid), self.run, event.epoch - 1),
        ).rowcount
        if taken != 1:
            msg = f"another process took over run {self.run}"
            raise LeaseLostError(msg, hint="see `runner runs`")

    def judge(self, proposal: Proposal) -> Event:
        """Append what really happens of a proposal."""
        match proposal:
            case DispatchCall():
                self.heed_the_switch()
                answer: Event = self._dispatch(proposal)
            case StartTool(started=started):
                self.heed_the_switch()
                stop = self.state.stop_asked
                stopping = stop is not None and stop.now
                over = ToolRefused(call=started.call, reason="the run is stopping")
                answer = over if stopping else self._start(started)
            case _:
                answer = proposal
        self.append(answer)
        if isinstance(answer, RunResumed):
            self.heed_the_switch()
        return answer

    def _start(self, started: ToolStarted) -> ToolStarted | ToolRefused:
        """Let a tool start, and use up the approval it starts on: what the event says of it is one fact."""
        if why := gates.refusal(self.state, started, self.now):
            return ToolRefused(call=started.call, reason=f"not run: {why}", decision=started.decision)
        return started

    def _dispatch(self, call: DispatchCall) -> CallDispatched | CallRefused:
        if self.state.stop_asked is not None:
            return CallRefused(call=call.call, scope="operator", need=0, headroom=0, unit="stop")
        least = min(call.min_output, call.asked_output)
        asked = call.asked_output
        if (left := self._tokens_left()) is not None:
            asked = min(asked, left - call.input_bound)
            if asked < least:
                return CallRefused(
                    call=call.call,
                    scope=f"run:{self.run}",
                    need=call.input_bound + least,
                    headroom=left,
                    unit="tokens",
                    fresh=self._fresh_fits(call, least),
                )
        rows = ledger.budgets(self.tx, _scopes(self.state, call.model), self.now)
        granted = self._granted(rows, call, call.input_bound, asked, least)
        if isinstance(granted, ledger.Short):
            return CallRefused(
                call=call.call,
                scope=granted.budget,
                need=granted.need,
                headroom=granted.headroom,
                others=granted.others,
                fresh=not granted.others and self._fresh_fits(call, least),
            )
        ledger.hold(
            self.tx,
            rows,
            run=self.run,
            call=str(call.call),
            model=call.model,
            prices=call.prices,
            amount=granted.hold,
            at=self.now,
            billing=call.billing,
        )
        return CallDispatched(
            call=call.call,
            model=call.model,
            input_bound=call.input_bound,
            granted_output=granted.output,
            hold=granted.hold,
            scopes=tuple(str(row) for row in rows),
            billing=call.billing,
            bound_by=call.bound_by,
        )

    def _tokens_left(self) -> int | None:
        """What the run's own limit of tokens leaves; None without one."""
        money = self.state.money
        return None if self.state.limits.tokens is None else self.state.limits.tokens - money.tokens - money.tokens_held

    def _granted(
        self, rows: Sequence[ledger.Budget], call: DispatchCall, bound: int, asked: int, least: int
    ) -> ledger.Granted | ledger.Short:
        return ledger.grant(
            (*rows, *_by_journal(rows, self.state)),
            input_price=call.input_price,
            output_price=call.output_price,
            input_bound=bound,
            asked=asked,
            least=least,
            slack=call.slack,
            fees=call.fees,
        )

    def _fresh_fits(self, call: DispatchCall, least: int) -> bool:
        """Whether a fresh iteration's first call would fit now, in money and in tokens; False for one that is fresh.

        At this call's prices, so that the answer is never too good: a shorter prompt costs no more by the token.
        """
        if not call.fresh_bound:
            return False
        if (left := self._tokens_left()) is not None and call.fresh_bound + least > left:
            return False
        rows = ledger.budgets(self.tx, _scopes(self.state, call.model), self.now)
        return isinstance(self._granted(rows, call, call.fresh_bound, least, least), ledger.Granted)

    def _move_money(self, event: Event) -> BoundViolated | None:
        match event:
            case CallSettled():
                return self._settle(event)
            case CallReconciled():
                return self._reconcile(event)
            case CallUnknown(call=call):
                ledger.close(self.tx, run=self.run, call=str(call), state="unknown", cost=0)
            case CallReleased(call=call):
                ledger.close(self.tx, run=self.run, call=str(call), state="released", cost=0)
            case RunCreated(limits=limits) | LimitsSet(limits=limits):
                scope = Scope(ScopeKind.RUN, self.run)
                row = next(one for one in ledger.budgets(self.tx, (scope,), self.now) if one.period is Period.TOTAL)
                ledger.relimit(self.tx, row, limits.usd)
            case _:
                return None
        return None

    def _settle(self, event: CallSettled) -> BoundViolated | None:
        """Settle exactly; what breaks an assumption behind the hold is a fact of its own."""
        sent = self.state.open_calls.get(str(event.call))
        held = ledger.close(self.tx, run=self.run, call=str(event.call), state="settled", cost=event.cost)
        if sent is None:
            return None
        if event.cost > held:
            what = "the call cost more than was held for it"
        elif event.usage.output_tokens > sent.granted_output:
            what = f"{event.usage.output_tokens} output tokens, {sent.granted_output} were asked for"
        elif event.usage.input_tokens > sent.input_bound:
            what = f"{event.usage.input_tokens} input tokens, bounded by {sent.input_bound}"
        else:
            return None
        return BoundViolated(call=event.call, held=held, billed=event.cost, what=what)

    def _reconcile(self, event: CallReconciled) -> BoundViolated | None:
        """Let evidence replace a hold that was kept; what is not unknown (any more) cannot be."""
        held = ledger.reconcile(self.tx, run=self.run, call=str(event.call), cost=event.cost)
        if held != event.held or not held:
            msg = f"call {event.call} of run {self.run} is not counted as unknown with {event.held} nano-USD"
            raise RefusedError(msg, hint="see `runner budget unknown`")
        if event.cost <= held:
            return None
        what = "the evidence says more than was held for the call"
        return BoundViolated(call=event.call, held=held, billed=event.cost, what=what)


def _has_ended(state: State) -> bool:
    return state.stopped is not None and not state.stopped.is_open


def _scopes(state: State, model: str) -> tuple[Scope, ...]:
    """What a call with this model is counted for: a resume may have brought another one."""
    shared = () if state.created is None else state.created.scopes
    if not model:
        return shared
    return (*(one for one in shared if one.kind is not ScopeKind.MODEL), Scope(ScopeKind.MODEL, model))


def _by_journal(rows: Sequence[ledger.Budget], state: State) -> list[ledger.Budget]:
    """The run's own budget by its journal: whoever edits the ledger's row beside a run lifts no cap of that run."""
    money = state.money
    return [
        replace(row, limit=state.limits.usd, spent=money.spent, unknown=money.unknown, held=money.held, overrun=0)
        for row in rows
        if row.scope.kind is ScopeKind.RUN and row.period is Period.TOTAL and state.limits.usd is not None
    ]


def create_run(
    database: Database, created: RunCreated, clock: Clock, listeners: Sequence[Listener] = ()
) -> JournalRecorder:
    """Begin a run: its row, scopes and first event in one transaction. `take_over` comes before driving it.

    Raises BusyError while `runner stop --all` blocks starts.
    """
    with database.transaction(durable=True) as tx:
        refuse_start(halted(tx))
        journal.insert_run(tx, created, clock.now())
        batch = _Batch(tx, created.run, State(), GENESIS, clock.now())
        batch.append(created)
    batch.tell(listeners)
    return JournalRecorder(database, created.run, state=batch.state, head=batch.head, clock=clock, listeners=listeners)


def open_run(database: Database, run: str, clock: Clock, listeners: Sequence[Listener] = ()) -> JournalRecorder:
    """Fold a run's journal into a recorder. Nothing is written until `take_over`."""
    row = journal.find_run(database, run)
    stored = list(journal.rows(database, row.id))
    # the head of what was folded, not of the run's row: its writer may have gone on between the two looks
    head = stored[-1].hash if stored else GENESIS
    state = journal.fold(row.id, iter(stored))
    return JournalRecorder(database, row.id, state=state, head=head, clock=clock, listeners=listeners)


def take_over(recorder: JournalRecorder, model: str, *, now: bool = False) -> None:
    """Become the run's writer: from here on every append of an older epoch fails. Hold the run's Lease first.

    `now` = somebody wants it to go on whatever a provider asked it to wait for.
    """
    epoch = recorder.state.epoch + 1
    recorder.record(RunResumed(epoch=epoch, pid=os.getpid(), boot_id=boot_id(), model=model, now=now))


def boot_id() -> str:
    """Name this boot of the machine, so that a process id can be told from one of an earlier boot."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def leave_in_inbox(database: Database, run: str, event: Event, at: Ms) -> None:
    """Leave a fact (a stop, an acceptance) for a run's writer; durable when it returns."""
    with database.transaction(durable=True) as tx:
        journal.leave(tx, run, at, event)
