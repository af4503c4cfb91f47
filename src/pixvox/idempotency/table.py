"""The statements on the table of requests. Times are those of the database's clock, which all instances share."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from pixvox.database.schema import REQUESTS, UtcTime
from pixvox.idempotency.earlier import Earlier, State

if TYPE_CHECKING:
    from sqlalchemy.sql.compiler import SQLCompiler

_R = REQUESTS.c


class _Moment(FunctionElement[datetime.datetime]):
    """So many seconds from now."""

    inherit_cache = True
    type = UtcTime()

    def __init__(self, seconds: float) -> None:
        super().__init__(sa.literal(seconds, sa.Double))


@compiles(_Moment, "postgresql")
def _of_postgresql(moment: _Moment, compiler: SQLCompiler, **options: object) -> str:
    # The clock itself, which can differ from row to row, could not be looked up in an index.
    return f"(statement_timestamp() + make_interval(secs => {compiler.process(moment.clauses, **options)}))"


@compiles(_Moment, "sqlite")
def _of_sqlite(moment: _Moment, compiler: SQLCompiler, **options: object) -> str:
    # Three digits of the second are all that it knows; it is compared with columns as text, which have six.
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', {compiler.process(moment.clauses, **options)} || ' seconds')"


@dataclass(frozen=True, slots=True)
class RequestTable:
    """Statements on one row, whose `method` and `request_id` are parameters, as is what else they name; each with a `_` behind.

    Attributes:
        claims: By the name of the dialect: insert a row, or take over one that nobody owns any more; changes one row or
            none. Takes `fingerprint` and `owner`.
        look: Find a row.
        answer: Find the answer of a row that is `owner`'s.
        renew: Give a sign of life. Takes `owner`.
        dispatch: Note that a provider is about to be asked. Takes `owner`.
        keep: Note an answer. Takes `owner`, `answer` and `text_fingerprint`.
        forget: Remove the row. Takes `owner`.
        give_up: Note that the outcome is not known. Takes `owner` and `reason`.
        bury: The same, if the owner has died after the dispatch. Takes `reason`.
        purge: Remove up to `most` rows whose time is up.
    """

    claims: dict[str, sa.Insert]
    look: sa.Select[Any]
    answer: sa.Select[Any]
    renew: sa.Update
    dispatch: sa.Update
    keep: sa.Update
    forget: sa.Delete
    give_up: sa.Update
    bury: sa.Update
    purge: sa.Delete

    @classmethod
    def of(cls, lease_seconds: float, retention_seconds: float) -> RequestTable:
        """Return the statements for a lease and a retention."""
        alive = {"lease_time": _Moment(lease_seconds), "expire_time": _Moment(lease_seconds + retention_seconds)}
        ended = {"end_time": _Moment(0.0), "expire_time": _Moment(retention_seconds)}
        mine = sa.and_(*_KEY, _R.owner == sa.bindparam("owner_"))
        running = sa.and_(mine, _R.state == State.RUNNING)
        uncertain = {"state": State.UNCERTAIN, "reason": sa.bindparam("reason_"), **ended}
        return cls(
            claims={
                "sqlite": _claim(sqlite.insert(REQUESTS), alive),
                "postgresql": _claim(postgresql.insert(REQUESTS), alive),
            },
            look=_look(),
            answer=sa.select(_R.answer).where(mine, _R.state == State.DONE),
            renew=sa.update(REQUESTS).where(running).values(alive),
            dispatch=sa.update(REQUESTS).where(running).values(dispatched=True, **alive),
            keep=sa.update(REQUESTS)
            .where(mine)
            .values(
                state=State.DONE,
                reason="",
                answer=sa.bindparam("answer_"),
                text_fingerprint=sa.bindparam("text_fingerprint_"),
                **ended,
            ),
            forget=sa.delete(REQUESTS).where(mine),
            give_up=sa.update(REQUESTS).where(mine).values(uncertain),
            bury=sa.update(REQUESTS).where(*_KEY, _LAPSED, _R.dispatched).values(uncertain),
            purge=_purge(),
        )

    @staticmethod
    def earlier_of(row: sa.Row[Any]) -> Earlier:
        """Return what `look` found."""
        return Earlier(**row._mapping)


# A parameter may not have the name of a column.
_KEY = (_R.method == sa.bindparam("method_"), _R.request_id == sa.bindparam("request_id_"))
_LAPSED = sa.and_(_R.state == State.RUNNING, _R.lease_time <= _Moment(0.0))


def _claim(insert: sqlite.Insert | postgresql.Insert, alive: dict[str, Any]) -> sa.Insert:
    fresh = {
        "fingerprint": sa.bindparam("fingerprint_"),
        "text_fingerprint": sa.null(),
        "state": State.RUNNING,
        "dispatched": False,
        "owner": sa.bindparam("owner_"),
        "reason": "",
        "create_time": _Moment(0.0),
        "end_time": sa.null(),
        "answer": sa.null(),
        **alive,
    }
    free = sa.or_(_R.expire_time <= _Moment(0.0), sa.and_(_LAPSED, sa.not_(_R.dispatched)))
    row = insert.values(method=sa.bindparam("method_"), request_id=sa.bindparam("request_id_"), **fresh)
    taken = row.on_conflict_do_update(index_elements=[_R.method, _R.request_id], set_=fresh, where=free)
    return taken.execution_options(preserve_rowcount=True)


def _look() -> sa.Select[Any]:
    return sa.select(
        _R.fingerprint,
        _R.text_fingerprint,
        _R.state,
        _R.dispatched,
        _R.owner,
        _R.reason,
        _R.create_time,
        _LAPSED.label("lapsed"),
        _R.answer.is_not(None).label("kept"),
    ).where(*_KEY, _R.expire_time > _Moment(0.0))


def _purge() -> sa.Delete:
    # Instances that purge at the same time take different rows instead of waiting for each other.
    due = (
        sa.select(_R.method, _R.request_id)
        .where(_R.expire_time <= _Moment(0.0))
        .limit(sa.bindparam("most_"))
        .with_for_update(skip_locked=True)
    )
    return sa.delete(REQUESTS).where(sa.tuple_(_R.method, _R.request_id).in_(due))
