"""Publication of a run: products into place, then registered in one transaction."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from cpflow.errors import ConflictError, CpflowError
from cpflow.plan import Plan, PlannedProduct
from cpflow.registry import DataId, DatasetRef, Lineage, RawUse
from cpflow.scheduler.finish import Finished
from cpflow.scheduler.provenance import provenance
from cpflow.scheduler.tally import RunSummary
from cpflow.store import Staging, Store, product_file_name


def run_names(plan: Plan, run: str) -> list[str]:
    """Return the RUN collections that a run makes: itself, and those of superseded products."""
    steps = [p.step for p in plan.products if plan.superseded(p)]
    return [run, *dict.fromkeys(f"{run}/{step}" for step in steps)]


def run_of(product: PlannedProduct, plan: Plan, facts: Mapping[str, Any]) -> str:
    """Return the RUN that a product goes to.

    A product that a later step of a chain makes again gets a RUN of its own, behind the other.
    """
    run = str(facts["run"])
    return f"{run}/{product.step}" if plan.superseded(product) else run


def publish(
    plan: Plan,
    staging: Staging,
    store: Store,
    facts: Mapping[str, Any],
    finished: Mapping[str, Finished],
    failed: Mapping[str, CpflowError],
    summary: RunSummary,
    made: Mapping[str, DatasetRef],
) -> tuple[DatasetRef, ...]:
    """Move the products into place, then register them: one transaction.

    A run that an earlier attempt has published in part gets what it lacks.

    Parameters
    ----------
    plan : Plan
    staging : Staging
    store : Store
    facts : mapping
        Of the run: its name, its output chain, when it started.
    finished : mapping of str to Finished
        By slug; these are published.
    failed : mapping of str to CpflowError
        By slug; recorded.
    summary : RunSummary
        What the run came to; recorded.
    made : mapping of str to DatasetRef
        By slug, what is published already.

    Returns
    -------
    tuple of DatasetRef
        All that are published, in the order of the plan.

    Raises
    ------
    ConflictError
        If something else has been registered in the run; nothing is published then.
    """
    run = str(facts["run"])
    refs: dict[str, DatasetRef] = {}
    lineages: dict[str, Lineage] = {}
    for product in plan.products:
        if product.slug not in finished:
            continue
        ref = _reference(plan, product, run_of(product, plan, facts), store, finished)
        refs[product.slug] = ref
        lineages[ref.id] = _lineage(product, {**made, **refs})
    _check_free(plan, refs.values())
    for slug, ref in refs.items():
        store.publish(staging.product(slug), ref.path)
    groups: dict[str, list[DatasetRef]] = {}
    for ref in refs.values():
        groups.setdefault(ref.run, []).append(ref)
    plan.repository.registry.publish(
        run,
        groups.pop(run, []),
        lineages=lineages,
        state="complete" if not failed else "incomplete" if refs or made else "failed",
        facts={
            "graph": plan.graph.name,
            "identity": plan.identity,
            "started": facts["started"],
            "failed": {slug: error.message for slug, error in failed.items()},
            "summary": summary.as_dict(),
        },
        # A run joins its chain when it has something to offer (spec R6), once.
        chain=facts.get("output") if refs and not made else None,
        chain_inputs=plan.inputs,
        behind=groups,
    )
    there = {**made, **refs}
    return tuple(there[p.slug] for p in plan.products if p.slug in there)


def published(plan: Plan, facts: Mapping[str, Any]) -> dict[str, DatasetRef]:
    """Return the products of a plan that a run has published already, by slug."""
    registry = plan.repository.registry
    names = set(registry.collection_names())
    runs = [run for run in run_names(plan, str(facts["run"])) if run in names]
    if not runs:
        return {}
    there = {
        (ref.run, ref.type, ref.data_id): ref for ref in registry.datasets("*", collections=runs)
    }
    found = {}
    for product in plan.products:
        ref = there.get((run_of(product, plan, facts), product.type, _data_id(product)))
        if ref is not None and ref.stored:
            found[product.slug] = ref
    return found


def _check_free(plan: Plan, refs: Iterable[DatasetRef]) -> None:
    """Refuse to replace files that the registry knows."""
    registry = plan.repository.registry
    wanted = {ref.path: ref for ref in refs}
    runs = {ref.run for ref in wanted.values()}.intersection(registry.collection_names())
    for held in registry.datasets("*", collections=sorted(runs)) if runs else ():
        if held.path in wanted:
            raise ConflictError(
                f"run {held.run} holds {held} already: another process has put it there",
                hint="run the same command again: it goes on from there",
            )


def _data_id(product: PlannedProduct) -> DataId:
    return DataId(product.instrument, product.detector.id, product.physical_filter)


def _reference(
    plan: Plan, product: PlannedProduct, run: str, store: Store, finished: Mapping[str, Finished]
) -> DatasetRef:
    result = finished[product.slug]
    name = product_file_name(
        product.type, product.instrument, product.detector.id, product.physical_filter
    )
    return DatasetRef(
        id=str(uuid.uuid4()),
        type=product.type,
        data_id=_data_id(product),
        run=run,
        path=store.relative(run, name),
        checksum=result.checksum,
        size=result.size,
        provenance={**provenance(plan, product, run), "summary": dict(result.summary)},
    )


def _lineage(product: PlannedProduct, made: Mapping[str, DatasetRef]) -> Lineage:
    """Return what a product was made from; `made` are the products of the plan so far, by slug."""
    # Those of other detectors may have its own among them.
    raws = {(raw.detector, e.exposure): (e, raw) for e, raw in (*product.raws, *product.also_from)}
    return Lineage(
        tuple(
            RawUse(e.instrument, e.exposure, raw.detector, raw.checksum) for e, raw in raws.values()
        ),
        tuple(
            made[source.slug].id if isinstance(source, PlannedProduct) else source.id
            for source in product.made_with
        ),
    )
