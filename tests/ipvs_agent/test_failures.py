from __future__ import annotations

from heartbus_ipvs_agent.entries import AddDestination, AddService, ServiceSettings
from heartbus_ipvs_agent.failures import RETRY_S, Failure, FailureBook
from tests.ipvs_agent.builders import destination, gate, key

ADD = AddService(service=key(), settings=ServiceSettings(scheduler="mh"))
ADD_11 = AddDestination(service=key(), destination=destination(11), settings=gate(1))
OTHER = AddDestination(service=key(81), destination=destination(11), settings=gate(1))


def failure(action: AddService | AddDestination, reason: str = "no") -> Failure:
    return Failure(action=action, reason=reason)


def test_the_same_failure_is_told_once() -> None:
    book = FailureBook()
    assert book.failed([failure(OTHER)], now_s=0.0) == [failure(OTHER)]
    assert book.failed([failure(OTHER)], now_s=5.0) == []
    assert book.failed([failure(OTHER, "other")], now_s=9.0) == [failure(OTHER, "other")]


def test_it_is_tried_again_after_a_while_and_not_before() -> None:
    book = FailureBook()
    book.failed([failure(OTHER)], now_s=0.0)
    assert book.due([OTHER, ADD], now_s=RETRY_S - 0.1) == [ADD]
    assert book.due([OTHER, ADD], now_s=RETRY_S) == [OTHER, ADD]


def test_destinations_of_a_service_that_cannot_be_added_are_neither_told_nor_tried() -> None:
    book = FailureBook()
    told = book.failed([failure(ADD), failure(ADD_11), failure(OTHER)], now_s=0.0)
    assert told == [failure(ADD), failure(OTHER)]
    assert book.due([ADD, ADD_11], now_s=1.0) == []
    assert book.due([ADD, ADD_11], now_s=RETRY_S) == [ADD, ADD_11]


def test_success_or_a_plan_without_it_ends_a_failure() -> None:
    book = FailureBook()
    book.failed([failure(ADD), failure(OTHER)], now_s=0.0)
    assert list(book.standing) == [f"{ADD}: no", f"{OTHER}: no"]
    book.carried_out([ADD])
    assert list(book.standing) == [f"{OTHER}: no"]
    book.due([], now_s=1.0)
    assert list(book.standing) == []
