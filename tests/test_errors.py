"""The error tree: one root, and the facts that counters and retries read off it."""

import inspect

from relay import errors


def test_every_error_of_ours_has_one_root_and_says_whose_fault_it_is() -> None:
    classes = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Exception)]
    assert all(issubclass(kind, errors.RelayError) for kind in classes)
    assert all(kind.__doc__ for kind in classes)
    assert issubclass(errors.LimitError, errors.ProtocolError)
    assert issubclass(errors.DestinationRejectedError, errors.DestinationError)


def test_the_facts_errors_carry() -> None:
    assert errors.LimitError("chunk_size", "x").limit == "chunk_size"
    assert errors.RefusedError("bad_key", "x").outcome == "bad_key"
    assert errors.DestinationError("x").outcome == "failed"
    assert errors.DestinationError("x", "timeout").outcome == "timeout"
    assert errors.DestinationRejectedError("x").outcome == "rejected"
    store = errors.StoreError("x", "NoSuchBucket", transient=False)
    assert (store.kind, store.transient, str(store)) == ("NoSuchBucket", False, "x")
    assert errors.EvidenceError("x").kind == "form"
    assert errors.EvidenceError("x", "chain").kind == "chain"
