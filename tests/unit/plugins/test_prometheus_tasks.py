from __future__ import annotations

import asyncio

from plugins.prometheus.collectors import TaskCollector


async def test_the_tasks_of_the_loop_are_counted() -> None:
    def tasks() -> float:
        (family,) = TaskCollector().collect()
        (sample,) = family.samples
        assert sample.name == "moegate_tasks"
        return sample.value

    before = tasks()
    release = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(release.wait())
        assert tasks() == before + 5
        release.set()
    assert tasks() == before


def test_a_gateway_may_be_built_before_its_loop_runs() -> None:
    assert [sample.value for family in TaskCollector().collect() for sample in family.samples] == [0]
