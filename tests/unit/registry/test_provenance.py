"""What was made from what."""

from __future__ import annotations

from registries import CAM, add_exposures, exposure, make, ref

from cpflow.registry import Lineage, RawUse, Registry


def uses(*exposures: int, detector: int = 0) -> tuple[RawUse, ...]:
    return tuple(RawUse(CAM, id_, detector, f"sha256:{id_}") for id_ in exposures)


def test_what_was_made_from_an_exposure(registry: Registry) -> None:
    records = [exposure(seq_num=i) for i in range(3)]
    add_exposures(registry, records)
    a, b, c = (record.exposure for record in records)
    (bias,) = make(registry, "bias", lineage=Lineage(uses(a, b)))
    (other,) = make(registry, "other", detectors=(1,), lineage=Lineage(uses(b, detector=1)))
    assert registry.lineage(bias.id) == Lineage(uses(a, b))
    assert registry.made_from(a) == [bias]
    assert registry.made_from(b) == [bias, other]
    assert registry.made_from(b, detector=1, instrument=CAM) == [other]
    assert registry.made_from(c) == []


def test_what_used_a_calibration_and_what_must_be_rebuilt(registry: Registry) -> None:
    (bias,) = make(registry, "bias", lineage=Lineage(uses(1)), created=1)
    (dark,) = make(registry, "dark", "dark", lineage=Lineage(uses(2), (bias.id,)), created=2)
    (flat,) = make(
        registry, "flat", "flat", lineage=Lineage(uses(3), (bias.id, dark.id)), created=3
    )
    assert registry.users_of(bias.id) == [dark, flat]
    assert registry.users_of(dark.id) == [flat]
    assert registry.users_of(flat.id, recursive=True) == []
    assert registry.to_rebuild(1) == [bias, dark, flat]
    assert registry.to_rebuild(2) == [dark, flat]
    assert registry.to_rebuild(3) == [flat]
    assert registry.to_rebuild(4) == []


def test_each_comes_after_what_it_was_made_with(registry: Registry) -> None:
    bias, dark = ref("r", created=5), ref("r", "dark", created=1)
    registry.publish("r", [bias, dark], lineages={dark.id: Lineage(uses(1), (bias.id,))})
    make(registry, "s", detectors=(1,), lineage=Lineage(uses(1), (dark.id,)), created=0)
    order = [one.id for one in registry.to_rebuild(1)]
    assert order.index(dark.id) < len(order) - 1
    registry.publish("t", [])
    assert registry.users_of(bias.id, recursive=True)[0].created == 0


def test_provenance_outlives_its_inputs(registry: Registry) -> None:
    (bias,) = make(registry, "bias")
    (dark,) = make(registry, "dark", "dark", lineage=Lineage((), (bias.id,)))
    registry.remove_runs("bias")
    assert registry.users_of(bias.id) == [dark]
    assert registry.lineage(dark.id) == Lineage((), (bias.id,))
    registry.remove_runs("dark")
    assert registry.users_of(bias.id) == []


def test_what_of_some_types_was_made_with_each_of_several(registry: Registry) -> None:
    biases = make(registry, "bias", detectors=(0, 1, 2))
    new = make(registry, "new", "dark", lineage=Lineage((), (biases[0].id,)), created=2)
    both = Lineage((), (biases[0].id, biases[1].id))
    old = make(registry, "old", "dark", lineage=both, created=1)
    make(registry, "flat", "flat", lineage=both)
    ids = [one.id for one in biases]
    assert registry.users_of_type(ids, ["dark"]) == {ids[0]: [*old, *new], ids[1]: old}
    assert registry.users_of_type(ids[2:], ["dark", "flat"]) == {}
    assert registry.users_of_type(ids, ["nothing like it"]) == {}
    assert registry.users_of_type([], ["dark"]) == {}
    many = [*ids, *(f"{i:08d}-0000-0000-0000-000000000000" for i in range(2000))]
    assert registry.users_of_type(many, ["dark"]) == registry.users_of_type(ids, ["dark"])
