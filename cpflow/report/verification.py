"""Verifications of a run as they count now: one table, waivers applied, and its page."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cpflow.errors import NoDataError
from cpflow.products import VERIFIED, product_name, verification_name
from cpflow.registry import DatasetRef
from cpflow.repo import Repository
from cpflow.report.verified import (
    VERDICTS,
    Verified,
    full_columns,
    read_verification,
    summary_of,
)
from cpflow.timespan import utc_to_tai

if TYPE_CHECKING:
    import xarray as xr

_ENDING = "_verification"


@dataclass(frozen=True)
class VerificationReport:
    """The verifications of a run, to be read, saved as a page, or shown in a notebook.

    Parameters
    ----------
    repository : Repository
    refs : tuple of DatasetRef
        Verifications, one for each product.
    at : int
        TAI nanoseconds as of which waivers count.
    """

    repository: Repository
    refs: tuple[DatasetRef, ...]
    at: int

    def verified(self) -> Iterator[Verified]:
        """Read one verification after the other; nothing is kept, a run may have hundreds."""
        waivers = {
            product: self.repository.registry.waivers(product, history=True)
            for product in {ref.type.removesuffix(_ENDING) for ref in self.refs}
        }
        for ref in self.refs:
            about = waivers[ref.type.removesuffix(_ENDING)]
            yield read_verification(self.repository, ref, about, self.at)

    @cached_property
    def products(self) -> tuple[dict[str, Any], ...]:
        """Each verification in a few words: label, candidate, verdict, counts, exposures."""
        return tuple(summary_of(one) for one in self.verified())

    @property
    def verdict(self) -> str:
        """The worst of all: "fail", "no_data", "waived" or "pass"."""
        return max((str(one["verdict"]) for one in self.products), key=VERDICTS.index)

    @cached_property
    def table(self) -> xr.Dataset:
        """Rows of all verifications, one after the other, along `row`.

        Beside the stored columns, with waivers applied to `verdict`: `product`, `detector` (-1 for
        none), `filter`, `candidate` (a checksum), `waiver` and `construction`.
        """
        import xarray as xr

        tables = [full_columns(one) for one in self.verified()]
        return xr.Dataset(
            {
                name: ("row", np.concatenate([table[name] for table in tables]))
                for name in (tables[0] if tables else {})
            },
            attrs={"verdict": self.verdict, "run": ", ".join(sorted({r.run for r in self.refs}))},
        )

    @property
    def failures(self) -> xr.Dataset:
        """Rows of `table` of required tests that neither pass nor are waived."""
        table = self.table
        failed = np.isin(table["verdict"].values, ("fail", "no_data"))
        return table.isel(row=np.flatnonzero(failed & (table["severity"].values == "required")))

    def save(self, path: str | Path, *, pages: bool = False) -> list[Path]:
        """Write one self-contained HTML page, or the table as Parquet.

        Parameters
        ----------
        path : str or Path
            Ends in ``.html`` or ``.parquet``.
        pages : bool
            Beside the page of the run, write one for each detector that it links to.

        Returns
        -------
        list of Path
            What was written.
        """
        target = Path(path)
        if target.suffix == ".parquet":
            from cpflow.report.verification_parquet import write_parquet

            write_parquet(self, target)
            return [target]
        from cpflow.report.verification_page import write_pages

        return write_pages(self, target, pages=pages)

    def _repr_html_(self) -> str:
        from cpflow.report.verification_page import page_of

        # A frame of its own: the page's style must not become that of the notebook.
        html = page_of(self, pictures=12)
        return f'<iframe srcdoc="{escape(html)}" width="100%" height="900"></iframe>'

    def __repr__(self) -> str:
        run = ", ".join(sorted({ref.run for ref in self.refs}))
        return f"<VerificationReport of {run}: {len(self.refs)} products, {self.verdict}>"


def verification_report(
    repository: Repository,
    collection: str,
    product: str | None = None,
    *,
    detector: int | None = None,
    instrument: str | None = None,
    physical_filter: str | None = None,
    at: int | None = None,
) -> VerificationReport:
    """Return the report of the verifications in a collection, or of the products in it.

    Of a chain the newest run counts. If it holds verifications, they are reported; otherwise those
    that were made last of each of its products.

    Parameters
    ----------
    repository : Repository
    collection : str
        A RUN or a chain.
    product : str, optional
        Product type, of the product or of its verification.
    detector, instrument, physical_filter : optional
        Only this one.
    at : int, optional
        TAI nanoseconds as of which waivers count; by default now.

    Raises
    ------
    NoDataError
        If there is no verification.
    """
    wanted = None if product is None else product_name(product).removesuffix(_ENDING)
    verifications = [verification_name(name) for name in VERIFIED]
    refs = [
        ref
        for ref in repository.registry.datasets("*", collections=[collection])
        if (ref.type in VERIFIED or ref.type in verifications)
        and wanted in (None, ref.type.removesuffix(_ENDING))
        and detector in (None, ref.data_id.detector)
        and instrument in (None, ref.data_id.instrument)
        and physical_filter in (None, ref.data_id.physical_filter)
    ]
    newest = [ref for ref in refs if ref.run == refs[0].run]
    chosen = [ref for ref in newest if ref.type in verifications] or _verifications_of(
        repository, newest
    )
    if not chosen:
        raise NoDataError(
            f"{collection} holds no verification"
            + (", and none was made of its products" if newest else ""),
            hint="make one with `cpflow run -p verify/TYPE`; `cpflow graphs` lists them",
        )
    return VerificationReport(repository, tuple(chosen), _now() if at is None else at)


def verification_of(repository: Repository, product: DatasetRef) -> VerificationReport | None:
    """Return the report of the newest verification of a product, or None if there is none.

    One of the content that the product has is preferred to a newer one of other content.
    """
    found = _verifications_of(repository, [product])
    return VerificationReport(repository, tuple(found), _now()) if found else None


def _verifications_of(repository: Repository, products: Sequence[DatasetRef]) -> list[DatasetRef]:
    found = []
    for kind in dict.fromkeys(ref.type for ref in products):
        of_kind = [ref for ref in products if ref.type == kind]
        made = repository.registry.users_of_type(
            {ref.id for ref in of_kind}, [verification_name(kind)]
        )
        for ref in of_kind:
            verifications = [one for one in made.get(ref.id, ()) if one.stored]
            of_content = [one for one in verifications if _candidate(one) == ref.checksum]
            found += (of_content or verifications)[-1:]
    return found


def _candidate(verification: DatasetRef) -> object:
    return verification.provenance.get("summary", {}).get("candidate")


def _now() -> int:
    return utc_to_tai(time.time_ns())
