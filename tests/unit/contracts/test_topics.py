from __future__ import annotations

from adaptive_stream.contracts.codec import CARRIES, TYPE_OF
from adaptive_stream.contracts.topics import CO_PARTITIONED, COMPACTED, INPUTS, OUTPUTS, Topic


def test_every_topic_is_an_input_an_output_or_the_workers_own() -> None:
    assert sorted([*INPUTS, *OUTPUTS, Topic.DEAD_LETTERS, Topic.STATE]) == sorted(Topic)


def test_the_names_are_those_that_are_on_clusters_already() -> None:
    assert {str(topic) for topic in Topic} == {
        "predictions", "feedback", "metrics", "control", "alerts", "adaptations", "model-commands", "model-status",
        "dead-letters", "state",
    }  # fmt: skip


def test_an_order_is_obeyed_before_the_predictions_and_a_prediction_is_known_before_its_feedback() -> None:
    assert INPUTS.index(Topic.CONTROL) < INPUTS.index(Topic.PREDICTIONS) < INPUTS.index(Topic.FEEDBACK)


def test_what_is_compacted_is_state_and_no_input() -> None:
    assert not {*COMPACTED} & {*INPUTS}
    assert {*COMPACTED} == {Topic.MODEL_COMMANDS, Topic.MODEL_STATUS, Topic.STATE}


def test_the_state_is_partitioned_as_the_inputs_are() -> None:
    assert {*CO_PARTITIONED} == {*INPUTS, Topic.STATE}


def test_every_input_and_output_carries_events_of_its_own_type() -> None:
    assert set(CARRIES) == {*INPUTS, *OUTPUTS}
    assert len(set(TYPE_OF.values())) == len(TYPE_OF)
