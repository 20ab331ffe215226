"""Which licence a checkpoint is under: by its own word, by a record that covers it, or by what it was made of."""

from __future__ import annotations

import pytest

from gateway import Checkpoint
from policies.attribution.model_licence.lineage import Lineage, LineageFault
from policies.attribution.model_licence.record_files import load

RECORDS = load()


def made(name: str, licence: str | None = None, derived_from: str | None = None) -> Checkpoint:
    return Checkpoint(id=name, licence=licence, derived_from=derived_from, context_length=1_000)


def licence_of(*configured: Checkpoint) -> str:
    """That of the first one."""
    return Lineage(RECORDS, configured).resolve(configured[0]).licence


def fault_of(*configured: Checkpoint) -> str:
    with pytest.raises(LineageFault) as caught:
        Lineage(RECORDS, configured).resolve(configured[0])
    return str(caught.value)


@pytest.mark.parametrize(
    ("configured", "licence"),
    [
        ([made("us/a", "mit")], "mit"),
        ([made("us/a", "none-recorded")], "none-recorded"),
        ([made("moonshotai/Kimi-K2-Instruct")], "kimi-k2"),
        ([made("nvidia/Kimi-K2.5-NVFP4")], "kimi-k2.5"),
        ([made("us/tuned", derived_from="moonshotai/Kimi-K2.5")], "kimi-k2.5"),
        ([made("us/quantised", derived_from="us/tuned"), made("us/tuned", "kimi-k2")], "kimi-k2"),
        (
            [
                made("us/gguf", derived_from="us/merged"),
                made("us/merged", derived_from="us/tuned"),
                made("us/tuned", derived_from="moonshotai/Kimi-K3"),
            ],
            "kimi-k3",
        ),
        ([made("us/a", derived_from="us/b"), made("us/b", "none-recorded")], "none-recorded"),
        ([made("us/a", "apache-2.0", "us/b"), made("us/b", "mit")], "apache-2.0"),
        ([made("us/a", "kimi-k2", "us/b"), made("us/b", "kimi-k2")], "kimi-k2"),
        ([made("us/a", "mit", "others/unknown")], "mit"),
        # What the licensor itself makes of its weights, it may put under another licence.
        ([made("moonshotai/Kimi-K2.5", "kimi-k2.5", "moonshotai/Kimi-K2-Base")], "kimi-k2.5"),
        # What the configuration says of a checkpoint goes before what a record covers.
        ([made("us/a", derived_from="moonshotai/Kimi-K2.5"), made("moonshotai/Kimi-K2.5", "kimi-k2")], "kimi-k2"),
        ([made("us/a", derived_from="us/b"), made("us/b", "mit"), made("us/b", "mit")], "mit"),
    ],
)
def test_it_is_found(configured: list[Checkpoint], licence: str) -> None:
    assert licence_of(*configured) == licence


@pytest.mark.parametrize(
    ("configured", "says"),
    [
        ([made("us/a")], "neither `licence` nor `derived_from`; name one, or write `licence: none-recorded`"),
        ([made("us/a", "kimi-k-2")], "no licence record 'kimi-k-2'; did you mean 'kimi-k2'"),
        ([made("us/a", "zzz")], "known: apache-2.0, kimi-k2"),
        ([made("us/a", derived_from="others/unknown")], "of which no licence is known"),
        ([made("us/a", derived_from="us/b"), made("us/b")], "checkpoint us/b: no record covers it"),
        ([made("us/a", derived_from="us/a")], "cycle in lineage: us/a from us/a"),
        (
            [made("us/a", derived_from="us/b"), made("us/b", derived_from="us/c"), made("us/c", derived_from="us/a")],
            "cycle in lineage: us/a from us/b from us/c from us/a",
        ),
        (
            [made("us/a", derived_from="us/b"), made("us/b", "mit"), made("us/b", "kimi-k2")],
            "under several licences: kimi-k2, mit",
        ),
        (
            [made("us/a", "mit", "moonshotai/Kimi-K2-Instruct")],
            "says licence 'mit', but it is derived from moonshotai/Kimi-K2-Instruct, whose licence 'kimi-k2' derived",
        ),
        ([made("us/a", "none-recorded", "us/b"), made("us/b", derived_from="moonshotai/Kimi-K2.6")], "'kimi-k2.6'"),
    ],
)
def test_it_cannot_be_told(configured: list[Checkpoint], says: str) -> None:
    assert says in fault_of(*configured)


def test_two_records_that_cover_one_checkpoint_must_be_chosen_from() -> None:
    records = {**RECORDS, "ours": RECORDS["kimi-k2"]}
    lineage = Lineage(records, [])
    with pytest.raises(LineageFault, match="several records cover it"):
        lineage.resolve(made("moonshotai/Kimi-K2-Instruct"))
    assert lineage.resolve(made("moonshotai/Kimi-K2-Instruct", "kimi-k2")).licence == "kimi-k2"


def test_the_way_is_told() -> None:
    lineage = Lineage(RECORDS, [made("us/tuned", derived_from="moonshotai/Kimi-K2.5")])
    way = lineage.resolve(made("us/q4", derived_from="us/tuned")).way
    assert way == ("us/q4", "us/tuned", "moonshotai/Kimi-K2.5")
